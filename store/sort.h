/* store/sort.h - SORT over a view: RFC 5256 §3, DISPLAYFROM and DISPLAYTO by RFC 5957.
 *
 * The keys of a message become one run of octets that compares as memcmp() does: texts as i;unicode-casemap has folded
 * them (base/fold.h), numbers with the highest octet first, what is REVERSE complemented. They come from the index in
 * bulk (bulk.h); what it lacks is computed first and kept. Ties go by sequence number, REVERSE or not (RFC 5256 §3).
 * Memory: the keys, and 52 octets a message. Layer: store. Blocking: work pool. */
#ifndef POSTERN_STORE_SORT_H
#define POSTERN_STORE_SORT_H

#include "store/store.h"

enum sort_key {
    SORT_ARRIVAL, /* INTERNALDATE */
    SORT_CC,
    SORT_DATE, /* Date in UTC, INTERNALDATE where it has none (RFC 5256 §2.2) */
    SORT_DISPLAYFROM,
    SORT_DISPLAYTO,
    SORT_FROM,
    SORT_SIZE,
    SORT_SUBJECT, /* base subject */
    SORT_TO
};
enum { SORT_KEYS_MAX = 20 };
struct sort_by {
    enum sort_key key;
    bool is_reverse;
};

struct store_sort;
/* seqs: n sequence numbers, ascending; copied. n_by: 1 .. SORT_KEYS_MAX. The view may not be synced before it is done. */
struct store_sort *store_sort_new(struct store_view *v, const struct sort_by *by, size_t n_by,
                                  const uint32_t *seqs, size_t n);
/* yield (may be NULL) is asked every few messages: true stops; call again to go on. 0 done, 1 stopped by yield, -1 e. */
int store_sort_run(struct store_sort *s, bool (*yield)(void *), void *arg, struct err *e);
/* When done: the sequence numbers in order, n of them; s's. */
const uint32_t *store_sort_result(const struct store_sort *s);
/* Messages read. */
size_t store_sort_done(const struct store_sort *s);
void store_sort_free(struct store_sort **s); /* NULL-safe */

#endif
