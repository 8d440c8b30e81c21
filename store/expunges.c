/* store/expunges.c - the log of what left a mailbox: ranges of UIDs, each with the MODSEQ at which it left and when.
 * Views that sleep and clients that were away (QRESYNC, RFC 7162) are told from it. It is pruned: then
 * mailboxes.pruned_modseq says up to where it is not whole. */
#include "store/store_int.h"

#include "base/clock.h"

/* The range before these UIDs made longer: expunges come in ascending order. 1 done, 0 there is none, -1 e. */
static int
add_to_last(struct store_user *u, struct mbox *mb, uint32_t uid, uint32_t last, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(
            u->db,
            "UPDATE expunges SET last = ?4 WHERE mailbox = ?1 AND modseq = ?2 AND last = ?3 - 1"
            " AND first = (SELECT max(first) FROM expunges WHERE mailbox = ?1 AND modseq = "
            "?2 AND first < ?3)",
            &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)mb->change);
    db_bind_int(s, 3, uid);
    db_bind_int(s, 4, last);
    return db_run(s, e) ? -1 : db_changes(u->db) > 0;
}

int
expunges_add(struct store_user *u, struct mbox *mb, uint32_t first, uint32_t last, struct err *e)
{
    uint64_t modseq = mbox_change(u, mb);
    struct db_stmt *s;
    int rc = add_to_last(u, mb, first, last, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (db_prepare(u->db, "INSERT INTO expunges VALUES (?1, ?2, ?3, ?4, ?5)", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)modseq);
    db_bind_int(s, 3, first);
    db_bind_int(s, 4, last);
    db_bind_int(s, 5, clock_unix_s());
    if (db_run(s, e))
        return -1;
    mb->ranges++;
    return mb->ranges > EXPUNGES_KEEP && mb->ranges % EXPUNGES_PRUNE_EVERY == 0
               ? expunges_prune(u, mb, clock_unix_s(), e)
               : 0;
}

/* A number that a query over the log gives; *is_there false when it gives no row. */
static int
ask(struct store_user *u, const char *sql, const struct mbox *mb, int64_t arg, int64_t *out,
    bool *is_there, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, arg);
    rc = db_step(s, e);
    *is_there = rc == 1;
    if (rc == 1) {
        *out = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

/* All ranges of one MODSEQ go together, and none before an older one: the log is whole after pruned_modseq. */
int
expunges_prune(struct store_user *u, struct mbox *mb, int64_t now_unix_s, struct err *e)
{
    int64_t upto, young, some;
    bool is_there;
    struct db_stmt *s;

    if (mb->ranges <= EXPUNGES_KEEP)
        return 0;
    if (ask(u,
            "SELECT modseq FROM expunges WHERE mailbox = ? ORDER BY modseq DESC, first DESC LIMIT "
            "1 "
            "OFFSET ?",
            mb, EXPUNGES_KEEP, &upto, &is_there, e))
        return -1;
    if (!is_there)
        return 0;
    if (ask(u, "SELECT modseq FROM expunges WHERE mailbox = ? AND at > ? ORDER BY modseq LIMIT 1",
            mb, now_unix_s - EXPUNGES_KEEP_S, &young, &is_there, e))
        return -1;
    if (is_there && upto >= young)
        upto = young - 1;
    if (ask(u,
            "SELECT modseq FROM expunges WHERE mailbox = ? ORDER BY modseq, first LIMIT 1 OFFSET ?",
            mb, EXPUNGES_PRUNE_MAX, &some, &is_there, e))
        return -1;
    if (is_there && upto > some)
        upto = some;
    if (db_prepare(u->db, "DELETE FROM expunges WHERE mailbox = ? AND modseq <= ?", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, upto);
    if (db_run(s, e))
        return -1;
    if (db_changes(u->db) > 0 && (uint64_t)upto > mb->pruned_modseq)
        mb->pruned_modseq = (uint64_t)upto;
    mb->ranges -= db_changes(u->db);
    return 0;
}

/* ---- who was away (RFC 7162 §3.2.10) ---- */

/* Of these UIDs those that the view does not have. */
static int
add_absent(const struct store_view *v, uint32_t first, uint32_t last, struct store_uids *out)
{
    uint64_t from = first;

    for (size_t at = view_at_least(v, first); at < v->n && view_uid_at(v, at) <= last; at++) {
        uint32_t uid = view_uid_at(v, at);

        if (from < uid && store_uids_add(out, (uint32_t)from, uid - 1))
            return -1;
        from = (uint64_t)uid + 1;
    }
    return from <= last ? store_uids_add(out, (uint32_t)from, last) : 0;
}

/* The same of a range, as far as it is among others (NULL: all of it). */
static int
add_absent_among(const struct store_view *v, uint32_t first, uint32_t last,
                 const struct store_uids *among, struct store_uids *out)
{
    size_t lo = 0, hi = among == NULL ? 0 : among->n;
    int rc = 0;

    if (among == NULL)
        return add_absent(v, first, last, out);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        *(among->v[mid].last < first ? &lo : &hi) = among->v[mid].last < first ? mid + 1 : mid;
    }
    for (; rc == 0 && lo < among->n && among->v[lo].first <= last; lo++)
        rc = add_absent(v, among->v[lo].first > first ? among->v[lo].first : first,
                        among->v[lo].last < last ? among->v[lo].last : last, out);
    return rc;
}

static int
too_many(struct err *e)
{
    return err_set(e, ERR_LIMIT, "Too many messages have gone in between");
}

static int
vanished_by_log(const struct store_view *v, uint64_t since, const struct store_uids *among,
                struct store_uids *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(v->u->db,
                   "SELECT first, last FROM expunges WHERE mailbox = ? AND modseq > ? AND modseq "
                   "<= ? ORDER BY first",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    db_bind_int(s, 2, since > INT64_MAX ? INT64_MAX : (int64_t)since);
    db_bind_int(s, 3, (int64_t)v->modseq);
    while ((rc = db_step(s, e)) == 1)
        if (add_absent_among(v, (uint32_t)db_int(s, 0), (uint32_t)db_int(s, 1), among, out)) {
            db_reset(s);
            return too_many(e);
        }
    return rc;
}

static int
vanished(struct store_view *v, uint64_t since, const struct store_uids *among,
         struct store_uids *out, struct err *e)
{
    struct mbox mb;
    int rc = mbox_load(v->u, v->mailbox, &mb, e);

    if (rc < 1 || mb.uidvalidity != v->uidvalidity)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    if (since >= mb.pruned_modseq)
        return vanished_by_log(v, since, among, out, e);
    if (v->uidnext > 1 && add_absent_among(v, 1, v->uidnext - 1, among, out))
        return too_many(e);
    return 0;
}

int
store_vanished(struct store_view *v, uint64_t since_modseq, const struct store_uids *among,
               struct store_uids *out, struct err *e)
{
    int rc;

    memset(out, 0, sizeof(*out));
    if (user_lock(v->u, e))
        return -1;
    rc = view_wake(v, e);
    if (rc == 0 && index_read_begin(v->u, e) == 0)
        rc = index_read_end(v->u, vanished(v, since_modseq, among, out, e), e);
    else
        rc = -1;
    user_unlock(v->u);
    if (rc)
        store_uids_free(out);
    return rc;
}
