/* store/view.c - a selected mailbox: the rows a session has been told of, and bringing them up to date. */
#include "store/store_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- rows ---- */

/* The first row with at least that UID. */
size_t
view_at_least(const struct store_view *v, uint32_t uid)
{
    size_t lo = 0,
           hi = v->is_asleep ? 0 : v->n; /* asleep after a failed waking: nothing is found */

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        *(v->rows[mid].uid < uid ? &lo : &hi) = v->rows[mid].uid < uid ? mid + 1 : mid;
    }
    return lo;
}

uint32_t
view_uid_at(const struct store_view *v, size_t i)
{
    return v->rows[i].uid;
}

bool
view_gone_at(const struct store_view *v, size_t i)
{
    return (v->rows[i].sys & VROW_GONE) != 0;
}

static struct vrow *
row_of(struct store_view *v, uint32_t uid)
{
    size_t at = view_at_least(v, uid);

    return at < v->n && v->rows[at].uid == uid ? &v->rows[at] : NULL;
}

bool
store_view_row(const struct store_view *v, uint32_t seq, struct store_row *out)
{
    const struct vrow *r;

    if (seq == 0 || seq > v->n || v->is_asleep)
        return false;
    r = &v->rows[seq - 1];
    *out = (struct store_row){ .uid = r->uid,
                               .flags = { .sys = r->sys & ~(uint32_t)VROW_GONE, .kw = r->kw },
                               .modseq = r->modseq };
    return true;
}

