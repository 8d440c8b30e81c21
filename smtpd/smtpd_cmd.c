/* smtpd/smtpd_cmd.c - the table of verbs, and those that are no part of a message: RFC 5321 §4.1.1, RFC 3207, RFC 4954,
 * RFC 1985. Replies and their order are Postfix's. */
#include "smtpd/find.h"
#include "smtpd/limits.h"
#include "smtpd/smtpd.h"
#include "smtpd/transcript.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/hostname.h"

#include <stdlib.h>

static void
refuse(struct smtp_sess *s, const char *reply)
{
    smtp_reply(s, "%s", reply);
    smtp_sess_done(s, false);
}

bool
smtpd_is_in_tx(const struct smtpd_sess *s)
{
    return s->tx != NULL;
}

void
smtpd_reset(struct smtpd_sess *s)
{
    smtpd_tx_free(s);
    smtpd_xforward_free(s);
    s->bdat_failed = false;
}

/* ---- STARTTLS ---- */

static void
start_tls(struct smtpd_sess *s, bool is_over)
{
    struct smtp_sess *smtp = &s->smtp;

    if (is_over) {
        log_event(LOG_LV_WARN, s->cfg->ident, "client.limit", LOG_F(LF_Z("client", s->namaddr)),
                  "Refusing STARTTLS request from %s for service %s", s->namaddr,
                  s->cfg->service_name);
        smtp_reply(smtp, "454 4.7.0 Error: too many new TLS sessions from %s", s->namaddr);
        smtp_sess_done(smtp, false);
        return;
    }
    smtp_reply(smtp, "220 2.0.0 Ready to start TLS");
    smtpd_reset(s);
    smtpd_clear_helo(s);
    free(s->sasl_user); /* who that was in clear is forgotten too: RFC 3207 §4.2 */
    free(s->sasl_method);
    s->sasl_user = s->sasl_method = NULL;
    smtp_sess_start_tls(smtp, smtpd_tls_ctx(s));
}

static void
cmd_starttls(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct tls_ctx *t = smtpd_tls_ctx(s);

    if (w->n != 1) {
        refuse(smtp, "501 5.5.4 Syntax: STARTTLS");
    } else if (smtp_sess_is_tls(smtp)) {
        refuse(smtp, "554 5.5.1 Error: TLS already active");
    } else if (!s->cfg->has_tls || (s->discard & DISCARD_STARTTLS)) {
        refuse(smtp, "502 5.5.1 Error: command not implemented");
    } else if (t == NULL) {
        refuse(smtp, "454 4.7.0 TLS not available due to local problem");
    } else {
        limits_ask_tls(s, start_tls);
    }
}

/* ---- ETRN, and the small ones ---- */

static void
on_etrn_domain(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_NO) {
        log_event(LOG_LV_WARN, s->cfg->ident, "etrn.refused", LOG_F(LF_Z("client", s->namaddr)),
                  "reject: ETRN %.*s... from %s", SL_ARG(sl_head(s->vrfy_text, 100)), s->namaddr);
        smtp_reply(&s->smtp, "459 <%.*s>: service unavailable", SL_ARG(s->vrfy_text));
    } else if (
        f == FOUND_YES &&
        /* mail for our own domains is delivered as soon as it can be: there is nothing to start */
        (domlist_match(&s->cfg->mydestination, s->vrfy_text) == DOMLIST_YES ||
         queue_flush(smtpd_env.queue, s->vrfy_text))) {
        smtp_reply(&s->smtp, "250 Queuing started");
    } else { /* nobody can say now */
        smtp_reply(&s->smtp, "458 Unable to queue messages");
    }
    smtp_sess_done(&s->smtp, f == FOUND_YES);
}

static void
etrn_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply)
        refuse(&s->smtp, reply);
    else
        find_domain(s, &s->cfg->etrn_domains, s->vrfy_text, on_etrn_domain, NULL);
}

