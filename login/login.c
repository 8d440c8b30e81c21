/* login/login.c - a session's life before authentication: made, limited, ended. */
#include "login/login_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    struct conf *conf;
    struct auth_client *auth;
    struct login_tls tls;
    unsigned imapd_workers;
} setup;

/* ---- set-up ---- */

void
login_forget(void)
{
    conf_unref(&setup.conf);
    login_forget_proxies();
    login_forget_trusted();
    login_tls_unref(&setup.tls);
}

void
login_set(const struct login_setup *s)
{
    struct conf *conf = conf_ref(s->conf);
    struct login_tls tls = s->tls;

    for (int i = 0; i < LOGIN_CONTEXTS; i++)
        if (tls.v[i])
            tls_ref(tls.v[i]);
    login_forget();
    setup.conf = conf;
    login_set_proxies(conf);
    login_set_trusted(conf);
    setup.auth = s->auth;
    setup.tls = tls;
    setup.imapd_workers = s->imapd_workers ? s->imapd_workers : 1;
}

struct tls_ctx *
login_tls(const struct sess *s)
{
    return login_tls_choose(&setup.tls, s);
}

struct auth_client *
login_authd(void)
{
    return setup.auth;
}

unsigned
login_imapd_workers(void)
{
    return setup.imapd_workers;
}

size_t
login_count(void)
{
    return crowd_count() + relay_count() + upstream_proxy_count();
}

bool
login_may_send_password(const struct sess *s)
{
    return s->is_secured || !s->conf->disable_plaintext_auth;
}

bool
login_offers_starttls(const struct sess *s)
{
    return !s->is_tls && login_tls(s) != NULL;
}

/* ---- the end ---- */

void
login_free(struct sess *s)
{
    login_auth_cancel(s);
    id_del(s->id);
    crowd_leave(&s->member);
    daemon_session_count(-1);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    conf_unref(&s->conf);
    buf_free(&s->unread);
    buf_wipe(&s->cmd);
    buf_free(&s->client_id);
    free(s->tag);
    free(s->tls_why);
    free(s->cert_username);
    free(s->pop3_user);
    free(s->user);
    free(s->master);
    free(s);
}

void
login_end(struct sess *s, const char *why, const char *farewell)
{
    if (s->state == LOGIN_ENDING)
        return;
    login_log_end(s, why);
    login_auth_cancel(s);
    s->state = LOGIN_ENDING;
    if (farewell)
        s->proto->bye(s, farewell);
    conn_close(s->conn);
}

/* In Dovecot's words: a handshake that failed is told twice, as the reason and with the state of TLS. */
static void
log_close(struct sess *s, const struct err *why)
{
    const char *handshake = tls_accept_error(why);
    struct slice text = why && why->kind != ERR_NONE ? sl_z(why->msg) : sl_z("");
    struct buf b = { 0 }, tls = { 0 };

    buf_addz(&b, "Disconnected: Connection closed");
    if (s->is_tls && handshake)
        buf_addf(&tls, "SSL_accept() failed: %s", handshake);
    else if (s->is_tls && s->is_tls_ready && text.n > 0)
        buf_adds(&tls, text);
    else if (s->is_tls && !s->is_tls_ready)
        s->tls_why = mem_dupz("Connection closed");
    else if (text.n > 0)
        buf_addf(&b, ": %.*s", SL_ARG(text));
    if (tls.n > 0) {
        s->tls_why = sl_dupz(buf_slice(&tls));
        buf_addf(&b, ": %s", s->tls_why);
    }
    login_log_end(s, buf_z(&b));
    buf_free(&b);
    buf_free(&tls);
}

/* Who goes while his password is looked at shall not be spared the line that counts him: that is written when authd has
 * answered (login_auth.c). */
static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct sess *s = arg;

    (void)c;
    (void)end;
    if (s->state == LOGIN_BUSY && s->auth_req) {
        s->conn = NULL;
        return;
    }
    if (s->state != LOGIN_ENDING)
        log_close(s, why);
    s->conn = NULL;
    login_free(s);
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct sess *s = arg;

    (void)c;
    if (s->state == LOGIN_BUSY &&
        !s->auth_req) /* a worker is asked, which has a limit of its own */
        conn_set_deadline(s->conn, LOGIN_TIMEOUT_MS);
    else if (s->state == LOGIN_SASL || s->state == LOGIN_BUSY)
        login_end(s, "Disconnected: Inactivity during authentication",
                  "Disconnected for inactivity during authentication.");
    else
        login_end(s, "Disconnected: Inactivity", "Disconnected for inactivity.");
}

bool
login_count_bad(struct sess *s)
{
    if (++s->bad < LOGIN_BAD_MAX)
        return false;
    login_end(s, "Disconnected: Too many invalid commands", "Too many invalid commands.");
    return true;
}

/* ---- input ---- */

static void
take_input(struct sess *s)
{
    bool is_taken = true;

    while (is_taken && s->conn && !conn_is_out_full(s->conn)) {
        if (s->state == LOGIN_COMMAND)
            is_taken = s->proto->step(s);
        else if (s->state == LOGIN_SASL)
            is_taken = login_sasl_step(s);
        else
            break;
    }
}

static void
on_input(struct conn *c, void *arg)
{
    (void)c;
    take_input(arg);
}

/* Under TLS from the first octet: what is offered depends on the client's certificate. */
static void
greet(struct sess *s)
{
    s->is_greeted = true;
    s->proto->greet(s);
}

