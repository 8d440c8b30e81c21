/* session/smtp_client.c - the connection: replies, time limits, the end. See smtp_client.h. */
#include "session/smtp_client_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Texts as Postfix has them: "while <while_text>", "(in reply to <command>)". */
static const struct {
    const char *while_text, *command;
} stages[STAGE_COUNT] = {
    [STAGE_CONNECT] = { "connecting", "connection" },
    [STAGE_GREETING] = { "receiving the initial server greeting", "greeting" },
    [STAGE_HELO] = { "performing the EHLO handshake", "EHLO command" },
    [STAGE_STARTTLS] = { "performing the STARTTLS handshake", "STARTTLS command" },
    [STAGE_HANDSHAKE] = { "performing the TLS handshake", "TLS handshake" },
    [STAGE_AUTH] = { "performing the EHLO handshake", "AUTH command" },
    [STAGE_XFORWARD] = { "sending XFORWARD command", "XFORWARD command" },
    [STAGE_XROUTE] = { "sending XROUTE command", "XROUTE command" },
    [STAGE_MAIL] = { "sending MAIL FROM", "MAIL FROM command" },
    [STAGE_RCPT] = { "sending RCPT TO", "RCPT TO command" },
    [STAGE_DATA] = { "sending DATA command", "DATA command" },
    [STAGE_BODY] = { "sending message body", "message body" },
    [STAGE_CHUNK] = { "sending message body", "BDAT command" },
    [STAGE_DOT] = { "sending end of data -- message may be sent more than once",
                    "end of DATA command" },
    [STAGE_RSET] = { "sending RSET", "RSET command" },
    [STAGE_QUIT] = { "sending QUIT", "QUIT command" },
    [STAGE_IDLE] = { "idle", "no command" },
};

static uint64_t
stage_ms(const struct smtp_client *c, enum stage stage)
{
    const struct smtp_times *t = &c->o.times;

    switch (stage) {
    case STAGE_CONNECT:
        return t->connect;
    case STAGE_GREETING:
        return t->greeting;
    case STAGE_HELO:
    case STAGE_AUTH:
        return t->helo;
    case STAGE_STARTTLS:
    case STAGE_HANDSHAKE:
        return t->starttls;
    case STAGE_XFORWARD:
    case STAGE_XROUTE:
        return t->xforward;
    case STAGE_MAIL:
        return t->mail;
    case STAGE_RCPT:
        return t->rcpt;
    case STAGE_DATA:
        return t->data_init;
    case STAGE_BODY:
    case STAGE_CHUNK:
        return t->data_xfer;
    case STAGE_DOT:
        return t->data_done;
    case STAGE_RSET:
        return t->rset;
    case STAGE_QUIT:
        return t->quit;
    case STAGE_IDLE:
    case STAGE_COUNT:
        break;
    }
    return 0;
}

void
client_set_stage(struct smtp_client *c, enum stage stage)
{
    c->stage = stage;
    conn_set_deadline(c->conn, stage_ms(c, stage));
}

void
client_expect(struct smtp_client *c, enum stage stage, uint32_t rcpt)
{
    if (c->expect_at == c->expect_n) {
        c->expect_at = c->expect_n = 0;
        c->is_early = stage != STAGE_GREETING && conn_has_input(c->conn);
    }
    c->expects = mem_grow(c->expects, &c->expect_cap, c->expect_n + 1, sizeof *c->expects);
    c->expects[c->expect_n++] = (struct expect){ stage, rcpt };
    if (client_awaited(c) == 1)
        client_set_stage(c, stage);
}

size_t
client_awaited(const struct smtp_client *c)
{
    return c->expect_n - c->expect_at;
}

/* ---- results ---- */

void
client_result_of_reply(struct smtp_client *c, enum stage stage, struct smtp_result *r,
                       struct buf *text)
{
    const struct smtp_reply *p = &c->reply;

    memset(r, 0, sizeof *r);
    buf_reset(text);
    r->code = p->code;
    /* 3xx is no answer to anything but DATA, which looks at the code itself: never a delivery. */
    r->outcome = p->code / 100 == 2 ? SMTP_SENT : p->code < 500 ? SMTP_DEFERRED : SMTP_FAILED;
    memcpy(r->dsn, p->code / 100 == 3 ? "4.0.0" : p->dsn, p->code / 100 == 3 ? 6 : sizeof r->dsn);
    if (r->outcome == SMTP_SENT) {
        smtp_reply_one_line(p, text);
    } else if (stage > STAGE_HELO && stage < STAGE_COUNT) {
        buf_addf(text, "host %s said: ", c->host);
        smtp_reply_one_line(p, text);
        buf_addf(text, " (in reply to %s)", stages[stage].command);
    } else {
        buf_addf(text, "host %s refused to talk to me: ", c->host);
        smtp_reply_one_line(p, text);
    }
    r->text = buf_slice(text);
    r->reply = buf_slice(&p->text);
}

