/* relay/content.c - content on its way out: smtp_header_checks and its kin (header_checks(5)), where they are configured for
 * this way of speaking. A small message is changed as a whole before the first host is tried; a long one as it flows, so
 * that nobody knows its size before: none is said in MAIL. */
#include "relay/generic.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/loop.h"
#include "session/content_filter.h"
#include "session/smtp_body.h"

#include <stdlib.h>

enum { SHOWN_OCTETS = 200, KEPT_MAX_OCTETS = 256 * 1024 };

struct content {
    struct session *s;
    struct checks_conf checks;
    struct content_filter_conf conf;
    struct header_stage stage; /* generic maps */
    struct content_filter *filter;
    struct smtp_body fit; /* lines end CRLF, whatever the queue has */
    struct buf fitted, out;
    const char *failure; /* NULL: none */
};

static struct lookup_client *lines;

/* Worked out for each configuration, smtp and lmtp. */
static struct {
    struct checks_conf checks;
    bool is_wanted;
} ways[2];

void
content_reload(void)
{
    const struct conf *c = daemon_conf();
    char path[4096];

    for (size_t i = 0; i < COUNT_OF(ways); i++)
        ways[i].is_wanted = checks_conf_init(&ways[i].checks, c, i ? "lmtp_" : "smtp_");
    if (lines == NULL)
        lines = lookup_client_new(daemon_socket_path(c, "private/content", path, sizeof path));
}

bool
content_is_wanted(const struct session *s)
{
    return (ways[s->is_lmtp].is_wanted || generic_is_wanted(s)) && !s->tx.is_probe;
}

/* ---- what the filter gives back ---- */

static const char *
ident(const struct content *c)
{
    return c->s->is_lmtp ? "postfix/lmtp" : "postfix/smtp";
}

static void
on_log(void *arg, const struct filter_line *l)
{
    const struct content *c = arg;
    const char *colon = l->action.text.n ? ": " : "";

    log_event(LOG_LV_INFO, ident(c), "content.check",
              LOG_F(LF_S("qid", c->s->queue_id), LF_Z("action", l->action.log_word),
                    LF_S("text", sl_head(l->text, SHOWN_OCTETS)), LF_S("why", l->action.text)),
              "%.*s: %s: %s %.*s%s%.*s", SL_ARG(c->s->queue_id), l->action.log_word,
              l->is_header ? "header" : "body", SL_ARG(sl_head(l->text, SHOWN_OCTETS)), colon,
              SL_ARG(l->action.text));
}

static void
on_warn(void *arg, const char *text)
{
    log_event(LOG_LV_WARN, ident(arg), "content.config", LOG_NONE, "%s", text);
}

static void
on_cut(void *arg, struct slice field)
{
    const struct content *c = arg;

    log_event(LOG_LV_WARN, ident(c), "header.cut", LOG_F(LF_S("qid", c->s->queue_id)),
              "%.*s: a header field of over %zu octets is cut (header_size_limit): %.*s",
              SL_ARG(c->s->queue_id), c->conf.mime.field_limit, SL_ARG(sl_head(field, 60)));
}

static void
on_mime_error(void *arg, enum mime_error e, struct slice where)
{
    (void)arg, (void)e, (void)where; /* none is asked for */
}

static void
on_body(void *arg, struct slice s)
{
    struct content *c = arg;

    if (c->s->is_small)
        buf_adds(&c->out, s);
    else if (c->s->client)
        smtp_client_body(c->s->client, s);
}

static void
on_field(void *arg, struct slice text, bool is_fixed)
{
    struct buf out = { 0 };

    (void)is_fixed;
    content_filter_lines(text, &out);
    on_body(arg, buf_slice(&out));
    buf_free(&out);
}

static void
on_end_header(void *arg)
{
    (void)arg;
}

static void
on_failed(void *arg, const char *map, const struct err *e)
{
    struct content *c = arg;

    c->failure = map ? "header or body checks lookup error" : "generic maps lookup error";
    if (map)
        log_event(LOG_LV_WARN, ident(c), "content.lookup",
                  LOG_F(LF_S("qid", c->s->queue_id), LF_Z("map", map)), "%.*s: %s lookup error",
                  SL_ARG(c->s->queue_id), map);
    else if (e && e->msg[0])
        log_event(LOG_LV_WARN, ident(c), "content.stage", LOG_F(LF_S("qid", c->s->queue_id)),
                  "%.*s: %s", SL_ARG(c->s->queue_id), e->msg);
}

