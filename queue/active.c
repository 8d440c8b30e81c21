/* queue/active.c - messages in memory: a round begins with the commit or with their being due, and ends when each of its
 * recipients is delivered, put off or reported. Only what is in the database counts; this is its working copy. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    US_PER_S = 1000000,
    LOAD_PART = 20,
    RCPT_OCTETS = sizeof(struct qrcpt) + sizeof(struct batch) + 100 /* and what malloc() adds */
};

/* ---- making and freeing ---- */

static void
add_rcpt(struct qmsg *m, uint32_t i)
{
    struct qrcpt *r = &m->rcpts[m->n_rcpts++];

    r->m = m;
    r->i = i;
    r->r = &m->env.rcpts[i];
    r->addr = r->r->addr;
    r->state = RS_ROUTING;
}

/* An envelope with the recipients of this round only: the others' addresses would stay in memory with them. */
static int
shed_others(struct qmsg *m, const struct qdb_rcpt *rcpts, size_t n_rcpts, struct err *e)
{
    struct queue_rcpt *left = mem_alloc((n_rcpts + 1) * sizeof *left);
    struct queue_env env = m->env;
    struct buf packed = { 0 };

    env.rcpts = left;
    env.n_rcpts = 0;
    for (size_t k = 0; k < n_rcpts; k++)
        if (rcpts[k].i < m->env.n_rcpts)
            left[env.n_rcpts++] = m->env.rcpts[rcpts[k].i];
    if (env.n_rcpts > 0)
        queue_env_pack(&packed, &env, m->arrived_us);
    free(left);
    arena_free(&m->arena);
    buf_free(&m->packed);
    m->packed = packed;
    if (env.n_rcpts == 0) {
        m->env = (struct queue_env){ 0 };
        return 0;
    }
    return queue_env_unpack(buf_slice(&m->packed), &m->arena, &m->env, &m->arrived_us, e);
}

static void
set_reason(struct qrcpt *r, struct slice dsn, struct slice why)
{
    snprintf(r->dsn, sizeof r->dsn, "%.*s", SL_ARG(dsn));
    free(r->why);
    r->why = sl_dupz(sl_head(why, WHY_OCTETS_MAX));
}

struct qmsg *
active_new(uint64_t n, struct buf *packed, struct buf *body, bool is_file, uint64_t size,
           uint32_t crc, const struct qdb_rcpt *rcpts, size_t n_rcpts, struct err *e)
{
    struct qmsg *m = MEM_NEW(struct qmsg);
    size_t n_all;

    m->n = n;
    m->packed = *packed;
    m->body = *body;
    memset(packed, 0, sizeof *packed);
    memset(body, 0, sizeof *body);
    m->is_file = is_file;
    m->has_body = !is_file && m->body.n == size;
    m->size = size;
    m->crc = crc;
    m->aged_from_us = qdb_clock_us(&qm.clock);
    list_init(&m->link);
    list_init(&m->fetch_waiting);
    list_init(&m->report_link);
    if (queue_env_unpack(buf_slice(&m->packed), &m->arena, &m->env, &m->arrived_us, e) != 0) {
        active_free(m);
        return NULL;
    }
    n_all = m->env.n_rcpts;
    if (rcpts && shed_others(m, rcpts, n_rcpts, e) != 0) {
        active_free(m);
        return NULL;
    }
    m->rcpts = mem_zalloc((m->env.n_rcpts + 1) * sizeof *m->rcpts);
    for (size_t k = 0; k < m->env.n_rcpts; k++)
        add_rcpt(m, (uint32_t)k);
    for (size_t k = 0, at = 0; rcpts && k < n_rcpts; k++) {
        if (rcpts[k].i >= n_all)
            continue;
        m->rcpts[at].i = rcpts[k].i;
        m->rcpts[at].attempts = rcpts[k].attempts;
        m->rcpts[at].flags = rcpts[k].flags;
        if (rcpts[k].flags & (QDB_EXPIRED | QDB_SENT)) /* what the report will say */
            set_reason(&m->rcpts[at], rcpts[k].status, rcpts[k].why);
        if (rcpts[k].flags & QDB_SENT) { /* a report was owed when qmgr ended */
            m->rcpts[at].state = RS_OWED;
            m->n_owed_reports++;
        }
        at++;
    }
    m->octets = sizeof *m + m->packed.cap + m->arena.used + m->n_rcpts * RCPT_OCTETS;
    m->n_open = m->n_rcpts - m->n_owed_reports;
    return m;
}

