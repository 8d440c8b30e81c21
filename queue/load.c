/* queue/load.c - from the database into memory: what is due, as far as there is room. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    LOAD_MESSAGES = 100, /* a turn: other writes go in between */
    LOAD_RCPTS = 2000,
    LOAD_BODY_OCTETS = 16 * 1024, /* longer content is read when its turn comes */
    RETRY_S = 5
};

struct load_op {
    struct wop op;
    struct qdb_take take;
    struct list loaded; /* qmsg.link */
    struct {
        uint64_t n;
        uint32_t n_rcpts;
    } * bad; /* damaged envelopes: put on hold */
    size_t n_bad, cap_bad;
    int64_t next_due;
};

static void load_now(void *arg);

static void
take(void *arg, const struct qdb_message *row)
{
    struct load_op *o = arg;
    struct buf packed = { 0 }, body = { 0 };
    struct err e = { 0 };
    struct qmsg *m = NULL;

    if (row->is_env_ok) {
        buf_adds(&packed, row->env);
        buf_adds(&body, row->body);
        m = active_new(row->n, &packed, &body, row->is_file, row->size, row->crc, row->rcpts,
                       row->n_rcpts, &e);
    }
    if (m) {
        m->is_loaded = true;
        m->aged_from_us = row->aged_from_us;
        list_push_back(&o->loaded, &m->link);
        return;
    }
    o->bad = mem_grow(o->bad, &o->cap_bad, o->n_bad + 1, sizeof *o->bad);
    o->bad[o->n_bad++].n = row->n;
}

static void
drop_loaded(struct load_op *o)
{
    struct list *n;

    while ((n = list_pop_front(&o->loaded)) != NULL)
        active_free(CONTAINER_OF(n, struct qmsg, link));
}

static int
load_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct load_op *o = CONTAINER_OF(op, struct load_op, op);

    drop_loaded(o); /* of a run that was rolled back */
    o->n_bad = 0;
    if (qdb_take_due(q, &o->take, take, o, e) != 0)
        return -1;
    for (size_t k = 0; k < o->n_bad; k++) {
        uint64_t changed;

        if (qdb_hold(q, o->bad[k].n, &changed, e) != 0)
            return -1;
        log_error("queue.damaged", LOG_F(LF_N("row", o->bad[k].n)),
                  "queue database: the envelope of message %llu is damaged: on hold",
                  (unsigned long long)o->bad[k].n);
    }
    return qdb_next_due(q, &o->next_due, e);
}

static void
load_done(struct wop *op, int rc, const struct err *e)
{
    struct load_op *o = CONTAINER_OF(op, struct load_op, op);
    int64_t next = o->next_due;
    struct list *n;

    qm.is_loading = false;
    if (rc != 0) {
        log_warn("queue.load", LOG_NONE, "read the queue: %s", e->msg);
        drop_loaded(o);
        next = clock_unix_s() + RETRY_S;
    }
    while ((n = list_pop_front(&o->loaded)) != NULL) {
        struct qmsg *m = CONTAINER_OF(n, struct qmsg, link);

        if (m->n_rcpts > 0)
            active_begin(m);
        else
            active_free(m);
    }
    qm.has_backlog = next <= o->take.now;
    free(o->bad);
    free(o);
    /* What came meanwhile may be due earlier than what the database said. */
    if (next < qm.next_due)
        qm.next_due = next;
    active_load_at(qm.next_due);
}

/* ---- a wall clock that was set ---- */

struct shift_op {
    struct wop op;
    int64_t seconds;
};

static int
shift_run(struct wop *op, struct qdb *q, struct err *e)
{
    return qdb_shift_due(q, CONTAINER_OF(op, struct shift_op, op)->seconds, e);
}

static void
shift_done(struct wop *op, int rc, const struct err *e)
{
    (void)rc, (void)e; /* kept until it is written */
    free(CONTAINER_OF(op, struct shift_op, op));
    qm.is_loading = false;
    qm.next_due = INT64_MAX;
    active_load_soon();
}

/* What waits would be tried at once, or not for years. True: its time is being corrected, and loading comes after that. */
static bool
clock_was_set(void)
{
    int64_t ahead_s = qdb_clock_wall_ahead_s(&qm.clock), by_s = ahead_s - qm.wall_ahead_s;
    struct shift_op *o;

    qm.wall_ahead_s = ahead_s;
    if (by_s < QDB_CLOCK_JUMP_MIN_S && by_s > -QDB_CLOCK_JUMP_MIN_S)
        return false;
    log_warn("queue.clock", LOG_F(LF_N("seconds", by_s)),
             "the clock was set by %lld seconds: mail in the queue keeps its age and its turn",
             (long long)by_s);
    o = MEM_NEW(struct shift_op);
    o->op = (struct wop){ .kind = WOP_STATE, .run = shift_run, .done = shift_done };
    o->seconds = by_s;
    qm.is_loading = true;
    writer_submit(qm.writer, &o->op);
    return true;
}

static void
load_now(void *arg)
{
    size_t rcpts, messages;
    struct load_op *o;

    (void)arg;
    if (qm.is_loading || qm.is_draining || clock_was_set())
        return;
    rcpts = active_room(true);
    messages = active_messages_room(true);
    if (!active_may_load()) {
        qm.has_backlog = true; /* asked again when there is room */
        return;
    }
    qm.is_loading = true;
    qm.has_backlog = false;
    qm.next_due = INT64_MAX;
    o = MEM_NEW(struct load_op);
    list_init(&o->loaded);
    o->op = (struct wop){ .kind = WOP_READ, .run = load_run, .done = load_done };
    o->take =
        (struct qdb_take){ .now = clock_unix_s(),
                           .messages = messages < LOAD_MESSAGES ? messages : LOAD_MESSAGES,
                           .rcpts = rcpts < LOAD_RCPTS ? rcpts : LOAD_RCPTS,
                           .round = active_round(),
                           .least =
                               active_round(), /* no crumbs: each becomes a delivery of its own */
                           .body_octets = LOAD_BODY_OCTETS };
    writer_submit(qm.writer, &o->op);
}

void
active_load_soon(void)
{
    active_load_at(0);
}

void
active_load_at(int64_t due)
{
    int64_t now = clock_unix_s(), most_ms = qm.conf->queue_run_delay, in_ms;

    if (due < qm.next_due)
        qm.next_due = due;
    if (qm.is_loading)
        return; /* load_done() looks at next_due */
    if (qm.next_due == INT64_MAX) {
        timer_stop(&qm.load_timer);
        return;
    }
    in_ms = qm.next_due <= now                   ? 0
            : qm.next_due - now > most_ms / 1000 ? most_ms
                                                 : (qm.next_due - now) * 1000;
    timer_start(&qm.load_timer, (uint64_t)in_ms, load_now, NULL);
}
