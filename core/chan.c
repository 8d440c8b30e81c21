/* core/chan.c - messages and descriptors over SOCK_SEQPACKET, and memfds for what is too long for one. */
#include "core/chan.h"
#include "core/chan_int.h"
#include "core/addr.h"
#include "core/loop.h"
#include "core/loop_int.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHAN_QUEUE_MAX = 1024,
    MSGS_A_TURN = 16,
    MEMFD_READ_MAX = 64 * 1024 * 1024 /* for a buf without a cap of its own */
};

struct msg {
    struct msg *next;
    size_t n, n_fds;
    int fds[CHAN_FDS_MAX];
    char octets[];
};

struct chan {
    uv_poll_t poll;
    const struct chan_ops *ops;
    void *arg;
    int fd;
    struct msg *first, *last; /* what waits to be sent */
    size_t n_queued;
    bool is_gone;  /* the other end; on_close is told or on its way */
    bool is_freed; /* by the owner */
    unsigned refs; /* the uv handle, and a deferred deliver_close() */
};

static void on_ready(uv_poll_t *h, int status, int events);

static void
close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

static void
drop_first(struct chan *c)
{
    struct msg *m = c->first;

    c->first = m->next;
    c->n_queued--;
    close_all(m->fds, m->n_fds);
    free(m);
}

static void
drop_queue(struct chan *c)
{
    while (c->first)
        drop_first(c);
}

static void
unref(struct chan *c)
{
    if (--c->refs == 0)
        free(c);
}

static void
on_uv_closed(uv_handle_t *h)
{
    unref(CONTAINER_OF((uv_poll_t *)h, struct chan, poll));
}

static void
deliver_close(void *arg)
{
    struct chan *c = arg;

    if (!c->is_freed)
        c->ops->on_close(c, c->arg);
    unref(c);
}

static void
gone(struct chan *c)
{
    if (c->is_gone)
        return;
    c->is_gone = true;
    uv_poll_stop(&c->poll);
    drop_queue(c);
    c->refs++;
    loop_defer(deliver_close, c);
}

/* ---- sending ---- */

/* 1 sent, 0 not now, -1 the other end is gone. */
static int
send_now(struct chan *c, struct slice s, const int *fds, size_t n_fds)
{
    union {
        char octets[CMSG_SPACE(sizeof(int) * CHAN_FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec io = { (void *)(uintptr_t)s.p, s.n };
    struct msghdr h = { .msg_iov = &io, .msg_iovlen = 1 };
    ssize_t n;

    if (n_fds > 0) {
        struct cmsghdr *cm;

        memset(&control, 0, sizeof control);
        h.msg_control = control.octets;
        h.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        cm = CMSG_FIRSTHDR(&h);
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(cm), fds, sizeof(int) * n_fds);
    }
    do
        n = sendmsg(c->fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 1;
    return errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS ? 0 : -1;
}

static void
update_poll(struct chan *c)
{
    if (c->is_gone || c->is_freed)
        return;
    uv_poll_start(&c->poll, UV_READABLE | (c->n_queued > 0 ? UV_WRITABLE : 0), on_ready);
}

static void
send_queued(struct chan *c)
{
    while (c->first) {
        const struct msg *m = c->first;
        int rc = send_now(c, sl_n(m->octets, m->n), m->fds, m->n_fds);

        if (rc == 0)
            return;
        if (rc < 0) {
            gone(c);
            return;
        }
        drop_first(c);
    }
    update_poll(c);
}

int
chan_send(struct chan *c, struct slice msg, const int *fds, size_t n_fds)
{
    struct msg *m;
    int rc = 0;

    BUG_ON(msg.n == 0 || msg.n > CHAN_MSG_OCTETS || n_fds > CHAN_FDS_MAX);
    if (c->is_gone || c->n_queued >= CHAN_QUEUE_MAX) {
        close_all(fds, n_fds);
        return -1;
    }
    if (c->n_queued == 0)
        rc = send_now(c, msg, fds, n_fds);
    if (rc != 0) {
        close_all(fds, n_fds);
        if (rc < 0)
            gone(c);
        return rc < 0 ? -1 : 0;
    }
    m = mem_alloc(sizeof *m + msg.n);
    m->n = msg.n;
    m->n_fds = n_fds;
    memcpy(m->octets, msg.p, msg.n);
    if (n_fds > 0)
        memcpy(m->fds, fds, sizeof *fds * n_fds);
    m->next = NULL;
    if (c->first)
        c->last->next = m;
    else
        c->first = m;
    c->last = m;
    if (c->n_queued++ == 0)
        update_poll(c);
    return 0;
}

/* ---- receiving ---- */

static size_t
take_fds(struct msghdr *h, int *fds)
{
    size_t n = 0;

    for (struct cmsghdr *cm = CMSG_FIRSTHDR(h); cm; cm = CMSG_NXTHDR(h, cm)) {
        size_t k;

        if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
            continue;
        k = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < k; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cm) + i * sizeof fd, sizeof fd);
            if (n < CHAN_FDS_MAX)
                fds[n++] = fd;
            else
                close(fd);
        }
    }
    return n;
}

