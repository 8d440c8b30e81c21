/* queue/writer.c - see writer.h. */
#include "queue/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/loop.h"
#include "core/work.h"

#include <errno.h>
#include <stdlib.h>

enum {
    BATCH_MAX = 1000, /* ops of one transaction */
    CHECKPOINT_OCTETS =
        8 * 1024 *
        1024, /* log written before the next checkpoint: the file is overwritten from then on */
    TIGHT_OCTETS =
        64 * 1024 *
        1024, /* less than this free: keep the log small, so that the reserve is enough */
    TIGHT_CHECKPOINT_OCTETS = 1024 * 1024,
    SHRINK_OCTETS =
        32 * 1024 * 1024, /* unused octets of the database that are given back when idle */
    IDLE_CHECKPOINT_MS = 2000,
    STUCK_RETRY_MS = 1000,
    FULL_RETRY_MS = 2000,
    MINFREE_CHECK_MS = 1000,
    TURN_US =
        15 *
        1000 /* for what is not urgent in one transaction: what comes meanwhile waits so long */
};

struct writer {
    struct qdb *q;
    struct work_pool *pool;
    struct work_job job;
    bool is_running, is_closing;
    struct list urgent, waiting, batch;
    struct list rest; /* of the batch: what the time did not suffice for */
    struct list kept; /* state that could not be written yet */
    size_t n_waiting;
    bool is_full, is_stuck, is_low;
    bool found_low, has_released;         /* the running job's */
    bool wants_checkpoint, wants_reserve; /* the running job's extra work */
    bool has_reserve;                     /* its result */
    uint64_t minfree, minfree_checked_ms;
    uint64_t job_minfree; /* the running job's copy */
    uint64_t commits;
    struct timer idle, retry;
    void (*on_unstuck)(void *);
    void *on_unstuck_arg;
    void (*on_damaged)(const struct err *e);
};

static void start(struct writer *w);

/* ---- on the pool's thread ---- */

static void
run_alone(struct writer *w, struct wop *op)
{
    if (qdb_begin(w->q, &op->err) != 0) {
        op->rc = -1;
        return;
    }
    op->rc = op->run(op, w->q, &op->err);
    if (op->rc != 0)
        qdb_rollback(w->q);
    else
        op->rc = qdb_commit(w->q, &op->err);
}

/* All in one transaction, or those that there is time for; false when one of them, or the commit, failed: then nothing
 * happened. */
static bool
run_together(struct writer *w)
{
    struct err e = { 0 };
    int64_t since = 0;

    if (qdb_begin(w->q, &e) != 0)
        return false;
    LIST_EACH(it, nxt, &w->batch)
    {
        struct wop *op = CONTAINER_OF(it, struct wop, link);

        if (since > 0 && clock_unix_us() - since > TURN_US) {
            list_remove(&op->link);
            list_push_back(&w->rest, &op->link);
            continue;
        }
        if (since == 0 && !op->is_urgent)
            since = clock_unix_us();
        if (op->run(op, w->q, &op->err) != 0) {
            qdb_rollback(w->q);
            return false;
        }
        op->rc = 0;
    }
    return qdb_commit(w->q, &e) == 0;
}

/* One that fails must not take the others with it: each by itself, and room made first where room was missing. */
static void
run_one_by_one(struct writer *w)
{
    LIST_EACH(it, nxt, &w->batch)
    {
        struct wop *op = CONTAINER_OF(it, struct wop, link);

        op->err.kind = ERR_NONE;
        run_alone(w, op);
        if (op->rc != 0 && err_is_full(&op->err) && op->kind != WOP_PUT) {
            struct err e = { 0 };

            qdb_release_reserve(w->q);
            w->has_released = true;
            if (qdb_checkpoint_fits(w->q))
                qdb_checkpoint(w->q, true, &e);
            op->err.kind = ERR_NONE;
            run_alone(w, op);
        }
    }
}

