/* oauth/http.c - see http.h. A request waits for a place, looks its host up, tries one address after the other, and has one
 * time limit for all that. Once an address has taken the connection no other is tried. */
#include "oauth/http.h"

#include "base/list.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/loop.h"

#include <stdlib.h>

struct http_client {
    struct dns *dns;
    struct tls_ctx *tls;
    unsigned max;
    size_t n_running, n;
    struct list waiting;
};

struct req {
    struct list link; /* in waiting */
    struct http_client *client;
    struct tls_ctx *tls; /* a reference, while it runs */
    uint64_t id;         /* for DNS */
    char *host;
    uint16_t port;
    bool is_tls, is_running, is_up, is_sent;
    struct addr addrs[HTTP_ADDRS_MAX];
    size_t n_addrs, at_addr;
    struct conn *conn;
    struct buf wire;
    struct http_reply reply;
    struct timer timer;
    struct err why;
    void (*cb)(uint64_t id, const struct http_answer *a);
    uint64_t cb_id;
};

static void begin(struct req *r);
static void dial(struct req *r);

/* ---- ends ---- */

static void
start_next(struct http_client *h)
{
    struct list *next;

    while (h->n_running < h->max && (next = list_pop_front(&h->waiting)) != NULL)
        begin(CONTAINER_OF(next, struct req, link));
}

/* The request is gone before its owner is told. */
static void
finish(struct req *r, unsigned status, const char *why)
{
    struct http_client *h = r->client;
    struct http_reply reply = r->reply;
    struct http_answer a = { status, buf_slice(&reply.body), why };
    void (*cb)(uint64_t, const struct http_answer *) = r->cb;
    uint64_t id = r->cb_id;
    char text[ERR_MSG_OCTETS];

    memcpy(text, r->why.msg, sizeof text);
    if (why == r->why.msg)
        a.why = text;
    conn_abandon(&r->conn);
    timer_stop(&r->timer);
    id_del(r->id);
    list_remove(&r->link);
    tls_unref(&r->tls);
    buf_wipe(&r->wire);
    free(r->host);
    h->n--;
    h->n_running -= r->is_running;
    free(r);
    cb(id, &a);
    http_reply_free(&reply);
    start_next(h);
}

static void
fail(struct req *r, const char *why)
{
    finish(r, 0, why);
}

static void
on_timeout(void *arg)
{
    struct req *r = arg;

    fail(r, !r->is_running ? "too many requests wait for the provider"
            : !r->is_up    ? "no connection in time"
            : !r->is_sent  ? "no TLS in time"
                           : "no answer in time");
}

/* ---- the connection ---- */

static void
on_input(struct conn *c, void *arg)
{
    struct req *r = arg;
    struct slice in = conn_input(c), rest = in;
    enum parse_rc rc;

    if (!r->is_sent) { /* words before we have said anything */
        if (in.n > 0)
            fail(r, "it speaks before it is asked");
        return;
    }
    rc = http_reply_feed(&r->reply, &rest, &r->why);
    if (rc == PARSE_MORE && conn_is_eof(c))
        rc = http_reply_end(&r->reply, &r->why);
    if (rc == PARSE_OK)
        finish(r, r->reply.status, "");
    else if (rc == PARSE_BAD)
        fail(r, r->why.msg);
    else
        conn_consume(c, in.n);
}

static void
send_request(struct req *r)
{
    r->is_sent = true;
    conn_writes(r->conn, buf_slice(&r->wire));
    buf_wipe(&r->wire);
}

static void
on_connect(struct conn *c, void *arg)
{
    struct req *r = arg;
    const char *names[] = { r->host };
    struct tls_expect x = {
        .demand = TLS_DEMAND_CHAIN, .sni = r->host, .names = names, .n_names = 1
    };

    r->is_up = true;
    conn_set_deadline(c, 0);
    if (!r->is_tls)
        send_request(r);
    else if (r->tls)
        tls_start_client(c, r->tls, &x);
    else
        fail(r, "there is no TLS to ask it by");
}

static void
on_secure(struct conn *c, void *arg)
{
    (void)c;
    send_request(arg);
}

/* This address does not answer; another may. */
static void
on_deadline(struct conn *c, void *arg)
{
    struct req *r = arg;

    (void)c;
    if (!r->is_up && r->at_addr + 1 < r->n_addrs) {
        conn_abandon(&r->conn);
        r->at_addr++;
        dial(r);
    }
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct req *r = arg;

    (void)c;
    r->conn = NULL;
    if (!r->is_up && ++r->at_addr < r->n_addrs) {
        dial(r);
        return;
    }
    if (why && why->msg[0])
        r->why = *why;
    if (r->is_sent && end == CONN_END_PEER && http_reply_end(&r->reply, &r->why) == PARSE_OK)
        finish(r, r->reply.status, "");
    else
        fail(r, r->why.msg[0] ? r->why.msg : "the connection was closed");
}

