/* smtpd/smtpd_cmd.c - the table of verbs, and those that are no part of a message: RFC 5321 §4.1.1, RFC 3207, RFC 4954,
 * RFC 1985. Replies and their order are Postfix's. */
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/hostname.h"
#include "proto/xattr.h"
#include "session/smtp_sasl.h"

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

/* ---- HELO, EHLO ---- */

/* As it is kept: printable, and without what could end a comment or a path where it is shown. */
static char *
clean_helo(struct slice words)
{
    char *h = sl_dupz(words);

    for (char *p = h; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 127 || strchr("<>()\\\";@", *p) != NULL)
            *p = '?';
    return h;
}

void
smtpd_reset(struct smtpd_sess *s)
{
    smtpd_tx_free(s);
    smtpd_xforward_free(s);
    s->bdat_failed = false;
}

static void
add_keyword(struct buf *b, const char *text)
{
    buf_addf(b, "250-%s\r\n", text);
}

static void
ehlo_lines(struct smtpd_sess *s, struct buf *b)
{
    const struct conf *conf = s->cfg->conf;
    unsigned no = s->cfg->discard;
    struct buf mechs = { 0 };

    add_keyword(b, conf->myhostname);
    if (!(no & DISCARD_PIPELINING))
        add_keyword(b, "PIPELINING");
    if (!(no & DISCARD_SIZE)) {
        if (conf->message_size_limit)
            buf_addf(b, "250-SIZE %lld\r\n", (long long)conf->message_size_limit);
        else
            add_keyword(b, "SIZE");
    }
    if (!(no & DISCARD_VRFY) && !conf->disable_vrfy_command)
        add_keyword(b, "VRFY");
    if (!(no & DISCARD_ETRN))
        add_keyword(b, "ETRN");
    if (!(no & DISCARD_STARTTLS) && s->cfg->has_tls && !smtp_sess_is_tls(&s->smtp))
        add_keyword(b, "STARTTLS");
    if (!(no & DISCARD_AUTH) && smtpd_sasl_is_active(s)) {
        smtpd_sasl_mechs(s, &mechs);
        if (mechs.n)
            buf_addf(b, "250-AUTH %s\r\n", buf_z(&mechs));
        buf_free(&mechs);
    }
    if (!(no & DISCARD_XCLIENT) && s->may_xclient)
        add_keyword(b, xattr_keyword(XATTR_XCLIENT));
    if (!(no & DISCARD_XFORWARD) && s->may_xforward)
        add_keyword(b, xattr_keyword(XATTR_XFORWARD));
    if (!(no & DISCARD_ENHANCED))
        add_keyword(b, "ENHANCEDSTATUSCODES");
    if (!(no & DISCARD_8BITMIME))
        add_keyword(b, "8BITMIME");
    if (!(no & DISCARD_DSN))
        add_keyword(b, "DSN");
    if (!(no & DISCARD_UTF8) && conf->smtputf8_enable)
        add_keyword(b, "SMTPUTF8");
    if (!(no & DISCARD_CHUNKING))
        add_keyword(b, "CHUNKING");
}

/* One reply line each; the last has a blank after its code. */
static void
send_ehlo(struct smtpd_sess *s)
{
    struct buf b = { 0 };
    struct slice lines, line;

    ehlo_lines(s, &b);
    lines = buf_slice(&b);
    while (sl_take_until(&lines, '\n', &line)) {
        line.n--; /* CR */
        smtp_reply(&s->smtp, "250%c%.*s", lines.n ? '-' : ' ', SL_ARG(sl_from(line, 4)));
    }
    buf_free(&b);
}

static void
helo_restricted(struct smtpd_sess *s, const char *reply)
{
    char *helo = s->new_helo;

    s->new_helo = NULL;
    if (reply) {
        free(helo);
        refuse(&s->smtp, reply);
        return;
    }
    smtpd_reset(s);
    free(s->helo);
    s->helo = helo;
    if (s->is_esmtp)
        send_ehlo(s);
    else
        smtp_reply(&s->smtp, "250 %s", s->cfg->limits.myhostname);
    smtp_sess_done(&s->smtp, true);
}

static void
greet_back(struct smtp_sess *smtp, const struct smtp_words *w, bool is_ehlo)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct restrict_subject about = { 0 };

    if (w->n < 2) {
        refuse(smtp, is_ehlo ? "501 Syntax: EHLO hostname" : "501 Syntax: HELO hostname");
        return;
    }
    s->is_esmtp = is_ehlo;
    s->new_helo = clean_helo(smtp_words_rest(w, 1));
    about.helo = s->new_helo;
    if (s->cfg->conf->smtpd_delay_reject)
        helo_restricted(s, NULL);
    else
        restrict_run(s, STAGE_HELO, &about, helo_restricted);
}

void
smtpd_cmd_helo(struct smtp_sess *s, const struct smtp_words *w)
{
    greet_back(s, w, false);
}

void
smtpd_cmd_ehlo(struct smtp_sess *s, const struct smtp_words *w)
{
    greet_back(s, w, true);
}

