/* store/rebuild.c - the index anew from the Maildir, a mailbox a transaction, under a larger UIDVALIDITY. What only an
 * index knows (POP3 UIDLs and GUIDs, keywords beyond the letters, time zones, object ids, special use) is carried over
 * from the old one by the files' base names, as far as that can be read. */
#include "store/maintain.h"
#include "store/store_int.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

static const char was_table[] =
    "CREATE TEMP TABLE IF NOT EXISTS was (base TEXT PRIMARY KEY, uid INTEGER, kw INTEGER,"
    " tz INTEGER, savedate INTEGER, email INTEGER, thread INTEGER, guid TEXT, uidl TEXT,"
    " uidl_order INTEGER) WITHOUT ROWID; DELETE FROM temp.was;"
    "CREATE TEMP TABLE IF NOT EXISTS was_keywords (at INTEGER PRIMARY KEY, name TEXT);"
    "DELETE FROM temp.was_keywords;";

#define BASE_OF(file) "substr(" file ", 1, instr(" file " || ':', ':') - 1)"

static int
run(struct store_user *u, const char *sql, int64_t a, int64_t b, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, a);
    if (db_bind_count(s) > 1)
        db_bind_int(s, 2, b);
    return db_run(s, e);
}

/* UIDLs of INBOX as POP3 clients were told them. */
static int
remember(struct store_user *u, const struct mbox *mb, bool is_inbox, struct err *e)
{
    if (db_exec(u->db, was_table, e) ||
        run(u,
            "INSERT OR IGNORE INTO temp.was SELECT " BASE_OF(
                "m.file") ", m.uid, m.kw, m.tz, m.savedate,"
                          " m.email, m.thread, f.guid, f.uidl, f.uidl_order FROM messages m"
                          " LEFT JOIN foreign_ids f ON f.mailbox = m.mailbox AND f.uid = m.uid"
                          " WHERE m.mailbox = ?1",
            mb->id, 0, e) ||
        run(u,
            "INSERT OR IGNORE INTO temp.was_keywords SELECT at, name FROM keywords"
            " WHERE mailbox = ?1",
            mb->id, 0, e))
        return -1;
    return is_inbox ? run(u,
                          "UPDATE temp.was SET uidl = printf('%08x%08x', uid, ?1)"
                          " WHERE uidl IS NULL",
                          mb->uidvalidity, 0, e)
                    : 0;
}

static struct map *
old_uids(struct store_user *u, uint32_t uidnext, struct err *e)
{
    struct map *hints = map_new();
    struct db_stmt *s;
    int rc = db_prepare(u->db, "SELECT base, uid FROM temp.was", &s, e);

    if (rc == 0)
        while ((rc = db_step(s, e)) == 1)
            if (db_int(s, 1) > 0 && db_int(s, 1) < uidnext)
                map_set(hints, db_text(s, 0), (void *)(uintptr_t)db_int(s, 1));
    if (rc)
        map_free(&hints, NULL);
    return hints;
}

