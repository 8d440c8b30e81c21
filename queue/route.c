/* queue/route.c - a recipient's way out, by the class of its domain as Postfix orders them: mydestination, virtual aliases,
 * hosted domains, relay domains, everything else. Tables are authd's; verdicts are kept for a short while. */
#include "queue/qmgr_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/addr.h"

#include <stdlib.h>

enum { CACHE_MS = 30 * 1000, CACHE_MAX = 2000, DOMAIN_OCTETS_MAX = 255 };

/* The order of questions. */
enum domain_class {
    CLASS_LOCAL,
    CLASS_ALIAS,
    CLASS_VIRTUAL,
    CLASS_RELAY,
    CLASS_OTHER,
    CLASS_UNKNOWN
};

struct verdict {
    enum domain_class class;
    uint64_t until_ms;
};

/* A question under way; recipients with the same domain wait together. */
struct ask {
    uint64_t id;
    char *domain; /* lower case */
    enum domain_class at;
    struct {
        struct qrcpt *r;
        void (*fn)(struct qrcpt *, const struct route *);
    } * waiting;
    size_t n, cap;
};

static struct map *cache, *asks;

static const struct conf_list *list_of(enum domain_class class)
{
    switch (class) {
    case CLASS_LOCAL:
        return &qm.conf->mydestination;
    case CLASS_ALIAS:
        return &qm.conf->virtual_alias_domains;
    case CLASS_VIRTUAL:
        return &qm.conf->virtual_mailbox_domains;
    default:
        return &qm.conf->relay_domains;
    }
}

static const char *const list_names[] = { "mydestination", "virtual_alias_domains",
                                          "virtual_mailbox_domains", "relay_domains" };

/* Names that stand in the list itself. relay_domains also takes what is under them (parent_domain_matches_subdomains). */
static bool
is_listed(enum domain_class class, struct slice domain)
{
    const struct conf_list *l = list_of(class);

    for (size_t i = 0; i < l->n; i++) {
        struct slice item = sl_z(l->v[i]);

        if (sl_find_char(item, ':') != SL_NPOS || item.n == 0)
            continue;
        if (sl_ieq(item, domain))
            return true;
        if (class == CLASS_RELAY && domain.n > item.n && sl_has_isuffix(domain, item) &&
            domain.p[domain.n - item.n - 1] == '.')
            return true;
    }
    return false;
}

static bool has_tables(enum domain_class class)
{
    const struct conf_list *l = list_of(class);

    for (size_t i = 0; i < l->n; i++)
        if (strchr(l->v[i], ':'))
            return true;
    return false;
}

/* ---- a class's transport ---- */

static bool
take_lmtp(struct slice spec, struct route *route)
{
    route->mailer = "lmtp";
    if (sl_take_iprefix(&spec, SL("unix:"))) {
        route->kind = ROUTE_LMTP;
        route->path = spec;
        return spec.n > 0;
    }
    sl_take_iprefix(&spec, SL("inet:"));
    route->kind = ROUTE_RELAY;
    route->is_lmtp_inet = true;
    route->nexthop = spec;
    return spec.n > 0;
}

/* Our own lmtpd: the first unix socket of listen_lmtp. */
static void
own_lmtp(struct route *route)
{
    const struct conf_list *l = &qm.conf->listen_lmtp;

    route->kind = ROUTE_LMTP;
    route->mailer = "lmtp";
    route->path = SL("private/dovecot-lmtp");
    for (size_t i = 0; i < l->n; i++) {
        struct slice s = sl_z(l->v[i]);

        if (sl_take_iprefix(&s, SL("unix:"))) {
            route->path = s;
            return;
        }
    }
}

static void
take_transport(const char *spec, struct slice domain, struct route *route)
{
    struct slice s = sl_z(spec), name;

    if (!sl_take_until(&s, ':', &name)) {
        name = s;
        s = SL("");
    }
    if (sl_eqz(name, "lmtp") && take_lmtp(s, route))
        return;
    if (sl_eqz(name, "virtual") || sl_eqz(name, "local")) {
        own_lmtp(route);
    } else if (sl_eqz(name, "smtp") || sl_eqz(name, "relay")) {
        route->kind = ROUTE_RELAY;
        route->mailer = sl_eqz(name, "relay") ? "relay" : "smtp";
        route->nexthop = s.n > 0 ? s : domain;
    } else if (sl_eqz(name, "error")) {
        route->kind = ROUTE_ERROR;
        route->dsn = "5.0.0";
        route->nexthop = s.n > 0 ? s : SL("mail is not accepted for this address");
    } else {
        route->kind = ROUTE_TEMP;
        route->dsn = "4.3.0";
        route->nexthop = SL("mail transport unavailable");
        log_warn("route.unknown", LOG_NONE, "no transport \"%s\" is known", spec);
    }
}

/* Reports about reports that nobody can be told of, and probes of the address that probes come from. */
static bool
is_double_bounce(struct slice addr)
{
    return sl_ieqz(sl_head(addr, sl_rfind_char(addr, '@')), qm.conf->double_bounce_sender);
}

