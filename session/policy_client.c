/* session/policy_client.c - see policy_client.h.
 *
 * A request ("ask") makes attempts; an attempt has a connection ("line") of its server's pool for itself, or waits for
 * one. Whatever goes wrong with a line - refused, closed, silent, nonsense - ends the line and the attempt of the ask on
 * it. An attempt has one time limit, the waiting included. */
#include "session/policy_client.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"
#include "dns/dns.h"
#include "proto/policy.h"

#include <stdlib.h>

struct pool {
    char *name, *path, *host;
    uint16_t port;
    struct policy_client *client;
    struct list idle, waiting;
    size_t n_lines;
};

struct policy_client {
    struct dns *dns;
    struct map *pools; /* name -> struct pool */
    struct list asks, lines;
    size_t n_asks;
};

struct line {
    struct list all, link; /* link: in pool->idle */
    struct pool *pool;
    struct conn *conn; /* NULL while its host is looked up and between addresses */
    struct ask *ask;   /* NULL: idle, or ending */
    uint64_t id;       /* for DNS */
    struct addr addrs[POLICY_ADDRS_MAX];
    size_t n_addrs, at_addr;
    uint64_t expires_ms;
    unsigned n_requests;
    bool is_up;
};

struct ask {
    struct list all, link; /* link: in pool->waiting */
    struct policy_client *client;
    struct pool *pool; /* NULL: failed before it began */
    struct line *line;
    void (*cb)(uint64_t id, bool ok, struct slice action);
    uint64_t id;
    uint64_t timeout_ms, max_idle_ms, max_ttl_ms, retry_delay_ms;
    unsigned request_limit, try_limit, tries;
    bool is_quiet;
    struct timer timer; /* of the attempt, or until the next one */
    char *ident;        /* or NULL */
    struct buf wire;
};

static void begin_attempt(void *arg);
static void dial(struct line *l);

/* ---- asks ---- */

static void
ask_free(struct ask *a)
{
    timer_stop(&a->timer);
    list_remove(&a->link);
    list_remove(&a->all);
    a->client->n_asks--;
    buf_free(&a->wire);
    free(a->ident);
    free(a);
}

static void
answer(struct ask *a, bool ok, struct slice action)
{
    void (*cb)(uint64_t, bool, struct slice) = a->cb;
    uint64_t id = a->id;

    ask_free(a); /* the callback may ask again */
    cb(id, ok, action);
}

static void
warn(const struct ask *a, const char *what, const char *why)
{
    if (a->is_quiet)
        return;
    log_event(LOG_LV_WARN, a->ident, "policy.trouble",
              LOG_F(LF_Z("server", a->pool->name), LF_Z("why", why)), "%s %s: %s", what,
              a->pool->name, why);
}

/* why NULL: what happened was said already, or is no news. */
static void
attempt_failed(struct ask *a, const char *why)
{
    timer_stop(&a->timer);
    list_remove(&a->link);
    a->line = NULL;
    if (why)
        warn(a, "problem talking to server", why);
    if (a->tries >= a->try_limit)
        answer(a, false, sl_n(NULL, 0));
    else
        timer_start(&a->timer, a->retry_delay_ms, begin_attempt, a);
}

/* ---- lines ---- */

static void
line_free(struct line *l)
{
    conn_abandon(&l->conn);
    id_del(l->id);
    list_remove(&l->link);
    list_remove(&l->all);
    l->pool->n_lines--;
    free(l);
}

/* The line is gone, and so is the attempt of the ask on it. Whoever waits for a line may open one in its place. */
static void
line_failed(struct line *l, const char *why)
{
    struct pool *p = l->pool;
    struct ask *a = l->ask;
    struct list *next;

    line_free(l);
    if (a)
        attempt_failed(a, why);
    next = list_is_empty(&p->waiting) ? NULL : p->waiting.next;
    if (next) {
        struct ask *w = CONTAINER_OF(next, struct ask, link);

        list_remove(next);
        w->tries--; /* the attempt that it has begun goes on */
        begin_attempt(w);
    }
}

static void
send_request(struct line *l)
{
    l->n_requests++;
    conn_set_deadline(l->conn, 0);
    conn_writes(l->conn, buf_slice(&l->ask->wire));
}

