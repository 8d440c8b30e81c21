/* smtpd/content.c - content goes through a filter (session/content_filter.h) on its way to the queue. */
#include "smtpd/content_int.h"

#include "base/mem.h"
#include "core/loop.h"
#include "smtpd/received.h"
#include "smtpd/rewrite.h"

#include <stdlib.h>

void
content_put(struct content *c, struct slice s)
{
    if (s.n)
        queue_put_write(c->put, s);
}

/* ---- what the filter gives back ---- */

static void
on_field(void *arg, struct slice text, bool is_fixed)
{
    content_take_field(arg, text, is_fixed);
}

static void
on_cut(void *arg, struct slice text)
{
    content_log_cut(arg, text);
}

static void
on_end_header(void *arg)
{
    content_end_header(arg);
}

static void
on_body(void *arg, struct slice s)
{
    content_put(arg, s);
}

static void
on_moved(void *arg)
{
    struct content *c = arg;

    if (content_backlog(c) < SMTP_BACKLOG_OCTETS)
        smtp_sess_backlog_fell(&c->s->smtp);
}

static const struct content_filter_ops ops = {
    content_act, content_log_action, content_warn, on_cut,         content_mime_error,
    on_field,    on_end_header,      on_body,      content_failed, on_moved
};

/* ---- stages that wait ---- */

static void
map_addresses(void *arg, uint64_t id, struct header *h, struct header_run *r)
{
    struct content *c = arg;

    (void)id;
    rewrite_header(c->s, h, r);
}

/* After the checks, in this order, on batches of the client's fields. */
static size_t
find_stages(struct content *c)
{
    size_t n = 0;

    if (rewrite_has_headers(c->s))
        c->stages[n++] = (struct header_stage){ map_addresses, c };
    return n;
}

static void
configure(struct content *c)
{
    const struct smtpd_cfg *g = c->s->cfg;

    c->conf.checks = g->has_checks ? &g->checks : NULL;
    c->conf.lookup = smtpd_env.lines;
    c->conf.mime = g->mime;
    if (pickup_is_return(c->s->pickup)) { /* it was looked at when it was refused */
        c->conf.checks = NULL;
        return;
    }
    c->conf.has_walk = g->looks_into_body;
    c->conf.n_stages = find_stages(c);
    c->conf.stages = c->stages;
}

/* ---- the stream ---- */

void
content_write(struct content *c, struct slice in)
{
    content_filter_write(c->filter, in);
}

static void
on_end(void *arg)
{
    struct content *c = arg;

    c->done(c->s);
}

void
content_end(struct content *c, void (*done)(struct smtpd_sess *s))
{
    c->done = done;
    content_filter_end(c->filter, on_end);
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
    return n + content_filter_kept(c->filter);
}

/* ---- beginning and end ---- */

/* "Received: from a\r\n\tby b...\r\n" as a field: header_checks can take our own out. */
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
    content_filter_add(c->filter, buf_slice(&text));
    buf_free(&text);
}

/* What smtpd itself puts in front. */
static void
put_front(struct content *c)
{
    struct buf trace = { 0 };

    for (const struct tx_line *l = c->s->tx->wishes.prepend; l; l = l->next)
        content_filter_add(c->filter, l->text);
    received_line(c->s, &trace);
    if (c->conf.checks) {
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

    c->s = s;
    c->put = queue_put_new(smtpd_env.queue);
    configure(c);
    c->filter = content_filter_new(&c->conf, &ops, c);
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
    content_filter_free(&old->filter);
    if (old->put)
        queue_put_abort(&old->put);
    free(old);
}
