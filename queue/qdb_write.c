/* queue/qdb_write.c - changes to the queue database. See qdb.h. */
#include "queue/qdb_int.h"

#include "base/enc.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int
qdb_grant(struct qdb *q, uint32_t count, uint64_t *first, struct err *e)
{
    if (qdb_meta_set(q, "next", q->next + count, e) != 0)
        return -1;
    *first = q->next;
    q->next += count;
    return 0;
}

static int
move_file(struct qdb *q, const struct qdb_put *p, struct err *e)
{
    char to[PATH_MAX];
    struct stat st;

    qdb_file_path(q, p->id, to, sizeof to);
    if (rename(p->file, to) != 0) {
        /* Run again after a rollback: it is there already. */
        if (errno != ENOENT || stat(to, &st) != 0)
            return err_sys(e, "rename %s to %s", p->file, to);
    }
    q->is_files_dirty = true;
    if (p->is_moved)
        *p->is_moved = true;
    if (lstat(to, &st) != 0)
        return err_sys(e, "stat %s", to);
    if (!S_ISREG(st.st_mode)) {
        unlink(to); /* a link would show the clients of the queue what only qmgr may read */
        return err_set(e, ERR_TEMP, "%s is no file", to);
    }
    if ((uint64_t)st.st_size != p->size)
        return err_set(e, ERR_TEMP, "%s has %lld octets instead of %llu", to, (long long)st.st_size,
                       (unsigned long long)p->size);
    return 0;
}

static int
put_rcpts(struct qdb *q, const struct qdb_put *p, struct err *e)
{
    for (uint32_t i = 0; i < p->n_rcpts; i++) {
        struct db_stmt *s;

        if (db_prepare(q->db, "INSERT INTO rcpt(message, i, due) VALUES(?1, ?2, ?3)", &s, e) != 0)
            return -1;
        db_bind_int(s, 1, (int64_t)p->n);
        db_bind_int(s, 2, i);
        if (p->due == INT64_MIN)
            db_bind_null(s, 3);
        else
            db_bind_int(s, 3, p->due);
        if (db_run(s, e) != 0)
            return -1;
    }
    return 0;
}

int
qdb_put(struct qdb *q, const struct qdb_put *p, struct err *e)
{
    struct db_stmt *s;

    if (p->n >= q->next)
        return err_set(e, ERR_TEMP, "queue id that was not granted");
    if (db_prepare(
            q->db,
            "INSERT INTO message(n, id, arrived, size, env, env_crc, is_file, body_crc, body)"
            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)p->n);
    db_bind_text(s, 2, sl_z(p->id));
    db_bind_int(s, 3, qdb_clock_us(&q->clock) / 1000000);
    db_bind_int(s, 4, (int64_t)p->size);
    db_bind_blob(s, 5, p->env);
    db_bind_int(s, 6, enc_crc32(0, p->env.p, p->env.n));
    db_bind_int(s, 7, p->file != NULL);
    db_bind_int(s, 8, p->crc);
    if (p->file)
        db_bind_null(s, 9);
    else
        db_bind_blob(s, 9, p->body);
    if (db_run(s, e) != 0)
        return -1;
    /* Only now: an id that is taken must not cost its owner the file. */
    if (p->file && move_file(q, p, e) != 0)
        return -1;
    if (put_rcpts(q, p, e) != 0)
        return -1;
    q->wal_octets += p->body.n + p->env.n + QDB_ROW_OCTETS;
    return 0;
}

int
qdb_rcpt_done(struct qdb *q, uint64_t n, uint32_t i, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "DELETE FROM rcpt WHERE message = ?1 AND i = ?2", &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    db_bind_int(s, 2, i);
    q->wal_octets += QDB_ROW_OCTETS;
    return db_run(s, e);
}

/* What comes back out of memory. An operator may have spoken while it was there: 1024 is QDB_BY_HAND, 256 QDB_EXPIRED. */
#define DUE_OR_HELD                                                                                \
    "CASE WHEN flags & 1024 THEN 9223372036854775807 WHEN flags & 256 THEN 0 ELSE ?3 END"
#define FLAGS "(?5 & ~1280) | (flags & 1280)"

/* A statement whose first seven parameters are a recipient's state, bound. */
static int
prepare_state(struct qdb *q, const char *sql, const struct qdb_defer *d, struct db_stmt **s,
              struct err *e)
{
    if (db_prepare(q->db, sql, s, e) != 0)
        return -1;
    db_bind_int(*s, 1, (int64_t)d->n);
    db_bind_int(*s, 2, d->i);
    if (d->due == INT64_MIN)
        db_bind_null(*s, 3);
    else
        db_bind_int(*s, 3, d->due);
    db_bind_int(*s, 4, d->attempts);
    db_bind_int(*s, 5, d->flags);
    db_bind_text(*s, 6, d->status);
    db_bind_text(*s, 7, d->why);
    q->wal_octets += QDB_ROW_OCTETS;
    return 0;
}

int
qdb_rcpt_defer(struct qdb *q, const struct qdb_defer *d, struct err *e)
{
    struct db_stmt *s;

    if (prepare_state(q,
                      "UPDATE rcpt SET due = " DUE_OR_HELD ", attempts = ?4, flags = " FLAGS
                      ", status = ?6, why = ?7, hop = ?8 WHERE message = ?1 AND i = ?2",
                      d, &s, e) != 0)
        return -1;
    if (d->hop.n > 0)
        db_bind_text(s, 8, d->hop);
    return db_run(s, e);
}

