/* smtpd/verbs.c - restriction verbs that need no table: client, HELO, and who asks. Names, texts and codes as in
 * Postfix's postconf(5). */
#include "smtpd/check.h"

#include "base/log.h"
#include "proto/hostname.h"

#include <stdarg.h>
#include <stdio.h>

void
verb_permit(struct check *c)
{
    check_done(c, VERDICT_PERMIT);
}

void
verb_reject(struct check *c)
{
    check_refuse(c, c->s->cfg->conf->reject_code, "5.7.1", "<%.*s>: %s rejected: Access denied",
                 SL_ARG(check_reply_name(c)), c->reply_class);
}

void
verb_defer(struct check *c)
{
    check_refuse(c, c->s->cfg->conf->defer_code, "4.3.2", "<%.*s>: %s rejected: Try again later",
                 SL_ARG(check_reply_name(c)), c->reply_class);
}

void
verb_permit_mynetworks(struct check *c)
{
    check_done(c,
               netlist_match(&c->s->cfg->mynetworks, &c->s->peer) ? VERDICT_PERMIT : VERDICT_DUNNO);
}

void
verb_permit_sasl_authenticated(struct check *c)
{
    /* Where AUTH is off, a login that XCLIENT brought permits nothing. */
    bool is_known = smtpd_sasl_is_active(c->s) && c->s->sasl_user &&
                    !sl_ieqz(sl_z(c->s->sasl_method), "ANONYMOUS");

    check_done(c, is_known ? VERDICT_PERMIT : VERDICT_DUNNO);
}

void
verb_permit_inet_interfaces(struct check *c)
{
    bool is_ours = addr_same_ip(&c->s->local, &c->s->peer);

    check_done(c, is_ours ? VERDICT_PERMIT : VERDICT_DUNNO);
}

void
verb_reject_plaintext_session(struct check *c)
{
    if (smtp_sess_is_tls(&c->s->smtp))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->s->cfg->conf->plaintext_reject_code, "4.7.1",
                     "Session encryption is required");
}

/* Trouble with DNS is no reason to refuse for good, whatever the code for clients without a name. */
static int64_t
client_code(const struct check *c, enum peer_status status)
{
    return status == PEER_TEMP ? 450 : c->s->cfg->conf->unknown_client_reject_code;
}

void
verb_reject_unknown_client_hostname(struct check *c)
{
    char ip[ADDR_TEXT_OCTETS];

    if (c->s->name_status == PEER_OK)
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, client_code(c, c->s->name_status), "4.7.25",
                     "Client host rejected: cannot find your hostname, [%s]",
                     addr_ip_text(&c->s->peer, ip));
}

void
verb_reject_unknown_reverse_client_hostname(struct check *c)
{
    char ip[ADDR_TEXT_OCTETS];

    if (c->s->reverse_status == PEER_OK)
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, client_code(c, c->s->reverse_status), "4.7.1",
                     "Client host rejected: cannot find your reverse hostname, [%s]",
                     addr_ip_text(&c->s->peer, ip));
}

void
verb_reject_multi_recipient_bounce(struct check *c)
{
    bool is_bounce = c->about.sender.p && c->about.sender.n == 0;

    if (is_bounce && c->s->tx && c->s->tx->n_rcpts > (c->stage == STAGE_RCPT ? 0u : 1u))
        check_refuse(c, c->s->cfg->conf->multi_recipient_bounce_reject_code, "5.5.3",
                     "<%.*s>: %s rejected: Multi-recipient bounce", SL_ARG(check_reply_name(c)),
                     c->reply_class);
    else
        check_done(c, VERDICT_DUNNO);
}

/* ---- client certificates ---- */

static void
on_ccert(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    const char *next = arg; /* another fingerprint to try, or NULL */

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        check_fail(c, 451, "4.3.0", "<%s>: Temporary lookup failure", s->namaddr);
    } else if (f == FOUND_YES) {
        check_done(c, VERDICT_PERMIT);
    } else if (next) {
        find_key(s, "relay_clientcerts", sl_z(next), on_ccert, NULL);
    } else {
        check_done(c, VERDICT_DUNNO);
    }
}

/* In Postfix's order: the key's fingerprint, then the certificate's. */
void
verb_permit_tls_clientcerts(struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;
    struct tls_info t;
    bool is_tls = tls_info_of(c->s->smtp.conn, &t);

    if (is_tls && !t.has_peer_cert && !conf->smtpd_tls_ask_ccert && !conf->smtpd_tls_req_ccert)
        log_event(LOG_LV_WARN, c->s->cfg->ident, "restrict.config", LOG_NONE,
                  "%s is requested, but \"smtpd_tls_ask_ccert = no\"", c->step->name);
    if (!is_tls || !t.has_peer_cert || conf->relay_clientcerts.n == 0)
        check_done(c, VERDICT_DUNNO);
    else
        find_key(c->s, "relay_clientcerts", sl_z(t.peer_key_fingerprint), on_ccert,
                 (void *)(uintptr_t)t.peer_fingerprint); /* lives as long as the connection */
}