static int
carry_over(struct store_user *u, const struct mbox *mb, struct err *e)
{
    if (run(u,
            "UPDATE messages SET kw = messages.kw | (w.kw & ~?2), tz = w.tz,"
            " savedate = w.savedate, email = w.email, thread = w.thread FROM temp.was w"
            " WHERE messages.mailbox = ?1 AND w.base = " BASE_OF("messages.file"),
            mb->id, (INT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1, e) ||
        run(u,
            "INSERT OR REPLACE INTO foreign_ids (mailbox, uid, guid, uidl, uidl_order)"
            " SELECT m.mailbox, m.uid, w.guid, w.uidl, w.uidl_order FROM messages m"
            " JOIN temp.was w ON w.base = " BASE_OF(
                "m.file") " WHERE m.mailbox = ?1 AND (w.guid IS NOT NULL OR w.uidl IS NOT NULL OR"
                          " w.uidl_order IS NOT NULL)",
            mb->id, 0, e))
        return -1;
    return db_exec(u->db, "DELETE FROM temp.was; DELETE FROM temp.was_keywords", e);
}

static int
copy_text(struct store_user *u, int64_t mailbox, char guid[40], struct err *e)
{
    struct db_stmt *s;
    int rc;

    guid[0] = '\0';
    if (db_prepare(u->db, "SELECT guid FROM mailboxes WHERE id = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    rc = db_step(s, e);
    if (rc == 1) {
        snprintf(guid, 40, "%.*s", SL_ARG(sl_head(db_text(s, 0), 39)));
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

static int
set_guid(struct store_user *u, int64_t mailbox, const char *guid, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "UPDATE mailboxes SET guid = ? WHERE id = ?", &s, e))
        return -1;
    db_bind_text(s, 1, sl_z(guid));
    db_bind_int(s, 2, mailbox);
    return db_run(s, e);
}

/* The UIDs of the old one are kept where they can be: the order of messages is the clients' too. */
static int
rebuild_in_tx(struct store_user *u, struct slice name, const char *dir, int64_t id,
              uint64_t *messages, struct err *e)
{
    struct mbox was, mb;
    struct exported exported; /* an old list of then shall not count as Dovecot's new one */
    struct map *hints = NULL;
    uint64_t modseq = (uint64_t)clock_unix_s();
    char guid[40];
    int rc = mbox_load(u, id, &was, e);

    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "mailbox %.*s is gone", SL_ARG(name));
    rc = -1;
    if (was.modseq >= modseq)
        modseq = was.modseq + 1;
    if (copy_text(u, id, guid, e) || exported_load(u, id, &exported, e) ||
        remember(u, &was, name_is_inbox(name), e) ||
        (hints = old_uids(u, was.uidnext, e)) == NULL || mbox_forget(u, id, e) ||
        mbox_insert(u, name, 0, was.uidnext, modseq, &id, e) || set_guid(u, id, guid, e) ||
        exported_save(u, id, &exported, e) ||
        run(u, "INSERT INTO keywords SELECT ?1, at, name FROM temp.was_keywords", id, 0, e) ||
        keywords_import(u, dir, id, 0, e) || mbox_load(u, id, &mb, e) != 1)
        goto out;
    mb.use = was.use;
    if (mbox_scan_in_tx(u, dir, &mb, false, true, hints, e) || carry_over(u, &mb, e) ||
        import_recent(u, &mb, e) || mbox_save(u, &mb, e))
        goto out;
    *messages += (uint64_t)mb.messages;
    rc = 0;
out:
    map_free(&hints, NULL);
    return rc;
}

struct job {
    struct store_user *u;
    const struct store_teller *t;
    struct store_rebuilt *sum;
    uint64_t all;
};

static int
rebuild_folder(struct job *j, struct slice name, struct err *e)
{
    struct store_user *u = j->u;
    struct buf dir = { 0 };
    int64_t id;
    int rc = -1;

    if (mbox_dir(u, name, &dir, e) || mbox_find(u, name, &id, e) || index_begin_alone(u, e))
        goto out;
    rc = record_undo(u, e) /* the row's going takes records along */
             ? -1
             : rebuild_in_tx(u, name, buf_z(&dir), id, &j->sum->messages, e);
    if (rc) {
        index_rollback(u);
        goto out;
    }
    rc = index_commit(u, e);
    if (rc == 0) {
        j->sum->mailboxes++;
        user_tell(u, name, NULL);
        if (j->t != NULL && j->t->progress != NULL)
            j->t->progress(j->t->arg, j->sum->messages, j->all);
    }
out:
    buf_free(&dir);
    return rc;
}

static int
rebuild_all(struct job *j, struct err *e)
{
    struct names folders;
    struct db_stmt *s;
    int rc;

    if (dovecot_import(j->u, e) || record_recover(j->u, e) ||
        db_prepare(j->u->db, "SELECT coalesce(sum(messages), 0) FROM mailboxes", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        j->all = (uint64_t)db_int(s, 0);
        db_reset(s);
    }
    if (rc < 0 || folders_read(&j->u->loc, &folders, e))
        return -1;
    rc = rebuild_folder(j, SL("INBOX"), e);
    for (size_t i = 0; rc == 0 && i < folders.n; i++) {
        rc = rebuild_folder(j, sl_z(folders.v[i]), e);
        if (rc && e->kind == ERR_NOTFOUND) /* deleted meanwhile */
            rc = 0;
    }
    names_free(&folders);
    return rc;
}

int
store_rebuild(struct store *s, struct slice name, const struct store_userdb *db,
              const struct store_teller *t, struct store_rebuilt *out, struct err *e)
{
    struct store_user *u;
    struct job j = { .t = t, .sum = out };
    struct err why = { 0 };
    int rc;

    memset(out, 0, sizeof(*out));
    if (user_open_bare(s, name, db, &u, e))
        return -1;
    j.u = u;
    rc = user_lock(u, e);
    if (rc == 0 && db_check(u->db, &why)) {
        if (t != NULL && t->note != NULL)
            t->note(t->arg, sl_n(NULL, 0),
                    "the index is damaged and put aside; what only it knew is lost");
        rc = why.kind == ERR_PERM ? index_replace(u, &why, e) : (*e = why, -1);
        if (rc)
            user_unlock(u);
    }
    if (rc == 0) {
        rc = rebuild_all(&j, e);
        user_unlock(u);
    }
    store_user_close(&u);
    return rc;
}
