/* db/db.c - SQLite with our settings and our errors. */
#include "db/db_int.h"

#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CACHE_KIB = 256,
    LOOKASIDE_OCTETS = 512, /* a connection's small allocations: many are open at once, so few */
    LOOKASIDE_COUNT = 32,
    WAL_KEEP_OCTETS = 1024 * 1024 /* a WAL that grew is cut back to this when it restarts */
};

struct db_stmt {
    sqlite3_stmt *h;
    struct db *db;
};

/* ---- errors ---- */

static enum err_kind
kind_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERR_PERM;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY ||
                       rc == SQLITE_CONSTRAINT_ROWID
                   ? ERR_EXISTS
                   : ERR_PERM;
    case SQLITE_TOOBIG:
        return ERR_LIMIT;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_MISMATCH:
        return ERR_BUG;
    default: /* busy, locked, full, I/O, no memory, cannot open, read-only, interrupted, changed schema */
        return ERR_TEMP;
    }
}

static int
fail(struct db *d, int rc, struct err *e)
{
    enum err_kind kind = kind_of(rc);
    int sys = 0;

    if ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB)
        d->is_damaged = true;
    if (d->is_damage_temp && kind == ERR_PERM)
        kind = ERR_TEMP;
    if ((rc & 0xff) == SQLITE_FULL)
        sys = ENOSPC;
    else if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
        sys = sqlite3_system_errno(d->h);
    err_set(e, kind, "database %s: %s%s%s", d->path, sqlite3_errmsg(d->h), sys ? ": " : "",
            sys ? strerror(sys) : "");
    if (e && (rc & 0xff) == SQLITE_BUSY)
        e->sys = EBUSY;
    else if (e && ((rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB))
        e->sys = EUCLEAN;
    else if (e)
        e->sys = sys;
    return -1;
}

/* ---- opening ---- */

static void
set_up_library(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS,
                   0); /* a lock at each allocation, for figures nobody reads */
}

/* Made here, not by SQLite, so that it is nobody else's to read; SQLite gives WAL and shm the same mode. Only a
 * file that is new: closing a descriptor of one that is open elsewhere in this process would drop its locks. */
static int
make_file(const char *path, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd >= 0)
        close(fd);
    else if (errno != EEXIST)
        return err_sys(e, "cannot create database %s", path);
    return 0;
}

static int
set_pragmas(struct db *d, unsigned flags, unsigned cache_kib, struct err *e)
{
    char text[160];

    snprintf(text, sizeof text,
             "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-%u;"
             "PRAGMA synchronous=%s;",
             cache_kib ? cache_kib : CACHE_KIB, flags & DB_SYNC_FULL ? "FULL" : "NORMAL");
    if (db_exec(d, text, e) != 0)
        return -1;
    /* Before the journal mode: with both, SQLite needs no shared memory file. */
    if ((flags & DB_EXCLUSIVE) && db_exec(d, "PRAGMA locking_mode=EXCLUSIVE", e) != 0)
        return -1;
    if (flags & DB_WAL) {
        snprintf(text, sizeof text, "PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=%d",
                 WAL_KEEP_OCTETS);
        if (db_exec(d, text, e) != 0)
            return -1;
    }
    if ((flags & DB_NO_AUTOCHECKPOINT) && db_exec(d, "PRAGMA wal_autocheckpoint=0", e) != 0)
        return -1;
    /* Take the lock now rather than at the first write. */
    if (flags & DB_EXCLUSIVE)
        return db_exec(d, "BEGIN IMMEDIATE; COMMIT", e);
    /* Read the header now: a damaged file is told at open. */
    return db_exec(d, "PRAGMA schema_version", e);
}