static const struct conn_ops ops = {
    .on_input = on_input,
    .on_deadline = on_deadline,
    .on_connect = on_connect,
    .on_secure = on_secure,
    .on_close = on_close,
};

static void
dial(struct req *r)
{
    const struct addr *a = &r->addrs[r->at_addr];

    r->conn = conn_connect(&a->u.sa, a->len, NULL, 0, &ops, r);
    conn_set_deadline(r->conn, r->at_addr + 1 < r->n_addrs ? HTTP_DIAL_MS : 0);
}

static void
on_addresses(uint64_t id, const struct dns_answer *d)
{
    struct req *r = id_get(id);

    if (r == NULL)
        return;
    for (size_t i = 0; d->rc == DNS_OK && i < d->n && r->n_addrs < HTTP_ADDRS_MAX; i++) {
        struct addr *a = &r->addrs[r->n_addrs++];

        *a = d->rrs[i].addr;
        if (addr_family(a) == AF_INET6)
            a->u.in6.sin6_port = htons(r->port);
        else
            a->u.in4.sin_port = htons(r->port);
    }
    if (r->n_addrs == 0)
        fail(r, d->rc == DNS_TEMP ? "its host name could not be looked up"
                                  : "its host name has no address");
    else
        dial(r);
}

static void
begin(struct req *r)
{
    struct http_client *h = r->client;

    r->is_running = true;
    h->n_running++;
    r->tls = h->tls ? tls_ref(h->tls) : NULL;
    if (addr_parse_ip(sl_z(r->host), r->port, &r->addrs[0]) == 0) {
        r->n_addrs = 1;
        dial(r);
    } else if (h->dns == NULL) {
        timer_start(&r->timer, 0, on_timeout, r);
    } else {
        dns_addr(h->dns, sl_z(r->host), DNS_WANT_A | DNS_WANT_AAAA | DNS_WANT_HOSTS, on_addresses,
                 r->id);
    }
}

/* ---- asking ---- */

struct http_client *
http_client_new(void)
{
    struct http_client *h = MEM_NEW(struct http_client);

    list_init(&h->waiting);
    return h;
}

void
http_client_set(struct http_client *h, struct dns *dns, struct tls_ctx *tls,
                unsigned max_connections)
{
    h->dns = dns;
    h->tls = tls;
    h->max = max_connections;
    start_next(h);
}

static void
write_request(const struct http_ask *ask, struct buf *out)
{
    const struct url *u = ask->url;

    /* At once: growing would leave copies of a token behind. */
    buf_reserve(out, strlen(u->target) + strlen(u->authority) + ask->suffix.n +
                         ask->authorization.n + ask->form.n + 512);
    buf_addf(out, "%s %s", ask->form.p ? "POST" : "GET", u->target);
    buf_adds(out, ask->suffix);
    buf_addf(out,
             " HTTP/1.1\r\nHost: %s\r\nUser-Agent: Postern\r\nAccept: application/json\r\n"
             "Accept-Encoding: identity\r\nConnection: close\r\n",
             u->authority);
    if (ask->authorization.n > 0) {
        buf_addz(out, "Authorization: ");
        buf_adds(out, ask->authorization);
        buf_addz(out, "\r\n");
    }
    if (ask->form.p)
        buf_addf(out, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n",
                 ask->form.n);
    buf_addz(out, "\r\n");
    buf_adds(out, ask->form);
}

static void
refuse(void *arg)
{
    fail(arg, "too many requests wait for the provider");
}

void
http_client_ask(struct http_client *h, const struct http_ask *ask,
                void (*cb)(uint64_t id, const struct http_answer *a), uint64_t id)
{
    struct req *r = MEM_NEW(struct req);
    bool is_full = h->n >= HTTP_WAITING_MAX + h->max;

    r->client = h;
    r->id = id_add(r);
    r->host = mem_dupz(ask->url->host);
    r->port = ask->url->port;
    r->is_tls = ask->url->is_tls;
    r->cb = cb;
    r->cb_id = id;
    list_init(&r->link);
    h->n++;
    write_request(ask, &r->wire);
    timer_start(&r->timer, is_full ? 0 : ask->timeout_ms, is_full ? refuse : on_timeout, r);
    if (is_full)
        return;
    list_push_back(&h->waiting, &r->link);
    start_next(h);
}

size_t
http_client_count(const struct http_client *h)
{
    return h->n;
}

void
http_add_escaped(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (sl_is_alnum_char(s.p[i]) || (s.p[i] && strchr("-._~", s.p[i])))
            buf_addc(out, s.p[i]);
        else
            buf_addf(out, "%%%02X", (unsigned char)s.p[i]);
}
