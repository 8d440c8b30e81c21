/* auth/oauth_client.c - see oauth_client.h. A question whose connection broke is a temporary failure: the token is not kept. */
#include "auth/oauth_client.h"

#include "auth/link.h"
#include "auth/tab.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

/* oauthd itself gives up within oauth2_timeout. */
enum { OAUTH_ANSWER_MS = 45 * 1000, OAUTH_REPLY_OCTETS = 4096 };

struct oauth_req {
    struct oauth_client *client;
    struct timer refuse; /* runs when nobody is asked */
    uint64_t number, id;
    bool is_sent;
    const char *why; /* of a refusal */
    enum oauth_rc refusal;
    struct buf wire; /* until it is sent; holds the token */
    void (*cb)(uint64_t id, const struct oauth_result *r);
};

struct oauth_client {
    struct link link;
    struct map *requests; /* by number */
    uint64_t last_number;
    size_t out;
};

bool
oauth_is_offered(const struct conf *c)
{
    return conf_list_has(c->auth_mechanisms, "oauthbearer") ||
           conf_list_has(c->auth_mechanisms, "xoauth2");
}

bool
oauth_is_configured(const struct conf *c)
{
    if (!oauth_is_offered(c))
        return false;
    return sl_ieqz(sl_z(c->oauth2_introspection_mode), "local")
               ? c->oauth2_jwks_file[0] != '\0'
               : c->oauth2_introspection_url[0] != '\0' || c->oauth2_tokeninfo_url[0] != '\0';
}

bool
oauth_is_token(struct slice token)
{
    while (token.n > 1 && sl_ends(token, '='))
        token.n--;
    for (size_t i = 0; i < token.n; i++)
        if (!sl_is_alnum_char(token.p[i]) && (!token.p[i] || !strchr("-._~+/", token.p[i])))
            return false;
    return token.n > 0;
}

static void
finish(struct oauth_req *r, const struct oauth_result *res)
{
    struct oauth_client *o = r->client;
    void (*cb)(uint64_t, const struct oauth_result *) = r->cb;
    uint64_t id = r->id;

    if (r->is_sent)
        link_expect(&o->link, --o->out > 0 ? OAUTH_ANSWER_MS : 0);
    timer_stop(&r->refuse);
    map_del_u64(o->requests, r->number);
    buf_wipe(&r->wire);
    free(r);
    cb(id, res);
}

/* Of requests that there are now: a callback may make more. */
static void
fail_all(struct oauth_client *o, bool is_sent, const char *why)
{
    struct oauth_result res = { .rc = OAUTH_TEMP, .why = sl_z(why) };
    uint64_t last = o->last_number;

    for (bool is_any = true; is_any;) {
        size_t it = 0;
        uint64_t number;
        void *v;

        is_any = false;
        while (map_next_u64(o->requests, &it, &number, &v)) {
            struct oauth_req *r = v;

            if (number <= last && r->is_sent == is_sent && !timer_is_running(&r->refuse)) {
                finish(r, &res);
                is_any = true;
                break;
            }
        }
    }
}

static void
send_one(struct oauth_req *r)
{
    conn_writes(r->client->link.conn, buf_slice(&r->wire));
    buf_wipe(&r->wire);
    r->is_sent = true;
    r->client->out++;
    link_asked(&r->client->link, OAUTH_ANSWER_MS);
}

static void
on_up(struct link *link, void *arg)
{
    struct oauth_client *o = arg;
    size_t it = 0;
    uint64_t number;
    void *r;

    conn_set_in_max(link->conn, OAUTH_REPLY_OCTETS * 2);
    o->out = 0;
    while (map_next_u64(o->requests, &it, &number, &r))
        if (((struct oauth_req *)r)->wire.n > 0)
            send_one(r);
}

