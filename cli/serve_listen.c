/* cli/serve_listen.c - from listen_... to sockets. */
#include "cli/serve_listen.h"

#include "auth/oauth_client.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/listener.h"

#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>
#include <unistd.h>

enum { WORKERS_AUTO_MAX = 4, UNIX_MODE = 0660, UNIX_MODE_GUARDED = 0666, UNIX_MODE_CALLER = 0600 };

static const struct {
    const char *param, *service, *program;
    size_t list_at; /* offset of a struct conf_list in struct conf */
} listens[] = {
#define ROW(s, program)                                                                            \
    {                                                                                              \
        "listen_" #s, #s, program, offsetof(struct conf, listen_##s)                               \
    }
    ROW(smtp, "smtpd"),  ROW(submission, "smtpd"), ROW(submissions, "smtpd"), ROW(imap, "login"),
    ROW(imaps, "login"), ROW(pop3, "login"),       ROW(pop3s, "login"),       ROW(lmtp, "lmtpd"),
#undef ROW
};

bool
serve_wants_locald(const struct conf *c)
{
    return c->alias_maps.n > 0 && (conf_list_has(c->allow_mail_to_commands, "alias") ||
                                   conf_list_has(c->allow_mail_to_commands, "include") ||
                                   conf_list_has(c->allow_mail_to_files, "alias") ||
                                   conf_list_has(c->allow_mail_to_files, "include"));
}

static bool
wants_quota(const struct conf *c)
{
    return c->quota[0] != '\0';
}

/* Who takes sessions back that are authenticated no more. */
static bool
wants_login(const struct conf *c)
{
    return c->listen_imap.n > 0 || c->listen_imaps.n > 0;
}

/* The stack's own, under $queue_directory/private/. worker_program: one socket for each worker, "-N" appended. */
static const struct {
    const char *service, *program;
    int type;
    bool is_per_worker;
    bool (*is_wanted)(const struct conf *c); /* NULL: always */
    const char *caller;                      /* as in serve_socket */
} own[] = {
    { "local", "locald", SOCK_STREAM, false, serve_wants_locald, NULL },
    { "oauth", "oauthd", SOCK_STREAM, false, oauth_is_configured, "authd" },
    { "auth", "authd", SOCK_STREAM, false, NULL, NULL },
    { "auth-master", "authd", SOCK_STREAM, false, NULL, "imapd" },
    { "sessions", "authd", SOCK_STREAM, false, NULL, "imapd" },
    { "lookup", "authd", SOCK_STREAM, false, NULL, NULL },
    { "anvil", "authd", SOCK_STREAM, false, NULL, NULL },
    { "content", "authd", SOCK_STREAM, false, NULL, NULL },
    { "queue", "qmgr", SOCK_SEQPACKET, false, NULL, NULL },
    { "relay", "relayd", SOCK_STREAM, false, NULL, NULL },
    { "quota", "lmtpd", SOCK_STREAM, false, wants_quota, NULL },
    { "imapd", "imapd", SOCK_SEQPACKET, true, NULL, "login" },
    { "login", "login", SOCK_SEQPACKET, false, wants_login, "imapd" },
    { "pop3d", "pop3d", SOCK_SEQPACKET, false, NULL, "login" },
};

static unsigned
processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

    return n < 1 ? 1 : n > WORKERS_AUTO_MAX ? WORKERS_AUTO_MAX : (unsigned)n;
}

/* Programs whose number is a parameter, and how many run since the start (0: none started yet). */
static struct {
    const char *program;
    size_t at; /* offset of an int64_t in struct conf */
    unsigned running;
} counted[] = {
    { "smtpd", offsetof(struct conf, smtpd_processes), 0 },
    { "login", offsetof(struct conf, login_processes), 0 },
    { "imapd", offsetof(struct conf, imapd_processes), 0 },
    { "relayd", offsetof(struct conf, relayd_processes), 0 },
};

static unsigned
wanted_workers(const struct conf *c, size_t row)
{
    int64_t n = *(const int64_t *)(const void *)((const char *)c + counted[row].at);

    return n > 0 ? (unsigned)n : processors();
}

unsigned
serve_workers(const struct conf *c, const char *program)
{
    for (size_t i = 0; i < COUNT_OF(counted); i++)
        if (strcmp(counted[i].program, program) == 0)
            return counted[i].running ? counted[i].running : wanted_workers(c, i);
    return 1;
}