void
active_free(struct qmsg *m)
{
    for (size_t k = 0; k < m->n_rcpts; k++) {
        free(m->rcpts[k].why);
        free(m->rcpts[k].hop);
    }
    free(m->rcpts);
    buf_free(&m->packed);
    buf_free(&m->body);
    arena_free(&m->arena);
    free(m);
}

struct qmsg *
active_find(uint64_t n)
{
    return map_get_u64(qm.active, n);
}

static void
unlink_message(struct qmsg *m)
{
    struct qmsg *first = active_find(m->n);

    report_forget(m);
    list_remove(&m->link);
    if (first == m) {
        if (m->same)
            map_set_u64(qm.active, m->n, m->same);
        else
            map_del_u64(qm.active, m->n);
    } else {
        while (first && first->same != m)
            first = first->same;
        if (first)
            first->same = m->same;
    }
    qm.n_active--;
    qm.n_rcpts -= m->n_rcpts;
    qm.octets -= m->octets;
    qm.body_octets -= m->body.n;
}

static void
free_if_over(struct qmsg *m)
{
    if (m->refs > 0 || m->n_open > 0)
        return;
    unlink_message(m);
    active_free(m);
    if (qm.has_backlog && active_may_load())
        active_load_soon();
}

void
active_hold_ref(struct qmsg *m)
{
    m->refs++;
}

void
active_drop_ref(struct qmsg *m)
{
    m->refs--;
    free_if_over(m);
}

void
active_free_all(void)
{
    while (!list_is_empty(&qm.all)) {
        struct qmsg *m = CONTAINER_OF(qm.all.next, struct qmsg, link);

        unlink_message(m);
        active_free(m);
    }
}

/* Of anything that there is a limit of: what comes from the database leaves a quarter to what comes anew. So new mail never
 * waits behind mail that waits. */
static size_t
left_of(size_t limit, size_t used, bool is_loaded)
{
    if (is_loaded)
        limit -= limit / 4;
    return used < limit ? limit - used : 0;
}

size_t
active_messages_room(bool is_loaded)
{
    return left_of((size_t)qm.conf->qmgr_message_active_limit, qm.n_active, is_loaded);
}

size_t
active_room(bool is_loaded)
{
    if (active_messages_room(is_loaded) == 0 || left_of(ACTIVE_OCTETS, qm.octets, is_loaded) == 0)
        return 0;
    return left_of((size_t)qm.conf->qmgr_message_recipient_limit, qm.n_rcpts, is_loaded);
}

bool
active_is_room(void)
{
    return active_room(false) > 0;
}

size_t
active_round(void)
{
    size_t part = (size_t)qm.conf->qmgr_message_recipient_limit / LOAD_PART,
           least = (size_t)qm.conf->qmgr_message_recipient_minimum;

    part = part > ROUND_RCPTS_MAX ? ROUND_RCPTS_MAX : part;
    return part > least ? part : least;
}

/* A twentieth of the room at a time: not for every single message that leaves. */
bool
active_may_load(void)
{
    size_t rcpts = (size_t)qm.conf->qmgr_message_recipient_limit / LOAD_PART,
           messages = (size_t)qm.conf->qmgr_message_active_limit / LOAD_PART;

    return active_room(true) > 0 && (qm.n_active == 0 || (active_room(true) >= rcpts &&
                                                          active_messages_room(true) >= messages));
}

/* ---- beginning ---- */

