/* store/flags.c - changing flags and keywords, expunging. The rename in cur/ is the durable form of flags: one system call
 * a message. Many messages go in batches; between two of them others of this user get their turn. */
#include "store/pop3.h"
#include "store/store_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { FLAGS_BATCH = 1024 }; /* messages in a transaction: some milliseconds */

static int
check_writable(const struct store_view *v, struct err *e)
{
    return v->is_readonly ? err_set(e, ERR_PERM, "Mailbox is read-only") : 0;
}

/* The transaction of a change to the view's mailbox. */
static int
change_begin(struct store_view *v, struct mbox *mb, struct err *e)
{
    int rc;

    if (index_begin(v->u, e))
        return -1;
    rc = mbox_load_named(v->u, v->mailbox, sl_z(v->name), mb, e);
    if (rc == 1 && mb->uidvalidity == v->uidvalidity)
        return 0;
    index_rollback(v->u);
    return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
}

static int
change_end(struct store_view *v, struct mbox *mb, int rc, struct err *e)
{
    if (rc == 0)
        rc = mbox_save(v->u, mb, e);
    if (rc)
        index_rollback(v->u);
    else
        rc = index_commit(v->u, e);
    if (rc == 0 && mb->change != 0)
        user_tell(v->u, sl_z(v->name), v);
    return rc;
}

int
store_keyword(struct store_view *v, struct slice name, bool create, struct err *e)
{
    struct mbox mb;
    int at = -1;

    for (size_t i = 0; i < v->keywords.n; i++)
        if (sl_ieqz(name, v->keywords.name[i]))
            return (int)i;
    if (create && check_writable(v, e))
        return -1;
    if (user_lock(v->u, e))
        return -1;
    if (!create) {
        at = keywords_take(v->u, v->dir, v->mailbox, name, false, e);
    } else if (change_begin(v, &mb, e) == 0) {
        at = keywords_take(v->u, v->dir, v->mailbox, name, true, e);
        if (change_end(v, &mb, at < 0 ? -1 : 0, e))
            at = -1;
    }
    user_unlock(v->u);
    return at;
}

/* The view has what it was before, so that whoever sees it knows what it is after. */
static bool
is_known(const struct store_view *v, uint32_t uid, uint64_t modseq)
{
    struct store_row r;

    return store_view_row(v, store_view_seq(v, uid), &r) && r.modseq == modseq;
}

/* ---- many messages, in batches ---- */

struct bulk {
    struct store_view *v;
    const struct store_flag_change *ch; /* NULL: expunge */
    bool is_any;                        /* expunge: not only what is marked */
    struct store_uids *modified;
    struct store_uids lost; /* not where the index has them */
    struct mbox mb;
    struct own_change own;
    struct parts parts;
    struct msg_batch batch;
    uint32_t uids[FLAGS_BATCH]; /* of a batch */
    size_t n;
};

static void
note_silent(struct store_view *v, uint32_t uid, uint64_t modseq)
{
    if (v->n_silent == 0 || v->silent[v->n_silent - 1].modseq != modseq) {
        v->silent = mem_grow(v->silent, &v->cap_silent, v->n_silent + 1, sizeof(v->silent[0]));
        v->silent[v->n_silent++] = (struct silent){ .modseq = modseq };
    }
    store_uids_add(&v->silent[v->n_silent - 1].uids, uid, uid);
}

struct store_flags
store_flags_after(struct store_flags was, const struct store_flag_change *ch)
{
    struct store_flags f = ch->flags;

    f.sys &= STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT;
    switch (ch->op) {
    case STORE_ADD:
        f.sys |= was.sys;
        f.kw |= was.kw;
        break;
    case STORE_REMOVE:
        f.sys = was.sys & ~f.sys;
        f.kw = was.kw & ~f.kw;
        break;
    case STORE_SET:
        break;
    }
    return f;
}

/* What others changed since the view was told of are other flags than these. A row made again after a sleep has the flags of now, not
 * those that were told. */
static bool
is_untouched(const struct bulk *b, const struct msg_brief *m)
{
    const struct store_flag_change *ch = b->ch;
    uint32_t seq = store_view_seq(b->v, m->uid);
    struct store_row told;

    return ch->op != STORE_SET && store_view_row(b->v, seq, &told) &&
           !view_missed_at(b->v, seq - 1) && told.modseq <= ch->unchangedsince &&
           ((told.flags.sys ^ m->flags.sys) & ch->flags.sys) == 0 &&
           ((told.flags.kw ^ m->flags.kw) & ch->flags.kw) == 0;
}