static void
on_secure(struct conn *c, void *arg)
{
    struct sess *s = arg;

    (void)c;
    s->is_tls_ready = true;
    login_look_at_cert(s);
    if (!s->is_greeted)
        greet(s);
}

static const struct conn_ops ops = { .on_input = on_input,
                                     .on_drain = on_input,
                                     .on_deadline = on_deadline,
                                     .on_secure = on_secure,
                                     .on_close = on_close };

void
login_go_on(struct sess *s)
{
    if (s->state == LOGIN_BUSY)
        s->state = LOGIN_COMMAND;
    conn_resume_input(s->conn);
}

void
login_adopt_conn(struct sess *s, int fd)
{
    s->conn = conn_new(fd, &ops, s);
    conn_set_in_max(s->conn, LOGIN_IN_MAX);
    conn_set_out_marks(s->conn, LOGIN_OUT_HIGH, LOGIN_OUT_LOW);
    conn_set_deadline(s->conn, LOGIN_TIMEOUT_MS);
}

/* ---- the beginning ---- */

void
login_start_tls(struct sess *s)
{
    conn_consume(s->conn, conn_input(s->conn).n); /* sent in clear, perhaps not by the client */
    s->is_tls = s->is_secured = s->is_greeted = true;
    s->bad = 0;
    buf_free(&s->client_id);
    free(s->pop3_user);
    s->pop3_user = NULL;
    tls_start_server(s->conn, login_tls(s));
}

static struct sess *
sess_of(struct crowd_member *m)
{
    return CONTAINER_OF(m, struct sess, member);
}

/* Authd may be asked about it; whom a worker is asked to take stays. Who guesses is waiting for an answer that is late, and who
 * has just come for his first command: of the two it is not the second who has to go. */
static bool
is_waiting(const struct crowd_member *m)
{
    const struct sess *s = CONTAINER_OF(m, const struct sess, member);

    if (s->state == LOGIN_BUSY)
        return s->auth_req != 0;
    return s->conn && s->state != LOGIN_ENDING;
}

static bool
is_ending(const struct crowd_member *m)
{
    const struct sess *s = CONTAINER_OF(m, const struct sess, member);

    return s->conn && s->state == LOGIN_ENDING;
}

/* A flood of strangers must not keep users out. Of those who are most, who came first has to go; then whose farewell nobody
 * reads. */
static void
make_room(void)
{
    struct crowd_member *m = crowd_count() < LOGIN_SESSIONS_MAX + LOGIN_ENDING_MAX
                                 ? crowd_pick(is_waiting)
                                 : crowd_pick(is_ending);
    struct sess *s;

    if (!m)
        m = crowd_pick(is_waiting);
    if (!m)
        return;
    s = sess_of(m);
    if (s->state == LOGIN_ENDING) {
        conn_abort(s->conn);
    } else if (s->conn) {
        login_end(s, "Disconnected: Connection queue full", "Connection queue full.");
    } else {
        login_log_end(s, "Disconnected: Connection closed");
        login_free(s);
    }
}

static void
make_sid(char *out)
{
    unsigned char r[12];
    struct buf b = { 0 };

    rand_octets(r, sizeof r);
    enc_b64(&b, sl_n((const char *)r, sizeof r));
    memcpy(out, buf_z(&b), 17);
    buf_free(&b);
}

struct sess *
login_new(const struct login_proto *proto, int fd, const struct upstream_client *c)
{
    struct sess *s;

    if (crowd_count() >= LOGIN_SESSIONS_MAX)
        make_room();
    s = MEM_NEW(struct sess);
    s->proto = proto;
    s->conf = conf_ref(setup.conf);
    s->spare_fd = -1;
    s->id = id_add(s);
    s->began_ms = clock_mono_ms();
    s->remote = s->real_remote = c->peer;
    s->local = s->real_local = c->local;
    s->is_trusted = login_is_trusted(&s->remote);
    s->is_secured =
        s->is_trusted || addr_is_loopback(&s->remote) || addr_same_ip(&s->remote, &s->local);
    make_sid(s->sid);
    crowd_join(&s->member, &s->remote);
    daemon_session_count(1);
    login_adopt_conn(s, fd);
    conn_unread(s->conn, c->unread);
    return s;
}

void
login_begin(struct slice service, int fd, const struct upstream_client *c)
{
    struct sess *s =
        login_new(sl_has_prefix(service, SL("pop3")) ? &login_pop3 : &login_imap, fd, c);

    if (sl_ends(service, 's')) {
        s->is_wrapper = s->is_tls = s->is_secured = true;
        if (!login_tls(s)) {
            log_error("login.tls", LOG_NONE, "%s-login: no certificate: %.*s is closed",
                      s->proto->service, SL_ARG(service));
            s->state = LOGIN_ENDING;
            conn_abort(s->conn);
            return;
        }
        tls_start_server(s->conn, login_tls(s));
    } else {
        greet(s);
    }
}

void
login_accept(struct slice service, int fd, const struct addr *peer)
{
    struct upstream_client c = { .peer = *peer };

    if (login_is_proxied(setup.conf, service)) {
        login_accept_proxied(setup.conf, service, fd, peer);
        return;
    }
    if (addr_of_self(fd, &c.local) != 0)
        c.local.len = 0;
    login_begin(service, fd, &c);
}

static void
drain_one(struct crowd_member *m)
{
    struct sess *s = sess_of(m);

    if (s->conn && s->state != LOGIN_BUSY && s->state != LOGIN_ENDING)
        login_end(s, "Disconnected: Shutting down", "Server shutting down.");
}

void
login_drain(void)
{
    upstream_proxy_drain();
    crowd_each(drain_one);
}
