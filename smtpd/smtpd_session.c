/* smtpd/smtpd_session.c - a session's beginning and end, and what is logged then. */
#include "session/addr_map.h"
#include "smtpd/content.h"
#include "smtpd/expand.h"
#include "smtpd/limits.h"
#include "smtpd/rbl.h"
#include "smtpd/smtpd.h"
#include "smtpd/tls_setup.h"
#include "smtpd/transcript.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/smtp_sasl.h"
#include "session/upstream_proxy.h"

#include <stdio.h>
#include <stdlib.h>

struct smtpd_env smtpd_env;
static struct smtpd_cfg *cfgs[SMTPD_SERVICES][2]; /* calm, and under stress */
static struct list sessions = { &sessions, &sessions };
static size_t n_sessions;

/* ---- configuration ---- */

int
smtpd_set_conf(const struct conf *c, struct err *e)
{
    struct smtpd_cfg *fresh[SMTPD_SERVICES][2] = { { NULL } };
    int rc = 0;

    for (int i = 0; i < SMTPD_SERVICES && rc == 0; i++)
        for (int k = 0; k < 2 && rc == 0; k++)
            rc = smtpd_cfg_new(c, (enum smtpd_service)i, k, &fresh[i][k], e);
    if (rc == 0)
        rc = smtpd_tls_configure(c, e);
    for (int i = 0; i < SMTPD_SERVICES; i++)
        for (int k = 0; k < 2; k++) {
            if (rc == 0) {
                struct smtpd_cfg *old = cfgs[i][k];

                cfgs[i][k] = fresh[i][k];
                fresh[i][k] = old;
            }
            smtpd_cfg_unref(&fresh[i][k]);
        }
    return rc;
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
    addr_map_unref(&tx->map);
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
    const char *helo = s->new_helo ? s->new_helo : s->helo; /* one that is being checked */

    buf_addf(&b, "%s: %s: %s from %s: %s;", smtpd_queue_id(s), what, s->smtp.where, s->namaddr,
             text);
    if (sender.p)
        buf_addf(&b, " from=<%.*s>", SL_ARG(smtp_addr_quote(sender, &s->smtp.cmd)));
    if (rcpt.p)
        buf_addf(&b, " to=<%.*s>", SL_ARG(smtp_addr_quote(rcpt, &s->smtp.cmd)));
    buf_addf(&b, " proto=%s", s->is_esmtp ? "ESMTP" : "SMTP");
    if (helo)
        buf_addf(&b, " helo=<%s>", helo);
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
    smtpd_meet(s);
}

void
smtpd_begin(struct smtpd_cfg *cfg, int fd, const struct upstream_client *c)
{
    struct smtpd_sess *s = MEM_NEW(struct smtpd_sess);

    s->cfg = cfg;
    s->discard = cfg->discard;
    s->peer = c->peer;
    s->port = addr_port(&c->peer);
    s->local = c->local;
    s->began_unix_us = clock_unix_us();
    list_push_back(&sessions, &s->link);
    n_sessions++;
    daemon_session_count(1);
    smtp_sess_open(&s->smtp, &smtpd_def, &s->cfg->limits, fd);
    conn_unread(s->smtp.conn, c->unread);
    smtpd_find_peer_name(s, peer_known);
}

void
smtpd_begin_pickup(int fd, struct pickup_from *from)
{
    struct smtpd_sess *s = MEM_NEW(struct smtpd_sess);

    s->cfg = smtpd_cfg_ref(cfgs[SMTPD_PICKUP][0]);
    s->pickup = from;
    s->name = mem_dupz("localhost");
    s->reverse_name = mem_dupz("localhost");
    addr_parse_ip(SL("127.0.0.1"), 0, &s->peer);
    s->local = s->peer;
    s->began_unix_us = clock_unix_us();
    list_push_back(&sessions, &s->link);
    n_sessions++;
    daemon_session_count(1);
    smtp_sess_open(&s->smtp, &smtpd_def, &s->cfg->limits, fd);
    smtpd_set_namaddr(s);
    s->is_greeted = true;
    smtp_reply(&s->smtp, "220 %s ESMTP", s->cfg->conf->myhostname);
    smtp_sess_done(&s->smtp, true);
}

void
smtpd_accept(enum smtpd_service service, int fd, const struct addr *peer)
{
    size_t n = smtpd_sessions();
    struct smtpd_cfg *cfg = cfgs[service][smtpd_is_stressed(cfgs[service][0], n)];
    struct upstream_client c = { .peer = *peer };

    if (!smtpd_has_room(cfg, n, fd, peer))
        return;
    smtpd_cfg_ref(cfg);
    if (cfg->is_proxied) {
        smtpd_accept_proxied(cfg, fd, peer);
        return;
    }
    if (addr_of_self(fd, &c.local))
        c.local = (struct addr){ 0 };
    smtpd_begin(cfg, fd, &c);
}

/* ---- the end ---- */

/* In the middle of content it is told how much there was. */
static void
log_lost(struct smtpd_sess *s, const char *what)
{
    struct slice where = sl_z(s->smtp.where), verb;
    char octets[40] = "";

    verb = where;
    if (s->tx && sl_has_suffix(where, SL(" content"))) {
        verb.n -= strlen(" content");
        snprintf(octets, sizeof(octets), " (%llu bytes)", (unsigned long long)s->tx->size_octets);
    }
    log_event(LOG_LV_INFO, s->cfg->ident, "conn.lost",
              LOG_F(LF_Z("client", s->namaddr), LF_S("where", where)), "%s after %.*s%s from %s",
              what, SL_ARG(verb), octets, s->namaddr);
}

/* A handshake that came to nothing, in Postfix's words. */
static void
log_handshake(struct smtpd_sess *s, enum conn_end end, const struct err *why)
{
    const char *failure = tls_accept_error(why), *how = "-1";
    struct tls_info t;

    if (!smtp_sess_is_tls(&s->smtp) || tls_info_of(s->smtp.conn, &t) ||
        (end == CONN_END_OWN && s->smtp.end != SMTP_END_TIMEOUT))
        return; /* there was none, or it came to its end, or we stop */
    if (failure == NULL)
        how = s->smtp.end == SMTP_END_TIMEOUT ? "Connection timed out" : "lost connection";
    log_event(LOG_LV_INFO, s->cfg->ident, "tls.fail",
              LOG_F(LF_Z("client", s->namaddr), LF_Z("why", failure)),
              "SSL_accept error from %s: %s", s->namaddr, how);
    if (failure)
        log_event(LOG_LV_WARN, s->cfg->ident, "tls.problem", LOG_F(LF_Z("why", failure)),
                  "TLS library problem: %s:", failure);
}

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
    log_handshake(s, end, why);
    if (what)
        log_lost(s, what);
    smtp_sess_stats(&s->smtp, &stats);
    log_event(LOG_LV_INFO, ident, "conn.close", LOG_F(LF_Z("client", s->namaddr)),
              "disconnect from %s %s%s", s->namaddr, buf_z(&stats),
              s->notes_bare_lf ? " notes=bare_lf" : "");
    buf_free(&stats);
}

void
smtpd_closed(struct smtp_sess *smtp, enum conn_end end, const struct err *why)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (s->namaddr && !s->pickup)
        log_end(s, end, why);
    transcript_end(s);
    smtp_sasl_cancel(smtp);
    limits_disconnect(s);
    smtpd_footer_free(s);
    timer_stop(&s->greet_wait);
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
