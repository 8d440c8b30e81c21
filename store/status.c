/* store/status.c - STATUS: all of it are sums that the mailbox keeps. */
#include "store/store_int.h"

static void
fill(const struct mbox *mb, struct store_status *out)
{
    out->recent = (uint32_t)mb->recent;
    out->messages = (uint32_t)mb->messages;
    out->unseen = (uint32_t)mb->unseen;
    out->deleted = (uint32_t)mb->deleted;
    out->size_octets = (uint64_t)mb->crlf_octets;
    out->uidnext = mb->uidnext;
    out->uidvalidity = mb->uidvalidity;
    out->highestmodseq = mb->modseq;
    memcpy(out->mailbox_id, mb->object_id, sizeof(out->mailbox_id));
}

static int
status_locked(struct store_user *u, struct slice normal, struct store_status *out, struct err *e)
{
    struct mbox mb;
    int64_t id;
    int rc;

    if (record_recover(u, e) || mbox_find(u, normal, &id, e))
        return -1;
    rc = mbox_load(u, id, &mb, e);
    if (rc < 1)
        return rc < 0 ? -1
                      : err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
    if (mbox_scan(u, normal, &mb, false, false, e))
        return -1;
    fill(&mb, out);
    return 0;
}

int
store_status(struct store_user *u, struct slice name, struct store_status *out, struct err *e)
{
    struct buf normal = { 0 };
    int rc = name_normalise(&u->loc, name, &normal, e);

    memset(out, 0, sizeof(*out));
    if (rc == 0)
        rc = user_lock(u, e);
    if (rc == 0) {
        rc = status_locked(u, buf_slice(&normal), out, e);
        user_unlock(u);
    }
    buf_free(&normal);
    return rc;
}

/* The row alone says it when the folder is as the last scan left it. In a transaction for reading. */
static bool
status_at_once(struct store_user *u, struct slice name, struct store_status *out)
{
    struct buf normal = { 0 }, dir = { 0 };
    struct mbox mb;
    bool is_known;

    is_known = name_normalise(&u->loc, name, &normal, NULL) == 0 &&
               mbox_dir(u, buf_slice(&normal), &dir, NULL) == 0 &&
               mbox_load_by_name(u, buf_slice(&normal), &mb, NULL) == 1 &&
               mbox_is_unchanged(&mb, buf_z(&dir));
    if (is_known)
        fill(&mb, out);
    buf_free(&normal);
    buf_free(&dir);
    return is_known;
}

int
store_status_unchanged(struct store_user *u, const char *const *names, size_t n,
                       struct store_status *out, bool *is_known, struct err *e)
{
    int rc = user_lock(u, e);

    memset(out, 0, n * sizeof(out[0]));
    memset(is_known, 0, n * sizeof(is_known[0]));
    if (rc)
        return -1;
    rc = record_recover(u, e);
    if (rc == 0 && (rc = index_read_begin(u, e)) == 0) {
        for (size_t i = 0; i < n; i++)
            is_known[i] = status_at_once(u, sl_z(names[i]), &out[i]);
        rc = index_read_end(u, rc, e);
    }
    user_unlock(u);
    return rc;
}

/* No sum is kept of these: they are few, and have an index of their own. */
static int
deleted_octets_locked(struct store_user *u, struct slice normal, uint64_t *out, struct err *e)
{
    struct db_stmt *s;
    int64_t id;
    int rc;

    if (mbox_find(u, normal, &id, e) ||
        db_prepare(u->db,
                   "SELECT coalesce(sum(size), 0) FROM messages INDEXED BY messages_deleted "
                   "WHERE mailbox = ? AND flags & 8 = 8",
                   &s, e))
        return -1;
    db_bind_int(s, 1, id);
    rc = db_step(s, e);
    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_BUG, "no sum");
    *out = (uint64_t)db_int(s, 0);
    db_reset(s);
    return 0;
}

int
store_deleted_octets(struct store_user *u, struct slice name, uint64_t *out, struct err *e)
{
    struct buf normal = { 0 };
    int rc = name_normalise(&u->loc, name, &normal, e);

    *out = 0;
    if (rc == 0)
        rc = user_lock(u, e);
    if (rc == 0) {
        rc = deleted_octets_locked(u, buf_slice(&normal), out, e);
        user_unlock(u);
    }
    buf_free(&normal);
    return rc;
}