void
client_result_lost(struct smtp_client *c, bool is_timeout, struct smtp_result *r, struct buf *text)
{
    const char *doing = stages[c->stage].while_text;

    memset(r, 0, sizeof *r);
    buf_reset(text);
    r->outcome = SMTP_DEFERRED;
    r->is_lost = true;
    r->is_timeout = is_timeout;
    r->maybe_sent = c->in_tx && c->is_body_out;
    r->is_tls = c->stage == STAGE_HANDSHAKE;
    r->is_connect = c->stage == STAGE_CONNECT;
    if (c->stage == STAGE_HELO && c->o.is_lmtp)
        doing = "performing the LHLO handshake";
    else if (c->stage == STAGE_HELO && !c->tried_ehlo)
        doing = "performing the HELO handshake";
    if (c->stage == STAGE_CONNECT) {
        memcpy(r->dsn, "4.4.1", 6);
        buf_addf(text, "connect to %s: Connection timed out", c->peer);
    } else {
        memcpy(r->dsn, "4.4.2", 6);
        buf_addf(text,
                 is_timeout ? "conversation with %s timed out while %s"
                            : "lost connection with %s while %s",
                 c->host, doing);
    }
    r->text = buf_slice(text);
}

void
client_give_up(struct smtp_client *c, const struct smtp_result *r)
{
    if (!c->has_why) {
        c->has_why = true;
        buf_adds(&c->why_text, r->text);
        c->why = *r;
        c->why.reply = SL("");
    }
    c->is_closing = true;
    conn_abort(c->conn);
}

void
client_fail(struct smtp_client *c, const char *dsn, const char *fmt, ...)
{
    struct smtp_result r = { .outcome = dsn[0] == '5' ? SMTP_FAILED : SMTP_DEFERRED };
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    snprintf(r.dsn, sizeof r.dsn, "%s", dsn);
    r.is_tls = c->stage == STAGE_HANDSHAKE || c->stage == STAGE_STARTTLS;
    r.maybe_sent = c->in_tx && c->is_body_out;
    r.text = buf_slice(&text);
    client_give_up(c, &r);
    buf_free(&text);
}

/* ---- replies ---- */

/* It came before the question, so it is no answer to it; but a server that closes may say so at any time. */
static void
on_early(struct smtp_client *c)
{
    struct buf words = { 0 };

    smtp_reply_one_line(&c->reply, &words);
    client_fail(c, "4.5.0", "host %s said before it was asked: %s", c->host, buf_z(&words));
    buf_free(&words);
}

static void
on_reply(struct smtp_client *c)
{
    struct expect x;

    if (client_awaited(c) == 0) {
        client_refuse(c, c->is_body_on ? STAGE_BODY : STAGE_IDLE); /* mostly 421 before closing */
        return;
    }
    x = c->expects[c->expect_at];
    if (c->reply.code == 421 && x.stage > STAGE_AUTH && x.stage != STAGE_QUIT) {
        client_refuse(c, x.stage);
        return;
    }
    if (c->is_early && c->reply.code != 421) {
        on_early(c);
        return;
    }
    if (x.stage != STAGE_DOT) /* DOT stays until each recipient has its reply */
        c->expect_at++;
    switch (x.stage) {
    case STAGE_GREETING:
        client_hello_greeting(c);
        break;
    case STAGE_HELO:
        client_hello_reply(c);
        break;
    case STAGE_STARTTLS:
        client_hello_starttls(c);
        break;
    case STAGE_AUTH:
        client_sasl_reply(c);
        break;
    case STAGE_QUIT:
        c->is_closing = true;
        conn_close(c->conn);
        break;
    default:
        c->has_answered = true;
        client_tx_reply(c, x);
        break;
    }
    if (!c->is_closing && client_awaited(c) > 0 && c->stage != STAGE_HANDSHAKE &&
        c->stage != STAGE_BODY)
        client_set_stage(c, c->expects[c->expect_at].stage);
}