/* Those that run_batch() asked for and the index does not have; both ascend. */
static void
note_missing(struct bulk *b)
{
    for (size_t i = 0, k = 0; i < b->n; i++) {
        while (k < b->batch.n && b->batch.v[k].uid < b->uids[i])
            k++;
        if (k == b->batch.n || b->batch.v[k].uid != b->uids[i])
            store_uids_add(b->ch->missing, b->uids[i], b->uids[i]);
    }
}

static int
change_one(struct bulk *b, struct msg_brief *m, struct err *e)
{
    struct store_flags was = m->flags, now = store_flags_after(was, b->ch);
    uint64_t was_modseq;
    int rc;

    if (m->modseq < b->mb.floor)
        m->modseq = b->mb.floor;
    if (b->ch->has_unchangedsince && m->modseq > b->ch->unchangedsince && !is_untouched(b, m)) {
        if (b->modified != NULL)
            store_uids_add(b->modified, m->uid, m->uid);
        return 0;
    }
    if (now.sys == was.sys && now.kw == was.kw)
        return 0;
    rc = msg_rename(m, &b->parts, &b->batch.mem, now, e);
    if (rc < 1) {
        if (rc == 0)
            store_uids_add(&b->lost, m->uid, m->uid);
        return rc;
    }
    was_modseq = m->modseq;
    m->modseq = mbox_change(b->v->u, &b->mb);
    mbox_count_flags(&b->mb, was, now);
    if (b->ch->is_silent &&
        is_known(b->v, m->uid, was_modseq)) /* else another's would stay untold */
        note_silent(b->v, m->uid, m->modseq);
    return msg_write(b->v->u, b->mb.id, m, e);
}

static int
change_batch(struct bulk *b, struct err *e)
{
    for (size_t i = 0; i < b->batch.n; i++)
        if (change_one(b, &b->batch.v[i], e))
            return -1;
    if (b->ch->missing != NULL && b->batch.n < b->n)
        note_missing(b);
    return 0;
}

/* Those that are still marked, or all: their files first, so that a full disk gets room. */
static int
expunge_batch(struct bulk *b, struct err *e)
{
    size_t n = 0;

    for (size_t i = 0; i < b->batch.n; i++) {
        struct msg_brief *m = &b->batch.v[i];

        if (!b->is_any && !(m->flags.sys & STORE_DELETED))
            continue;
        if (unlinkat(b->parts.fd[m->dir], m->file, 0) == 0)
            b->batch.v[n++] = *m;
        else if (errno == ENOENT)
            store_uids_add(&b->lost, m->uid, m->uid);
        else
            return err_sys(e, "cannot remove %s", m->file);
    }
    return msg_expunge_batch(b->v->u, &b->mb, b->batch.v, n, e);
}

/* What was gathered, in a transaction; then others get their turn. */
static int
run_batch(struct bulk *b, struct err *e)
{
    struct store_view *v = b->v;
    size_t n_silent;
    int rc;

    if (b->n == 0)
        return 0;
    msg_batch_reset(&b->batch);
    if (record_recover(v->u, e) || change_begin(v, &b->mb, e))
        return -1;
    b->own = mbox_own_begin(&b->mb, v->dir);
    rc = msg_batch_load(v->u, v->mailbox, b->uids, b->n, &b->batch, e);
    if (rc == 0)
        rc = b->ch == NULL ? expunge_batch(b, e) : change_batch(b, e);
    if (b->mb.change != 0)
        mbox_own_end(&b->mb, v->dir, b->own);
    rc = change_end(v, &b->mb, rc, e);
    n_silent = v->n_silent;
    if (rc && n_silent > 0 && v->silent[n_silent - 1].modseq == b->mb.change)
        view_drop_silent(v, n_silent - 1); /* that MODSEQ will be another change's */
    b->n = 0;
    return rc ? -1 : user_turn(v->u, e);
}

static int
add(struct bulk *b, uint32_t uid, struct err *e)
{
    b->uids[b->n++] = uid;
    return b->n == FLAGS_BATCH ? run_batch(b, e) : 0;
}

/* The messages of the view that are in the set and not gone. */
static int
run_set(struct bulk *b, const struct store_uids *set, struct err *e)
{
    struct store_view *v = b->v;

    for (size_t i = 0; i < set->n; i++)
        for (size_t at = view_at_least(v, set->v[i].first);
             !v->is_asleep && at < v->n && view_uid_at(v, at) <= set->v[i].last; at++)
            if (!view_gone_at(v, at)) {
                if (add(b, view_uid_at(v, at), e))
                    return -1;
            } else if (b->ch != NULL && b->ch->missing != NULL) {
                store_uids_add(b->ch->missing, view_uid_at(v, at), view_uid_at(v, at));
            }
    return run_batch(b, e);
}