static void
route_of(enum domain_class class, struct slice domain, const struct qrcpt *r, struct route *route)
{
    const struct conf *c = qm.conf;
    bool is_probe = r->m->is_probe;
    const char *relayhost = is_probe ? c->address_verify_relayhost : c->relayhost;

    memset(route, 0, sizeof *route);
    switch (class) {
    case CLASS_LOCAL:
        if (is_double_bounce(r->addr)) {
            route->kind = ROUTE_DISCARD;
            route->dsn = "2.0.0";
            route->nexthop = SL("undeliverable postmaster notification discarded");
            break;
        }
        take_transport(is_probe ? c->address_verify_local_transport : c->local_transport, domain,
                       route);
        route->is_local = true;
        break;
    case CLASS_ALIAS:
        route->kind = ROUTE_ERROR;
        route->dsn = "5.1.1";
        route->nexthop = SL("User unknown in virtual alias table");
        break;
    case CLASS_VIRTUAL:
        take_transport(is_probe ? c->address_verify_virtual_transport : c->virtual_transport,
                       domain, route);
        break;
    case CLASS_RELAY:
    case CLASS_OTHER:
        if (class == CLASS_RELAY)
            take_transport(is_probe ? c->address_verify_relay_transport : c->relay_transport,
                           domain, route);
        else
            take_transport(is_probe ? c->address_verify_default_transport : c->default_transport,
                           domain, route);
        if (route->kind == ROUTE_RELAY && !route->is_lmtp_inet && sl_eq(route->nexthop, domain) &&
            relayhost[0])
            route->nexthop = sl_z(relayhost);
        break;
    case CLASS_UNKNOWN:
        route->kind = ROUTE_TEMP;
        route->dsn = "4.3.0";
        route->nexthop = SL("address lookup failure");
        break;
    }
}

/* ---- asking ---- */

static void ask_on(struct ask *a);

static void
keep(const char *domain, enum domain_class class)
{
    struct verdict *v = map_get(cache, sl_z(domain));

    if (v == NULL && map_count(cache) >= CACHE_MAX) {
        map_free(&cache, free);
        cache = map_new();
    }
    if (v == NULL) {
        v = MEM_NEW(struct verdict);
        map_set(cache, sl_z(domain), v);
    }
    v->class = class;
    v->until_ms = loop_now_ms() + CACHE_MS;
}

static void
settle(struct ask *a, enum domain_class class)
{
    struct route route;

    if (class != CLASS_UNKNOWN)
        keep(a->domain, class);
    map_del(asks, sl_z(a->domain));
    id_del(a->id);
    for (size_t i = 0; i < a->n; i++) {
        route_of(class, sl_z(a->domain), a->waiting[i].r, &route);
        a->waiting[i].fn(a->waiting[i].r, &route);
    }
    free(a->waiting);
    free(a->domain);
    free(a);
    sched_kick();
}

static void
on_answer(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct ask *a = id_get(id);

    (void)value;
    if (a == NULL)
        return;
    if (rc == LOOKUP_FOUND)
        settle(a, a->at);
    else if (rc == LOOKUP_TEMP)
        settle(a, CLASS_UNKNOWN);
    else {
        a->at++;
        ask_on(a);
    }
}

/* The next table to be asked from a->at on. Settling inside is fine: the asker's fn may come within route_find(). */
static void
ask_on(struct ask *a)
{
    for (; a->at < CLASS_OTHER; a->at++) {
        if (is_listed(a->at, sl_z(a->domain))) {
            settle(a, a->at);
            return;
        }
        if (has_tables(a->at)) {
            lookup_ask(qm.lookup, list_names[a->at], sl_z(a->domain), on_answer, a->id);
            return;
        }
    }
    settle(a, CLASS_OTHER);
}

/* An address literal of this host is local, of another host the relay's. */
static bool
is_own_literal(struct slice domain)
{
    struct addr a;
    struct slice s = sl_from(sl_head(domain, domain.n - 1), 1);

    sl_take_iprefix(&s, SL("IPv6:"));
    return addr_parse_ip(s, 0, &a) == 0 && addr_is_loopback(&a);
}

void
route_find(struct qrcpt *r, void (*fn)(struct qrcpt *r, const struct route *route))
{
    size_t at = sl_rfind_char(r->addr, '@');
    char domain[DOMAIN_OCTETS_MAX + 1];
    struct slice d = at == SL_NPOS ? sl_z(qm.conf->myorigin) : sl_from(r->addr, at + 1);
    struct verdict *v;
    struct route route;
    struct ask *a;

    if (d.n == 0 || d.n > DOMAIN_OCTETS_MAX || at == 0) {
        route = (struct route){ .kind = ROUTE_ERROR,
                                .dsn = "5.1.3",
                                .nexthop = SL("bad address syntax") };
        fn(r, &route);
        return;
    }
    for (size_t i = 0; i < d.n; i++)
        domain[i] = sl_lower_char(d.p[i]);
    domain[d.n] = '\0';
    d.p = domain;
    if (domain[0] == '[') {
        route_of(is_own_literal(d) ? CLASS_LOCAL : CLASS_OTHER, d, r, &route);
        fn(r, &route);
        return;
    }
    v = map_get(cache, d);
    if (v && v->until_ms > loop_now_ms()) {
        route_of(v->class, d, r, &route);
        fn(r, &route);
        return;
    }
    a = map_get(asks, d);
    if (a == NULL) {
        a = MEM_NEW(struct ask);
        a->id = id_add(a);
        a->domain = mem_dupz(domain);
        map_set(asks, d, a);
    }
    a->waiting = mem_grow(a->waiting, &a->cap, a->n + 1, sizeof *a->waiting);
    a->waiting[a->n].r = r;
    a->waiting[a->n].fn = fn;
    if (++a->n == 1)
        ask_on(a);
}

void
route_reload(void)
{
    map_free(&cache, free);
    cache = map_new();
    if (asks == NULL)
        asks = map_new();
}
