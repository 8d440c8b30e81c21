/* core/conn.c - a conn's life: readiness, transport, ending. */
#include "core/conn_int.h"
#include "core/loop_int.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

char conn_scratch[CONN_SCRATCH_OCTETS];
static struct list dirty = { &dirty, &dirty };
static unsigned n_lingering;

static char *spares[CONN_SPARES_MAX];
static size_t n_spares;

static void on_poll(uv_poll_t *h, int status, int events);
static void tell_ready(struct conn *c);

/* ---- buffers ---- */

void
conn_buf_borrow(struct buf *b)
{
    if (b->cap > 0)
        return;
    buf_free(b); /* its max stays */
    b->p = n_spares > 0 ? spares[--n_spares] : mem_alloc(CONN_SPARE_OCTETS);
    b->cap = CONN_SPARE_OCTETS;
}

void
conn_buf_give_back(struct buf *b)
{
    if (b->cap == CONN_SPARE_OCTETS && n_spares < CONN_SPARES_MAX) {
        spares[n_spares++] = b->p;
        b->p = NULL;
        b->cap = 0;
    }
    buf_free(b);
}

/* ---- the end of a turn ---- */

/* The transport has more input than the owner had room for: the next piece, one a turn so that others get theirs. */
static void
pull(struct conn *c)
{
    struct err e = { 0 };
    enum transport_rc rc;

    if (!conn_holds_back(c) || c->in.n >= c->in_max || c->is_closing)
        return;
    rc = c->tr->pull(c->tr_state, &c->in, &e);
    if (rc == TRANSPORT_FAILED) {
        conn_finish(c, CONN_END_ERROR, &e);
        return;
    }
    if (rc == TRANSPORT_CLOSED)
        c->is_eof = true;
    c->wants_input_call = true;
}

static void
conn_settle(struct conn *c)
{
    if (c->is_ended)
        return;
    tell_ready(c);
    pull(c);
    if (c->wants_input_call && !c->is_ended)
        conn_deliver_input(c);
    if (!c->is_ended)
        conn_flush(c, true);
    if (c->is_ended)
        return;
    conn_trim_input(c);
    conn_update_poll(c);
    /* Its own callbacks marked it again, but nothing is left to do. */
    if (conn_holds_back(c) && c->in.n < c->in_max && !c->is_closing)
        conn_mark(c);
    else if (!c->wants_input_call && c->hold.n == 0 && (c->out.n == 0 || c->is_blocked) &&
             !conn_owes_drain(c))
        list_remove(&c->dirty);
}

static bool
settle_all(void)
{
    struct list batch;

    if (list_is_empty(&dirty))
        return false;
    batch = dirty;
    batch.next->prev = batch.prev->next = &batch;
    list_init(&dirty);
    for (struct list *l; (l = list_pop_front(&batch)) != NULL;)
        conn_settle(CONTAINER_OF(l, struct conn, dirty));
    return !list_is_empty(&dirty);
}

void
conn_mark(struct conn *c)
{
    if (c->is_ended || list_is_linked(&c->dirty))
        return;
    list_push_back(&dirty, &c->dirty);
    loop_want_hook();
}

/* ---- making ---- */

struct conn *
conn_make(int fd, const struct conn_ops *ops, void *arg)
{
    struct conn *c = MEM_NEW(struct conn);

    BUG_ON(!ops->on_input || !ops->on_close);
    loop_set_turn_hook(settle_all);
    c->fd = fd;
    c->ops = ops;
    c->arg = arg;
    c->in_max = CONN_IN_MAX;
    c->out_high = CONN_OUT_HIGH;
    c->out_low = CONN_OUT_LOW;
    c->write_timeout_ms = CONN_WRITE_TIMEOUT_MS;
    list_init(&c->dirty);
    return c;
}

void
conn_start_poll(struct conn *c)
{
    int rc = uv_poll_init(loop_uv(), &c->poll, c->fd); /* makes it non-blocking */
    struct err e = { 0 };

    if (rc != 0) {
        err_set(&e, ERR_TEMP, "cannot watch descriptor: %s", uv_strerror(rc));
        e.sys = -rc;
        conn_finish(c, CONN_END_ERROR, &e);
        return;
    }
    c->is_polled = true;
    conn_update_poll(c);
}

struct conn *
conn_new(int fd, const struct conn_ops *ops, void *arg)
{
    struct conn *c = conn_make(fd, ops, arg);

    conn_start_poll(c);
    return c;
}

