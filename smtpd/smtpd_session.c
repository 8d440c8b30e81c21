/* smtpd/smtpd_session.c - a session's beginning and end, and what is logged then. */
#include "smtpd/content.h"
#include "smtpd/expand.h"
#include "smtpd/rbl.h"
#include "smtpd/smtpd.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/smtp_sasl.h"
#include "session/upstream_proxy.h"

#include <stdlib.h>

struct smtpd_env smtpd_env;
static struct smtpd_cfg *cfgs[SMTPD_SERVICES];
static struct tls_ctx *tls_mx, *tls_submission;
static struct list sessions = { &sessions, &sessions };
static size_t n_sessions;
static char *tls_chain, *tls_key; /* kept: a new configuration may want other options */

/* ---- configuration ---- */

static int
make_tls(const struct conf *c, struct slice chain, struct slice key, struct err *e)
{
    struct tls_server_opts mx = { .tickets = false, .protocols = c->smtpd_tls_protocols };
    struct tls_server_opts sub = { .tickets = true, .protocols = c->smtpd_tls_mandatory_protocols };
    struct tls_ctx *a = NULL, *b = NULL;

    if (tls_server_new(chain, key, &mx, &a, e) || tls_server_new(chain, key, &sub, &b, e)) {
        tls_unref(&a);
        return -1;
    }
    tls_unref(&tls_mx);
    tls_unref(&tls_submission);
    tls_mx = a;
    tls_submission = b;
    return 0;
}

int
smtpd_set_tls(struct slice chain, struct slice key, struct err *e)
{
    if (make_tls(daemon_conf(), chain, key, e))
        return -1;
    if (tls_key)
        mem_wipe(tls_key, strlen(tls_key));
    free(tls_chain);
    free(tls_key);
    tls_chain = sl_dupz(chain);
    tls_key = sl_dupz(key);
    return 0;
}

int
smtpd_set_conf(const struct conf *c, struct err *e)
{
    struct smtpd_cfg *fresh[SMTPD_SERVICES] = { NULL };

    for (int i = 0; i < SMTPD_SERVICES; i++)
        if (smtpd_cfg_new(c, (enum smtpd_service)i, &fresh[i], e)) {
            while (i-- > 0)
                smtpd_cfg_unref(&fresh[i]);
            return -1;
        }
    if (tls_chain && make_tls(c, sl_z(tls_chain), sl_z(tls_key), e)) {
        for (int i = 0; i < SMTPD_SERVICES; i++)
            smtpd_cfg_unref(&fresh[i]);
        return -1;
    }
    for (int i = 0; i < SMTPD_SERVICES; i++) {
        smtpd_cfg_unref(&cfgs[i]);
        cfgs[i] = fresh[i];
    }
    return 0;
}

struct tls_ctx *
smtpd_tls_ctx(const struct smtpd_sess *s)
{
    return s->cfg->service == SMTPD_MX ? tls_mx : tls_submission;
}

/* ---- parts of a session ---- */

void
smtpd_tx_free(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;

    s->tx = NULL;
    if (tx == NULL)
        return;
    smtpd_xforward_free(s);
    s->n_messages++;
    expand_free(&tx->expansion);
    content_free(&tx->content);
    arena_free(&tx->mem);
    free(tx->deferral);
    free(tx);
}

void
smtpd_clear_helo(struct smtpd_sess *s)
{
    free(s->helo);
    s->helo = NULL;
}

void
smtpd_log_reject(struct smtpd_sess *s, const char *text, struct slice sender, struct slice rcpt)
{
    smtpd_log_what(s, "reject", text, sender, rcpt);
}

void
smtpd_log_what(struct smtpd_sess *s, const char *what, const char *text, struct slice sender,
               struct slice rcpt)
{
    struct buf b = { 0 };

    buf_addf(&b, "%s: %s: %s from %s: %s;", smtpd_queue_id(s), what, s->smtp.where, s->namaddr, text);
    if (sender.p)
        buf_addf(&b, " from=<%.*s>", SL_ARG(sender));
    if (rcpt.p)
        buf_addf(&b, " to=<%.*s>", SL_ARG(rcpt));
    buf_addf(&b, " proto=%s", s->is_esmtp ? "ESMTP" : "SMTP");
    if (s->helo)
        buf_addf(&b, " helo=<%s>", s->helo);
    if (s->sasl_user)
        buf_addf(&b, " sasl_username=<%s>", s->sasl_user);
    log_event(LOG_LV_INFO, s->cfg->ident, what,
              LOG_F(LF_Z("qid", smtpd_queue_id(s)), LF_Z("client", s->namaddr),
                    LF_S("from", sender), LF_S("to", rcpt), LF_Z("reply", text)),
              "%s", buf_z(&b));
    buf_free(&b);
}

/* ---- the beginning ---- */

static void
client_restricted(struct smtpd_sess *s, const char *reply)
{
    s->smtp.verb = UINT8_MAX;
    free(s->access_denied);
    rbl_cache_free(&s->rbl);
    s->access_denied = NULL;
    if (reply) {
        s->access_denied = mem_dupz(reply);
        s->smtp.errors++;
        smtp_reply(&s->smtp, "%s", reply);
    } else {
        smtp_reply(&s->smtp, "220 %s", s->cfg->conf->smtpd_banner);
    }
    smtp_sess_done(&s->smtp, reply == NULL);
}

