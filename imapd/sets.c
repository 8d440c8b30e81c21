/* imapd/sets.c - message sets (RFC 3501 §9 sequence-set) over a view. A set of sequence numbers that names one that is not
 * there is BAD, as with Dovecot; UIDs that are not there are nothing. */
#include "imapd/cmd.h"

#include "base/mem.h"

#include <stdlib.h>

static int
cmp_ranges(const void *a, const void *b)
{
    const struct store_uid_range *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

/* A range of UIDs as one of sequence numbers; false when it is empty. */
static bool
uids_to_seqs(const struct store_view *v, struct store_uid_range *r)
{
    uint32_t first = store_view_seq_at_least(v, r->first), last;
    struct store_row row;

    last = store_view_seq_at_least(v, r->last);
    if (!store_view_row(v, last, &row) || row.uid > r->last)
        last--;
    *r = (struct store_uid_range){ first, last };
    return first <= last;
}

/* What '*' is: the last sequence number, or the last UID; 0 in an empty mailbox. */
static uint32_t
star_of(const struct store_view *v, bool is_uid)
{
    struct store_row row = { 0 };
    struct store_box box;

    store_view_box(v, &box);
    if (is_uid)
        return store_view_row(v, box.exists, &row) ? row.uid : 0;
    return box.exists;
}

static struct store_uid_range
range_of(const struct imap_range *r, uint32_t star)
{
    uint32_t a = r->first == IMAP_STAR ? star : r->first;
    uint32_t b = r->last == IMAP_STAR ? star : r->last;

    return (struct store_uid_range){ a < b ? a : b, a < b ? b : a };
}

/* "$": of the UIDs that were saved those that are still there (RFC 5182 §2.1). */
static void
find_saved(const struct imap_sess *s, struct store_uids *seqs)
{
    for (size_t i = 0; i < s->saved.n; i++) {
        struct store_uid_range r = s->saved.v[i];

        if (uids_to_seqs(s->view, &r))
            store_uids_add(seqs, r.first, r.last);
    }
}

void
imap_set_find(struct imap_cmd *c, const struct imap_set *set, bool is_uid, struct store_uids *seqs)
{
    uint32_t star = star_of(c->s->view, is_uid);
    struct store_uid_range *r;
    size_t n = 0;

    *seqs = (struct store_uids){ 0 };
    if (set->is_saved) {
        find_saved(c->s, seqs);
        return;
    }
    r = mem_alloc((set->n + 1) * sizeof(*r));
    for (size_t i = 0; i < set->n && star > 0; i++) {
        r[n] = range_of(&set->v[i], star);
        if (!is_uid && r[n].last > star)
            r[n].last = star;
        if (is_uid ? uids_to_seqs(c->s->view, &r[n]) : r[n].first <= star)
            n++;
    }
    qsort(r, n, sizeof(*r), cmp_ranges); /* so that adding is cheap */
    for (size_t i = 0; i < n; i++)
        store_uids_add(seqs, r[i].first, r[i].last);
    free(r);
}

bool
imap_set_resolve(struct imap_cmd *c, const struct imap_set *set, bool is_uid,
                 struct store_uids *seqs)
{
    uint32_t star = star_of(c->s->view, false);

    *seqs = (struct store_uids){ 0 };
    for (size_t i = 0; i < set->n && !is_uid; i++)
        if (star == 0 || range_of(&set->v[i], star).last > star) {
            imap_bad(c, "BAD Error in IMAP command %s: Invalid messageset.", c->row->name);
            return false;
        }
    imap_set_find(c, set, is_uid, seqs);
    return true;
}

void
imap_seqs_to_uids(const struct imap_cmd *c, const struct store_uids *seqs, struct store_uids *uids)
{
    struct store_row row;

    *uids = (struct store_uids){ 0 };
    for (size_t i = 0; i < seqs->n; i++)
        for (uint32_t seq = seqs->v[i].first; seq <= seqs->v[i].last; seq++)
            if (store_view_row(c->s->view, seq, &row))
                store_uids_add(uids, row.uid, row.uid);
}

size_t
imap_add_set_from(struct buf *out, const struct store_uids *set, size_t at, size_t octets)
{
    size_t i, was = out->n;

    for (i = at; i < set->n && out->n - was < octets; i++) {
        const struct store_uid_range *r = &set->v[i];

        buf_addf(out, i > at ? ",%u" : "%u", r->first);
        if (r->last > r->first)
            buf_addf(out, ":%u", r->last);
    }
    return i;
}

void
imap_add_set(struct buf *out, const struct store_uids *set)
{
    imap_add_set_from(out, set, 0, SIZE_MAX);
}

void
imap_set_to_uids(const struct imap_set *set, struct store_uids *uids)
{
    struct store_uid_range *r = mem_alloc((set->n + 1) * sizeof(*r));

    *uids = (struct store_uids){ 0 };
    for (size_t i = 0; i < set->n; i++)
        r[i] = range_of(&set->v[i], UINT32_MAX);
    qsort(r, set->n, sizeof(*r), cmp_ranges);
    for (size_t i = 0; i < set->n; i++)
        store_uids_add(uids, r[i].first, r[i].last);
    free(r);
}

void
imap_set_uids(const struct imap_sess *s, const struct store_view *v, const struct imap_set *set,
              struct store_uids *uids)
{
    const struct store_uids *saved = set->is_saved ? &s->saved : &(struct store_uids){ 0 };
    struct store_uid_range *r = mem_alloc((set->n + 1) * sizeof(*r));
    uint32_t star = v ? star_of(v, true) : 0;
    size_t n = 0;

    star = star > 0 ? star : 1; /* nothing is there: the first that comes */
    *uids = (struct store_uids){ 0 };
    for (size_t i = 0; i < set->n; i++) {
        bool is_open = (set->v[i].first == IMAP_STAR) != (set->v[i].last == IMAP_STAR);

        r[n] = range_of(&set->v[i], star);
        if (is_open && r[n].last == star)
            r[n].last = UINT32_MAX; /* "5:*": as good, and right for what comes later */
        n++;
    }
    qsort(r, n, sizeof(*r), cmp_ranges);
    for (size_t i = 0; i < n; i++)
        store_uids_add(uids, r[i].first, r[i].last);
    for (size_t i = 0; i < saved->n; i++)
        store_uids_add(uids, saved->v[i].first, saved->v[i].last);
    free(r);
}
