/* auth/auth_server.c - the auth-client protocol, version 1.2, as Dovecot documents it; a real Postfix speaks it
 * (smtpd_sasl_type = dovecot). One thing is ours: the OK of a login that somebody will hand over (no "nologin") carries
 * postern_cookie=, which auth-master's REQUEST redeems once.
 *
 * A request: SASL until it has name and password, then the database's thread, then the hash queue, then OK or FAIL.
 * Wrong passwords, unknown users and broken exchanges all FAIL alike, auth_failure_delay late. */
#include "auth/auth_server.h"

#include "auth/names.h"
#include "auth/sasl.h"
#include "auth/tab.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    PEER_REQUESTS_MAX = 16384,
    REQUEST_TIMEOUT_MS = 150 * 1000, /* for the client's next response; Dovecot's own limit */
    SERVICE_OCTETS = 32
};

struct peer {
    struct auth_service *auth;
    struct conn *conn;
    struct map *requests; /* by the client's number */
    bool has_version;
};

struct request {
    struct peer *peer;
    uint64_t id;
    uint32_t number;
    struct sasl sasl;
    bool is_checking; /* name and password are there, the answer is not */
    bool no_login;
    bool is_unknown; /* for the log; the client cannot tell */
    struct conf *conf;
    char service[SERVICE_OCTETS];
    struct addr remote;
    char *session;
    struct buf user; /* canonical */
    struct timer timer;
};

/* ---- ends of a request ---- */

static void
free_request(struct request *r)
{
    timer_stop(&r->timer);
    id_del(r->id);
    sasl_end(&r->sasl);
    conf_unref(&r->conf);
    buf_free(&r->user);
    free(r->session);
    free(r);
}

static void
drop_request(struct request *r)
{
    map_del_u64(r->peer->requests, r->number);
    free_request(r);
}

static void
send_fail(struct request *r, const char *extra)
{
    struct buf line = { 0 };

    buf_addf(&line, "FAIL\t%u", r->number);
    if (r->user.n)
        tab_add_pair(&line, "user", buf_slice(&r->user));
    buf_addz(&line, extra);
    buf_addc(&line, '\n');
    conn_writes(r->peer->conn, buf_slice(&line));
    buf_free(&line);
    drop_request(r);
}

static void
send_late_fail(void *arg)
{
    send_fail(arg, "");
}

/* "user,address,<session>" as Dovecot's log has it. The name is a stranger's: one that brings a comma and an address of
 * its own would have fail2ban shut out somebody else (Dovecot allows no such octets, auth_username_chars). */
static const char *
log_name(const struct request *r, struct buf *out)
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

/* Wrong: told late, so that guessing is slow and all wrongs look alike. */
static void
fail(struct request *r, const char *why)
{
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
    timer_start(&r->timer, (uint64_t)r->conf->auth_failure_delay, send_late_fail, r);
}

static void
fail_temporarily(struct request *r, const char *why)
{
    struct buf name = { 0 };
    char ip[ADDR_TEXT_OCTETS];

    log_warn("auth.tempfail",
             LOG_F(LF_S("user", buf_slice(&r->user)), LF_Z("rip", addr_ip_text(&r->remote, ip)),
                   LF_Z("why", why)),
             "sql(%s): temporary failure: %s", log_name(r, &name), why);
    buf_free(&name);
    send_fail(r, "\ttemp\tcode=temp_fail");
}

static void
succeed(struct request *r)
{
    struct auth_service *a = r->peer->auth;
    char cookie[COOKIE_HEX_DIGITS + 1];
    struct buf line = { 0 };

    buf_addf(&line, "OK\t%u", r->number);
    tab_add_pair(&line, "user", buf_slice(&r->user));
    if (!r->no_login) {
        cookie_make(a->cookies, buf_slice(&r->user), loop_now_ms(), cookie);
        tab_add_pair(&line, "postern_cookie", sl_z(cookie));
    }
    buf_addc(&line, '\n');
    conn_writes(r->peer->conn, buf_slice(&line));
    buf_free(&line);
    drop_request(r);
}

/* ---- checking ---- */

static void
on_hashed(uint64_t id, int match, const char *why)
{
    struct request *r = id_get(id);

    if (r == NULL)
        return;
    if (match > 0)
        succeed(r);
    else if (match == 0)
        fail(r, r->is_unknown ? "unknown user" : "Password mismatch");
    else
        fail_temporarily(r, why);
}

struct find_job {
    struct backend_job job;
    uint64_t request;
    struct buf wanted, name, password;
    int rc;
    struct err e;
};

static void
find_run(struct backend_job *j, struct table_set *tables)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    uint64_t began = clock_mono_ms();
    struct users *u = table_set_users(tables, &f->e);

    f->rc = u ? users_find(u, buf_slice(&f->wanted), &f->name, &f->password, &f->e) : -1;
    if (f->rc < 0)
        table_set_note_failure(tables, began, &f->e);
}