void
smtpd_greet(struct smtpd_sess *s)
{
    struct restrict_subject about = { 0 };

    s->is_greeted = true;
    if (s->cfg->conf->smtpd_delay_reject)
        client_restricted(s, NULL);
    else
        restrict_run(s, STAGE_CLIENT, &about, client_restricted);
}

static void
peer_known(struct smtpd_sess *s)
{
    s->may_xclient = hostlist_match(&s->cfg->xclient_hosts, s->name, &s->peer);
    s->may_xforward = hostlist_match(&s->cfg->xforward_hosts, s->name, &s->peer);
    log_event(LOG_LV_INFO, s->cfg->ident, "conn.open",
              LOG_F(LF_Z("client", s->namaddr), LF_N("port", s->port)), "connect from %s",
              s->namaddr);
    if (!s->cfg->is_wrapper) {
        smtpd_greet(s);
    } else if (smtpd_tls_ctx(s) == NULL) {
        log_event(LOG_LV_WARN, s->cfg->ident, "tls.none", LOG_NONE,
                  "Wrapper-mode request dropped from %s: no usable certificate", s->namaddr);
        conn_abort(s->smtp.conn);
    } else {
        smtp_sess_start_wrapper(&s->smtp, smtpd_tls_ctx(s));
    }
}

void
smtpd_secured(struct smtp_sess *smtp)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct tls_info t;

    if (s->cfg->conf->smtpd_tls_loglevel > 0 && tls_info_of(smtp->conn, &t))
        log_event(LOG_LV_INFO, s->cfg->ident, "tls.up", LOG_F(LF_Z("client", s->namaddr)),
                  "Anonymous TLS connection established from %s: %s with cipher %s (%d/%d bits)",
                  s->namaddr, t.protocol, t.cipher, t.bits, t.algbits);
    if (s->is_greeted)
        smtp_sess_done(smtp, true); /* STARTTLS */
    else
        smtpd_greet(s);
}

void
smtpd_begin(struct smtpd_cfg *cfg, int fd, const struct upstream_client *c)
{
    struct smtpd_sess *s = MEM_NEW(struct smtpd_sess);

    s->cfg = cfg;
    s->peer = c->peer;
    s->port = addr_port(&c->peer);
    s->local = c->local;
    s->has_early_words = c->unread.n > 0;
    s->began_unix_us = clock_unix_us();
    list_push_back(&sessions, &s->link);
    n_sessions++;
    daemon_session_count(1);
    smtp_sess_open(&s->smtp, &smtpd_def, &s->cfg->limits, fd);
    conn_unread(s->smtp.conn, c->unread);
    smtpd_find_peer_name(s, peer_known);
}

void
smtpd_accept(enum smtpd_service service, int fd, const struct addr *peer)
{
    struct smtpd_cfg *cfg = smtpd_cfg_ref(cfgs[service]);
    struct upstream_client c = { .peer = *peer };

    if (cfg->is_proxied) {
        smtpd_accept_proxied(cfg, fd, peer);
        return;
    }
    if (addr_of_self(fd, &c.local))
        c.local = (struct addr){ 0 };
    smtpd_begin(cfg, fd, &c);
}

/* ---- the end ---- */

static void
log_end(struct smtpd_sess *s, enum conn_end end, const struct err *why)
{
    const char *ident = s->cfg->ident, *what = NULL;
    struct buf stats = { 0 };

    if (s->smtp.end == SMTP_END_TIMEOUT || end == CONN_END_TIMEOUT)
        what = "timeout";
    else if (s->smtp.end == SMTP_END_ERRORS)
        what = "too many errors";
    else if (end != CONN_END_OWN)
        what = "lost connection";
    if (why && why->msg[0] && smtp_sess_is_tls(&s->smtp) && end == CONN_END_ERROR)
        log_event(LOG_LV_INFO, ident, "tls.fail",
                  LOG_F(LF_Z("client", s->namaddr), LF_Z("why", why->msg)),
                  "SSL_accept error from %s: %s", s->namaddr, why->msg);
    if (what)
        log_event(LOG_LV_INFO, ident, "conn.lost",
                  LOG_F(LF_Z("client", s->namaddr), LF_Z("where", s->smtp.where)),
                  "%s after %s from %s", what, s->smtp.where, s->namaddr);
    smtp_sess_stats(&s->smtp, &stats);
    log_event(LOG_LV_INFO, ident, "conn.close", LOG_F(LF_Z("client", s->namaddr)),
              "disconnect from %s %s", s->namaddr, buf_z(&stats));
    buf_free(&stats);
}

void
smtpd_closed(struct smtp_sess *smtp, enum conn_end end, const struct err *why)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (s->namaddr)
        log_end(s, end, why);
    smtp_sasl_cancel(smtp);
    smtpd_tx_free(s);
    smtpd_xforward_free(s);
    smtp_sess_free(smtp);
    list_remove(&s->link);
    n_sessions--;
    daemon_session_count(-1);
    free(s->name);
    free(s->reverse_name);
    free(s->namaddr);
    free(s->helo);
    free(s->new_helo);
    free(s->sasl_user);
    free(s->sasl_method);
    free(s->access_denied);
    free(s->client_deferral);
    free(s->helo_deferral);
    rbl_cache_free(&s->rbl);
    smtpd_cfg_unref(&s->cfg);
    free(s);
}

size_t
smtpd_sessions(void)
{
    return n_sessions + upstream_proxy_count();
}

void
smtpd_drain_all(void)
{
    upstream_proxy_drain();
    LIST_EACH(it, nxt, &sessions)
    smtp_sess_drain(&CONTAINER_OF(it, struct smtpd_sess, link)->smtp);
}
