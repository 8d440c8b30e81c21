/* imapd/fetch.h - a FETCH in work: cmd_fetch.c goes through messages, fetch_body.c makes sections. Folder-private. */
#ifndef POSTERN_IMAPD_FETCH_H
#define POSTERN_IMAPD_FETCH_H

#include "imapd/rows.h"

#include "mime/mime.h"

struct fetch_args {
    struct imap_set set;
    struct imap_fetch_items items;
};

struct fetch {
    struct store_uids seqs; /* what to tell */
    size_t range;           /* place in seqs: the next message */
    uint32_t seq;
    unsigned want; /* STORE_GET_* */
    bool has_sections, sets_seen, is_flags_asked;
    bool needs_file;        /* some section is not of the fields that the index has */
    bool needs_body;        /* some section is more than the message's header */
    struct store_uids seen; /* UIDs to get \Seen when all is told */
    bool was_expunged;      /* some were gone */
    /* the message in work */
    bool is_begun;
    struct store_msg msg;
    struct store_file *file; /* NULL: nothing but the index is needed */
    struct slice message;
    struct mime_part *tree; /* made when a section has part numbers */
    struct arena tree_mem;
    size_t item;       /* next of the items */
    bool is_first;     /* nothing told of this message yet: no space before the next */
    struct buf fields; /* what HEADER.FIELDS picked */
    struct slice left; /* of a literal on its way */
};

/* Is it fields of the message's header that the index has? */
bool fetch_is_cached(const struct imap_fetch_item *it);
/* The octets that a section item names; into message or fields. */
struct slice fetch_section(struct fetch *f, const struct imap_fetch_item *it,
                           struct imap_stats *stats);
/* Name and literal's head into out; its octets into f->left. */
void fetch_begin_section(struct fetch *f, const struct imap_fetch_item *it,
                         struct imap_stats *stats, struct buf *out);

#endif