/* Whose turn hashing takes: the client's network. On loopback that would be everybody behind a webmail: the user. */
static void
source_of(const struct request *r, struct buf *out)
{
    char net[ADDR_TEXT_OCTETS];
    int family = addr_family(&r->remote);

    if ((family == AF_INET || family == AF_INET6) && !addr_is_loopback(&r->remote)) {
        buf_addz(out, addr_net_text(&r->remote, net));
    } else {
        buf_addz(out, "user ");
        buf_adds(out, buf_slice(&r->user));
    }
}

static void
check_password(struct request *r, struct find_job *f)
{
    struct buf source = { 0 };
    struct hash_ask ask = { .user = buf_slice(&r->user),
                            .stored = buf_slice(&f->password),
                            .password = buf_slice(&r->sasl.password),
                            .default_scheme = r->conf->default_pass_scheme,
                            .is_dummy = f->rc == 0 };

    r->is_unknown = ask.is_dummy;
    source_of(r, &source);
    ask.source = buf_slice(&source);
    if (!hash_submit(r->peer->auth->hashes, &ask, on_hashed, r->id))
        fail_temporarily(r, "too many logins at once from one source");
    buf_free(&source);
}

static void
find_done(struct backend_job *j)
{
    struct find_job *f = CONTAINER_OF(j, struct find_job, job);
    struct request *r = id_get(f->request);

    if (r && f->rc < 0) {
        fail_temporarily(r, f->e.msg);
    } else if (r) {
        if (f->rc > 0) { /* the name as the database has it */
            buf_reset(&r->user);
            auth_format_name(r->conf->auth_username_format, buf_slice(&f->name), &r->user);
        }
        check_password(r, f);
    }
    buf_free(&f->wanted);
    buf_free(&f->name);
    if (f->password.p)
        mem_wipe(f->password.p, f->password.cap);
    buf_free(&f->password);
    free(f);
}

/* An authorization identity must be the authenticated one: there are no masters over others here. */
static bool
is_own_authzid(struct request *r)
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
check(struct request *r)
{
    struct find_job *f;

    r->is_checking = true;
    timer_stop(&r->timer);
    auth_format_name(r->conf->auth_username_format, buf_slice(&r->sasl.authcid), &r->user);
    if (!is_own_authzid(r)) {
        fail(r, "authorization identity of another user");
        return;
    }
    f = MEM_NEW(struct find_job);
    f->request = r->id;
    f->job.run = find_run;
    f->job.done = find_done;
    buf_adds(&f->wanted, buf_slice(&r->user));
    backend_submit(r->peer->auth->backend, &f->job);
}

/* ---- SASL ---- */

static void
time_out(void *arg)
{
    send_fail(arg, "\treason=Authentication request timed out");
}

static void
step(struct request *r, struct slice response, bool has_response)
{
    struct buf line = { 0 };

    switch (sasl_step(&r->sasl, response, has_response)) {
    case SASL_CREDENTIALS:
        check(r);
        break;
    case SASL_CONTINUE:
        buf_addf(&line, "CONT\t%u\t", r->number);
        enc_b64(&line, r->sasl.challenge);
        buf_addc(&line, '\n');
        conn_writes(r->peer->conn, buf_slice(&line));
        buf_free(&line);
        timer_start(&r->timer, REQUEST_TIMEOUT_MS, time_out, r);
        break;
    case SASL_BAD:
        auth_format_name(r->conf->auth_username_format, buf_slice(&r->sasl.authcid), &r->user);
        fail(r, "Invalid input in SASL exchange");
        break;
    }
}

/* Octets of a response in base64, at the end of the line. */
static void
step_encoded(struct request *r, struct slice encoded)
{
    struct buf octets = { 0 };

    if (enc_b64_decode(&octets, encoded) < 0)
        send_fail(r, "\treason=Invalid base64 data in response\tcode=invalid_base64");
    else
        step(r, buf_slice(&octets), true);
    if (octets.p)
        mem_wipe(octets.p, octets.cap);
    buf_free(&octets);
}

/* ---- commands ---- */

static void
refuse(struct peer *p, uint32_t number, const char *why)
{
    conn_printf(p->conn, "FAIL\t%u\t%s\n", number, why);
}

static void
take_parameter(struct request *r, struct slice field)
{
    struct buf text = { 0 };
    struct slice v;

    if (sl_eqz(field, "nologin")) {
        r->no_login = true;
    } else if (tab_is_pair(field, "service", &v)) {
        v = sl_head(v, SERVICE_OCTETS - 1);
        memcpy(r->service, v.p, v.n);
        r->service[v.n] = '\0';
    } else if (tab_is_pair(field, "rip", &v)) {
        if (addr_parse_ip(v, 0, &r->remote) < 0)
            r->remote.len = 0;
    } else if (tab_is_pair(field, "session", &v)) {
        tab_unescape(&text, v);
        free(r->session);
        r->session = sl_dupz(buf_slice(&text));
    }
    buf_free(&text);
}

static bool
offers(const struct conf *c, const char *mech)
{
    for (size_t i = 0; i < c->auth_mechanisms.n; i++)
        if (sl_ieqz(sl_z(mech), c->auth_mechanisms.v[i]))
            return true;
    return false;
}