void
conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg)
{
    BUG_ON(!ops->on_input || !ops->on_close);
    c->ops = ops;
    c->arg = arg;
    if (c->in.n > 0 || c->is_eof) {
        c->wants_input_call = true;
        conn_mark(c);
    }
}

void *
conn_arg(const struct conn *c)
{
    return c->arg;
}

void
conn_ack_now(struct conn *c)
{
    int one = 1;

    if (!c->is_ended)
        setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
}

int
conn_fd(const struct conn *c)
{
    return c->fd;
}

void
conn_set_in_max(struct conn *c, size_t octets)
{
    c->in_max = octets > UINT32_MAX ? UINT32_MAX : (uint32_t)octets;
    conn_mark(c);
}

void
conn_set_out_marks(struct conn *c, size_t high, size_t low)
{
    c->out_high = high > UINT32_MAX ? UINT32_MAX : (uint32_t)high;
    c->out_low = low < c->out_high ? (uint32_t)low : c->out_high;
}

/* ---- time ---- */

static void
on_deadline(void *arg)
{
    struct conn *c = arg;
    struct err e = { 0 };

    if (c->ops->on_deadline) {
        c->ops->on_deadline(c, c->arg);
        return;
    }
    err_set(&e, ERR_TEMP, "timeout");
    e.sys = ETIMEDOUT;
    conn_finish(c, CONN_END_TIMEOUT, &e);
}

void
conn_set_deadline(struct conn *c, uint64_t in_ms)
{
    if (in_ms == 0 || c->is_ended || c->is_closing)
        timer_stop(&c->deadline);
    else
        timer_start(&c->deadline, in_ms, on_deadline, c);
}

void
conn_set_write_timeout(struct conn *c, uint64_t ms)
{
    c->write_timeout_ms = ms;
    if (ms == 0)
        timer_stop(&c->write_timer);
}

/* ---- readiness ---- */

void
conn_update_poll(struct conn *c)
{
    uint8_t want = 0;

    if (!c->is_polled || c->is_ended)
        return;
    if (c->is_connecting)
        want = UV_WRITABLE;
    else {
        /* A paused conn goes on reading until in_max: changing epoll for every question that is out would cost
         * more than it saves, and a peer that is gone is noticed. */
        if (!c->is_eof && !c->is_closing && c->in.n < c->in_max && !conn_holds_back(c))
            want |= UV_READABLE;
        if (c->is_blocked)
            want |= UV_WRITABLE;
    }
    if (want == c->events)
        return;
    c->events = want;
    if (want)
        uv_poll_start(&c->poll, want, on_poll);
    else
        uv_poll_stop(&c->poll);
}

static void
read_failed(struct conn *c, int sys)
{
    struct err e = { 0 };
    bool is_peer = sys == ECONNRESET || sys == EPIPE;

    errno = sys;
    err_sys(&e, "read");
    conn_finish(c, is_peer ? CONN_END_PEER : CONN_END_ERROR, &e);
}

/* The descriptor may be another process's too (session/handoff.h), which could make it blocking again behind our back: the
 * loop waits for nobody. */
static ssize_t
read_now(const struct conn *c, size_t most)
{
    ssize_t n = recv(c->fd, conn_scratch, most, MSG_DONTWAIT);

    return n < 0 && errno == ENOTSOCK ? read(c->fd, conn_scratch, most) : n;
}

/* One read of what there is; the loop comes again when there is more, so others get their turn.
 * False: nothing was there. */
static bool
read_some(struct conn *c)
{
    size_t room = c->in_max > c->in.n ? c->in_max - c->in.n : 0;
    struct err e = { 0 };
    ssize_t n;

    if (c->is_eof || c->is_closing || room == 0)
        return true;
    n = read_now(c, room < sizeof conn_scratch ? room : sizeof conn_scratch);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0) {
        read_failed(c, errno);
        return true;
    }
    if (n == 0 && c->tr && !c->tr->is_ready(c->tr_state)) {
        err_set(&e, ERR_TEMP, "peer closed the connection during the TLS handshake");
        conn_finish(c, CONN_END_PEER, &e);
        return true;
    }
    if (n == 0)
        c->is_eof = true;
    if (n >= CONN_MUCH_OCTETS)
        conn_buf_borrow(&c->in);
    if (n > 0 && c->tr)
        conn_take_raw(c, sl_n(conn_scratch, (size_t)n));
    else if (n > 0)
        buf_add(&c->in, conn_scratch, (size_t)n);
    if (!c->is_ended)
        conn_deliver_input(c);
    return true;
}

