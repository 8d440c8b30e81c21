/* core/listener.c - listening sockets. */
#include "core/listener.h"
#include "core/loop.h"
#include "core/loop_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ACCEPTS_A_TURN = 8, /* so that a flood of connections leaves time for sessions */
    EXHAUSTED_PAUSE_MS = 1000,
    EXHAUSTED_WARN_MS = 60 * 1000
};

struct listener {
    uv_poll_t poll;
    void (*on_accept)(struct listener *, void *, int, const struct addr *);
    void *arg;
    int fd;
    struct timer retry;
    bool is_paused, is_closed;
};

static void on_ready(uv_poll_t *h, int status, int events);

/* ---- binding ---- */

static int
bind_failed(int fd, const struct addr *a, struct err *e)
{
    char text[ADDR_TEXT_OCTETS];
    int sys = errno;

    if (fd >= 0)
        close(fd);
    err_set(e, ERR_CONFIG, "cannot listen on %s: %s", addr_text(a, text), strerror(sys));
    if (e)
        e->sys = sys;
    return -1;
}

/* A socket file that nobody listens behind is a leftover; one that somebody answers is in use. */
static int
remove_stale(const struct addr *a, int type)
{
    const char *path = a->u.un.sun_path;
    struct stat st;
    int fd, rc;

    if (lstat(path, &st) != 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    rc = connect(fd, &a->u.sa, a->len);
    close(fd);
    if (rc == 0 || errno == EAGAIN) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(path);
}

int
listener_bind(const struct addr *a, int type, unsigned unix_mode, struct err *e)
{
    int one = 1, fd, family = addr_family(a);

    fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return bind_failed(fd, a, e);
    if (family == AF_UNIX) {
        if (remove_stale(a, type) != 0)
            return bind_failed(fd, a, e);
    } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (family == AF_INET6)
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    if (bind(fd, &a->u.sa, a->len) != 0 ||
        (family == AF_UNIX && chmod(a->u.un.sun_path, unix_mode) != 0) ||
        listen(fd, SOMAXCONN) != 0)
        return bind_failed(fd, a, e);
    return fd;
}

/* ---- accepting ---- */

static void
set_polling(struct listener *l)
{
    if (l->is_paused || timer_is_running(&l->retry))
        uv_poll_stop(&l->poll);
    else
        uv_poll_start(&l->poll, UV_READABLE, on_ready);
}

static void
on_retry(void *arg)
{
    set_polling(arg);
}

/* Out of descriptors or memory: the connection stays in the backlog, so look again a little later. */
static void
on_exhausted(struct listener *l)
{
    static uint64_t warned_ms;
    uint64_t now = loop_now_ms();
    int sys = errno;

    if (!warned_ms || now - warned_ms >= EXHAUSTED_WARN_MS) {
        warned_ms = now;
        log_warn("listener.exhausted", LOG_F(LF_N("errno", sys)),
                 "cannot accept connections: %s; trying again every second", strerror(sys));
    }
    timer_start(&l->retry, EXHAUSTED_PAUSE_MS, on_retry, l);
    set_polling(l);
}

static void
set_tcp_options(int fd, const struct addr *peer)
{
    int one = 1;

    if (addr_family(peer) == AF_UNIX)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

/* False: no more for now. */
static bool
accept_one(struct listener *l)
{
    struct addr peer = { 0 };
    int fd;

    peer.len = sizeof peer.u;
    fd = accept4(l->fd, &peer.u.sa, &peer.len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        if (addr_family(&peer) == AF_INET6)
            addr_of_peer(fd, &peer); /* IPv4-mapped becomes IPv4 */
        set_tcp_options(fd, &peer);
        l->on_accept(l, l->arg, fd, &peer);
        return true;
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        on_exhausted(l);
        return false;
    case EAGAIN:
        return false;
    default:
        return true; /* that connection is gone already; the next */
    }
}

static void
on_ready(uv_poll_t *h, int status, int events)
{
    struct listener *l = CONTAINER_OF(h, struct listener, poll);

    (void)events;
    if (status < 0)
        set_polling(l);
    for (unsigned i = 0; i < ACCEPTS_A_TURN && !l->is_paused && !l->is_closed; i++)
        if (!accept_one(l))
            break;
}

struct listener *
listener_new(int fd,
             void (*on_accept)(struct listener *, void *arg, int fd, const struct addr *peer),
             void *arg)
{
    struct listener *l = MEM_NEW(struct listener);

    l->fd = fd;
    l->on_accept = on_accept;
    l->arg = arg;
    BUG_ON(uv_poll_init(loop_uv(), &l->poll, fd) != 0);
    set_polling(l);
    return l;
}

void
listener_pause(struct listener *l)
{
    l->is_paused = true;
    set_polling(l);
}

void
listener_resume(struct listener *l)
{
    l->is_paused = false;
    set_polling(l);
}

static void
on_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_poll_t *)h, struct listener, poll));
}

void
listener_free(struct listener **l)
{
    struct listener *x = *l;

    *l = NULL;
    if (!x)
        return;
    x->is_closed = true;
    timer_stop(&x->retry);
    uv_close((uv_handle_t *)&x->poll, on_closed);
    close(x->fd);
}
