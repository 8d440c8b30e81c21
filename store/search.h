/* store/search.h - SEARCH over a view: the program as a tree, evaluated from the index first and files last.
 * Layer: store. Blocking: work pool. RFC 3501 §6.4.4, later 5032, 7162, 8514. */
#ifndef POSTERN_STORE_SEARCH_H
#define POSTERN_STORE_SEARCH_H

#include "store/store.h"

enum search_kind {
    SEARCH_ALL,
    SEARCH_AND,
    SEARCH_OR,
    SEARCH_NOT, /* kids */
    SEARCH_SEQS,
    SEARCH_UIDS, /* set */
    SEARCH_FLAG,
    SEARCH_UNFLAG, /* sys bits, incl. STORE_RECENT; NEW = RECENT and not SEEN by AND */
    SEARCH_KEYWORD,
    SEARCH_UNKEYWORD, /* text */
    SEARCH_BEFORE,
    SEARCH_ON,
    SEARCH_SINCE, /* internal date: day */
    SEARCH_SENTBEFORE,
    SEARCH_SENTON,
    SEARCH_SENTSINCE,
    SEARCH_LARGER,
    SEARCH_SMALLER, /* number, octets */
    SEARCH_HEADER,  /* field, text ("" : has the field); BCC CC FROM SUBJECT TO are this too */
    SEARCH_BODY,
    SEARCH_TEXT,   /* text */
    SEARCH_MODSEQ, /* number */
    SEARCH_OLDER,
    SEARCH_YOUNGER /* number, seconds */
};
enum { SEARCH_DEPTH_MAX = 50, SEARCH_NODES_MAX = 5000 };

struct search_node {
    enum search_kind kind;
    struct search_node **kids; /* AND, OR: n_kids; NOT: one */
    size_t n_kids;
    struct store_uids set; /* sequence numbers or UIDs; "*" is resolved by the parser */
    uint32_t sys;
    uint64_t number;
    int64_t day; /* days since 1970-01-01 of the date as written, no time zone (RFC 3501 §6.4.4) */
    struct slice field;
    struct slice text; /* UTF-8; the parser converts from CHARSET */
};

/* Sequence numbers that match, ascending, malloc'ed. yield (may be NULL) is asked every few messages: true means stop,
 * with *at left where to go on: call again with it (start: 0) and the same arrays. 0 done, 1 stopped by yield, -1 e. */
int store_search(struct store_view *v, const struct search_node *program, uint32_t **seqs,
                 size_t *n, uint32_t *at, bool (*yield)(void *), void *arg, struct err *e);

#endif