/* What may be done besides: the log into the database, room back to the file system, the reserve. */
static void
tidy(struct writer *w, uint64_t free_octets)
{
    bool is_tight = free_octets < TIGHT_OCTETS, is_asked = w->wants_checkpoint || w->wants_reserve;
    uint64_t most = is_tight ? TIGHT_CHECKPOINT_OCTETS : CHECKPOINT_OCTETS;
    struct err e = { 0 };

    if (is_asked && qdb_shrink(w->q, is_tight ? 1 : SHRINK_OCTETS, &e) != 0 && !err_is_full(&e))
        log_warn("queue.shrink", LOG_NONE, "queue database: %s", e.msg);
    if ((is_asked && qdb_wal_octets(w->q) > 0) || qdb_wal_octets(w->q) > most) {
        if (is_tight && !qdb_checkpoint_fits(w->q))
            return;
        if (qdb_checkpoint(w->q, is_tight, &e) != 0)
            log_warn("queue.checkpoint", LOG_NONE, "queue database: checkpoint: %s", e.msg);
    }
    if (w->wants_reserve)
        w->has_reserve = qdb_make_reserve(w->q);
    if (w->wants_checkpoint)
        qdb_drop_cache(w->q);
}

static enum work_rc
batch_run(struct work_job *j)
{
    struct writer *w = CONTAINER_OF(j, struct writer, job);
    uint64_t free_octets = qdb_free_octets(w->q);

    w->found_low = free_octets < w->job_minfree;
    w->has_reserve = false;
    if (!list_is_empty(&w->batch)) {
        if (!run_together(w))
            run_one_by_one(w);
        LIST_EACH(it, nxt, &w->batch)
        {
            struct wop *op = CONTAINER_OF(it, struct wop, link);

            if (op->rc == 0 && op->after)
                op->after(op, w->q);
        }
    }
    tidy(w, free_octets);
    return WORK_DONE;
}

/* ---- on the loop ---- */

static void
retry(void *arg)
{
    struct writer *w = arg;

    while (!list_is_empty(&w->kept)) {
        struct list *n = list_pop_front(&w->kept);

        list_push_back(&w->waiting, n);
        w->n_waiting++;
    }
    w->wants_reserve = true;
    start(w);
}

static void
idle(void *arg)
{
    struct writer *w = arg;

    w->wants_checkpoint = true;
    start(w);
}

static void
become_full(struct writer *w, const char *why)
{
    if (w->is_full)
        return;
    w->is_full = true;
    log_error("queue.full", LOG_NONE,
              "no room for the queue: %s: mail is not accepted until there is", why);
}

static void
note_failure(struct writer *w, struct wop *op)
{
    if (err_is_full(&op->err))
        become_full(w, op->err.msg);
    if (op->err.kind == ERR_PERM && w->on_damaged) {
        void (*fn)(const struct err *e) = w->on_damaged;

        w->on_damaged = NULL;
        qdb_mark_damaged(w->q);
        fn(&op->err);
    }
    if (op->kind == WOP_STATE && !w->is_stuck) {
        w->is_stuck = true;
        log_error("queue.stuck", LOG_NONE, "cannot record deliveries: %s: they wait", op->err.msg);
    }
}

static void
batch_done(struct work_job *j)
{
    struct writer *w = CONTAINER_OF(j, struct writer, job);
    bool was_stuck = w->is_stuck, made_reserve = w->wants_reserve && w->has_reserve;
    bool has_state_ok = false;
    struct list ended;
    struct list *n;

    w->is_running = false;
    w->is_low = w->found_low;
    w->commits++;
    w->wants_checkpoint = w->wants_reserve = false;
    list_init(&ended);
    while ((n = list_pop_front(&w->batch)) != NULL)
        list_push_back(&ended, n);
    while (!list_is_empty(&w->rest)) {
        n = w->rest.prev;
        list_remove(n);
        list_push_front(&w->waiting, n);
        w->n_waiting++;
    }
    if (w->has_released) { /* what the reserve gives is for getting rid of mail */
        w->has_released = false;
        become_full(w, "the reserve is in use");
    } else if (made_reserve && w->is_full) {
        w->is_full = false;
        log_info("queue.room", LOG_NONE, "there is room for the queue again");
    }
    while ((n = list_pop_front(&ended)) != NULL) {
        struct wop *op = CONTAINER_OF(n, struct wop, link);

        if (op->rc != 0)
            note_failure(w, op);
        if (op->rc != 0 && op->kind == WOP_STATE) {
            list_push_back(&w->kept, n);
            continue;
        }
        has_state_ok = has_state_ok || op->kind == WOP_STATE;
        op->done(op, op->rc, &op->err);
    }
    if (was_stuck && has_state_ok && list_is_empty(&w->kept))
        w->is_stuck = false;
    if (!list_is_empty(&w->kept) || w->is_full) {
        if (!timer_is_running(&w->retry))
            timer_start(&w->retry, w->is_full ? FULL_RETRY_MS : STUCK_RETRY_MS, retry, w);
    }
    if (was_stuck && !w->is_stuck) {
        log_info("queue.unstuck", LOG_NONE, "deliveries can be recorded again");
        if (w->on_unstuck)
            w->on_unstuck(w->on_unstuck_arg);
    }
    if (w->n_waiting > 0)
        start(w);
    else if (!w->is_running && qdb_wal_octets(w->q) > 0)
        timer_start(&w->idle, IDLE_CHECKPOINT_MS, idle, w);
}