/* The route itself is the end of it. */
static void
goes_nowhere(struct qrcpt *r, const struct route *route)
{
    struct qmsg *m = r->m;
    enum smtp_outcome outcome = route->kind == ROUTE_DISCARD ? SMTP_SENT
                                : route->kind == ROUTE_ERROR ? SMTP_FAILED
                                                             : SMTP_DEFERRED;
    char dsn[SMTP_DSN_OCTETS];
    struct outcome o = { .status = verify_status_word(m, outcome),
                         .relay = SL("none"),
                         .text = route->nexthop };

    snprintf(dsn, sizeof dsn, "%.*s", SL_ARG(route->dsn));
    o.dsn = sl_z(dsn);
    outcome_log(r, route->kind == ROUTE_DISCARD ? "discard" : "error", &o);
    r->goes_on_hold = route->kind == ROUTE_HOLD;
    if (outcome == SMTP_SENT)
        active_sent(r, &o, SENT_DELIVERED);
    else if (outcome == SMTP_DEFERRED)
        active_deferred(r, dsn, route->nexthop);
    else
        active_failed(r, dsn, route->nexthop);
    active_record(m, &r, 1);
}

/* defer_transports names it. */
static bool
is_deferred_transport(const struct route *route)
{
    const struct conf_list *l = &qm.conf->defer_transports;

    for (size_t i = 0; route->transport && i < l->n; i++)
        if (strcmp(l->v[i], route->transport) == 0)
            return true;
    return false;
}

static void
routed(struct qrcpt *r, const struct route *route)
{
    struct qmsg *m = r->m;

    if (r->state == RS_ROUTING) {
        if (is_deferred_transport(route) && !(r->flags & QDB_FLUSHED)) {
            goes_nowhere(r, &(struct route){ .kind = ROUTE_TEMP,
                                             .dsn = SL("4.3.2"),
                                             .nexthop = SL("deferred transport") });
        } else if (route->kind != ROUTE_LMTP && route->kind != ROUTE_RELAY) {
            goes_nowhere(r, route);
        } else {
            if (route->is_local) {
                size_t at = sl_rfind_char(r->addr, '@');
                char *z = arena_printf(&m->arena, "%.*s@localhost", SL_ARG(sl_head(r->addr, at)));

                r->addr = sl_z(z);
            }
            sched_add(r, route);
        }
    }
    active_drop_ref(m);
}

/* Those that an operator wants returned are not tried. */
static void
end_expired(struct qmsg *m)
{
    struct qrcpt **rs = mem_alloc((m->n_rcpts + 1) * sizeof(struct qrcpt *));
    size_t n = 0;

    for (size_t k = 0; k < m->n_rcpts; k++) {
        struct qrcpt *r = &m->rcpts[k];

        if (!(r->flags & QDB_EXPIRED) || r->state != RS_ROUTING)
            continue;
        if (r->why && r->why[0]) {
            r->state = RS_FAILED;
            m->n_owed_reports++;
        } else
            active_failed(r, "4.7.0", SL("message is administratively expired"));
        rs[n++] = r;
    }
    if (n > 0) {
        log_info("queue.expired", LOG_F(LF_Z("id", m->env.id), LF_S("from", m->env.sender)),
                 "%s: from=<%.*s>, status=force-expired, returned to sender", m->env.id,
                 SL_ARG(smtp_addr_quote(m->env.sender, &m->arena)));
        active_record(m, rs, n);
    }
    free(rs);
}

/* What it became are recipients, too; here only its sender is told. */
static void
expanded(struct qrcpt *r)
{
    active_sent(r, &(struct outcome){ .dsn = SL("2.0.0"), .text = SL("alias expanded") },
                SENT_DELIVERED);
    active_record(r->m, &r, 1);
}

void
active_begin(struct qmsg *m)
{
    m->active_us = clock_unix_us();
    m->same = active_find(m->n);
    map_set_u64(qm.active, m->n, m);
    list_push_back(&qm.all, &m->link);
    qm.n_active++;
    qm.n_rcpts += m->n_rcpts;
    qm.octets += m->octets;
    qm.body_octets += m->body.n;
    if (qm.body_octets > BODY_CACHE_OCTETS)
        active_drop_body(m);
    /* Tried before this process was: nobody knows how that ended. */
    if (m->n < qm.first_new)
        for (size_t k = 0; k < m->n_rcpts; k++)
            m->rcpts[k].flags |= QDB_REPEAT;
    log_info("queue.active",
             LOG_F(LF_Z("id", m->env.id), LF_S("from", m->env.sender), LF_N("size", m->size),
                   LF_N("nrcpt", m->n_rcpts)),
             "%s: from=<%.*s>, size=%llu, nrcpt=%zu (queue active)", m->env.id,
             SL_ARG(smtp_addr_quote(m->env.sender, &m->arena)), (unsigned long long)m->size,
             m->n_rcpts);
    active_hold_ref(m);
    end_expired(m);
    if (m->n_owed_reports > 0)
        report_owed(m);
    for (size_t k = 0; k < m->n_rcpts; k++) {
        if (m->rcpts[k].state != RS_ROUTING)
            continue;
        active_hold_ref(m);
        if (m->rcpts[k].r->kind == RCPT_EXPANDED) {
            expanded(&m->rcpts[k]);
            active_drop_ref(m);
            continue;
        }
        route_find(&m->rcpts[k], routed);
    }
    active_drop_ref(m);
    sched_kick();
}

