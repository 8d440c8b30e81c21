/* store/index.c - a user's index database: schema, transactions, blocks, checkpoints. */
#include "store/shared.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ids of mailboxes are never used again (AUTOINCREMENT): a view of a deleted one finds nothing rather than another. Nor by
 * the next index, see first_id().
 * flags are STORE_* bits; dir 0 is new/, 1 cur/; expunges hold ranges, so that a reserved block can be one row. */
static const char schema_1[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE mailboxes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
    " uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL, uid_reserved INTEGER NOT NULL,"
    " recent_from INTEGER NOT NULL, modseq INTEGER NOT NULL, modseq_reserved INTEGER NOT NULL,"
    " floor INTEGER NOT NULL DEFAULT 0, new_mtime INTEGER NOT NULL DEFAULT 0, cur_mtime INTEGER "
    "NOT NULL DEFAULT 0,"
    " suspect_ms INTEGER NOT NULL DEFAULT 0, scan_ms INTEGER NOT NULL DEFAULT 0,"
    " scan_cost_ms INTEGER NOT NULL DEFAULT 0, special_use INTEGER NOT NULL DEFAULT 0, object_id "
    "TEXT NOT NULL,"
    " pruned_modseq INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE messages (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, dir INTEGER NOT NULL, "
    "file TEXT NOT NULL,"
    " flags INTEGER NOT NULL, kw INTEGER NOT NULL, modseq INTEGER NOT NULL, size INTEGER NOT NULL,"
    " crlf INTEGER NOT NULL, date INTEGER NOT NULL, tz INTEGER NOT NULL, savedate INTEGER NOT NULL,"
    " email INTEGER NOT NULL, thread INTEGER NOT NULL, PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE INDEX messages_modseq ON messages (mailbox, modseq);"
    "CREATE INDEX messages_new ON messages (mailbox, uid) WHERE dir = 0;"
    "CREATE INDEX messages_unseen ON messages (mailbox, uid) WHERE flags & 1 = 0;"
    "CREATE INDEX messages_deleted ON messages (mailbox, uid) WHERE flags & 8 = 8;"
    "CREATE TABLE cache (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, envelope TEXT, "
    "bodystructure TEXT, body TEXT,"
    " PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE TABLE keywords (mailbox INTEGER NOT NULL, at INTEGER NOT NULL, name TEXT NOT NULL,"
    " PRIMARY KEY (mailbox, at)) WITHOUT ROWID;"
    "CREATE TABLE expunges (mailbox INTEGER NOT NULL, modseq INTEGER NOT NULL, first INTEGER NOT "
    "NULL,"
    " last INTEGER NOT NULL, PRIMARY KEY (mailbox, modseq, first)) WITHOUT ROWID;"
    "CREATE TABLE pending (id INTEGER PRIMARY KEY, op INTEGER NOT NULL, mailbox INTEGER NOT NULL, "
    "name TEXT NOT NULL,"
    " tmp TEXT NOT NULL, file TEXT NOT NULL, src TEXT NOT NULL, src_file TEXT NOT NULL);";

/* Sums of a mailbox, kept by msg_insert() and its like; what an old server called mailbox and messages; rows of a view,
 * packed; when a range was expunged; what is computed from headers and text; Message-IDs (their hashes) and the threads
 * they belong to, of all mailboxes of the user. */
static const char schema_2[] =
    "ALTER TABLE mailboxes ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN crlf_octets INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN recent INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN ranges INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE mailboxes ADD COLUMN guid TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE mailboxes ADD COLUMN exported TEXT NOT NULL DEFAULT '';"
    "UPDATE mailboxes SET (messages, unseen, deleted, octets, crlf_octets, recent) ="
    " (SELECT count(*), coalesce(sum(flags & 1 = 0), 0), coalesce(sum(flags & 8 = 8), 0),"
    " coalesce(sum(size), 0), coalesce(sum(max(crlf, size)), 0), coalesce(sum(uid >= recent_from), "
    "0)"
    " FROM messages WHERE mailbox = mailboxes.id),"
    " ranges = (SELECT count(*) FROM expunges WHERE mailbox = mailboxes.id);"
    "ALTER TABLE expunges ADD COLUMN at INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE snapshots (mailbox INTEGER PRIMARY KEY, modseq INTEGER NOT NULL, rows BLOB NOT "
    "NULL);"
    "CREATE TABLE foreign_ids (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, guid TEXT, uidl "
    "TEXT, uidl_order INTEGER,"
    " PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE TABLE cache_headers (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, headers TEXT, "
    "preview TEXT,"
    " PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE TABLE cache_sort (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, base_subject TEXT "
    "NOT NULL,"
    " is_reply INTEGER NOT NULL, from_key TEXT NOT NULL, to_key TEXT NOT NULL, cc_key TEXT NOT "
    "NULL,"
    " from_name TEXT NOT NULL, to_name TEXT NOT NULL, sent INTEGER, sent_tz INTEGER NOT NULL,"
    " message_id TEXT NOT NULL, refs TEXT NOT NULL, PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE TABLE message_ids (hash INTEGER PRIMARY KEY, thread INTEGER NOT NULL, day INTEGER NOT "
    "NULL);"
    "UPDATE messages SET thread = 0;"; /* never told yet */

/* From each version to the next. */
static const char *const schema_steps[INDEX_SCHEMA] = { schema_1, schema_2 };

enum {
    INDEX_OPEN_TRIES = 100,
    INDEX_OPEN_WAIT_US = 20 * 1000,
    INDEX_YOUNG_S = 120, /* the kernel has written by itself what is older */
    INDEX_FIRST_ID_BELOW = 1 << 22
};

static const char *fake_boot;

void
index_fake_boot(const char *id)
{
    fake_boot = id;
}

/* What tells one run of the kernel from the next: commits are safe from a kill of ours, not from a power cut. */
static void
boot_id(struct buf *out)
{
    if (fake_boot != NULL)
        buf_addz(out, fake_boot);
    else if (fs_read_file("/proc/sys/kernel/random/boot_id", out, NULL))
        buf_addz(out, "unknown");
    while (sl_ends(buf_slice(out), '\n'))
        buf_truncate(out, out->n - 1);
}

static int
meta_get(struct store_user *u, const char *key, struct buf *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT value FROM meta WHERE key = ?", &s, e))
        return -1;
    db_bind_text(s, 1, sl_z(key));
    rc = db_step(s, e);
    if (rc == 1) {
        buf_adds(out, db_text(s, 0));
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

static int
meta_set(struct store_user *u, const char *key, struct slice value, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT OR REPLACE INTO meta VALUES (?, ?)", &s, e))
        return -1;
    db_bind_text(s, 1, sl_z(key));
    db_bind_text(s, 2, value);
    return db_run(s, e);
}

/* The machine stopped since the index was written: what was told last may not be in it. No UID and no MODSEQ of the
 * reserved blocks may be given again, so the rest of each block counts as used and gone; every message counts as changed.
 * quota.db may have more of it, so that the number it knows must not come again either. */
static int
skip_blocks(struct store_user *u, struct err *e)
{
    char text[900];

    snprintf(text, sizeof(text),
             "INSERT OR REPLACE INTO expunges SELECT id, modseq_reserved + 1, uidnext, "
             "uid_reserved - 1, strftime('%%s', 'now') FROM mailboxes"
             " WHERE uid_reserved > uidnext;"
             "UPDATE mailboxes SET ranges = ranges + (uid_reserved > uidnext),"
             " modseq = modseq_reserved + 1, floor = modseq_reserved + 1,"
             " modseq_reserved = modseq_reserved + 1 + %d, uidnext = max(uidnext, uid_reserved),"
             " new_mtime = 0, cur_mtime = 0;"
             "UPDATE meta SET value = max(value, %lld) + 1 WHERE key = 'seq';",
             INDEX_MODSEQ_BLOCK, (long long)clock_unix_us());
    return db_exec(u->db, text, e);
}

static int
check_boot(struct store_user *u, bool is_new, struct err *e)
{
    struct buf now = { 0 }, was = { 0 };
    int rc = -1;

    boot_id(&now);
    if (meta_get(u, "boot", &was, e))
        goto out;
    if (sl_eq(buf_slice(&now), buf_slice(&was))) {
        rc = 0;
        goto out;
    }
    if (index_begin(u, e))
        goto out;
    buf_reset(&was); /* another process may have been quicker */
    if (meta_get(u, "boot", &was, e) == 0 &&
        (sl_eq(buf_slice(&now), buf_slice(&was)) ||
         ((is_new || skip_blocks(u, e) == 0) && meta_set(u, "boot", buf_slice(&now), e) == 0)))
        rc = 0;
    if (rc)
        index_rollback(u);
    else if ((rc = index_commit(u, e)) == 0)
        rc = index_sync(u, e);
out:
    buf_free(&now);
    buf_free(&was);
    return rc;
}

/* An index that is made anew counts from somewhere else: a view that is open finds nothing in it, where the same id would
 * give it other messages for its UIDs. Three octets, since every row has one. */
static int
first_id(struct store_user *u, struct err *e)
{
    struct uidvalidity v;
    char text[80];

    if (uidvalidity_read(u->control_dir, &v, NULL) == 0 && v.highest == 0 && !v.is_imported)
        return 0; /* there was none before */
    snprintf(text, sizeof(text), "INSERT INTO sqlite_sequence VALUES ('mailboxes', %u)",
             (unsigned)rand_below(INDEX_FIRST_ID_BELOW));
    return db_exec(u->db, text, e);
}

static int
make_schema(struct store_user *u, bool *is_new, struct err *e)
{
    int version;

    *is_new = false;
    if (db_schema_version(u->db, &version, e))
        return -1;
    if (version > INDEX_SCHEMA)
        return err_set(e, ERR_TEMP, "%s/" INDEX_FILE " was made by a newer Postern (schema %d)",
                       u->index_dir, version);
    if (version == INDEX_SCHEMA)
        return 0;
    if (index_begin(u, e))
        return -1;
    if (db_schema_version(u->db, &version, e)) { /* another process may have been quicker */
        index_rollback(u);
        return -1;
    }
    *is_new = version == 0;
    for (; version < INDEX_SCHEMA; version++)
        if (db_exec(u->db, schema_steps[version], e) ||
            db_set_schema_version(u->db, version + 1, e)) {
            index_rollback(u);
            return -1;
        }
    if (*is_new && first_id(u, e)) {
        index_rollback(u);
        return -1;
    }
    return index_commit(u, e);
}

/* Two processes that open a new database at once both want it in WAL mode, and SQLite does not wait then. */
static int
open_database(struct store_user *u, const char *path, struct err *e)
{
    for (int tries = 0;; tries++) {
        *e = (struct err){ 0 };
        if (db_open(path, DB_CREATE | DB_WAL | DB_NO_AUTOCHECKPOINT, STORE_DB_CACHE_KIB, &u->db,
                    e) == 0)
            return 0;
        if (e->kind != ERR_TEMP || (e->sys != 0 && e->sys != EBUSY) || tries == INDEX_OPEN_TRIES)
            return -1;
        usleep(INDEX_OPEN_WAIT_US);
    }
}

/* A process that was killed between a commit and its sync left numbers in the log that look reserved and are not: nobody
 * must be told any before they are. */
static int
sync_young_log(struct store_user *u, struct err *e)
{
    char *wal = path_join(u->index_dir, INDEX_FILE "-wal", NULL);
    struct stat st;
    int rc = 0;

    if (stat(wal, &st) == 0 && st.st_size > 0 && st.st_mtim.tv_sec > clock_unix_s() - INDEX_YOUNG_S)
        rc = index_sync(u, e);
    free(wal);
    return rc;
}

/* SQLite 3.40 can lose a commit when one connection writes while another checkpoints and resets the log: writers hold the
 * lock shared, a checkpoint has it alone. */
static int
lock_shared(struct store_user *u, struct err *e)
{
    int rc;

    do
        rc = flock(u->lock_fd, LOCK_SH);
    while (rc && errno == EINTR);
    return rc ? err_sys(e, "cannot lock the index of %s", u->name) : 0;
}

static void
unlock_shared(struct store_user *u)
{
    if (!u->keeps_lock)
        flock(u->lock_fd, LOCK_UN);
}

/* 0: there is none. */
static uint64_t
inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : (uint64_t)st.st_ino;
}

static int
open_once(struct store_user *u, struct err *e)
{
    char *path = path_join(u->index_dir, INDEX_FILE, NULL),
         *lock = path_join(u->index_dir, INDEX_LOCK_FILE, NULL);
    bool is_new = false;
    int rc = -1;

    u->lock_fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (u->lock_fd < 0) {
        err_sys(e, "cannot open %s", lock);
        goto out;
    }
    if (lock_shared(u, e)) /* not while it is set aside */
        goto out;
    u->db_inode = inode_of(path); /* should it not be a database */
    rc = open_database(u, path, e);
    if (rc == 0)
        u->db_inode = inode_of(path);
    unlock_shared(u);
    if (rc == 0)
        rc = make_schema(u, &is_new, e);
    if (rc == 0)
        rc = check_boot(u, is_new, e);
    if (rc == 0)
        rc = cache_check_version(u, e);
    if (rc == 0)
        rc = is_new ? fs_sync_dir(u->index_dir, e) : sync_young_log(u, e);
    if (rc == 0)
        db_damage_is_temp(u->db); /* a client hears of our trouble, not of a refusal */
out:
    if (rc)
        index_close(u);
    free(path);
    free(lock);
    return rc;
}

/* The three files of it. The log first: the next index must not find another's. */
static int
move_aside(struct store_user *u, struct err *e)
{
    static const char *const parts[] = { INDEX_FILE "-wal", INDEX_FILE "-shm", INDEX_FILE };
    int rc = 0;

    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        struct buf to = { 0 };
        char *from = path_join(u->index_dir, parts[i], NULL);

        buf_addf(&to, "%s.damaged", from);
        if (rename(from, buf_z(&to)) && errno != ENOENT)
            rc = err_sys(e, "cannot move %s aside", from);
        buf_free(&to);
        free(from);
    }
    return rc;
}

/* A damaged index goes aside: the Maildir is the truth and gives another. Not one that another process has made since: it
 * would lose what it has told its clients. Nobody opens it meanwhile. The index is closed. */
static int
set_aside(struct store_user *u, const struct err *why, struct err *e)
{
    char *path = path_join(u->index_dir, INDEX_FILE, NULL),
         *lock = path_join(u->index_dir, INDEX_LOCK_FILE, NULL);
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = -1;
    struct stat st;

    if (fd >= 0)
        do
            rc = flock(fd, LOCK_EX);
        while (rc && errno == EINTR);
    if (rc) {
        err_sys(e, "cannot lock %s", lock);
    } else if (stat(path, &st) == 0 && (uint64_t)st.st_ino == u->db_inode) {
        log_error("store.damaged", LOG_F(LF_Z("user", u->name)),
                  "user %s: %s; the index is rebuilt from the Maildir", u->name, why->msg);
        rc = move_aside(u, e);
    }
    if (fd >= 0)
        close(fd);
    free(path);
    free(lock);
    return rc;
}

int
index_open(struct store_user *u, struct err *e)
{
    struct err why = { 0 };

    if (open_once(u, &why) == 0)
        return 0;
    if (why.kind != ERR_PERM || set_aside(u, &why, &why)) {
        *e = why;
        if (e->kind == ERR_PERM)
            e->kind = ERR_TEMP;
        return -1;
    }
    return open_once(u, e);
}

int
index_replace(struct store_user *u, const struct err *why, struct err *e)
{
    index_close(u);
    return set_aside(u, why, e) ? -1 : open_once(u, e);
}

void
index_mend(struct store_user *u)
{
    struct err why = { 0 };
    bool is_bad;

    if (u->db == NULL || !db_is_damaged(u->db))
        return;
    is_bad = db_check(u->db, &why) && why.kind == ERR_PERM;
    index_close(u);
    if (is_bad)
        set_aside(u, &why, &why); /* other processes see that it is another file, and open that */
}

void
index_close(struct store_user *u)
{
    shared_drop_unused(u);
    db_close(&u->db);
    if (u->lock_fd >= 0)
        close(u->lock_fd);
    u->lock_fd = -1;
}

/* ---- transactions ---- */

static void
end_durable(struct store_user *u)
{
    if (u->is_durable)
        db_exec(u->db, "PRAGMA synchronous=NORMAL", NULL);
    u->is_durable = false;
}

void
index_checkpoint(struct store_user *u, int64_t longer_than_octets)
{
    char *wal = path_join(u->index_dir, INDEX_FILE "-wal", NULL);
    struct stat st;
    struct err e = { 0 };

    if (!u->keeps_lock && stat(wal, &st) == 0 && st.st_size > longer_than_octets &&
        flock(u->lock_fd, LOCK_EX | LOCK_NB) == 0) {
        if (db_checkpoint(u->db, true, &e) && e.kind != ERR_TEMP)
            log_warn("store.checkpoint", LOG_NONE, "user %s: %s", u->name, e.msg);
        flock(u->lock_fd, LOCK_UN);
    }
    free(wal);
}

int
index_begin_durable(struct store_user *u, struct err *e)
{
    if (db_exec(u->db, "PRAGMA synchronous=FULL", e))
        return -1;
    u->is_durable = true;
    if (index_begin(u, e) == 0)
        return 0;
    end_durable(u);
    return -1;
}

/* Not while another process is between the first and the last transaction of a COPY, MOVE or APPEND: it has looked where
 * its mailboxes lie. */
int
index_begin_alone(struct store_user *u, struct err *e)
{
    int rc;

    do
        rc = flock(u->lock_fd, LOCK_EX);
    while (rc && errno == EINTR);
    if (rc)
        return err_sys(e, "cannot lock the index of %s", u->name);
    u->must_sync = false;
    rc = db_begin(u->db, e);
    if (rc)
        unlock_shared(u);
    return rc;
}

int
index_begin(struct store_user *u, struct err *e)
{
    u->must_sync = false;
    if (lock_shared(u, e))
        return -1;
    if (db_begin(u->db, e) == 0)
        return 0;
    unlock_shared(u);
    if (err_is_full(e))
        reserve_release(u->s->reserve);
    return -1;
}

void
index_rollback(struct store_user *u)
{
    db_rollback(u->db);
    end_durable(u);
    unlock_shared(u);
    quota_after_rollback(u);
}

/* The log is checkpointed when it is longer than that. */
static int
commit(struct store_user *u, int64_t wal_max_octets, struct err *e)
{
    struct err why = { 0 };
    int rc = quota_before_commit(u, &why);

    if (rc)
        db_rollback(u->db);
    else
        rc = db_commit(u->db, &why);
    if (rc == 0 && u->must_sync && !u->is_durable)
        rc = index_sync(u, &why);
    end_durable(u);
    unlock_shared(u);
    if (rc) { /* should it have been committed and not synced, quota.db is behind until the index is opened again */
        quota_after_rollback(u);
        if (err_is_full(&why))
            reserve_release(u->s->reserve);
        if (e != NULL)
            *e = why;
        return -1;
    }
    quota_after_commit(u);
    index_checkpoint(u, wal_max_octets);
    return 0;
}

int
index_commit(struct store_user *u, struct err *e)
{
    return commit(u, INDEX_WAL_MAX_OCTETS, e);
}

int
index_commit_more(struct store_user *u, struct err *e)
{
    return commit(u, INDEX_WAL_BULK_OCTETS, e);
}

int
index_read_begin(struct store_user *u, struct err *e)
{
    struct db_stmt *s;

    return db_prepare(u->db, "BEGIN", &s, e) ? -1 : db_run(s, e);
}

int
index_read_end(struct store_user *u, int rc, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "COMMIT", &s, rc ? NULL : e) == 0 && db_run(s, rc ? NULL : e) == 0)
        return rc;
    db_rollback(u->db);
    return -1;
}

/* Sync the log itself: with synchronous=NORMAL commits only write to it. Its locks are on other files, so opening and
 * closing it here takes none away. */
int
index_sync(struct store_user *u, struct err *e)
{
    char *wal = path_join(u->index_dir, INDEX_FILE "-wal", NULL);
    int fd = open(wal, O_RDONLY | O_CLOEXEC), rc = 0;

    if (fd < 0)
        rc = errno == ENOENT
                 ? 0
                 : err_sys(e, "cannot open %s", wal); /* absent: all is in the database, synced */
    else if (fdatasync(fd))
        rc = err_sys(e, "cannot sync %s", wal);
    if (fd >= 0)
        close(fd);
    free(wal);
    return rc;
}

int
index_number(struct store_user *u, const char *sql, int64_t *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = 0;
    if (db_prepare(u->db, sql, &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        *out = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}