static void
fill_batch(struct writer *w)
{
    for (size_t i = 0; i < BATCH_MAX; i++) {
        struct list *n = list_pop_front(&w->urgent);
        struct wop *op;

        if (n == NULL)
            n = list_pop_front(&w->waiting);
        if (n == NULL)
            break;
        w->n_waiting--;
        op = CONTAINER_OF(n, struct wop, link);
        op->rc = 0;
        op->err.kind = ERR_NONE;
        list_push_back(&w->batch, n);
    }
}

static void
start(struct writer *w)
{
    if (w->is_running || w->is_closing)
        return;
    fill_batch(w);
    timer_stop(&w->idle);
    w->is_running = true;
    w->job_minfree = w->minfree;
    w->job = (struct work_job){ .run = batch_run, .done = batch_done };
    work_submit(w->pool, &w->job);
}

static void
refuse(void *arg)
{
    struct wop *op = arg;

    op->done(op, -1, &op->err);
}

void
writer_submit(struct writer *w, struct wop *op)
{
    if (op->kind == WOP_PUT && (w->is_full || w->is_low)) {
        /* is_low is looked at anew by every batch; make one when nothing else does */
        if (!w->is_running && loop_now_ms() - w->minfree_checked_ms > MINFREE_CHECK_MS) {
            w->minfree_checked_ms = loop_now_ms();
            start(w);
        }
        err_set(&op->err, ERR_TEMP, "insufficient system storage");
        op->err.sys = ENOSPC;
        op->rc = -1;
        loop_defer(refuse, op);
        return;
    }
    list_push_back(op->is_urgent ? &w->urgent : &w->waiting, &op->link);
    w->n_waiting++;
    start(w);
}

void
writer_set_minfree(struct writer *w, uint64_t octets)
{
    w->minfree = octets;
    start(w);
}

bool
writer_is_full(const struct writer *w)
{
    return w->is_full || w->is_low;
}

bool
writer_is_stuck(const struct writer *w)
{
    return w->is_stuck;
}

void
writer_on_unstuck(struct writer *w, void (*fn)(void *), void *arg)
{
    w->on_unstuck = fn;
    w->on_unstuck_arg = arg;
}

void
writer_on_damaged(struct writer *w, void (*fn)(const struct err *e))
{
    w->on_damaged = fn;
}

bool
writer_is_idle(const struct writer *w)
{
    return !w->is_running && w->n_waiting == 0 && list_is_empty(&w->kept);
}

uint64_t
writer_commits(const struct writer *w)
{
    return w->commits;
}

struct writer *
writer_new(struct qdb *q, uint64_t minfree)
{
    struct writer *w = MEM_NEW(struct writer);

    w->q = q;
    w->minfree = minfree;
    list_init(&w->urgent);
    list_init(&w->waiting);
    list_init(&w->rest);
    list_init(&w->batch);
    list_init(&w->kept);
    w->pool = work_pool_new("queue-db", 1, 0);
    w->wants_reserve = true;
    start(w);
    return w;
}

void
writer_free(struct writer **ww)
{
    struct writer *w = *ww;

    if (w == NULL)
        return;
    *ww = NULL;
    w->is_closing = true;
    work_pool_free(&w->pool); /* ends the batch under way */
    while (w->n_waiting > 0) {
        fill_batch(w);
        batch_run(&w->job);
        batch_done(&w->job);
    }
    timer_stop(&w->idle);
    timer_stop(&w->retry);
    qdb_close(&w->q);
    free(w);
}
