/* auth/auth_server.c - the auth-client protocol, version 1.2, as Dovecot documents it; a real Postfix speaks it
 * (smtpd_sasl_type = dovecot). One thing is ours: the OK of a login that somebody will hand over (no "nologin") carries
 * postern_cookie=, which auth-master's REQUEST redeems once.
 *
 * A request: SASL until it has name and password, then the database's thread, then the hash queue, then OK or FAIL.
 * Wrong passwords, unknown users and broken exchanges all FAIL alike, auth_failure_delay late. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "auth/tab.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/conn.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    PEER_REQUESTS_MAX = 16384,
    REQUEST_TIMEOUT_MS = 150 * 1000, /* for the client's next response; Dovecot's own limit */
};

struct auth_peer {
    struct auth_service *auth;
    struct conn *conn;
    struct map *requests; /* by the client's number */
    bool has_version;
};

void
auth_peer_write(struct auth_peer *p, struct slice line)
{
    conn_writes(p->conn, line);
}

void
auth_peer_forget(struct auth_peer *p, struct auth_request *r)
{
    map_del_u64(p->requests, r->number);
}

/* ---- SASL ---- */

static void
time_out(void *arg)
{
    auth_request_send_fail(arg, "\treason=Authentication request timed out");
}

void
auth_request_send_challenge(struct auth_request *r, struct slice octets)
{
    struct buf line = { 0 };

    buf_addf(&line, "CONT\t%u\t", r->number);
    enc_b64(&line, octets);
    buf_addc(&line, '\n');
    conn_writes(r->peer->conn, buf_slice(&line));
    buf_free(&line);
    r->is_checking = false;
    timer_start(&r->timer, REQUEST_TIMEOUT_MS, time_out, r);
}

static void
fail_exchange(struct auth_request *r, const char *why)
{
    const char *of_name;

    if (r->user.n == 0)
        (void)auth_name_of_client(r->conf, buf_slice(&r->sasl.authcid), &r->user, &of_name);
    auth_request_fail(r, why);
}

void
auth_request_go_on(struct auth_request *r, enum sasl_rc rc)
{
    if (rc != SASL_CONTINUE) {
        r->is_checking = true;
        timer_stop(&r->timer);
    }
    if (rc != SASL_CONTINUE && rc != SASL_WRONG && rc != SASL_BAD && !auth_request_admit(r, rc))
        return;
    switch (rc) {
    case SASL_CONTINUE:
        auth_request_send_challenge(r, r->sasl.challenge);
        break;
    case SASL_CREDENTIALS:
        auth_request_check_password(r);
        break;
    case SASL_LOOKUP:
        auth_request_find_verifier(r);
        break;
    case SASL_PROVEN:
        if (r->why_wrong)
            fail_exchange(r, r->why_wrong);
        else
            auth_request_authenticated(r);
        break;
    case SASL_CLAIMED:
        auth_request_check_claim(r);
        break;
    case SASL_TOKEN:
        auth_request_check_token(r);
        break;
    case SASL_WRONG:
        fail_exchange(r, r->why_wrong ? r->why_wrong : r->sasl.why);
        break;
    case SASL_BAD:
        fail_exchange(r, "Invalid input in SASL exchange");
        break;
    }
}

static void
step(struct auth_request *r, struct slice response, bool has_response)
{
    if (!r->is_proven)
        auth_request_go_on(r, sasl_step(&r->sasl, response, has_response));
    else if (response.n == 0)
        auth_request_succeed(r);
    else
        auth_request_fail(r, "more than the exchange has");
}

/* Octets of a response in base64, at the end of the line. */
static void
step_encoded(struct auth_request *r, struct slice encoded)
{
    struct buf octets = { 0 };

    if (enc_b64_decode(&octets, encoded) < 0)
        auth_request_send_fail(r, "\treason=Invalid base64 data in response\tcode=invalid_base64");
    else
        step(r, buf_slice(&octets), true);
    buf_wipe(&octets);
}

/* ---- commands ---- */

static void
refuse(struct auth_peer *p, uint32_t number, const char *why)
{
    conn_printf(p->conn, "FAIL\t%u\t%s\n", number, why);
}

