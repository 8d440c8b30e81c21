/* imapd/fetch.h - a FETCH in work: cmd_fetch.c goes through messages, fetch_msg.c tells one. Folder-private. */
#ifndef POSTERN_IMAPD_FETCH_H
#define POSTERN_IMAPD_FETCH_H

#include "imapd/rows.h"
#include "imapd/section.h"

struct fetch_args {
    struct imap_set set;
    struct imap_fetch_items items;
    bool has_changedsince, has_vanished; /* RFC 7162 §3.1.4, §3.2.6 */
    uint64_t changedsince;
    bool has_partial; /* RFC 9394 §3.3 */
    bool is_from_end;
    uint32_t partial_first, partial_last; /* from 1, ascending; is_from_end: of the last one on */
};

struct fetch {
    const struct imap_fetch_items *items;
    struct store_uids seqs; /* what to tell */
    size_t range;           /* place in seqs: the next message */
    uint32_t seq;
    uint64_t done, goal; /* messages */
    unsigned want;       /* STORE_GET_* */
    bool has_sections, sets_seen, is_flags_asked;
    bool needs_file; /* some section is not of the fields that the index has */
    bool needs_body; /* some section is more than the message's header */
    /* The only section that needs the file, and it is some octets of the whole message: the rest is not read. */
    const struct imap_fetch_item *only_range;
    struct store_uids seen; /* UIDs to get \Seen when all is told */
    bool was_expunged;      /* some were gone */
    bool is_encoded;        /* something could not be decoded */
    /* the message in work */
    bool is_begun, is_range; /* is_range: the file is only_range alone */
    struct store_msg msg;
    struct section_source src;
    struct section section; /* on its way */
    bool is_sending, is_binary;
    size_t item;   /* next of the items */
    bool is_first; /* nothing told of this message yet: no space before the next */
};

/* What the items need. */
void fetch_plan(struct fetch *f, const struct imap_fetch_items *items, bool is_examine);
/* "* n FETCH (" and what the index has. -1 with e: nothing was written. */
int fetch_begin_message(struct imap_cmd *c, struct fetch *f, uint32_t seq, struct err *e);
/* The next piece of it. False: the message is told, but for its ")". */
bool fetch_go_on(struct imap_cmd *c, struct fetch *f);
void fetch_end_message(struct fetch *f);

#endif
