/* store/expunges.c - the log of what left a mailbox: ranges of UIDs, each with the MODSEQ at which it left and when.
 * Views that sleep and clients that were away (QRESYNC, RFC 7162) are told from it. It is pruned: then
 * mailboxes.pruned_modseq says up to where it is not whole. */
#include "store/store_int.h"

#include "base/clock.h"

/* The range before this UID made longer: expunges come in ascending order. 1 done, 0 there is none, -1 e. */
static int
add_to_last(struct store_user *u, struct mbox *mb, uint32_t uid, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(
            u->db,
            "UPDATE expunges SET last = ?3 WHERE mailbox = ?1 AND modseq = ?2 AND last = ?3 - 1"
            " AND first = (SELECT max(first) FROM expunges WHERE mailbox = ?1 AND modseq = "
            "?2 AND first < ?3)",
            &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)mb->change);
    db_bind_int(s, 3, uid);
    return db_run(s, e) ? -1 : db_changes(u->db) > 0;
}

int
expunges_add(struct store_user *u, struct mbox *mb, uint32_t uid, struct err *e)
{
    uint64_t modseq = mbox_change(u, mb);
    struct db_stmt *s;
    int rc = add_to_last(u, mb, uid, e);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    if (db_prepare(u->db, "INSERT INTO expunges VALUES (?1, ?2, ?3, ?3, ?4)", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    db_bind_int(s, 2, (int64_t)modseq);
    db_bind_int(s, 3, uid);
    db_bind_int(s, 4, clock_unix_s());
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