/* "AUTH number mechanism [parameter]... [resp=...]" */
static int
run_auth(struct peer *p, struct slice args)
{
    struct slice field, mech_name, encoded = { 0 };
    const struct sasl_mech *mech;
    struct request *r;
    uint32_t number;

    if (!tab_take(&args, &field) || !sl_to_u32(field, &number) || !tab_take(&args, &mech_name))
        return -1;
    if (map_get_u64(p->requests, number))
        return -1; /* a number in use: the peer is confused */
    mech = sasl_find(mech_name);
    if (mech == NULL || !offers(p->auth->conf, mech->name)) {
        refuse(p, number, "reason=Unsupported authentication mechanism");
        return 0;
    }
    if (map_count(p->requests) >= PEER_REQUESTS_MAX) {
        refuse(p, number, "temp\tcode=temp_fail");
        return 0;
    }
    r = MEM_NEW(struct request);
    r->peer = p;
    r->number = number;
    r->conf = conf_ref(p->auth->conf);
    r->id = id_add(r);
    sasl_begin(&r->sasl, mech);
    map_set_u64(p->requests, number, r);
    while (tab_take(&args, &field)) {
        if (tab_is_pair(field, "resp", &encoded))
            break;
        take_parameter(r, field);
    }
    if (encoded.p)
        step_encoded(r, encoded);
    else
        step(r, sl_n(NULL, 0), false);
    return 0;
}

static int
run_cont(struct peer *p, struct slice args)
{
    struct slice field, encoded = { 0 };
    struct request *r;
    uint32_t number;

    if (!tab_take(&args, &field) || !sl_to_u32(field, &number))
        return -1;
    tab_take(&args, &encoded);
    r = map_get_u64(p->requests, number);
    if (r == NULL)
        refuse(
            p, number,
            "reason=Authentication request timed out"); /* the client sent it before it heard so */
    else if (!r->is_checking)
        step_encoded(r, encoded);
    return 0;
}

static int
run_cancel(struct peer *p, struct slice args)
{
    struct slice field;
    struct request *r;
    uint32_t number;

    if (!tab_take(&args, &field) || !sl_to_u32(field, &number))
        return -1;
    r = map_get_u64(p->requests, number);
    if (r)
        drop_request(r);
    return 0;
}

static int
run_version(struct peer *p, struct slice args)
{
    struct slice major;

    if (!tab_take(&args, &major) || !sl_eqz(major, "1"))
        return -1;
    p->has_version = true;
    return 0;
}

static int
run_cpid(struct peer *p, struct slice args)
{
    (void)args; /* its process number says nothing here: cookies stand alone */
    return p->has_version ? 0 : -1;
}

static const struct {
    const char *verb;
    int (*run)(struct peer *p, struct slice args); /* -1: protocol error */
} commands[] = {
    { "VERSION", run_version }, { "CPID", run_cpid },     { "AUTH", run_auth },
    { "CONT", run_cont },       { "CANCEL", run_cancel },
};

static int
run_line(struct peer *p, struct slice line)
{
    struct slice verb = { 0 };

    tab_take(&line, &verb);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (sl_eqz(verb, commands[i].verb))
            return commands[i].run(p, line);
    return -1;
}

/* ---- the connection ---- */

static void
on_input(struct conn *c, void *arg)
{
    struct peer *p = arg;
    struct buf copy = { 0 }; /* handlers write to the conn */
    struct slice line;

    for (;;) {
        enum frame_rc rc = conn_take_line(c, TAB_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            break;
        buf_reset(&copy);
        if (rc == FRAME_OK)
            buf_adds(&copy, line);
        if (rc == FRAME_TOO_LONG || run_line(p, buf_slice(&copy)) < 0) {
            log_warn("auth.protocol", LOG_NONE, "auth client sent a malformed command");
            conn_abort(c);
            break;
        }
    }
    if (copy.p)
        mem_wipe(copy.p, copy.cap);
    buf_free(&copy);
}

static void
free_request_value(void *p)
{
    free_request(p);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;

    (void)c;
    (void)end;
    (void)why;
    map_free(&p->requests, free_request_value);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
auth_serve(struct auth_service *a, int fd)
{
    struct peer *p = MEM_NEW(struct peer);
    const struct sasl_mech *m;
    char cookie[COOKIE_HEX_DIGITS + 1];

    p->auth = a;
    p->requests = map_new();
    p->conn = conn_new(fd, &ops, p);
    conn_set_in_max(p->conn, TAB_LINE_OCTETS * 2);
    conn_printf(p->conn, "VERSION\t1\t2\n");
    for (size_t i = 0; (m = sasl_at(i)) != NULL; i++)
        if (offers(a->conf, m->name))
            conn_printf(p->conn, "MECH\t%s\t%s\n", m->name, m->flags);
    rand_hex(cookie,
             COOKIE_HEX_DIGITS); /* Dovecot's connection cookie; nothing here asks for it again */
    conn_printf(p->conn, "SPID\t%ld\nCUID\t%u\nCOOKIE\t%s\nDONE\n", (long)getpid(),
                ++a->last_connection, cookie);
}
