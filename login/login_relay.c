/* login/login_relay.c - an authenticated TLS session: octets between the client's TLS and the worker's socketpair. There
 * can be a thousand idle ones, so a relay is two conns and a few flags, and holds no octets while nothing moves. */
#include "login/login_int.h"

#include "base/mem.h"
#include "core/daemon.h"

#include <stdlib.h>

/* Per direction at most this much waits for the slower side. */
enum { HIGH_OCTETS = 128 * 1024, LOW_OCTETS = 32 * 1024, IN_OCTETS = 64 * 1024 };

struct relay {
    struct conn *client, *worker; /* NULL: closed */
    bool is_client_eof;
};

static size_t n_relays;

size_t
relay_count(void)
{
    return n_relays;
}

static void
pump(struct conn *from, struct conn *to)
{
    struct slice in;

    while (!conn_is_out_full(to) && (in = conn_input(from)).n > 0) {
        conn_writes(to, in);
        conn_consume(from, in.n);
    }
    if (conn_is_out_full(to))
        conn_pause_input(from);
    else
        conn_resume_input(from);
}

/* The client said all it will say, and perhaps still reads: the worker hears of it as it would without us. */
static void
pass_eof_on(struct relay *r)
{
    conn_pause_input(r->client); /* or the conn would end now */
    if (r->is_client_eof)
        return;
    r->is_client_eof = true;
    conn_end_output(r->worker);
}

static void
on_client_input(struct conn *c, void *arg)
{
    struct relay *r = arg;

    if (!r->worker)
        return;
    pump(c, r->worker);
    if (conn_is_eof(c) && !conn_has_input(c))
        pass_eof_on(r);
}

static void
on_client_drain(struct conn *c, void *arg)
{
    struct relay *r = arg;

    if (r->worker)
        pump(r->worker, c);
}

static void
on_worker_input(struct conn *c, void *arg)
{
    struct relay *r = arg;

    if (r->client)
        pump(c, r->client);
}

static void
on_worker_drain(struct conn *c, void *arg)
{
    struct relay *r = arg;

    (void)c;
    if (r->client)
        on_client_input(r->client, r);
}

static void
free_if_done(struct relay *r)
{
    if (r->client || r->worker)
        return;
    free(r);
    n_relays--;
    daemon_session_count(-1);
}

static void
on_client_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct relay *r = arg;

    (void)c;
    (void)end;
    (void)why;
    r->client = NULL;
    if (r->worker)
        conn_close(r->worker);
    free_if_done(r);
}

static void
on_worker_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct relay *r = arg;

    (void)c;
    (void)end;
    (void)why;
    r->worker = NULL;
    if (r->client)
        conn_close(r->client); /* what the worker said last still goes out */
    free_if_done(r);
}

static const struct conn_ops client_ops = { .on_input = on_client_input,
                                            .on_drain = on_client_drain,
                                            .on_close = on_client_close };
static const struct conn_ops worker_ops = { .on_input = on_worker_input,
                                            .on_drain = on_worker_drain,
                                            .on_close = on_worker_close };

static void
set_limits(struct conn *c)
{
    conn_set_in_max(c, IN_OCTETS);
    conn_set_out_marks(c, HIGH_OCTETS, LOW_OCTETS);
}

void
relay_start(struct conn *client, int worker_fd)
{
    struct relay *r = MEM_NEW(struct relay);

    n_relays++;
    daemon_session_count(1);
    r->client = client;
    r->worker = conn_new(worker_fd, &worker_ops, r);
    set_limits(r->worker);
    conn_set_write_timeout(r->worker,
                           0); /* a long SEARCH may keep it from reading; it is one of ours */
    set_limits(client);
    conn_set_deadline(client, 0);
    conn_set_ops(client, &client_ops, r);
    conn_resume_input(client);
}
