/* store/search.h - SEARCH over a view: the program as a tree, evaluated from the view's rows first, then from the index,
 * which is read in bulk, and from files last. Texts are compared by i;unicode-casemap (base/fold.h); HTML is searched as
 * people read it. Layer: store. Blocking: work pool. RFC 3501 §6.4.4, 5032, 7162, 8474 §6, 8514 §4. */
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
    SEARCH_YOUNGER, /* number, seconds */
    SEARCH_SAVEDBEFORE,
    SEARCH_SAVEDON,
    SEARCH_SAVEDSINCE, /* when it came into this mailbox, here: day */
    SEARCH_EMAILID,
    SEARCH_THREADID /* text: an object id as FETCH tells it */
};
enum { SEARCH_DEPTH_MAX = 100, SEARCH_NODES_MAX = 5000 };

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

struct store_search;
/* The program is borrowed, and the view may not be synced, until it is freed. */
struct store_search *store_search_new(struct store_view *v, const struct search_node *program);
/* Before it runs. The first so many that match and the last so many are enough (0, 0: all): SEARCH RETURN (MIN), and what is
 * not between is not looked at. */
void store_search_limit(struct store_search *s, size_t first, size_t last);
/* Before it runs. What it looks at: all, or what a set names that the program is ANDed with. Sequence numbers; free them. */
void store_search_range(const struct store_search *s, struct store_uids *seqs);
/* Before it runs. Look at these alone (copied). */
void store_search_among(struct store_search *s, const struct store_uids *seqs);
/* yield (may be NULL) is asked after each file, and every few hundred messages: true stops; call again to go on. 0 done, 1
 * stopped by yield, -1 e. */
int store_search_run(struct store_search *s, bool (*yield)(void *), void *arg, struct err *e);
/* Sequence numbers that match so far, ascending, n of them; the search's. */
const uint32_t *store_search_result(const struct store_search *s, size_t *n);
/* Messages that are done with. */
uint32_t store_search_done(const struct store_search *s);
void store_search_free(struct store_search **s); /* NULL-safe */

#endif
