/* queue/qdb_read.c - reading the queue database. See qdb.h. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/queue_id.h"

#include <stdlib.h>

enum { RCPT_AT = 8 /* in a row of both: the first column of the recipient */ };

/* A message being put together for a caller's fn. Text columns of rcpt rows are copied into `text`. */
struct gathered {
    struct qdb_message m;
    struct qdb_rcpt *rcpts;
    size_t cap;
    struct buf env, body, text;
    char id[QUEUE_ID_TEXT_OCTETS];
};

static void
gathered_free(struct gathered *g)
{
    free(g->rcpts);
    buf_free(&g->env);
    buf_free(&g->body);
    buf_free(&g->text);
}

static void
gathered_reset(struct gathered *g)
{
    memset(&g->m, 0, sizeof g->m);
    buf_reset(&g->env);
    buf_reset(&g->body);
    buf_reset(&g->text);
}

/* Columns n, id, arrived, size, env, env_crc, is_file, body_crc, and body when asked for. */
static void
take_message(const struct qdb *q, struct gathered *g, struct db_stmt *s, bool has_body)
{
    struct qdb_message *m = &g->m;
    struct slice id = db_text(s, 1);

    m->n = (uint64_t)db_int(s, 0);
    id = sl_head(id, sizeof g->id - 1);
    memcpy(g->id, id.p, id.n);
    g->id[id.n] = '\0';
    m->id = g->id;
    m->aged_from_us = db_int(s, 2) * 1000000;
    m->arrived_s = db_int(s, 2) + qdb_clock_wall_ahead_s(&q->clock);
    m->size = (uint64_t)db_int(s, 3);
    buf_adds(&g->env, db_text(s, 4));
    m->env = buf_slice(&g->env);
    m->is_env_ok = enc_crc32(0, m->env.p, m->env.n) == (uint32_t)db_int(s, 5);
    m->is_file = db_int(s, 6) != 0;
    m->crc = (uint32_t)db_int(s, 7);
    if (has_body && !m->is_file)
        buf_adds(&g->body, db_text(s, 8));
    m->body = buf_slice(&g->body);
}

/* Columns i, due, attempts, flags, status, why, hop, from `at` on. Offsets first: `text` may move. */
static void
take_rcpt(struct gathered *g, struct db_stmt *s, int at)
{
    struct qdb_rcpt *r;
    struct slice status = db_text(s, at + 4), why = db_text(s, at + 5), hop = db_text(s, at + 6);

    g->rcpts = mem_grow(g->rcpts, &g->cap, g->m.n_rcpts + 1, sizeof *g->rcpts);
    r = &g->rcpts[g->m.n_rcpts++];
    r->i = (uint32_t)db_int(s, at);
    r->due = db_is_null(s, at + 1) ? INT64_MIN : db_int(s, at + 1);
    r->attempts = (uint32_t)db_int(s, at + 2);
    r->flags = (uint32_t)db_int(s, at + 3);
    r->status = sl_n(NULL, status.n);
    r->why = sl_n(NULL, why.n);
    r->hop = sl_n(NULL, hop.n);
    buf_adds(&g->text, status);
    buf_adds(&g->text, why);
    buf_adds(&g->text, hop);
}

static void
finish_rcpts(struct gathered *g)
{
    const char *p = buf_slice(&g->text).p;

    for (size_t i = 0; i < g->m.n_rcpts; i++) {
        g->rcpts[i].status.p = p;
        p += g->rcpts[i].status.n;
        g->rcpts[i].why.p = p;
        p += g->rcpts[i].why.n;
        g->rcpts[i].hop.p = p;
        p += g->rcpts[i].hop.n;
    }
    g->m.rcpts = g->rcpts;
}

static int
read_rcpts(struct qdb *q, struct gathered *g, int64_t due_max, size_t most, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db,
                   "SELECT i, due, attempts, flags, status, why, hop FROM rcpt"
                   " WHERE message = ?1 AND (?2 IS NULL OR due <= ?2) ORDER BY i LIMIT ?3",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)g->m.n);
    if (due_max == INT64_MIN)
        db_bind_null(s, 2);
    else
        db_bind_int(s, 2, due_max);
    db_bind_int(s, 3, most < INT64_MAX ? (int64_t)most : -1);
    while ((rc = db_step(s, e)) == 1)
        take_rcpt(g, s, 0);
    finish_rcpts(g);
    return rc;
}