static void
on_input(struct conn *conn, void *arg)
{
    struct smtp_client *c = arg;

    while (!c->is_closing) {
        struct slice line;
        struct err e = { 0 };
        enum frame_rc rc = conn_take_line(conn, SMTP_REPLY_LINE_OCTETS, LINE_LF_TOO, &line);
        enum parse_rc parsed;

        if (rc == FRAME_MORE) {
            if (c->is_tcp && client_awaited(c) > 0)
                conn_ack_now(conn); /* what it has to say next may wait for that */
            return;
        }
        if (rc == FRAME_END) {
            conn_abort(conn);
            return;
        }
        if (rc == FRAME_TOO_LONG) {
            client_fail(c, "4.5.0", "host %s sent a line of more than %d octets", c->host,
                        SMTP_REPLY_LINE_OCTETS);
            return;
        }
        if (c->stage == STAGE_HANDSHAKE)
            continue;
        parsed = smtp_reply_take(&c->reply, line, &e);
        if (parsed == PARSE_MORE)
            continue;
        if (parsed == PARSE_BAD)
            client_fail(c, "4.5.0", "host %s: %s while %s", c->host, e.msg,
                        stages[c->stage].while_text);
        else
            on_reply(c);
        smtp_reply_reset(&c->reply);
    }
}

static void
on_connect(struct conn *conn, void *arg)
{
    struct smtp_client *c = arg;

    if (!c->o.is_wrapper) {
        client_expect(c, STAGE_GREETING, 0);
        return;
    }
    client_set_stage(c, STAGE_HANDSHAKE);
    tls_start_client(conn, c->o.tls, c->o.expect);
}

static void
on_secure(struct conn *conn, void *arg)
{
    struct smtp_client *c = arg;

    (void)conn;
    if (c->is_closing)
        return;
    c->is_tls = true;
    client_hello_secure(c);
}

static void
on_drain(struct conn *conn, void *arg)
{
    struct smtp_client *c = arg;

    (void)conn;
    if (c->stage == STAGE_BODY)
        client_set_stage(c, STAGE_BODY); /* the peer takes content: the clock starts anew */
    if (!c->is_closing && c->ops->on_drain)
        c->ops->on_drain(c, c->arg);
}

static void
on_deadline(struct conn *conn, void *arg)
{
    struct smtp_client *c = arg;
    struct smtp_result r;
    struct buf text = { 0 };

    (void)conn;
    client_result_lost(c, true, &r, &text);
    client_give_up(c, &r);
    buf_free(&text);
}

static void
client_free(struct smtp_client *c)
{
    client_tx_free(c);
    client_sasl_free(c);
    smtp_reply_free(&c->reply);
    buf_free(&c->why_text);
    tls_unref(&c->o.tls);
    free(c->expects);
    free(c->helo_name);
    free(c->peer);
    free(c->host);
    free(c->loop_name);
    free(c->loop_nexthop);
    free(c);
}

static void
on_close(struct conn *conn, void *arg, enum conn_end end, const struct err *why)
{
    struct smtp_client *c = arg;

    (void)conn;
    if (!c->has_why) {
        struct smtp_result r;
        struct buf text = { 0 };

        client_result_lost(c, end == CONN_END_TIMEOUT, &r, &text);
        if (c->stage == STAGE_CONNECT) {
            buf_reset(&text);
            buf_addf(&text, "connect to %s: %s", c->peer,
                     why && why->sys ? strerror(why->sys) : "failed");
            r.text = buf_slice(&text);
        } else if (c->stage == STAGE_HANDSHAKE) {
            buf_reset(&text);
            memcpy(r.dsn, "4.7.5", 6);
            buf_addf(&text, "Cannot start TLS: handshake failure with %s: %s", c->host,
                     why ? why->msg : "closed");
            r.text = buf_slice(&text);
        }
        buf_adds(&c->why_text, r.text);
        c->why = r;
        c->why.reply = SL("");
        buf_free(&text);
    }
    c->why.text = buf_slice(&c->why_text);
    c->is_closing = true;
    c->conn = NULL;
    if (c->in_tx)
        client_tx_tell_rest(c, &c->why);
    c->ops->on_closed(c, c->arg, &c->why);
    client_free(c);
}

static const struct conn_ops conn_ops = {
    .on_input = on_input,
    .on_drain = on_drain,
    .on_deadline = on_deadline,
    .on_connect = on_connect,
    .on_secure = on_secure,
    .on_close = on_close,
};