ssize_t
chan_recv_raw(int fd, char *octets, size_t max, int *fds, size_t *n_fds, int flags)
{
    union {
        char octets[CMSG_SPACE(sizeof(int) * CHAN_FDS_MAX)];
        struct cmsghdr align;
    } control;
    struct iovec io = { octets, max };
    struct msghdr h = { .msg_iov = &io,
                        .msg_iovlen = 1,
                        .msg_control = control.octets,
                        .msg_controllen = sizeof control.octets };
    ssize_t n;

    *n_fds = 0;
    do
        n = recvmsg(fd, &h, MSG_CMSG_CLOEXEC | flags);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return n;
    *n_fds = take_fds(&h, fds);
    if (n > 0 && !(h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return n;
    close_all(fds, *n_fds);
    *n_fds = 0;
    if (n == 0)
        return 0;
    errno = EMSGSIZE;
    return -1;
}

static void
receive(struct chan *c)
{
    static char octets[CHAN_MSG_OCTETS];
    int fds[CHAN_FDS_MAX];
    size_t n_fds;

    for (unsigned i = 0; i < MSGS_A_TURN && !c->is_gone && !c->is_freed; i++) {
        ssize_t n = chan_recv_raw(c->fd, octets, sizeof octets, fds, &n_fds, MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0 && errno == EMSGSIZE)
            continue; /* not one of ours */
        if (n <= 0) {
            gone(c);
            return;
        }
        c->ops->on_msg(c, c->arg, sl_n(octets, (size_t)n), fds, n_fds);
    }
}

static void
on_ready(uv_poll_t *h, int status, int events)
{
    struct chan *c = CONTAINER_OF(h, struct chan, poll);

    if (c->is_gone || c->is_freed)
        return;
    if (status < 0 || (events & UV_READABLE))
        receive(c);
    if (c->is_gone || c->is_freed)
        return;
    if (status < 0)
        gone(c);
    else if (events & UV_WRITABLE)
        send_queued(c);
}

/* ---- making ---- */

struct chan *
chan_new(int fd, const struct chan_ops *ops, void *arg)
{
    struct chan *c = MEM_NEW(struct chan);

    c->refs = 1;
    c->fd = fd;
    c->ops = ops;
    c->arg = arg;
    BUG_ON(uv_poll_init(loop_uv(), &c->poll, fd) != 0);
    update_poll(c);
    return c;
}

int
chan_connect(const char *path, const struct chan_ops *ops, void *arg, struct chan **out,
             struct err *e)
{
    struct addr a;
    int fd;

    if (addr_unix(path, &a, e) != 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_sys(e, "socket");
    if (connect(fd, &a.u.sa, a.len) != 0) {
        err_sys(e, "connect to %s", path);
        close(fd);
        return -1;
    }
    *out = chan_new(fd, ops, arg);
    return 0;
}

void
chan_free(struct chan **chan)
{
    struct chan *c = *chan;

    *chan = NULL;
    if (!c)
        return;
    drop_queue(c);
    c->is_freed = true;
    uv_close((uv_handle_t *)&c->poll, on_uv_closed);
    close(c->fd);
}

int
chan_peer_ids(int fd, int *pid, unsigned *uid)
{
    struct ucred id;
    socklen_t len = sizeof id;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &id, &len) != 0)
        return -1;
    *pid = id.pid;
    *uid = id.uid;
    return 0;
}

/* ---- memfds ---- */

int
chan_memfd(const char *name, struct slice content, struct err *e)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t done = 0;

    if (fd < 0)
        return err_sys(e, "memfd_create");
    while (done < content.n) {
        ssize_t n = write(fd, content.p + done, content.n - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            err_sys(e, "write to memfd");
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return fd;
}

/* By pread, so that receivers of one descriptor do not move each other's offset. */
int
chan_read_memfd(int fd, struct buf *out, struct err *e)
{
    size_t max = out->max ? out->max : MEMFD_READ_MAX, done = 0;
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_sys(e, "fstat of memfd");
    if (st.st_size < 0 || (uint64_t)st.st_size > max - (out->n < max ? out->n : max))
        return err_set(e, ERR_LIMIT, "memfd is too long: %lld octets", (long long)st.st_size);
    while (done < (size_t)st.st_size) {
        size_t left = (size_t)st.st_size - done;
        char *at = buf_reserve(out, left);
        ssize_t n = pread(fd, at, left, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "read from memfd");
        if (n == 0)
            break;
        buf_commit(out, (size_t)n);
        done += (size_t)n;
    }
    return 0;
}
