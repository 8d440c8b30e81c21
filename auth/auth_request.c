/* auth/auth_request.c - how a request ends: OK, FAIL, FAIL for now. See auth_request.h. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "auth/tab.h"
#include "base/clock.h"
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
    buf_free(&r->master);
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
    auth_request_send_fail(arg, "");
}

/* "user,address,<session>" as Dovecot's log has it. The name is a stranger's: one that brings a comma and an address of
 * its own would have fail2ban shut out somebody else (Dovecot allows no such octets, auth_username_chars). */
static const char *
log_name(const struct auth_request *r, struct buf *out)
{
    struct slice user = buf_slice(&r->user);
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
              LOG_F(LF_S("user", buf_slice(&r->user)), LF_Z("rip", addr_ip_text(&r->remote, ip)),
                    LF_Z("why", why), LF_Z("service", r->service),
                    LF_Z("sid", r->session ? r->session : "")),
              "sql(%s): %s", log_name(r, &name), why);
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
             LOG_F(LF_S("user", buf_slice(&r->user)), LF_Z("rip", addr_ip_text(&r->remote, ip)),
                   LF_Z("why", why)),
             "sql(%s): temporary failure: %s", log_name(r, &name), why);
    buf_free(&name);
    auth_request_send_fail(r, "\ttemp\tcode=temp_fail");
}

/* ---- the way of all who were authenticated ---- */

/* An authorization identity must be the authenticated one: there are no masters over others here. */
static bool
is_own_authzid(struct auth_request *r)
{
    struct buf z = { 0 };
    bool is_own;

    if (r->sasl.authzid.n == 0)
        return true;
    auth_format_name(r->conf->auth_username_format, buf_slice(&r->sasl.authzid), &z);
    is_own = sl_eq(buf_slice(&z), buf_slice(&r->user));
    buf_free(&z);
    return is_own;
}

static void
admit(struct auth_request *r)
{
    if (!is_own_authzid(r))
        auth_request_fail(r, "authorization identity of another user");
    else
        auth_request_succeed(r);
}

struct name_job {
    struct backend_job job;
    uint64_t request;
    struct buf wanted, name, password;
    int rc;
    struct err e;
};

static void
name_run(struct backend_job *j, struct table_set *tables)
{
    struct name_job *n = CONTAINER_OF(j, struct name_job, job);
    uint64_t began = clock_mono_ms();
    struct users *u = table_set_users(tables, &n->e);

    n->rc = u ? users_find(u, buf_slice(&n->wanted), &n->name, &n->password, &n->e) : -1;
    if (n->rc < 0)
        table_set_note_failure(tables, began, &n->e);
    if (n->password.p)
        mem_wipe(n->password.p, n->password.cap);
}

static void
name_done(struct backend_job *j)
{
    struct name_job *n = CONTAINER_OF(j, struct name_job, job);
    struct auth_request *r = id_get(n->request);

    if (r && n->rc < 0) {
        auth_request_fail_temporarily(r, n->e.msg);
    } else if (r && n->rc == 0) {
        auth_request_fail(r, "unknown user");
    } else if (r) {
        buf_reset(&r->user);
        auth_format_name(r->conf->auth_username_format, buf_slice(&n->name), &r->user);
        r->is_found = true;
        admit(r);
    }
    buf_free(&n->wanted);
    buf_free(&n->name);
    buf_free(&n->password);
    free(n);
}

void
auth_request_authenticated(struct auth_request *r)
{
    struct name_job *n;

    if (r->is_found) {
        admit(r);
        return;
    }
    n = MEM_NEW(struct name_job);
    n->request = r->id;
    n->job.run = name_run;
    n->job.done = name_done;
    buf_adds(&n->wanted, buf_slice(&r->user));
    backend_submit(r->auth->backend, &n->job);
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
