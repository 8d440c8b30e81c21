/* auth/auth_client.c - the client's side of Dovecot's auth protocol, version 1.2 (private/auth). Replies name the
 * request's number; each step is answered once. A broken connection fails what is out: the password is not kept. */
#include "auth/auth_client.h"

#include "auth/link.h"
#include "auth/tab.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>

/* A failure is told late (auth_failure_delay is a minute at most), waiting and hashing come before: beyond this the server is
 * stuck. */
enum { AUTH_ANSWER_MS = 90 * 1000, AUTH_REQUESTS_MAX = 65536, AUTH_MECHS_MAX = 32 };

struct auth_req {
    struct auth_client *client;
    struct timer refuse; /* runs when no server will answer */
    uint32_t number;
    bool is_lost;    /* the server that began it is gone */
    bool is_long;    /* a response that fits no line of the protocol: nobody's password */
    bool is_out;     /* the server owes an answer */
    struct buf wire; /* until the handshake is done; holds the password */
    void (*cb)(uint64_t id, const struct auth_result *r);
    uint64_t id;
};

struct auth_client {
    struct link link;
    struct map *requests; /* by number */
    uint32_t last_number;
    size_t out; /* requests with is_out */
    bool is_ready;
    struct {
        char *name;
        unsigned flags;
    } mechs[AUTH_MECHS_MAX];
    size_t n_mechs;
};

static void
set_out(struct auth_client *a, struct auth_req *r, bool is_out)
{
    if (r->is_out != is_out)
        a->out += is_out ? 1 : (size_t)-1;
    r->is_out = is_out;
    if (is_out)
        link_asked(&a->link, AUTH_ANSWER_MS);
    else
        link_expect(&a->link, a->out ? AUTH_ANSWER_MS : 0);
}

static void
drop_request(struct auth_client *a, struct auth_req *r)
{
    set_out(a, r, false);
    timer_stop(&r->refuse);
    map_del_u64(a->requests, r->number);
    buf_wipe(&r->wire);
    free(r);
}

static void
forget_mechs(struct auth_client *a)
{
    for (size_t i = 0; i < a->n_mechs; i++)
        free(a->mechs[i].name);
    a->n_mechs = 0;
}

/* ---- handshake ---- */

static void
on_up(struct link *link, void *arg)
{
    struct auth_client *a = arg;

    a->is_ready = false;
    conn_set_in_max(link->conn, TAB_LINE_OCTETS * 2);
    conn_printf(link->conn, "VERSION\t1\t2\nCPID\t%ld\n", (long)getpid());
    link_expect(link, AUTH_ANSWER_MS);
}

static bool
got_version(struct auth_client *a, struct slice args)
{
    struct slice major;

    if (tab_take(&args, &major) && sl_eqz(major, "1"))
        return true;
    log_error("auth.version", LOG_NONE, "%s speaks version %.*s of the protocol, not 1",
              a->link.path, SL_ARG(major));
    return false;
}

static bool
got_mech(struct auth_client *a, struct slice args)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {
        { "plaintext", AUTH_MECH_PLAINTEXT },    { "anonymous", AUTH_MECH_ANONYMOUS },
        { "dictionary", AUTH_MECH_DICTIONARY },  { "private", AUTH_MECH_PRIVATE },
        { "active", AUTH_MECH_ACTIVE },          { "forward-secrecy", AUTH_MECH_FORWARD_SECRECY },
        { "mutual-auth", AUTH_MECH_MUTUAL_AUTH }
    };
    struct slice name, word;
    unsigned flags = 0;

    if (!tab_take(&args, &name) || name.n == 0 || a->n_mechs == AUTH_MECHS_MAX)
        return true;
    while (tab_take(&args, &word))
        for (size_t i = 0; i < COUNT_OF(words); i++)
            if (sl_eqz(word, words[i].word))
                flags |= words[i].flag;
    if (!(flags & AUTH_MECH_PRIVATE)) { /* "private": not to be told to clients */
        a->mechs[a->n_mechs].name = sl_dupz(name);
        a->mechs[a->n_mechs++].flags = flags;
    }
    return true;
}

