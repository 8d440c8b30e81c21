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

/* ["CHARSET" SP astring SP] search-key *(SP search-key), RFC 3501 §9; must_have_charset: astring SP search-key ..., RFC 5256
 * §5. False: replied. Free in either case. On the pool: sets are resolved against the command's view. */
bool search_program_parse(struct imap_cmd *c, struct slice in, bool must_have_charset,
                          struct search_program *p);
void search_program_free(struct search_program *p);

/* "1-Feb-1994" with or without quotes, as days since 1970-01-01. */
bool search_take_date(struct slice *in, int64_t *day);

/* ---- cmd_search.c: what SEARCH, SORT and THREAD share ---- */
enum {
    SEARCH_TURN_MS = 20 /* how long one of them keeps a thread while others wait */
};
struct search_run {    /* zeroed, with rest set */
    struct slice rest; /* of the command: the program */
    struct search_program program;
    struct store_search *search;
    uint64_t turn_until_ms;
    struct imap_cmd *c;
};
void search_turn_begin(struct search_run *r, struct imap_cmd *c);
bool search_turn_is_over(void *run); /* for the store's yield; also when the client is gone */
/* CMD_DONE with *is_found: r->search has the result; without: replied. CMD_YIELD: again. */
enum cmd_rc search_run(struct search_run *r, bool must_have_charset, bool *is_found);
/* An engine of the store was stopped (rc 1) with so many of all messages done, or failed. */
enum cmd_rc search_run_stopped(struct search_run *r, int rc, const struct err *e, size_t done,
                               size_t all);
void search_run_free(struct search_run *r);

#endif