static bool
run_line(struct oauth_client *o, struct slice line)
{
    static const char *const verbs[] = {
        [OAUTH_OK] = "OK", [OAUTH_INVALID] = "INVALID", [OAUTH_TEMP] = "TEMP"
    };
    struct oauth_result res = { .rc = OAUTH_OK };
    struct slice verb = { 0 }, field, v;
    struct buf text = { 0 };
    struct tab_span user = { 0 }, why = { 0 };
    struct oauth_req *r;
    uint64_t number;
    size_t rc = 0;

    tab_take(&line, &verb);
    while (rc < COUNT_OF(verbs) && !sl_eqz(verb, verbs[rc]))
        rc++;
    if (rc == COUNT_OF(verbs) || !tab_take(&line, &field) || !sl_to_u64(field, &number))
        return false;
    r = map_get_u64(o->requests, number);
    if (r == NULL || !r->is_sent)
        return false;
    res.rc = (enum oauth_rc)rc;
    while (tab_take(&line, &field))
        if (tab_is_pair(field, "user", &v))
            tab_keep(&text, v, &user);
        else if (tab_is_pair(field, "why", &v))
            tab_keep(&text, v, &why);
        else if (sl_eqz(field, "scope"))
            res.is_scope = true;
    if (user.n > 0)
        res.user = sl_n(text.p + user.at, user.n);
    if (why.n > 0)
        res.why = sl_n(text.p + why.at, why.n);
    if (res.rc == OAUTH_OK && res.user.n == 0)
        res = (struct oauth_result){ .rc = OAUTH_TEMP, .why = SL("oauthd gave no name") };
    finish(r, &res);
    buf_free(&text);
    return true;
}

static void
on_input(struct link *link, void *arg)
{
    struct oauth_client *o = arg;
    struct slice line;

    while (link->conn && link->is_up) {
        enum frame_rc rc = conn_take_line(link->conn, OAUTH_REPLY_OCTETS, LINE_LF_TOO, &line);
        struct buf copy = { 0 };
        bool is_good;

        if (rc == FRAME_MORE || rc == FRAME_END)
            return;
        if (rc == FRAME_OK)
            buf_adds(&copy, line);
        is_good = rc == FRAME_OK && run_line(o, buf_slice(&copy));
        buf_free(&copy);
        if (!is_good) {
            log_error("oauth.protocol", LOG_NONE, "%s: malformed reply", link->path);
            link_break(link);
            return;
        }
    }
}

static bool
is_any_waiting(const struct oauth_client *o)
{
    size_t it = 0;
    uint64_t number;
    void *r;

    while (map_next_u64(o->requests, &it, &number, &r))
        if (((struct oauth_req *)r)->wire.n > 0)
            return true;
    return false;
}

static void
on_broken(struct link *link, void *arg)
{
    fail_all(arg, true, "oauthd went away");
    if (is_any_waiting(arg))
        link_need(link);
}

static void
on_down(struct link *link, void *arg)
{
    fail_all(arg, false, "oauthd is not there");
    if (is_any_waiting(arg))
        link_need(link);
}

static const struct link_ops link_cbs = { on_up, on_input, on_broken, on_down };

struct oauth_client *
oauth_client_new(const char *socket_path)
{
    struct oauth_client *o = MEM_NEW(struct oauth_client);

    o->requests = map_new();
    link_init(&o->link, socket_path, &link_cbs, o);
    return o;
}

static void
free_request(void *v)
{
    struct oauth_req *r = v;

    timer_stop(&r->refuse);
    buf_wipe(&r->wire);
    free(r);
}

void
oauth_client_free(struct oauth_client **op)
{
    struct oauth_client *o = *op;

    if (o == NULL)
        return;
    link_free(&o->link);
    map_free(&o->requests, free_request);
    free(o);
    *op = NULL;
}

static void
refuse(void *arg)
{
    struct oauth_req *r = arg;

    finish(r, &(struct oauth_result){ .rc = r->refusal, .why = sl_z(r->why) });
}

static void
refuse_later(struct oauth_req *r, enum oauth_rc rc, const char *why)
{
    r->refusal = rc;
    r->why = why;
    timer_start(&r->refuse, 0, refuse, r);
}

void
oauth_client_check(struct oauth_client *o, struct slice token,
                   void (*cb)(uint64_t id, const struct oauth_result *r), uint64_t id)
{
    struct oauth_req *r = MEM_NEW(struct oauth_req);
    bool is_full = map_count(o->requests) >= OAUTH_PENDING_MAX;

    r->client = o;
    r->number = ++o->last_number;
    r->cb = cb;
    r->id = id;
    map_set_u64(o->requests, r->number, r);
    if (token.n > OAUTH_TOKEN_OCTETS || !oauth_is_token(token)) {
        refuse_later(r, OAUTH_INVALID, "that is no token");
        return;
    }
    if (is_full) {
        refuse_later(r, OAUTH_TEMP, "too many tokens at once");
        return;
    }
    buf_reserve(&r->wire, token.n + 128); /* once: growing would leave copies behind */
    buf_addf(&r->wire, "CHECK\t%llu", (unsigned long long)r->number);
    tab_add_pair(&r->wire, "token", token);
    buf_addc(&r->wire, '\n');
    if (o->link.is_up)
        send_one(r);
    else
        link_need(&o->link);
}
