/* store/flags.c - changing flags and keywords, expunging. The rename in cur/ is the durable form of flags. */
#include "store/store_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { FLAGS_BATCH = 4096 }; /* messages in a transaction */

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
    rc = mbox_load(v->u, v->mailbox, mb, e);
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

/* ---- flags ---- */

static struct store_flags
apply_op(struct store_flags was, const struct store_flag_change *ch)
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

/* The view has what it was before, so that whoever sees it knows what it is after. */
static bool
is_known(const struct store_view *v, uint32_t uid, uint64_t modseq)
{
    struct store_row r;

    return store_view_row(v, store_view_seq(v, uid), &r) && r.modseq == modseq;
}

/* A change of many messages, a transaction for some thousands: others get their turn in between. */
struct flag_job {
    struct store_view *v;
    const struct store_flag_change *ch;
    struct store_uids *modified;
    struct mbox mb;
    struct own_change own;
    bool did_scan;
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

static int
batch_begin(struct flag_job *j, struct err *e)
{
    if (change_begin(j->v, &j->mb, e))
        return -1;
    j->own = mbox_own_begin(&j->mb, j->v->dir);
    return 0;
}

static int
batch_end(struct flag_job *j, int rc, struct err *e)
{
    size_t n = j->v->n_silent;

    if (j->mb.change != 0)
        mbox_own_end(&j->mb, j->v->dir, j->own);
    rc = change_end(j->v, &j->mb, rc, e);
    if (rc && n > 0 && j->v->silent[n - 1].modseq == j->mb.change)
        view_drop_silent(j->v, n - 1); /* that MODSEQ will be another change's */
    return rc;
}

/* one() for each message of the view that is in the ranges and not gone. */
static int
for_each(struct flag_job *j, const struct store_uid_range *ranges, size_t n,
         int (*one)(struct flag_job *, uint32_t uid, struct err *), struct err *e)
{
    struct store_view *v = j->v;
    size_t done = 0;
    int rc = 0;

    if (batch_begin(j, e))
        return -1;
    for (size_t i = 0; rc == 0 && i < n; i++)
        for (size_t at = view_at_least(v, ranges[i].first);
             rc == 0 && at < v->n && !v->is_asleep && view_uid_at(v, at) <= ranges[i].last; at++) {
            if (view_gone_at(v, at))
                continue;
            if (++done % FLAGS_BATCH == 0 && (batch_end(j, 0, e) || batch_begin(j, e)))
                return -1;
            rc = one(j, view_uid_at(v, at), e);
        }
    return batch_end(j, rc, e);
}

/* One message: 0 done, also when it is gone; -1 e. */
static int
change_one(struct flag_job *j, uint32_t uid, struct err *e)
{
    struct store_view *v = j->v;
    struct store_flags was, now;
    struct msg_row m;
    uint64_t was_modseq;
    int rc = msg_load(v->u, v->mailbox, uid, &m, e);

    if (rc < 1)
        return rc;
    was = m.flags;
    if (m.modseq < j->mb.floor)
        m.modseq = j->mb.floor;
    if (j->ch->has_unchangedsince && m.modseq > j->ch->unchangedsince) {
        if (j->modified != NULL)
            store_uids_add(j->modified, uid, uid);
        return 0;
    }
    now = apply_op(m.flags, j->ch);
    if (now.sys == m.flags.sys && now.kw == m.flags.kw)
        return 0;
    rc = msg_rename(&m, v->dir, now, e);
    if (rc == 0 && !j->did_scan) { /* a foreign program renamed it: look where it is, once */
        j->did_scan = true;
        if (mbox_scan_in_tx(v->u, v->dir, &j->mb, false, true, NULL, e))
            return -1;
        j->own = mbox_own_begin(&j->mb, v->dir);
        return change_one(j, uid, e);
    }
    if (rc < 1)
        return rc;
    was_modseq = m.modseq;
    m.modseq = mbox_change(v->u, &j->mb);
    mbox_count_flags(&j->mb, was, now);
    if (j->ch->is_silent &&
        is_known(v, uid, was_modseq)) /* else another's change would stay untold */
        note_silent(v, uid, m.modseq);
    return msg_update(v->u, &m, e);
}

int
store_change_flags(struct store_view *v, const struct store_uids *uids,
                   const struct store_flag_change *ch, struct store_uids *modified, struct err *e)
{
    struct flag_job j = { .v = v, .ch = ch, .modified = modified };
    int rc;

    if (check_writable(v, e) || user_lock(v->u, e))
        return -1;
    rc = for_each(&j, uids->v, uids->n, change_one, e);
    user_unlock(v->u);
    return rc;
}

/* ---- expunge ---- */

static int
unlink_message(const struct store_view *v, const struct msg_row *m, struct err *e)
{
    char *path = path_join(v->dir, m->dir == MAILDIR_NEW ? "new" : "cur", m->file);
    int rc = 0;

    if (unlink(path))
        rc = errno == ENOENT ? 1 : err_sys(e, "cannot remove %s", path);
    free(path);
    return rc;
}

/* One message, if it is still marked: its file first, so that a full disk gets room. */
static int
expunge_one(struct flag_job *j, uint32_t uid, struct err *e)
{
    struct msg_row m;
    int rc = msg_load(j->v->u, j->v->mailbox, uid, &m, e);

    if (rc < 1 || !(m.flags.sys & STORE_DELETED))
        return rc < 0 ? -1 : 0;
    rc = unlink_message(j->v, &m, e);
    if (rc < 0)
        return -1;
    if (rc == 1 && !j->did_scan) { /* renamed by a foreign program, or removed: the scan tells */
        j->did_scan = true;
        if (mbox_scan_in_tx(j->v->u, j->v->dir, &j->mb, false, true, NULL, e))
            return -1;
        j->own = mbox_own_begin(&j->mb, j->v->dir);
        return expunge_one(j, uid, e);
    }
    return rc == 1 ? 0 : msg_expunge(j->v->u, &j->mb, uid, e);
}

static int
expunge_all(struct store_view *v, const struct store_uids *uids, struct err *e)
{
    static const struct store_uid_range everything = { 1, UINT32_MAX };
    const struct store_uid_range *ranges = uids == NULL ? &everything : uids->v;
    size_t n = uids == NULL ? 1 : uids->n;
    struct flag_job j = { .v = v };

    return for_each(&j, ranges, n, expunge_one, e);
}

int
store_expunge(struct store_view *v, const struct store_uids *uids, struct err *e)
{
    int rc;

    if (check_writable(v, e) || user_lock(v->u, e))
        return -1;
    rc = expunge_all(v, uids, e);
    /* The files are gone, but there was no room to say so; the reserve was let go, so there is some now. */
    if (rc && err_is_full(e)) {
        rc = expunge_all(v, uids, e);
        if (rc == 0)
            user_tell(v->u, sl_z(v->name), NULL);
    }
    user_unlock(v->u);
    return rc;
}