int
qdb_rcpt_set(struct qdb *q, const struct qdb_defer *d, struct err *e)
{
    struct db_stmt *s;

    if (prepare_state(q,
                      "UPDATE rcpt SET due = ?3, attempts = ?4, flags = ?5, status = ?6, why = ?7"
                      " WHERE message = ?1 AND i = ?2",
                      d, &s, e) != 0)
        return -1;
    return db_run(s, e);
}

int
qdb_rcpt_park(struct qdb *q, const struct qdb_defer *d, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db,
                   "UPDATE rcpt SET due = " DUE_OR_HELD ", flags = " FLAGS
                   " WHERE message = ?1 AND i = ?2",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)d->n);
    db_bind_int(s, 2, d->i);
    db_bind_int(s, 3, d->due);
    db_bind_int(s, 5, d->flags);
    q->wal_octets += QDB_ROW_OCTETS;
    return db_run(s, e);
}

static int
delete_row(struct qdb *q, uint64_t n, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "DELETE FROM message WHERE n = ?1", &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    q->wal_octets += QDB_ROW_OCTETS;
    return db_run(s, e);
}

int
qdb_message_reap(struct qdb *q, uint64_t n, bool *gone, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *gone = false;
    if (db_prepare(q->db, "SELECT 1 FROM rcpt WHERE message = ?1 LIMIT 1", &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    rc = db_step(s, e);
    if (rc < 0)
        return -1;
    db_reset(s);
    if (rc == 1)
        return 0;
    if (delete_row(q, n, e) != 0)
        return -1;
    *gone = db_changes(q->db) > 0; /* once */
    return 0;
}

int
qdb_hold(struct qdb *q, uint64_t n, uint64_t *changed, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "UPDATE rcpt SET due = 9223372036854775807 WHERE message = ?1", &s, e) !=
        0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    q->wal_octets += QDB_ROW_OCTETS;
    if (db_run(s, e) != 0)
        return -1;
    *changed = (uint64_t)db_changes(q->db);
    return 0;
}

int
qdb_message_delete(struct qdb *q, uint64_t n, bool *was_there, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "DELETE FROM rcpt WHERE message = ?1", &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    if (db_run(s, e) != 0 || delete_row(q, n, e) != 0)
        return -1;
    *was_there = db_changes(q->db) > 0;
    return 0;
}

void
qdb_remove_file(struct qdb *q, const char *id)
{
    char path[PATH_MAX];

    qdb_file_path(q, id, path, sizeof path);
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("queue.unlink", LOG_NONE, "remove %s: %s", path, strerror(errno));
}

int
qdb_operate(struct qdb *q, enum qdb_act act, uint64_t n, int64_t now, uint64_t *changed,
            struct err *e)
{
#define HELD "9223372036854775807"
#define OF   " WHERE message = ?1 AND ?2 > 0 AND "
    /* Flags: 256 QDB_EXPIRED, 512 QDB_FLUSHED, 1024 QDB_BY_HAND. An assignment sees the old values. */
    static const char *const sql[QDB_ACTS] = {
        [QDB_FLUSH] = "UPDATE rcpt SET due = ?2, flags = flags | 512" OF "due <> " HELD,
        [QDB_HOLD] = "UPDATE rcpt SET flags = flags | 1024,"
                     " due = CASE WHEN due IS NOT NULL THEN " HELD " END" OF "due IS NOT " HELD
                     " AND NOT flags & 1024",
        [QDB_RELEASE] = "UPDATE rcpt SET flags = flags & ~1024,"
                        " due = CASE WHEN due = " HELD " THEN ?2 ELSE due END" OF "(due = " HELD
                        " OR flags & 1024)",
        [QDB_REQUEUE] = "UPDATE rcpt SET flags = flags & ~1024,"
                        " due = CASE WHEN due IS NOT NULL THEN ?2 END" OF "1",
        [QDB_EXPIRE] = "UPDATE rcpt SET flags = flags | 256,"
                       " due = CASE WHEN due = " HELD " THEN due"
                       " WHEN due IS NOT NULL THEN ?2 END" OF "NOT flags & 256",
        [QDB_BOUNCE] = "UPDATE rcpt SET flags = (flags | 256) & ~1024,"
                       " due = CASE WHEN due IS NOT NULL THEN ?2 END" OF
                       "(NOT flags & 256 OR due = " HELD " OR flags & 1024)",
    };
#undef HELD
#undef OF
    struct db_stmt *s;

    if (db_prepare(q->db, sql[act], &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    db_bind_int(s, 2, now);
    q->wal_octets += QDB_ROW_OCTETS;
    if (db_run(s, e) != 0)
        return -1;
    *changed = (uint64_t)db_changes(q->db);
    return 0;
}

int
qdb_shift_due(struct qdb *q, int64_t seconds, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db, "UPDATE rcpt SET due = max(0, due + ?1) WHERE due <> 9223372036854775807",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, seconds);
    q->wal_octets += QDB_ROW_OCTETS;
    return db_run(s, e);
}