/* ---- beginning and end ---- */

/* "mx.example.com[192.0.2.1]": so Postfix names a host that it speaks to; only what it cannot connect to has a port. */
static struct slice
without_port(struct slice peer)
{
    size_t at = sl_rfind_char(peer, ']');

    return at == SL_NPOS ? peer : sl_head(peer, at + 1);
}

static struct smtp_client *
client_new(const struct smtp_client_opts *o, const struct smtp_client_ops *ops, void *arg)
{
    struct smtp_client *c = MEM_NEW(struct smtp_client);

    c->o = *o;
    c->helo_name = mem_dupz(o->helo_name);
    c->peer = mem_dupz(o->peer);
    c->host = sl_dupz(without_port(sl_z(o->peer)));
    c->o.helo_name = c->o.peer = NULL;
    if (o->loop_name) {
        c->loop_name = mem_dupz(o->loop_name);
        c->loop_nexthop = mem_dupz(o->loop_nexthop);
    }
    if (o->auth.n > 0 && o->sasl)
        c->auth = sl_dupz(o->auth);
    c->o.auth = SL("");
    if (o->tls)
        c->o.tls = tls_ref(o->tls);
    c->ops = ops;
    c->arg = arg;
    return c;
}

struct smtp_client *
smtp_client_connect(const struct sockaddr *to, socklen_t len, const struct sockaddr *bind_to,
                    socklen_t bind_len, const struct smtp_client_opts *o,
                    const struct smtp_client_ops *ops, void *arg)
{
    struct smtp_client *c = client_new(o, ops, arg);

    c->conn = conn_connect(to, len, bind_to, bind_len, &conn_ops, c);
    c->is_tcp = true;
    client_set_stage(c, STAGE_CONNECT);
    return c;
}

struct smtp_client *
smtp_client_connect_unix(const char *path, const struct smtp_client_opts *o,
                         const struct smtp_client_ops *ops, void *arg)
{
    struct smtp_client *c = client_new(o, ops, arg);

    c->conn = conn_connect_unix(path, &conn_ops, c);
    client_set_stage(c, STAGE_CONNECT);
    return c;
}

struct smtp_client *
smtp_client_on_fd(int fd, const struct smtp_client_opts *o, const struct smtp_client_ops *ops,
                  void *arg)
{
    struct smtp_client *c = client_new(o, ops, arg);

    c->conn = conn_new(fd, &conn_ops, c);
    on_connect(c->conn, c);
    return c;
}

unsigned
smtp_client_exts(const struct smtp_client *c)
{
    return c->exts;
}

uint64_t
smtp_client_size_limit(const struct smtp_client *c)
{
    return c->size_limit;
}

bool
smtp_client_has_tls(const struct smtp_client *c)
{
    return c->is_tls;
}

bool
smtp_client_has_answered(const struct smtp_client *c)
{
    return c->has_answered;
}

bool
smtp_client_is_usable(const struct smtp_client *c)
{
    return c->is_ready && !c->in_tx && !c->is_closing && !c->is_quitting && !conn_is_eof(c->conn);
}

void
smtp_client_set_ops(struct smtp_client *c, const struct smtp_client_ops *ops, void *arg)
{
    c->ops = ops;
    c->arg = arg;
}

struct conn *
smtp_client_conn(struct smtp_client *c)
{
    return c->conn;
}

void
smtp_client_quit(struct smtp_client *c)
{
    if (c->is_closing || c->is_quitting)
        return;
    if (c->in_tx || !c->is_ready) {
        c->is_closing = true;
        conn_abort(c->conn);
        return;
    }
    c->is_quitting = true;
    conn_printf(c->conn, "QUIT\r\n");
    if (c->o.skip_quit_reply) {
        c->is_closing = true;
        conn_close(c->conn);
        return;
    }
    client_expect(c, STAGE_QUIT, 0);
}

static void
ignore(struct smtp_client *c, void *arg)
{
    (void)c, (void)arg;
}

static void
ignore_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    (void)c, (void)arg, (void)i, (void)r;
}

static void
ignore_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    (void)c, (void)arg, (void)why;
}

void
smtp_client_leave(struct smtp_client *c)
{
    static const struct smtp_client_ops none = { ignore,      ignore, ignore,
                                                 ignore_rcpt, ignore, ignore_closed };

    c->ops = &none;
    smtp_client_quit(c);
}
