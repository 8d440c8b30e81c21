/* smtpd/content.c - a header field is passed on as it comes; only its name is held back until it is known, and the value
 * of Message-ID is looked at on the way. */
#include "smtpd/content.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { NAME_MAX_OCTETS = 1000, MESSAGE_ID_MAX_OCTETS = 998, DATE_OCTETS = 64 };

enum { SEEN_DATE = 1, SEEN_FROM = 2, SEEN_MESSAGE_ID = 4, SEEN_RESENT = 8 };
enum state {
    AT_LINE,    /* the start of a header line is in `held` */
    IN_FIELD,   /* the rest of a line goes out */
    IN_DROPPED, /* the rest of a line is dropped */
    IN_BODY
};

struct content {
    struct smtpd_sess *s;
    struct queue_put *put;
    struct buf held;
    struct buf message_id; /* its value, as far as wanted */
    enum state state;
    unsigned seen;
    unsigned hops;
    bool is_first; /* no line of the client's has come yet */
    bool drops;    /* the field that is going on is dropped */
    bool takes_id;
};

/* "Sun, 22 Nov 2026 15:20:46 +0000 (UTC)". */
static void
date_text(int64_t unix_s, char out[DATE_OCTETS])
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    localtime_r(&t, &tm);
    if (strftime(out, DATE_OCTETS, "%a, %e %b %Y %H:%M:%S %z (%Z)", &tm) == 0)
        out[0] = '\0';
}

static void
put(struct content *c, struct slice s)
{
    if (s.n)
        queue_put_write(c->put, s);
}

static void putf(struct content *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
putf(struct content *c, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    put(c, buf_slice(&b));
    buf_free(&b);
}

/* ---- our trace line ---- */

static void
put_tls(struct content *c)
{
    struct tls_info t;

    if (!c->s->cfg->conf->smtpd_tls_received_header || !tls_info_of(c->s->smtp.conn, &t))
        return;
    putf(c, "\t(using %s with cipher %s (%d/%d bits)", t.protocol, t.cipher, t.bits, t.algbits);
    if (t.key_exchange && t.key_exchange[0])
        putf(c, "\r\n\t key-exchange %s", t.key_exchange);
    putf(c, ")\r\n\t(No client certificate requested)\r\n");
}

/* RFC 3848: ESMTP, with S for TLS and A for AUTH; RFC 6531 §4.3. */
static const char *
protocol_text(const struct smtpd_sess *s)
{
    bool tls = smtp_sess_is_tls(&s->smtp), auth = s->sasl_user != NULL;

    if (s->tx->params.is_utf8)
        return tls ? (auth ? "UTF8SMTPSA" : "UTF8SMTPS") : auth ? "UTF8SMTPA" : "UTF8SMTP";
    if (!s->is_esmtp)
        return "SMTP";
    return tls ? (auth ? "ESMTPSA" : "ESMTPS") : auth ? "ESMTPA" : "ESMTP";
}

static void
put_received(struct content *c)
{
    struct smtpd_sess *s = c->s;
    char ip[ADDR_TEXT_OCTETS], date[DATE_OCTETS];
    const struct conf *conf = s->cfg->conf;

    addr_ip_text(&s->peer, ip);
    date_text(s->tx->began_unix_s, date);
    putf(c, "Received: from %s (%s [%s%s])\r\n", s->helo ? s->helo : s->name, s->name,
         addr_family(&s->peer) == AF_INET6 ? "IPv6:" : "", ip);
    put_tls(c);
    if (conf->smtpd_sasl_authenticated_header && s->sasl_user)
        putf(c, "\t(Authenticated sender: %s)\r\n", s->sasl_user);
    putf(c, "\tby %s (%s) with %s id %s", s->cfg->limits.myhostname, conf->mail_name,
         protocol_text(s), s->tx->id);
    if (s->tx->n_rcpts == 1) {
        struct slice to = smtp_addr_quote(s->tx->first->addr, &s->smtp.cmd);

        putf(c, "\r\n\tfor <%.*s>; %s\r\n", SL_ARG(to), date);
    } else {
        putf(c, ";\r\n\t%s\r\n", date);
    }
}

/* A line that an access table put in front; it may have several lines of its own. */
static void
put_prepended(struct content *c, struct slice line)
{
    put(c, line);
    put(c, SL("\r\n"));
}

/* ---- the end of the header ---- */

static bool
adds_missing(const struct smtpd_sess *s)
{
    const struct smtpd_cfg *cfg = s->cfg;
    bool is_local;

    if (smtpd_xforward_source(s, &is_local))
        return is_local || cfg->conf->always_add_missing_headers;
    if (cfg->conf->always_add_missing_headers || (cfg->add_headers_auth && s->sasl_user) ||
        (cfg->add_headers_mynetworks && netlist_match(&cfg->mynetworks, &s->peer)))
        return true;
    return cfg->add_headers_local && addr_same_ip(&s->local, &s->peer);
}

static void
log_message_id(struct content *c, struct slice id)
{
    if (c->s->tx->wishes.discard)
        return; /* nothing comes of it */
    log_event(LOG_LV_INFO, c->s->cfg->cleanup_ident, "msg.id",
              LOG_F(LF_Z("qid", c->s->tx->id), LF_S("message_id", id)), "%s: %smessage-id=%.*s",
              c->s->tx->id, (c->seen & SEEN_RESENT) ? "resent-" : "", SL_ARG(id));
}

static void
add_missing(struct content *c)
{
    const char *resent = (c->seen & SEEN_RESENT) ? "Resent-" : "";
    struct smtpd_tx *tx = c->s->tx;
    char date[DATE_OCTETS], id[300];
    struct slice from;

    if (!(c->seen & SEEN_MESSAGE_ID)) {
        char stamp[20];
        time_t t = (time_t)clock_unix_s();
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &tm);
        snprintf(id, sizeof(id), "<%s.%s@%s>", stamp, tx->id, c->s->cfg->limits.myhostname);
        putf(c, "%sMessage-Id: %s\r\n", resent, id);
        log_message_id(c, sl_z(id));
        c->seen |= SEEN_MESSAGE_ID;
        c->takes_id = true;
    }
    if (!(c->seen & SEEN_DATE)) {
        date_text(tx->began_unix_s, date);
        putf(c, "%sDate: %s\r\n", resent, date);
    }
    if (!(c->seen & SEEN_FROM)) {
        from = tx->sender.given.n
                   ? smtp_addr_quote(
                         smtp_addr_rewrite(&c->s->cfg->rules, tx->sender.given, &tx->mem), &tx->mem)
                   : SL("MAILER-DAEMON");
        putf(c, "%sFrom: %.*s\r\n", resent, SL_ARG(from));
    }
}