/* The rules of quota that daemons have read at the start, as one number; in whatever order the file has them. */
static uint64_t
quota_rules_sum(const struct conf *c)
{
    static const char *const now[] = { "quota_status_", "quota_full_", "quota_warning_" };
    uint64_t sum = 0;
    const char *name;
    size_t it = 0;

    while (conf_next_set(c, &it, &name)) {
        char *value =
            sl_has_prefix(sl_z(name), SL("quota")) ? conf_value_text(c, name, false) : NULL;
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

        for (size_t i = 0; i < COUNT_OF(now); i++)
            if (value && sl_has_prefix(sl_z(name), sl_z(now[i]))) {
                free(value);
                value = NULL;
            }
        for (const char *p = value ? name : ""; *p; p++)
            hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
        for (const char *p = value ? value : ""; *p; p++)
            hash = (hash ^ (unsigned char)*p ^ 0x80) * UINT64_C(0x100000001b3);
        sum += value ? hash : 0;
        free(value);
    }
    return sum;
}

static uint64_t quota_at_start;

void
serve_fix_workers(const struct conf *c)
{
    quota_at_start = quota_rules_sum(c);
    for (size_t i = 0; i < COUNT_OF(counted); i++)
        counted[i].running = wanted_workers(c, i);
}

void
serve_tell_fixed(const struct conf *c, struct conf_problems *ps)
{
    char param[32];

    if (quota_rules_sum(c) != quota_at_start)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "quota"),
                         "quota: rules have changed, which takes effect at the next start; limits "
                         "set by `postern quota set` do so at once");

    for (size_t i = 0; i < COUNT_OF(counted); i++) {
        snprintf(param, sizeof param, "%s_processes", counted[i].program);
        if (wanted_workers(c, i) != counted[i].running)
            conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, param),
                             "%s: takes effect at the next start", param);
    }
}

/* ---- collecting ---- */

struct collect {
    const struct conf *conf;
    struct serve_sockets *out;
    struct conf_problems *ps;
    const char *param, *service, *program;
};

static void
problem(struct collect *k, struct slice what, const char *text)
{
    conf_problem_add(k->ps, true, conf_file_of(k->conf), conf_line_of(k->conf, k->param),
                     "%s: \"%.*s\" %s", k->param, SL_ARG(what), text);
}

static struct serve_socket *
add(struct collect *k, const struct addr *a, int type)
{
    struct serve_sockets *o = k->out;
    struct serve_socket *s;
    char key[ADDR_TEXT_OCTETS];

    addr_text(a, key);
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->v[i].key, key) == 0) {
            if (strcmp(o->v[i].service, k->service) == 0)
                return &o->v[i]; /* "localhost" may name one address twice */
            conf_problem_add(k->ps, true, conf_file_of(k->conf), conf_line_of(k->conf, k->param),
                             "%s: %s is already %s's", k->param ? k->param : k->service, key,
                             o->v[i].param ? o->v[i].param : o->v[i].service);
            return &o->v[i];
        }
    o->v = mem_grow(o->v, &o->cap, o->n + 1, sizeof *o->v);
    s = &o->v[o->n++];
    *s = (struct serve_socket){
        .program = k->program, .param = k->param, .worker = -1, .type = type, .fd = -1, .addr = *a
    };
    snprintf(s->service, sizeof s->service, "%s", k->service);
    snprintf(s->key, sizeof s->key, "%s", key);
    return s;
}

static bool
add_unix(struct collect *k, const char *relative, int type)
{
    char path[512];
    struct addr a;
    struct err e = { 0 };

    if (relative[0] == '/')
        snprintf(path, sizeof path, "%s", relative);
    else
        snprintf(path, sizeof path, "%s/%s", k->conf->queue_directory, relative);
    if (addr_unix(path, &a, &e) != 0) {
        conf_problem_add(k->ps, true, conf_file_of(k->conf),
                         conf_line_of(k->conf, k->param ? k->param : "queue_directory"), "%s: %s",
                         k->param ? k->param : "queue_directory", e.msg);
        return false;
    }
    add(k, &a, type);
    return true;
}

static bool
is_family_wanted(const struct conf *c, int family)
{
    const char *name = family == AF_INET ? "ipv4" : "ipv6";

    for (size_t i = 0; i < c->inet_protocols.n; i++)
        if (sl_ieqz(sl_z(c->inet_protocols.v[i]), "all") ||
            sl_ieqz(sl_z(c->inet_protocols.v[i]), name))
            return true;
    return false;
}