/* The kernel reports an error: what was received before is still to be read, so read first. */
static void
on_poll_error(struct conn *c)
{
    int sys = 0;
    socklen_t len = sizeof sys;
    struct err e = { 0 };

    c->events = 0; /* libuv has stopped the handle */
    /* A full buffer is not read on: the error would come again and again until its owner goes on. */
    if (!c->is_closing && !c->is_eof && c->in.n < c->in_max && read_some(c))
        return;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &sys, &len) != 0 || sys == 0)
        sys = EPIPE;
    errno = sys;
    err_sys(&e, "connection");
    conn_finish(c, sys == ECONNRESET || sys == EPIPE ? CONN_END_PEER : CONN_END_ERROR, &e);
}

static void destroy(struct conn *c);

/* The owner is gone; throw away what still comes so that the kernel does not answer it with a reset, which
 * would take our last reply away from a peer that is slow to read it. */
static void
linger_read(struct conn *c, int status)
{
    ssize_t n = 0;

    if (status >= 0)
        n = read_now(c, sizeof conn_scratch);
    if (n > 0)
        c->lingered_octets += (size_t)n;
    if ((n > 0 && c->lingered_octets <= CONN_LINGER_OCTETS) ||
        (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    destroy(c);
}

static void
on_poll(uv_poll_t *h, int status, int events)
{
    struct conn *c = CONTAINER_OF(h, struct conn, poll);

    if (c->is_lingering) {
        linger_read(c, status);
        return;
    }
    if (c->is_ended)
        return;
    if (c->is_connecting)
        conn_dial_ready(c);
    else if (status < 0)
        on_poll_error(c);
    else {
        if (events & UV_WRITABLE) {
            c->is_blocked = false;
            conn_flush(c, true);
        }
        if ((events & UV_READABLE) && !c->is_ended)
            read_some(c);
    }
    if (c->is_ended)
        return;
    conn_trim_input(c);
    conn_update_poll(c);
}

/* ---- transport ---- */

void
conn_tell_connected(struct conn *c)
{
    if (!c->is_outbound || c->is_told_connect || c->is_connecting)
        return;
    if (c->tr && !c->tr->is_ready(c->tr_state))
        return;
    c->is_told_connect = true;
    if (c->ops->on_connect)
        c->ops->on_connect(c, c->arg);
}

static void
tell_ready(struct conn *c)
{
    if (c->is_ended || c->is_told_ready || !c->tr || !c->tr->is_ready(c->tr_state))
        return;
    c->is_told_ready = true;
    conn_mark(c); /* what was written before the handshake was done */
    if (c->ops->on_secure)
        c->ops->on_secure(c, c->arg);
    if (!c->is_ended)
        conn_tell_connected(c);
}

void
conn_take_raw(struct conn *c, struct slice raw)
{
    struct err e = { 0 };
    enum transport_rc rc = TRANSPORT_OK;

    while (raw.n > 0 && rc == TRANSPORT_OK)
        rc = c->tr->feed(c->tr_state, &raw, &c->in, &c->out, &e);
    if (c->out.n > 0)
        conn_mark(c);
    if (rc == TRANSPORT_CLOSED)
        c->is_eof = true;
    if (rc == TRANSPORT_FAILED) {
        conn_flush(c, false); /* the alert */
        conn_finish(c, CONN_END_ERROR, &e);
    }
    tell_ready(c);
}

void
conn_set_transport(struct conn *c, const struct transport *t, void *state, struct slice first)
{
    struct buf raw = c->in;
    struct slice at = buf_slice(&raw);
    struct err e = { 0 };
    enum transport_rc rc = TRANSPORT_OK;

    BUG_ON(c->tr);
    if (c->is_ended) {
        t->free(state);
        return;
    }
    c->in = (struct buf){ 0 };
    c->scanned = 0;
    c->tr = t;
    c->tr_state = state;
    buf_adds(&c->out, first);
    while (at.n > 0 && rc == TRANSPORT_OK)
        rc = t->feed(state, &at, &c->in, &c->out, &e);
    if (rc == TRANSPORT_CLOSED)
        c->is_eof = true;
    if (rc == TRANSPORT_FAILED) {
        conn_flush(c, false); /* what was said before */
        conn_finish(c, CONN_END_ERROR, &e);
    }
    buf_free(&raw);
    c->wants_input_call = c->in.n > 0 || c->is_eof;
    conn_mark(c);
}

void *
conn_transport_state(const struct conn *c)
{
    return c->tr ? c->tr_state : NULL;
}

/* ---- end ---- */

static void
on_uv_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_poll_t *)h, struct conn, poll));
}

