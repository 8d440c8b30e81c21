/* session/smtp_client_tx.c - one transaction: commands planned at once, sent as the peer allows, answered in order.
 * See smtp_client.h. */
#include "session/smtp_client_int.h"

#include "base/enc.h"
#include "base/mem.h"

#include <stdlib.h>

static void pump(struct smtp_client *c);

/* ---- planning ---- */

static void
plan(struct smtp_client *c, enum stage stage, uint32_t rcpt)
{
    c->plan = mem_grow(c->plan, &c->plan_cap, c->plan_n + 1, sizeof *c->plan);
    c->plan[c->plan_n].stage = stage;
    c->plan[c->plan_n].rcpt = rcpt;
    c->plan[c->plan_n].end = c->cmds.n;
    c->plan_n++;
}

static void
add_xtext(struct buf *b, const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    buf_addz(b, name);
    enc_xtext(b, value);
}

static void
plan_mail(struct smtp_client *c, const struct smtp_tx *tx)
{
    struct buf *b = &c->cmds;

    buf_addf(b, "MAIL FROM:<%.*s>", SL_ARG(tx->sender));
    if ((c->exts & SMTP_EXT_SIZE) && tx->size > 0)
        buf_addf(b, " SIZE=%llu", (unsigned long long)tx->size);
    if ((c->exts & SMTP_EXT_8BITMIME) && tx->is_8bit)
        buf_addz(b, " BODY=8BITMIME");
    if ((c->exts & SMTP_EXT_SMTPUTF8) && tx->is_utf8)
        buf_addz(b, " SMTPUTF8");
    if (c->exts & SMTP_EXT_DSN) {
        if (tx->ret != RET_NONE)
            buf_addz(b, tx->ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
        add_xtext(b, " ENVID=", tx->envid);
    }
    if (c->has_auth_param)
        buf_addz(b, " AUTH=<>");
    buf_addz(b, "\r\n");
    plan(c, STAGE_MAIL, 0);
}

static void
add_notify(struct buf *b, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = { { NOTIFY_NEVER, "NEVER" },
                  { NOTIFY_SUCCESS, "SUCCESS" },
                  { NOTIFY_FAILURE, "FAILURE" },
                  { NOTIFY_DELAY, "DELAY" } };
    const char *sep = " NOTIFY=";

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (notify & words[i].bit) {
            buf_addf(b, "%s%s", sep, words[i].word);
            sep = ",";
        }
    }
}

/* ORCPT is "type;address": the address in xtext, the type as it is. */
static void
add_orcpt(struct buf *b, struct slice orcpt)
{
    struct slice type;

    if (!sl_take_until(&orcpt, ';', &type))
        return;
    buf_addf(b, " ORCPT=%.*s;", SL_ARG(type));
    enc_xtext(b, orcpt);
}

static void
plan_rcpt(struct smtp_client *c, const struct smtp_tx_rcpt *r, uint32_t i)
{
    buf_addf(&c->cmds, "RCPT TO:<%.*s>", SL_ARG(r->addr));
    if (c->exts & SMTP_EXT_DSN) {
        add_notify(&c->cmds, r->notify);
        if (r->orcpt.n > 0)
            add_orcpt(&c->cmds, r->orcpt);
    }
    buf_addz(&c->cmds, "\r\n");
    plan(c, STAGE_RCPT, i);
}

/* Nothing is sent: RSET ends the transaction. relayd goes and asks first, and answers for each recipient as it would at the
 * end of content. */
static void
plan_probe(struct smtp_client *c, const struct smtp_tx *tx)
{
    if (tx->xroute.n > 0) {
        c->is_body_out = true;
        buf_addz(&c->cmds, "XPROBE\r\n");
        plan(c, STAGE_DOT, FIRST_RCPT);
    } else {
        c->is_probe = true;
        buf_addz(&c->cmds, "RSET\r\n");
        plan(c, STAGE_RSET, 0);
    }
}

