/* login/login.c - a session's life before authentication: made, limited, logged, ended. */
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
    struct tls_ctx *tls_imap, *tls_pop3;
    unsigned imapd_workers;
} setup;
static struct list sessions = { &sessions, &sessions }; /* oldest first */
static size_t n_sessions;

/* ---- set-up ---- */

void
login_forget(void)
{
    conf_unref(&setup.conf);
    login_forget_proxies();
    tls_unref(&setup.tls_imap);
    tls_unref(&setup.tls_pop3);
}

void
login_set(const struct login_setup *s)
{
    struct conf *conf = conf_ref(s->conf);
    struct tls_ctx *imap = s->tls_imap ? tls_ref(s->tls_imap) : NULL;
    struct tls_ctx *pop3 = s->tls_pop3 ? tls_ref(s->tls_pop3) : NULL;

    login_forget();
    setup.conf = conf;
    login_set_proxies(conf);
    setup.auth = s->auth;
    setup.tls_imap = imap;
    setup.tls_pop3 = pop3;
    setup.imapd_workers = s->imapd_workers ? s->imapd_workers : 1;
}

struct tls_ctx *
login_tls(const struct sess *s)
{
    return s->proto == &login_imap ? setup.tls_imap : setup.tls_pop3;
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
    return n_sessions + relay_count() + upstream_proxy_count();
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

/* ---- the log ---- */

static void
add_user(struct buf *out, const struct sess *s)
{
    struct slice u = sl_z(s->user);

    buf_addz(out, "user=<");
    for (size_t i = 0; i < u.n;
         i++) /* nobody shall end the name early and write fields of his own */
        buf_addc(out, u.p[i] == '<' || u.p[i] == '>' || u.p[i] == '"' ? '?' : u.p[i]);
    buf_addc(out, '>');
}

/* Dovecot's default login_log_format_elements. */
void
login_log(const struct sess *s, const char *event, const char *what, int worker_pid)
{
    char rip[ADDR_TEXT_OCTETS], lip[ADDR_TEXT_OCTETS];
    struct buf b = { 0 };

    addr_ip_text(&s->remote, rip);
    addr_ip_text(&s->local, lip);
    add_user(&b, s);
    if (s->mech[0])
        buf_addf(&b, ", method=%s", s->mech);
    buf_addf(&b, ", rip=%s, lip=%s", rip, lip);
    if (worker_pid > 0)
        buf_addf(&b, ", mpid=%d", worker_pid);
    if (s->is_tls)
        buf_addz(&b, s->is_tls_ready ? ", TLS" : ", TLS handshaking");
    else if (s->is_secured)
        buf_addz(&b, ", secured");
    buf_addf(&b, ", session=<%s>", s->sid);
    log_info(event,
             LOG_F(LF_Z("service", s->proto->service), LF_Z("user", s->user),
                   LF_Z("method", s->mech), LF_Z("rip", rip), LF_Z("lip", lip), LF_Z("sid", s->sid),
                   LF_Z("what", what)),
             "%s-login: %s: %s", s->proto->service, what, buf_z(&b));
    buf_free(&b);
}

static void
log_end(const struct sess *s, const char *why)
{
    uint64_t secs = (clock_mono_ms() - s->began_ms) / 1000;
    struct buf b = { 0 };

    buf_addz(&b, why);
    if (s->attempts > 0)
        buf_addf(&b, " (auth failed, %u attempts in %llu secs)", s->attempts,
                 (unsigned long long)secs);
    else if (s->is_plaintext_refused)
        buf_addz(&b, " (tried to use disallowed plaintext auth)");
    else if (s->auth_req || s->state == LOGIN_SASL)
        buf_addf(&b, " (client didn't finish SASL auth, waited %llu secs)",
                 (unsigned long long)secs);
    else
        buf_addf(&b, " (no auth attempts in %llu secs)", (unsigned long long)secs);
    login_log(s, "login.end", buf_z(&b), 0);
    buf_free(&b);
}

/* ---- the end ---- */

void
login_free(struct sess *s)
{
    login_auth_cancel(s);
    id_del(s->id);
    list_remove(&s->link);
    n_sessions--;
    daemon_session_count(-1);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    conf_unref(&s->conf);
    buf_free(&s->unread);
    if (s->cmd.p)
        mem_wipe(s->cmd.p, s->cmd.cap);
    buf_free(&s->cmd);
    buf_free(&s->client_id);
    free(s->tag);
    free(s->pop3_user);
    free(s->user);
    free(s);
}

void
login_end(struct sess *s, const char *why, const char *farewell)
{
    if (s->state == LOGIN_ENDING)
        return;
    log_end(s, why);
    login_auth_cancel(s);
    s->state = LOGIN_ENDING;
    if (farewell)
        s->proto->bye(s, farewell);
    conn_close(s->conn);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct sess *s = arg;
    char text[ERR_MSG_OCTETS + 40];

    (void)c;
    (void)end;
    s->conn = NULL;
    if (s->state != LOGIN_ENDING) {
        if (why && why->kind != ERR_NONE)
            snprintf(text, sizeof text, "Disconnected: Connection closed: %s", why->msg);
        else
            snprintf(text, sizeof text, "Disconnected: Connection closed");
        log_end(s, text);
    }
    login_free(s);
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct sess *s = arg;

    (void)c;
    if (s->state == LOGIN_BUSY) /* that it takes long is not the client's doing */
        conn_set_deadline(s->conn, LOGIN_TIMEOUT_MS);
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

static void
on_secure(struct conn *c, void *arg)
{
    struct sess *s = arg;

    (void)c;
    s->is_tls_ready = true;
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
    conn_set_deadline(s->conn, LOGIN_TIMEOUT_MS);
}

/* ---- the beginning ---- */

void
login_start_tls(struct sess *s)
{
    conn_consume(s->conn, conn_input(s->conn).n); /* sent in clear, perhaps not by the client */
    s->is_tls = s->is_secured = true;
    s->bad = 0;
    buf_free(&s->client_id);
    free(s->pop3_user);
    s->pop3_user = NULL;
    tls_start_server(s->conn, login_tls(s));
}

/* A flood of strangers must not keep users out: who waits longest without a password has to go. */
static void
make_room(void)
{
    LIST_EACH(it, nxt, &sessions)
    {
        struct sess *s = CONTAINER_OF(it, struct sess, link);

        if (s->conn && s->state != LOGIN_BUSY && s->state != LOGIN_ENDING) {
            login_end(s, "Disconnected: Connection queue full", "Connection queue full.");
            return;
        }
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

    if (n_sessions >= LOGIN_SESSIONS_MAX)
        make_room();
    s = MEM_NEW(struct sess);
    s->proto = proto;
    s->conf = conf_ref(setup.conf);
    s->spare_fd = -1;
    s->id = id_add(s);
    s->began_ms = clock_mono_ms();
    s->remote = c->peer;
    s->local = c->local;
    s->is_secured = addr_is_loopback(&s->remote) || addr_same_ip(&s->remote, &s->local);
    make_sid(s->sid);
    list_push_back(&sessions, &s->link);
    n_sessions++;
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
        s->is_tls = s->is_secured = true;
        if (!login_tls(s)) {
            log_error("login.tls", LOG_NONE, "%s-login: no certificate: %.*s is closed",
                      s->proto->service, SL_ARG(service));
            s->state = LOGIN_ENDING;
            conn_abort(s->conn);
            return;
        }
        tls_start_server(s->conn, login_tls(s));
    }
    s->proto->greet(s);
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

void
login_drain(void)
{
    upstream_proxy_drain();
    LIST_EACH(it, nxt, &sessions)
    {
        struct sess *s = CONTAINER_OF(it, struct sess, link);

        if (s->conn && s->state != LOGIN_BUSY)
            login_end(s, "Disconnected: Shutting down", "Server shutting down.");
    }
}