/* ---- ends of recipients ---- */

int64_t
active_age_us(const struct qmsg *m)
{
    return qdb_clock_us(&qm.clock) - m->aged_from_us;
}

static bool
has_expired(const struct qrcpt *r)
{
    int64_t life_ms =
        qrcpt_sender(r).n > 0 ? qm.conf->maximal_queue_lifetime : qm.conf->bounce_queue_lifetime;

    return active_age_us(r->m) >= life_ms * 1000;
}

static void
set_end(struct qrcpt *r, enum rcpt_state state, const char *dsn, struct slice why)
{
    r->state = state;
    set_reason(r, sl_z(dsn), why);
    r->attempts++;
}

void
active_sent(struct qrcpt *r, const struct outcome *o, enum sent_how how)
{
    char dsn[SMTP_DSN_OCTETS];
    struct buf why = { 0 };

    r->state = RS_SENT;
    if (!report_wants_sent(r, how))
        return;
    if (o->relay.n > 0 && !sl_eqz(o->relay, "none"))
        buf_addf(&why, "delivery via %.*s: ", SL_ARG(o->relay));
    buf_adds(&why, o->text);
    snprintf(dsn, sizeof dsn, "%.*s", SL_ARG(o->dsn));
    set_end(r, RS_OWED, dsn, buf_slice(&why));
    r->flags |= QDB_SENT | (how == SENT_DELIVERED ? 0u : QDB_RELAYED);
    r->m->n_owed_reports++;
    buf_free(&why);
}

void
active_failed(struct qrcpt *r, const char *dsn, struct slice why)
{
    set_end(r, RS_FAILED, dsn, why);
    r->m->n_owed_reports++;
}

void
active_deferred(struct qrcpt *r, const char *dsn, struct slice why)
{
    if (has_expired(r) && !r->m->is_held && !r->goes_on_hold && !r->m->is_probe) {
        log_info("queue.expired", LOG_F(LF_Z("id", r->m->env.id), LF_S("from", r->m->env.sender)),
                 "%s: from=<%.*s>, status=expired, returned to sender", r->m->env.id,
                 SL_ARG(smtp_addr_quote(r->m->env.sender, &r->m->arena)));
        active_failed(r, dsn, why);
        return;
    }
    set_end(r, RS_DEFERRED, dsn, why);
    if (report_wants_late(r)) {
        r->state = RS_LATE;
        r->m->n_owed_reports++;
        if (r->dest)
            r->hop = sl_dupz(sl_head(sched_hop(r->dest), HOP_OCTETS - 1));
    }
}

void
active_parked(struct qrcpt *r, int64_t seconds)
{
    r->state = RS_PARKED;
    r->parked_until = clock_unix_s() + seconds;
}

/* Postfix's rule: as long again as the message has waited, within bounds. */
int64_t
active_next_due(const struct qmsg *m)
{
    int64_t now_us = clock_unix_us(), wait_us = active_age_us(m);
    int64_t least_us = qm.conf->minimal_backoff_time * 1000,
            most_us = qm.conf->maximal_backoff_time * 1000;

    if (wait_us < least_us)
        wait_us = least_us;
    if (wait_us > most_us)
        wait_us = most_us;
    return (now_us + wait_us + US_PER_S - 1) / US_PER_S;
}

struct record_op {
    struct wop op;
    struct qmsg *m;
    bool wants_reap, is_gone;
    size_t n;
    struct {
        uint32_t i;
        enum rcpt_state state;
        struct qdb_defer defer;
        char dsn[SMTP_DSN_OCTETS], hop[HOP_OCTETS];
        char *why;
    } items[];
};