/* 1: there; 0: no such row. */
static int
read_message(struct qdb *q, struct gathered *g, uint64_t n, size_t body_octets, struct err *e)
{
    struct db_stmt *s;
    int rc;

    gathered_reset(g);
    if (db_prepare(q->db,
                   "SELECT n, id, arrived, size, env, env_crc, is_file, body_crc,"
                   " CASE WHEN size <= ?2 THEN body END FROM message WHERE n = ?1",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    db_bind_int(s, 2, (int64_t)body_octets);
    rc = db_step(s, e);
    if (rc == 1) {
        take_message(q, g, s, body_octets > 0);
        db_reset(s);
    }
    return rc;
}

static int
first_due(struct qdb *q, int64_t now, uint64_t *n, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db, "SELECT message FROM rcpt WHERE due <= ?1 ORDER BY due LIMIT 1", &s, e) !=
        0)
        return -1;
    db_bind_int(s, 1, now);
    rc = db_step(s, e);
    if (rc == 1) {
        *n = (uint64_t)db_int(s, 0);
        db_reset(s);
    }
    return rc;
}

/* The due recipients of a message up to the i-th are in memory from now on, or gone when there is no message for them. */
static int
claim(struct qdb *q, uint64_t n, int64_t now, uint32_t i, bool is_there, struct err *e)
{
    struct db_stmt *s;
    int rc = is_there ? db_prepare(q->db,
                                   "UPDATE rcpt SET due = NULL"
                                   " WHERE message = ?1 AND due <= ?2 AND i <= ?3",
                                   &s, e)
                      : db_prepare(q->db,
                                   "DELETE FROM rcpt WHERE message = ?1 AND due <= ?2 AND i <= ?3",
                                   &s, e);

    if (rc != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)n);
    db_bind_int(s, 2, now);
    db_bind_int(s, 3, i);
    return db_run(s, e);
}

int
qdb_take_due(struct qdb *q, const struct qdb_take *t, qdb_fn *fn, void *arg, struct err *e)
{
    struct gathered g = { 0 };
    uint64_t n = 0;
    size_t rcpts = 0;
    int rc = 0;

    for (size_t k = 0; k < t->messages && rcpts < t->rcpts; k++) {
        size_t most = t->rcpts - rcpts;
        uint32_t last = UINT32_MAX;
        int there;

        if (most < t->least)
            most = t->least;
        if (most > t->round)
            most = t->round;
        rc = first_due(q, t->now, &n, e);
        if (rc <= 0)
            break;
        rc = -1;
        there = read_message(q, &g, n, t->body_octets, e);
        if (there < 0 || (there == 1 && read_rcpts(q, &g, t->now, most, e) != 0))
            break;
        if (there == 1 && g.m.n_rcpts > 0)
            last = g.m.rcpts[g.m.n_rcpts - 1].i;
        if (claim(q, n, t->now, last, there == 1, e) != 0)
            break;
        rcpts += g.m.n_rcpts;
        if (there == 1)
            fn(arg, &g.m);
        else
            log_error("queue.orphan", LOG_NONE,
                      "queue database: recipients without message %llu removed",
                      (unsigned long long)n);
        rc = 0;
    }
    gathered_free(&g);
    return rc < 0 ? -1 : 0;
}