static void
cmd_etrn(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct restrict_subject about = { .helo = s->helo };
    struct slice name;

    if (s->cfg->conf->smtpd_helo_required && s->helo == NULL) {
        refuse(smtp, "503 Error: send HELO/EHLO first");
    } else if (s->tx) {
        refuse(smtp, "503 Error: MAIL transaction in progress");
    } else if (w->n != 2) {
        refuse(smtp, "500 Syntax: ETRN domain");
    } else {
        name = w->w[1].s;
        if (sl_starts(name, '@') || sl_starts(name, '#'))
            name = sl_from(name, 1);
        if (!hostname_is_valid(name) && !hostname_is_literal(name)) {
            refuse(smtp, "501 Error: invalid parameter syntax");
            return;
        }
        s->vrfy_text = about.etrn = name;
        restrict_run(s, STAGE_ETRN, &about, etrn_restricted);
    }
}

static void
cmd_rset(struct smtp_sess *smtp, const struct smtp_words *w)
{
    if (w->n != 1) {
        refuse(smtp, "501 5.5.4 Syntax: RSET");
        return;
    }
    smtpd_reset(smtpd_of(smtp));
    smtp_reply(smtp, "250 2.0.0 Ok");
    smtp_sess_done(smtp, true);
}

static void
cmd_noop(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(smtp, "250 2.0.0 Ok");
    smtp_sess_done(smtp, true);
}

void
smtpd_cmd_quit(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(smtp, "221 2.0.0 Bye");
    smtp_sess_end(smtp, SMTP_END_QUIT);
    smtp_sess_done(smtp, true);
}

/* ---- the table ---- */

/* clang-format off */
static const struct smtp_verb verbs[] = {
    { "HELO",     SMTP_V_JUNK | SMTP_V_PRE_TLS | SMTP_V_LAST, smtpd_cmd_helo },
    { "EHLO",     SMTP_V_JUNK | SMTP_V_PRE_TLS | SMTP_V_LAST, smtpd_cmd_ehlo },
    { "XCLIENT",  SMTP_V_PRE_TLS,                             smtpd_cmd_xclient },
    { "XFORWARD", 0,                                          smtpd_cmd_xforward },
    { "STARTTLS", SMTP_V_PRE_TLS,                             cmd_starttls },
    { "AUTH",     SMTP_V_SECRET,                              smtpd_cmd_auth },
    { "MAIL",     0,                                          smtpd_cmd_mail },
    { "RCPT",     0,                                          smtpd_cmd_rcpt },
    { "DATA",     SMTP_V_LAST,                                smtpd_cmd_data },
    { "BDAT",     0,                                          smtpd_cmd_bdat },
    { "RSET",     SMTP_V_JUNK,                                cmd_rset },
    { "NOOP",     SMTP_V_JUNK | SMTP_V_PRE_TLS | SMTP_V_LAST, cmd_noop },
    { "VRFY",     SMTP_V_JUNK | SMTP_V_LAST,                  smtpd_cmd_vrfy },
    { "ETRN",     SMTP_V_JUNK,                                cmd_etrn },
    { "QUIT",     SMTP_V_PRE_TLS,                             smtpd_cmd_quit },
};
/* clang-format on */

const struct smtp_server_def smtpd_def = {
    .verbs = verbs,
    .n_verbs = COUNT_OF(verbs),
    .gate = smtpd_gate,
    .body = smtpd_body,
    .body_end = smtpd_body_end,
    .chunk_end = smtpd_chunk_end,
    .backlog = smtpd_backlog,
    .secured = smtpd_secured,
    .closed = smtpd_closed,
    .decorate = smtpd_decorate,
    .overheard = transcript_overheard,
    .bad_utf8 = "500 5.5.2 Error: bad UTF-8 syntax",
    .bad_syntax = "500 5.5.2 Error: bad syntax",
    .timeout = { "421 4.4.2 ", " Error: timeout exceeded" },
    .too_many_errors = { "421 4.7.0 ", " Error: too many errors" },
    .shutting_down = { "421 4.3.2 ", " Service shutting down" },
};
