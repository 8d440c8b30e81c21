/* session/smtp_client_hello.c - the beginning: greeting, EHLO with its fall back to HELO, STARTTLS. See smtp_client.h. */
#include "session/smtp_client_int.h"

#include "base/log.h"
#include "base/mem.h"

static void
send_hello(struct smtp_client *c)
{
    const char *verb = c->o.is_lmtp ? "LHLO" : c->tried_ehlo ? "EHLO" : "HELO";

    c->exts = 0;
    c->size_limit = 0;
    buf_reset(&c->mechanisms);
    conn_printf(c->conn, "%s %s\r\n", verb, c->helo_name);
    client_expect(c, STAGE_HELO, 0);
}

static void
note_ext(struct smtp_client *c, struct slice line)
{
    static const struct {
        struct slice word;
        unsigned bit;
    } words[] = {
        { SL_INIT("PIPELINING"), SMTP_EXT_PIPELINING },
        { SL_INIT("SIZE"), SMTP_EXT_SIZE },
        { SL_INIT("8BITMIME"), SMTP_EXT_8BITMIME },
        { SL_INIT("SMTPUTF8"), SMTP_EXT_SMTPUTF8 },
        { SL_INIT("DSN"), SMTP_EXT_DSN },
        { SL_INIT("STARTTLS"), SMTP_EXT_STARTTLS },
        { SL_INIT("CHUNKING"), SMTP_EXT_CHUNKING },
        { SL_INIT("XFORWARD"), SMTP_EXT_XFORWARD },
        { SL_INIT("XROUTE"), SMTP_EXT_XROUTE },
        { SL_INIT("AUTH"), SMTP_EXT_AUTH },
    };
    struct slice word, arg;
    unsigned bit = 0;

    if (!sl_take_word(&line, " \t=", &word)) /* "AUTH=LOGIN" is what old servers say */
        return;
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (sl_ieq(word, words[i].word))
            bit = words[i].bit;
    if (bit & c->o.discard)
        return;
    c->exts |= bit;
    if (bit == SMTP_EXT_SIZE && sl_take_word(&line, " \t", &arg))
        (void)sl_to_u64(arg, &c->size_limit);
    if (bit == SMTP_EXT_AUTH)
        client_sasl_offer(c, line);
    while (bit == SMTP_EXT_XFORWARD && sl_take_word(&line, " \t", &arg))
        if (sl_ieqz(arg, "REPEAT"))
            c->exts |= SMTP_EXT_XREPEAT;
}

/* The name that the server gives itself: is it ours? */
static bool
is_loop(struct smtp_client *c, struct slice line)
{
    struct slice word, text = sl_from(line, 4);

    return c->loop_name && sl_take_word(&text, " \t", &word) && sl_ieqz(word, c->loop_name);
}

static struct slice
first_line(const struct smtp_client *c)
{
    struct slice all = buf_slice(&c->reply.text);
    size_t end = sl_find_char(all, '\n');

    return end == SL_NPOS ? all : sl_head(all, end);
}

static void
note_exts(struct smtp_client *c)
{
    struct slice in = buf_slice(&c->reply.text), line;
    bool is_first = true;

    while (in.n > 0) {
        if (!sl_take_until(&in, '\n', &line)) {
            line = in;
            in.n = 0;
        }
        if (!is_first)
            note_ext(c, sl_from(line, 4));
        is_first = false;
    }
    c->exts |= SMTP_EXT_ESMTP;
}

void
client_hello_ready(struct smtp_client *c)
{
    c->is_ready = true;
    client_set_stage(c, STAGE_IDLE);
    c->ops->on_ready(c, c->arg);
}

void
client_refuse(struct smtp_client *c, enum stage stage)
{
    struct smtp_result r;
    struct buf text = { 0 };

    client_result_of_reply(c, stage, &r, &text);
    if (r.outcome == SMTP_SENT)
        r.outcome = SMTP_DEFERRED; /* a 2xx or 3xx where it makes no sense */
    if (stage == STAGE_GREETING && c->o.skip_5xx_greeting && r.outcome == SMTP_FAILED) {
        r.outcome = SMTP_DEFERRED;
        r.dsn[0] = '4';
    }
    client_give_up(c, &r);
    buf_free(&text);
}

void
client_hello_greeting(struct smtp_client *c)
{
    if (c->reply.code != 220) {
        client_refuse(c, STAGE_GREETING);
        return;
    }
    if (is_loop(c, first_line(c)))
        log_warn("smtp.loop", LOG_NONE, "host %s greeted me with my own hostname %s", c->peer,
                 c->loop_name);
    c->tried_ehlo = !c->o.never_ehlo && (c->o.always_ehlo || sl_ifind(buf_slice(&c->reply.text),
                                                                      SL("ESMTP")) != SL_NPOS);
    send_hello(c);
}

static void
after_hello(struct smtp_client *c)
{
    if (c->o.tls && !c->is_tls && (c->exts & SMTP_EXT_STARTTLS)) {
        conn_printf(c->conn, "STARTTLS\r\n");
        client_expect(c, STAGE_STARTTLS, 0);
    } else if (c->o.must_tls && !c->is_tls) {
        client_fail(c, "4.7.4", "TLS is required, but was not offered by host %s", c->host);
    } else if (c->auth && (c->exts & SMTP_EXT_AUTH)) {
        client_sasl_begin(c);
    } else {
        client_hello_ready(c);
    }
}

void
client_hello_reply(struct smtp_client *c)
{
    if (c->reply.code / 100 != 2) {
        if (c->tried_ehlo && !c->o.is_lmtp && c->reply.code != 421) {
            c->tried_ehlo = false;
            send_hello(c);
        } else {
            client_refuse(c, STAGE_HELO);
        }
        return;
    }
    if (c->tried_ehlo || c->o.is_lmtp) {
        if (is_loop(c, first_line(c))) {
            log_warn("smtp.loop", LOG_NONE, "host %s replied to HELO/EHLO with my own hostname %s",
                     c->peer, c->loop_name);
            client_fail(c, c->o.loop_is_final ? "5.4.6" : "4.4.6",
                        "mail for %s loops back to myself", c->loop_nexthop);
            return;
        }
        note_exts(c);
    }
    after_hello(c);
}

void
client_hello_starttls(struct smtp_client *c)
{
    if (c->reply.code != 220) {
        struct buf words = { 0 };
        char dsn[SMTP_DSN_OCTETS];

        if (!c->o.must_tls) {
            c->exts &= ~(unsigned)SMTP_EXT_STARTTLS;
            after_hello(c);
            return;
        }
        smtp_reply_one_line(&c->reply, &words);
        memcpy(dsn, c->reply.code >= 400 ? c->reply.dsn : "4.7.4",
               c->reply.code >= 400 ? sizeof dsn : 6);
        client_fail(c, dsn, "TLS is required, but host %s refused to start TLS: %s", c->host,
                    buf_z(&words));
        buf_free(&words);
        return;
    }
    if (conn_has_input(c->conn)) { /* plaintext that would count as said under TLS */
        client_fail(c, "4.7.0", "host %s sent data after its reply to STARTTLS", c->host);
        return;
    }
    client_set_stage(c, STAGE_HANDSHAKE);
    tls_start_client(c->conn, c->o.tls, c->o.expect);
}

void
client_hello_secure(struct smtp_client *c)
{
    if (c->o.is_wrapper)
        client_expect(c, STAGE_GREETING, 0);
    else
        send_hello(c);
}