static void
on_moved(void *arg)
{
    struct content *c = arg;

    if (!c->s->is_small && !content_is_full(c->s))
        server_body_room(c->s);
}

static const struct content_filter_ops ops = { NULL,          on_log,   on_warn,       on_cut,
                                               on_mime_error, on_field, on_end_header, on_body,
                                               on_failed,     on_moved };

/* ---- the stream ---- */

static void
map_addresses(void *arg, uint64_t id, struct header *h, struct header_run *r)
{
    struct content *c = arg;

    (void)id;
    generic_header(c->s, h, r);
}

static void
begin(struct session *s)
{
    struct content *c = MEM_NEW(struct content);
    const struct conf *conf = s->conf;
    const char *const *ask;

    c->s = s;
    c->checks = ways[s->is_lmtp].checks;
    ask = c->checks.ask;
    c->fit.is_chunked = true;
    if (ways[s->is_lmtp].is_wanted)
        c->conf.checks = &c->checks;
    if (generic_is_wanted(s)) {
        c->stage = (struct header_stage){ map_addresses, c };
        c->conf.stages = &c->stage;
        c->conf.n_stages = 1;
    }
    c->conf.lookup = lines;
    c->conf.mime =
        (struct mime_walk_conf){ .field_limit = (size_t)conf->header_size_limit,
                                 .nesting_limit = (size_t)conf->mime_nesting_limit,
                                 .boundary_limit = (size_t)conf->mime_boundary_length_limit };
    c->conf.has_walk = ask[CHECKS_MIME] || ask[CHECKS_NESTED] || ask[CHECKS_BODY];
    c->filter = content_filter_new(&c->conf, &ops, c);
    s->content = c;
}

static void
put(struct content *c, struct slice s)
{
    smtp_body_add(&c->fit, s, &c->fitted);
    content_filter_write(c->filter, buf_slice(&c->fitted));
    buf_reset(&c->fitted);
}

static void
put_end(struct content *c, void (*done)(void *arg))
{
    smtp_body_end(&c->fit, &c->fitted);
    content_filter_write(c->filter, buf_slice(&c->fitted));
    buf_free(&c->fitted);
    content_filter_end(c->filter, done);
}

void
content_free(struct session *s)
{
    struct content *c = s->content;

    s->content = NULL;
    if (c == NULL)
        return;
    content_filter_free(&c->filter);
    buf_free(&c->fitted);
    buf_free(&c->out);
    free(c);
}

/* ---- a small message ---- */

static void
small_later(void *arg)
{
    struct session *s = id_get((uint64_t)(uintptr_t)arg);
    struct content *c;

    if (s == NULL)
        return;
    c = s->content;
    if (c->failure) {
        const char *why = c->failure;

        content_free(s);
        send_defer(s, "4.3.0", why);
        return;
    }
    buf_free(&s->body);
    s->body = c->out;
    c->out = (struct buf){ 0 };
    s->tx.size = s->body.n;
    content_free(s);
    send_start(s);
}

/* Not from inside the filter, which goes. */
static void
small_done(void *arg)
{
    struct content *c = arg;

    loop_defer(small_later, (void *)(uintptr_t)c->s->id);
}

void
content_small(struct session *s)
{
    begin(s);
    put(s->content, buf_slice(&s->body));
    put_end(s->content, small_done);
}

/* ---- a long one ---- */

void
content_flow(struct session *s)
{
    content_free(s);
    begin(s);
}

/* The host hears nothing more, and the message is not complete: what has come is none. */
static bool
give_up(struct content *c)
{
    if (c->failure && c->s->client)
        smtp_client_body_fail(c->s->client, c->failure);
    return c->failure != NULL;
}

static void
flow_done(void *arg)
{
    struct content *c = arg;

    if (!give_up(c) && c->s->client)
        smtp_client_body_end(c->s->client);
}

void
content_write(struct session *s, struct slice some)
{
    put(s->content, some);
    (void)give_up(s->content);
}

void
content_end(struct session *s)
{
    put_end(s->content, flow_done);
}

bool
content_is_full(const struct session *s)
{
    return (s->content && content_filter_kept(s->content->filter) >= KEPT_MAX_OCTETS) ||
           (s->client && smtp_client_is_full(s->client));
}
