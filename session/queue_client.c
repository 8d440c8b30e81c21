/* session/queue_client.c - see queue_client.h. One SEQPACKET connection to qmgr, made again when it breaks.
 * What is not answered when it breaks is answered ERR_TEMP: the client sends again, which can repeat, never lose. */
#include "session/queue_client.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/chan.h"
#include "core/loop.h"
#include "core/work.h"
#include "session/queue_id.h"
#include "session/queue_proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    IN_FLIGHT_MAX = 256, /* puts sent and not answered; the rest waits here */
    SPOOL_THREADS = 2,
    SPOOL_PIECE = 256 * 1024, /* octets handed to the pool at a time */
    BACKLOG_LOW = 512 * 1024,
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 2000,
    RESEND_MS = 5,
    FILE_NAME_HEX = 24,
    WIRE_SLACK = 64 /* kind, req and string lengths around a put */
};

struct grant {
    uint64_t next, end;
    uint32_t db_bits;
};

struct queue_client {
    char *socket_path, *incoming;
    struct chan *chan;
    struct work_pool *pool;
    struct grant now, spare;
    bool is_asking;      /* a 'G' is out */
    struct list waiting; /* puts ready to send, oldest first */
    struct map *sent;    /* req -> put */
    uint64_t next_req;
    uint64_t retry_ms;
    struct timer retry, resend;
    bool has_warned;
};

enum put_state { PUT_FILLING, PUT_COMMITTING, PUT_ABORTED };

/* On the pool: append what was handed over; with `is_last` sync and close. */
struct spool {
    struct work_job job;
    struct queue_put *put;
    struct buf chunk;
    bool is_open_wanted, is_last;
    struct err err;
};

struct queue_put {
    struct queue_client *q;
    struct list link; /* q->waiting */
    enum put_state state;
    struct buf body; /* in memory, or not yet handed to the pool */
    bool is_file, is_job_running;
    char *path;
    const char *file; /* last part of path */
    int fd;
    struct spool spool;
    size_t spool_octets; /* in the running job */
    uint64_t size;
    uint32_t crc;
    struct err err;
    struct buf env;
    uint64_t req;
    void (*cb)(uint64_t id, int rc, const struct err *e);
    uint64_t cb_id;
    void (*on_ready)(uint64_t id);
    uint64_t on_ready_id;
};

static void put_pump(struct queue_put *p);
static void send_waiting(struct queue_client *q);
static void connect_now(void *arg);

/* ---- the put's end ---- */

static void
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

static void
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
        list_push_back(&p->q->waiting, &p->link);
        send_waiting(p->q);
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
    send_waiting(arg);
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
    list_push_back(&p->q->waiting, &p->link);
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

/* ---- the wire ---- */

static int
send_put(struct queue_client *q, struct queue_put *p)
{
    struct queue_wire_put w = { .env = buf_slice(&p->env), .size = p->size, .crc = p->crc };
    struct buf b = { 0 };
    int rc, fd = -1;

    if (p->is_file)
        w.file = sl_z(p->file);
    else
        w.body = buf_slice(&p->body);
    p->req = ++q->next_req;
    wire_add_u8(&b, 'P');
    wire_add_u64(&b, p->req);
    if (w.env.n + w.body.n + w.file.n + WIRE_SLACK <= CHAN_MSG_OCTETS) {
        queue_put_pack(&b, &w);
    } else {
        struct buf big = { 0 };
        struct err e = { 0 };

        queue_put_pack(&big, &w);
        fd = chan_memfd("put", buf_slice(&big), &e);
        buf_free(&big);
        if (fd < 0) {
            log_warn("queue.memfd", LOG_NONE, "hand message to the queue manager: %s", e.msg);
            buf_free(&b);
            return -1;
        }
    }
    rc = chan_send(q->chan, buf_slice(&b), fd < 0 ? NULL : &fd, fd < 0 ? 0 : 1);
    buf_free(&b);
    return rc;
}

static void
resend(void *arg)
{
    send_waiting(arg);
}

static void
fail_waiting(struct queue_client *q)
{
    struct list *n;
    struct err e = { 0 };

    err_set(&e, ERR_TEMP, "the queue manager is not there");
    while ((n = list_pop_front(&q->waiting)) != NULL)
        put_answer(CONTAINER_OF(n, struct queue_put, link), -1, &e);
}

static void
send_waiting(struct queue_client *q)
{
    if (q->chan == NULL) {
        fail_waiting(q);
        return;
    }
    while (map_count(q->sent) < IN_FLIGHT_MAX && !list_is_empty(&q->waiting)) {
        struct queue_put *p = CONTAINER_OF(q->waiting.next, struct queue_put, link);

        if (send_put(q, p) != 0) {
            timer_start(&q->resend, RESEND_MS, resend, q);
            return;
        }
        list_remove(&p->link);
        map_set_u64(q->sent, p->req, p);
    }
}

static void
ask_grant(struct queue_client *q)
{
    struct buf b = { 0 };

    if (q->is_asking || q->chan == NULL)
        return;
    wire_add_u8(&b, 'G');
    wire_add_u32(&b, QUEUE_GRANT_COUNT);
    q->is_asking = chan_send(q->chan, buf_slice(&b), NULL, 0) == 0;
    buf_free(&b);
}