/* An answer has come: the line serves the next ask, waits for one, or has served its time. */
static void
line_is_free(struct line *l, const struct ask *last)
{
    struct pool *p = l->pool;
    struct list *next;

    l->ask = NULL;
    if (conn_has_input(l->conn) || loop_now_ms() >= l->expires_ms ||
        (last->request_limit > 0 && l->n_requests >= last->request_limit)) {
        line_failed(l, NULL);
        return;
    }
    next = list_pop_front(&p->waiting);
    if (next) {
        l->ask = CONTAINER_OF(next, struct ask, link);
        l->ask->line = l;
        send_request(l);
        return;
    }
    list_push_front(&p->idle, &l->link);
    conn_set_deadline(l->conn, last->max_idle_ms);
}

static void
on_input(struct conn *c, void *arg)
{
    struct line *l = arg;
    struct slice in = conn_input(c), rest = in, action;
    struct err e = { 0 };
    struct ask *a = l->ask;
    enum parse_rc rc;
    char *kept;

    if (a == NULL) {
        if (in.n > 0 || conn_is_eof(c)) /* words that nobody asked for, or the end */
            line_failed(l, NULL);
        return;
    }
    rc = policy_take_reply(&rest, &action, &e);
    if (rc == PARSE_BAD) {
        log_event(LOG_LV_WARN, a->ident, "policy.reply", LOG_F(LF_Z("server", l->pool->name)),
                  "%s in input from %s", e.msg, l->pool->name);
        line_failed(l, a->tries > 1 ? "Application error" : NULL);
    } else if (rc == PARSE_OK) {
        kept = sl_dupz(action);
        conn_consume(c, in.n - rest.n);
        timer_stop(&a->timer);
        a->line = NULL;
        line_is_free(l, a);
        answer(a, true, sl_z(kept));
        free(kept);
    } else if (conn_is_eof(c)) {
        line_failed(l, a->tries > 1 ? "Application error" : NULL);
    }
}

static void
on_idle(struct conn *c, void *arg)
{
    (void)c;
    line_failed(arg, NULL);
}

static void
on_connect(struct conn *c, void *arg)
{
    struct line *l = arg;

    (void)c;
    l->is_up = true;
    conn_set_in_max(l->conn, POLICY_REPLY_OCTETS + 1);
    l->expires_ms = loop_now_ms() + l->ask->max_ttl_ms;
    send_request(l);
}

/* "connect to /x: connection refused": the words of the operating system at the end. */
static const char *
reason(const struct err *why)
{
    return why && why->sys      ? strerror(why->sys)
           : why && why->msg[0] ? why->msg
                                : "Connection refused";
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct line *l = arg;
    struct ask *a = l->ask;

    (void)c;
    (void)end;
    l->conn = NULL;
    if (a == NULL) {
        line_failed(l, NULL);
    } else if (l->is_up) {
        line_failed(l, a->tries > 1 ? "Application error" : NULL);
    } else if (++l->at_addr < l->n_addrs) {
        dial(l);
    } else {
        warn(a, "connect to", reason(why));
        line_failed(l, reason(why));
    }
}

static const struct conn_ops line_ops = {
    .on_input = on_input,
    .on_deadline = on_idle,
    .on_connect = on_connect,
    .on_close = on_close,
};

static void
dial(struct line *l)
{
    if (l->pool->path) {
        l->conn = conn_connect_unix(l->pool->path, &line_ops, l);
    } else {
        const struct addr *a = &l->addrs[l->at_addr];

        l->conn = conn_connect(&a->u.sa, a->len, NULL, 0, &line_ops, l);
    }
}

static void
on_addresses(uint64_t id, const struct dns_answer *d)
{
    struct line *l = id_get(id);

    if (l == NULL)
        return;
    for (size_t i = 0; d->rc == DNS_OK && i < d->n && l->n_addrs < POLICY_ADDRS_MAX; i++) {
        struct addr *a = &l->addrs[l->n_addrs++];

        *a = d->rrs[i].addr;
        if (addr_family(a) == AF_INET6)
            a->u.in6.sin6_port = htons(l->pool->port);
        else
            a->u.in4.sin_port = htons(l->pool->port);
    }
    if (l->n_addrs == 0) {
        if (l->ask)
            warn(l->ask, "connect to", "Host not found");
        line_failed(l, "Host not found");
        return;
    }
    dial(l);
}

static void
line_open(struct pool *p, struct ask *a)
{
    struct line *l = MEM_NEW(struct line);

    l->pool = p;
    l->id = id_add(l);
    l->ask = a;
    a->line = l;
    p->n_lines++;
    list_init(&l->link);
    list_push_back(&p->client->lines, &l->all);
    if (p->path) {
        dial(l);
    } else if (addr_parse_ip(sl_z(p->host), p->port, &l->addrs[0]) == 0) {
        l->n_addrs = 1;
        dial(l);
    } else {
        dns_addr(p->client->dns, sl_z(p->host), DNS_WANT_A | DNS_WANT_AAAA | DNS_WANT_HOSTS,
                 on_addresses, l->id);
    }
}