static void
take_parameter(struct auth_request *r, struct slice field)
{
    struct buf text = { 0 };
    struct slice v;

    if (sl_eqz(field, "nologin")) {
        r->no_login = true;
    } else if (sl_eqz(field, "valid-client-cert")) {
        r->is_cert_valid = true;
    } else if (sl_eqz(field, "final-resp-ok")) {
        r->takes_final = true;
    } else if (tab_is_pair(field, "cert_username", &v)) {
        tab_unescape(&text, v);
        free(r->cert_username); /* a NUL in a certificate must not make another name of it */
        r->cert_username = sasl_is_name(buf_slice(&text)) ? sl_dupz(buf_slice(&text)) : NULL;
    } else if (tab_is_pair(field, "service", &v)) {
        v = sl_head(v, AUTH_SERVICE_OCTETS - 1);
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
offers(const struct conf *c, const struct sasl_mech *m)
{
    if (m->needs_tokens && !oauth_is_configured(c))
        return false;
    if (m == &sasl_external && !c->auth_ssl_username_from_cert)
        return false; /* nor may a peer say that there was one */
    for (size_t i = 0; i < c->auth_mechanisms.n; i++)
        if (sl_ieqz(sl_z(m->name), c->auth_mechanisms.v[i]))
            return true;
    return false;
}

/* "AUTH number mechanism [parameter]... [resp=...]" */
static int
run_auth(struct auth_peer *p, struct slice args)
{
    struct slice field, mech_name, encoded = { 0 };
    const struct sasl_mech *mech;
    struct auth_request *r;
    uint32_t number;

    if (!tab_take(&args, &field) || !sl_to_u32(field, &number) || !tab_take(&args, &mech_name))
        return -1;
    if (map_get_u64(p->requests, number))
        return -1; /* a number in use: the peer is confused */
    mech = sasl_find(mech_name);
    if (mech == NULL || !offers(p->auth->conf, mech)) {
        refuse(p, number, "reason=Unsupported authentication mechanism");
        return 0;
    }
    if (map_count(p->requests) >= PEER_REQUESTS_MAX) {
        refuse(p, number, "temp\tcode=temp_fail");
        return 0;
    }
    r = MEM_NEW(struct auth_request);
    r->auth = p->auth;
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
run_cont(struct auth_peer *p, struct slice args)
{
    struct slice field, encoded = { 0 };
    struct auth_request *r;
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
run_cancel(struct auth_peer *p, struct slice args)
{
    struct slice field;
    struct auth_request *r;
    uint32_t number;

    if (!tab_take(&args, &field) || !sl_to_u32(field, &number))
        return -1;
    r = map_get_u64(p->requests, number);
    if (r) {
        auth_request_give_up(r);
        auth_peer_forget(p, r);
        auth_request_free(r);
    }
    return 0;
}

static int
run_version(struct auth_peer *p, struct slice args)
{
    struct slice major;

    if (!tab_take(&args, &major) || !sl_eqz(major, "1"))
        return -1;
    p->has_version = true;
    return 0;
}

static int
run_cpid(struct auth_peer *p, struct slice args)
{
    (void)args; /* its process number says nothing here: cookies stand alone */
    return p->has_version ? 0 : -1;
}

static const struct {
    const char *verb;
    int (*run)(struct auth_peer *p, struct slice args); /* -1: protocol error */
} commands[] = {
    { "VERSION", run_version }, { "CPID", run_cpid },     { "AUTH", run_auth },
    { "CONT", run_cont },       { "CANCEL", run_cancel },
};

static int
run_line(struct auth_peer *p, struct slice line)
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
    struct auth_peer *p = arg;
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
    buf_wipe(&copy);
}

static void
free_request_value(void *p)
{
    auth_request_free(p);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct auth_peer *p = arg;

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
    struct auth_peer *p = MEM_NEW(struct auth_peer);
    const struct sasl_mech *m;
    char cookie[COOKIE_HEX_DIGITS + 1];

    p->auth = a;
    p->requests = map_new();
    p->conn = conn_new(fd, &ops, p);
    conn_set_in_max(p->conn, TAB_LINE_OCTETS * 2);
    conn_printf(p->conn, "VERSION\t1\t2\n");
    for (size_t i = 0; (m = sasl_at(i)) != NULL; i++)
        if (offers(a->conf, m))
            conn_printf(p->conn, "MECH\t%s%s%s\n", m->name, *m->flags ? "\t" : "", m->flags);
    rand_hex(cookie,
             COOKIE_HEX_DIGITS); /* Dovecot's connection cookie; nothing here asks for it again */
    conn_printf(p->conn, "SPID\t%ld\nCUID\t%u\nCOOKIE\t%s\nDONE\n", (long)getpid(),
                ++a->last_connection, cookie);
}
