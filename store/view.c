/* store/view.c - a selected mailbox: the rows a session has been told of, and bringing them up to date. */
#include "store/shared.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- rows ---- */

/* The first row with at least that UID; nothing is found in a view that is asleep after a failed waking. */
size_t
view_at_least(const struct store_view *v, uint32_t uid)
{
    return v->is_asleep ? 0 : rows_at_least(v->rows, uid);
}

uint32_t
view_uid_at(const struct store_view *v, size_t i)
{
    return rows_uid_at(v->rows, i);
}

bool
view_gone_at(const struct store_view *v, size_t i)
{
    return v->n_gone > 0 && store_uids_has(&v->gone, rows_uid_at(v->rows, i));
}

bool
view_missed_at(const struct store_view *v, size_t i)
{
    return rows_at(v->rows, i).modseq == 0;
}

bool
store_view_is_gone(const struct store_view *v, uint32_t seq)
{
    return seq > 0 && seq <= v->n && !v->is_asleep && view_gone_at(v, seq - 1);
}

void
view_drop_rows(struct store_view *v)
{
    rows_unref(&v->rows);
    shared_leave(v->u, &v->shared);
}

bool
store_view_row(const struct store_view *v, uint32_t seq, struct store_row *out)
{
    struct vrow r;

    if (seq == 0 || seq > v->n || v->is_asleep)
        return false;
    r = rows_at(v->rows, seq - 1);
    if (v->recent.n > 0 && store_uids_has(&v->recent, r.uid))
        r.sys |= STORE_RECENT;
    if (r.modseq == 0) /* the next sync tells which it has: not less than what the view knows */
        r.modseq = v->modseq;
    *out = (struct store_row){ .uid = r.uid,
                               .flags = { .sys = r.sys, .kw = r.kw },
                               .modseq = r.modseq };
    return true;
}

uint32_t
store_view_seq(const struct store_view *v, uint32_t uid)
{
    size_t at = view_at_least(v, uid);

    return !v->is_asleep && at < v->n && view_uid_at(v, at) == uid ? (uint32_t)at + 1 : 0;
}

uint32_t
store_view_seq_at_least(const struct store_view *v, uint32_t uid)
{
    return (uint32_t)view_at_least(v, uid) + 1;
}

struct slice
store_view_name(const struct store_view *v)
{
    return sl_z(v->name);
}

const char *
store_view_keyword(const struct store_view *v, size_t i)
{
    return i < v->keywords.n ? v->keywords.name[i] : NULL;
}

static uint32_t
first_unseen(const struct store_view *v)
{
    size_t at = rows_first_unseen(v->rows);

    return at < v->n ? (uint32_t)at + 1 : 0;
}

void
store_view_box(const struct store_view *v, struct store_box *out)
{
    memset(out, 0, sizeof(*out));
    out->exists = (uint32_t)v->n;
    out->recent = v->n_recent;
    out->uidnext = v->uidnext;
    out->uidvalidity = v->uidvalidity;
    out->highestmodseq = v->modseq;
    out->is_readonly = v->is_readonly;
    out->keywords_full = v->keywords.n >= STORE_KEYWORDS_MAX;
    memcpy(out->mailbox_id, v->mailbox_id, sizeof(out->mailbox_id));
    out->first_unseen_seq = v->is_asleep ? v->first_unseen : first_unseen(v);
}

/* ---- what changed ---- */

static bool
is_silent(const struct store_view *v, uint32_t uid, uint64_t modseq)
{
    for (size_t i = 0; i < v->n_silent; i++)
        if (v->silent[i].modseq == modseq)
            return store_uids_has(&v->silent[i].uids, uid);
    return false;
}

void
view_drop_silent(struct store_view *v, size_t from)
{
    while (v->n_silent > from)
        store_uids_free(&v->silent[--v->n_silent].uids);
}

struct delta {
    struct store_view *v;
    uint32_t *uids; /* of known messages that changed */
    size_t n, cap;
    uint32_t *silent; /* and of those that the session asked not to hear of */
    size_t n_silent, cap_silent;
    uint32_t gone_first, gone_last; /* a run of neighbours in the view; 0: none */
    size_t gone_at;                 /* the index of the last of them */
    bool is_appended;
};

/* One range with what lies between: UIDs only grow, so nothing will ever be there. */
static void
end_gone_run(struct delta *d)
{
    if (d->gone_first != 0)
        store_uids_add(&d->v->gone, d->gone_first, d->gone_last);
    d->gone_first = 0;
}