static void
end_header(struct content *c)
{
    bool has_id = (c->seen & SEEN_MESSAGE_ID) != 0;

    if (has_id)
        log_message_id(c, sl_trim(buf_slice(&c->message_id)));
    if (adds_missing(c->s))
        add_missing(c);
    if (!(c->seen & SEEN_MESSAGE_ID))
        log_message_id(c, SL("<>"));
    buf_free(&c->message_id);
    c->state = IN_BODY;
}

/* ---- header fields ---- */

static void
know_field(struct content *c, struct slice name)
{
    struct slice plain = name;
    bool is_resent = sl_take_iprefix(&plain, SL("Resent-"));

    c->drops = sl_ieq(name, SL("Return-Path")) || sl_ieq(name, SL("Content-Length")) ||
               sl_ieq(plain, SL("Bcc"));
    c->takes_id = false;
    if (is_resent &&
        !(c->seen & SEEN_RESENT)) /* from here on the resent block is the one that must be whole */
        c->seen = SEEN_RESENT;
    else if ((c->seen & SEEN_RESENT) && !is_resent)
        plain = SL("");
    if (sl_ieq(plain, SL("Date")))
        c->seen |= SEEN_DATE;
    else if (sl_ieq(plain, SL("From")))
        c->seen |= SEEN_FROM;
    else if (sl_ieq(plain, SL("Message-ID"))) {
        c->seen |= SEEN_MESSAGE_ID;
        c->takes_id = c->message_id.n == 0;
    }
    if (sl_ieq(name, SL("Received")))
        c->hops++;
}

/* What is held is the start of a line: 1 a field whose name is known (with its length), 0 not known yet, -1 no field. */
static int
look_at_name(struct slice held, size_t *name_len)
{
    size_t i = 0;

    while (i < held.n && held.p[i] > ' ' && held.p[i] < 127 && held.p[i] != ':')
        i++;
    *name_len = i;
    if (i == 0 && held.n)
        return -1;
    while (i < held.n && (held.p[i] == ' ' || held.p[i] == '\t'))
        i++;
    if (i == held.n)
        return held.n > NAME_MAX_OCTETS ? -1 : 0;
    return held.p[i] == ':' ? 1 : -1;
}

