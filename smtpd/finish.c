/* smtpd/finish.c - the chain is a table, the transaction knows how far it has come. A step that ends at once brings the
 * next one from the same loop, so the stack does not grow with the number of steps. 250 is said when the queue has the
 * message on disk, and not before. */
#include "smtpd/finish.h"

#include "smtpd/account.h"
#include "smtpd/content.h"
#include "smtpd/bare_lf.h"
#include "smtpd/expand.h"
#include "smtpd/rewrite.h"
#include "smtpd/transcript.h"

#include "base/log.h"

/* ---- what the content itself says ---- */

static void
on_content(struct smtpd_sess *s)
{
    const char *refusal = content_refusal(s->tx->content);

    if (refusal && !pickup_is_return(s->pickup))
        finish_refuse(s, refusal);
    else
        finish_next(s);
}

static void
step_content(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;

    if (s->smtp.data.has_bare_lf && !bare_lf_is_good(s)) {
        bare_lf_refuse(s);
        finish_over(s, false);
        return;
    }
    if (s->pickup && s->pickup->n_deferred) {
        s->pickup->n_deferred = 0;
        finish_refuse(s, "451 4.3.0 Error: temporary lookup failure");
        return;
    }
    if (tx->too_big) {
        finish_refuse(s, "552 5.3.4 Error: message file too big");
        return;
    }
    content_end(tx->content, on_content);
}

/* ---- smtpd_end_of_data_restrictions ---- */

static void
on_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply)
        finish_refuse(s, reply);
    else
        finish_next(s);
}

static void
step_restrictions(struct smtpd_sess *s)
{
    struct restrict_subject about = { .helo = s->helo,
                                      .sender = s->tx->sender.given,
                                      .recipient = smtpd_only_rcpt(s->tx) };

    restrict_run(s, STAGE_END_OF_DATA, &about, on_restricted);
}

/* ---- how much an account may send ---- */

static void
step_account(struct smtpd_sess *s)
{
    account_check(s, finish_next);
}

/* ---- wishes of access tables and policy servers ---- */

static void
step_wishes(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;

    for (const struct tx_line *l = tx->wishes.bcc; l && !tx->wishes.redirect.n; l = l->next)
        if (!rewrite_add_copy(tx, l->text, false)) {
            finish_refuse(s, "451 4.3.0 Error: queue file write error");
            return;
        }
    finish_next(s);
}

/* ---- recipients ---- */

static void
on_rewritten(struct smtpd_sess *s, const char *refusal)
{
    if (refusal)
        finish_refuse(s, refusal);
    else
        finish_next(s);
}

/* Canonical maps and copies; not for what goes nowhere, somewhere else, or back. */
static void
step_rewrite(struct smtpd_sess *s)
{
    if (s->tx->wishes.discard || s->tx->wishes.redirect.n || pickup_is_return(s->pickup))
        finish_next(s);
    else
        rewrite_recipients(s, on_rewritten);
}

static void
on_expanded(struct smtpd_sess *s, enum expand_rc rc, const struct queue_rcpt *rcpts, size_t n)
{
    if (rc == EXPAND_TEMP) {
        finish_refuse(s, "451 4.3.0 Error: queue file write error");
    } else if (rc == EXPAND_LOOP) {
        finish_refuse(s, "451 4.6.0 Alias expansion error");
    } else if (rc == EXPAND_REFUSED) {
        finish_refuse(s, expand_refusal(s));
    } else {
        s->tx->final = rcpts;
        s->tx->n_final = n;
        finish_next(s);
    }
}

static void
keep_recipients(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    struct queue_rcpt *v = arena_alloc(&tx->mem, tx->n_rcpts * sizeof *v);
    size_t n = 0;

    if (v == NULL) {
        finish_refuse(s, "451 4.3.0 Error: queue file write error");
        return;
    }
    for (const struct smtpd_rcpt *r = tx->first; r; r = r->next)
        v[n++] = (struct queue_rcpt){
            .addr = r->addr, .orig = r->addr, .orcpt = r->orcpt, .notify = r->notify
        };
    tx->final = v;
    tx->n_final = n;
    finish_next(s);
}

