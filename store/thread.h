/* store/thread.h - THREAD over a view: ORDEREDSUBJECT and REFERENCES of RFC 5256 §3, REFS of draft-ietf-morg-inthread.
 *
 * The forest is built anew each time from cache_sort, which is read in bulk (bulk.h), and not kept between commands: what
 * is threaded is what a search found, mostly not the whole mailbox, an expunge can change links anywhere, and keeping it
 * for every mailbox that was threaded once would cost more memory than the time is worth: 100,000 messages take 0.4 s, most
 * of it SQLite's, and 10 MB for as long as it lasts. Linear but for sorting. Message ids are kept as keyed 64-bit
 * hashes, nodes as 32-bit numbers: 41 octets a node and some 40 in the hash table; there are as many nodes as messages and
 * ids that are only referred to, which have a bound. No recursion: a chain of replies may be as long as the mailbox.
 * Layer: store. Blocking: work pool. */
#ifndef POSTERN_STORE_THREAD_H
#define POSTERN_STORE_THREAD_H

#include "store/store.h"

enum thread_kind { THREAD_ORDEREDSUBJECT, THREAD_REFERENCES, THREAD_REFS };

enum { THREAD_NONE = 0 }; /* no node */
struct thread_node {      /* of the result; numbers of nodes from 1 */
    uint32_t seq;         /* 0: a dummy, at the top only and with two kids or more */
    uint32_t first_kid, next;
};

struct store_thread;
/* seqs: n sequence numbers, ascending; copied. The view may not be synced before it is done. */
struct store_thread *store_thread_new(struct store_view *v, enum thread_kind kind,
                                      const uint32_t *seqs, size_t n);
/* As store_sort_run(). */
int store_thread_run(struct store_thread *t, bool (*yield)(void *), void *arg, struct err *e);
/* When done: the nodes (t's), and *first, the first thread; the others follow by next. Each of seqs is in it once. */
const struct thread_node *store_thread_result(const struct store_thread *t, uint32_t *first);
/* Messages read. */
size_t store_thread_done(const struct store_thread *t);
void store_thread_free(struct store_thread **t); /* NULL-safe */

#endif
