/* smtpd/smtpd_mail.c - MAIL, RCPT and VRFY: RFC 5321 §4.1.1.2, §4.1.1.3, §3.5. The order of the checks is Postfix's; a
 * client may tell them apart. */
#include "smtpd/find.h"
#include "smtpd/limits.h"
#include "smtpd/smtpd.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "session/queue_space.h"
#include "session/verify_sender.h"

#include <stdio.h>
#include <stdlib.h>

static void
refuse(struct smtpd_sess *s, const char *reply)
{
    smtp_reply(&s->smtp, "%s", reply);
    smtp_sess_done(&s->smtp, false);
}

static unsigned
offers(const struct smtpd_sess *s)
{
    unsigned o = 0;

    if (s->cfg->conf->smtputf8_enable && !(s->discard & DISCARD_UTF8))
        o |= SMTP_OFFER_UTF8;
    if (!(s->discard & DISCARD_DSN))
        o |= SMTP_OFFER_DSN;
    return o | SMTP_OFFER_AUTH;
}

static bool
has_utf8_param(const struct smtp_words *w, unsigned offered)
{
    for (size_t i = 3; i < w->n && (offered & SMTP_OFFER_UTF8); i++)
        if (sl_ieq(w->w[i].s, SL("SMTPUTF8")))
            return true;
    return false;
}

static void
log_bad_path(const struct smtpd_sess *s, struct slice path, const char *why)
{
    log_event(LOG_LV_WARN, s->cfg->ident, "path.bad", LOG_F(LF_S("path", path), LF_Z("why", why)),
              "Illegal address syntax from %s in %s command: %.*s", s->namaddr, s->smtp.where,
              SL_ARG(sl_head(path, 512)));
}

/* The path of the third word; false was answered. */
static bool
take_path(struct smtpd_sess *s, const struct smtp_words *w, struct arena *a, bool may_be_empty,
          struct slice *out, const char *reply)
{
    struct err e = { 0 };
    bool ok =
        !w->w[2].is_open &&
        smtp_path_parse(w->w[2].s, s->cfg->conf->strict_rfc821_envelopes, a, out, &e) == PARSE_OK &&
        (may_be_empty || out->n);

    if (ok)
        return true;
    if (!w->w[2].is_open) /* else it is no path at all: Postfix says nothing of it either */
        log_bad_path(s, w->w[2].s, e.msg);
    refuse(s, reply);
    return false;
}

/* After the route is known: is the domain one that can be written without SMTPUTF8? */
static bool
is_declared(const struct addr_info *a, bool is_utf8)
{
    return is_utf8 || utf8_is_ascii(a->to.domain);
}

/* The address that our own probes come from, without what changes in it; p NULL: it is another. */
static struct slice
own_probe_sender(const struct smtpd_sess *s, struct slice addr, struct arena *mem)
{
    struct buf b = { 0 };
    struct slice plain = sl_n(NULL, 0);

    if (addr.n > 0 && verify_sender_is(s->cfg->conf, addr, clock_unix_s())) {
        verify_sender_plain(s->cfg->conf, &b);
        plain = arena_dup(mem, buf_slice(&b));
        buf_free(&b);
    }
    return plain;
}

/* ---- MAIL ---- */

static bool
begin_message(struct smtpd_sess *s)
{
    struct buf more = { 0 };

    BUG_ON(s->tx == NULL); /* recipients come after MAIL */
    if (s->tx->id[0])
        return true;
    if (queue_id_new(smtpd_env.queue, s->tx->id)) {
        s->tx->id[0] = '\0';
        return false;
    }
    if (s->pickup) {
        log_event(LOG_LV_INFO, s->cfg->ident, "msg.pickup",
                  LOG_F(LF_Z("qid", s->tx->id), LF_N("uid", s->pickup->uid),
                        LF_S("from", s->tx->sender.given)),
                  "%s: uid=%u from=<%.*s>", s->tx->id, s->pickup->uid, SL_ARG(s->tx->sender.given));
        return true;
    }
    if (s->sasl_user)
        buf_addf(&more, ", sasl_method=%s, sasl_username=%s", s->sasl_method, s->sasl_user);
    smtpd_xforward_log(s, &more);
    log_event(LOG_LV_INFO, s->cfg->ident, "msg.begin",
              LOG_F(LF_Z("qid", s->tx->id), LF_Z("client", s->namaddr)), "%s: client=%s%s",
              s->tx->id, s->namaddr, buf_z(&more));
    buf_free(&more);
    return true;
}

