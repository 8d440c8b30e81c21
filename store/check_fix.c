/* store/check_fix.c - what a check found is put right: the Maildir is the truth, and clients hear of every change. */
#include "store/check_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

static int
run(struct check_box *c, const char *sql, int64_t arg, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(c->u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    if (db_bind_count(s) > 1)
        db_bind_int(s, 2, arg);
    return db_run(s, e);
}

/* A message of another size is another message: it goes, and what lies there comes as a new one. The same with the second
 * row of one file. */
static int
fix_rows(struct check_box *c, struct mbox *mb, struct err *e)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct check_row *r = &c->rows[i];
        struct maildir_name name;
        struct msg_row m;
        int rc = 0;

        if ((r->is_size_wrong || r->is_twin) && msg_expunge(c->u, mb, r->uid, e))
            return -1;
        if (r->is_size_wrong || r->is_twin || !(r->is_crlf_wrong || r->is_flags_wrong))
            continue;
        rc = msg_load(c->u, c->id, r->uid, &m, e);
        if (rc < 0)
            return -1;
        if (rc == 0 || strcmp(m.file, r->file) != 0)
            continue; /* it has changed since */
        if (r->is_flags_wrong && maildir_parse(m.file, &name)) {
            const uint64_t letters = (UINT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1;

            m.flags.sys = name.sys;
            m.flags.kw = (m.flags.kw & ~letters) | name.kw;
            m.modseq = mbox_change(c->u, mb);
            if (msg_update(c->u, &m, e))
                return -1;
        }
        if (r->is_crlf_wrong) {
            struct db_stmt *s;

            if (db_prepare(c->u->db, "UPDATE messages SET crlf = ? WHERE mailbox = ? AND uid = ?",
                           &s, e))
                return -1;
            db_bind_int(s, 1, r->right_crlf);
            db_bind_int(s, 2, c->id);
            db_bind_int(s, 3, r->uid);
            if (db_run(s, e))
                return -1;
        }
    }
    return 0;
}

static int
fix_numbers(struct check_box *c, struct mbox *mb, struct err *e)
{
    struct db_stmt *s;
    int64_t uid = 0, modseq = 0;
    int rc;

    if (db_prepare(c->u->db,
                   "SELECT coalesce(max(uid), 0), coalesce(max(modseq), 0) FROM messages"
                   " WHERE mailbox = ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    rc = db_step(s, e);
    if (rc == 1) {
        uid = db_int(s, 0);
        modseq = db_int(s, 1);
        db_reset(s);
    }
    if (rc < 0)
        return -1;
    if (uid >= mb->uidnext && uid < UINT32_MAX)
        mb->uidnext = (uint32_t)uid + 1;
    if (mb->uidnext > mb->uid_reserved)
        mb->uid_reserved = mb->uidnext + INDEX_UID_BLOCK;
    if ((uint64_t)modseq > mb->modseq)
        mb->modseq = (uint64_t)modseq;
    if (mb->modseq > mb->modseq_reserved)
        mb->modseq_reserved = mb->modseq + INDEX_MODSEQ_BLOCK;
    c->u->must_sync = true;
    return run(c, "UPDATE messages SET modseq = 1 WHERE mailbox = ?1 AND modseq < 1", 0, e);
}

static int
fix_keywords(struct check_box *c, struct err *e)
{
    struct keywords k;
    uint64_t used = 0;
    int rc;

    for (size_t i = 0; i < c->n; i++)
        used |= c->rows[i].flags.kw;
    if (keywords_import(c->u, c->dir, c->id, used, e) || keywords_load(c->u, c->id, &k, e))
        return -1;
    rc = k.n < 64 ? run(c, "UPDATE messages SET kw = kw & ?2 WHERE mailbox = ?1 AND kw & ~?2 <> 0",
                        (int64_t)((UINT64_C(1) << k.n) - 1), e)
                  : 0;
    if (rc == 0 && c->faults[FAULT_KEYWORD_FILE] > 0)
        rc = keywords_write_file(c->u, c->dir, &k, e);
    keywords_free(&k);
    return rc;
}

static int
fix_sums(struct check_box *c, struct mbox *mb, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (run(c,
            "DELETE FROM expunges WHERE mailbox = ?1 AND EXISTS (SELECT 1 FROM messages m WHERE"
            " m.mailbox = ?1 AND m.uid BETWEEN first AND last)",
            0, e) ||
        db_prepare(c->u->db,
                   "SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 = 8),"
                   " 0), coalesce(sum(size), 0), coalesce(sum(max(crlf, size)), 0),"
                   " coalesce(sum(uid >= ?2), 0), (SELECT count(*) FROM expunges WHERE mailbox ="
                   " ?1) FROM messages WHERE mailbox = ?1",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    db_bind_int(s, 2, mb->recent_from);
    rc = db_step(s, e);
    if (rc != 1)
        return rc < 0 ? -1 : err_set(e, ERR_BUG, "no sums");
    mb->messages = db_int(s, 0);
    mb->unseen = db_int(s, 1);
    mb->deleted = db_int(s, 2);
    mb->octets = db_int(s, 3);
    mb->crlf_octets = db_int(s, 4);
    mb->recent = db_int(s, 5);
    mb->ranges = db_int(s, 6);
    db_reset(s);
    return 0;
}

static int
fix_in_tx(struct check_box *c, struct err *e)
{
    struct mbox mb;
    struct uidvalidity v;
    int rc = mbox_load(c->u, c->id, &mb, e);

    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "mailbox %.*s is gone", SL_ARG(c->name));
    if (uidvalidity_read(c->u->control_dir, &v, e))
        return -1;
    if (mb.uidvalidity > v.highest) {
        v.highest = mb.uidvalidity;
        if (uidvalidity_write(c->u->control_dir, &v, e))
            return -1;
    }
    if (fix_numbers(c, &mb, e) || fix_rows(c, &mb, e) ||
        mbox_scan_in_tx(c->u, c->dir, &mb, false, true, NULL, e) || fix_keywords(c, e) ||
        fix_sums(c, &mb, e) || run(c, "DELETE FROM snapshots WHERE mailbox = ?1", 0, e))
        return -1;
    return mbox_save(c->u, &mb, e);
}

int
check_box_fix(struct check_box *c, struct err *e)
{
    int rc;

    if (index_begin(c->u, e))
        return -1;
    rc = fix_in_tx(c, e);
    if (rc) {
        index_rollback(c->u);
        return -1;
    }
    rc = index_commit(c->u, e);
    if (rc == 0)
        user_tell(c->u, c->name, NULL);
    return rc;
}
