/* queue/qdb.c - the queue database's transactions, its clock and its room; closing. See qdb.h. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    CLOCK_SAVE_MS = 60 * 1000,
    RESERVE_OCTETS = 4 * 1024 * 1024,
    CHECKPOINT_MARGIN_OCTETS = 512 * 1024
};

void
qdb_path(const struct qdb *q, const char *name, char *out)
{
    snprintf(out, PATH_MAX, "%s/%s", q->dir, name);
}

const char *
qdb_file_path(const struct qdb *q, const char *id, char *out, size_t out_octets)
{
    snprintf(out, out_octets, "%s/files/%s", q->dir, id);
    return out;
}

int
qdb_meta_get(struct qdb *q, const char *key, uint64_t *value, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db, "SELECT value FROM meta WHERE key = ?1", &s, e) != 0)
        return -1;
    db_bind_text(s, 1, sl_z(key));
    rc = db_step(s, e);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(e, ERR_PERM, "the queue database lacks its %s", key);
    *value = (uint64_t)db_int(s, 0);
    db_reset(s);
    return 0;
}

int
qdb_meta_set(struct qdb *q, const char *key, uint64_t value, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)", &s, e) != 0)
        return -1;
    db_bind_text(s, 1, sl_z(key));
    db_bind_int(s, 2, (int64_t)value);
    return db_run(s, e);
}

int
qdb_pragma_int(struct qdb *q, const char *sql, int64_t *v, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, sql, &s, e) != 0 || db_step(s, e) != 1)
        return -1;
    *v = db_int(s, 0);
    db_reset(s);
    return 0;
}

void
qdb_close(struct qdb **qq)
{
    struct qdb *q = *qq;
    struct err e = { 0 };

    if (q == NULL)
        return;
    *qq = NULL;
    if (q->is_open && !q->is_readonly) {
        q->is_closing = true;
        if ((qdb_begin(q, &e) != 0 || qdb_commit(q, &e) != 0 ||
             db_checkpoint(q->db, true, &e) != 0) &&
            !err_is_full(&e))
            log_warn("queue.checkpoint", LOG_NONE, "queue database: %s", e.msg);
    }
    db_close(&q->db);
    free(q->dir);
    free(q);
}

uint32_t
qdb_db_bits(const struct qdb *q)
{
    return q->db_bits;
}

const struct qdb_clock *
qdb_clock(const struct qdb *q)
{
    return &q->clock;
}

uint64_t
qdb_first_new_counter(const struct qdb *q)
{
    return q->first_new;
}

const char *
qdb_dir(const struct qdb *q)
{
    return q->dir;
}

/* ---- transactions ---- */

int
qdb_begin(struct qdb *q, struct err *e)
{
    return db_begin(q->db, e);
}

/* What the clocks say, for the next start. */
static int
save_clock(struct qdb *q, struct err *e)
{
    q->clock_saved_ms = clock_mono_ms();
    return qdb_meta_set(q, "clock_us", (uint64_t)qdb_clock_us(&q->clock), e) != 0 ||
                   qdb_meta_set(q, "wall_us", (uint64_t)clock_unix_us(), e) != 0
               ? -1
               : 0;
}

int
qdb_commit(struct qdb *q, struct err *e)
{
    if ((q->is_closing || clock_mono_ms() - q->clock_saved_ms > CLOCK_SAVE_MS) &&
        save_clock(q, e) != 0) {
        qdb_rollback(q);
        return -1;
    }
    if (q->is_files_dirty) {
        char path[PATH_MAX];

        qdb_path(q, "files", path);
        if (fs_sync_dir(path, e) != 0) {
            qdb_rollback(q);
            return -1;
        }
        q->is_files_dirty = false;
    }
    return db_commit(q->db, e);
}

void
qdb_rollback(struct qdb *q)
{
    db_rollback(q->db);
}

uint64_t
qdb_wal_octets(const struct qdb *q)
{
    return q->wal_octets;
}

int
qdb_checkpoint(struct qdb *q, bool truncate, struct err *e)
{
    q->wal_octets = 0;
    return db_checkpoint(q->db, truncate, e);
}

/* The database's file grows to the pages it has by now; the log's own room comes free afterwards. */
bool
qdb_checkpoint_fits(struct qdb *q)
{
    char path[PATH_MAX];
    struct stat st;
    struct err e = { 0 };
    int64_t pages, page;

    qdb_path(q, "queue.db", path);
    if (stat(path, &st) != 0 || qdb_pragma_int(q, "PRAGMA page_count", &pages, &e) != 0 ||
        qdb_pragma_int(q, "PRAGMA page_size", &page, &e) != 0)
        return false;
    return pages * page <= st.st_size ||
           qdb_free_octets(q) > (uint64_t)(pages * page - st.st_size) + CHECKPOINT_MARGIN_OCTETS;
}

int
qdb_shrink(struct qdb *q, uint64_t least, struct err *e)
{
    int64_t unused = 0, page = 0;

    if (qdb_pragma_int(q, "PRAGMA freelist_count", &unused, e) != 0 ||
        qdb_pragma_int(q, "PRAGMA page_size", &page, e) != 0)
        return -1;
    if (unused <= 0 || (uint64_t)(unused * page) < least)
        return 0;
    q->wal_octets += QDB_ROW_OCTETS;
    return db_exec(q->db, "PRAGMA incremental_vacuum(500)", e);
}

/* ---- the reserve ---- */

void
qdb_release_reserve(struct qdb *q)
{
    char path[PATH_MAX];

    qdb_path(q, "reserve", path);
    unlink(path);
}

bool
qdb_make_reserve(struct qdb *q)
{
    char path[PATH_MAX];
    struct stat st;
    bool is_made;
    int fd;

    qdb_path(q, "reserve", path);
    if (stat(path, &st) == 0 && st.st_size == RESERVE_OCTETS)
        return qdb_free_octets(q) >= RESERVE_OCTETS / 4;
    if (qdb_free_octets(q) < RESERVE_OCTETS + RESERVE_OCTETS / 2)
        return false;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    is_made = posix_fallocate(fd, 0, RESERVE_OCTETS) == 0;
    close(fd);
    if (!is_made)
        unlink(path);
    return is_made;
}

uint64_t
qdb_free_octets(const struct qdb *q)
{
    struct statvfs v;

    if (statvfs(q->dir, &v) != 0)
        return 0;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

void
qdb_drop_cache(struct qdb *q)
{
    struct err e = { 0 };

    db_exec(q->db, "PRAGMA shrink_memory", &e);
}
