/* core/conn_in.c - a conn's input: lines, counted pieces, pausing. */
#include "core/conn_int.h"

#include "base/mem.h"

enum { KEEP_OCTETS = 4096 }; /* an input buffer up to this size is not worth moving */

bool
conn_holds_back(const struct conn *c)
{
    return c->tr && c->tr->pull && c->tr->buffered(c->tr_state) > 0;
}

/* EOF was told, the owner had its turn and waits for nothing: the end, after what is still to be sent. */
void
conn_end_at_eof(struct conn *c)
{
    if (!c->is_eof || c->is_paused || c->is_ended || c->is_closing || c->wants_input_call ||
        conn_holds_back(c) || conn_is_out_full(c))
        return;
    c->is_closing = true;
    c->end = CONN_END_PEER;
    timer_stop(&c->deadline);
    conn_mark(c);
}

void
conn_deliver_input(struct conn *c)
{
    if (c->is_paused || c->is_closing || c->is_ended)
        return;
    c->wants_input_call = false;
    if (c->in.n > 0 || c->is_eof) {
        c->in_input_call = true;
        c->ops->on_input(c, c->arg);
        c->in_input_call = false;
    }
    conn_end_at_eof(c);
}

/* After a callback: an idle conn holds no buffer, one with an unfinished line a small one. */
void
conn_trim_input(struct conn *c)
{
    struct buf small = { 0 };

    if (c->in.n == 0) {
        conn_buf_give_back(&c->in);
    } else if (c->in.cap > KEEP_OCTETS && c->in.n < c->in.cap / 4) {
        buf_adds(&small, buf_slice(&c->in));
        conn_buf_give_back(&c->in);
        c->in = small;
    }
}

struct slice
conn_input(const struct conn *c)
{
    return buf_slice(&c->in);
}

bool
conn_has_input(const struct conn *c)
{
    return c->in.n > 0 || (c->tr && c->tr->buffered(c->tr_state) > 0);
}

bool
conn_is_eof(const struct conn *c)
{
    return c->is_eof;
}

void
conn_consume(struct conn *c, size_t octets)
{
    bool was_full = c->in.n >= c->in_max;

    buf_consume(&c->in, octets);
    c->scanned = 0;
    if (was_full || conn_holds_back(c))
        conn_mark(c); /* read again */
}

void
conn_unread(struct conn *c, struct slice s)
{
    struct buf b = { 0 };

    if (s.n == 0)
        return;
    buf_adds(&b, s);
    buf_adds(&b, buf_slice(&c->in));
    buf_free(&c->in);
    c->in = b;
    c->scanned = 0;
    if (!c->in_input_call) {
        c->wants_input_call = true;
        conn_mark(c);
    }
}

void
conn_pause_input(struct conn *c)
{
    c->is_paused = true;
}

void
conn_resume_input(struct conn *c)
{
    if (!c->is_paused)
        return;
    c->is_paused = false;
    if (c->in.n > 0 || c->is_eof) {
        c->wants_input_call = true;
        conn_mark(c);
    }
}

/* The line end's LF as an offset, or SL_NPOS. */
static size_t
find_line_end(struct conn *c, struct slice in, enum line_ends ends)
{
    bool any_lf = ends == LINE_LF_TOO;
    size_t at = c->scanned_for_lf == any_lf ? c->scanned : 0;

    while (at < in.n) {
        const char *lf = memchr(in.p + at, '\n', in.n - at);

        if (!lf)
            break;
        at = (size_t)(lf - in.p);
        if (any_lf || (at > 0 && in.p[at - 1] == '\r'))
            return at;
        at++;
    }
    c->scanned = (uint32_t)in.n;
    c->scanned_for_lf = any_lf;
    return SL_NPOS;
}

enum frame_rc
conn_take_line(struct conn *c, size_t max, enum line_ends ends, struct slice *line)
{
    struct slice in = buf_slice(&c->in);
    size_t lf = find_line_end(c, in, ends), n;

    if (lf == SL_NPOS) {
        if (in.n > max + 1 || (in.n == max + 1 && in.p[max] != '\r'))
            return FRAME_TOO_LONG;
        if (c->is_eof)
            return FRAME_END;
        if (max + 2 > c->in_max) /* or a full buffer would wait for ever */
            conn_set_in_max(c, max + 2);
        return FRAME_MORE;
    }
    n = lf > 0 && in.p[lf - 1] == '\r' ? lf - 1 : lf;
    if (n > max)
        return FRAME_TOO_LONG;
    *line = sl_n(in.p, n);
    conn_consume(c, lf + 1);
    return FRAME_OK;
}

enum frame_rc
conn_skip_line(struct conn *c)
{
    struct slice in = buf_slice(&c->in);
    size_t lf = sl_find_char(in, '\n');

    if (lf != SL_NPOS) {
        conn_consume(c, lf + 1);
        return FRAME_OK;
    }
    conn_consume(c, in.n);
    return c->is_eof ? FRAME_END : FRAME_MORE;
}

enum frame_rc
conn_take_some(struct conn *c, uint64_t left, struct slice *some)
{
    struct slice in = buf_slice(&c->in);

    *some = sl_n(in.p, left < in.n ? (size_t)left : in.n);
    if (some->n == 0)
        return left == 0 ? FRAME_OK : c->is_eof ? FRAME_END : FRAME_MORE;
    conn_consume(c, some->n);
    return FRAME_OK;
}