/* The next messages marked \Deleted, from a UID on, up to as many as a batch has. */
static int
marked_from(const struct store_view *v, uint32_t from, uint32_t uids[FLAGS_BATCH], size_t *n,
            struct err *e)
{
    struct db_stmt *s;
    int rc;

    *n = 0;
    if (db_prepare(v->u->db,
                   "SELECT uid FROM messages INDEXED BY messages_deleted WHERE mailbox = ? AND "
                   "flags & 8 = 8 AND uid >= ? ORDER BY uid LIMIT ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, from);
    db_bind_int(s, 3, FLAGS_BATCH);
    while ((rc = db_step(s, e)) == 1)
        uids[(*n)++] = (uint32_t)db_int(s, 0);
    return rc;
}

/* What is marked, of uids only when not NULL, and in the view. */
static int
run_marked(struct bulk *b, const struct store_uids *set, struct err *e)
{
    struct store_view *v = b->v;
    uint32_t uids[FLAGS_BATCH], from = 1;
    size_t n;

    do {
        if (marked_from(v, from, uids, &n, e))
            return -1;
        for (size_t i = 0; i < n; i++) {
            size_t at = view_at_least(v, uids[i]);

            if (!v->is_asleep && at < v->n && view_uid_at(v, at) == uids[i] &&
                !view_gone_at(v, at) && (set == NULL || store_uids_has(set, uids[i])))
                b->uids[b->n++] = uids[i];
        }
        if (n > 0)
            from = uids[n - 1] + 1;
        if (run_batch(b, e))
            return -1;
    } while (n == FLAGS_BATCH);
    return 0;
}

static int
run(struct bulk *b, const struct store_uids *set, struct err *e)
{
    return b->ch == NULL && !b->is_any ? run_marked(b, set, e) : run_set(b, set, e);
}

/* Files that a foreign program renamed are looked for, once; what is gone then is gone. */
static int
run_all(struct bulk *b, const struct store_uids *set, struct err *e)
{
    struct store_uids lost;
    struct mbox mb;
    int rc;

    if (parts_open(&b->parts, b->v->dir, e))
        return -1;
    rc = run(b, set, e);
    if (rc == 0 && b->lost.n > 0) {
        lost = b->lost;
        memset(&b->lost, 0, sizeof(b->lost));
        rc = mbox_load_named(b->v->u, b->v->mailbox, sl_z(b->v->name), &mb, e);
        if (rc == 1)
            rc = mbox_scan(b->v->u, sl_z(b->v->name), &mb, false, true, e);
        if (rc == 0)
            rc = run(b, &lost, e);
        store_uids_free(&lost);
    }
    store_uids_free(&b->lost);
    msg_batch_free(&b->batch);
    parts_close(&b->parts);
    return rc;
}

int
store_change_flags(struct store_view *v, const struct store_uids *uids,
                   const struct store_flag_change *ch, struct store_uids *modified, struct err *e)
{
    struct bulk b = { .v = v, .ch = ch, .modified = modified };
    int rc;

    if (check_writable(v, e) || user_lock(v->u, e))
        return -1;
    rc = run_all(&b, uids, e);
    user_unlock(v->u);
    return rc;
}

static int
expunge(struct store_view *v, const struct store_uids *uids, bool is_any, struct err *e)
{
    struct bulk b = { .v = v, .is_any = is_any };
    int rc;

    if (check_writable(v, e) || user_lock(v->u, e))
        return -1;
    rc = run_all(&b, uids, e);
    /* The files are gone, but there was no room to say so; the reserve was let go, so there is some now. Unless it is the
     * index that could not be opened again after others had their turn. */
    if (rc && err_is_full(e) && v->u->db != NULL) {
        b.n = 0;
        rc = run_all(&b, uids, e);
        if (rc == 0)
            user_tell(v->u, sl_z(v->name), NULL);
    }
    user_unlock(v->u);
    return rc;
}

int
store_expunge(struct store_view *v, const struct store_uids *uids, struct err *e)
{
    return expunge(v, uids, false, e);
}

int
store_remove(struct store_view *v, const struct store_uids *uids, struct err *e)
{
    return expunge(v, uids, true, e);
}