static int
record_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct record_op *o = CONTAINER_OF(op, struct record_op, op);

    for (size_t k = 0; k < o->n; k++) {
        enum rcpt_state state = o->items[k].state;
        int rc = state == RS_SENT     ? qdb_rcpt_done(q, o->m->n, o->items[k].i, e)
                 : state == RS_OWED   ? qdb_rcpt_set(q, &o->items[k].defer, e)
                 : state == RS_PARKED ? qdb_rcpt_park(q, &o->items[k].defer, e)
                                      : qdb_rcpt_defer(q, &o->items[k].defer, e);

        if (rc != 0)
            return -1;
    }
    /* Also where others are open: results that had to wait for room come in another order. */
    return o->wants_reap ? qdb_message_reap(q, o->m->n, &o->is_gone, e) : 0;
}

static void
record_after(struct wop *op, struct qdb *q)
{
    struct record_op *o = CONTAINER_OF(op, struct record_op, op);

    if (o->is_gone && o->m->is_file)
        qdb_remove_file(q, o->m->env.id);
}

void
active_log_removed(const struct qmsg *m)
{
    log_info("queue.removed", LOG_F(LF_Z("id", m->env.id)), "%s: removed", m->env.id);
}

static void
record_done(struct wop *op, int rc, const struct err *e)
{
    struct record_op *o = CONTAINER_OF(op, struct record_op, op);

    (void)rc, (void)e; /* state is written until it succeeds */
    if (o->is_gone && !o->m->is_deleted)
        active_log_removed(o->m);
    for (size_t k = 0; k < o->n; k++) {
        if ((o->items[k].state == RS_DEFERRED || o->items[k].state == RS_PARKED) &&
            o->items[k].defer.due != QDB_DUE_HELD)
            active_load_at(o->m->is_expired ? 0 : o->items[k].defer.due);
        free(o->items[k].why);
    }
    active_drop_ref(o->m);
    free(o);
}

static void
add_item(struct record_op *o, const struct qrcpt *r)
{
    size_t k = o->n++;

    o->items[k].i = r->i;
    o->items[k].state = r->state;
    o->wants_reap = o->wants_reap || r->state == RS_SENT;
    if (r->state == RS_SENT)
        return;
    if (r->state == RS_PARKED) {
        o->items[k].defer = (struct qdb_defer){
            .n = r->m->n, .i = r->i, .due = r->parked_until, .flags = r->flags
        };
        return;
    }
    memcpy(o->items[k].dsn, r->dsn, sizeof r->dsn);
    o->items[k].why = mem_dupz(r->why);
    if (r->dest)
        snprintf(o->items[k].hop, sizeof o->items[k].hop, "%.*s", SL_ARG(sched_hop(r->dest)));
    o->items[k].defer = (struct qdb_defer){ .n = r->m->n,
                                            .i = r->i,
                                            .due = r->state == RS_OWED ? INT64_MIN
                                                   : r->goes_on_hold   ? QDB_DUE_HELD
                                                                       : active_next_due(r->m),
                                            .attempts = r->attempts,
                                            .flags = r->flags & ~(uint32_t)QDB_FLUSHED,
                                            .status = sl_z(o->items[k].dsn),
                                            .why = sl_z(o->items[k].why),
                                            .hop = sl_z(o->items[k].hop) };
}

void
active_record(struct qmsg *m, struct qrcpt **rs, size_t n)
{
    struct record_op *o;

    if (m->is_probe) { /* nothing is on disk, nobody is told but who asked */
        for (size_t k = 0; k < n; k++)
            verify_ended(rs[k]);
        m->n_open -= n;
        return;
    }
    o = mem_zalloc(sizeof *o + n * sizeof o->items[0]);
    o->op = (struct wop){
        .kind = WOP_STATE, .run = record_run, .after = record_after, .done = record_done
    };
    o->m = m;
    for (size_t k = 0; k < n; k++)
        if (rs[k]->state == RS_SENT || rs[k]->state == RS_DEFERRED || rs[k]->state == RS_PARKED ||
            (rs[k]->state == RS_OWED && rs[k]->r->kind != RCPT_EXPANDED))
            add_item(o, rs[k]);
    m->n_open -= n;
    if (o->n > 0) {
        active_hold_ref(m);
        writer_submit(qm.writer, &o->op);
    } else {
        free(o);
    }
    if (m->n_owed_reports > 0)
        report_owed(m);
}

