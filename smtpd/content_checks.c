/* smtpd/content_checks.c - what header and body checks want done with a message: header_checks(5). The log has the lines of
 * Postfix's cleanup. */
#include "smtpd/content_int.h"

#include "base/log.h"
#include "smtpd/access.h"

#include <stdio.h>

enum { SHOWN_OCTETS = 200, SHOWN_MIME_OCTETS = 100 };

#define NOT_NOW "451 4.3.0 Error: queue file write error"

/* ---- the log ---- */

static void
add_envelope(struct content *c, struct buf *b)
{
    struct smtpd_tx *tx = c->s->tx;
    const struct smtpd_rcpt *to = tx->first;

    while (to && to->next)
        to = to->next;
    buf_addf(b, " from=<%.*s>", SL_ARG(smtp_addr_quote(tx->sender.given, &c->s->smtp.cmd)));
    if (to)
        buf_addf(b, " to=<%.*s>", SL_ARG(smtp_addr_quote(to->addr, &c->s->smtp.cmd)));
}

/* "name[address]", or what Postfix calls a message from maildrop/. */
static void
add_origin(struct content *c, struct smtpd_origin *from, struct buf *b)
{
    char ip[ADDR_TEXT_OCTETS];

    if (c->s->pickup) {
        *from = (struct smtpd_origin){ 0 };
        buf_addz(b, " from local;");
    } else {
        smtpd_origin(c->s, ip, from);
        buf_addf(b, " from %.*s[%.*s];", SL_ARG(from->name), SL_ARG(from->ip));
    }
    from->ip = SL(""); /* it was in ip */
    add_envelope(c, b);
}

static void
log_action(struct content *c, const struct filter_line *l, struct slice text)
{
    struct smtpd_origin from;
    struct buf b = { 0 };

    buf_addf(&b, "%s: %s: %s %.*s", c->s->tx->id, l->action.log_word,
             l->is_header ? "header" : "body", SL_ARG(sl_head(l->text, SHOWN_OCTETS)));
    add_origin(c, &from, &b);
    if (from.protocol.n)
        buf_addf(&b, " proto=%.*s", SL_ARG(from.protocol));
    if (from.helo.n)
        buf_addf(&b, " helo=<%.*s>", SL_ARG(from.helo));
    if (text.n)
        buf_addf(&b, ": %.*s", SL_ARG(text));
    log_event(LOG_LV_INFO, c->s->cfg->cleanup_ident, "content.check",
              LOG_F(LF_Z("qid", c->s->tx->id), LF_Z("action", l->action.log_word),
                    LF_S("text", sl_head(l->text, SHOWN_OCTETS)), LF_S("why", text)),
              "%s", buf_z(&b));
    buf_free(&b);
}

void
content_log_action(void *arg, const struct filter_line *l)
{
    log_action(arg, l, l->action.text);
}

void
content_warn(void *arg, const char *text)
{
    const struct content *c = arg;

    log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "content.config",
              LOG_F(LF_Z("qid", c->s->tx->id)), "%s", text);
}