/* ---- AUTH ---- */

bool
smtpd_sasl_is_active(const struct smtpd_sess *s)
{
    return s->cfg->sasl_enable &&
           (smtp_sess_is_tls(&s->smtp) || !s->cfg->conf->smtpd_tls_auth_only);
}

static bool
has_option(struct conf_list l, const char *name)
{
    for (size_t i = 0; i < l.n; i++)
        if (sl_ieqz(sl_z(l.v[i]), name))
            return true;
    return false;
}

/* smtpd_sasl_security_options and its sister for TLS. */
static bool
is_mech_allowed(const struct smtpd_sess *s, struct slice mech, unsigned flags)
{
    struct conf_list opts = smtp_sess_is_tls(&s->smtp)
                                ? s->cfg->conf->smtpd_sasl_tls_security_options
                                : s->cfg->conf->smtpd_sasl_security_options;
    bool is_plain =
        (flags & AUTH_MECH_PLAINTEXT) || sl_ieq(mech, SL("PLAIN")) || sl_ieq(mech, SL("LOGIN"));
    bool is_anon = (flags & AUTH_MECH_ANONYMOUS) || sl_ieq(mech, SL("ANONYMOUS"));

    if (is_plain && has_option(opts, "noplaintext"))
        return false;
    if (is_anon && has_option(opts, "noanonymous"))
        return false;
    return !((flags & AUTH_MECH_DICTIONARY) && has_option(opts, "nodictionary"));
}

/* The i-th mechanism: what authd said, or, before it has said anything, what auth_mechanisms promises. */
static bool
mech_at(const struct smtpd_sess *s, size_t i, struct slice *name, unsigned *flags)
{
    const struct conf_list *l = &s->cfg->conf->auth_mechanisms;

    *flags = 0;
    *name = sl_z(auth_client_is_ready(smtpd_env.auth) ? auth_client_mech(smtpd_env.auth, i, flags)
                 : i < l->n                           ? l->v[i]
                                                      : NULL);
    return name->n > 0;
}

void
smtpd_sasl_mechs(const struct smtpd_sess *s, struct buf *out)
{
    struct slice name;
    unsigned flags;

    for (size_t i = 0; mech_at(s, i, &name, &flags); i++) {
        if (!is_mech_allowed(s, name, flags))
            continue;
        if (out->n)
            buf_addc(out, ' ');
        for (size_t k = 0; k < name.n; k++)
            buf_addc(out,
                     name.p[k] >= 'a' && name.p[k] <= 'z' ? (char)(name.p[k] - 32) : name.p[k]);
    }
}

static bool
is_mech_offered(const struct smtpd_sess *s, struct slice mech)
{
    struct slice name;
    unsigned flags;

    for (size_t i = 0; mech_at(s, i, &name, &flags); i++)
        if (sl_ieq(name, mech))
            return is_mech_allowed(s, name, flags);
    return false;
}

static void
log_auth_failure(const struct smtpd_sess *s, const char *what, const char *reason)
{
    log_event(LOG_LV_WARN, s->cfg->ident, "auth.fail",
              LOG_F(LF_Z("client", s->namaddr), LF_Z("why", reason)),
              "%s: SASL %.100s authentication %s%s%s", s->namaddr, s->sasl_try, what,
              reason[0] ? ": " : "", reason);
}

static void
auth_over(struct smtp_sess *smtp, const struct smtp_sasl_result *r)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    switch (r->rc) {
    case SMTP_SASL_OK:
        s->sasl_user = sl_dupz(r->user);
        s->sasl_method = mem_dupz(s->sasl_try);
        break;
    case SMTP_SASL_ABORTED:
        log_auth_failure(s, "aborted", "");
        break;
    default:
        log_auth_failure(s, "failed", r->reason);
    }
    smtp_sess_done(smtp, r->rc == SMTP_SASL_OK);
}

void
smtpd_cmd_auth(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct auth_ask ask = { .service = "smtp",
                            .is_secured = smtp_sess_is_tls(smtp),
                            .remote = s->peer };
    size_t n;

    if (s->cfg->conf->smtpd_helo_required && s->helo == NULL) {
        refuse(smtp, "503 5.5.1 Error: send HELO/EHLO first");
    } else if (!smtpd_sasl_is_active(s) || (s->cfg->discard & DISCARD_AUTH)) {
        refuse(smtp, "503 5.5.1 Error: authentication not enabled");
    } else if (s->tx) {
        refuse(smtp, "503 5.5.1 Error: MAIL transaction in progress");
    } else if (s->sasl_user) {
        refuse(smtp, "503 5.5.1 Error: already authenticated");
    } else if (w->n < 2 || w->n > 3) {
        refuse(smtp, "501 5.5.4 Syntax: AUTH mechanism");
    } else {
        n = w->w[1].s.n < sizeof(s->sasl_try) - 1 ? w->w[1].s.n : sizeof(s->sasl_try) - 1;
        for (size_t i = 0; i < n; i++) {
            char c = w->w[1].s.p[i];

            s->sasl_try[i] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        }
        s->sasl_try[n] = '\0';
        if (!is_mech_offered(s, w->w[1].s)) {
            log_auth_failure(s, "failed", "Invalid authentication mechanism");
            refuse(smtp,
                   "535 5.7.8 Error: authentication failed: Invalid authentication mechanism");
            return;
        }
        ask.mech = s->sasl_try;
        ask.local = s->local;
        smtp_sasl_start(smtp, smtpd_env.auth, &ask, w->n == 3 ? w->w[2].s : sl_n(NULL, 0),
                        auth_over);
    }
}

