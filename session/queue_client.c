/* session/queue_client.c - see queue_client.h. One SEQPACKET connection to qmgr, made again when it breaks.
 * What is not answered when it breaks, or for too long, is answered ERR_TEMP: the client sends again, which can repeat, never
 * lose. */
#include "session/queue_client_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/queue_id.h"
#include "session/queue_proto.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    IN_FLIGHT_MAX = 256, /* puts sent and not answered; the rest waits here */
    SPOOL_THREADS = 2,
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 2000,
    RESEND_MS = 5,
    LOOK_MS = 1000,  /* how often questions without an answer are looked for */
    ASKS_MAX = 1000, /* verdicts awaited */
    WIRE_SLACK = 64  /* kind, req and string lengths around a put */
};

/* A verdict that is awaited. */
struct ask {
    struct list link; /* being answered */
    uint64_t since_ms;
    void (*cb)(uint64_t id, int rc, enum verify_status status, struct slice text);
    uint64_t cb_id;
};

static void connect_now(void *arg);

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
    client_send_waiting(arg);
}

static void
fail_waiting(struct queue_client *q)
{
    struct list *n;
    struct err e = { 0 };

    err_set(&e, ERR_TEMP,
            q->chan ? "the queue manager does not answer" : "the queue manager is not there");
    while ((n = list_pop_front(&q->waiting)) != NULL)
        put_answer(CONTAINER_OF(n, struct queue_put, link), -1, &e);
}

