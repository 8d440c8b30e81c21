/* queue/qdb_open.c - opening the queue database: what it is made of, what a crash has left, and damage. See qdb.h. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "queue/pages.h"
#include "session/queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCHEMA_VERSION = 2,
    VERSION_MAX = 1000, /* more is no version of ours */
    CACHE_KIB = 4096,
    STALE_INCOMING_S =
        24 * 60 * 60 /* a file in incoming/ that nobody wrote to for so long has no session */
};

static const char schema[] =
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE message(n INTEGER PRIMARY KEY, id TEXT NOT NULL, arrived INTEGER NOT NULL,"
    " size INTEGER NOT NULL, env BLOB NOT NULL, env_crc INTEGER NOT NULL, is_file INTEGER NOT NULL,"
    " body_crc INTEGER NOT NULL, body BLOB);"
    "CREATE TABLE rcpt(message INTEGER NOT NULL, i INTEGER NOT NULL, due INTEGER,"
    " attempts INTEGER NOT NULL DEFAULT 0, flags INTEGER NOT NULL DEFAULT 0, status TEXT, why TEXT,"
    " hop TEXT, PRIMARY KEY(message, i)) WITHOUT ROWID;"
    "CREATE INDEX rcpt_due ON rcpt(due) WHERE due IS NOT NULL;";

/* ---- opening ---- */

static int
make_schema(struct qdb *q, struct err *e)
{
    /* Unused pages can be given back; an empty database takes this by being written anew. */
    if (db_exec(q->db, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM", e) != 0 ||
        db_begin(q->db, e) != 0)
        return -1;
    if (db_exec(q->db, schema, e) != 0 ||
        qdb_meta_set(q, "db_bits", rand_below(1U << 20), e) != 0 ||
        qdb_meta_set(q, "next", 1, e) != 0 ||
        db_set_schema_version(q->db, SCHEMA_VERSION, e) != 0) {
        db_rollback(q->db);
        return -1;
    }
    return db_commit(q->db, e);
}

/* Version 1 did not know the next hop. */
static int
upgrade(struct qdb *q, struct err *e)
{
    if (db_begin(q->db, e) != 0)
        return -1;
    if (db_exec(q->db, "ALTER TABLE rcpt ADD COLUMN hop TEXT", e) != 0 ||
        db_set_schema_version(q->db, SCHEMA_VERSION, e) != 0) {
        db_rollback(q->db);
        return -1;
    }
    return db_commit(q->db, e);
}

static bool
has_tables(struct qdb *q)
{
    int64_t n = 0;
    struct err e = { 0 };

    return qdb_pragma_int(q, "SELECT count(*) FROM sqlite_master", &n, &e) != 0 || n > 0;
}

static int
load_meta(struct qdb *q, struct err *e)
{
    int version = 0;
    uint64_t bits = 0, clock_us = 0;
    struct err none = { 0 };

    if (db_schema_version(q->db, &version, e) != 0)
        return -1;
    if (version > VERSION_MAX || (version == 0 && has_tables(q)))
        return err_set(e, ERR_PERM, "its version is none: %d", version);
    if (version == 0) {
        if (q->is_readonly)
            return err_set(e, ERR_NOTFOUND, "the queue database is empty");
        if (make_schema(q, e) != 0)
            return -1;
    } else if (version == 1) {
        if (upgrade(q, e) != 0)
            return -1;
    } else if (version != SCHEMA_VERSION) {
        return err_set(e, ERR_CONFIG, "the queue database has version %d; this program knows %d",
                       version, SCHEMA_VERSION);
    }
    if (qdb_meta_get(q, "db_bits", &bits, e) != 0 || qdb_meta_get(q, "next", &q->next, e) != 0)
        return -1;
    q->db_bits = (uint32_t)bits;
    q->first_new = q->next;
    (void)qdb_meta_get(q, "clock_us", &clock_us, &none); /* the last two may be missing */
    (void)qdb_meta_get(q, "wall_us", &q->saved_wall_us, &none);
    qdb_clock_start(&q->clock, (int64_t)clock_us, (int64_t)q->saved_wall_us);
    return 0;
}

/* Content whose row a damaged database has lost: an operator may still want it. */
static void
put_aside(struct qdb *q, const char *name)
{
    char from[PATH_MAX], dir[PATH_MAX], to[PATH_MAX + 300];

    qdb_path(q, "files-without-row", dir);
    qdb_file_path(q, name, from, sizeof from);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    if ((mkdir(dir, 0700) != 0 && errno != EEXIST) || rename(from, to) != 0)
        log_error("queue.aside", LOG_NONE, "put %s aside: %s", from, strerror(errno));
    else
        log_error("queue.aside", LOG_NONE, "%s has no row in the queue database: kept as %s", name,
                  to);
}

/* A crash between moving a file in and the commit leaves a file that no row names. */
static void
remove_orphans(struct qdb *q)
{
    char path[PATH_MAX];
    struct dirent *de;
    DIR *d;

    qdb_path(q, "files", path);
    d = opendir(path);
    while (d && (de = readdir(d)) != NULL) {
        struct db_stmt *s;
        uint64_t n;
        struct err e = { 0 };

        if (!queue_id_parse(sl_z(de->d_name), NULL, &n, NULL) ||
            db_prepare(q->db, "SELECT 1 FROM message WHERE n = ?1 AND id = ?2 AND is_file", &s,
                       &e) != 0)
            continue;
        db_bind_int(s, 1, (int64_t)n);
        db_bind_text(s, 2, sl_z(de->d_name));
        if (db_step(s, &e) == 0) {
            if (q->keeps_orphans)
                put_aside(q, de->d_name);
            else
                qdb_remove_file(q, de->d_name);
        }
        db_reset(s);
    }
    if (d)
        closedir(d);
}

static void
remove_stale_incoming(const struct qdb *q)
{
    char dir[PATH_MAX];
    struct dirent *de;
    DIR *d;

    qdb_path(q, "../incoming", dir);
    d = opendir(dir);
    while (d && (de = readdir(d)) != NULL) {
        struct stat st;

        if (de->d_name[0] != '.' && fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && clock_unix_s() - st.st_mtime > STALE_INCOMING_S)
            unlinkat(dirfd(d), de->d_name, 0);
    }
    if (d)
        closedir(d);
}

static int
recover(struct qdb *q, struct err *e)
{
    int64_t back_s = ((int64_t)q->saved_wall_us - clock_unix_us()) / 1000000;

    if (qdb_begin(q, e) != 0)
        return -1;
    /* Something is written in any case, so that the commit syncs: what a qmgr that was killed before its sync had deleted
     * must be gone for good before remove_orphans() takes it at its word.
     * A wall clock that was set back meanwhile would keep everything waiting for as long. */
    if (qdb_meta_set(q, "next", q->next, e) != 0 ||
        db_exec(q->db,
                "UPDATE rcpt SET due = CASE WHEN flags & 1024 THEN 9223372036854775807"
                " ELSE 0 END WHERE due IS NULL",
                e) != 0 ||
        (q->saved_wall_us > 0 && back_s >= QDB_CLOCK_JUMP_MIN_S &&
         qdb_shift_due(q, -back_s, e) != 0)) {
        qdb_rollback(q);
        return -1;
    }
    if (qdb_commit(q, e) != 0)
        return -1;
    remove_orphans(q);
    remove_stale_incoming(q);
    return 0;
}

static int
open_db(struct qdb *q, const char *path, struct err *e)
{
    unsigned flags = DB_WAL | DB_SYNC_FULL | DB_EXCLUSIVE | DB_NO_AUTOCHECKPOINT | DB_CREATE;

    if (db_open(path, flags, CACHE_KIB, &q->db, e) != 0)
        return -1;
    if (load_meta(q, e) != 0)
        return -1;
    return 0;
}

/* ---- damage ---- */

enum { DB_PARTS = 3 };
static const char *const parts[DB_PARTS] = { "", "-wal", "-shm" };

static void
remove_parts(const char *path)
{
    char part[PATH_MAX + 64];

    for (size_t i = 0; i < DB_PARTS; i++) {
        snprintf(part, sizeof part, "%s%s", path, parts[i]);
        unlink(part);
    }
}

/* The salvage is complete: the damaged one keeps a name that says when, the new one takes its place. A crash between the
 * steps is made up for at the next opening. */
static int
finish_salvage(struct qdb *q, const char *path, const char *salvaged, struct err *e)
{
    char from[PATH_MAX + 8], to[PATH_MAX + 64];

    for (size_t i = 0; i < DB_PARTS; i++) {
        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s.damaged-%lld%s", path, (long long)clock_unix_s(), parts[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return err_sys(e, "rename %s", from);
        if (i == 0)
            log_error("queue.aside", LOG_NONE, "the damaged queue database is kept as %s", to);
    }
    if (fs_sync_dir(q->dir, e) != 0)
        return -1;
    if (rename(salvaged, path) != 0)
        return err_sys(e, "rename %s", salvaged);
    q->keeps_orphans = true;
    return fs_sync_dir(q->dir, e);
}

/* Take over every row whose checksums hold into a new database, and put that in its place. What cannot be done now (a full
 * disk) is tried again at the next opening: until then nothing is accepted, and nothing given up. */
static int
start_anew(struct qdb *q, const char *path, struct err *e)
{
    char fresh[PATH_MAX + 16], salvaged[PATH_MAX + 16];

    db_close(&q->db);
    log_error("queue.damaged", LOG_NONE, "%s is damaged (%s): what can be read is taken over", path,
              e->msg);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    snprintf(salvaged, sizeof salvaged, "%s.salvaged", path);
    remove_parts(fresh);
    e->kind = ERR_NONE;
    if (open_db(q, fresh, e) != 0 || qdb_salvage_into(q, path, e) != 0 ||
        db_checkpoint(q->db, true, e) != 0)
        goto failed;
    db_close(&q->db);
    if (rename(fresh, salvaged) != 0) {
        err_sys(e, "rename %s", fresh);
        goto failed;
    }
    remove_parts(fresh); /* its empty log */
    if (fs_sync_dir(q->dir, e) != 0)
        return -1;
    return finish_salvage(q, path, salvaged, e) == 0 ? open_db(q, path, e) : -1;
failed:
    db_close(&q->db);
    remove_parts(fresh);
    return -1;
}

/* A stop that was none leaves a log; a qmgr that met damage leaves a mark. Else nothing has happened to the file since it
 * was closed. */
static bool
needs_check(const struct qdb *q, bool *has_log)
{
    char path[PATH_MAX];
    struct stat st;

    qdb_path(q, "queue.db-wal", path);
    *has_log = stat(path, &st) == 0 && st.st_size > 0;
    qdb_path(q, "queue.db.check", path);
    return *has_log || access(path, F_OK) == 0;
}

/* SQLite takes a log up to the first frame that is spoilt, without a word, and what was committed after that is gone. */
static int
check_log(const char *path, struct err *e)
{
    struct pages *p;
    bool is_spoilt;

    if (pages_open(path, &p, e) != 0)
        return -1;
    is_spoilt = pages_log_is_spoilt(p);
    pages_close(&p);
    return is_spoilt ? err_set(e, ERR_PERM, "its log is damaged before its end") : 0;
}

void
qdb_mark_damaged(const struct qdb *q)
{
    char path[PATH_MAX];
    int fd;

    qdb_path(q, "queue.db.check", path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
}

static int
open_checked(struct qdb *q, const char *path, struct err *e)
{
    bool has_log, must_check = needs_check(q, &has_log);
    char mark[PATH_MAX];

    if (has_log && check_log(path, e) != 0 && e->kind != ERR_NOTFOUND)
        return -1;
    if (open_db(q, path, e) != 0 || (must_check && db_check(q->db, e) != 0) || recover(q, e) != 0)
        return -1;
    qdb_path(q, "queue.db.check", mark);
    unlink(mark);
    /* So that frames which a crash has torn are never taken for a part of what comes. */
    if (has_log && db_checkpoint(q->db, true, e) != 0 && !err_is_full(e))
        return -1;
    e->kind = ERR_NONE;
    return 0;
}

/* Who made the folders may have been killed before their names were on disk. */
static int
sync_folders(const struct qdb *q, struct err *e)
{
    char holder[PATH_MAX];
    struct err why = { 0 };

    qdb_path(q, "..", holder);
    if (fs_sync_dir(holder, &why) != 0 && why.sys != EACCES) {
        *e = why;
        return -1;
    }
    return fs_sync_dir(q->dir, e);
}

int
qdb_open(const char *dir, struct qdb **out, struct err *e)
{
    struct qdb *q = MEM_NEW(struct qdb);
    char path[PATH_MAX], salvaged[PATH_MAX];
    int rc;

    q->dir = mem_dupz(dir);
    qdb_path(q, "files", path);
    if (fs_mkdirs(path, 0700, e) != 0)
        goto bad;
    if (sync_folders(q, e) != 0)
        goto bad;
    qdb_path(q, "queue.db", path);
    qdb_path(q, "queue.db.salvaged", salvaged);
    if (access(salvaged, F_OK) == 0 && finish_salvage(q, path, salvaged, e) != 0)
        goto bad;
    rc = open_checked(q, path, e);
    if (rc != 0 && err_is_full(e)) { /* room for what was under way when it became full */
        db_close(&q->db);
        qdb_release_reserve(q);
        e->kind = ERR_NONE;
        rc = open_checked(q, path, e);
    }
    if (rc != 0 && e->kind == ERR_PERM)
        rc = start_anew(q, path, e) != 0 ? -1 : recover(q, e);
    if (rc != 0)
        goto bad;
    q->is_open = true;
    *out = q;
    return 0;
bad:
    qdb_close(&q);
    return -1;
}

int
qdb_open_readonly(const char *dir, struct qdb **out, struct err *e)
{
    struct qdb *q = MEM_NEW(struct qdb);
    char path[PATH_MAX];

    q->dir = mem_dupz(dir);
    q->is_readonly = true;
    qdb_path(q, "queue.db", path);
    /* Not DB_READONLY: what a killed qmgr left in the log must be read too. */
    if (access(path, F_OK) != 0)
        err_set(e, ERR_NOTFOUND, "%s does not exist", path);
    else if (db_open(path, DB_WAL | DB_EXCLUSIVE | DB_SYNC_FULL | DB_NO_AUTOCHECKPOINT, 0, &q->db,
                     e) == 0 &&
             load_meta(q, e) == 0) {
        *out = q;
        return 0;
    }
    qdb_close(&q);
    return -1;
}