static void
on_gone(void *arg, size_t at, uint32_t uid)
{
    struct delta *d = arg;

    if (at != d->gone_at + 1)
        end_gone_run(d);
    if (d->gone_first == 0)
        d->gone_first = uid;
    d->gone_last = uid;
    d->gone_at = at;
}

static void
on_changed(void *arg, const struct vrow *now)
{
    struct delta *d = arg;

    if (is_silent(d->v, now->uid, now->modseq)) {
        d->silent = mem_grow(d->silent, &d->cap_silent, d->n_silent + 1, sizeof(d->silent[0]));
        d->silent[d->n_silent++] = now->uid;
        return;
    }
    d->uids = mem_grow(d->uids, &d->cap, d->n + 1, sizeof(d->uids[0]));
    d->uids[d->n++] = now->uid;
}

static void
on_new(void *arg, const struct vrow *row)
{
    (void)row;
    ((struct delta *)arg)->is_appended = true;
}

static size_t
count_in(const struct rows *r, const struct store_uids *set)
{
    size_t n = 0;

    for (size_t i = 0; i < set->n; i++)
        n += (set->v[i].last == UINT32_MAX ? rows_count(r) : rows_at_least(r, set->v[i].last + 1)) -
             rows_at_least(r, set->v[i].first);
    return n;
}

static void
compare(struct store_view *v, const struct rows *now, struct delta *d)
{
    static const struct rows_diff_ops ops = { on_gone, on_new, on_changed };

    d->v = v;
    rows_diff(v->rows, now, &ops, d);
    end_gone_run(d);
    v->n_gone = count_in(v->rows, &v->gone);
}

/* The newest rows, and mb, as of one moment: else a view could hold rows newer than its modseq says. */
static int
read_rows(struct store_view *v, struct mbox *mb, struct rows **now, struct err *e)
{
    int rc;

    *now = NULL;
    if (index_read_begin(v->u, e))
        return -1;
    rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), mb, e);
    if (rc == 1 && v->uidvalidity != 0 && mb->uidvalidity != v->uidvalidity)
        rc = 0; /* another index's: a scan gives user.lock up in between */
    if (rc == 1)
        rc = shared_refresh(v->u, v->shared, mb, now, e);
    else if (rc == 0)
        rc = err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    rc = index_read_end(v->u, rc, e);
    if (rc)
        rows_unref(now);
    return rc;
}

/* The view's rows are these now, and those that are gone and not announced in between. Takes the reference. */
static void
set_rows(struct store_view *v, struct rows *now)
{
    struct rows_change *kept;
    struct rows *both;
    size_t n = 0;

    if (v->n_gone > 0) {
        kept = mem_alloc(v->n_gone * sizeof(kept[0]));
        for (size_t i = 0; i < v->gone.n; i++)
            for (size_t at = rows_at_least(v->rows, v->gone.v[i].first);
                 at < v->n && rows_uid_at(v->rows, at) <= v->gone.v[i].last; at++)
                kept[n++] = (struct rows_change){ .row = rows_at(v->rows, at) };
        both = rows_apply(now, kept, n);
        free(kept);
        rows_unref(&now);
        now = both;
    }
    rows_unref(&v->rows);
    v->rows = now;
    v->n = rows_count(now);
}

/* Recent is who first sees it: a read-write view takes what nobody has, a read-only one only looks - and one that cannot
 * write, on a full disk. Not taken are those that came since: the view has not seen them. */
static void
claim_recent(struct store_view *v, const struct mbox *seen)
{
    uint32_t from = seen->recent_from;
    struct err why = { 0 };
    struct mbox mb;

    if (from >= seen->uidnext)
        return;
    if (!v->is_readonly && index_begin(v->u, &why) == 0) {
        int rc = mbox_load(v->u, v->mailbox, &mb, &why);

        if (rc == 1) {
            from = mb.recent_from; /* another process may have been quicker */
            rc = from < seen->uidnext ? mbox_set_recent(v->u, &mb, seen->uidnext, &why) : 0;
            if (rc == 0)
                rc = mbox_save(v->u, &mb, &why);
        }
        if (rc)
            index_rollback(v->u);
        else
            index_commit(v->u, &why);
    }
    if (from < seen->uidnext)
        store_uids_add(&v->recent, from, seen->uidnext - 1);
}