/* is_bare: the address comes from inet_interfaces, so inet_protocols has a say and IPv6 may be missing. */
static void
add_ip(struct collect *k, const char *ip, uint16_t port, bool is_bare)
{
    struct addr a;
    struct serve_socket *s;

    if (addr_parse_ip(sl_z(ip), port, &a) != 0)
        return;
    if (is_bare && !is_family_wanted(k->conf, addr_family(&a)))
        return;
    s = add(k, &a, SOCK_STREAM);
    s->may_be_absent =
        is_bare && addr_family(&a) == AF_INET6 && (strcmp(ip, "::") == 0 || strcmp(ip, "::1") == 0);
}

static void
add_host(struct collect *k, struct slice host, uint16_t port, bool is_bare)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    struct addr a;
    char ip[ADDR_TEXT_OCTETS];
    char *name;

    if (sl_ieqz(host, "all") || sl_eqz(host, "*")) {
        add_ip(k, "0.0.0.0", port, true);
        add_ip(k, "::", port, true);
        return;
    }
    if (sl_ieqz(host, "loopback-only") || sl_ieqz(host, "localhost")) {
        add_ip(k, "127.0.0.1", port, true);
        add_ip(k, "::1", port, true);
        return;
    }
    if (addr_parse_ip(host, port, &a) == 0) {
        add_ip(k, addr_ip_text(&a, ip), port, is_bare);
        return;
    }
    name = sl_dupz(host);
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        problem(k, host, "has no known address");
    for (struct addrinfo *i = found; i; i = i->ai_next) {
        memcpy(&a.u, i->ai_addr, i->ai_addrlen);
        a.len = i->ai_addrlen;
        add_ip(k, addr_ip_text(&a, ip), port, true);
    }
    if (found)
        freeaddrinfo(found);
    free(name);
}

static bool
take_port(struct slice text, uint16_t *port)
{
    uint32_t n;
    struct servent *s;
    char *name;

    if (sl_to_u32(text, &n)) {
        *port = (uint16_t)n;
        return n > 0 && n <= UINT16_MAX;
    }
    name = sl_dupz(text);
    s = getservbyname(name, "tcp");
    free(name);
    if (s)
        *port = ntohs((uint16_t)s->s_port);
    return s != NULL;
}

static void
add_entry(struct collect *k, const char *entry)
{
    struct slice in = sl_z(entry), host;
    size_t colon;
    uint16_t port;

    if (sl_take_prefix(&in, SL("unix:"))) {
        add_unix(k, in.p, SOCK_STREAM);
        return;
    }
    sl_take_prefix(&in, SL("inet:"));
    colon = sl_rfind_char(in, ':');
    host = colon == SL_NPOS ? sl_n(NULL, 0) : sl_head(in, colon);
    if (!take_port(colon == SL_NPOS ? in : sl_from(in, colon + 1), &port)) {
        problem(k, in, "is no port, address:port, [address]:port or unix:path");
    } else if (colon != SL_NPOS && host.n > 0) {
        add_host(k, host, port, false);
    } else {
        for (size_t i = 0; i < k->conf->inet_interfaces.n; i++)
            add_host(k, sl_z(k->conf->inet_interfaces.v[i]), port, true);
    }
}

static void
add_own(struct collect *k)
{
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        unsigned n = own[i].is_per_worker ? serve_workers(k->conf, own[i].program) : 1;
        char service[32], path[64];

        if (own[i].is_wanted && !own[i].is_wanted(k->conf))
            continue;
        k->param = NULL;
        k->program = own[i].program;
        k->service = service;
        for (unsigned w = 0; w < n; w++) {
            if (own[i].is_per_worker)
                snprintf(service, sizeof service, "%s-%u", own[i].service, w);
            else
                snprintf(service, sizeof service, "%s", own[i].service);
            snprintf(path, sizeof path, "private/%s", service);
            if (!add_unix(k, path, own[i].type))
                return; /* the same of each: queue_directory is too long */
            k->out->v[k->out->n - 1].caller = own[i].caller;
            if (own[i].is_per_worker)
                k->out->v[k->out->n - 1].worker = (int)w;
        }
    }
    k->program = "qmgr";
    k->service = "public-queue"; /* mailq(1) and postqueue(1) of any user: qmgr sees who it is */
    add_unix(k, "public/queue", SOCK_SEQPACKET);
}

void
serve_wanted_sockets(const struct conf *c, struct serve_sockets *out, struct conf_problems *ps)
{
    struct collect k = { .conf = c, .out = out, .ps = ps };

    for (size_t i = 0; i < COUNT_OF(listens); i++) {
        const struct conf_list *l = (const void *)((const char *)c + listens[i].list_at);

        k.param = listens[i].param;
        k.service = listens[i].service;
        k.program = listens[i].program;
        for (size_t j = 0; j < l->n; j++)
            add_entry(&k, l->v[j]);
    }
    add_own(&k);
}

