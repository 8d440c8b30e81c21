/* smtpd/limits.c - questions to anvil. Connections are told to it, limited or not: its statistics are about all clients.
 * What a client does in its session is told only where it is limited. */
#include "smtpd/limits.h"

#include "auth/anvil_client.h"
#include "base/log.h"
#include "base/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIMITS_AWAY_LOG_MS = 60 * 1000 }; /* how often the log says that nobody counts */

static const struct {
    enum anvil_req req;
    size_t limit_at; /* of an int64_t in struct conf */
    const char *log;
    const char *much; /* of what: in the reply */
} rows[] = {
    [LIMIT_MESSAGE] = { ANVIL_MESSAGE, offsetof(struct conf, smtpd_client_message_rate_limit),
                        "Message delivery request", "much mail" },
    [LIMIT_RECIPIENT] = { ANVIL_RECIPIENT, offsetof(struct conf, smtpd_client_recipient_rate_limit),
                          "Recipient address", "many recipients" },
    [LIMIT_AUTH] = { ANVIL_AUTH, offsetof(struct conf, smtpd_client_auth_rate_limit),
                     "AUTH command", "many AUTH commands" },
};

static uint64_t
limit_of(const struct smtpd_sess *s, size_t at)
{
    return (uint64_t) * (const int64_t *)(const void *)((const char *)s->cfg->conf + at);
}

/* The session of an answer, if it is still there. */
static struct smtpd_sess *
session_of(uint64_t id)
{
    struct smtp_sess *smtp = id_get(id);

    return smtp ? smtpd_of(smtp) : NULL;
}

/* Is the count to be had? If not, the client passes, and the log says so now and then. */
static bool
is_known(const struct smtpd_sess *s, const struct anvil_result *r)
{
    static uint64_t told_ms;

    if (r->is_ok)
        return true;
    if (told_ms == 0 || loop_now_ms() - told_ms > LIMITS_AWAY_LOG_MS) {
        told_ms = loop_now_ms();
        log_event(LOG_LV_WARN, s->cfg->ident, "anvil.away", LOG_NONE,
                  "problem talking to server private/anvil: clients are not limited");
    }
    return false;
}

static void
warn_rate(const struct smtpd_sess *s, const char *what, uint64_t n)
{
    log_event(LOG_LV_WARN, s->cfg->ident, "client.limit",
              LOG_F(LF_Z("client", s->namaddr), LF_Z("what", what), LF_N("count", (int64_t)n)),
              "%s limit exceeded: %llu from %s for service %s", what, (unsigned long long)n,
              s->namaddr, s->cfg->service_name);
}

/* ---- the connection ---- */

/* "smtp:192.0.2.1", or with a shorter prefix "smtp:192.0.2.0/24": who counts as one client. */
static void
set_ident(struct smtpd_sess *s)
{
    const struct conf *c = s->cfg->conf;
    struct addr range = s->peer;
    bool is_v4 = addr_family(&s->peer) == AF_INET;
    unsigned bits =
        (unsigned)(is_v4 ? c->smtpd_client_ipv4_prefix_length : c->smtpd_client_ipv6_prefix_length);
    unsigned all = is_v4 ? 32 : 128;
    unsigned char *octets =
        is_v4 ? (unsigned char *)&range.u.in4.sin_addr : (unsigned char *)&range.u.in6.sin6_addr;
    char ident[ADDR_TEXT_OCTETS + 40], *p;

    for (unsigned i = bits; i < all; i++)
        octets[i / 8] &= (unsigned char)~(0x80 >> i % 8);
    p = stpcpy(stpcpy(ident, s->cfg->service_name), ":");
    addr_ip_text(&range, p);
    if (bits < all)
        snprintf(p + strlen(p), 8, "/%u", bits);
    s->anvil_ident = mem_dupz(ident);
}

/* Is this a client that is counted? Found out once, and again after XCLIENT. */
static bool
is_counted(struct smtpd_sess *s)
{
    /* Who may speak for others is not the client that is to be counted. */
    if (!s->limits_begun && !s->may_xclient &&
        !hostlist_match(&s->cfg->uncounted, s->name, &s->peer))
        set_ident(s);
    s->limits_begun = true;
    return s->anvil_ident != NULL;
}

static void
refuse_connection(struct smtpd_sess *s, const char *what, uint64_t n)
{
    char ip[ADDR_TEXT_OCTETS];

    warn_rate(s, what, n);
    smtp_reply(&s->smtp, "421 4.7.0 %s Error: too many connections from %s",
               s->cfg->conf->myhostname, addr_ip_text(&s->peer, ip));
    smtp_sess_done(&s->smtp, false);
}