/* Ranges of which nothing is left are forgotten. */
static uint32_t
count_recent(struct store_view *v)
{
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < v->recent.n; i++) {
        struct store_uids one = { .v = &v->recent.v[i], .n = 1 };
        size_t here = count_in(v->rows, &one);

        if (here > 0)
            v->recent.v[kept++] = v->recent.v[i];
        n += here;
    }
    v->recent.n = kept;
    return (uint32_t)n;
}

/* ---- select ---- */

static int
load_view(struct store_view *v, struct err *e)
{
    struct mbox mb;
    struct rows *now;
    int rc;

    if (record_recover(v->u, e) || mbox_find(v->u, sl_z(v->name), &v->mailbox, e))
        return -1;
    rc = mbox_load(v->u, v->mailbox, &mb, e);
    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %s", v->name);
    if (mbox_scan(v->u, sl_z(v->name), &mb, !v->is_readonly, false, e))
        return -1;
    v->shared = shared_enter(v->u, v->mailbox);
    if (read_rows(v, &mb, &now, e))
        return -1;
    set_rows(v, now);
    v->uidvalidity = mb.uidvalidity;
    v->uidnext = mb.uidnext;
    v->modseq = mb.modseq;
    memcpy(v->mailbox_id, mb.object_id, sizeof(v->mailbox_id));
    claim_recent(v, &mb);
    v->n_recent = count_recent(v);
    shared_settle(v->u, v->shared);
    return keywords_load(v->u, v->mailbox, &v->keywords, e);
}

int
store_select(struct store_user *u, struct slice name, bool is_readonly, struct store_view **out,
             struct err *e)
{
    struct store_view *v;
    struct buf normal = { 0 }, dir = { 0 };
    int rc;

    *out = NULL;
    if (name_normalise(&u->loc, name, &normal, e) || mbox_dir(u, buf_slice(&normal), &dir, e)) {
        buf_free(&normal);
        buf_free(&dir);
        return -1;
    }
    v = MEM_NEW(struct store_view);
    v->u = user_ref(u);
    v->name = mem_dupz(buf_z(&normal));
    v->dir = mem_dupz(buf_z(&dir));
    v->is_readonly = is_readonly;
    buf_free(&normal);
    buf_free(&dir);
    rc = user_lock(u, e);
    if (rc == 0) {
        rc = load_view(v, e);
        user_unlock(u);
    }
    if (rc)
        store_unselect(&v);
    *out = v;
    return rc;
}

void
store_unselect(struct store_view **vp)
{
    struct store_view *v = *vp;
    struct err why = { 0 };

    if (v == NULL)
        return;
    *vp = NULL;
    BUG_ON(v->watch != NULL);                           /* stop watching first */
    if (v->n_fresh > 0 && user_lock(v->u, &why) == 0) { /* else what was computed is lost */
        view_save_fresh(v);
        user_unlock(v->u);
    }
    view_drop_ahead(v);
    view_drop_kept(v);
    view_drop_order(v);
    view_drop_fresh(v);
    free(v->fresh);
    keywords_free(&v->keywords);
    store_uids_free(&v->gone);
    store_uids_free(&v->recent);
    view_drop_rows(v);
    view_drop_silent(v, 0);
    free(v->silent);
    free(v->name);
    free(v->dir);
    store_user_close(&v->u);
    free(v);
}

/* ---- sync ---- */

/* The gone ones, last first, so that each number is right when it is told. They are still in the view's rows. */
static void
announce_gone(struct store_view *v, struct store_changes *out)
{
    if (v->n_gone == 0)
        return;
    out->expunged = mem_alloc(v->n_gone * sizeof(out->expunged[0]));
    out->vanished = mem_alloc(v->n_gone * sizeof(out->vanished[0]));
    for (size_t i = v->gone.n; i > 0; i--) {
        const struct store_uid_range *r = &v->gone.v[i - 1];

        for (size_t at = rows_at_least(v->rows, r->last);; at--) {
            if (at < v->n && view_uid_at(v, at) <= r->last) {
                if (view_uid_at(v, at) < r->first)
                    break;
                out->expunged[out->n_expunged] = (uint32_t)at + 1;
                out->vanished[out->n_expunged++] = view_uid_at(v, at);
            }
            if (at == 0)
                break;
        }
    }
    store_uids_free(&v->gone);
    v->n_gone = 0;
}