static void
step_expand(struct smtpd_sess *s)
{
    if (s->tx->wishes.discard)
        finish_next(s); /* for nobody */
    else if (pickup_is_return(s->pickup))
        keep_recipients(s); /* those are whom the report names */
    else
        expand_recipients(s, on_expanded);
}

/* ---- into the queue ---- */

static void
say_queued(struct smtpd_sess *s)
{
    smtp_sess_forgive(&s->smtp);
    transcript_over(s);
    if (s->tx->in_bdat)
        smtp_reply(&s->smtp, "250 2.0.0 Ok: %llu bytes queued as %s",
                   (unsigned long long)s->tx->size_octets, s->tx->id);
    else
        smtp_reply(&s->smtp, "250 2.0.0 Ok: queued as %s", s->tx->id);
    finish_over(s, true);
}

static void
on_commit(uint64_t id, int rc, const struct err *e)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;

    if (smtp == NULL)
        return; /* the client is gone; the message is the queue's */
    s = smtpd_of(smtp);
    if (rc) {
        log_event(LOG_LV_WARN, s->cfg->ident, "queue.refused",
                  LOG_F(LF_Z("qid", s->tx->id), LF_Z("why", e->msg)),
                  "%s: queue file write error: %s", s->tx->id, e->msg);
        finish_refuse(s, err_is_full(e) ? "452 4.3.1 Insufficient system storage"
                                        : "451 4.3.0 Error: queue file write error");
        return;
    }
    say_queued(s);
}

static void
step_commit(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    struct queue_env env = { .rcpts = tx->final, .n_rcpts = tx->n_final };
    struct smtpd_origin from;
    char ip[ADDR_TEXT_OCTETS];

    if (tx->wishes.discard) {
        content_free(&tx->content);
        say_queued(s);
        return;
    }
    memcpy(env.id, tx->id, sizeof(env.id));
    env.sender = tx->from;
    env.ret = tx->params.ret == SMTP_RET_FULL   ? RET_FULL
              : tx->params.ret == SMTP_RET_HDRS ? RET_HDRS
                                                : RET_NONE;
    env.envid = tx->params.envid;
    env.is_8bit = tx->params.body == SMTP_BODY_8BITMIME;
    env.is_utf8 = tx->params.is_utf8;
    if (pickup_is_return(s->pickup))
        env.refused = s->pickup->refused;
    if (tx->wishes.hold)
        env.hold = tx->wishes.hold[0] ? sl_z(tx->wishes.hold) : SL("HOLD");
    smtpd_origin(s, ip, &from);
    env.client_name = from.name;
    env.client_ip = from.ip;
    env.helo = from.helo;
    env.sasl_user = sl_z(s->sasl_user);
    env.protocol = from.protocol;
    queue_put_commit(content_take_put(&tx->content), &env, on_commit, s->smtp.id);
}

/* ---- the chain ---- */

/* In this order. header_checks act while content streams (content.c), milters belong before the wishes. */
static void (*const steps[])(struct smtpd_sess *s) = {
    step_content, step_restrictions, step_account, step_wishes,
    step_rewrite, step_expand,       step_commit,
};

void
finish_next(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    uint64_t id = s->smtp.id, n_over = s->n_over;

    tx->finish.may_go_on = true;
    if (tx->finish.is_running)
        return;
    while (tx->finish.may_go_on) {
        tx->finish.may_go_on = false;
        tx->finish.is_running = true;
        steps[tx->finish.at++](s);
        if (id_get(id) == NULL || s->n_over != n_over) /* it is over, maybe the session too */
            return;
        tx->finish.is_running = false;
    }
}

void
finish_refuse(struct smtpd_sess *s, const char *reply)
{
    smtp_reply(&s->smtp, "%s", reply);
    finish_over(s, false);
}

void
finish_run(struct smtpd_sess *s)
{
    s->smtp.where = "END-OF-MESSAGE";
    finish_next(s);
}
