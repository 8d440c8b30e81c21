/* core/conn_dial.c - outbound conns. */
#include "core/addr.h"
#include "core/conn_int.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* A unix listener whose backlog is full answers EAGAIN at once rather than later: ask again. */
enum { DIAL_RETRY_MS = 20, DIAL_RETRIES_MAX = 250 };

struct conn_dial {
    struct addr to;
    struct timer retry;
    unsigned tries;
};

static void dial(struct conn *c);

static void
dial_failed(struct conn *c, int sys)
{
    struct err e = { 0 };
    char text[ADDR_TEXT_OCTETS];

    errno = sys;
    err_sys(&e, "connect to %s", c->dial ? addr_text(&c->dial->to, text) : "peer");
    conn_finish(c, CONN_END_ERROR, &e);
}

static void
dialled(struct conn *c)
{
    c->is_connecting = false;
    c->events = 0;
    conn_dial_free(c);
    conn_update_poll(c);
    conn_mark(c);
    conn_tell_connected(c);
}

static void
on_retry(void *arg)
{
    dial(arg);
}

static void
dial(struct conn *c)
{
    int rc;

    do
        rc = connect(c->fd, &c->dial->to.u.sa, c->dial->to.len);
    while (rc != 0 && errno == EINTR);
    if (rc == 0 || errno == EINPROGRESS) {
        if (!c->is_polled)
            conn_start_poll(c); /* writable when it is done, at once if it is */
    } else if (errno == EAGAIN && addr_family(&c->dial->to) == AF_UNIX &&
               c->dial->tries++ < DIAL_RETRIES_MAX) {
        timer_start(&c->dial->retry, DIAL_RETRY_MS, on_retry, c);
    } else {
        dial_failed(c, errno);
    }
}

void
conn_dial_ready(struct conn *c)
{
    int sys = 0;
    socklen_t len = sizeof sys;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0)
        sys = errno;
    if (sys)
        dial_failed(c, sys);
    else
        dialled(c);
}

void
conn_dial_free(struct conn *c)
{
    if (!c->dial)
        return;
    timer_stop(&c->dial->retry);
    free(c->dial);
    c->dial = NULL;
}

struct conn *
conn_connect(const struct sockaddr *to, socklen_t len, const struct sockaddr *bind_to,
             socklen_t bind_len, const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_make(-1, ops, arg);
    int one = 1;

    BUG_ON(len > sizeof c->dial->to.u);
    c->is_connecting = c->is_outbound = true;
    c->dial = MEM_NEW(struct conn_dial);
    memcpy(&c->dial->to.u, to, len);
    c->dial->to.len = len;
    c->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || (bind_to && bind(c->fd, bind_to, bind_len) != 0))
        dial_failed(c, errno);
    else
        dial(c);
    /* What is written is whole: nothing is gained by waiting for more. */
    if (to->sa_family != AF_UNIX && c->fd >= 0)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return c;
}

struct conn *
conn_connect_unix(const char *path, const struct conn_ops *ops, void *arg)
{
    struct addr to;
    struct err e = { 0 };
    struct conn *c;

    if (addr_unix(path, &to, &e) == 0)
        return conn_connect(&to.u.sa, to.len, NULL, 0, ops, arg);
    c = conn_make(-1, ops, arg);
    c->is_connecting = c->is_outbound = true;
    conn_finish(c, CONN_END_ERROR, &e);
    return c;
}
