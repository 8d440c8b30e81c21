/* smtpd/content.c - a header field is gathered, looked at when it is whole, and passed on; the body streams through.
 * Where stages have to ask others (stages_of()), the header's fields go through them in batches, and what the client
 * sends meanwhile waits here, which content_backlog() counts. Where there are none nothing is gathered. */
#include "smtpd/content_int.h"

#include "base/mem.h"
#include "smtpd/received.h"

#include <stdlib.h>

void
content_put(struct content *c, struct slice s)
{
    if (s.n)
        queue_put_write(c->put, s);
}

/* ---- stages that wait ---- */

/* In this order, on batches of the client's fields. */
static void
find_stages(struct content *c)
{
    c->n_stages = 0;
}

static void go_on(struct content *c);

static void
on_batch(uint64_t id, int rc, struct header *h, const struct err *e)
{
    struct content *c = id_get(id);

    (void)e;
    c->is_waiting = false;
    if (rc && !c->is_dropped) {
        c->is_dropped = true;
        c->refusal = "451 4.3.0 Error: queue file write error";
    }
    for (struct header_field *f = h->first; f && !c->is_dropped; f = f->next)
        content_take_field(c, buf_slice(&f->text), f->is_fixed);
    if (!c->is_running)
        go_on(c);
}

static void
send_batch(struct content *c)
{
    if (c->batch.n == 0)
        return;
    c->is_waiting = true;
    header_run_start(&c->batch, c->stages, c->n_stages, on_batch, c->id);
}

/* ---- the stream ---- */

static void
on_field(void *arg, struct slice text, bool is_cut)
{
    struct content *c = arg;

    if (is_cut)
        content_log_cut(c, text);
    if (c->n_stages)
        header_add(&c->batch, text);
    else
        content_take_field(c, text, false);
}

static void
take_header(struct content *c, struct slice *in)
{
    if (header_split_take(&c->split, in, &c->rest))
        c->state = CONTENT_HEADER_END;
    if (c->state == CONTENT_HEADER_END || c->batch.octets >= HEADER_BATCH_OCTETS)
        send_batch(c);
}

/* All of the header is through. */
static void
begin_body(struct content *c)
{
    content_end_header(c);
    header_split_free(&c->split);
    c->state = CONTENT_BODY;
    content_put(c, buf_slice(&c->rest));
    buf_free(&c->rest);
}

/* As much of in as can be now. */
static void
take(struct content *c, struct slice *in)
{
    while (!c->is_waiting && !c->is_dropped) {
        if (c->state == CONTENT_HEADER_END)
            begin_body(c);
        else if (in->n == 0)
            return;
        else if (c->state == CONTENT_HEADER)
            take_header(c, in);
        else {
            content_put(c, *in);
            *in = sl_from(*in, in->n);
        }
    }
}

/* The client has said all. */
static void
finish(struct content *c)
{
    void (*done)(struct smtpd_sess * s) = c->done;

    c->is_running = true;
    if (c->state == CONTENT_HEADER && !c->is_dropped) {
        header_split_end(&c->split, &c->rest);
        c->state = CONTENT_HEADER_END;
        send_batch(c);
    }
    take(c, &(struct slice){ 0 });
    c->is_running = false;
    if (c->is_waiting && !c->is_dropped)
        return;
    c->done = NULL;
    done(c->s);
}

/* After a wait. */
static void
go_on(struct content *c)
{
    struct smtp_sess *s = &c->s->smtp;
    struct slice in = buf_slice(&c->kept);
    size_t n = in.n;

    c->is_running = true;
    take(c, &in);
    c->is_running = false;
    buf_consume(&c->kept, c->is_dropped ? n : n - in.n);
    if (c->done && c->kept.n == 0)
        finish(c);
    else if (content_backlog(c) < SMTP_BACKLOG_OCTETS)
        smtp_sess_backlog_fell(s);
}

void
content_write(struct content *c, struct slice in)
{
    if (c->is_dropped)
        return;
    if (c->kept.n == 0) {
        c->is_running = true;
        take(c, &in);
        c->is_running = false;
    }
    buf_adds(&c->kept, in);
}

void
content_end(struct content *c, void (*done)(struct smtpd_sess *s))
{
    c->done = done;
    if (!c->is_waiting)
        finish(c);
}

const char *
content_refusal(const struct content *c)
{
    if (c->refusal)
        return c->refusal;
    return c->hops >= (unsigned)c->s->cfg->conf->hopcount_limit ? "554 5.4.0 Error: too many hops"
                                                                : NULL;
}

static void
on_ready(uint64_t id)
{
    struct smtp_sess *s = id_get(id);

    if (s)
        smtp_sess_backlog_fell(s);
}

size_t
content_backlog(struct content *c)
{
    size_t n = queue_put_backlog(c->put);

    if (n >= SMTP_BACKLOG_OCTETS) /* the client is about to be held up: wake it again, this time */
        queue_put_on_ready(c->put, on_ready, c->s->smtp.id);
    return n + c->kept.n;
}

/* ---- beginning and end ---- */

/* "Received: from a\r\n\tby b...\r\n" as a field. */
static void
put_trace_field(struct content *c, struct slice lines)
{
    struct buf text = { 0 };
    struct slice line;

    while (sl_take_until(&lines, '\n', &line)) {
        if (text.n)
            buf_addc(&text, '\n');
        buf_adds(&text, sl_head(line, line.n - 1));
    }
    on_field(c, buf_slice(&text), false);
    buf_free(&text);
}

/* What smtpd itself puts in front. Stages see it: header_checks can take our Received line out. */
static void
put_front(struct content *c)
{
    struct buf trace = { 0 };

    for (const struct tx_line *l = c->s->tx->wishes.prepend; l; l = l->next)
        on_field(c, l->text, false);
    received_line(c->s, &trace);
    if (c->n_stages) {
        put_trace_field(c, buf_slice(&trace));
    } else {
        c->hops = 1;
        content_put(c, buf_slice(&trace));
    }
    buf_free(&trace);
}

struct content *
content_new(struct smtpd_sess *s)
{
    struct content *c = MEM_NEW(struct content);

    c->id = id_add(c);
    c->s = s;
    c->put = queue_put_new(smtpd_env.queue);
    c->split.limit = (size_t)s->cfg->conf->header_size_limit;
    c->split.field = on_field;
    c->split.arg = c;
    c->split.has_mbox = true;
    header_init(&c->batch);
    find_stages(c);
    put_front(c);
    return c;
}

struct queue_put *
content_take_put(struct content **c)
{
    struct queue_put *p = (*c)->put;

    (*c)->put = NULL;
    content_free(c);
    return p;
}

void
content_free(struct content **c)
{
    struct content *old = *c;

    *c = NULL;
    if (old == NULL)
        return;
    id_del(old->id);
    if (old->put)
        queue_put_abort(&old->put);
    header_split_free(&old->split);
    header_clear(&old->batch);
    buf_free(&old->rest);
    buf_free(&old->kept);
    free(old);
}