/* ---- STARTTLS ---- */

static void
cmd_starttls(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct tls_ctx *t = smtpd_tls_ctx(s);

    if (w->n != 1) {
        refuse(smtp, "501 5.5.4 Syntax: STARTTLS");
    } else if (smtp_sess_is_tls(smtp)) {
        refuse(smtp, "554 5.5.1 Error: TLS already active");
    } else if (!s->cfg->has_tls || (s->cfg->discard & DISCARD_STARTTLS)) {
        refuse(smtp, "502 5.5.1 Error: command not implemented");
    } else if (t == NULL) {
        refuse(smtp, "454 4.7.0 TLS not available due to local problem");
    } else {
        smtp_reply(smtp, "220 2.0.0 Ready to start TLS");
        smtpd_reset(s);
        smtpd_clear_helo(s);
        free(s->sasl_user); /* who that was in clear is forgotten too: RFC 3207 §4.2 */
        free(s->sasl_method);
        s->sasl_user = s->sasl_method = NULL;
        smtp_sess_start_tls(smtp, t);
    }
}

/* ---- ETRN, and the small ones ---- */

static void
etrn_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply) {
        refuse(&s->smtp, reply);
        return;
    }
    /* No domain is flushed on demand: that is for hosts that dial in. */
    smtp_reply(&s->smtp, "459 <%.*s>: service unavailable", SL_ARG(s->vrfy_text));
    smtp_sess_done(&s->smtp, false);
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

static void
cmd_quit(struct smtp_sess *smtp, const struct smtp_words *w)
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
    { "QUIT",     SMTP_V_PRE_TLS,                             cmd_quit },
};
/* clang-format on */

static bool
is_forbidden(const struct smtpd_sess *s, struct slice word)
{
    struct conf_list l = s->cfg->conf->smtpd_forbidden_commands;
    char c = word.p[0];

    if (smtp_word_is_header(word) || !((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
        return true;
    for (size_t i = 0; i < l.n; i++)
        if (sl_ieqz(word, l.v[i]))
            return true;
    return false;
}

static bool
gate(struct smtp_sess *smtp, const struct smtp_verb *v, const struct smtp_words *w,
     struct slice line)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (v == NULL && is_forbidden(s, w->w[0].s)) {
        log_event(LOG_LV_WARN, s->cfg->ident, "smtp.forbidden", LOG_F(LF_Z("client", s->namaddr)),
                  "non-SMTP command from %s: %.*s", s->namaddr, SL_ARG(sl_head(line, 100)));
        smtp_reply(smtp, "221 2.7.0 Error: I can break rules, too. Goodbye.");
        smtp_sess_end(smtp, SMTP_END_FORBIDDEN);
        smtp_sess_done(smtp, false);
        return false;
    }
    if (s->access_denied && !(v && v->run == cmd_quit)) {
        smtp_reply(smtp, "503 5.7.0 Error: access denied for %s", s->namaddr);
        smtp_sess_done(smtp, false);
        return false;
    }
    if (v == NULL) {
        refuse(smtp, "500 5.5.2 Error: command not recognized");
        return false;
    }
    if (s->cfg->must_tls && !smtp_sess_is_tls(smtp) && !(v->flags & SMTP_V_PRE_TLS)) {
        if (v->run == smtpd_cmd_bdat &&
            smtpd_skip_bdat(s, w, "530 5.7.0 Must issue a STARTTLS command first"))
            return false; /* its octets must not be taken for commands */
        refuse(smtp, "530 5.7.0 Must issue a STARTTLS command first");
        return false;
    }
    return true;
}

const struct smtp_server_def smtpd_def = {
    .verbs = verbs,
    .n_verbs = COUNT_OF(verbs),
    .gate = gate,
    .body = smtpd_body,
    .body_end = smtpd_body_end,
    .chunk_end = smtpd_chunk_end,
    .backlog = smtpd_backlog,
    .secured = smtpd_secured,
    .closed = smtpd_closed,
    .bad_utf8 = "500 5.5.2 Error: bad UTF-8 syntax",
    .bad_syntax = "500 5.5.2 Error: bad syntax",
    .timeout = { "421 4.4.2 ", " Error: timeout exceeded" },
    .too_many_errors = { "421 4.7.0 ", " Error: too many errors" },
    .shutting_down = { "421 4.3.2 ", " Service shutting down" },
};
