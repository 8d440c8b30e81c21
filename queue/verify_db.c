/* queue/verify_db.c - see verify_db.h. */
#include "queue/verify_db.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "db/db.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { SCHEMA_VERSION = 1, CACHE_KIB = 512, COUNT_EVERY = 1000 };

struct verify_db {
    struct db *db;
    unsigned n_puts; /* since the rows were counted */
};

static const char schema[] =
    "CREATE TABLE verdict(addr TEXT PRIMARY KEY, status INTEGER NOT NULL, probed INTEGER NOT NULL,"
    " updated INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX verdict_updated ON verdict(updated);";

static int
open_once(struct verify_db *d, const char *path, struct err *e)
{
    int version = 0;

    if (db_open(path, DB_CREATE | DB_WAL, CACHE_KIB, &d->db, e) != 0 ||
        db_schema_version(d->db, &version, e) != 0)
        return -1;
    if (version == SCHEMA_VERSION)
        return 0;
    if (version != 0)
        return err_set(e, ERR_CONFIG, "%s has version %d; this program knows %d", path, version,
                       SCHEMA_VERSION);
    if (db_begin(d->db, e) != 0)
        return -1;
    if (db_exec(d->db, schema, e) != 0 || db_set_schema_version(d->db, SCHEMA_VERSION, e) != 0) {
        db_rollback(d->db);
        return -1;
    }
    return db_commit(d->db, e);
}

static int
put_aside(const char *path, struct err *e)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    char from[PATH_MAX + 8], to[PATH_MAX + 40];

    log_error("verify.damaged", LOG_NONE, "%s is damaged (%s): verdicts are gathered anew", path,
              e->msg);
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s.damaged-%lld%s", path, (long long)clock_unix_s(), parts[i]);
        if (rename(from, to) != 0 && errno != ENOENT)
            return err_sys(e, "rename %s", from);
    }
    e->kind = ERR_NONE;
    return 0;
}

int
verify_db_open(const char *path, struct verify_db **out, struct err *e)
{
    struct verify_db *d = MEM_NEW(struct verify_db);
    int rc = open_once(d, path, e);

    if (rc != 0 && e->kind == ERR_PERM) {
        db_close(&d->db);
        rc = put_aside(path, e) == 0 ? open_once(d, path, e) : -1;
    }
    if (rc != 0) {
        verify_db_close(&d);
        return -1;
    }
    *out = d;
    return 0;
}

void
verify_db_close(struct verify_db **dd)
{
    struct verify_db *d = *dd;

    if (d == NULL)
        return;
    *dd = NULL;
    db_close(&d->db);
    free(d);
}

int
verify_db_get(struct verify_db *d, struct slice addr, struct verify_row *row, struct err *e)
{
    struct db_stmt *s;
    struct slice text;
    int rc;

    if (db_prepare(d->db, "SELECT status, probed, updated, text FROM verdict WHERE addr = ?1", &s,
                   e) != 0)
        return -1;
    db_bind_text(s, 1, addr);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    memset(row, 0, sizeof *row);
    row->status = (enum verify_status)db_int(s, 0);
    row->probed_s = db_int(s, 1);
    row->updated_s = db_int(s, 2);
    text = sl_head(db_text(s, 3), sizeof row->text - 1);
    memcpy(row->text, text.p, text.n);
    db_reset(s);
    return row->status == VERIFY_OK || row->status == VERIFY_DEFER || row->status == VERIFY_BOUNCE;
}

/* A stranger who may choose addresses must not fill the disk. */
static int
keep_bounded(struct verify_db *d, struct err *e)
{
    uint64_t n;

    if (++d->n_puts < COUNT_EVERY)
        return 0;
    d->n_puts = 0;
    return verify_db_clean(d, INT64_MIN, INT64_MIN, VERIFY_ROWS_MAX, &n, e);
}

int
verify_db_put(struct verify_db *d, struct slice addr, const struct verify_row *row, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(d->db,
                   "INSERT OR REPLACE INTO verdict(addr, status, probed, updated, text)"
                   " VALUES(?1, ?2, ?3, ?4, ?5)",
                   &s, e) != 0)
        return -1;
    db_bind_text(s, 1, addr);
    db_bind_int(s, 2, row->status);
    db_bind_int(s, 3, row->probed_s);
    db_bind_int(s, 4, row->updated_s);
    db_bind_text(s, 5, sl_z(row->text));
    return db_run(s, e) == 0 ? keep_bounded(d, e) : -1;
}

int
verify_db_delete(struct verify_db *d, struct slice addr, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(d->db, "DELETE FROM verdict WHERE addr = ?1", &s, e) != 0)
        return -1;
    db_bind_text(s, 1, addr);
    return db_run(s, e);
}

int
verify_db_clean(struct verify_db *d, int64_t good_s, int64_t bad_s, uint64_t most, uint64_t *n,
                struct err *e)
{
    struct db_stmt *s;

    *n = 0;
    if (db_prepare(d->db,
                   "DELETE FROM verdict WHERE (status = ?1 AND updated < ?2)"
                   " OR (status <> ?1 AND updated < ?3)",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, VERIFY_OK);
    db_bind_int(s, 2, good_s);
    db_bind_int(s, 3, bad_s);
    if (db_run(s, e) != 0)
        return -1;
    *n = (uint64_t)db_changes(d->db);
    if (db_prepare(d->db,
                   "DELETE FROM verdict WHERE addr IN (SELECT addr FROM verdict ORDER BY updated"
                   " LIMIT max(0, (SELECT count(*) FROM verdict) - ?1))",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)most);
    if (db_run(s, e) != 0)
        return -1;
    *n += (uint64_t)db_changes(d->db);
    return 0;
}
