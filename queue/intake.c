/* queue/intake.c - private/queue: ids are granted, messages committed. See session/queue_proto.h. */
#include "queue/qmgr_int.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/users_list.h"
#include "core/chan.h"
#include "session/queue_proto.h"

#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    RESEND_MS = 5,
    ANSWERS_OCTETS_MAX = 24 * 1024,
    ERROR_TEXT_OCTETS = 100,
    /* Of ordinary users, so that none of them keeps qmgr or the others from their work: */
    PUBLIC_MAX = 200,     /* connections, */
    PUBLIC_USER_MAX = 20, /* of one of them, */
    PUBLIC_ASKED_MAX = 16 /* and questions that wait for their answers on one */
};

struct client {
    struct chan *chan;
    uint64_t id;
    struct admin_rights may;
    bool may_put;  /* came by private/queue */
    bool is_bound; /* an ordinary user */
    unsigned uid, n_asked;
    struct list link;   /* among those */
    struct buf answers; /* 'p' messages gathered in this turn: one packet */
    bool is_flush_due;
    struct timer resend;
};

static struct list bound = { &bound, &bound };

/* ---- answers ---- */

static void flush_answers(void *arg);

static void
flush_client(struct client *c)
{
    struct slice s = buf_slice(&c->answers);

    c->is_flush_due = false;
    if (s.n == 0)
        return;
    if (chan_send(c->chan, s, NULL, 0) != 0)
        timer_start(&c->resend, RESEND_MS, flush_answers, c);
    else
        buf_reset(&c->answers);
}

static void
flush_answers(void *arg)
{
    flush_client(arg);
}

static void
flush_by_id(void *arg)
{
    struct client *c = id_get((uint64_t)(uintptr_t)arg);

    if (c && !timer_is_running(&c->resend))
        flush_client(c);
}

static void
answer_put(uint64_t client, uint64_t req, int rc, const struct err *e)
{
    struct client *c = id_get(client);

    if (c == NULL)
        return;
    if (c->answers.n == 0)
        wire_add_u8(&c->answers, 'p');
    wire_add_u64(&c->answers, req);
    wire_add_u32(&c->answers, rc == 0 ? 0 : (uint32_t)(e->kind == ERR_NONE ? ERR_TEMP : e->kind));
    wire_add_u32(&c->answers, rc == 0 ? 0 : (uint32_t)e->sys);
    /* A client has at most 256 puts out: with short texts all answers fit one packet. */
    wire_add_str(&c->answers, rc == 0 ? SL("") : sl_head(sl_z(e->msg), ERROR_TEXT_OCTETS));
    if (timer_is_running(&c->resend))
        return;
    if (c->answers.n > ANSWERS_OCTETS_MAX) {
        flush_client(c);
    } else if (!c->is_flush_due) {
        c->is_flush_due = true;
        loop_defer(flush_by_id, (void *)(uintptr_t)c->id);
    }
}

void
intake_send_page(uint64_t client, uint64_t req, bool more, uint64_t after, struct slice text)
{
    struct client *c = id_get(client);
    struct buf b = { 0 };

    if (c == NULL)
        return;
    c->n_asked -= c->n_asked > 0;
    wire_add_u8(&b, 'a');
    wire_add_u64(&b, req);
    wire_add_u8(&b, more);
    wire_add_u64(&b, after);
    wire_add_str(&b, text);
    chan_send(c->chan, buf_slice(&b), NULL, 0);
    buf_free(&b);
}

void
intake_send_verdict(uint64_t client, uint64_t req, bool is_known, enum verify_status status,
                    struct slice text)
{
    struct client *c = id_get(client);
    struct buf b = { 0 };

    if (c == NULL)
        return;
    wire_add_u8(&b, 'v');
    wire_add_u64(&b, req);
    wire_add_u8(&b, is_known);
    wire_add_u8(&b, status);
    wire_add_str(&b, text);
    chan_send(c->chan, buf_slice(&b), NULL, 0); /* lost: the client asks again, or gives up */
    buf_free(&b);
}

/* ---- ids ---- */

struct grant_op {
    struct wop op;
    uint64_t client;
    uint32_t count;
    uint64_t first;
};

static int
grant_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct grant_op *g = CONTAINER_OF(op, struct grant_op, op);

    return qdb_grant(q, g->count, &g->first, e);
}

