/* auth/auth_request.c - how a request ends: OK, FAIL, FAIL for now. See auth_request.h. */
#include "auth/auth_request.h"

#include "auth/tab.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"

#include <stdlib.h>

void
auth_request_free(struct auth_request *r)
{
    timer_stop(&r->timer);
    auth_request_leave(r);
    id_del(r->id);
    sasl_end(&r->sasl);
    conf_unref(&r->conf);
    buf_free(&r->user);
    buf_free(&r->scram_name);
    buf_wipe(&r->scram_stored);
    buf_free(&r->master);
    buf_free(&r->other);
    free(r->session);
    free(r->cert_username);
    free(r);
}

void
auth_request_send_fail(struct auth_request *r, const char *extra)
{
    struct buf line = { 0 };

    buf_addf(&line, "FAIL\t%u", r->number);
    if (r->user.n)
        tab_add_pair(&line, "user", buf_slice(&r->user));
    buf_addz(&line, extra);
    buf_addc(&line, '\n');
    auth_peer_write(r->peer, buf_slice(&line));
    buf_free(&line);
    auth_peer_forget(r->peer, r);
    auth_request_free(r);
}

static void
send_late_fail(void *arg)
{
    struct auth_request *r = arg;
    struct buf extra = { 0 };

    if (r->code) /* older clients know this one without its key */
        buf_addf(&extra, "%s\tcode=%s",
                 strcmp(r->code, "user_disabled") == 0 ? "\tuser_disabled" : "", r->code);
    auth_request_send_fail(r, buf_z(&extra));
    buf_free(&extra);
}

/* The name as far as one can be one: a stranger may send thousands of octets. */
static struct slice
log_user(const struct auth_request *r)
{
    return sl_head(buf_slice(&r->user), SASL_NAME_OCTETS);
}

/* "user,address,<session>" as Dovecot's log has it. The name is a stranger's: one that brings a comma and an address of
 * its own would have fail2ban shut out somebody else (Dovecot allows no such octets, auth_username_chars). */
static const char *
log_name(const struct auth_request *r, struct slice user, struct buf *out)
{
    char ip[ADDR_TEXT_OCTETS];

    for (size_t i = 0; i < user.n; i++)
        buf_addc(out, strchr(" ,()<>\"", user.p[i]) ? '?' : user.p[i]);
    buf_addf(out, ",%s", addr_ip_text(&r->remote, ip));
    if (r->session)
        buf_addf(out, ",<%s>", r->session);
    return buf_z(out);
}

void
auth_request_fail(struct auth_request *r, const char *why)
{
    uint64_t late_ms = auth_request_count_failure(r);
    struct buf name = { 0 };
    char ip[ADDR_TEXT_OCTETS];

    /* Said at info it would be a second line of the same failure to who counts them (fail2ban). */
    log_event(r->conf->auth_verbose ? LOG_LV_INFO : LOG_LV_DEBUG, NULL, "auth.fail",
              LOG_F(LF_S("user", log_user(r)), LF_Z("rip", addr_ip_text(&r->remote, ip)),
                    LF_Z("why", why), LF_Z("service", r->service),
                    LF_Z("sid", r->session ? r->session : "")),
              "sql(%s): %s", log_name(r, log_user(r), &name), why);
    buf_free(&name);
    sasl_end(&r->sasl);
    r->is_checking = true; /* no CONT any more */
    timer_start(&r->timer, late_ms, send_late_fail, r);
}

void
auth_request_fail_temporarily(struct auth_request *r, const char *why)
{
    struct buf name = { 0 };
    char ip[ADDR_TEXT_OCTETS];

    log_warn("auth.tempfail",
             LOG_F(LF_S("user", log_user(r)), LF_Z("rip", addr_ip_text(&r->remote, ip)),
                   LF_Z("why", why)),
             "sql(%s): temporary failure: %s", log_name(r, log_user(r), &name), why);
    buf_free(&name);
    auth_request_send_fail(r, "\ttemp\tcode=temp_fail");
}

/* ---- right ---- */

/* Of a message that a master submits nothing else tells. */
static void
log_master(const struct auth_request *r)
{
    struct buf name = { 0 };
    char ip[ADDR_TEXT_OCTETS];

    log_info("auth.master",
             LOG_F(LF_S("user", buf_slice(&r->user)), LF_S("master", buf_slice(&r->master)),
                   LF_Z("rip", addr_ip_text(&r->remote, ip)), LF_Z("service", r->service),
                   LF_Z("sid", r->session ? r->session : "")),
             "sql(%s): Master user logging in as %.*s", log_name(r, buf_slice(&r->master), &name),
             SL_ARG(buf_slice(&r->user)));
    buf_free(&name);
}

/* What the server says last, it says with OK to peers who take it so (Dovecot's "final-resp-ok"); to others, Postfix's
 * smtpd among them and our own, as a challenge: SMTP, IMAP and POP3 have no other place for it. */
void
auth_request_succeed(struct auth_request *r)
{
    char cookie[COOKIE_HEX_DIGITS + 1];
    struct buf line = { 0 };

    if (r->sasl.final.n && !r->takes_final && !r->is_proven) {
        r->is_proven = true;
        auth_request_send_challenge(r, buf_slice(&r->sasl.final));
        return;
    }
    auth_request_count_success(r);
    buf_addf(&line, "OK\t%u", r->number);
    tab_add_pair(&line, "user", buf_slice(&r->user));
    if (r->master.n) {
        log_master(r);
        tab_add_pair(&line, "original_user", buf_slice(&r->master));
        tab_add_pair(&line, "auth_user", buf_slice(&r->master));
    }
    if (!r->no_login) {
        cookie_make(r->auth->cookies,
                    &(struct cookie_grant){ .user = buf_slice(&r->user),
                                            .master = buf_slice(&r->master),
                                            .service = sl_z(r->service),
                                            .session = sl_z(r->session) },
                    loop_now_ms(), cookie);
        tab_add_pair(&line, "postern_cookie", sl_z(cookie));
    }
    if (r->sasl.final.n && r->takes_final) {
        buf_addz(&line, "\tresp=");
        enc_b64(&line, buf_slice(&r->sasl.final));
    }
    buf_addc(&line, '\n');
    auth_peer_write(r->peer, buf_slice(&line));
    buf_free(&line);
    auth_peer_forget(r->peer, r);
    auth_request_free(r);
}
