/* smtpd/smtpd_auth.c - AUTH: RFC 4954. Which mechanisms a session may use; the exchange is session/smtp_sasl.h's. */
#include "smtpd/limits.h"
#include "smtpd/smtpd.h"
#include "session/words.h"

#include "base/log.h"
#include "base/mem.h"
#include "session/smtp_sasl.h"
#include "tls/tls.h"

#include <stdlib.h>

static void
refuse(struct smtp_sess *s, const char *reply)
{
    smtp_reply(s, "%s", reply);
    smtp_sess_done(s, false);
}

bool
smtpd_sasl_is_active(const struct smtpd_sess *s)
{
    return s->cfg->sasl_enable &&
           (smtp_sess_is_tls(&s->smtp) || !s->cfg->conf->smtpd_tls_auth_only);
}

/* EXTERNAL: the name in the client's certificate, for authd. */
static bool
take_cert_name(const struct smtpd_sess *s, struct buf *out)
{
    const struct conf *c = s->cfg->conf;

    return c->auth_ssl_username_from_cert && smtp_sess_is_tls(&s->smtp) &&
           tls_peer_name(s->smtp.conn, c->ssl_cert_username_field, out);
}

static bool
has_cert_name(const struct smtpd_sess *s)
{
    struct buf name = { 0 };
    bool has = take_cert_name(s, &name);

    buf_free(&name);
    return has;
}

/* smtpd_sasl_security_options and its sister for TLS; and EXTERNAL only to whom it is of use. */
static bool
is_mech_allowed(const struct smtpd_sess *s, struct slice mech, unsigned flags)
{
    struct conf_list opts = smtp_sess_is_tls(&s->smtp)
                                ? s->cfg->conf->smtpd_sasl_tls_security_options
                                : s->cfg->conf->smtpd_sasl_security_options;
    const char *table;
    size_t at = 0;
    unsigned must = (conf_list_has(opts, "forward_secrecy") ? AUTH_MECH_FORWARD_SECRECY : 0) |
                    (conf_list_has(opts, "mutual_auth") ? AUTH_MECH_MUTUAL_AUTH : 0);
    bool is_plain =
        (flags & AUTH_MECH_PLAINTEXT) || sl_ieq(mech, SL("PLAIN")) || sl_ieq(mech, SL("LOGIN"));
    bool is_anon = (flags & AUTH_MECH_ANONYMOUS) || sl_ieq(mech, SL("ANONYMOUS"));

    if (sl_ieq(mech, SL("EXTERNAL")) && !has_cert_name(s))
        return false;
    if (is_plain && conf_list_has(opts, "noplaintext"))
        return false;
    if (is_anon && conf_list_has(opts, "noanonymous"))
        return false;
    if ((flags & must) != must || ((flags & AUTH_MECH_ACTIVE) && conf_list_has(opts, "noactive")))
        return false;
    return !((flags & AUTH_MECH_DICTIONARY) && conf_list_has(opts, "nodictionary")) &&
           words_match(s->cfg->mechs, mech, &at, &table) == WORDS_YES;
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
log_auth_failure(const struct smtpd_sess *s, const char *reason, struct slice user)
{
    if (user.n == 0)
        user = SL("(unavailable)");
    log_event(LOG_LV_WARN, s->cfg->ident, "auth.fail",
              LOG_F(LF_Z("client", s->namaddr), LF_Z("why", reason), LF_S("user", user)),
              "%s: SASL %.100s authentication failed: %s, sasl_username=%.*s", s->namaddr,
              s->sasl_try, reason, SL_ARG(sl_head(user, 256)));
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
        log_event(LOG_LV_WARN, s->cfg->ident, "auth.fail", LOG_F(LF_Z("client", s->namaddr)),
                  "%s: SASL %.100s authentication aborted", s->namaddr, s->sasl_try);
        break;
    default:
        log_auth_failure(s, r->reason, r->user);
    }
    smtp_sess_done(smtp, r->rc == SMTP_SASL_OK);
}

static void
start(struct smtpd_sess *s, struct slice initial)
{
    struct auth_ask ask = { .service = s->cfg->conf->smtpd_sasl_service,
                            .mech = s->sasl_try,
                            .is_secured = smtp_sess_is_tls(&s->smtp),
                            .remote = s->peer,
                            .local = s->local };
    struct buf cert_name = { 0 };

    ask.is_cert_valid = take_cert_name(s, &cert_name);
    ask.cert_username = ask.is_cert_valid ? buf_z(&cert_name) : NULL;
    smtp_sasl_start(&s->smtp, smtpd_env.auth, &ask, initial, auth_over);
    buf_free(&cert_name);
}

void
smtpd_cmd_auth(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    size_t n;

    if (!limits_pass(s, LIMIT_AUTH, w, smtpd_cmd_auth))
        return;
    if (s->cfg->conf->smtpd_helo_required && s->helo == NULL) {
        refuse(smtp, "503 5.5.1 Error: send HELO/EHLO first");
    } else if (!smtpd_sasl_is_active(s) || (s->discard & DISCARD_AUTH)) {
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
            log_auth_failure(s, "Invalid authentication mechanism", SL(""));
            refuse(smtp,
                   "535 5.7.8 Error: authentication failed: Invalid authentication mechanism");
            return;
        }
        start(s, w->n == 3 ? w->w[2].s : sl_n(NULL, 0));
    }
}