static void
send_request(struct auth_client *a, struct auth_req *r)
{
    conn_writes(a->link.conn, buf_slice(&r->wire));
    buf_wipe(&r->wire);
    set_out(a, r, true);
}

static bool
got_done(struct auth_client *a, struct slice args)
{
    size_t it = 0;
    uint64_t number;
    void *r;

    (void)args;
    a->is_ready = true;
    link_expect(&a->link, 0);
    while (map_next_u64(a->requests, &it, &number, &r))
        if (((struct auth_req *)r)->wire.n)
            send_request(a, r);
    return true;
}

/* ---- replies ---- */

static struct auth_req *
take_request(struct auth_client *a, struct slice *args)
{
    struct slice field;
    uint32_t number;

    if (!tab_take(args, &field) || !sl_to_u32(field, &number))
        return NULL;
    return map_get_u64(a->requests, number);
}

static bool
got_cont(struct auth_client *a, struct slice args)
{
    struct auth_req *r = take_request(a, &args);
    struct auth_result res = { .rc = AUTH_CONTINUE };
    struct buf challenge = { 0 };
    struct slice field;

    if (r == NULL)
        return true; /* cancelled */
    if (tab_take(&args, &field) && enc_b64_decode(&challenge, field) < 0)
        return false;
    res.challenge = buf_slice(&challenge);
    set_out(a, r, false);
    r->cb(r->id, &res);
    buf_free(&challenge);
    return true;
}

/* The last reply: the request is gone before its owner is told. */
static void
finish(struct auth_client *a, struct auth_req *r, const struct auth_result *res)
{
    void (*cb)(uint64_t, const struct auth_result *) = r->cb;
    uint64_t id = r->id;

    drop_request(a, r);
    cb(id, res);
}

static bool
got_end(struct auth_client *a, struct slice args, enum auth_rc rc)
{
    struct auth_req *r = take_request(a, &args);
    struct auth_result res = { .rc = rc };
    struct tab_span user = { 0 }, master = { 0 }, cookie = { 0 }, reason = { 0 }, code = { 0 };
    struct buf text = { 0 };
    struct slice field, v;

    if (r == NULL)
        return true;
    while (tab_take(&args, &field)) {
        if (tab_is_pair(field, "user", &v))
            tab_keep(&text, v, &user);
        else if (tab_is_pair(field, "auth_user", &v))
            tab_keep(&text, v, &master);
        else if (tab_is_pair(field, "postern_cookie", &v))
            tab_keep(&text, v, &cookie);
        else if (tab_is_pair(field, "reason", &v))
            tab_keep(&text, v, &reason);
        else if (tab_is_pair(field, "code", &v))
            tab_keep(&text, v, &code);
        else if (rc == AUTH_FAIL && sl_eqz(field, "temp"))
            res.rc = AUTH_TEMPFAIL;
        else if (rc == AUTH_FAIL &&
                 (sl_eqz(field, "user_disabled") || sl_eqz(field, "pass_expired")) && !code.n)
            tab_keep(&text, field, &code);
    }
    v = buf_slice(&text);
    res.user = sl_n(v.p + user.at, user.n);
    res.master = sl_n(v.p + master.at, master.n);
    res.cookie = sl_n(v.p + cookie.at, cookie.n);
    res.reason = sl_n(v.p + reason.at, reason.n);
    res.code = sl_n(v.p + code.at, code.n);
    if (rc == AUTH_FAIL && sl_eqz(res.code, "temp_fail"))
        res.rc = AUTH_TEMPFAIL;
    if (rc == AUTH_OK && res.user.n == 0)
        res.rc = AUTH_TEMPFAIL; /* a login without a name is none */
    finish(a, r, &res);
    buf_free(&text);
    return true;
}

static bool
got_ok(struct auth_client *a, struct slice args)
{
    return got_end(a, args, AUTH_OK);
}

