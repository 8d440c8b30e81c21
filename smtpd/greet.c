/* smtpd/greet.c - from the first packet to the greeting: is there room, does the client wait its turn, does it come too
 * often, TLS where the port is for nothing else. The order is Postfix's. */
#include "smtpd/check.h"
#include "smtpd/find.h"
#include "smtpd/limits.h"
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    STRESS_PERCENT = 80,   /* of the session limit: new sessions see ${stress?..} from here on */
    CALM_PERCENT = 60,     /* and no longer below this */
    FILES_OTHER = 128,     /* descriptors that are no client's */
    FILES_PER_SESSION = 2, /* the client, and the file of a large message */
    ROOM_LOG_MS = 10 * 1000,
    EARLY_OCTETS = 100 /* of early talk are logged */
};

/* ---- room ---- */

static size_t
session_limit(const struct smtpd_cfg *c)
{
    size_t limit = (size_t)c->conf->smtpd_session_limit, by_files;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur == RLIM_INFINITY)
        return limit;
    by_files = files.rlim_cur > 2 * FILES_OTHER ? (files.rlim_cur - FILES_OTHER) / FILES_PER_SESSION
                                                : FILES_OTHER / FILES_PER_SESSION;
    return by_files < limit ? by_files : limit;
}

bool
smtpd_has_room(const struct smtpd_cfg *c, size_t sessions, int fd, const struct addr *peer)
{
    static uint64_t told_ms;
    char ip[ADDR_TEXT_OCTETS], text[SMTPD_NAME_OCTETS + 80];
    int n;

    if (sessions < session_limit(c))
        return true;
    if (told_ms == 0 || loop_now_ms() - told_ms > ROOM_LOG_MS) {
        told_ms = loop_now_ms();
        log_event(
            LOG_LV_WARN, c->ident, "conn.full",
            LOG_F(LF_N("sessions", (int64_t)sessions), LF_Z("client", addr_ip_text(peer, ip))),
            "all server ports are busy: %zu sessions, [%s] is turned away", sessions,
            addr_ip_text(peer, ip));
    }
    n = snprintf(text, sizeof text, "421 4.3.2 %.200s Error: all server ports are busy\r\n",
                 c->conf->myhostname);
    if (!c->is_wrapper)
        (void)!send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    close(fd);
    return false;
}

bool
smtpd_is_stressed(const struct smtpd_cfg *c, size_t sessions)
{
    static bool is_stressed;
    size_t limit = session_limit(c);
    bool was = is_stressed;

    is_stressed = sessions >= limit * (is_stressed ? CALM_PERCENT : STRESS_PERCENT) / 100;
    if (is_stressed != was)
        log_event(is_stressed ? LOG_LV_WARN : LOG_LV_INFO, c->ident, "stress",
                  LOG_F(LF_N("sessions", (int64_t)sessions), LF_N("limit", (int64_t)limit)),
                  is_stressed
                      ? "service \"smtp\" is near its session limit \"%zu\": new clients are "
                        "served under stress=yes"
                      : "service \"smtp\" is well below its session limit \"%zu\" again",
                  limit);
    return is_stressed;
}

/* ---- clients that do not wait ---- */

static void
escape(struct slice s, struct buf *out)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '\r' || c == '\n' || c == '\t' || c == '\\')
            buf_addf(out, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : c == '\t' ? 't' : '\\');
        else if (c < ' ' || c > '~')
            buf_addf(out, "\\%03o", c);
        else
            buf_addc(out, (char)c);
    }
}

/* In a command nothing more than what was read together with it is looked at: no system call for each of them. */
static size_t
look_ahead(struct smtpd_sess *s, char early[EARLY_OCTETS])
{
    struct slice in;

    if (!s->is_greeted)
        return smtp_sess_peek(&s->smtp, early, EARLY_OCTETS);
    in = sl_head(conn_input(s->smtp.conn), EARLY_OCTETS);
    if (in.n)
        memcpy(early, in.p, in.n);
    return in.n;
}

/* A password that is sent too soon is as secret as one in its time; what follows AUTH answers it. */
static void
show_early(const struct smtpd_sess *s, struct slice early, struct buf *out)
{
    bool is_secret =
        s->smtp.verb < smtpd_def.n_verbs && (smtpd_def.verbs[s->smtp.verb].flags & SMTP_V_SECRET);
    struct slice part = is_secret ? SL("") : smtp_shown(&smtpd_def, early);

    escape(part, out);
    if (part.n < early.n)
        buf_addz(out, part.n ? " ..." : "...");
}

bool
smtpd_check_pipelining(struct smtpd_sess *s)
{
    char early[EARLY_OCTETS];
    struct buf shown = { 0 };
    size_t n;

    if (s->is_ill_pipelined || (n = look_ahead(s, early)) == 0)
        return true;
    s->is_ill_pipelined = true;
    show_early(s, sl_n(early, n), &shown);
    log_event(LOG_LV_INFO, s->cfg->ident, "pipelining",
              LOG_F(LF_Z("client", s->namaddr), LF_Z("where", s->smtp.where)),
              "improper command pipelining after %s from %s: %s", s->smtp.where, s->namaddr,
              buf_z(&shown));
    buf_free(&shown);
    if (!s->cfg->conf->smtpd_forbid_unauth_pipelining)
        return true;
    smtp_reply(&s->smtp, "554 5.5.0 Error: SMTP protocol synchronization");
    smtp_sess_end(&s->smtp, SMTP_END_FORBIDDEN);
    smtp_sess_done(&s->smtp, false);
    return false;
}

void
verb_reject_unauth_pipelining(struct check *c)
{
    if (c->s->is_ill_pipelined)
        check_refuse(c, 503, "5.5.0",
                     "<%.*s>: %s rejected: Improper use of SMTP command pipelining",
                     SL_ARG(check_reply_name(c)), c->reply_class);
    else
        check_done(c, VERDICT_DUNNO);
}

