/* login/login_auth.c - asking authd, and handing over whom it accepted. */
#include "login/login_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/handoff.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SASL_STEPS_MAX = 10, MECHS_MAX = 32 };

/* ---- mechanisms ---- */

static bool
is_plaintext(const char *mech)
{
    const char *name;
    unsigned flags;

    if (sl_ieqz(SL("PLAIN"), mech) || sl_ieqz(SL("LOGIN"), mech))
        return true;
    for (size_t i = 0; (name = auth_client_mech(login_authd(), i, &flags)) != NULL; i++)
        if (sl_ieqz(sl_z(name), mech))
            return (flags & AUTH_MECH_PLAINTEXT) != 0;
    return false;
}

static void
set_mech(char out[LOGIN_MECH_OCTETS], struct slice name)
{
    size_t n = name.n < LOGIN_MECH_OCTETS ? name.n : LOGIN_MECH_OCTETS - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = name.p[i] >= 'a' && name.p[i] <= 'z' ? (char)(name.p[i] - 32) : name.p[i];
    out[n] = '\0';
}

/* Offered is what can work: EXTERNAL to who has shown a certificate with a name in it. */
static bool
is_usable(const struct sess *s, const char *mech)
{
    if (is_plaintext(mech) && !login_may_send_password(s))
        return false;
    if (strcmp(mech, "EXTERNAL") == 0)
        return s->is_cert_valid && s->cert_username;
    return true;
}

bool
login_mech(const struct sess *s, size_t i, char out[LOGIN_MECH_OCTETS])
{
    const struct conf_list *l = &s->conf->auth_mechanisms;

    for (size_t at = 0; at < l->n && at < MECHS_MAX; at++) {
        set_mech(out, sl_z(l->v[at]));
        if (is_usable(s, out) && i-- == 0)
            return true;
    }
    return false;
}

static bool
is_known(const struct sess *s, const char *mech)
{
    const struct conf_list *l = &s->conf->auth_mechanisms;

    for (size_t at = 0; at < l->n && at < MECHS_MAX; at++)
        if (sl_ieqz(sl_z(mech), l->v[at]))
            return strcmp(mech, "EXTERNAL") != 0 || is_usable(s, mech);
    return false;
}

void
login_look_at_cert(struct sess *s)
{
    struct tls_info t;
    struct buf name = { 0 };

    s->is_cert_valid = tls_info_of(s->conn, &t) && t.has_peer_cert && t.peer_verified;
    if (s->is_cert_valid && s->conf->auth_ssl_username_from_cert &&
        tls_peer_name(s->conn, s->conf->ssl_cert_username_field, &name) && name.n <= LOGIN_USER_MAX)
        s->cert_username = sl_dupz(buf_slice(&name));
    buf_free(&name);
}

/* ---- names for the log ---- */

static void
keep_user(struct sess *s, struct slice user)
{
    free(s->user);
    s->user = sl_dupz(sl_head(user, LOGIN_USER_MAX));
}

/* PLAIN: authorization name NUL name NUL password (RFC 4616); LOGIN: the first response is the name. */
static void
note_user(struct sess *s, struct slice response)
{
    struct slice name;

    if (strcmp(s->mech, "LOGIN") == 0 && !s->user)
        keep_user(s, response);
    else if (strcmp(s->mech, "PLAIN") == 0 && sl_take_until(&response, '\0', &name) &&
             sl_take_until(&response, '\0', &name))
        keep_user(s, name);
}

/* ---- attempts ---- */

static void
begin_attempt(struct sess *s, const char *mech)
{
    s->attempts++;
    if (!s->auth_began_ms)
        s->auth_began_ms = clock_mono_ms();
    s->last_refusal = LOGIN_WRONG;
    s->is_unanswered = false;
    if (mech)
        snprintf(s->mech, sizeof s->mech, "%s", mech);
    free(s->user);
    s->user = NULL;
}

static void
end_attempt(struct sess *s, enum login_refusal why, struct slice reason)
{
    s->last_refusal = why;
    s->proto->refuse(s, why, reason);
}

void
login_refuse(struct sess *s, enum login_refusal why)
{
    begin_attempt(s, NULL);
    end_attempt(s, why, (struct slice){ 0 });
}

/* ---- hand-over ---- */

static void
give_up(struct sess *s, enum login_refusal why, struct slice reason)
{
    end_attempt(s, why, reason);
    login_go_on(s);
}

