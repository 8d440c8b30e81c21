/* auth/anvil_server.c - Postfix's anvil protocol: "name=value" lines, an empty line ends a request and a reply.
 * The server greets with "protocol=anvil". What a peer has connected is disconnected when the peer goes: a worker that
 * was killed does not count for ever. */
#include "auth/anvil.h"

#include "auth/account_rate.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/loop.h"

#include <stdlib.h>

enum { REQUEST_LINE_OCTETS = 1024 };

struct peer {
    struct anvil *anvil;
    struct map *connected; /* ident -> number of connections, as a pointer */
    struct buf request, ident;
    uint64_t recipients;
};

static struct account_rate *accounts;

void
anvil_serve_accounts(struct account_rate *a)
{
    accounts = a;
}

struct verb {
    const char *name;
    enum anvil_event ev; /* ANVIL_EVENTS: counts nothing */
    void (*reply)(struct conn *c, const struct anvil_counts *n, enum anvil_event ev);
};

static void
reply_connect(struct conn *c, const struct anvil_counts *n, enum anvil_event ev)
{
    conn_printf(c, "status=0\ncount=%llu\nrate=%llu\n\n", (unsigned long long)n->connections,
                (unsigned long long)n->rates[ev]);
}

static void
reply_rate(struct conn *c, const struct anvil_counts *n, enum anvil_event ev)
{
    conn_printf(c, "status=0\nrate=%llu\n\n", (unsigned long long)n->rates[ev]);
}

static void
reply_newtls(struct conn *c, const struct anvil_counts *n, enum anvil_event ev)
{
    (void)ev;
    reply_rate(c, n, ANVIL_EV_NEWTLS);
}

static void
reply_lookup(struct conn *c, const struct anvil_counts *n, enum anvil_event ev)
{
    (void)ev;
    conn_printf(
        c, "status=0\ncount=%llu\nrate=%llu\nmail=%llu\nrcpt=%llu\nnewtls=%llu\nauth=%llu\n\n",
        (unsigned long long)n->connections, (unsigned long long)n->rates[ANVIL_EV_CONNECT],
        (unsigned long long)n->rates[ANVIL_EV_MESSAGE],
        (unsigned long long)n->rates[ANVIL_EV_RECIPIENT],
        (unsigned long long)n->rates[ANVIL_EV_NEWTLS], (unsigned long long)n->rates[ANVIL_EV_AUTH]);
}

static const struct verb verbs[] = {
    { "connect", ANVIL_EV_CONNECT, reply_connect },
    { "message", ANVIL_EV_MESSAGE, reply_rate },
    { "recipient", ANVIL_EV_RECIPIENT, reply_rate },
    { "newtls", ANVIL_EV_NEWTLS, reply_rate },
    { "auth", ANVIL_EV_AUTH, reply_rate },
    { "newtls_status", ANVIL_EVENTS, reply_newtls },
    { "lookup", ANVIL_EVENTS, reply_lookup },
};

static void
add_connected(struct peer *p, struct slice ident, intptr_t by)
{
    intptr_t n = (intptr_t)map_get(p->connected, ident) + by;

    if (n > 0)
        map_set(p->connected, ident, (void *)n);
    else
        map_del(p->connected, ident);
}

static void
disconnect(struct peer *p, struct slice ident)
{
    if (map_get(p->connected, ident) == NULL)
        return; /* only what it connected itself */
    anvil_disconnect(p->anvil, ident);
    add_connected(p, ident, -1);
}

/* Beyond Postfix's protocol: a message that an account submits. */
static void
run_account(struct conn *c, const struct peer *p)
{
    struct account_verdict v;

    if (accounts == NULL ||
        !account_rate_count(accounts, buf_slice(&p->ident), p->recipients, clock_unix_s(), &v))
        conn_printf(c, "status=-1\n\n");
    else if (v.limit == NULL)
        conn_printf(c, "status=0\n\n");
    else
        conn_printf(c, "status=0\nlimit=%s\nmax=%llu\ncount=%llu\ntell=%d\n\n", v.limit,
                    (unsigned long long)v.max, (unsigned long long)v.count, v.tell);
}

static void
run_request(struct conn *c, struct peer *p)
{
    struct slice request = buf_slice(&p->request), ident = buf_slice(&p->ident);
    struct anvil_counts n = { 0 };

    if (sl_eqz(request, "disconnect")) {
        disconnect(p, ident);
        conn_printf(c, "status=0\n\n");
        return;
    }
    if (sl_eqz(request, "account")) {
        run_account(c, p);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        const struct verb *v = &verbs[i];

        if (!sl_eqz(request, v->name))
            continue;
        if (v->ev == ANVIL_EVENTS) {
            anvil_peek(p->anvil, ident, loop_now_ms(), &n);
        } else if (!anvil_count(p->anvil, ident, v->ev, loop_now_ms(), &n)) {
            break; /* full: say so, the client is let through */
        } else if (v->ev == ANVIL_EV_CONNECT) {
            add_connected(p, ident, 1);
        }
        v->reply(c, &n, v->ev);
        return;
    }
    conn_printf(c, "status=-1\n\n");
}

static void
on_input(struct conn *c, void *arg)
{
    struct peer *p = arg;
    struct slice line, name;

    for (;;) {
        enum frame_rc rc = conn_take_line(c, REQUEST_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            return;
        if (rc == FRAME_TOO_LONG) {
            log_warn("anvil.protocol", LOG_NONE, "anvil: a request line is too long");
            conn_abort(c);
            return;
        }
        if (line.n == 0) {
            if (p->request.n)
                run_request(c, p);
            buf_reset(&p->request);
            buf_reset(&p->ident);
            p->recipients = 0;
            continue;
        }
        if (!sl_take_until(&line, '=', &name))
            continue;
        if (sl_eqz(name, "request")) {
            buf_reset(&p->request);
            buf_adds(&p->request, line);
        } else if (sl_eqz(name, "ident")) {
            buf_reset(&p->ident);
            buf_adds(&p->ident, sl_head(line, ANVIL_IDENT_OCTETS));
        } else if (sl_eqz(name, "recipients")) {
            (void)sl_to_u64(line, &p->recipients);
        }
    }
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;
    size_t it = 0;
    struct slice ident;
    void *n;

    (void)c;
    (void)end;
    (void)why;
    while (map_next(p->connected, &it, &ident, &n))
        for (intptr_t i = (intptr_t)n; i > 0; i--)
            anvil_disconnect(p->anvil, ident);
    map_free(&p->connected, NULL);
    buf_free(&p->request);
    buf_free(&p->ident);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
anvil_serve(struct anvil *a, int fd)
{
    struct peer *p = MEM_NEW(struct peer);
    struct conn *c;

    p->anvil = a;
    p->connected = map_new();
    c = conn_new(fd, &ops, p);
    conn_printf(c, "protocol=anvil\n\n");
}
