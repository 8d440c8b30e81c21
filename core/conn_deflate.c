/* core/conn_deflate.c - compression as a transport: raw DEFLATE both ways (RFC 4978). A little that comes can be a thousand
 * times as much: it is taken apart only as far as the owner has room. */
#include "core/conn_int.h"

#include "base/deflate.h"
#include "base/mem.h"

#include <stdlib.h>

struct squeeze {
    struct conn *conn;
    struct deflater *out; /* NULL: nothing was said for a while */
    struct inflater *in;
    struct buf raw; /* what came and found no room, or what comes after the stream's end */
    struct timer rest;
    int level;
    bool has_more; /* in the inflater */
    bool is_over;  /* the peer's stream has ended */
};

static void
on_rest(void *state)
{
    struct squeeze *q = state;

    deflater_free(&q->out); /* all it was given is out: seal() flushes */
    if (q->raw.n == 0 && !q->has_more)
        inflater_rest(q->in);
}

static enum transport_rc
squeeze_pull(void *state, struct buf *plain, struct err *e)
{
    struct squeeze *q = state;
    size_t room = q->conn->in_max > plain->n ? q->conn->in_max - plain->n : 0;
    struct slice in = buf_slice(&q->raw);
    enum inflate_rc rc;

    if (room == 0 || q->is_over)
        return TRANSPORT_OK;
    timer_start(&q->rest, CONN_DEFLATE_REST_MS, on_rest, q);
    rc = inflater_run(q->in, &in, room, plain, &q->has_more);
    buf_consume(&q->raw, q->raw.n - in.n);
    if (q->raw.n == 0)
        buf_free(&q->raw);
    q->is_over = rc == INFLATE_END;
    if (rc != INFLATE_BAD)
        return q->is_over ? TRANSPORT_CLOSED : TRANSPORT_OK;
    err_set(e, ERR_CLIENT, "the compressed input is damaged");
    return TRANSPORT_FAILED;
}

static enum transport_rc
squeeze_feed(void *state, struct slice *raw, struct buf *plain, struct buf *raw_out, struct err *e)
{
    struct squeeze *q = state;

    (void)raw_out;
    buf_adds(&q->raw, *raw);
    *raw = sl_from(*raw, raw->n);
    return squeeze_pull(q, plain, e);
}

static enum transport_rc
squeeze_send(void *state, struct slice plain, struct buf *raw_out, struct err *e)
{
    struct squeeze *q = state;

    (void)e;
    if (!q->out)
        q->out = deflater_new(q->level);
    deflater_add(q->out, plain, false, raw_out);
    timer_start(&q->rest, CONN_DEFLATE_REST_MS, on_rest, q);
    return TRANSPORT_OK;
}

static bool
squeeze_is_ready(void *state)
{
    (void)state;
    return true;
}

static void
squeeze_say_goodbye(void *state, struct buf *raw_out)
{
    (void)state;
    (void)raw_out;
}

/* What is after the end is nobody's until conn_end_deflate(). */
static size_t
squeeze_buffered(void *state)
{
    const struct squeeze *q = state;

    return q->is_over ? 0 : q->raw.n + q->has_more;
}

static void
squeeze_free(void *state)
{
    struct squeeze *q = state;

    timer_stop(&q->rest);
    deflater_free(&q->out);
    inflater_free(&q->in);
    buf_free(&q->raw);
    free(q);
}

static const struct transport squeeze = { .feed = squeeze_feed,
                                          .send = squeeze_send,
                                          .is_ready = squeeze_is_ready,
                                          .say_goodbye = squeeze_say_goodbye,
                                          .buffered = squeeze_buffered,
                                          .pull = squeeze_pull,
                                          .free = squeeze_free };

void
conn_start_deflate(struct conn *c, int level)
{
    struct squeeze *q = MEM_NEW(struct squeeze);

    q->conn = c;
    q->level = level;
    q->in = inflater_new();
    conn_set_transport(c, &squeeze, q, sl_n(NULL, 0));
}

bool
conn_is_deflated(const struct conn *c)
{
    return c->tr == &squeeze;
}

int
conn_end_deflate(struct conn *c, struct slice last, struct buf *raw)
{
    struct squeeze *q = c->tr_state;

    BUG_ON(!conn_is_deflated(c));
    if (c->is_ended || c->in.n > 0 || squeeze_buffered(q) > 0 || inflater_is_amid(q->in))
        return -1;
    conn_flush(c, false);
    if (c->is_ended || c->out.n > 0)
        return -1;
    if (!q->out)
        q->out = deflater_new(q->level);
    deflater_add(q->out, last, true, raw);
    if (q->is_over)
        c->is_eof = false; /* it was the stream's, not the connection's */
    buf_adds(&c->in, buf_slice(&q->raw));
    squeeze_free(q);
    c->tr = NULL;
    c->tr_state = NULL;
    conn_mark(c);
    return 0;
}

size_t
conn_deflate_octets(const struct conn *c)
{
    const struct squeeze *q = c->tr_state;

    if (!conn_is_deflated(c))
        return 0;
    return sizeof *q + q->raw.cap + deflater_octets(q->out) + inflater_octets(q->in);
}