static bool
got_fail(struct auth_client *a, struct slice args)
{
    return got_end(a, args, AUTH_FAIL);
}

static const struct {
    const char *verb;
    bool (*got)(struct auth_client *, struct slice args);
} verbs[] = {
    { "VERSION", got_version }, { "MECH", got_mech }, { "DONE", got_done },
    { "OK", got_ok },           { "CONT", got_cont }, { "FAIL", got_fail },
};

static bool
got_line(struct auth_client *a, struct slice line)
{
    struct slice verb = { 0 };

    tab_take(&line, &verb);
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (sl_eqz(verb, verbs[i].verb))
            return verbs[i].got(a, line);
    return true; /* SPID, CUID, COOKIE and what later versions add */
}

static void
on_input(struct link *link, void *arg)
{
    struct auth_client *a = arg;
    struct buf copy = { 0 }; /* callbacks may use the conn */
    struct slice line;

    while (link->conn && link->is_up) {
        enum frame_rc rc = conn_take_line(link->conn, TAB_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            break;
        buf_reset(&copy);
        if (rc == FRAME_OK && line.n)
            buf_adds(&copy, line);
        if (rc == FRAME_TOO_LONG || (copy.n && !got_line(a, buf_slice(&copy)))) {
            log_error("auth.protocol", LOG_NONE, "%s: malformed reply", link->path);
            link_break(link);
            break;
        }
    }
    buf_free(&copy);
}

/* ---- the connection ends ---- */

static void
fail_requests(struct auth_client *a)
{
    static const struct auth_result failed = { .rc = AUTH_TEMPFAIL };
    uint32_t last = a->last_number; /* callbacks may start new ones: those stay */
    size_t it = 0;
    uint64_t number;
    void *r;

    while (map_next_u64(a->requests, &it, &number, &r)) {
        struct auth_req *req = r;

        if ((int32_t)(last - req->number) < 0)
            continue;
        if (req->is_out || req->wire.n) {
            finish(a, req, &failed);
            it = 0; /* the callback may have added to the map */
        } else {
            req->is_lost = true; /* between steps: its owner hears of it when it goes on */
        }
    }
}

static void
on_broken(struct link *link, void *arg)
{
    struct auth_client *a = arg;

    (void)link;
    a->is_ready = false;
    forget_mechs(a);
    fail_requests(a);
    if (map_count(a->requests))
        link_need(&a->link);
}

static const struct link_ops link_cbs = { on_up, on_input, on_broken, on_broken };

/* ---- the interface ---- */

struct auth_client *
auth_client_new(const char *socket_path)
{
    struct auth_client *a = MEM_NEW(struct auth_client);

    a->requests = map_new();
    link_init(&a->link, socket_path, &link_cbs, a);
    return a;
}

static void
free_request(void *p)
{
    struct auth_req *r = p;

    timer_stop(&r->refuse);
    buf_wipe(&r->wire);
    free(r);
}

void
auth_client_free(struct auth_client **ap)
{
    struct auth_client *a = *ap;

    if (a == NULL)
        return;
    link_free(&a->link);
    map_free(&a->requests, free_request);
    forget_mechs(a);
    free(a);
    *ap = NULL;
}

void
auth_client_connect(struct auth_client *a)
{
    link_need(&a->link);
}

bool
auth_client_is_ready(const struct auth_client *a)
{
    return a->is_ready;
}

const char *
auth_client_mech(const struct auth_client *a, size_t i, unsigned *flags)
{
    if (i >= a->n_mechs)
        return NULL;
    if (flags)
        *flags = a->mechs[i].flags;
    return a->mechs[i].name;
}

static void
add_endpoint(struct buf *out, const struct addr *a, const char *ip_key, const char *port_key)
{
    char text[ADDR_TEXT_OCTETS];

    if (addr_family(a) != AF_INET && addr_family(a) != AF_INET6)
        return;
    tab_add_pair(out, ip_key, sl_z(addr_ip_text(a, text)));
    buf_addf(out, "\t%s=%u", port_key, (unsigned)addr_port(a));
}

/* resp= is last: what follows it belongs to it. */
static void
write_ask(struct buf *out, uint32_t number, const struct auth_ask *ask)
{
    bool is_smtp = strcmp(ask->service, "smtp") == 0 || strcmp(ask->service, "submission") == 0;

    buf_addf(out, "AUTH\t%u", number);
    tab_add(out, sl_z(ask->mech));
    tab_add_pair(out, "service", sl_z(ask->service));
    if (is_smtp || ask->no_login)
        buf_addz(out, "\tnologin"); /* nobody will ask for the user's mailbox: no cookie needed */
    if (ask->is_secured || ask->no_plaintext_tls_needed)
        buf_addz(out, "\tsecured");
    if (ask->is_cert_valid)
        buf_addz(out, "\tvalid-client-cert");
    if (ask->is_cert_valid && ask->cert_username && *ask->cert_username)
        tab_add_pair(out, "cert_username", sl_z(ask->cert_username));
    add_endpoint(out, &ask->local, "lip", "lport");
    add_endpoint(out, &ask->remote, "rip", "rport");
    if (ask->session && *ask->session)
        tab_add_pair(out, "session", sl_z(ask->session));
    if (ask->initial.p) {
        buf_addz(out, "\tresp=");
        enc_b64(out, ask->initial);
    }
    buf_addc(out, '\n');
}

static void
refuse(void *arg)
{
    struct auth_req *r = arg;

    finish(r->client, r, &(struct auth_result){ .rc = r->is_long ? AUTH_FAIL : AUTH_TEMPFAIL });
}

/* The server breaks off a connection with a line that is too long, and what others wait for on it would be lost. */
static bool
is_too_long(struct auth_req *r)
{
    if (r->wire.n <= TAB_LINE_OCTETS)
        return false;
    buf_wipe(&r->wire);
    r->is_long = true;
    timer_start(&r->refuse, 0, refuse, r);
    return true;
}

uint32_t
auth_client_start(struct auth_client *a, const struct auth_ask *ask,
                  void (*cb)(uint64_t id, const struct auth_result *r), uint64_t id)
{
    struct auth_req *r = MEM_NEW(struct auth_req);

    r->client = a;
    r->cb = cb;
    r->id = id;
    do
        r->number = ++a->last_number;
    while (r->number == 0 || map_get_u64(a->requests, r->number));
    map_set_u64(a->requests, r->number, r);
    if (map_count(a->requests) > AUTH_REQUESTS_MAX) {
        timer_start(&r->refuse, 0, refuse, r);
        return r->number;
    }
    write_ask(&r->wire, r->number, ask);
    if (is_too_long(r))
        return r->number;
    if (a->is_ready)
        send_request(a, r);
    else
        link_need(&a->link);
    return r->number;
}

void
auth_client_continue(struct auth_client *a, uint32_t request, struct slice response)
{
    struct auth_req *r = map_get_u64(a->requests, request);

    if (r == NULL)
        return;
    if (r->is_lost) {
        timer_start(&r->refuse, 0, refuse, r);
        return;
    }
    buf_addf(&r->wire, "CONT\t%u\t", request);
    enc_b64(&r->wire, response);
    buf_addc(&r->wire, '\n');
    if (is_too_long(r)) {
        if (a->is_ready)
            conn_printf(a->link.conn, "CANCEL\t%u\n", request);
        return;
    }
    if (a->is_ready)
        send_request(a, r);
    else
        link_need(&a->link);
}

void
auth_client_cancel(struct auth_client *a, uint32_t request)
{
    struct auth_req *r = map_get_u64(a->requests, request);

    if (r == NULL)
        return;
    if (a->is_ready && !r->is_lost && r->wire.n == 0)
        conn_printf(a->link.conn, "CANCEL\t%u\n", request);
    drop_request(a, r);
}