static void
mail_restricted(struct smtpd_sess *s, const char *reply)
{
    if (!reply && !queue_space_is_enough(s->cfg->conf)) {
        log_event(LOG_LV_WARN, s->cfg->ident, "queue.space", LOG_NONE,
                  "not enough free space in mail queue: less than %llu bytes",
                  (unsigned long long)queue_space_least(s->cfg->conf));
        reply = "452 4.3.1 Insufficient system storage";
    }
    if (!reply && !s->cfg->conf->smtpd_delay_open_until_valid_rcpt && !begin_message(s))
        reply = "451 4.3.0 Error: queue file write error";
    if (reply) {
        refuse(s, reply);
        smtpd_tx_free(s);
        return;
    }
    smtp_reply(&s->smtp, "250 2.1.0 Ok");
    smtp_sess_done(&s->smtp, true);
}

static void
mail_refuse(struct smtpd_sess *s, const char *reply)
{
    smtpd_tx_free(s);
    refuse(s, reply);
}

static void
mail_routed(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    const struct smtp_words *w = arg;
    struct smtpd_tx *tx = s->tx;
    struct restrict_subject about = { .helo = s->helo, .sender = tx->sender.given };
    const char *why;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        mail_refuse(s, "451 4.3.0 Error: temporary lookup failure");
        return;
    }
    if (f == FOUND_NO || !is_declared(&tx->sender, has_utf8_param(w, offers(s)))) {
        log_bad_path(s, w->w[2].s, "bad domain");
        mail_refuse(s, "501 5.1.7 Bad sender address syntax");
        return;
    }
    why = smtp_mail_params(w, 3, offers(s), &tx->mem, &tx->params);
    tx->params.auth = arena_dup(&tx->mem, tx->params.auth); /* it was the words' */
    if (!why && s->cfg->conf->message_size_limit &&
        tx->params.size_octets > (uint64_t)s->cfg->conf->message_size_limit) {
        why = "552 5.3.4 Message size exceeds fixed limit";
        smtpd_log_reject(s, why, tx->sender.given, sl_n(NULL, 0));
    }
    if (!why && s->cfg->conf->strict_smtputf8 && !tx->params.is_utf8 &&
        !utf8_is_ascii(tx->sender.given))
        why = "553 5.6.7 Must declare SMTPUTF8 to send unicode address";
    if (why) {
        refuse(s, why); /* the words may be in the transaction's memory */
        smtpd_tx_free(s);
        return;
    }
    if (s->cfg->conf->smtpd_delay_reject)
        mail_restricted(s, NULL);
    else
        restrict_run(s, STAGE_MAIL, &about, mail_restricted);
}