static void
grant_done(struct wop *op, int rc, const struct err *e)
{
    struct grant_op *g = CONTAINER_OF(op, struct grant_op, op);
    struct client *c = id_get(g->client);

    if (rc != 0)
        log_warn("queue.grant", LOG_NONE, "no queue ids can be given: %s", e->msg);
    if (c) {
        struct buf b = { 0 };

        wire_add_u8(&b, 'g');
        wire_add_u64(&b, g->first);
        wire_add_u32(&b, rc == 0 ? g->count : 0);
        wire_add_u32(&b, qm.db_bits);
        chan_send(c->chan, buf_slice(&b), NULL, 0);
        buf_free(&b);
    }
    free(g);
}

static void
grant(uint64_t client, uint32_t count)
{
    struct grant_op *g = MEM_NEW(struct grant_op);

    g->op =
        (struct wop){ .kind = WOP_READ, .is_urgent = true, .run = grant_run, .done = grant_done };
    g->client = client;
    g->count = count > 0 && count <= QUEUE_GRANT_COUNT ? count : QUEUE_GRANT_COUNT;
    writer_submit(qm.writer, &g->op);
}

/* ---- messages ---- */

struct put_op {
    struct wop op;
    uint64_t client, req;
    struct qdb_put put;
    struct qmsg *m;
    char *file;
    bool is_moved;
};

static int
put_run(struct wop *op, struct qdb *q, struct err *e)
{
    return qdb_put(q, &CONTAINER_OF(op, struct put_op, op)->put, e);
}

static void
put_done(struct wop *op, int rc, const struct err *e)
{
    struct put_op *p = CONTAINER_OF(op, struct put_op, op);

    answer_put(p->client, p->req, rc, e);
    if (rc != 0) {
        if (!err_is_full(e)) /* a full disk was told once */
            log_warn("queue.put", LOG_NONE, "%s: not queued: %s", p->m->env.id, e->msg);
        if (p->is_moved) { /* no row names it: on a full disk it must not stay */
            char path[PATH_MAX];

            snprintf(path, sizeof path, "%s/files/%s", qm.queue_dir, p->m->env.id);
            unlink(path);
        }
        active_free(p->m);
    } else if (p->put.due == QDB_DUE_HELD) {
        log_info("queue.hold", LOG_F(LF_Z("id", p->m->env.id), LF_S("why", p->m->env.hold)),
                 "%s: placed on hold: %.*s", p->m->env.id, SL_ARG(p->m->env.hold));
        active_free(p->m);
    } else if (p->put.due == INT64_MIN) {
        active_begin(p->m);
    } else {
        active_free(p->m);
        active_load_at(p->put.due);
    }
    free(p->file);
    free(p);
}

static void
set_file(struct put_op *p, struct slice name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/incoming/%.*s", qm.conf->queue_directory, SL_ARG(name));
    p->file = mem_dupz(path);
    p->put.file = p->file;
    p->put.is_moved = &p->is_moved;
}

static int
take_put(struct client *c, uint64_t req, struct slice in, struct err *e)
{
    struct queue_wire_put w;
    struct buf packed = { 0 }, body = { 0 };
    struct put_op *p;
    struct qmsg *m;
    uint64_t n;
    uint32_t bits;

    if (queue_put_unpack(in, &w, e) != 0)
        return -1;
    buf_adds(&packed, w.env);
    buf_adds(&body, w.body);
    m = active_new(0, &packed, &body, w.file.n > 0, w.size, w.crc, NULL, 0, e);
    if (m == NULL)
        return -1;
    if (!queue_id_parse(sl_z(m->env.id), NULL, &n, &bits) || bits != qm.db_bits) {
        active_free(m);
        return err_set(e, ERR_TEMP, "queue id of another database");
    }
    m->n = n;
    p = MEM_NEW(struct put_op);
    p->op = (struct wop){ .kind = WOP_PUT, .is_urgent = true, .run = put_run, .done = put_done };
    p->client = c->id;
    p->req = req;
    p->m = m;
    p->put = (struct qdb_put){ .n = n,
                               .id = m->env.id,
                               .env = buf_slice(&m->packed),
                               .size = m->size,
                               .crc = m->crc,
                               .body = buf_slice(&m->body),
                               .n_rcpts = (uint32_t)m->env.n_rcpts,
                               .due = INT64_MIN };
    if (w.file.n > 0)
        set_file(p, w.file);
    if (m->env.hold.n > 0)
        p->put.due = QDB_DUE_HELD; /* never in memory before it is released */
    else if (m->n_rcpts > active_round() || m->n_rcpts > active_room(false))
        p->put.due = clock_unix_s(); /* on disk only; loaded when there is room, a part at a time */
    writer_submit(qm.writer, &p->op);
    return 0;
}

