/* core/conn_out.c - a conn's output: gathered until the turn's end, written as the peer takes it. */
#include "core/conn_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>

static void
on_write_timeout(void *arg)
{
    struct err e = { 0 };

    err_set(&e, ERR_TEMP, "timeout: the peer takes no output");
    e.sys = ETIMEDOUT;
    conn_finish(arg, CONN_END_TIMEOUT, &e);
}

/* Encrypt what the owner wrote. */
static void
seal(struct conn *c)
{
    struct err e = { 0 };

    if (!c->tr || c->hold.n == 0 || !c->tr->is_ready(c->tr_state))
        return;
    if (c->hold.n >= CONN_MUCH_OCTETS)
        conn_buf_borrow(&c->out);
    if (c->tr->send(c->tr_state, buf_slice(&c->hold), &c->out, &e) != TRANSPORT_OK)
        conn_finish(c, CONN_END_ERROR, &e);
    conn_buf_give_back(&c->hold);
}

static void
write_failed(struct conn *c, int sys)
{
    struct err e = { 0 };
    bool is_peer = sys == EPIPE || sys == ECONNRESET;

    errno = sys;
    err_sys(&e, "write");
    if (c->is_closing)
        conn_finish(c, c->end, &e); /* closing anyway; whose doing it was does not change */
    else
        conn_finish(c, is_peer ? CONN_END_PEER : CONN_END_ERROR, &e);
}

static void
write_out(struct conn *c)
{
    bool is_progress = false;

    while (c->out.n > 0 && !c->is_blocked) {
        struct slice s = buf_slice(&c->out);
        ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            c->is_blocked = true;
        } else if (n < 0) {
            write_failed(c, errno);
            return;
        } else {
            buf_consume(&c->out, (size_t)n);
            is_progress = true;
        }
    }
    if (c->out.n == 0) {
        conn_buf_give_back(&c->out);
        timer_stop(&c->write_timer);
        if (c->is_last_written && !c->is_output_over && !c->tr) {
            c->is_output_over = true;
            shutdown(c->fd, SHUT_WR);
        }
    } else if (c->write_timeout_ms > 0 && (is_progress || !timer_is_running(&c->write_timer))) {
        timer_start(&c->write_timer, c->write_timeout_ms, on_write_timeout, c);
    }
}

/* Everything is out: TLS says goodbye, then the end. */
static void
finish_closing(struct conn *c)
{
    if (c->tr && !c->is_goodbye_said) {
        c->is_goodbye_said = true;
        c->tr->say_goodbye(c->tr_state, &c->out);
        write_out(c);
    }
    if (c->out.n == 0 && !c->is_ended)
        conn_finish(c, c->end, NULL);
}

bool
conn_owes_drain(const struct conn *c)
{
    return c->is_high && !c->is_closing && conn_out_pending(c) <= c->out_low;
}

void
conn_flush(struct conn *c, bool from_loop)
{
    if (c->is_connecting || c->is_ended)
        return;
    c->is_corked = false;
    if (c->is_closing && c->tr && !c->tr->is_ready(c->tr_state))
        buf_free(&c->hold); /* the handshake will not be finished */
    seal(c);
    if (!c->is_ended)
        write_out(c);
    if (c->is_ended)
        return;
    if (c->is_blocked)
        conn_update_poll(c);
    if (c->is_closing) {
        if (conn_out_pending(c) == 0)
            finish_closing(c);
        return;
    }
    if (!conn_owes_drain(c))
        return;
    if (!from_loop) {
        conn_mark(c);
        return;
    }
    c->is_high = false;
    if (c->ops->on_drain)
        c->ops->on_drain(c, c->arg);
    conn_end_at_eof(c);
}

/* What the net takes at once of much is not copied. An error is left to write_out(), which meets it again. */
static size_t
write_straight(struct conn *c, const char *p, size_t n)
{
    size_t done = 0;

    if (n < CONN_SCRATCH_OCTETS || c->tr || c->out.n > 0 || c->is_corked || c->is_blocked ||
        c->is_connecting)
        return 0;
    while (done < n) {
        ssize_t got = send(c->fd, p + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (got >= 0)
            done += (size_t)got;
        else if (errno != EINTR)
            break;
    }
    return done;
}

/* Much is encrypted where it lies: copied first it would be no faster, and records are full as they are. */
static size_t
seal_straight(struct conn *c, const char *p, size_t n)
{
    struct err e = { 0 };

    if (n < CONN_MUCH_OCTETS || !c->tr || c->hold.n > 0 || c->is_corked || c->is_blocked ||
        c->is_connecting || !c->tr->is_ready(c->tr_state))
        return 0;
    conn_buf_borrow(&c->out);
    if (c->tr->send(c->tr_state, sl_n(p, n), &c->out, &e) != TRANSPORT_OK)
        conn_finish(c, CONN_END_ERROR, &e);
    return n;
}

void
conn_write(struct conn *c, const void *p, size_t n)
{
    size_t gone;

    if (c->is_ended || c->is_closing || c->is_last_written || n == 0)
        return;
    gone = c->tr ? seal_straight(c, p, n) : write_straight(c, p, n);
    if (c->is_ended)
        return;
    if (n - gone >= CONN_MUCH_OCTETS)
        conn_buf_borrow(c->tr ? &c->hold : &c->out);
    if (gone < n)
        buf_add(c->tr ? &c->hold : &c->out, (const char *)p + gone, n - gone);
    if (conn_out_pending(c) + (c->tr ? 0 : gone) > c->out_high)
        c->is_high = true;
    conn_mark(c);
    if (!c->is_corked && !c->is_blocked && conn_out_pending(c) >= CONN_SCRATCH_OCTETS)
        conn_flush(c, false);
}

void
conn_writes(struct conn *c, struct slice s)
{
    conn_write(c, s.p, s.n);
}

void
conn_printf(struct conn *c, const char *fmt, ...)
{
    char small[512];
    struct buf large = { 0 };
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    BUG_ON(n < 0);
    if ((size_t)n < sizeof small) {
        conn_write(c, small, (size_t)n);
        return;
    }
    va_start(ap, fmt);
    buf_vaddf(&large, fmt, ap);
    va_end(ap);
    conn_writes(c, buf_slice(&large));
    buf_free(&large);
}

void
conn_cork(struct conn *c)
{
    c->is_corked = true;
}

void
conn_uncork(struct conn *c)
{
    conn_flush(c, false);
}

void
conn_end_output(struct conn *c)
{
    c->is_last_written = true;
    conn_flush(c, false);
}

size_t
conn_out_pending(const struct conn *c)
{
    return c->out.n + c->hold.n;
}

bool
conn_is_out_full(const struct conn *c)
{
    return conn_out_pending(c) > c->out_high;
}