void
client_send_waiting(struct queue_client *q)
{
    if (q->chan == NULL || q->is_silent) {
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

/* ---- without an answer ---- */

static void
answer_ask(struct ask *a, int rc, enum verify_status status, struct slice text)
{
    void (*cb)(uint64_t, int, enum verify_status, struct slice) = a->cb;
    uint64_t id = a->cb_id;

    free(a);
    cb(id, rc, status, text);
}

/* Whether qmgr has committed these nobody here can know. 451 is right all the same: the client keeps the message and sends it
 * again, so it may come twice, but a 250 for what is not on disk would lose it. */
static void
fail_sent(struct list *puts, const char *why)
{
    struct list *n;
    struct err e = { 0 };

    err_set(&e, ERR_TEMP, "%s", why);
    while ((n = list_pop_front(puts)) != NULL) {
        struct queue_put *p = CONTAINER_OF(n, struct queue_put, link);

        free(p->path); /* qmgr may have taken the file and committed: not ours to remove */
        p->path = NULL;
        put_answer(p, -1, &e);
    }
}

static void
fail_asks(struct list *asks)
{
    struct list *n;

    while ((n = list_pop_front(asks)) != NULL)
        answer_ask(CONTAINER_OF(n, struct ask, link), -1, VERIFY_TODO, SL(""));
}

/* Move those that have waited since before `until_ms` out of the maps: answering them may bring new ones. */
static void
take_overdue(struct queue_client *q, uint64_t until_ms, struct list *puts, struct list *asks)
{
    size_t it = 0;
    uint64_t req;
    void *v;

    list_init(puts);
    list_init(asks);
    while (map_next_u64(q->sent, &it, &req, &v)) {
        struct queue_put *p = v;

        if (p->since_ms <= until_ms) {
            list_push_back(puts, &p->link);
            map_del_u64(q->sent, req);
        }
    }
    it = 0;
    while (map_next_u64(q->asks, &it, &req, &v)) {
        struct ask *a = v;

        if (a->since_ms <= until_ms) {
            list_push_back(asks, &a->link);
            map_del_u64(q->asks, req);
        }
    }
}

/* A dead qmgr is told by its connection; one that hangs only by its silence. */
static void
look(void *arg)
{
    struct queue_client *q = arg;
    uint64_t now = loop_now_ms();
    struct list puts, asks;
    bool is_first = !q->is_silent;

    if (now >= q->limit_ms) {
        take_overdue(q, now - q->limit_ms, &puts, &asks);
        /* What answers others has lost these, or is not done with them: no reason to refuse mail. */
        if ((!list_is_empty(&puts) || !list_is_empty(&asks)) && now - q->heard_ms >= q->limit_ms) {
            q->is_silent = true;
            if (is_first)
                log_warn("queue.silent", LOG_NONE,
                         "the queue manager has not answered for %llu s: mail is not accepted "
                         "until it does",
                         (unsigned long long)(q->limit_ms / 1000));
            ask_grant(q); /* the answer tells that it is back */
        }
        fail_sent(&puts, "the queue manager does not answer");
        fail_asks(&asks);
        if (q->is_silent)
            fail_waiting(q);
    }
    if (map_count(q->sent) > 0 || map_count(q->asks) > 0 || !list_is_empty(&q->waiting))
        timer_start(&q->look, LOOK_MS, look, q);
}

static void
look_later(struct queue_client *q)
{
    if (!timer_is_running(&q->look))
        timer_start(&q->look, LOOK_MS, look, q);
}

void
client_push_put(struct queue_put *p)
{
    p->since_ms = loop_now_ms();
    list_push_back(&p->q->waiting, &p->link);
    look_later(p->q);
}

/* ---- verdicts ---- */

static void
got_verdict(struct queue_client *q, struct slice in)
{
    uint64_t req;
    unsigned is_known, status;
    struct slice text;
    struct ask *a;

    if (!wire_take_u64(&in, &req) || !wire_take_u8(&in, &is_known) || !wire_take_u8(&in, &status) ||
        !wire_take_str(&in, &text))
        return;
    a = map_del_u64(q->asks, req);
    if (a)
        answer_ask(a, is_known && status <= VERIFY_BOUNCE ? 0 : -1, (enum verify_status)status,
                   text);
}

static void
fail_ask(void *arg)
{
    answer_ask(arg, -1, VERIFY_TODO, SL(""));
}

bool
queue_flush(struct queue_client *q, struct slice domain)
{
    struct buf b = { 0 };
    bool is_sent = false;

    wire_add_u8(&b, 'F');
    wire_add_str(&b, domain);
    if (q->chan && !q->is_silent && b.n <= CHAN_MSG_OCTETS)
        is_sent = chan_send(q->chan, buf_slice(&b), NULL, 0) == 0;
    buf_free(&b);
    return is_sent;
}

void
queue_verify(struct queue_client *q, struct slice addr, struct slice orig,
             void (*cb)(uint64_t id, int rc, enum verify_status status, struct slice text),
             uint64_t id)
{
    struct ask *a = MEM_NEW(struct ask);
    struct buf b = { 0 };
    uint64_t req = ++q->next_req;
    int rc = -1;

    list_init(&a->link);
    a->since_ms = loop_now_ms();
    a->cb = cb;
    a->cb_id = id;
    wire_add_u8(&b, 'V');
    wire_add_u64(&b, req);
    wire_add_str(&b, addr);
    wire_add_str(&b, orig);
    if (q->chan && !q->is_silent && map_count(q->asks) < ASKS_MAX && b.n <= CHAN_MSG_OCTETS)
        rc = chan_send(q->chan, buf_slice(&b), NULL, 0);
    buf_free(&b);
    if (rc != 0) {
        loop_defer(fail_ask, a);
        return;
    }
    map_set_u64(q->asks, req, a);
    look_later(q);
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
    client_send_waiting(q);
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
    if (q->is_silent)
        log_info("queue.heard", LOG_NONE, "the queue manager answers again");
    q->is_silent = false;
    q->heard_ms = loop_now_ms();
    if (kind == 'g')
        got_grant(q, msg);
    else if (kind == 'p')
        got_answers(q, msg);
    else if (kind == 'v')
        got_verdict(q, msg);
}

static void
on_close(struct chan *c, void *arg)
{
    struct queue_client *q = arg;
    struct list puts, asks;

    (void)c;
    chan_free(&q->chan);
    q->is_asking = q->is_silent = false;
    q->now = q->spare = (struct grant){ 0 }; /* the next qmgr may have another database */
    log_warn("queue.lost", LOG_NONE, "lost connection with the queue manager");
    take_overdue(q, UINT64_MAX, &puts, &asks);
    fail_sent(&puts, "lost connection with the queue manager");
    fail_asks(&asks);
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
    q->heard_ms = loop_now_ms();
    ask_grant(q);
    client_send_waiting(q);
}

struct queue_client *
queue_client_new(const char *socket_path, const char *incoming_dir)
{
    struct queue_client *q = MEM_NEW(struct queue_client);

    q->socket_path = mem_dupz(socket_path);
    q->incoming = mem_dupz(incoming_dir);
    q->pool = work_pool_new("spool", SPOOL_THREADS, 0);
    q->sent = map_new();
    q->asks = map_new();
    q->limit_ms = QUEUE_ANSWER_MS;
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
    timer_stop(&q->look);
    chan_free(&q->chan);
    work_pool_free(&q->pool);
    LIST_EACH(at, nxt, &q->waiting)
    map_set_u64(q->sent, ++q->next_req, CONTAINER_OF(at, struct queue_put, link));
    while (map_next(q->sent, &it, NULL, &v))
        put_free(v);
    map_free(&q->sent, NULL);
    map_free(&q->asks, free);
    free(q->socket_path);
    free(q->incoming);
    free(q);
}

bool
queue_client_is_up(const struct queue_client *q)
{
    return q->chan != NULL && !q->is_silent && q->now.next < q->now.end;
}

void
queue_client_set_limit(struct queue_client *q, uint64_t ms)
{
    q->limit_ms = ms;
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
    if (q->chan == NULL || q->is_silent || q->now.next == q->now.end)
        return -1;
    queue_id_format(clock_unix_us(), q->now.next++, q->now.db_bits, out);
    return 0;
}