/* Everything but the descriptor. */
static void
release(struct conn *c)
{
    timer_stop(&c->deadline);
    timer_stop(&c->write_timer);
    list_remove(&c->dirty);
    conn_dial_free(c);
    if (c->tr)
        c->tr->free(c->tr_state);
    c->tr = NULL;
    buf_free(&c->in);
    buf_free(&c->out);
    buf_free(&c->hold);
    free(c->why);
    c->why = NULL;
    if (c->is_polled)
        uv_close((uv_handle_t *)&c->poll, on_uv_closed);
    else
        free(c);
}

static void
destroy(struct conn *c)
{
    static const struct linger off = { 0 };
    int fd = c->fd;

    n_lingering -= c->is_lingering;
    release(c);
    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off); /* as read_now(): close() would wait */
    close(fd);
}

static void
on_linger_over(void *arg)
{
    destroy(arg);
}

static bool
must_linger(struct conn *c)
{
    int domain = AF_UNIX;
    socklen_t len = sizeof domain;

    if (c->end != CONN_END_OWN || !c->is_closing || !c->is_polled || c->is_eof ||
        n_lingering >= CONN_LINGER_MAX ||
        getsockopt(c->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || domain == AF_UNIX)
        return false;
    return c->in.n > 0 || read_now(c, sizeof conn_scratch) > 0;
}

static void
deliver_close(void *arg)
{
    struct conn *c = arg;

    if (c->is_detached) {
        release(c);
        return;
    }
    c->ops->on_close(c, c->arg, c->end, c->why);
    if (!must_linger(c)) {
        destroy(c);
        return;
    }
    c->is_lingering = true;
    n_lingering++;
    shutdown(c->fd, SHUT_WR);
    buf_free(&c->in);
    timer_start(&c->deadline, CONN_LINGER_MS, on_linger_over, c);
    uv_poll_start(&c->poll, UV_READABLE, on_poll);
}

void
conn_finish(struct conn *c, enum conn_end end, const struct err *why)
{
    if (c->is_ended)
        return;
    c->is_ended = true;
    c->end = end;
    if (why)
        c->why = mem_dup(why, sizeof *why);
    timer_stop(&c->deadline);
    timer_stop(&c->write_timer);
    list_remove(&c->dirty);
    if (c->is_polled)
        uv_poll_stop(&c->poll);
    loop_defer(deliver_close, c);
}

void
conn_close(struct conn *c)
{
    if (c->is_ended || c->is_closing)
        return;
    if (c->is_connecting) {
        conn_finish(c, CONN_END_OWN, NULL);
        return;
    }
    c->is_closing = true;
    c->end = CONN_END_OWN;
    timer_stop(&c->deadline);
    conn_mark(c);
}

void
conn_abort(struct conn *c)
{
    conn_finish(c, CONN_END_OWN, NULL);
}

static void
abandoned_input(struct conn *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void
abandoned_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c;
    (void)arg;
    (void)end;
    (void)why;
}

void
conn_abandon(struct conn **c)
{
    static const struct conn_ops ops = { .on_input = abandoned_input, .on_close = abandoned_close };

    if (*c == NULL)
        return;
    conn_set_ops(*c, &ops, NULL);
    conn_abort(*c);
    *c = NULL;
}

int
conn_detach(struct conn *c, struct buf *unread)
{
    int fd = c->fd;

    BUG_ON(c->tr || c->is_connecting);
    if (c->is_ended)
        return -1;
    conn_flush(c, false);
    if (!c->is_ended && c->out.n > 0)
        return -1;
    if (c->in.n > 0)
        buf_adds(unread, buf_slice(&c->in));
    c->fd = -1;
    if (c->is_ended) { /* the peer is gone; who gets the descriptor will see it */
        c->is_detached = true;
        return fd;
    }
    c->is_ended = true;
    release(c);
    return fd;
}