uint32_t
store_view_seq(const struct store_view *v, uint32_t uid)
{
    size_t at = view_at_least(v, uid);

    return !v->is_asleep && at < v->n && v->rows[at].uid == uid ? (uint32_t)at + 1 : 0;
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
    for (size_t i = 0; i < v->n; i++)
        if (!(v->rows[i].sys & STORE_SEEN))
            return (uint32_t)i + 1;
    return 0;
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

struct delta {
    uint32_t *uids; /* of known messages that changed */
    size_t n, cap;
    bool is_appended;
};

static int
take_expunges(struct store_view *v, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(v->u->db, "SELECT first, last FROM expunges WHERE mailbox = ? AND modseq > ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, (int64_t)v->modseq);
    while ((rc = db_step(s, e)) == 1) {
        uint32_t last = (uint32_t)db_int(s, 1);

        for (size_t i = view_at_least(v, (uint32_t)db_int(s, 0));
             i < v->n && v->rows[i].uid <= last; i++) {
            if (!(v->rows[i].sys & VROW_GONE))
                v->n_gone++;
            v->rows[i].sys |= VROW_GONE;
        }
    }
    return rc;
}

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

static void
take_row(struct store_view *v, const struct vrow *now, struct delta *d)
{
    struct vrow *r = v->n > 0 && now->uid > v->rows[v->n - 1].uid ? NULL : row_of(v, now->uid);

    if (r == NULL) {
        if (v->n > 0 && now->uid <= v->rows[v->n - 1].uid)
            return; /* expunged here and told; cannot be */
        v->rows = mem_grow(v->rows, &v->cap, v->n + 1, sizeof(v->rows[0]));
        v->rows[v->n++] = *now;
        d->is_appended = true;
        return;
    }
    if (r->modseq == now->modseq)
        return;
    if (!is_silent(v, now->uid, now->modseq) && !(r->sys & VROW_GONE)) {
        d->uids = mem_grow(d->uids, &d->cap, d->n + 1, sizeof(d->uids[0]));
        d->uids[d->n++] = now->uid;
    }
    r->sys = (r->sys & (STORE_RECENT | VROW_GONE)) | now->sys;
    r->kw = now->kw;
    r->modseq = now->modseq;
}

/* Rows that changed since v->modseq. After an unclean stop every message counts as changed at the floor. */
static int
take_rows(struct store_view *v, const struct mbox *mb, struct delta *d, struct err *e)
{
    struct db_stmt *s;
    bool is_all = v->n == 0 || mb->floor > v->modseq;
    int rc;

    if (db_prepare(
            v->u->db,
            is_all ? "SELECT uid, flags, kw, modseq FROM messages WHERE mailbox = ? ORDER BY uid"
                   : "SELECT uid, flags, kw, modseq FROM messages INDEXED BY messages_modseq"
                     " WHERE mailbox = ? AND modseq > ? ORDER BY uid",
            &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    if (!is_all)
        db_bind_int(s, 2, (int64_t)v->modseq);
    while ((rc = db_step(s, e)) == 1) {
        struct vrow now = { .uid = (uint32_t)db_int(s, 0),
                            .sys = (uint32_t)db_int(s, 1),
                            .kw = (uint64_t)db_int(s, 2),
                            .modseq = (uint64_t)db_int(s, 3) };

        if (now.modseq < mb->floor)
            now.modseq = mb->floor;
        take_row(v, &now, d);
    }
    return rc;
}

static int
read_changes(struct store_view *v, struct mbox *mb, struct delta *d, struct err *e)
{
    int rc = mbox_load(v->u, v->mailbox, mb, e);

    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    if (mb->modseq != v->modseq) {
        if (take_expunges(v, e) || take_rows(v, mb, d, e))
            return -1;
        v->modseq = mb->modseq;
    }
    v->uidnext = mb->uidnext;
    view_drop_silent(v, 0);
    return 0;
}

/* All of it as of one moment: else a view could hold rows newer than its modseq says. mb is loaded anew. */
static int
refresh(struct store_view *v, struct mbox *mb, struct delta *d, struct err *e)
{
    struct db_stmt *begin, *end;
    int rc;

    if (db_prepare(v->u->db, "BEGIN", &begin, e) || db_run(begin, e))
        return -1;
    rc = read_changes(v, mb, d, e);
    if (db_prepare(v->u->db, "COMMIT", &end, rc ? NULL : e) || db_run(end, rc ? NULL : e)) {
        db_rollback(v->u->db);
        rc = -1;
    }
    return rc;
}

/* Recent is who first sees it: a read-write view takes what nobody has, a read-only one only looks. */
static int
claim_recent(struct store_view *v, struct mbox *mb, struct err *e)
{
    int rc;

    if (mb->recent_from >= mb->uidnext)
        return 0;
    if (!v->is_readonly) {
        uint32_t uidnext = mb->uidnext;

        if (index_begin(v->u, e))
            return -1;
        rc = mbox_load(v->u, v->mailbox, mb, e);
        if (rc != 1) {
            index_rollback(v->u);
            return rc;
        }
        for (size_t i = view_at_least(v, mb->recent_from); i < v->n; i++)
            v->rows[i].sys |= STORE_RECENT;
        /* Not those that came since: the view has not seen them. */
        rc = mb->recent_from < uidnext ? mbox_set_recent(v->u, mb, uidnext, e) : 0;
        if (rc || mbox_save(v->u, mb, e)) {
            index_rollback(v->u);
            return -1;
        }
        if (index_commit(v->u, e))
            return -1;
    } else {
        for (size_t i = view_at_least(v, mb->recent_from); i < v->n; i++)
            v->rows[i].sys |= STORE_RECENT;
    }
    return 0;
}

static uint32_t
count_recent(const struct store_view *v)
{
    uint32_t n = 0;

    for (size_t i = 0; i < v->n; i++)
        n += (v->rows[i].sys & STORE_RECENT) != 0;
    return n;
}

/* ---- select ---- */

static int
load_view(struct store_view *v, struct err *e)
{
    struct mbox mb;
    struct delta d = { 0 };
    int rc;

    if (record_recover(v->u, e) || mbox_find(v->u, sl_z(v->name), &v->mailbox, e))
        return -1;
    rc = mbox_load(v->u, v->mailbox, &mb, e);
    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %s", v->name);
    if (mbox_scan(v->u, sl_z(v->name), &mb, !v->is_readonly, false, e))
        return -1;
    v->uidvalidity = mb.uidvalidity;
    memcpy(v->mailbox_id, mb.object_id, sizeof(v->mailbox_id));
    rc = refresh(v, &mb, &d, e);
    free(d.uids);
    if (rc || claim_recent(v, &mb, e))
        return -1;
    v->n_recent = count_recent(v);
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
    for (size_t i = 0; i < v->n_fresh; i++) {
        buf_free(&v->fresh[i].envelope);
        buf_free(&v->fresh[i].bodystructure);
        buf_free(&v->fresh[i].body);
    }
    free(v->fresh);
    keywords_free(&v->keywords);
    store_uids_free(&v->recent);
    free(v->rows);
    view_drop_silent(v, 0);
    free(v->silent);
    free(v->name);
    free(v->dir);
    store_user_close(&v->u);
    free(v);
}

/* ---- sync ---- */

/* Take the gone rows out, last first, so that each number is right when it is told. */
static void
announce_gone(struct store_view *v, struct store_changes *out)
{
    size_t n = 0;

    if (v->n_gone == 0)
        return;
    out->expunged = mem_alloc(v->n_gone * sizeof(out->expunged[0]));
    out->vanished = mem_alloc(v->n_gone * sizeof(out->vanished[0]));
    for (size_t i = v->n; i > 0; i--) {
        if (!(v->rows[i - 1].sys & VROW_GONE))
            continue;
        out->expunged[out->n_expunged] = (uint32_t)i;
        out->vanished[out->n_expunged++] = v->rows[i - 1].uid;
    }
    for (size_t i = 0; i < v->n; i++)
        if (!(v->rows[i].sys & VROW_GONE))
            v->rows[n++] = v->rows[i];
    v->n = n;
    v->n_gone = 0;
}

static int
cmp_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void
announce_changed(struct store_view *v, struct delta *d, struct store_changes *out)
{
    if (d->n > 1)
        qsort(d->uids, d->n, sizeof(d->uids[0]), cmp_u32);
    for (size_t i = 0; i < d->n; i++) {
        uint32_t seq = store_view_seq(v, d->uids[i]);

        if (seq != 0 && !(v->rows[seq - 1].sys & VROW_GONE))
            d->uids[out->n_changed++] = seq;
    }
    out->changed = d->uids;
    d->uids = NULL;
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
    struct stat st;
    int rc = mbox_load(v->u, v->mailbox, mb, e);

    if (rc < 0)
        return -1;
    if (rc == 1 && mb->uidvalidity != v->uidvalidity) {
        out->is_invalid = true;
        return 0;
    }
    if (rc == 0 || stat(v->dir, &st)) {
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
    uint32_t n_recent = v->n_recent;
    struct delta d = { 0 };
    struct mbox mb;
    size_t n_before;
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
    n_before = v->n;
    if (mbox_scan(v->u, sl_z(v->name), &mb, !v->is_readonly, false, e))
        return -1;
    if (mb.modseq == v->modseq && (v->n_gone == 0 || !allow_expunge) &&
        mb.recent_from >= mb.uidnext) {
        view_drop_silent(v, 0);
        v->uidnext = mb.uidnext;
        return sync_keywords(v, out, e);
    }
    if (refresh(v, &mb, &d, e) || claim_recent(v, &mb, e)) {
        free(d.uids);
        return -1;
    }
    out->exists_changed = v->n != n_before;
    if (allow_expunge)
        announce_gone(v, out);
    announce_changed(v, &d, out);
    v->n_recent = count_recent(v);
    out->recent_changed = v->n_recent != n_recent || out->exists_changed;
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
    memset(c, 0, sizeof(*c));
}
