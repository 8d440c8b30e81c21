/* auth/auth_master.c - the client's side of the master protocol (private/auth-master): who does a cookie name, is there
 * such a user. Dovecot's protocol with one change: a cookie stands alone, so REQUEST's process and id are 0, and behind it
 * comes of which service and session it must be. */
#include "auth/auth_client.h"

#include "auth/link.h"
#include "auth/tab.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <unistd.h>

enum { MASTER_ANSWER_MS = 20 * 1000, MASTER_REQUESTS_MAX = 65536, MASTER_TRIES = 2 };

struct master_req {
    struct auth_master *master;
    struct timer refuse;
    uint32_t number;
    unsigned tries;
    bool is_once; /* a cookie: asked twice it would seem stolen */
    bool is_out;
    struct buf wire; /* kept: a look-up may be sent again */
    void (*cb)(uint64_t id, const struct auth_user *u);
    uint64_t id;
};

struct auth_master {
    struct link link;
    struct map *requests;
    uint32_t last_number;
    size_t out;
};

static const struct auth_user failed = { .found = -1, .uid = -1, .gid = -1 };

static void
set_out(struct auth_master *m, struct master_req *r, bool is_out)
{
    if (r->is_out != is_out)
        m->out += is_out ? 1 : (size_t)-1;
    r->is_out = is_out;
    if (is_out)
        link_asked(&m->link, MASTER_ANSWER_MS);
    else
        link_expect(&m->link, m->out ? MASTER_ANSWER_MS : 0);
}

static void
free_request(void *p)
{
    struct master_req *r = p;

    timer_stop(&r->refuse);
    buf_free(&r->wire);
    free(r);
}

static void
finish(struct auth_master *m, struct master_req *r, const struct auth_user *u)
{
    set_out(m, r, false);
    map_del_u64(m->requests, r->number);
    r->cb(r->id, u);
    free_request(r);
}

static void
send_request(struct auth_master *m, struct master_req *r)
{
    r->tries++;
    conn_writes(m->link.conn, buf_slice(&r->wire));
    set_out(m, r, true);
}

static void
on_up(struct link *link, void *arg)
{
    struct auth_master *m = arg;
    size_t it = 0;
    uint64_t number;
    void *r;

    conn_set_in_max(link->conn, TAB_LINE_OCTETS * 2);
    conn_printf(link->conn, "VERSION\t1\t1\nCPID\t%ld\n", (long)getpid());
    while (map_next_u64(m->requests, &it, &number, &r))
        if (!timer_is_running(&((struct master_req *)r)->refuse))
            send_request(m, r);
}

static void
read_id(struct slice v, int64_t *out)
{
    uint32_t n;

    if (sl_to_u32(v, &n))
        *out = n;
}

/* "quota_rule2=Trash:storage=+100M": a line of its own. What would be two lines is none of ours. */
static void
keep_quota(struct buf *quota, struct slice field)
{
    size_t was = quota->n;

    tab_unescape(quota, field);
    if (sl_find_char(sl_from(buf_slice(quota), was), '\n') != SL_NPOS)
        buf_truncate(quota, was);
    else
        buf_addc(quota, '\n');
}

/* "USER id name [key=value]..." */
static void
got_user(struct auth_master *m, struct master_req *r, struct slice args)
{
    struct auth_user u = { .found = 1, .uid = -1, .gid = -1 };
    struct tab_span user = { 0 }, master = { 0 }, home = { 0 }, mail = { 0 }, capability = { 0 };
    struct buf text = { 0 }, quota = { 0 };
    struct slice field, v;

    if (tab_take(&args, &field))
        tab_keep(&text, field, &user);
    while (tab_take(&args, &field)) {
        if (tab_is_pair(field, "master_user", &v))
            tab_keep(&text, v, &master);
        else if (tab_is_pair(field, "home", &v))
            tab_keep(&text, v, &home);
        else if (tab_is_pair(field, "mail", &v))
            tab_keep(&text, v, &mail);
        else if (tab_is_pair(field, "imap_capability", &v))
            tab_keep(&text, v, &capability);
        else if (tab_is_pair(field, "uid", &v))
            read_id(v, &u.uid);
        else if (tab_is_pair(field, "gid", &v))
            read_id(v, &u.gid);
        else if (sl_has_prefix(field, SL("quota")))
            keep_quota(&quota, field);
    }
    v = buf_slice(&text);
    u.user = sl_n(v.p + user.at, user.n);
    u.master = sl_n(v.p + master.at, master.n);
    u.home = sl_n(v.p + home.at, home.n);
    u.mail = sl_n(v.p + mail.at, mail.n);
    u.imap_capability = sl_n(v.p + capability.at, capability.n);
    u.quota = buf_slice(&quota);
    finish(m, r, user.n ? &u : &failed);
    buf_free(&text);
    buf_free(&quota);
}

