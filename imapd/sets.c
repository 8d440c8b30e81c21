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

bool
imap_set_resolve(struct imap_cmd *c, const struct imap_set *set, bool is_uid,
                 struct store_uids *seqs)
{
    const struct store_view *v = c->s->view;
    struct store_uid_range *r;
    struct store_row row = { 0 };
    struct store_box box;
    uint32_t top;
    size_t n = 0;

    *seqs = (struct store_uids){ 0 };
    store_view_box(v, &box);
    top = box.exists;
    if (is_uid && box.exists > 0 && store_view_row(v, box.exists, &row))
        top = row.uid;
    if (is_uid && box.exists == 0)
        return true;
    r = mem_alloc((set->n + 1) * sizeof(*r));
    for (size_t i = 0; i < set->n; i++) {
        uint32_t a = set->v[i].first == IMAP_STAR ? top : set->v[i].first;
        uint32_t b = set->v[i].last == IMAP_STAR ? top : set->v[i].last;

        r[n] = (struct store_uid_range){ a < b ? a : b, a < b ? b : a };
        if (!is_uid && (r[n].last > box.exists || r[n].first == 0)) {
            free(r);
            imap_bad(c, "BAD Error in IMAP command %s: Invalid messageset.", c->row->name);
            return false;
        }
        if (!is_uid || uids_to_seqs(v, &r[n]))
            n++;
    }
    qsort(r, n, sizeof(*r), cmp_ranges); /* so that adding is cheap */
    for (size_t i = 0; i < n; i++)
        store_uids_add(seqs, r[i].first, r[i].last);
    free(r);
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