void
verb_permit_tls_all_clientcerts(struct check *c)
{
    struct tls_info t;

    if (tls_info_of(c->s->smtp.conn, &t) && t.has_peer_cert && t.peer_verified)
        check_done(c, VERDICT_PERMIT);
    else
        verb_permit_tls_clientcerts(c);
}

/* ---- HELO ---- */

/* A literal is looked at as such by both HELO verbs. */
static bool
refuse_bad_literal(struct check *c)
{
    struct slice helo = sl_z(c->about.helo), ip = helo;

    if (!sl_starts(helo, '['))
        return false;
    if (helo.n > 2 && sl_ends(helo, ']'))
        ip = sl_n(helo.p + 1, helo.n - 2);
    if (hostname_is_literal_addr(ip))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->s->cfg->conf->invalid_hostname_reject_code, "5.5.2",
                     "<%s>: %s rejected: invalid ip address", c->about.helo, CLASS_TEXT_HELO);
    return true;
}

void
verb_reject_invalid_helo_hostname(struct check *c)
{
    struct slice name = hostname_trim_dot(sl_z(c->about.helo));

    if (refuse_bad_literal(c))
        return;
    if (hostname_is_valid(name) || hostname_is_ipv4(name) || hostname_is_ipv6(name))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->s->cfg->conf->invalid_hostname_reject_code, "5.5.2",
                     "<%s>: %s rejected: Invalid name", c->about.helo, CLASS_TEXT_HELO);
}

static bool
is_fqdn(const struct check *c, struct slice name)
{
    bool with_utf8 = c->s->tx && c->s->tx->params.is_utf8;

    name = hostname_trim_dot(name);
    return (with_utf8 ? hostname_is_valid_utf8(name) : hostname_is_valid(name)) &&
           sl_find_char(name, '.') != SL_NPOS;
}

void
verb_reject_non_fqdn_helo_hostname(struct check *c)
{
    if (refuse_bad_literal(c))
        return;
    if (is_fqdn(c, sl_z(c->about.helo)))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->s->cfg->conf->non_fqdn_reject_code, "5.5.2",
                     "<%s>: %s rejected: need fully-qualified hostname", c->about.helo,
                     CLASS_TEXT_HELO);
}

/* ---- does the HELO name exist ---- */

static void
unknown_helo(struct check *c)
{
    check_refuse(c, c->s->cfg->conf->unknown_hostname_reject_code, "4.7.1",
                 "<%s>: %s rejected: Host not found", c->about.helo, CLASS_TEXT_HELO);
}

static void
on_helo_mx(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    const struct conf *conf;

    if (c == NULL)
        return;
    conf = c->s->cfg->conf;
    if (a->rc == DNS_OK) /* a null MX too: it is a name */
        check_done(c, VERDICT_DUNNO);
    else if (a->rc == DNS_TEMP || c->had_trouble)
        check_tempfail(c, conf->unknown_helo_hostname_tempfail_action, 450, "4.7.1",
                       "<%s>: %s rejected: Host not found", c->about.helo, CLASS_TEXT_HELO);
    else
        unknown_helo(c);
}

static void
on_helo_addr(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);

    if (c == NULL)
        return;
    c->had_trouble = a->rc == DNS_TEMP;
    if (a->rc == DNS_OK)
        check_done(c, VERDICT_DUNNO);
    else
        dns_mx(smtpd_env.dns, sl_z(c->about.helo), on_helo_mx, id);
}

void
verb_reject_unknown_helo_hostname(struct check *c)
{
    struct slice name = sl_z(c->about.helo);

    if (refuse_bad_literal(c))
        return;
    /* A final dot makes it no host name (RFC 5321 §4.1.2); a name under localhost would be this host's (RFC 6761 §6.3). */
    if (sl_ends(name, '.') || sl_has_isuffix(name, SL(".localhost")))
        unknown_helo(c);
    else
        dns_addr(smtpd_env.dns, name, DNS_WANT_A | DNS_WANT_AAAA, on_helo_addr, c->s->smtp.id);
}

void
check_tempfail(struct check *c, const char *action, int64_t code, const char *esc, const char *fmt,
               ...)
{
    char text[CHECK_REPLY_OCTETS];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (sl_ieq(sl_z(action), SL("defer")))
        check_refuse(c, code, esc, "%s", text);
    else
        check_defer_if_permit(c, code, esc, "%s", text);
}

/* ---- addresses as they were given ---- */

static void
non_fqdn_address(struct check *c, struct slice addr, const char *reply_class)
{
    struct slice local, domain;

    smtp_addr_split(addr, &local, &domain);
    if ((sl_starts(domain, '[') && sl_ends(domain, ']')) || is_fqdn(c, domain))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->s->cfg->conf->non_fqdn_reject_code, "4.5.2",
                     "<%.*s>: %s rejected: need fully-qualified address", SL_ARG(addr),
                     reply_class);
}

void
verb_reject_non_fqdn_sender(struct check *c)
{
    non_fqdn_address(c, c->about.sender, CLASS_TEXT_SENDER);
}

void
verb_reject_non_fqdn_recipient(struct check *c)
{
    non_fqdn_address(c, c->about.recipient, CLASS_TEXT_RECIPIENT);
}
