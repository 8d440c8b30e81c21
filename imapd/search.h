/* imapd/search.h - the search program of the wire as the tree that the store runs. Folder-private. */
#ifndef POSTERN_IMAPD_SEARCH_H
#define POSTERN_IMAPD_SEARCH_H

#include "imapd/rows.h"

#include "store/search.h"

struct search_program {
    struct search_node *root; /* in the command's arena; sets in it are malloc'ed */
    struct slice charset;
    size_t n_nodes;
};

/* ["CHARSET" SP astring SP] search-key *(SP search-key), RFC 3501 §9. False: replied. Free in either case. On the pool:
 * sets are resolved against the command's view. */
bool search_program_parse(struct imap_cmd *c, struct slice in, struct search_program *p);
void search_program_free(struct search_program *p);

/* "1-Feb-1994" with or without quotes, as days since 1970-01-01. */
bool search_take_date(struct slice *in, int64_t *day);

#endif