bool
smtp_client_send(struct smtp_client *c, const struct smtp_tx *tx)
{
    BUG_ON(!c->is_ready || c->in_tx || tx->n_rcpts == 0);
    c->in_tx = true;
    c->n_rcpts = tx->n_rcpts;
    c->rcpts = mem_zalloc(tx->n_rcpts * sizeof *c->rcpts);
    c->n_told = c->n_accepted = 0;
    c->size = tx->size;
    c->is_probe = false;
    c->is_body_on = c->is_body_out = c->has_answered = c->is_abandoned = false;
    client_body_begin(c, tx);
    if (c->is_closing)
        return false; /* on_closed is on its way and tells them */
    if (tx->xroute.n > 0) {
        buf_addf(&c->cmds, "XROUTE %.*s\r\n", SL_ARG(tx->xroute));
        plan(c, STAGE_XROUTE, 0);
    }
    if (tx->xforward.n > 0 && (c->exts & SMTP_EXT_XFORWARD)) {
        buf_addf(&c->cmds, "XFORWARD %.*s\r\n", SL_ARG(tx->xforward));
        plan(c, STAGE_XFORWARD, 0);
    }
    plan_mail(c, tx);
    for (size_t i = 0; i < tx->n_rcpts; i++)
        plan_rcpt(c, &tx->rcpts[i], (uint32_t)i);
    if (tx->is_probe) {
        plan_probe(c, tx);
    } else if (c->framing != BY_DATA) {
        if (c->framing == BY_BDAT)
            buf_addf(&c->cmds, "BDAT %llu LAST\r\n", (unsigned long long)tx->size);
        plan(c, STAGE_BODY, 0);
    } else {
        buf_addz(&c->cmds, "DATA\r\n");
        plan(c, STAGE_DATA, 0);
    }
    conn_cork(c->conn);
    pump(c);
    if (!c->is_body_on)
        conn_uncork(c->conn);
    return c->is_body_on;
}

void
client_tx_free(struct smtp_client *c)
{
    client_body_free(c);
    buf_free(&c->cmds);
    free(c->plan);
    free(c->rcpts);
    c->plan = NULL;
    c->rcpts = NULL;
}

/* ---- sending ---- */

static void
write_command(struct smtp_client *c)
{
    size_t end = c->plan[c->plan_at].end;

    conn_writes(c->conn, sl_n(buf_slice(&c->cmds).p + c->cmds_sent, end - c->cmds_sent));
    c->cmds_sent = end;
    c->plan_at++;
}

static void
start_body(struct smtp_client *c)
{
    c->is_body_on = true;
    client_set_stage(c, STAGE_BODY);
}

/* May the content go out? To our own daemons small content rides along with the commands. */
static bool
may_send_content(const struct smtp_client *c, bool is_pipelining)
{
    if (client_awaited(c) == 0)
        return true;
    return is_pipelining && c->framing == BY_BDAT && c->size <= QUEUE_INLINE_OCTETS;
}

static void
tx_over(struct smtp_client *c)
{
    c->in_tx = false;
    client_body_free(c);
    free(c->rcpts);
    c->rcpts = NULL;
    buf_reset(&c->cmds);
    c->plan_at = c->plan_n = c->cmds_sent = 0;
    client_set_stage(c, STAGE_IDLE);
    c->ops->on_done(c, c->arg);
}

static void
send_rset(struct smtp_client *c)
{
    conn_printf(c->conn, "RSET\r\n");
    client_expect(c, STAGE_RSET, 0);
}

static void
pump(struct smtp_client *c)
{
    bool is_pipelining = (c->exts & SMTP_EXT_PIPELINING) != 0;

    while (c->plan_at < c->plan_n) {
        enum stage stage = c->plan[c->plan_at].stage;
        uint32_t rcpt = c->plan[c->plan_at].rcpt;

        if (c->n_told == c->n_rcpts && client_awaited(c) == 0) {
            c->plan_at = c->plan_n; /* nobody is left to send to */
            send_rset(c);
            return;
        }
        if (!is_pipelining && client_awaited(c) > 0)
            return;
        if (stage == STAGE_BODY) {
            if (!may_send_content(c, is_pipelining))
                return;
            write_command(c);
            if (c->framing == BY_BDAT)
                client_expect(c, STAGE_DOT, FIRST_RCPT);
            start_body(c);
            return;
        }
        write_command(c);
        client_expect(c, stage, rcpt);
    }
}

/* ---- answers ---- */

static void
tell(struct smtp_client *c, size_t i, const struct smtp_result *r)
{
    if (c->rcpts[i] == RCPT_TOLD)
        return;
    if (c->rcpts[i] == RCPT_ACCEPTED)
        c->n_accepted--;
    c->rcpts[i] = RCPT_TOLD;
    c->n_told++;
    c->ops->on_rcpt(c, c->arg, i, r);
}

void
client_tx_tell_rest(struct smtp_client *c, const struct smtp_result *r)
{
    struct smtp_result deferred = *r;

    if (deferred.outcome == SMTP_SENT)
        deferred.outcome = SMTP_DEFERRED;
    for (size_t i = 0; i < c->n_rcpts; i++)
        tell(c, i, &deferred);
}

static uint32_t
next_accepted(const struct smtp_client *c, size_t from)
{
    for (size_t i = from; i < c->n_rcpts; i++)
        if (c->rcpts[i] == RCPT_ACCEPTED)
            return (uint32_t)i;
    return FIRST_RCPT;
}