static void
got_line(struct auth_master *m, struct slice line)
{
    struct slice verb = { 0 }, field;
    struct master_req *r;
    uint32_t number;

    tab_take(&line, &verb);
    if (!tab_take(&line, &field) || !sl_to_u32(field, &number))
        return;
    if (sl_eqz(verb, "VERSION") || sl_eqz(verb, "SPID"))
        return;
    r = map_get_u64(m->requests, number);
    if (r == NULL)
        return;
    if (sl_eqz(verb, "USER"))
        got_user(m, r, line);
    else if (sl_eqz(verb, "NOTFOUND"))
        finish(m, r, &(struct auth_user){ .found = 0, .uid = -1, .gid = -1 });
    else if (sl_eqz(verb, "FAIL"))
        finish(m, r, &failed);
}

static void
on_input(struct link *link, void *arg)
{
    struct auth_master *m = arg;
    struct buf copy = { 0 };
    struct slice line;

    while (link->conn && link->is_up) {
        enum frame_rc rc = conn_take_line(link->conn, TAB_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            break;
        if (rc == FRAME_TOO_LONG) {
            log_error("auth.protocol", LOG_NONE, "%s: malformed reply", link->path);
            link_break(link);
            break;
        }
        buf_reset(&copy);
        if (line.n == 0)
            continue;
        buf_adds(&copy, line);
        got_line(m, buf_slice(&copy));
    }
    buf_free(&copy);
}

static void
fail_requests(struct auth_master *m, unsigned tries)
{
    uint32_t last = m->last_number; /* what callbacks ask anew stays */
    size_t it = 0;
    uint64_t number;
    void *p;

    while (map_next_u64(m->requests, &it, &number, &p)) {
        struct master_req *r = p;

        if ((int32_t)(last - r->number) < 0)
            continue;
        if (r->tries >= tries || (r->is_once && r->is_out)) {
            finish(m, r, &failed);
            it = 0;
        } else {
            set_out(m, r, false);
        }
    }
    if (map_count(m->requests))
        link_need(&m->link);
}

static void
on_broken(struct link *link, void *arg)
{
    (void)link;
    fail_requests(arg, MASTER_TRIES);
}

static void
on_down(struct link *link, void *arg)
{
    (void)link;
    fail_requests(arg, 0);
}

static const struct link_ops link_cbs = { on_up, on_input, on_broken, on_down };

struct auth_master *
auth_master_new(const char *socket_path)
{
    struct auth_master *m = MEM_NEW(struct auth_master);

    m->requests = map_new();
    link_init(&m->link, socket_path, &link_cbs, m);
    return m;
}

void
auth_master_free(struct auth_master **mp)
{
    struct auth_master *m = *mp;

    if (m == NULL)
        return;
    link_free(&m->link);
    map_free(&m->requests, free_request);
    free(m);
    *mp = NULL;
}

static void
refuse(void *arg)
{
    struct master_req *r = arg;

    finish(r->master, r, &failed);
}

static struct master_req *
new_request(struct auth_master *m, void (*cb)(uint64_t id, const struct auth_user *u), uint64_t id)
{
    struct master_req *r = MEM_NEW(struct master_req);

    r->master = m;
    r->cb = cb;
    r->id = id;
    do
        r->number = ++m->last_number;
    while (r->number == 0 || map_get_u64(m->requests, r->number));
    map_set_u64(m->requests, r->number, r);
    return r;
}

static void
start(struct auth_master *m, struct master_req *r)
{
    buf_addc(&r->wire, '\n');
    if (map_count(m->requests) > MASTER_REQUESTS_MAX || r->wire.n > TAB_LINE_OCTETS)
        timer_start(&r->refuse, 0, refuse, r);
    else if (m->link.is_up)
        send_request(m, r);
    else
        link_need(&m->link);
}

void
auth_master_request(struct auth_master *m, struct slice cookie, const char *service,
                    struct slice session, void (*cb)(uint64_t id, const struct auth_user *u),
                    uint64_t id)
{
    struct master_req *r = new_request(m, cb, id);

    r->is_once = true;
    buf_addf(&r->wire, "REQUEST\t%u\t0\t0", r->number);
    tab_add(&r->wire, cookie);
    tab_add_pair(&r->wire, "service", sl_z(service));
    tab_add_pair(&r->wire, "session", session);
    start(m, r);
}

void
auth_master_user(struct auth_master *m, struct slice user, const char *service,
                 void (*cb)(uint64_t id, const struct auth_user *u), uint64_t id)
{
    struct master_req *r = new_request(m, cb, id);

    buf_addf(&r->wire, "USER\t%u", r->number);
    tab_add(&r->wire, user);
    tab_add_pair(&r->wire, "service", sl_z(service));
    start(m, r);
}