static void
on_connect(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);
    const struct conf *c;

    if (s == NULL)
        return;
    c = s->cfg->conf;
    if (is_known(s, r) && c->smtpd_client_connection_count_limit > 0 &&
        r->count > (uint64_t)c->smtpd_client_connection_count_limit)
        refuse_connection(s, "Connection concurrency", r->count);
    else if (is_known(s, r) && c->smtpd_client_connection_rate_limit > 0 &&
             r->rate > (uint64_t)c->smtpd_client_connection_rate_limit)
        refuse_connection(s, "Connection rate", r->rate);
    else
        s->limit_go(s);
}

void
limits_connect(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s))
{
    const struct conf *c = s->cfg->conf;
    bool is_limited =
        c->smtpd_client_connection_count_limit > 0 || c->smtpd_client_connection_rate_limit > 0;

    if (!is_counted(s)) {
        go(s);
        return;
    }
    s->is_connected = true;
    s->limit_go = go;
    anvil_ask(smtpd_env.anvil, ANVIL_CONNECT, sl_z(s->anvil_ident), is_limited ? on_connect : NULL,
              s->smtp.id);
    if (!is_limited)
        go(s);
}

void
limits_disconnect(struct smtpd_sess *s)
{
    if (s->is_connected)
        anvil_ask(smtpd_env.anvil, ANVIL_DISCONNECT, sl_z(s->anvil_ident), NULL, 0);
    free(s->anvil_ident);
    s->anvil_ident = NULL;
}

void
limits_forget(struct smtpd_sess *s)
{
    limits_disconnect(s);
    s->is_connected = s->limits_begun = false;
}

/* ---- what a client does ---- */

static void
on_rate(struct smtpd_sess *s, enum limit what, const struct anvil_result *r)
{
    char ip[ADDR_TEXT_OCTETS], name[40];

    if (!is_known(s, r) || r->rate <= limit_of(s, rows[what].limit_at)) {
        s->limit_is_passed = true;
        s->limit_again(&s->smtp, s->limit_words);
        return;
    }
    addr_ip_text(&s->peer, ip);
    smtp_reply(&s->smtp, "450 4.7.1 Error: too %s from %s", rows[what].much, ip);
    snprintf(name, sizeof name, "%s rate", rows[what].log);
    warn_rate(s, name, r->rate);
    smtp_sess_done(&s->smtp, false);
}

static void
on_message(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);

    if (s)
        on_rate(s, LIMIT_MESSAGE, r);
}

static void
on_recipient(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);

    if (s)
        on_rate(s, LIMIT_RECIPIENT, r);
}

static void
on_auth(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);

    if (s)
        on_rate(s, LIMIT_AUTH, r);
}

bool
limits_pass(struct smtpd_sess *s, enum limit what, const struct smtp_words *w,
            void (*again)(struct smtp_sess *s, const struct smtp_words *w))
{
    static void (*const answers[])(uint64_t, const struct anvil_result *) = {
        [LIMIT_MESSAGE] = on_message, [LIMIT_RECIPIENT] = on_recipient, [LIMIT_AUTH] = on_auth
    };

    if (s->pickup)
        return true;
    if (s->limit_is_passed) {
        s->limit_is_passed = false;
        return true;
    }
    if (!is_counted(s) || limit_of(s, rows[what].limit_at) == 0)
        return true;
    s->limit_words = w;
    s->limit_again = again;
    anvil_ask(smtpd_env.anvil, rows[what].req, sl_z(s->anvil_ident), answers[what], s->smtp.id);
    return false;
}

/* ---- handshakes ---- */

static bool
is_over_tls(const struct smtpd_sess *s, const struct anvil_result *r)
{
    return is_known(s, r) &&
           r->rate > (uint64_t)s->cfg->conf->smtpd_client_new_tls_session_rate_limit;
}

static void
on_tls_status(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);

    if (s)
        s->limit_tls(s, is_over_tls(s, r));
}

void
limits_ask_tls(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s, bool is_over))
{
    if (s->cfg->conf->smtpd_client_new_tls_session_rate_limit == 0 || !is_counted(s)) {
        go(s, false);
        return;
    }
    s->limit_tls = go;
    anvil_ask(smtpd_env.anvil, ANVIL_NEWTLS_STATUS, sl_z(s->anvil_ident), on_tls_status,
              s->smtp.id);
}

static void
on_tls(uint64_t id, const struct anvil_result *r)
{
    struct smtpd_sess *s = session_of(id);

    if (s == NULL)
        return;
    if (!is_over_tls(s, r)) {
        s->limit_go(s);
        return;
    }
    warn_rate(s, "New TLS session rate", r->rate);
    smtp_reply(&s->smtp, "421 4.7.0 %s Error: too many new TLS sessions from %s",
               s->cfg->conf->myhostname, s->namaddr);
    smtp_sess_done(&s->smtp, false);
}

void
limits_count_tls(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s))
{
    if (s->cfg->conf->smtpd_client_new_tls_session_rate_limit == 0 || !is_counted(s)) {
        go(s);
        return;
    }
    s->limit_go = go;
    anvil_ask(smtpd_env.anvil, ANVIL_NEWTLS, sl_z(s->anvil_ident), on_tls, s->smtp.id);
}