/* Answered before it was sent: what follows on the stream is content that nobody reads as such. */
static void
after_early_reply(struct smtp_client *c)
{
    client_fail(c, "4.4.2", "host %s answered before the end of the message", c->host);
}

static void
after_content(struct smtp_client *c)
{
    c->expect_at++;
    if (!c->is_body_out) {
        after_early_reply(c);
        return;
    }
    if (c->n_told < c->n_rcpts) {
        client_fail(c, "4.5.0", "host %s gave no reply for a recipient", c->host);
        return;
    }
    tx_over(c);
}

static void
on_dot(struct smtp_client *c, struct expect x, const struct smtp_result *r)
{
    uint32_t i = x.rcpt == FIRST_RCPT ? next_accepted(c, 0) : x.rcpt;

    if (c->is_abandoned) { /* RSET follows already */
        c->expect_at++;
        /* LMTP: one reply to the refused end, or one for each recipient? A wrong guess would answer the next transaction's
         * commands. */
        if (c->o.is_lmtp)
            client_fail(c, "4.5.0", "host %s refused a part of the message", c->host);
        return;
    }
    if (!c->is_body_out && r->outcome == SMTP_SENT) { /* for content it has not seen: no delivery */
        c->expect_at++;
        after_early_reply(c);
        return;
    }
    if (i ==
        FIRST_RCPT) { /* no recipient was accepted: the one reply says so, and the transaction is still open */
        c->expect_at++;
        if (c->is_body_out)
            send_rset(c);
        else
            after_early_reply(c);
        return;
    }
    if (!c->o.is_lmtp) {
        for (; i != FIRST_RCPT; i = next_accepted(c, i + 1))
            tell(c, i, r);
        after_content(c);
        return;
    }
    tell(c, i, r);
    i = next_accepted(c, i + 1);
    if (i == FIRST_RCPT)
        after_content(c);
    else
        c->expects[c->expect_at].rcpt = i;
}

static void
on_data(struct smtp_client *c, struct smtp_result *r)
{
    if (c->reply.code == 354) {
        if (c->n_accepted == 0) {
            /* Pipelined behind refused recipients, and the peer took it: end it without content (RFC 2920 §3.1). */
            if (c->o.is_lmtp) {
                client_fail(c, "4.5.0", "host %s wants content without recipients", c->host);
                return;
            }
            conn_writes(c->conn, SL(".\r\n"));
            c->is_body_out = true;
            client_expect(c, STAGE_DOT, FIRST_RCPT);
            return;
        }
        start_body(c);
        c->ops->on_body(c, c->arg);
        return;
    }
    if (r->outcome == SMTP_SENT)
        r->outcome = SMTP_DEFERRED;
    client_tx_tell_rest(c, r);
    send_rset(c);
}

/* Content goes no further; what is on its way is answered before RSET is. */
static void
on_chunk(struct smtp_client *c, const struct smtp_result *r)
{
    if (c->is_abandoned)
        return;
    if (r->outcome == SMTP_SENT) {
        client_body_chunk_taken(c);
        return;
    }
    c->is_abandoned = true;
    c->is_body_on = false;
    client_body_free(c);
    client_tx_tell_rest(c, r);
    send_rset(c);
}

void
client_tx_reply(struct smtp_client *c, struct expect x)
{
    struct smtp_result r;
    struct buf text = { 0 };

    client_result_of_reply(c, x.stage, &r, &text);
    switch (x.stage) {
    case STAGE_XROUTE:
    case STAGE_MAIL:
        if (r.outcome != SMTP_SENT)
            client_tx_tell_rest(c, &r);
        break;
    case STAGE_RCPT:
        if (r.outcome != SMTP_SENT || c->is_probe) {
            tell(c, x.rcpt, &r);
        } else if (c->rcpts[x.rcpt] == RCPT_PENDING) {
            c->rcpts[x.rcpt] = RCPT_ACCEPTED;
            c->n_accepted++;
        }
        break;
    case STAGE_DATA:
        on_data(c, &r);
        break;
    case STAGE_CHUNK:
        on_chunk(c, &r);
        break;
    case STAGE_DOT:
        on_dot(c, x, &r);
        break;
    case STAGE_RSET:
        tx_over(c);
        break;
    default: /* XFORWARD: a peer that refuses it still takes the message */
        break;
    }
    buf_free(&text);
    if (!c->is_closing && c->in_tx && c->plan_at < c->plan_n) {
        bool had_body = c->is_body_on;

        pump(c);
        if (!had_body && c->is_body_on)
            c->ops->on_body(c, c->arg);
    }
}
