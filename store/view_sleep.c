/* store/view_sleep.c - a view that idles holds three numbers: how many messages, the last UID, the MODSEQ up to which it
 * knows. The rows are made again from those that are there and those expunged since: UIDs only grow, so whatever is not
 * above the last UID was in the view. */
#include "store/shared.h"

#include "base/mem.h"

#include <stdlib.h>

void
store_view_sleep(struct store_view *v)
{
    struct store_box b;

    if (v->is_asleep || v->is_gone || v->n_gone > 0 || v->n_fresh > 0)
        return; /* gone rows are known to this view alone */
    store_view_box(v, &b);
    v->first_unseen = b.first_unseen_seq;
    v->last_uid = v->n > 0 ? view_uid_at(v, v->n - 1) : 0;
    view_drop_silent(v, 0);
    view_drop_rows(v);
    free(v->silent);
    free(v->fresh);
    v->silent = NULL;
    v->fresh = NULL;
    v->cap_silent = 0;
    view_drop_ahead(v);
    view_drop_kept(v);
    view_drop_order(v);
    v->is_asleep = true;
}

/* Rows as they were, as far as they matter: what changed since has modseq 0, so that the next sync reports it. */

struct was {
    struct rows_change *v;
    size_t n, cap;
};

static void
add(struct was *w, const struct vrow *row, bool is_gone)
{
    w->v = mem_grow(w->v, &w->cap, w->n + 1, sizeof(w->v[0]));
    w->v[w->n++] = (struct rows_change){ *row, is_gone };
}

static void
add_changed(const struct store_view *v, const struct rows *now, struct was *w)
{
    for (size_t i = 0; i < rows_count(now); i++) {
        struct vrow row = rows_at(now, i);

        if (row.uid > v->last_uid) {
            add(w, &row, true);
        } else if (row.modseq > v->modseq) {
            row.modseq = 0;
            add(w, &row, false);
        }
    }
}

static int
add_expunged(const struct store_view *v, struct was *w, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(
            v->u->db,
            "SELECT first, last FROM expunges WHERE mailbox = ? AND modseq > ? AND first <= ?", &s,
            e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, (int64_t)v->modseq);
    db_bind_int(s, 3, v->last_uid);
    while ((rc = db_step(s, e)) == 1) {
        uint32_t last = (uint32_t)db_int(s, 1);

        for (uint32_t uid = (uint32_t)db_int(s, 0); uid <= last && uid <= v->last_uid; uid++)
            add(w, &(struct vrow){ .uid = uid }, false);
    }
    return rc;
}

static int
cmp_was(const void *a, const void *b)
{
    uint32_t x = ((const struct rows_change *)a)->row.uid,
             y = ((const struct rows_change *)b)->row.uid;

    return x < y ? -1 : x > y;
}

/* In index_read_begin(). */
static int
load(struct store_view *v, struct err *e)
{
    struct mbox mb;
    struct rows *now;
    struct was w = { 0 };
    int rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), &mb, e);

    if (rc == 0 || (rc == 1 && mb.uidvalidity != v->uidvalidity))
        return err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    if (rc < 0 || shared_refresh(v->u, v->shared, &mb, &now, e))
        return -1;
    rc = 0;
    if (mb.modseq != v->modseq) {
        add_changed(v, now, &w);
        rc = add_expunged(v, &w, e);
    }
    if (rc == 0 && w.n > 0) {
        struct rows *then;

        qsort(w.v, w.n, sizeof(w.v[0]), cmp_was);
        then = rows_apply(now, w.v, w.n);
        rows_unref(&now);
        now = then;
    }
    free(w.v);
    /* Not this index's rows, it was made anew; or the log of expunges does not reach back so far. */
    if (rc == 0 && rows_count(now) != v->n)
        rc = err_set(e, ERR_NOTFOUND, "Mailbox has changed beyond recognition");
    if (rc)
        rows_unref(&now);
    else
        v->rows = now;
    return rc;
}

int
view_wake(struct store_view *v, struct err *e)
{
    int rc;

    if (!v->is_asleep)
        return 0;
    if (v->is_gone) /* n tells nothing any more that the rows could agree with */
        return err_set(e, ERR_NOTFOUND, "Mailbox has changed beyond recognition");
    if (index_read_begin(v->u, e))
        return -1;
    v->shared = shared_enter(v->u, v->mailbox);
    rc = index_read_end(v->u, load(v, e), e);
    if (rc) {
        view_drop_rows(v);
        if (e->kind == ERR_NOTFOUND) { /* for good: nothing is left to count */
            v->n = 0;
            v->n_recent = 0;
            v->is_gone = true;
        }
        return -1;
    }
    v->is_asleep = false;
    return 0;
}

int
store_view_wake(struct store_view *v, struct err *e)
{
    struct err why = { 0 };
    int rc;

    if (!v->is_asleep)
        return 0;
    rc = user_lock(v->u, &why);
    if (rc == 0) {
        rc = view_wake(v, &why);
        user_unlock(v->u);
    }
    if (rc && e != NULL)
        *e = why;
    return rc;
}
