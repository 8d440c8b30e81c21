/* smtpd/account.c - see account.h. A stolen password sends spam until somebody notices: held mail does no harm, is not
 * lost when the account's owner had a reason, and the sender's program sees no error that it would try again. */
#include "smtpd/account.h"

#include "auth/anvil_client.h"
#include "base/log.h"

/* What the chain goes on with, in the transaction's memory. */
struct account_ask {
    void (*done)(struct smtpd_sess *s);
};

static bool
has_limits(const struct conf *c)
{
    return c->submission_account_message_limit_hour > 0 ||
           c->submission_account_message_limit_day > 0 ||
           c->submission_account_recipient_limit_hour > 0 ||
           c->submission_account_recipient_limit_day > 0;
}

static void
tell_postmaster(struct smtpd_sess *s, const char *why)
{
    struct buf text = { 0 }, subject = { 0 };

    buf_addf(&subject, "Mail of %s is put on hold", s->sasl_user);
    buf_addf(
        &text,
        "The account %s submits more mail than is allowed here:\n\n    %s\n\n"
        "Its mail is accepted and kept in the queue, and is not sent. If a password was stolen,\n"
        "set a new one before anything else. The first message that is held is %s,\n"
        "from the client %s.\n\n"
        "    postern user password %s\n"
        "    postern queue list\n"
        "    postern queue release account=%s\n"
        "    postern queue delete account=%s\n\n"
        "You are told once a day about an account. The limits are submission_account_* in "
        "main.cf;\n"
        "submission_account_limit_exceptions names accounts that have none.\n",
        s->sasl_user, why, s->tx->id, s->namaddr, s->sasl_user, s->sasl_user, s->sasl_user);
    notice_send(s->cfg, buf_z(&subject), buf_slice(&text));
    buf_free(&text);
    buf_free(&subject);
}

static void
hold(struct smtpd_sess *s, const struct anvil_result *r)
{
    struct smtpd_tx *tx = s->tx;
    struct slice rcpt = smtpd_only_rcpt(tx);
    struct buf line = { 0 };
    const char *why = arena_printf(
        &tx->mem, "account %s: submission_account_%s = %llu is exceeded (%llu)", s->sasl_user,
        r->limit, (unsigned long long)r->max, (unsigned long long)r->count);

    if (why == NULL)
        why = "submission_account limits are exceeded";
    if (tx->wishes.hold == NULL)
        tx->wishes.hold = why;
    buf_addf(&line,
             "%s: hold: END-OF-MESSAGE from %s: <%s>: SASL login name exceeds "
             "submission_account_%s = %llu (%llu);",
             tx->id, s->namaddr, s->sasl_user, r->limit, (unsigned long long)r->max,
             (unsigned long long)r->count);
    buf_addf(&line, " from=<%.*s>", SL_ARG(smtp_addr_quote(tx->sender.given, &s->smtp.cmd)));
    if (rcpt.p)
        buf_addf(&line, " to=<%.*s>", SL_ARG(smtp_addr_quote(rcpt, &s->smtp.cmd)));
    buf_addf(&line, " proto=%s helo=<%s>", s->is_esmtp ? "ESMTP" : "SMTP", s->helo ? s->helo : "");
    log_event(LOG_LV_INFO, s->cfg->ident, "account.hold",
              LOG_F(LF_Z("qid", tx->id), LF_Z("client", s->namaddr), LF_Z("account", s->sasl_user),
                    LF_Z("limit", r->limit), LF_N("max", r->max), LF_N("count", r->count)),
              "%s", buf_z(&line));
    buf_free(&line);
    if (r->tell) {
        log_event(LOG_LV_WARN, s->cfg->ident, "account.excess",
                  LOG_F(LF_Z("account", s->sasl_user)),
                  "%s: its mail is held from now on; `postern queue release account=%s` sends it",
                  why, s->sasl_user);
        tell_postmaster(s, why);
    }
}

static void
on_count(uint64_t id, const struct anvil_result *r)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;
    void (*done)(struct smtpd_sess *);

    if (smtp == NULL)
        return;
    s = smtpd_of(smtp);
    done = s->tx->account->done;
    if (r->is_ok && r->limit[0])
        hold(s, r);
    else if (!r->is_ok)
        log_event(LOG_LV_WARN, s->cfg->ident, "account.uncounted",
                  LOG_F(LF_Z("account", s->sasl_user)),
                  "%s: message of account %s is not counted: no answer from private/anvil",
                  s->tx->id, s->sasl_user);
    done(s);
}

void
account_check(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s))
{
    const struct conf *c = s->cfg->conf;
    struct smtpd_tx *tx = s->tx;

    if (s->sasl_user == NULL || !has_limits(c) ||
        conf_list_has(c->submission_account_limit_exceptions, s->sasl_user)) {
        done(s);
        return;
    }
    tx->account = ARENA_NEW(&tx->mem, struct account_ask);
    if (tx->account == NULL) {
        done(s);
        return;
    }
    tx->account->done = done;
    anvil_ask_account(smtpd_env.anvil, sl_z(s->sasl_user), tx->n_rcpts, on_count, s->smtp.id);
}
