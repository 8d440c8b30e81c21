/* store/view_sleep.c - a view that idles holds three numbers: how many messages, the last UID, the MODSEQ up to which it
 * knows. The rows are made again from those that are there and those expunged since: UIDs only grow, so whatever is not
 * above the last UID was in the view. */
#include "store/store_int.h"

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
    v->last_uid = v->n > 0 ? v->rows[v->n - 1].uid : 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->rows[i].sys & STORE_RECENT)
            store_uids_add(&v->recent, v->rows[i].uid, v->rows[i].uid);
    view_drop_silent(v, 0);
    free(v->rows);
    free(v->silent);
    free(v->fresh);
    v->rows = NULL;
    v->silent = NULL;
    v->fresh = NULL;
    v->cap = v->cap_silent = 0;
    view_drop_ahead(v);
    v->is_asleep = true;
}

/* Rows as they were, as far as they matter: what changed since has modseq 0, so that the next refresh reports it. */
static int
load(struct store_view *v, struct err *e)
{
    struct db_stmt *s;
    size_t n = 0;
    int rc;

    if (db_prepare(
            v->u->db,
            "SELECT uid, uid, flags, kw, modseq FROM messages WHERE mailbox = ?1 AND uid <= ?2"
            " UNION ALL SELECT first, last, 0, 0, 0 FROM expunges"
            " WHERE mailbox = ?1 AND modseq > ?3 AND first <= ?2 ORDER BY 1",
            &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, v->last_uid);
    db_bind_int(s, 3, (int64_t)v->modseq);
    while ((rc = db_step(s, e)) == 1) {
        uint64_t modseq = (uint64_t)db_int(s, 4);

        uint32_t last = (uint32_t)db_int(s, 1);

        for (uint32_t uid = (uint32_t)db_int(s, 0); uid <= last && uid <= v->last_uid; uid++) {
            v->rows = mem_grow(v->rows, &v->cap, n + 1, sizeof(v->rows[0]));
            v->rows[n] = (struct vrow){ .uid = uid,
                                        .sys = (uint32_t)db_int(s, 2),
                                        .kw = (uint64_t)db_int(s, 3),
                                        .modseq = modseq <= v->modseq ? modseq : 0 };
            if (store_uids_has(&v->recent, uid))
                v->rows[n].sys |= STORE_RECENT;
            n++;
        }
    }
    if (rc)
        return -1;
    if (n != v->n) /* not this index's rows: it was made anew */
        return err_set(e, ERR_NOTFOUND, "Mailbox has changed beyond recognition");
    return 0;
}

int
view_wake(struct store_view *v, struct err *e)
{
    struct mbox mb;
    int rc;

    if (!v->is_asleep)
        return 0;
    rc = mbox_load(v->u, v->mailbox, &mb, e);
    if (rc == 0 || (rc == 1 && mb.uidvalidity != v->uidvalidity))
        rc = err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    else if (rc == 1)
        rc = load(v, e);
    if (rc) {
        free(v->rows);
        v->rows = NULL;
        v->cap = 0;
        if (e->kind == ERR_NOTFOUND) { /* for good: nothing is left to count */
            v->n = 0;
            v->n_recent = 0;
            v->is_gone = true;
        }
        return -1;
    }
    v->is_asleep = false;
    store_uids_free(&v->recent);
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