static void
on_handed(uint64_t id, int worker_pid)
{
    struct sess *s = id_get(id);
    int fd;

    if (!s)
        return; /* a TLS client that went away meanwhile: the worker sees the end of the pair */
    fd = s->spare_fd;
    s->spare_fd = -1;
    if (worker_pid > 0) {
        login_log(s, "login.ok", "Login", worker_pid);
        if (s->conn)
            relay_start(s->conn, fd);
        else
            close(fd);
        s->conn = NULL;
        login_free(s);
        return;
    }
    if (s->conn) {
        close(fd);
    } else {
        login_adopt_conn(s, fd);
        conn_unread(s->conn, buf_slice(&s->unread));
        buf_free(&s->unread);
    }
    give_up(s, LOGIN_UNAVAILABLE, (struct slice){ 0 });
}

/* The descriptor that goes to the worker; TLS stays here, or where it is relayed already. Ours is spare_fd. -1: the session has ended, or there are none left. */
static int
part_descriptor(struct sess *s)
{
    int pair[2];

    if (conn_transport_state(s->conn)) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
            return -1;
        s->spare_fd = pair[0];
        return pair[1];
    }
    s->spare_fd = fcntl(conn_fd(s->conn), F_DUPFD_CLOEXEC, 3);
    if (s->spare_fd < 0)
        return -1;
    pair[1] = conn_detach(s->conn, &s->unread);
    if (pair[1] >= 0) {
        s->conn = NULL;
    } else { /* gone, or takes no output */
        close(s->spare_fd);
        s->spare_fd = -1;
        conn_abort(s->conn);
    }
    return pair[1];
}

static void
hand_over(struct sess *s, const struct auth_result *r)
{
    struct handoff h = { .cookie = r->cookie,
                         .user = r->user,
                         .tag = sl_z(s->tag),
                         .session = sl_z(s->sid),
                         .client_id = buf_slice(&s->client_id),
                         .remote = s->remote,
                         .local = s->local,
                         .is_tls = s->is_tls,
                         .is_utf8 = s->is_utf8 };
    char worker[32], path[512];
    int fd;

    if (r->cookie.n == 0) {
        log_error("login.cookie", LOG_NONE, "%s-login: authd gave no cookie for %.*s",
                  s->proto->service, SL_ARG(r->user));
        give_up(s, LOGIN_UNAVAILABLE, (struct slice){ 0 });
        return;
    }
    /* One user's sessions meet in one worker, from whichever login process they come. */
    if (s->proto == &login_imap)
        snprintf(worker, sizeof worker, "private/imapd-%u",
                 (unsigned)(enc_crc32(0, r->user.p, r->user.n) % login_imapd_workers()));
    else
        snprintf(worker, sizeof worker, "private/pop3d");
    fd = part_descriptor(s);
    if (fd >= 0) {
        h.input = buf_slice(&s->unread);
        handoff_send(daemon_socket_path(s->conf, worker, path, sizeof path), &h, fd, on_handed,
                     s->id);
    } else if (s->conn) {
        give_up(s, LOGIN_UNAVAILABLE, (struct slice){ 0 });
    }
}

/* ---- authd ---- */

void
login_auth_cancel(struct sess *s)
{
    if (s->auth_req)
        auth_client_cancel(login_authd(), s->auth_req);
    s->auth_req = 0;
}

static enum login_refusal
refusal_of(const struct auth_result *r)
{
    if (r->rc == AUTH_TEMPFAIL)
        return LOGIN_UNAVAILABLE;
    if (sl_eqz(r->code, "user_disabled"))
        return LOGIN_DISABLED;
    if (sl_eqz(r->code, "expired") || sl_eqz(r->code, "pass_expired"))
        return LOGIN_EXPIRED;
    return sl_eqz(r->code, "limit") ? LOGIN_LIMIT : LOGIN_WRONG;
}

/* The client is gone: what is left to do is the line in the log. */
static void
end_without_client(struct sess *s, enum auth_rc rc)
{
    if (rc == AUTH_CONTINUE) {
        login_auth_cancel(s);
        s->is_unanswered = true;
    }
    s->auth_req = 0;
    s->wrong += rc == AUTH_FAIL;
    s->successes += rc == AUTH_OK;
    if (rc == AUTH_TEMPFAIL)
        s->last_refusal = LOGIN_UNAVAILABLE;
    login_log_end(s, "Disconnected: Connection closed");
    login_free(s);
}