static void warnf(struct content *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
warnf(struct content *c, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    content_warn(c, buf_z(&b));
    buf_free(&b);
}

/* ---- the end of a message ---- */

static enum filter_verdict
refuse(struct content *c, const char *reply)
{
    c->refusal = reply ? reply : NOT_NOW;
    return FILTER_END;
}

static enum filter_verdict
do_reject(struct content *c, const struct filter_line *l)
{
    struct slice text = l->action.text.n ? l->action.text : SL("message content rejected");
    char *why = access_dsn_length(text) ? arena_printf(&c->s->tx->mem, "%.*s", SL_ARG(text))
                                        : arena_printf(&c->s->tx->mem, "5.7.1 %.*s", SL_ARG(text));

    if (why == NULL)
        return refuse(c, NULL);
    if (why[0] != '4' && why[0] != '5') {
        warnf(c, "bad DSN action in %.*s -- need 4.x.x or 5.x.x", SL_ARG(text));
        why[0] = '4';
    }
    log_action(c, l, sl_z(why));
    return refuse(c, arena_printf(&c->s->tx->mem, "%s %s", why[0] == '4' ? "451" : "550", why));
}

/* Who configured a filter must not find mail unfiltered. */
static enum filter_verdict
do_filter(struct content *c, const struct filter_line *l)
{
    if (l->action.text.n == 0) {
        warnf(c, "missing FILTER command argument in %s map", l->map);
        return FILTER_KEEP;
    }
    if (sl_find_char(l->action.text, ':') == SL_NPOS) {
        warnf(c, "bad FILTER command %.*s in %s -- need transport:destination",
              SL_ARG(l->action.text), l->map);
        return FILTER_KEEP;
    }
    log_action(c, l, l->action.text);
    warnf(c, "%s: content filters are not supported: %.*s", l->map, SL_ARG(l->action.text));
    return refuse(c, NULL);
}

/* ---- wishes ---- */

static struct slice
keep(struct content *c, struct slice text)
{
    return arena_dup(&c->s->tx->mem, text);
}

static bool
has_target(struct content *c, const struct filter_line *l, const char *what)
{
    if (sl_find_char(l->action.text, '@') != SL_NPOS)
        return true;
    warnf(c, "bad %s \"%.*s\" in %s map -- need user@domain", what, SL_ARG(l->action.text), l->map);
    return false;
}

static enum filter_verdict
do_hold(struct content *c, const struct filter_line *l)
{
    struct tx_wishes *w = &c->s->tx->wishes;

    if (w->hold || w->discard)
        return FILTER_KEEP;
    log_action(c, l, l->action.text);
    w->hold = l->action.text.n ? arena_dupz(&c->s->tx->mem, l->action.text)
              : l->is_header   ? "header check"
                               : "body check";
    return w->hold ? FILTER_KEEP : refuse(c, NULL);
}

static enum filter_verdict
do_redirect(struct content *c, const struct filter_line *l)
{
    if (!has_target(c, l, "REDIRECT target"))
        return FILTER_KEEP;
    log_action(c, l, l->action.text);
    c->s->tx->wishes.redirect = keep(c, l->action.text);
    return c->s->tx->wishes.redirect.n ? FILTER_OFF : refuse(c, NULL);
}

static enum filter_verdict
do_bcc(struct content *c, const struct filter_line *l)
{
    struct tx_line **end = &c->s->tx->wishes.bcc;

    if (!has_target(c, l, "BCC address"))
        return FILTER_KEEP;
    log_action(c, l, l->action.text);
    for (; *end; end = &(*end)->next)
        if (sl_eq((*end)->text, l->action.text))
            return FILTER_KEEP;
    *end = ARENA_NEW(&c->s->tx->mem, struct tx_line);
    if (*end == NULL)
        return refuse(c, NULL);
    (*end)->text = keep(c, l->action.text);
    return (*end)->text.n ? FILTER_KEEP : refuse(c, NULL);
}

enum filter_verdict
content_act(void *arg, const struct filter_line *l)
{
    struct content *c = arg;

    switch (l->action.kind) {
    case CHECKS_REJECT:
        return do_reject(c, l);
    case CHECKS_FILTER:
        return do_filter(c, l);
    case CHECKS_HOLD:
        return do_hold(c, l);
    case CHECKS_REDIRECT:
        return do_redirect(c, l);
    case CHECKS_BCC:
        return do_bcc(c, l);
    case CHECKS_PASS:
        log_action(c, l, l->action.text);
        return FILTER_OFF;
    case CHECKS_DISCARD:
        log_action(c, l, l->action.text);
        c->s->tx->wishes.discard = true;
        return FILTER_END;
    default:
        return FILTER_UNKNOWN;
    }
}

/* ---- trouble ---- */

void
content_mime_error(void *arg, enum mime_error e, struct slice where)
{
    struct content *c = arg;
    struct smtpd_origin from;
    struct buf b = { 0 };

    add_origin(c, &from, &b);
    log_event(LOG_LV_INFO, c->s->cfg->cleanup_ident, "content.mime",
              LOG_F(LF_Z("qid", c->s->tx->id)), "%s: reject: mime-error %s: %.*s%s", c->s->tx->id,
              mime_error_text(e), SL_ARG(sl_head(where, SHOWN_MIME_OCTETS)), buf_z(&b));
    buf_free(&b);
    if (c->mime_error == 0 || e < c->mime_error)
        c->mime_error = e;
}

void
content_failed(void *arg, const char *map, const struct err *e)
{
    struct content *c = arg;

    if (map)
        log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "content.lookup",
                  LOG_F(LF_Z("qid", c->s->tx->id), LF_Z("map", map)),
                  "%s: %s map lookup problem -- message not accepted, try again later",
                  c->s->tx->id, map);
    else if (e && e->msg[0])
        log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "content.stage",
                  LOG_F(LF_Z("qid", c->s->tx->id)), "%s: %s", c->s->tx->id, e->msg);
    if (c->refusal == NULL)
        c->refusal = NOT_NOW;
}

const char *
content_refusal(const struct content *c)
{
    static char text[128]; /* until the next call: the reply is made of it at once */

    if (c->refusal)
        return c->refusal;
    if (c->s->tx->wishes.discard)
        return NULL;
    if (c->hops >= (unsigned)c->s->cfg->conf->hopcount_limit)
        return "554 5.4.0 Error: too many hops";
    if (c->mime_error == 0)
        return NULL;
    snprintf(text, sizeof text, "550 5.6.0 %s", mime_error_text(c->mime_error));
    return text;
}