static void
got_grant(struct queue_client *q, struct slice in)
{
    struct grant g;
    uint32_t count;

    if (!wire_take_u64(&in, &g.next) || !wire_take_u32(&in, &count) ||
        !wire_take_u32(&in, &g.db_bits))
        return;
    q->is_asking = false;
    if (count == 0)
        return; /* the queue cannot write now; asked again at the next id */
    g.end = g.next + count;
    if (q->now.next == q->now.end)
        q->now = g;
    else
        q->spare = g;
}

/* A packet answers one or more puts. */
static void
got_answers(struct queue_client *q, struct slice in)
{
    uint64_t req;
    uint32_t kind, sys;
    struct slice msg;

    while (wire_take_u64(&in, &req) && wire_take_u32(&in, &kind) && wire_take_u32(&in, &sys) &&
           wire_take_str(&in, &msg)) {
        struct queue_put *p = map_del_u64(q->sent, req);
        struct err e = { 0 };

        if (p == NULL)
            continue;
        if (kind != 0) {
            err_set(&e, (enum err_kind)kind, "%.*s", SL_ARG(msg));
            e.sys = (int)sys;
        }
        put_answer(p, kind == 0 ? 0 : -1, &e);
    }
    send_waiting(q);
}

static void
on_msg(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct queue_client *q = arg;
    unsigned kind;

    (void)c;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (!wire_take_u8(&msg, &kind))
        return;
    if (kind == 'g')
        got_grant(q, msg);
    else if (kind == 'p')
        got_answers(q, msg);
}

static void
on_close(struct chan *c, void *arg)
{
    struct queue_client *q = arg;
    struct list lost;
    struct list *n;
    size_t it = 0;
    void *v;
    struct err e = { 0 };

    (void)c;
    chan_free(&q->chan);
    q->is_asking = false;
    q->now = q->spare = (struct grant){ 0 }; /* the next qmgr may have another database */
    log_warn("queue.lost", LOG_NONE, "lost connection with the queue manager");
    list_init(&lost);
    while (map_next(q->sent, &it, NULL, &v))
        list_push_back(&lost, &((struct queue_put *)v)->link);
    map_free(&q->sent, NULL);
    q->sent = map_new();
    err_set(&e, ERR_TEMP, "lost connection with the queue manager");
    while ((n = list_pop_front(&lost)) != NULL) {
        struct queue_put *p = CONTAINER_OF(n, struct queue_put, link);

        free(p->path); /* qmgr may have taken the file and committed: not ours to remove */
        p->path = NULL;
        put_answer(p, -1, &e);
    }
    fail_waiting(q);
    q->retry_ms = RETRY_FIRST_MS;
    timer_start(&q->retry, q->retry_ms, connect_now, q);
}

static const struct chan_ops ops = { .on_msg = on_msg, .on_close = on_close };

static void
connect_now(void *arg)
{
    struct queue_client *q = arg;
    struct err e = { 0 };

    if (chan_connect(q->socket_path, &ops, q, &q->chan, &e) != 0) {
        q->chan = NULL;
        if (!q->has_warned)
            log_warn("queue.connect", LOG_NONE, "connect to the queue manager: %s", e.msg);
        q->has_warned = true;
        q->retry_ms = q->retry_ms == 0 ? RETRY_FIRST_MS : q->retry_ms * 2;
        if (q->retry_ms > RETRY_MAX_MS)
            q->retry_ms = RETRY_MAX_MS;
        timer_start(&q->retry, q->retry_ms, connect_now, q);
        return;
    }
    q->has_warned = false;
    ask_grant(q);
    send_waiting(q);
}

struct queue_client *
queue_client_new(const char *socket_path, const char *incoming_dir)
{
    struct queue_client *q = MEM_NEW(struct queue_client);

    q->socket_path = mem_dupz(socket_path);
    q->incoming = mem_dupz(incoming_dir);
    q->pool = work_pool_new("spool", SPOOL_THREADS, 0);
    q->sent = map_new();
    list_init(&q->waiting);
    connect_now(q);
    return q;
}

void
queue_client_free(struct queue_client **qq)
{
    struct queue_client *q = *qq;
    size_t it = 0;
    void *v;

    if (q == NULL)
        return;
    *qq = NULL;
    timer_stop(&q->retry);
    timer_stop(&q->resend);
    chan_free(&q->chan);
    work_pool_free(&q->pool);
    LIST_EACH(at, nxt, &q->waiting)
    map_set_u64(q->sent, ++q->next_req, CONTAINER_OF(at, struct queue_put, link));
    while (map_next(q->sent, &it, NULL, &v))
        put_free(v);
    map_free(&q->sent, NULL);
    free(q->socket_path);
    free(q->incoming);
    free(q);
}

bool
queue_client_is_up(const struct queue_client *q)
{
    return q->chan != NULL && q->now.next < q->now.end;
}

int
queue_id_new(struct queue_client *q, char out[QUEUE_ID_OCTETS])
{
    if (q->now.next == q->now.end) {
        q->now = q->spare;
        q->spare = (struct grant){ 0 };
    }
    if (q->spare.next == q->spare.end && q->now.end - q->now.next < QUEUE_GRANT_COUNT / 2)
        ask_grant(q);
    if (q->chan == NULL || q->now.next == q->now.end)
        return -1;
    queue_id_format(clock_unix_us(), q->now.next++, q->now.db_bits, out);
    return 0;
}