static void
release_held(struct content *c)
{
    put(c, buf_slice(&c->held));
    buf_free(&c->held);
}

/* The line is no field: the header has ended, with an empty line that we add if it was none. */
static void
not_a_field(struct content *c)
{
    struct slice held = buf_slice(&c->held);
    bool is_mbox;

    while (sl_starts(held, '>'))
        held = sl_from(held, 1);
    is_mbox = c->is_first && sl_has_prefix(held, SL("From "));
    if (is_mbox) {
        put(c, SL("X-Mailbox-Line: "));
        release_held(c);
        c->state = IN_FIELD;
        return;
    }
    end_header(c);
    if (!sl_has_prefix(buf_slice(&c->held), SL("\r\n")))
        put(c, SL("\r\n"));
    release_held(c);
}

/* Enough of a line's start has come to say what it is? */
static void
start_of_line(struct content *c)
{
    struct slice held = buf_slice(&c->held);
    size_t name_len;
    int known;

    if (sl_starts(held, '\r')) { /* canonical: LF follows */
        if (held.n > 1)
            not_a_field(c);
        return;
    }
    if (!c->is_first && (sl_starts(held, ' ') || sl_starts(held, '\t'))) {
        c->state = c->drops ? IN_DROPPED : IN_FIELD;
    } else {
        known = look_at_name(held, &name_len);
        if (known == 0)
            return;
        if (known < 0) { /* an mbox line needs six octets to be known */
            if (held.n < 6 && c->is_first && !sl_ends(held, '\n') &&
                sl_has_prefix(SL("From "), held))
                return;
            not_a_field(c);
            c->is_first = false;
            return;
        }
        know_field(c, sl_head(held, name_len));
        c->state = c->drops ? IN_DROPPED : IN_FIELD;
        /* Blanks before the colon are obsolete (RFC 5322 §4.5) and go. The colon is the last octet held. */
        buf_truncate(&c->held, name_len);
        buf_addc(&c->held, ':');
    }
    c->is_first = false;
    if (c->drops)
        buf_free(&c->held);
    else
        release_held(c);
}

static void
rest_of_line(struct content *c, struct slice *in)
{
    size_t lf = sl_find_char(*in, '\n');
    struct slice part = lf == SL_NPOS ? *in : sl_head(*in, lf + 1);

    if (c->state == IN_FIELD)
        put(c, part);
    if (c->takes_id && c->message_id.n < MESSAGE_ID_MAX_OCTETS)
        buf_adds(&c->message_id, sl_head(part, MESSAGE_ID_MAX_OCTETS - c->message_id.n));
    *in = sl_from(*in, part.n);
    if (lf != SL_NPOS) {
        c->state = AT_LINE;
    }
}

void
content_write(struct content *c, struct slice in)
{
    while (in.n) {
        if (c->state == IN_BODY) {
            put(c, in);
            return;
        }
        if (c->state == AT_LINE) { /* one octet at a time, of a name only */
            buf_addc(&c->held, in.p[0]);
            in = sl_from(in, 1);
            start_of_line(c);
        } else {
            rest_of_line(c, &in);
        }
    }
}

void
content_end(struct content *c)
{
    if (c->state == IN_BODY)
        return;
    if (c->held
            .n) { /* an unfinished name: canonical content ends in CRLF, so this is a line of it */
        not_a_field(c);
        return;
    }
    end_header(c);
}

bool
content_has_looped(const struct content *c)
{
    return c->hops >= (unsigned)c->s->cfg->conf->hopcount_limit;
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
    return n;
}

struct content *
content_new(struct smtpd_sess *s)
{
    struct content *c = MEM_NEW(struct content);

    c->s = s;
    c->put = queue_put_new(smtpd_env.queue);
    c->is_first = true;
    c->hops = 1; /* our own */
    for (const struct tx_line *l = s->tx->wishes.prepend; l; l = l->next)
        put_prepended(c, l->text);
    put_received(c);
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
    if (old->put)
        queue_put_abort(&old->put);
    buf_free(&old->held);
    buf_free(&old->message_id);
    free(old);
}
