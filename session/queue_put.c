/* session/queue_put.c - one message's content on its way: small in memory, more into a file by the work pool.
 * See queue_client.h. */
#include "session/queue_client_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "session/queue_id.h"
#include "session/queue_proto.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    SPOOL_PIECE = 256 * 1024, /* octets handed to the pool at a time */
    BACKLOG_LOW = 512 * 1024,
    FILE_NAME_HEX = 24
};

static void put_pump(struct queue_put *p);

/* ---- the put's end ---- */

void
put_free(struct queue_put *p)
{
    list_remove(&p->link);
    if (p->fd >= 0)
        close(p->fd);
    buf_free(&p->body);
    buf_free(&p->env);
    buf_free(&p->spool.chunk);
    free(p->path);
    free(p);
}

void
put_answer(struct queue_put *p, int rc, const struct err *e)
{
    void (*cb)(uint64_t, int, const struct err *) = p->cb;
    uint64_t id = p->cb_id;
    struct err copy = { 0 };

    if (e)
        copy = *e;
    if (rc != 0 && p->is_file && p->path)
        unlink(
            p->path); /* qmgr has not taken it, or will not find it: either way nothing was promised */
    put_free(p);
    cb(id, rc, &copy);
}

/* ---- spooling ---- */

static enum work_rc
spool_run(struct work_job *j)
{
    struct spool *s = CONTAINER_OF(j, struct spool, job);
    struct queue_put *p = s->put;

    if (s->is_open_wanted) {
        p->fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
        if (p->fd < 0) {
            err_sys(&s->err, "create %s", p->path);
            return WORK_DONE;
        }
    }
    if (fs_write_all(p->fd, buf_slice(&s->chunk), &s->err) != 0)
        return WORK_DONE;
    if (s->is_last)
        fs_sync_fd(p->fd, &s->err);
    return WORK_DONE;
}

static enum work_rc
discard_run(struct work_job *j)
{
    struct spool *s = CONTAINER_OF(j, struct spool, job);

    if (s->put->fd >= 0)
        unlink(s->put->path);
    return WORK_DONE;
}

static void
discard_done(struct work_job *j)
{
    put_free(CONTAINER_OF(j, struct spool, job)->put);
}

static void
put_discard(struct queue_put *p)
{
    if (!p->is_file || p->fd < 0) {
        put_free(p);
        return;
    }
    p->spool.job = (struct work_job){ .run = discard_run, .done = discard_done };
    work_submit(p->q->pool, &p->spool.job);
}

static void
spool_done(struct work_job *j)
{
    struct spool *s = CONTAINER_OF(j, struct spool, job);
    struct queue_put *p = s->put;
    bool was_last = s->is_last;

    p->spool_octets = 0;
    buf_free(&s->chunk);
    if (s->err.kind != ERR_NONE && p->err.kind == ERR_NONE)
        p->err = s->err;
    if (p->err.kind != ERR_NONE)
        buf_free(&p->body); /* it is lost: do not hold up who writes */
    if (p->on_ready && queue_put_backlog(p) < BACKLOG_LOW) {
        void (*fn)(uint64_t) = p->on_ready;

        p->on_ready = NULL;
        fn(p->on_ready_id); /* may write, commit or abort; the put stays, for its job counts as running */
    }
    p->is_job_running = false;
    if (p->state == PUT_ABORTED) {
        put_discard(p);
        return;
    }
    if (was_last && p->err.kind == ERR_NONE) {
        close(p->fd);
        p->fd = -1;
        client_push_put(p);
        client_send_waiting(p->q);
        return;
    }
    put_pump(p);
}

/* Hand on what has gathered, one job at a time. */
static void
put_pump(struct queue_put *p)
{
    struct spool *s = &p->spool;
    bool is_end = p->state == PUT_COMMITTING;

    if (p->is_job_running)
        return;
    if (p->err.kind != ERR_NONE) {
        struct err e = p->err;

        buf_free(&p->body);
        if (is_end)
            put_answer(p, -1, &e);
        return;
    }
    if (!p->is_file || (p->body.n == 0 && !is_end) || (p->body.n < SPOOL_PIECE && !is_end))
        return;
    s->put = p;
    s->chunk = p->body;
    memset(&p->body, 0, sizeof p->body);
    s->is_open_wanted = p->fd < 0;
    s->is_last = is_end;
    s->err.kind = ERR_NONE;
    s->job = (struct work_job){ .run = spool_run, .done = spool_done };
    p->spool_octets = s->chunk.n;
    p->is_job_running = true;
    work_submit(p->q->pool, &s->job);
}

static void
put_to_file(struct queue_put *p)
{
    char name[FILE_NAME_HEX + 1];
    size_t n = strlen(p->q->incoming) + sizeof name + 1;

    rand_hex(name, FILE_NAME_HEX);
    p->path = mem_alloc(n);
    snprintf(p->path, n, "%s/%s", p->q->incoming, name);
    p->file = p->path + strlen(p->q->incoming) + 1;
    p->is_file = true;
}

struct queue_put *
queue_put_new(struct queue_client *q)
{
    struct queue_put *p = MEM_NEW(struct queue_put);

    p->q = q;
    p->fd = -1;
    list_init(&p->link);
    return p;
}

void
queue_put_write(struct queue_put *p, struct slice s)
{
    p->size += s.n;
    p->crc = enc_crc32(p->crc, s.p, s.n);
    if (p->err.kind != ERR_NONE)
        return; /* told at commit */
    buf_adds(&p->body, s);
    if (!p->is_file && p->body.n > QUEUE_INLINE_OCTETS)
        put_to_file(p);
    put_pump(p);
}

size_t
queue_put_backlog(const struct queue_put *p)
{
    return p->is_file ? p->body.n + p->spool_octets : 0;
}

void
queue_put_on_ready(struct queue_put *p, void (*fn)(uint64_t id), uint64_t id)
{
    p->on_ready = fn;
    p->on_ready_id = id;
}

/* The answer must not come from inside queue_put_commit(). */
static void
pump_later(void *arg)
{
    put_pump(arg);
}

static void
send_later(void *arg)
{
    client_send_waiting(arg);
}

void
queue_put_commit(struct queue_put *p, const struct queue_env *env,
                 void (*cb)(uint64_t id, int rc, const struct err *e), uint64_t id)
{
    int64_t arrived_us = clock_unix_us();

    queue_id_parse(sl_z(env->id), &arrived_us, NULL, NULL);
    queue_env_pack(&p->env, env, arrived_us);
    p->state = PUT_COMMITTING;
    p->on_ready = NULL;
    p->cb = cb;
    p->cb_id = id;
    if (p->is_file || p->err.kind != ERR_NONE) {
        if (!p->is_job_running)
            loop_defer(pump_later, p);
        return;
    }
    client_push_put(p);
    if (!list_is_empty(&p->link) && p->link.prev == &p->q->waiting)
        loop_defer(send_later, p->q); /* the first of this turn; the others go with it */
}

void
queue_put_abort(struct queue_put **pp)
{
    struct queue_put *p = *pp;

    if (p == NULL)
        return;
    *pp = NULL;
    p->state = PUT_ABORTED;
    p->on_ready = NULL;
    if (!p->is_job_running)
        put_discard(p);
}