int
db_open(const char *path, unsigned flags, unsigned cache_kib, struct db **out, struct err *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct db *d;
    int open_flags = SQLITE_OPEN_NOMUTEX, rc;
    bool is_file = strcmp(path, ":memory:") != 0;

    pthread_once(&once, set_up_library);
    if (is_file && (flags & DB_CREATE) && make_file(path, e) != 0)
        return -1;
    if (is_file && access(path, F_OK) != 0 && errno == ENOENT)
        return err_set(e, ERR_NOTFOUND, "no database %s", path);
    d = MEM_NEW(struct db);
    d->path = mem_dupz(path);
    d->stmts = map_new();
    open_flags |= flags & DB_READONLY ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    rc = sqlite3_open_v2(path, &d->h, open_flags, NULL);
    BUG_ON(!d->h);
    if (rc != SQLITE_OK) {
        fail(d, rc, e);
        goto out;
    }
    sqlite3_extended_result_codes(d->h, 1);
    sqlite3_db_config(d->h, SQLITE_DBCONFIG_LOOKASIDE, NULL, LOOKASIDE_OCTETS, LOOKASIDE_COUNT);
    sqlite3_busy_timeout(d->h, flags & DB_IMPATIENT ? DB_IMPATIENT_MS : DB_BUSY_TIMEOUT_MS);
    if (flags &
        DB_NO_AUTOCHECKPOINT) /* nor when the last connection closes: the caller says when */
        sqlite3_db_config(d->h, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (set_pragmas(d, flags, cache_kib, e) == 0) {
        *out = d;
        return 0;
    }
out:
    db_close(&d);
    return -1;
}

static void
free_stmt(void *v)
{
    struct db_stmt *s = v;

    db_stmt_free(&s);
}

void
db_close(struct db **db)
{
    struct db *d = *db;

    *db = NULL;
    if (!d)
        return;
    map_free(&d->stmts, free_stmt);
    BUG_ON(sqlite3_close(d->h) != SQLITE_OK); /* a statement of db_prepare_once() is still out */
    free(d->path);
    free(d);
}

void
db_damage_is_temp(struct db *d)
{
    d->is_damage_temp = true;
}

bool
db_is_damaged(const struct db *d)
{
    return d->is_damaged;
}

int
db_exec(struct db *d, const char *sql, struct err *e)
{
    int rc = sqlite3_exec(d->h, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(d, rc, e);
}

/* ---- statements ---- */

static int
prepare(struct db *d, struct slice sql, unsigned flags, struct db_stmt **out, const char **tail,
        struct err *e)
{
    sqlite3_stmt *h = NULL;
    int rc;

    *out = NULL;
    if (sql.n > INT32_MAX) {
        err_set(e, ERR_LIMIT, "SQL text is too long");
        return -1;
    }
    rc = sqlite3_prepare_v3(d->h, sql.p, (int)sql.n, flags, &h, tail);
    if (rc != SQLITE_OK) {
        fail(d, rc, e);
        return -1;
    }
    *out = MEM_NEW(struct db_stmt);
    (*out)->h = h;
    (*out)->db = d;
    return 0;
}

int
db_prepare(struct db *d, const char *sql, struct db_stmt **out, struct err *e)
{
    struct db_stmt *s = map_get_u64(d->stmts, (uint64_t)(uintptr_t)sql);

    if (s) {
        sqlite3_reset(s->h);
        sqlite3_clear_bindings(s->h);
        *out = s;
        return 0;
    }
    if (prepare(d, sl_z(sql), SQLITE_PREPARE_PERSISTENT, out, NULL, e) != 0)
        return -1;
    map_set_u64(d->stmts, (uint64_t)(uintptr_t)sql, *out);
    return 0;
}

int
db_prepare_once(struct db *d, struct slice sql, struct db_stmt **out, const char **tail,
                struct err *e)
{
    return prepare(d, sql, 0, out, tail, e);
}

void
db_stmt_free(struct db_stmt **s)
{
    if (!*s)
        return;
    sqlite3_finalize((*s)->h);
    free(*s);
    *s = NULL;
}

void
db_bind_int(struct db_stmt *s, int at, int64_t v)
{
    BUG_ON(sqlite3_bind_int64(s->h, at, v) != SQLITE_OK);
}

/* An empty text is no NULL, whatever its pointer. */
void
db_bind_text(struct db_stmt *s, int at, struct slice v)
{
    BUG_ON(sqlite3_bind_text64(s->h, at, v.n ? v.p : "", v.n, SQLITE_TRANSIENT, SQLITE_UTF8) !=
           SQLITE_OK);
}

void
db_bind_blob(struct db_stmt *s, int at, struct slice v)
{
    BUG_ON(sqlite3_bind_blob64(s->h, at, v.n ? v.p : "", v.n, SQLITE_TRANSIENT) != SQLITE_OK);
}

void
db_bind_null(struct db_stmt *s, int at)
{
    BUG_ON(sqlite3_bind_null(s->h, at) != SQLITE_OK);
}

int
db_bind_count(struct db_stmt *s)
{
    return sqlite3_bind_parameter_count(s->h);
}

int
db_step(struct db_stmt *s, struct err *e)
{
    int rc = s->h ? sqlite3_step(s->h) : SQLITE_DONE; /* no statement: a comment or nothing */

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        fail(s->db, rc, e);
    sqlite3_reset(s->h);
    return rc == SQLITE_DONE ? 0 : -1;
}

int
db_run(struct db_stmt *s, struct err *e)
{
    int rc;

    do
        rc = db_step(s, e);
    while (rc == 1);
    return rc;
}

void
db_reset(struct db_stmt *s)
{
    sqlite3_reset(s->h);
}

int
db_columns(struct db_stmt *s)
{
    return sqlite3_column_count(s->h);
}

const char *
db_column_name(struct db_stmt *s, int at)
{
    return sqlite3_column_name(s->h, at);
}

int64_t
db_int(struct db_stmt *s, int at)
{
    return sqlite3_column_int64(s->h, at);
}

struct slice
db_text(struct db_stmt *s, int at)
{
    const void *p;

    if (sqlite3_column_type(s->h, at) == SQLITE_BLOB)
        p = sqlite3_column_blob(s->h, at);
    else
        p = sqlite3_column_text(s->h, at); /* first: it may convert a number */
    return p ? sl_n(p, (size_t)sqlite3_column_bytes(s->h, at)) : sl_n("", 0);
}

bool
db_is_null(struct db_stmt *s, int at)
{
    return sqlite3_column_type(s->h, at) == SQLITE_NULL;
}

/* ---- transactions ---- */

static int
run_text(struct db *d, const char *sql, struct err *e)
{
    struct db_stmt *s;

    return db_prepare(d, sql, &s, e) == 0 ? db_run(s, e) : -1;
}

void
db_set_patience(struct db *d, unsigned ms)
{
    sqlite3_busy_timeout(d->h, (int)ms);
}

int
db_begin(struct db *d, struct err *e)
{
    return run_text(d, "BEGIN IMMEDIATE", e);
}

int
db_commit(struct db *d, struct err *e)
{
    if (run_text(d, "COMMIT", e) == 0)
        return 0;
    db_rollback(d);
    return -1;
}

void
db_rollback(struct db *d)
{
    if (db_in_tx(d)) /* some errors roll back by themselves */
        run_text(d, "ROLLBACK", NULL);
}

bool
db_in_tx(struct db *d)
{
    return !sqlite3_get_autocommit(d->h);
}

int64_t
db_last_id(struct db *d)
{
    return sqlite3_last_insert_rowid(d->h);
}

int64_t
db_changes(struct db *d)
{
    return sqlite3_changes64(d->h);
}

/* ---- pragmas ---- */

static int
one_number(struct db *d, const char *sql, int64_t *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(d, sql, &s, e) != 0)
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        *out = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

int64_t
db_data_version(struct db *d)
{
    int64_t v = -1;

    one_number(d, "PRAGMA data_version", &v, NULL);
    return v;
}

int
db_checkpoint(struct db *d, bool truncate, struct err *e)
{
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int rc = sqlite3_wal_checkpoint_v2(d->h, NULL, mode, NULL, NULL);

    return rc == SQLITE_OK ? 0 : fail(d, rc, e);
}

void
db_set_cache(struct db *d, unsigned kib)
{
    char text[48];

    snprintf(text, sizeof text, "PRAGMA cache_size=-%u", kib);
    db_exec(d, text, NULL);
}

int
db_schema_version(struct db *d, int *out, struct err *e)
{
    int64_t v = 0;

    if (one_number(d, "PRAGMA user_version", &v, e) != 0)
        return -1;
    *out = (int)v;
    return 0;
}

int
db_set_schema_version(struct db *d, int v, struct err *e)
{
    char text[64];

    snprintf(text, sizeof text, "PRAGMA user_version=%d", v);
    return db_exec(d, text, e);
}

int
db_check(struct db *d, struct err *e)
{
    struct db_stmt *s;
    struct slice text;
    int rc;

    if (db_prepare(d, "PRAGMA quick_check(1)", &s, e) != 0)
        return -1;
    rc = db_step(s, e);
    if (rc != 1)
        return rc < 0 ? -1 : err_set(e, ERR_PERM, "database %s cannot be checked", d->path);
    text = db_text(s, 0);
    rc = sl_ieqz(text, "ok")
             ? 0
             : err_set(e, ERR_PERM, "database %s is damaged: %.*s", d->path, SL_ARG(text));
    db_reset(s);
    return rc;
}