/* ---- the steps ---- */

static void
on_discard(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct slice word;

    (void)arg;
    (void)ext;
    if (f == FOUND_YES) {
        s->discard = 0;
        while (sl_take_word(&value, ", \t\r\n", &word)) {
            char *z = sl_dupz(word);

            s->discard |= smtpd_discard_bits((struct conf_list){ (const char *const *)&z, 1 });
            free(z);
        }
    }
    smtpd_greet(s);
}

static void
find_discards(struct smtpd_sess *s)
{
    char ip[ADDR_TEXT_OCTETS];

    if (s->cfg->conf->smtpd_discard_ehlo_keyword_address_maps.n == 0)
        smtpd_greet(s);
    else
        find_key(s, "smtpd_discard_ehlo_keyword_address_maps", sl_z(addr_ip_text(&s->peer, ip)),
                 on_discard, NULL);
}

static void
is_waited(void *arg)
{
    struct smtpd_sess *s = arg;

    if (s->cfg->is_wrapper || smtpd_check_pipelining(s))
        limits_connect(s, find_discards);
}

/* A stranger on port 25 may have to wait: who sends mail from a captured machine seldom does. */
static void
wait_for_early_talk(struct smtpd_sess *s)
{
    uint64_t ms = (uint64_t)s->cfg->conf->smtpd_greet_wait;

    if (ms == 0 || s->cfg->service != SMTPD_MX || netlist_match(&s->cfg->mynetworks, &s->peer))
        is_waited(s);
    else
        timer_start(&s->greet_wait, ms, is_waited, s);
}

static void
start_wrapper(struct smtpd_sess *s, bool is_over)
{
    if (!is_over) {
        smtp_sess_start_wrapper(&s->smtp, smtpd_tls_ctx(s));
        return;
    }
    log_event(LOG_LV_WARN, s->cfg->ident, "client.limit", LOG_F(LF_Z("client", s->namaddr)),
              "Refusing TLS service request from %s for service %s", s->namaddr,
              s->cfg->service_name);
    smtp_sess_end(&s->smtp, SMTP_END_FORBIDDEN);
    smtp_sess_done(&s->smtp, false);
}

void
smtpd_meet(struct smtpd_sess *s)
{
    if (!s->cfg->is_wrapper) {
        wait_for_early_talk(s);
    } else if (smtpd_tls_ctx(s) == NULL) {
        log_event(LOG_LV_WARN, s->cfg->ident, "tls.none", LOG_NONE,
                  "Wrapper-mode request dropped from %s for service %s. TLS context initialization "
                  "failed. For details see earlier warnings in your logs.",
                  s->namaddr, s->cfg->service_name);
        conn_abort(s->smtp.conn);
    } else {
        limits_ask_tls(s, start_wrapper);
    }
}

/* XCLIENT has made it another client: it is counted, and offered things, as that one. */
void
smtpd_meet_again(struct smtpd_sess *s)
{
    limits_forget(s);
    s->discard = s->cfg->discard;
    if (smtpd_check_pipelining(s))
        limits_connect(s, find_discards);
}

/* ---- TLS is there ---- */

/* No good certificate where one is demanded: Postfix tells so in answer to the next command. */
static void
check_cert(struct smtpd_sess *s)
{
    struct tls_info t;
    const char *why = NULL;

    if ((s->cfg->must_tls || s->cfg->is_wrapper) && s->cfg->conf->smtpd_tls_req_ccert &&
        tls_info_of(s->smtp.conn, &t) && !t.peer_verified)
        why =
            t.has_peer_cert ? "Client certificate not trusted" : "No client certificate presented";
    if (why) {
        log_event(LOG_LV_INFO, s->cfg->ident, "tls.cert", LOG_F(LF_Z("client", s->namaddr)),
                  "NOQUEUE: abort: TLS from %s: %s", s->namaddr, why);
        s->cert_refusal = why;
    }
    if (s->is_greeted) { /* STARTTLS */
        smtp_sess_done(&s->smtp, true);
    } else if (why) {
        smtp_reply(&s->smtp, "421 4.7.1 %s Error: %s", s->cfg->conf->myhostname, why);
        smtp_sess_done(&s->smtp, false);
    } else {
        is_waited(s);
    }
}

static const char *
trust_of(const struct tls_info *t)
{
    return !t->has_peer_cert ? "Anonymous" : t->peer_verified ? "Trusted" : "Untrusted";
}

void
smtpd_secured(struct smtp_sess *smtp)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct tls_info t;
    char details[TLS_DETAILS_OCTETS];

    tls_info_of(smtp->conn, &t);
    if (t.has_names && t.sni[0] && !t.is_sni_known)
        log_event(LOG_LV_INFO, s->cfg->ident, "tls.sni",
                  LOG_F(LF_Z("client", s->namaddr), LF_Z("sni", t.sni)),
                  "TLS SNI %s from %s not matched, using default chain", t.sni, s->namaddr);
    if (s->cfg->conf->smtpd_tls_loglevel > 0)
        log_event(LOG_LV_INFO, s->cfg->ident, "tls.up",
                  LOG_F(LF_Z("client", s->namaddr), LF_Z("cn", t.peer_cn),
                        LF_Z("fingerprint", t.peer_fingerprint)),
                  "%s TLS connection established from %s%s%s: %s with cipher %s (%d/%d bits)%s",
                  trust_of(&t), s->namaddr, t.is_sni_known ? " to " : "",
                  t.is_sni_known ? t.sni : "", t.protocol, t.cipher, t.bits, t.algbits,
                  tls_details(&t, details));
    limits_count_tls(s, check_cert);
}