/* ---- attempts ---- */

static void
on_attempt_timeout(void *arg)
{
    struct ask *a = arg;

    if (a->line)
        line_failed(a->line, "Connection timed out");
    else
        attempt_failed(a, "Connection timed out"); /* it waited for a free line */
}

/* A line that has waited: not past its time, and still open as far as one can see. */
static struct line *
take_idle(struct pool *p)
{
    struct list *n;

    while ((n = list_pop_front(&p->idle)) != NULL) {
        struct line *l = CONTAINER_OF(n, struct line, link);

        if (loop_now_ms() < l->expires_ms)
            return l;
        line_free(l);
    }
    return NULL;
}

static void
begin_attempt(void *arg)
{
    struct ask *a = arg;
    struct pool *p = a->pool;
    struct line *l;

    a->tries++;
    if (!timer_is_running(&a->timer))
        timer_start(&a->timer, a->timeout_ms, on_attempt_timeout, a);
    l = take_idle(p);
    if (l) {
        l->ask = a;
        a->line = l;
        send_request(l);
    } else if (p->n_lines < POLICY_CONNS_MAX) {
        line_open(p, a);
    } else {
        list_push_back(&p->waiting, &a->link);
    }
}

static void
refuse(void *arg)
{
    answer(arg, false, sl_n(NULL, 0));
}

/* ---- the client ---- */

static void
pool_free(void *arg)
{
    struct pool *p = arg;

    free(p->name);
    free(p->path);
    free(p->host);
    free(p);
}

static struct pool *
find_pool(struct policy_client *c, const struct policy_server *s)
{
    struct pool *p = map_get(c->pools, sl_z(s->name));

    if (p || map_count(c->pools) >= POLICY_SERVERS_MAX)
        return p;
    p = MEM_NEW(struct pool);
    p->client = c;
    p->name = mem_dupz(s->name);
    p->path = s->path ? mem_dupz(s->path) : NULL;
    p->host = s->host ? mem_dupz(s->host) : NULL;
    p->port = s->port;
    list_init(&p->idle);
    list_init(&p->waiting);
    map_set(c->pools, sl_z(s->name), p);
    return p;
}

struct policy_client *
policy_client_new(struct dns *d)
{
    struct policy_client *c = MEM_NEW(struct policy_client);

    c->dns = d;
    c->pools = map_new();
    list_init(&c->asks);
    list_init(&c->lines);
    return c;
}

void
policy_client_free(struct policy_client **pp)
{
    struct policy_client *c = *pp;

    *pp = NULL;
    if (c == NULL)
        return;
    LIST_EACH(it, nxt, &c->asks)
    ask_free(CONTAINER_OF(it, struct ask, all));
    LIST_EACH(it, nxt, &c->lines)
    line_free(CONTAINER_OF(it, struct line, all));
    map_free(&c->pools, pool_free);
    free(c);
}

void
policy_ask(struct policy_client *c, const struct policy_server *s, const char *ident,
           struct slice request, void (*cb)(uint64_t id, bool ok, struct slice action), uint64_t id)
{
    struct ask *a = MEM_NEW(struct ask);

    a->client = c;
    a->pool = find_pool(c, s);
    a->cb = cb;
    a->id = id;
    a->timeout_ms = s->timeout_ms;
    a->max_idle_ms = s->max_idle_ms;
    a->max_ttl_ms = s->max_ttl_ms;
    a->retry_delay_ms = s->retry_delay_ms;
    a->request_limit = s->request_limit;
    a->try_limit = s->try_limit;
    a->is_quiet = s->is_quiet;
    a->ident = ident ? mem_dupz(ident) : NULL;
    list_init(&a->link);
    list_push_back(&c->asks, &a->all);
    c->n_asks++;
    if (a->pool == NULL || c->n_asks > POLICY_PENDING_MAX) {
        log_event(LOG_LV_WARN, ident, "policy.full", LOG_F(LF_Z("server", s->name)),
                  "too many requests to policy servers are under way: none to %s", s->name);
        timer_start(&a->timer, 0, refuse, a);
        return;
    }
    buf_adds(&a->wire, request);
    begin_attempt(a);
}