void
check_listeners(const struct conf *c, struct conf_problems *ps)
{
    struct serve_sockets s = { 0 };

    serve_wanted_sockets(c, &s, ps);
    serve_sockets_free(&s);
}

/* ---- binding ---- */

static const char *
hint(int sys, int family)
{
    switch (sys) {
    case EADDRINUSE:
        return family == AF_UNIX ? "; is another Postern or Dovecot running there?"
                                 : "; another program has this port (ss -ltnp shows which)";
    case EACCES:
    case EPERM:
        return family == AF_UNIX ? "; the folder must be writable"
                                 : "; ports below 1024 are for root (or set another port)";
    case EADDRNOTAVAIL:
        return "; this host does not have that address";
    default:
        return "";
    }
}

/* Sockets in private/ and public/ are guarded by the folder, those with one caller and others by their own mode. By the daemons' group, that in public/
 * by setgid_group. */
static void
give_to_group(const struct conf *c, const struct serve_socket *s)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam(c->front_user) : NULL;

    /* Without the group only root gets in; that is how it was bound. */
    if (pw && chown(s->addr.u.un.sun_path, (uid_t)-1, pw->pw_gid) != 0)
        return;
}

/* Who may offer sessions, and who may ask whose a cookie is, are not the same: login talks to strangers and must not get an
 * answer of auth-master's. lmtpd and pop3d are imapd's user. */
static void
give_to_caller(const struct conf *c, const struct serve_socket *s)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam(daemon_user_of(c, s->caller)) : NULL;

    if (pw && chown(s->addr.u.un.sun_path, pw->pw_uid, pw->pw_gid) != 0)
        return; /* root's alone, as it was bound */
}

static bool
bind_one(const struct conf *c, struct serve_socket *s, struct conf_problems *ps)
{
    struct err e = { 0 };
    int family = addr_family(&s->addr);
    bool is_public = strcmp(s->service, "public-queue") == 0;
    bool is_guarded = is_public || /* by the folder */
                      (family == AF_UNIX && strstr(s->addr.u.un.sun_path, "/private/") != NULL);

    s->fd = listener_bind(&s->addr, s->type,
                          s->caller    ? UNIX_MODE_CALLER
                          : is_guarded ? UNIX_MODE_GUARDED
                                       : UNIX_MODE,
                          &e);
    if (s->fd >= 0) {
        if (s->caller)
            give_to_caller(c, s);
        else if (family == AF_UNIX && !is_public)
            give_to_group(c, s);
        return true;
    }
    if (s->may_be_absent && (e.sys == EAFNOSUPPORT || e.sys == EADDRNOTAVAIL))
        return true;
    conf_problem_add(ps, true, conf_file_of(c), s->param ? conf_line_of(c, s->param) : 0,
                     "%s: %s%s", s->param ? s->param : s->program, e.msg, hint(e.sys, family));
    return false;
}

static void
unbind(struct serve_socket *s)
{
    if (s->fd < 0)
        return;
    close(s->fd);
    s->fd = -1;
    if (addr_family(&s->addr) == AF_UNIX)
        unlink(s->addr.u.un.sun_path);
}

int
serve_bind(const struct conf *c, struct serve_sockets *s, struct conf_problems *ps)
{
    bool *is_new = mem_zalloc(s->n ? s->n : 1);
    bool is_ok = true;

    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].fd < 0) {
            is_new[i] = true;
            is_ok = bind_one(c, &s->v[i], ps) && is_ok;
        }
    for (size_t i = 0; !is_ok && i < s->n; i++)
        if (is_new[i])
            unbind(&s->v[i]);
    free(is_new);
    return is_ok ? 0 : -1;
}

void
serve_inherit(struct serve_sockets *s, struct serve_sockets *old)
{
    for (size_t i = 0; i < s->n; i++)
        for (size_t j = 0; j < old->n; j++)
            if (old->v[j].fd >= 0 && s->v[i].fd < 0 && strcmp(s->v[i].key, old->v[j].key) == 0 &&
                strcmp(s->v[i].service, old->v[j].service) == 0) {
                s->v[i].fd = old->v[j].fd;
                old->v[j].fd = -1;
            }
}

void
serve_sockets_free(struct serve_sockets *s)
{
    for (size_t i = 0; i < s->n; i++)
        unbind(&s->v[i]);
    free(s->v);
    *s = (struct serve_sockets){ 0 };
}