/* ---- hold and delete ---- */

void
active_withdraw(struct qmsg *m)
{
    struct qrcpt **rs = mem_alloc((m->n_rcpts + 1) * sizeof(struct qrcpt *));
    size_t n = 0;

    active_hold_ref(m);
    for (size_t k = 0; k < m->n_rcpts; k++) {
        struct qrcpt *r = &m->rcpts[k];

        if (r->state != RS_PENDING && r->state != RS_ROUTING)
            continue;
        if (r->state == RS_PENDING)
            sched_remove(r);
        if (m->is_deleted)
            r->state = RS_GONE;
        else
            active_parked(r, 0); /* unless the database holds it by now */
        rs[n++] = r;
    }
    if (n > 0)
        active_record(m, rs, n);
    active_drop_ref(m);
    free(rs);
}

/* ---- bodies that are not in memory ---- */

struct fetch_op {
    struct wop op;
    struct qmsg *m;
    struct buf body;
    bool is_damaged; /* the row is there, and not what was put into it */
};

static int
fetch_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct fetch_op *f = CONTAINER_OF(op, struct fetch_op, op);

    buf_reset(&f->body);
    if (qdb_get(q, f->m->n, true, qdb_take_body, &f->body, e) != 0)
        return -1;
    if (f->body.n != f->m->size || enc_crc32(0, buf_slice(&f->body).p, f->body.n) != f->m->crc)
        return f->is_damaged = true,
               err_set(e, ERR_TEMP, "content in the queue database is damaged");
    return 0;
}

static void
fetch_done(struct wop *op, int rc, const struct err *e)
{
    struct fetch_op *f = CONTAINER_OF(op, struct fetch_op, op);
    struct qmsg *m = f->m;
    struct list *n;

    m->is_fetching = false;
    qm.n_fetching--;
    if (rc == 0) {
        buf_free(&m->body); /* empty, but it may have room */
        m->body = f->body;
        m->has_body = true;
        qm.body_octets += m->body.n;
    } else {
        if (!m->is_deleted) /* else it is no wonder */
            log_error("queue.fetch", LOG_F(LF_Z("id", m->env.id)),
                      "%s: cannot read the message: %s", m->env.id, e->msg);
        buf_free(&f->body);
    }
    while ((n = list_pop_front(&m->fetch_waiting)) != NULL) {
        struct qrcpt *r = CONTAINER_OF(n, struct qrcpt, link);

        sched_fetched(r, rc == 0);
        if (rc == 0)
            continue;
        if (m->is_deleted) {
            r->state = RS_GONE;
        } else {
            r->goes_on_hold = f->is_damaged; /* no more tries will mend it */
            active_deferred(r, "4.3.0", SL("queue file read error"));
        }
        active_record(m, &r, 1);
    }
    if (m->is_held || m->is_deleted)
        active_withdraw(m);
    /* our own reference, of when it was asked for: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    active_drop_ref(m);
    free(f);
    sched_kick();
}

void
active_drop_body(struct qmsg *m)
{
    if (m->is_file || !m->has_body || m->body.n == 0 || m->n_owed > 0)
        return;
    qm.body_octets -= m->body.n;
    buf_free(&m->body);
    m->has_body = false;
}

bool
active_has_body(const struct qmsg *m)
{
    return m->has_body || m->is_file;
}

void
active_fetch_body(struct qrcpt *r)
{
    struct qmsg *m = r->m;
    struct fetch_op *f;

    r->state = RS_BUSY;
    list_push_back(&m->fetch_waiting, &r->link);
    if (m->is_fetching)
        return;
    m->is_fetching = true;
    qm.n_fetching++;
    active_hold_ref(m);
    f = MEM_NEW(struct fetch_op);
    f->op = (struct wop){ .kind = WOP_READ, .run = fetch_run, .done = fetch_done };
    f->m = m;
    writer_submit(qm.writer, &f->op);
}