void
smtpd_cmd_mail(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct slice sender;

    if (s->cfg->conf->smtpd_helo_required && s->helo == NULL) {
        refuse(s, "503 5.5.1 Error: send HELO/EHLO first");
        return;
    }
    if (smtpd_is_in_tx(s)) {
        refuse(s, "503 5.5.1 Error: nested MAIL command");
        return;
    }
    if (s->bdat_failed) {
        refuse(s, "503 5.5.1 Error: MAIL after BDAT");
        return;
    }
    if (w->n < 3 || !sl_ieq(w->w[1].s, SL("from:"))) {
        refuse(s, "501 5.5.4 Syntax: MAIL FROM:<address>");
        return;
    }
    if (!limits_pass(s, LIMIT_MESSAGE, w, smtpd_cmd_mail))
        return;
    smtpd_tx_free(s);
    if (!take_path(s, w, &smtp->cmd, true, &sender, "501 5.1.7 Bad sender address syntax"))
        return;
    s->tx = MEM_NEW(struct smtpd_tx);
    s->tx->mem.cap = SMTPD_TX_ARENA_OCTETS;
    s->tx->end = &s->tx->first;
    s->tx->began_unix_s = clock_unix_s();
    s->tx->sender.given = own_probe_sender(s, sender, &s->tx->mem);
    if (s->tx->sender.given.p == NULL)
        s->tx->sender.given = arena_dup(&s->tx->mem, sender);
    if (sender.n)
        find_route(s, &s->tx->sender, &s->tx->mem, mail_routed, (void *)(uintptr_t)w);
    else
        mail_routed(s, (void *)(uintptr_t)w, FOUND_YES, SL(""), SL(""));
}

/* ---- RCPT ---- */

struct rcpt_ask { /* in the command's memory */
    const struct smtp_words *w;
    struct addr_info addr;
    struct smtp_rcpt_params params;
};

/* ORCPT: what the client gave, else the path as it stood (RFC 3461 §5.2.1). */
static struct slice
original_recipient(struct smtpd_sess *s, const struct rcpt_ask *r)
{
    struct slice path = r->w->w[2].s;

    if (r->params.orcpt.n)
        return arena_dup(&s->tx->mem, r->params.orcpt);
    if (path.n >= 2 && sl_starts(path, '<') && sl_ends(path, '>'))
        path = sl_n(path.p + 1, path.n - 2);
    return sl_z(arena_printf(&s->tx->mem, "rfc822;%.*s", SL_ARG(path)));
}

static void
rcpt_restricted(struct smtpd_sess *s, const char *reply)
{
    struct rcpt_ask *r = s->rcpt_ask;
    struct smtpd_rcpt *to;

    s->rcpt_ask = NULL;
    if (reply) {
        refuse(s, reply);
        return;
    }
    if (!begin_message(s)) {
        refuse(s, "451 4.3.0 Error: queue file write error");
        return;
    }
    to = ARENA_NEW(&s->tx->mem, struct smtpd_rcpt);
    if (to) {
        to->addr = arena_dup(&s->tx->mem, r->addr.given);
        to->orcpt = original_recipient(s, r);
        to->notify = r->params.notify;
    }
    if (to == NULL || to->addr.p == NULL || to->orcpt.p == NULL) {
        refuse(s, "452 4.5.3 Error: too many recipients");
        return;
    }
    *s->tx->end = to;
    s->tx->end = &to->next;
    s->tx->n_rcpts++;
    smtp_reply(&s->smtp, "250 2.1.5 Ok");
    smtp_sess_done(&s->smtp, true);
}

static void
check_rcpt(struct smtpd_sess *s, struct slice rcpt,
           void (*done)(struct smtpd_sess *s, const char *reply))
{
    struct restrict_subject about = { .helo = s->helo,
                                      .sender = s->tx ? s->tx->sender.given : sl_n(NULL, 0),
                                      .recipient = rcpt };

    if (sl_ieq(rcpt, SL("postmaster"))) /* RFC 5321 §4.5.1 */
        done(s, NULL);
    else
        restrict_run(s, STAGE_RCPT, &about, done);
}