int
qdb_next_due(struct qdb *q, int64_t *due, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *due = INT64_MAX;
    if (db_prepare(q->db,
                   "SELECT due FROM rcpt WHERE due < 9223372036854775807 ORDER BY due LIMIT 1", &s,
                   e) != 0)
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        *due = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

int
qdb_walk(struct qdb *q, uint64_t after, bool (*fn)(void *arg, const struct qdb_message *m),
         void *arg, struct err *e)
{
    struct gathered g = { 0 };
    bool goes_on = true;
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db,
                   "SELECT m.n, m.id, m.arrived, m.size, m.env, m.env_crc, m.is_file, m.body_crc,"
                   " r.i, r.due, r.attempts, r.flags, r.status, r.why, r.hop"
                   " FROM message m LEFT JOIN rcpt r ON r.message = m.n"
                   " WHERE m.n > ?1 ORDER BY m.n, r.i",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)after);
    while ((rc = db_step(s, e)) == 1) {
        if (g.m.n != (uint64_t)db_int(s, 0)) {
            if (g.m.id) {
                finish_rcpts(&g);
                if (!(goes_on = fn(arg, &g.m)))
                    break;
            }
            gathered_reset(&g);
            take_message(q, &g, s, false);
        }
        if (!db_is_null(s, RCPT_AT))
            take_rcpt(&g, s, RCPT_AT);
    }
    if (rc == 1)
        db_reset(s);
    if (rc == 0 && g.m.id && goes_on) {
        finish_rcpts(&g);
        fn(arg, &g.m);
    }
    gathered_free(&g);
    return rc < 0 ? -1 : 0;
}

int
qdb_get(struct qdb *q, uint64_t n, bool want_body, qdb_fn *fn, void *arg, struct err *e)
{
    struct gathered g = { 0 };
    int rc = read_message(q, &g, n, want_body ? SIZE_MAX / 2 : 0, e);

    if (rc == 0)
        rc = err_set(e, ERR_NOTFOUND, "no such message in the queue");
    else if (rc == 1)
        rc = read_rcpts(q, &g, INT64_MIN, SIZE_MAX, e);
    if (rc == 0)
        fn(arg, &g.m);
    gathered_free(&g);
    return rc;
}

int
qdb_count_states(struct qdb *q, uint64_t most, uint64_t counts[QDB_STATES], struct err *e)
{
    struct db_stmt *s;

    /* By the recipients' key alone: the messages themselves are not read. min() leaves NULL out. */
    if (db_prepare(q->db,
                   "SELECT count(*) FILTER (WHERE n > has),"
                   " count(*) FILTER (WHERE n = has AND due < 9223372036854775807),"
                   " count(*) FILTER (WHERE n = has AND due = 9223372036854775807)"
                   " FROM (SELECT count(*) AS n, count(due) AS has, min(due) AS due"
                   " FROM (SELECT message, due FROM rcpt LIMIT ?1) GROUP BY message)",
                   &s, e) != 0)
        return -1;
    db_bind_int(s, 1, (int64_t)most);
    if (db_step(s, e) != 1)
        return -1;
    for (int k = 0; k < QDB_STATES; k++)
        counts[k] = (uint64_t)db_int(s, k);
    db_reset(s);
    return 0;
}

int
qdb_ends(struct qdb *q, uint64_t *first, uint64_t *last, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(q->db,
                   "SELECT (SELECT n FROM message ORDER BY n LIMIT 1),"
                   " (SELECT n FROM message ORDER BY n DESC LIMIT 1)",
                   &s, e) != 0 ||
        db_step(s, e) != 1)
        return -1;
    *first = (uint64_t)db_int(s, 0);
    *last = (uint64_t)db_int(s, 1);
    db_reset(s);
    return 0;
}

int
qdb_count_nobody(struct qdb *q, uint64_t *rcpts, struct err *e)
{
    struct db_stmt *s;

    /* 16: QDB_NOBODY */
    if (db_prepare(q->db,
                   "SELECT count(*) FROM rcpt WHERE due = 9223372036854775807 AND flags & 16", &s,
                   e) != 0 ||
        db_step(s, e) != 1)
        return -1;
    *rcpts = (uint64_t)db_int(s, 0);
    db_reset(s);
    return 0;
}

int
qdb_count(struct qdb *q, uint64_t *messages, uint64_t *rcpts, uint64_t *held, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db,
                   "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM rcpt),"
                   " (SELECT count(*) FROM rcpt WHERE due = 9223372036854775807)",
                   &s, e) != 0)
        return -1;
    rc = db_step(s, e);
    if (rc != 1)
        return -1;
    *messages = (uint64_t)db_int(s, 0);
    *rcpts = (uint64_t)db_int(s, 1);
    *held = (uint64_t)db_int(s, 2);
    db_reset(s);
    return 0;
}

void
qdb_take_body(void *arg, const struct qdb_message *m)
{
    buf_adds(arg, m->body);
}