static void
on_auth(uint64_t id, const struct auth_result *r)
{
    struct sess *s = id_get(id);
    struct buf b64 = { 0 };

    if (!s || !s->auth_req)
        return;
    if (!s->conn) {
        end_without_client(s, r->rc);
        return;
    }
    if (r->rc == AUTH_CONTINUE && s->sasl_steps++ < SASL_STEPS_MAX) {
        s->is_unanswered = true;
        enc_b64(&b64, r->challenge);
        s->proto->challenge(s, buf_slice(&b64));
        buf_free(&b64);
        s->state = LOGIN_SASL;
        login_go_on(s);
        return;
    }
    if (r->rc == AUTH_CONTINUE)
        login_auth_cancel(s);
    s->auth_req = 0;
    if (r->user.n > 0)
        keep_user(s, r->user);
    free(s->master);
    s->master = r->master.n > 0 ? sl_dupz(r->master) : NULL;
    if (r->rc == AUTH_OK) {
        s->successes++;
        hand_over(s, r);
        return;
    }
    s->wrong += r->rc == AUTH_FAIL;
    give_up(s, refusal_of(r), r->reason);
}

static void
ask(struct sess *s, const char *mech, struct slice initial)
{
    struct auth_ask a = { .service = s->proto->service,
                          .mech = s->mech,
                          .is_secured = s->is_secured,
                          .is_cert_valid = s->is_cert_valid,
                          .cert_username = s->cert_username,
                          .remote = s->remote,
                          .local = s->local,
                          .initial = initial,
                          .session = s->sid };

    begin_attempt(s, mech);
    if (initial.p)
        note_user(s, initial);
    s->sasl_steps = 0;
    s->state = LOGIN_BUSY;
    conn_pause_input(s->conn);
    s->auth_req = auth_client_start(login_authd(), &a, on_auth, s->id);
}

/* Octets that could be overheard are refused before anybody looks at them; so is who shows no certificate where nobody comes in
 * without one. */
static bool
may_use(struct sess *s, const char *mech)
{
    bool is_clear = is_plaintext(mech) && !login_may_send_password(s);

    if (!is_clear && (s->is_cert_valid || !s->conf->auth_ssl_require_client_cert))
        return true;
    begin_attempt(s, mech);
    end_attempt(s, is_clear ? LOGIN_PLAINTEXT : LOGIN_NO_CERT, (struct slice){ 0 });
    return false;
}

void
login_authenticate(struct sess *s, struct slice mech, struct slice initial_b64)
{
    struct buf initial = { 0 };
    char name[LOGIN_MECH_OCTETS];

    set_mech(name, mech);
    if (mech.n == 0 || mech.n >= sizeof name || !is_known(s, name)) {
        begin_attempt(s, name);
        end_attempt(s, LOGIN_NO_MECH, (struct slice){ 0 });
        return;
    }
    if (!may_use(s, name))
        return;
    if (!initial_b64.p) {
        ask(s, name, (struct slice){ 0 });
    } else if (sl_eqz(initial_b64, "=")) { /* an empty response, RFC 4959 §3 */
        ask(s, name, SL(""));
    } else if (enc_b64_decode(&initial, initial_b64) != 0) {
        begin_attempt(s, name);
        end_attempt(s, LOGIN_BAD_INITIAL, (struct slice){ 0 });
    } else {
        ask(s, name, initial.p ? buf_slice(&initial) : SL(""));
    }
    buf_wipe(&initial);
}

void
login_password(struct sess *s, struct slice user, struct slice password)
{
    struct buf plain = { 0 };

    if (!may_use(s, "PLAIN"))
        return;
    buf_addc(&plain, '\0');
    buf_adds(&plain, user);
    buf_addc(&plain, '\0');
    buf_adds(&plain, password);
    ask(s, "PLAIN", buf_slice(&plain));
    buf_wipe(&plain);
}

bool
login_sasl_step(struct sess *s)
{
    struct buf response = { 0 };
    struct slice line;
    enum frame_rc rc = conn_take_line(s->conn, LOGIN_LINE_MAX, LINE_LF_TOO, &line);

    if (rc == FRAME_TOO_LONG) {
        login_end(s, "Disconnected: Authentication response too large",
                  "Authentication response too large");
        return false;
    }
    if (rc != FRAME_OK)
        return false;
    s->state = LOGIN_COMMAND;
    if (sl_eqz(line, "*") || enc_b64_decode(&response, line) != 0) {
        bool is_cancelled = sl_eqz(line, "*");

        login_auth_cancel(s);
        end_attempt(s, is_cancelled ? LOGIN_ABORTED : LOGIN_BAD_BASE64, (struct slice){ 0 });
        return true;
    }
    note_user(s, buf_slice(&response));
    s->is_unanswered = false;
    s->state = LOGIN_BUSY;
    conn_pause_input(s->conn);
    auth_client_continue(login_authd(), s->auth_req, buf_slice(&response));
    buf_wipe(&response);
    return true;
}