static void
rcpt_routed(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct rcpt_ask *r = arg;
    struct slice plain;
    const char *why;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        if (s->pickup)
            s->pickup->n_deferred++;
        refuse(s, "451 4.3.0 Error: temporary lookup failure");
        return;
    }
    /* What sendmail(1) was given comes back by mail if it cannot be sent. */
    if (!s->pickup && (f == FOUND_NO || !is_declared(&r->addr, s->tx->params.is_utf8))) {
        log_bad_path(s, r->w->w[2].s, "bad domain");
        refuse(s, "501 5.1.3 Bad recipient address syntax");
        return;
    }
    why = smtp_rcpt_params(r->w, 3, offers(s), &s->smtp.cmd, &r->params);
    if (why) {
        refuse(s, why);
        return;
    }
    if (s->tx->n_rcpts >= (size_t)s->cfg->conf->smtpd_recipient_limit && !s->pickup) {
        smtp_reply(&s->smtp, "452 4.5.3 Error: too many recipients");
        smtp_sess_done(&s->smtp, s->tx->overshoot++ <
                                     (unsigned)s->cfg->conf->smtpd_recipient_overshoot_limit);
        return;
    }
    if (s->cfg->conf->strict_smtputf8 && !s->tx->params.is_utf8 && !s->pickup &&
        !utf8_is_ascii(r->addr.given)) {
        refuse(s, "553 5.6.7 Must declare SMTPUTF8 to send unicode address");
        return;
    }
    s->rcpt_ask = r;
    s->now_rcpt = r->addr.given;
    plain = own_probe_sender(s, r->addr.given, &s->smtp.cmd);
    if (plain
            .p) { /* turned away, two hosts that verify each other's probes would refuse each other's mail */
        r->addr.given = plain;
        rcpt_restricted(s, NULL);
        return;
    }
    check_rcpt(s, r->addr.given, rcpt_restricted);
}

void
smtpd_cmd_rcpt(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct rcpt_ask *r;

    if (!smtpd_is_in_tx(s)) {
        refuse(s, "503 5.5.1 Error: need MAIL command");
        return;
    }
    if (s->tx->in_bdat || s->bdat_failed) {
        refuse(s, "503 5.5.1 Error: RCPT after BDAT");
        return;
    }
    if (w->n < 3 || !sl_ieq(w->w[1].s, SL("to:"))) {
        refuse(s, "501 5.5.4 Syntax: RCPT TO:<address>");
        return;
    }
    if (!limits_pass(s, LIMIT_RECIPIENT, w, smtpd_cmd_rcpt))
        return;
    r = ARENA_NEW(&smtp->cmd, struct rcpt_ask);
    if (r == NULL) {
        refuse(s, "451 4.3.0 Error: out of room for this command");
        return;
    }
    r->w = w;
    if (take_path(s, w, &smtp->cmd, false, &r->addr.given,
                  "501 5.1.3 Bad recipient address syntax"))
        find_route(s, &r->addr, &smtp->cmd, rcpt_routed, r);
}

/* ---- VRFY ---- */

static void
vrfy_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply) {
        refuse(s, reply);
        return;
    }
    smtp_reply(&s->smtp, "252 2.0.0 %.*s", SL_ARG(s->vrfy_text));
    smtp_sess_done(&s->smtp, true);
}

void
smtpd_cmd_vrfy(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct slice addr;
    bool is_phrase;

    if (s->cfg->conf->disable_vrfy_command) {
        refuse(s, "502 5.5.1 VRFY command is disabled");
        return;
    }
    if (w->n < 2) {
        refuse(s, "501 5.5.4 Syntax: VRFY address [SMTPUTF8]");
        return;
    }
    if (!limits_pass(s, LIMIT_RECIPIENT, w, smtpd_cmd_vrfy))
        return;
    s->vrfy_text = w->w[1].s;
    is_phrase = w->n > 3 || (w->n == 3 && !sl_ieqz(w->w[2].s, "SMTPUTF8"));
    if (w->w[1].is_open || (is_phrase && s->cfg->conf->strict_rfc821_envelopes) ||
        smtp_path_parse(w->w[1].s, false, &smtp->cmd, &addr, NULL) != PARSE_OK || addr.n == 0) {
        if (!w->w[1].is_open)
            log_bad_path(s, smtp_words_rest(w, 1), is_phrase ? "a phrase" : "bad address");
        refuse(s, "501 5.1.3 Bad recipient address syntax");
    } else {
        check_rcpt(s, addr, vrfy_restricted);
    }
}