static void
got_put(struct client *c, struct slice in, const int *fds, size_t n_fds)
{
    uint64_t req;
    struct buf big = { .max = QUEUE_ENV_OCTETS_MAX + 2 * QUEUE_INLINE_OCTETS };
    struct err e = { 0 };

    if (!wire_take_u64(&in, &req))
        return;
    if (n_fds == 1) {
        if (chan_read_memfd(fds[0], &big, &e) != 0) {
            answer_put(c->id, req, -1, &e);
            return;
        }
        in = buf_slice(&big);
    }
    if (take_put(c, req, in, &e) != 0) {
        log_warn("queue.bad", LOG_NONE, "message from a client of the queue not taken: %s", e.msg);
        answer_put(c->id, req, -1, &e);
    }
    buf_free(&big);
}

/* ---- the connection ---- */

static void on_close(struct chan *chan, void *arg);

static void
on_msg(struct chan *chan, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct client *c = arg;
    unsigned kind;
    uint64_t req;
    uint32_t want;
    struct slice addr, orig;
    bool is_bad = false;

    if (wire_take_u8(&msg, &kind)) {
        is_bad = kind == 'A' ? c->is_bound && c->n_asked >= PUBLIC_ASKED_MAX : !c->may_put;
        kind = is_bad ? 0 : kind;
        if (kind == 'A' && wire_take_u64(&msg, &req)) {
            c->n_asked++;
            admin_ask(c->id, req, msg, c->may);
        } else if (kind == 'P')
            got_put(c, msg, fds, n_fds);
        else if (kind == 'G' && wire_take_u32(&msg, &want))
            grant(c->id, want);
        else if (kind == 'V' && wire_take_u64(&msg, &req) && wire_take_str(&msg, &addr) &&
                 wire_take_str(&msg, &orig))
            verify_ask(c->id, req, addr, orig);
        else if (kind == 'F' && wire_take_str(&msg, &addr))
            admin_flush(addr);
    }
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (is_bad) {
        log_warn("queue.public", LOG_F(LF_N("uid", c->uid)),
                 "a client of public/queue (uid %u) asks for too much, or what is not there",
                 c->uid);
        on_close(chan, c);
    }
}

static void
on_close(struct chan *chan, void *arg)
{
    struct client *c = arg;

    (void)chan;
    id_del(c->id);
    list_remove(&c->link);
    timer_stop(&c->resend);
    chan_free(&c->chan);
    buf_free(&c->answers);
    free(c);
}

static const struct chan_ops ops = { .on_msg = on_msg, .on_close = on_close };

/* Who is this user among the names of a list? Tables are not asked: `postern check` refuses them. */
static bool
is_listed(struct conf_list l, const char *user)
{
    struct slice table;
    size_t at = 0;
    struct err e = { 0 };
    enum users_list_rc rc = users_list_match(l, user, &at, &table, &e);

    if (e.kind != ERR_NONE)
        log_warn("queue.users", LOG_NONE, "%s", e.msg);
    return rc == USERS_YES;
}

static bool
has_room_for(unsigned uid)
{
    size_t n = 0, of_user = 0;

    LIST_EACH(it, nxt, &bound)
    {
        n++;
        of_user += CONTAINER_OF(it, struct client, link)->uid == uid;
    }
    return n < PUBLIC_MAX && of_user < PUBLIC_USER_MAX;
}

void
intake_accept(int fd, bool is_public)
{
    struct client *c = MEM_NEW(struct client);
    unsigned uid;
    int pid;

    if (chan_peer_ids(fd, &pid, &uid) == 0) {
        c->uid = uid;
        c->may.may_all = uid == 0 || uid == geteuid();
        if (is_public && !c->may.may_all) {
            const struct passwd *pw = getpwuid(uid);
            const char *user = pw ? pw->pw_name : "unknown";

            c->may.may_list = is_listed(qm.conf->authorized_mailq_users, user);
            c->may.may_flush = is_listed(qm.conf->authorized_flush_users, user);
        }
    }
    c->may_put = !is_public;
    c->is_bound = is_public && !c->may.may_all;
    if (c->is_bound && !has_room_for(c->uid)) {
        close(fd);
        free(c);
        return;
    }
    if (c->is_bound)
        list_push_back(&bound, &c->link);
    c->id = id_add(c);
    c->chan = chan_new(fd, &ops, c);
}