static void
announce_changed(struct store_view *v, struct delta *d, struct store_changes *out)
{
    for (size_t i = 0; i < d->n; i++)
        d->uids[i] = store_view_seq(v, d->uids[i]);
    for (size_t i = 0; i < d->n_silent; i++)
        d->silent[i] = store_view_seq(v, d->silent[i]);
    out->changed = d->uids;
    out->n_changed = d->n;
    out->silent = d->silent;
    out->n_silent = d->n_silent;
}

/* Take over the newest rows, and tell what is different. */
static int
sync_rows(struct store_view *v, bool allow_expunge, struct store_changes *out, struct err *e)
{
    uint32_t n_recent = v->n_recent;
    struct delta d = { 0 };
    struct rows *now;
    struct mbox mb;

    if (read_rows(v, &mb, &now, e))
        return -1;
    compare(v, now, &d);
    out->exists_changed = d.is_appended;
    if (allow_expunge)
        announce_gone(v, out);
    set_rows(v, now);
    v->modseq = mb.modseq;
    v->uidnext = mb.uidnext;
    announce_changed(v, &d, out);
    view_drop_silent(v, 0);
    claim_recent(v, &mb);
    v->n_recent = count_recent(v);
    out->recent_changed = v->n_recent != n_recent || out->exists_changed;
    return 0;
}

static int
sync_keywords(struct store_view *v, struct store_changes *out, struct err *e)
{
    struct keywords now;

    if (keywords_load(v->u, v->mailbox, &now, e))
        return -1;
    out->keywords_changed = now.n != v->keywords.n;
    for (size_t i = 0; !out->keywords_changed && i < now.n; i++)
        out->keywords_changed = strcmp(now.name[i], v->keywords.name[i]) != 0;
    keywords_free(&v->keywords);
    v->keywords = now;
    return 0;
}

/* 1: go on; 0: the mailbox is gone (out says so); -1 e. */
static int
is_still_there(struct store_view *v, struct mbox *mb, struct store_changes *out, struct err *e)
{
    int rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), mb, e);

    if (rc < 0)
        return -1;
    if (rc == 1 && mb->uidvalidity != v->uidvalidity) {
        out->is_invalid = true;
        return 0;
    }
    if (rc == 0 || folder_is_there(v->u, v->dir, NULL) == 0) {
        int64_t id;

        /* The index may have been made anew under us: then the mailbox is there, with other UIDs. */
        if (mbox_find(v->u, sl_z(v->name), &id, e) == 0)
            out->is_invalid = true;
        else if (e->kind == ERR_NOTFOUND)
            out->is_gone = true;
        else
            return -1;
        v->is_gone = true;
        return 0;
    }
    return 1;
}

static int
sync_locked(struct store_view *v, bool allow_expunge, struct store_changes *out, struct err *e)
{
    struct mbox mb;
    int rc;

    view_save_fresh(v);
    view_drop_ahead(v);
    if (record_recover(v->u, e))
        return -1;
    rc = is_still_there(v, &mb, out, e);
    if (rc < 1)
        return rc;
    if (view_wake(v, e)) {
        if (e->kind != ERR_NOTFOUND)
            return -1;
        out->is_invalid = true;
        return 0;
    }
    if (mbox_scan(v->u, sl_z(v->name), &mb, !v->is_readonly, false, e))
        return -1;
    if (mb.modseq == v->modseq && (v->n_gone == 0 || !allow_expunge) &&
        mb.recent_from >= mb.uidnext) {
        view_drop_silent(v, 0);
        v->uidnext = mb.uidnext;
    } else if (sync_rows(v, allow_expunge, out, e)) {
        return -1;
    }
    return sync_keywords(v, out, e);
}

int
store_view_sync(struct store_view *v, bool allow_expunge, struct store_changes *out, struct err *e)
{
    int rc;

    memset(out, 0, sizeof(*out));
    atomic_store(&v->is_told, false); /* what comes from here on is told again */
    rc = user_lock(v->u, e);
    if (rc == 0) {
        rc = sync_locked(v, allow_expunge, out, e);
        user_unlock(v->u);
    }
    out->has_held = v->n_gone > 0;
    if (rc)
        store_changes_free(out);
    return rc;
}

void
store_changes_free(struct store_changes *c)
{
    free(c->expunged);
    free(c->vanished);
    free(c->changed);
    free(c->silent);
    memset(c, 0, sizeof(*c));
}
