/* queue/route.c - a recipient's way out, as Postfix's trivial-rewrite resolves it: the class of its domain names a transport,
 * sender and transport tables may name another, and the tables of the SMTP client say how to speak there. Tables are
 * authd's; the classes of domains are kept for a short while. */
#include "queue/qmgr_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/addr.h"
#include "proto/hostname.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_addr.h"

#include <stdlib.h>
#include <string.h>

enum {
    CACHE_MS = 30 * 1000,
    CACHE_MAX = 2000,
    DOMAIN_OCTETS_MAX = 255,
    ROUTE_ARENA_OCTETS = 256 * 1024, /* look-ups of one recipient */
    ROUTE_KEYS_MAX = LOOKUP_TRANSPORT_KEYS_MAX
};

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

/* The parameters that say where mail goes: one set for mail, one for probes of addresses. */
struct ways {
    const char *local, *virtual, *relay, *other, *relayhost;
    struct tables {
        const char *param;
        const struct conf_list *list;
    } transports, by_sender, relayhosts;
};

static struct ways
ways_of(const struct conf *c, bool is_probe)
{
    if (is_probe)
        return (struct ways){
            c->address_verify_local_transport,
            c->address_verify_virtual_transport,
            c->address_verify_relay_transport,
            c->address_verify_default_transport,
            c->address_verify_relayhost,
            { "address_verify_transport_maps", &c->address_verify_transport_maps },
            { "address_verify_sender_dependent_default_transport_maps",
              &c->address_verify_sender_dependent_default_transport_maps },
            { "address_verify_sender_dependent_relayhost_maps",
              &c->address_verify_sender_dependent_relayhost_maps },
        };
    return (struct ways){
        c->local_transport,
        c->virtual_transport,
        c->relay_transport,
        c->default_transport,
        c->relayhost,
        { "transport_maps", &c->transport_maps },
        { "sender_dependent_default_transport_maps", &c->sender_dependent_default_transport_maps },
        { "sender_dependent_relayhost_maps", &c->sender_dependent_relayhost_maps },
    };
}

/* A recipient whose route is being found. */
struct finder {
    uint64_t id;
    struct qrcpt *r;
    void (*fn)(struct qrcpt *, const struct route *);
    struct ways ways;
    enum domain_class class;
    struct slice domain; /* lower case */
    struct arena mem;
    struct slice name, nexthop; /* the transport so far */
    struct route route;
    struct route_hop *hops; /* the route's */
    size_t at_hop;          /* its tables are being asked */
    /* the table being asked */
    const char *param;
    struct lookup_keys keys;
    size_t at;
    void (*then)(struct finder *f, enum lookup_rc rc, struct slice value);
};

/* A domain whose class is being asked for; recipients with the same domain wait together. */
struct ask {
    uint64_t id;
    char *domain; /* lower case */
    enum domain_class at;
    struct finder **waiting;
    size_t n, cap;
};

static struct map *cache, *asks;
static bool is_kick_due;

/* ---- the end ---- */

static void
kick(void *arg)
{
    (void)arg;
    is_kick_due = false;
    sched_kick();
}

/* Recipients of one message whose answers come together go into one delivery: so not at once. */
static void
kick_soon(void)
{
    if (!is_kick_due)
        loop_defer(kick, NULL);
    is_kick_due = true;
}

static void
finish(struct finder *f)
{
    f->fn(f->r, &f->route);
    kick_soon();
    id_del(f->id);
    for (size_t i = 0; i < f->at_hop; i++)
        if (f->hops[i].auth.n > 0) /* in f->mem */
            explicit_bzero((char *)(uintptr_t)f->hops[i].auth.p, f->hops[i].auth.n);
    arena_free(&f->mem);
    free(f);
}

static void fail(struct finder *f, const char *dsn, const char *why);

static void
on_srs(void *arg, bool is_known)
{
    if (is_known)
        finish(arg);
    else
        fail(arg, "4.3.0", "address lookup failure");
}

static void
finish_relayed(struct finder *f)
{
    if (srs_is_for(f->r, &f->route))
        srs_find(f->r, on_srs, f);
    else
        finish(f);
}

static void
fail(struct finder *f, const char *dsn, const char *why)
{
    f->route = (struct route){ .kind = ROUTE_TEMP, .dsn = sl_z(dsn), .nexthop = sl_z(why) };
    finish(f);
}

/* ---- asking a list of tables for several keys ---- */

static void ask_key(struct finder *f);

static void
on_key(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct finder *f = id_get(id);

    if (f == NULL)
        return;
    if (rc == LOOKUP_NOTFOUND && ++f->at < f->keys.n) {
        ask_key(f);
        return;
    }
    if (rc == LOOKUP_TEMP) {
        log_warn("route.lookup", LOG_F(LF_Z("map", f->param)), "%s lookup problem for \"%.*s\"",
                 f->param, SL_ARG(f->keys.v[f->at].key));
        fail(f, "4.3.0", "address lookup failure");
        return;
    }
    f->then(f, rc, rc == LOOKUP_FOUND ? arena_dup(&f->mem, value) : SL(""));
}

static void
ask_key(struct finder *f)
{
    const struct lookup_key *k = &f->keys.v[f->at];

    if (k->is_part)
        lookup_ask_part(qm.lookup, f->param, k->key, on_key, f->id);
    else
        lookup_ask(qm.lookup, f->param, k->key, on_key, f->id);
}

/* f->keys are set. then() comes from here when there is no such table, else from the loop. */
static void
ask_tables(struct finder *f, const struct tables *t,
           void (*then)(struct finder *f, enum lookup_rc rc, struct slice value))
{
    f->param = t->param;
    f->at = 0;
    f->then = then;
    if (t->list->n == 0 || (f->keys.n == 0 && !f->keys.is_full))
        then(f, LOOKUP_NOTFOUND, SL(""));
    else if (f->keys.is_full)
        fail(f, "4.3.0", "address lookup failure");
    else
        ask_key(f);
}

static void
no_keys(struct finder *f)
{
    f->keys.n = 0;
    f->keys.is_full = false;
}

static void
add_key(struct finder *f, struct slice key, bool is_part)
{
    if (f->keys.n < f->keys.max && key.n > 0)
        f->keys.v[f->keys.n++] = (struct lookup_key){ .key = key, .is_part = is_part };
}

/* The sender's keys; empty: what stands for <>. */
static void
sender_keys(struct finder *f, const char *empty)
{
    struct slice sender = qrcpt_sender(f->r), local, domain;

    if (sender.n == 0) {
        no_keys(f);
        add_key(f, sl_z(empty), false);
        return;
    }
    smtp_addr_split(sender, &local, &domain);
    lookup_keys_mail(
        &f->keys, sender,
        lookup_extension(local, qm.conf->recipient_delimiter, qm.conf->double_bounce_sender),
        sl_ieqz(domain, qm.conf->myorigin), &f->mem);
}

/* ---- how the SMTP client speaks there: each hop has a policy and a login of its own ---- */

static void next_hop(struct finder *f);

static void
on_password(struct finder *f, enum lookup_rc rc, struct slice value)
{
    if (rc == LOOKUP_FOUND)
        f->hops[f->at_hop].auth = sl_trim(value);
    f->at_hop++;
    next_hop(f);
}

/* "[host]:port" and "host:port" without the port and the brackets. */
static struct slice
bare_host(struct slice nexthop)
{
    size_t at;

    if (sl_starts(nexthop, '[')) {
        at = sl_find_char(nexthop, ']');
        return at == SL_NPOS ? nexthop : sl_from(sl_head(nexthop, at), 1);
    }
    at = sl_find_char(nexthop, ':');
    return at == SL_NPOS ? nexthop : sl_head(nexthop, at);
}

static void
find_password(struct finder *f)
{
    const struct conf *c = qm.conf;
    struct slice hop = f->hops[f->at_hop].hop;
    bool with_sender = c->smtp_sender_dependent_authentication && qrcpt_sender(f->r).n > 0;

    no_keys(f);
    if (!c->smtp_sasl_auth_enable || f->route.is_lmtp_inet) {
        f->at_hop++;
        next_hop(f);
        return;
    }
    if (with_sender)
        sender_keys(f, "");
    if (bare_host(hop).n != hop.n)
        add_key(f, bare_host(hop), false); /* first, as Postfix asks */
    add_key(f, hop, false);
    ask_tables(f, &(struct tables){ "smtp_sasl_password_maps", &c->smtp_sasl_password_maps },
               on_password);
}

static void
on_policy(struct finder *f, enum lookup_rc rc, struct slice value)
{
    value = sl_trim(value);
    if (rc == LOOKUP_FOUND) /* an empty one is not "as main.cf says": relayd refuses it */
        f->hops[f->at_hop].tls_policy = value.n > 0 ? value : SL(",");
    find_password(f);
}

/* At most: xtext triples an octet. */
static size_t
xroute_octets(const struct route *r)
{
    size_t n = 100;

    for (size_t i = 0; i < r->n_hops; i++)
        n += r->hops[i].hop.n + 3 * (r->hops[i].tls_policy.n + 2 * r->hops[i].auth.n) + 40;
    return n;
}

/* As Postfix: an explicit next hop has its own policy only, a domain also those of its parents. */
static void
next_hop(struct finder *f)
{
    struct slice hop;

    if (f->at_hop == f->route.n_hops) {
        if (xroute_octets(&f->route) > ROUTE_XROUTE_OCTETS_MAX)
            fail(f, "4.3.5", "next hops with their policies and logins are too long");
        else
            finish_relayed(f);
        return;
    }
    hop = f->hops[f->at_hop].hop;
    no_keys(f);
    add_key(f, hop, false);
    if (hostname_is_valid(hop))
        for (size_t i = 1; i < hop.n; i++)
            if (hop.p[i] == '.')
                add_key(f, sl_from(hop, i), false); /* patterns see them as well */
    ask_tables(f, &(struct tables){ "smtp_tls_policy_maps", &qm.conf->smtp_tls_policy_maps },
               on_policy);
}

/* The next hops that were named, then those that stand in for all of them. */
static bool
set_hops(struct finder *f)
{
    const struct conf_list *more = &qm.conf->smtp_fallback_relay;
    struct slice rest = f->route.nexthop, hop;
    size_t n = 0;

    f->hops = arena_alloc(&f->mem, ROUTE_HOPS_MAX * sizeof *f->hops);
    if (f->hops == NULL)
        return false;
    while (n < ROUTE_HOPS_MAX && sl_take_word(&rest, ", \t|", &hop))
        f->hops[n++].hop = hop;
    for (size_t i = 0; !f->route.is_lmtp_inet && i < more->n && n < ROUTE_HOPS_MAX; i++)
        f->hops[n++].hop = sl_z(more->v[i]);
    f->route.hops = f->hops;
    f->route.n_hops = n;
    return n > 0;
}

static void
on_transport_known(struct finder *f)
{
    transport_take(f->name, f->nexthop, f->domain, &f->route);
    if (f->class == CLASS_ALIAS && f->route.kind == ROUTE_ERROR && sl_eqz(f->route.dsn, "5.0.0"))
        f->route.dsn = SL("5.1.1");
    f->route.is_local = f->class == CLASS_LOCAL && sl_eqz(f->name, "local");
    if (f->route.kind != ROUTE_RELAY)
        finish(f);
    else if (!set_hops(f))
        fail(f, "4.3.5", "no next hop");
    else
        next_hop(f);
}

/* ---- which transport ---- */

/* transport(5): an empty transport leaves it and its next hop alone; a transport alone resets the next hop to the domain;
 * ":nexthop" changes the next hop only. */
static void
on_transport_map(struct finder *f, enum lookup_rc rc, struct slice value)
{
    struct slice name, nexthop;

    if (rc == LOOKUP_FOUND) {
        transport_split(sl_trim(value), &name, &nexthop);
        if (name.n > 0) {
            f->name = name;
            f->nexthop = nexthop;
        } else if (nexthop.n > 0) {
            f->nexthop = nexthop;
        }
    }
    on_transport_known(f);
}

static void
find_in_transport_maps(struct finder *f)
{
    struct slice local, domain;

    smtp_addr_split(f->r->addr, &local, &domain);
    lookup_keys_transport(
        &f->keys, f->r->addr,
        lookup_extension(local, qm.conf->recipient_delimiter, qm.conf->double_bounce_sender),
        &f->mem);
    ask_tables(f, &f->ways.transports, on_transport_map);
}

static void
on_relayhost_map(struct finder *f, enum lookup_rc rc, struct slice value)
{
    value = sl_trim(value);
    if (rc == LOOKUP_FOUND && sl_ieqz(value, "DUNNO"))
        f->nexthop = f->domain;
    else if (rc == LOOKUP_FOUND && value.n > 0)
        f->nexthop = value;
    else if (f->ways.relayhost[0])
        f->nexthop = sl_z(f->ways.relayhost);
    find_in_transport_maps(f);
}

/* Mail for other hosts whose transport names none goes to the relay host, if there is one. */
static void
find_relayhost(struct finder *f)
{
    if (f->nexthop.n > 0) {
        find_in_transport_maps(f);
        return;
    }
    sender_keys(f, qm.conf->empty_address_relayhost_maps_lookup_key);
    ask_tables(f, &f->ways.relayhosts, on_relayhost_map);
}

static void
on_default_transport_map(struct finder *f, enum lookup_rc rc, struct slice value)
{
    value = sl_trim(value);
    if (rc == LOOKUP_FOUND && value.n > 0 && !sl_ieqz(value, "DUNNO"))
        transport_split(value, &f->name, &f->nexthop);
    find_relayhost(f);
}

/* Reports about reports that nobody can be told of, and probes of the address that probes come from. */
static bool
is_double_bounce(struct slice addr)
{
    return sl_ieqz(sl_head(addr, sl_rfind_char(addr, '@')), qm.conf->double_bounce_sender);
}

static void
on_class(struct finder *f, enum domain_class class)
{
    const struct conf *c = qm.conf;

    f->class = class;
    if (class == CLASS_LOCAL && is_double_bounce(f->r->addr)) {
        f->name = SL("discard");
        f->nexthop = SL("undeliverable postmaster notification discarded");
        on_transport_known(f);
        return;
    }
    switch (class) {
    case CLASS_LOCAL:
        transport_split(sl_z(f->ways.local), &f->name, &f->nexthop);
        find_in_transport_maps(f);
        break;
    case CLASS_ALIAS:
        f->name = SL("error");
        f->nexthop = SL("User unknown in virtual alias table");
        find_in_transport_maps(f);
        break;
    case CLASS_VIRTUAL:
        transport_split(sl_z(f->ways.virtual), &f->name, &f->nexthop);
        find_in_transport_maps(f);
        break;
    case CLASS_RELAY:
        transport_split(sl_z(f->ways.relay), &f->name, &f->nexthop);
        find_relayhost(f);
        break;
    case CLASS_OTHER:
        transport_split(sl_z(f->ways.other), &f->name, &f->nexthop);
        sender_keys(f, c->empty_address_default_transport_maps_lookup_key);
        ask_tables(f, &f->ways.by_sender, on_default_transport_map);
        break;
    case CLASS_UNKNOWN:
        fail(f, "4.3.0", "address lookup failure");
    }
}

/* ---- the class of a domain ---- */

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
    if (class != CLASS_UNKNOWN)
        keep(a->domain, class);
    map_del(asks, sl_z(a->domain));
    id_del(a->id);
    for (size_t i = 0; i < a->n; i++)
        on_class(a->waiting[i], class);
    free(a->waiting);
    free(a->domain);
    free(a);
}

static void ask_on(struct ask *a);

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

/* A loopback address is local; what is sent to this host's others smtpd has rewritten. */
static bool
is_own_literal(struct slice domain)
{
    struct addr a;
    struct slice s = sl_from(sl_head(domain, domain.n - 1), 1);

    sl_take_iprefix(&s, SL("IPv6:"));
    return addr_parse_ip(s, 0, &a) == 0 && addr_is_loopback(&a);
}

static void
find_class(struct finder *f)
{
    struct verdict *v;
    struct ask *a;

    if (sl_starts(f->domain, '[')) {
        on_class(f, is_own_literal(f->domain) ? CLASS_LOCAL : CLASS_OTHER);
        return;
    }
    v = map_get(cache, f->domain);
    if (v && v->until_ms > loop_now_ms()) {
        on_class(f, v->class);
        return;
    }
    a = map_get(asks, f->domain);
    if (a == NULL) {
        a = MEM_NEW(struct ask);
        a->id = id_add(a);
        a->domain = sl_dupz(f->domain);
        map_set(asks, f->domain, a);
    }
    a->waiting = mem_grow(a->waiting, &a->cap, a->n + 1, sizeof(struct finder *));
    a->waiting[a->n] = f;
    if (++a->n == 1)
        ask_on(a);
}

/* ---- the beginning ---- */

static bool
needs_tables(const struct conf *c, const struct ways *w)
{
    return w->transports.list->n || w->relayhosts.list->n || w->by_sender.list->n ||
           c->smtp_tls_policy_maps.n || (c->smtp_sasl_auth_enable && c->smtp_sasl_password_maps.n);
}

/* Aliases and filters may name anything. What follows is a next hop unless a table has another, so nothing of a next hop's
 * syntax (a port, a second host) may be in it. */
static bool
is_good_domain(struct slice d)
{
    return sl_starts(d, '[') ? hostname_is_literal(d) : hostname_is_valid_utf8(d);
}

/* A command or a file: the way is always the same. */
static void
go_local(struct qrcpt *r, void (*fn)(struct qrcpt *r, const struct route *route))
{
    struct route route = {
        .kind = ROUTE_LMTP, .path = SL(LOCAL_SOCKET), .mailer = "local", .transport = "local"
    };
    struct buf target = { 0 };

    buf_addf(&target, "%s:%.*s", r->r->kind == RCPT_COMMAND ? "command" : "file",
             SL_ARG(r->r->target));
    route.nexthop = buf_slice(&target);
    fn(r, &route);
    buf_free(&target);
}

void
route_find(struct qrcpt *r, void (*fn)(struct qrcpt *r, const struct route *route))
{
    size_t at = sl_rfind_char(r->addr, '@');
    struct slice d = at == SL_NPOS ? sl_z(qm.conf->myorigin) : sl_from(r->addr, at + 1);
    struct finder *f;
    char *domain;

    /* smtpd has taken it for this alone */
    if (r->m->env.refused.n > 0 || r->r->kind == RCPT_REFUSED) {
        struct slice why = r->r->kind == RCPT_REFUSED ? r->r->target : r->m->env.refused;
        struct route route = { .kind = ROUTE_ERROR, .dsn = SL("5.0.0") };

        if (why.p[0] == '5')
            sl_take_word(&why, " ", &route.dsn);
        route.nexthop = sl_trim(why);
        fn(r, &route);
        return;
    }
    if (r->r->kind == RCPT_COMMAND || r->r->kind == RCPT_FILE) {
        go_local(r, fn);
        return;
    }
    if (d.n == 0 || d.n > DOMAIN_OCTETS_MAX || at == 0 || !is_good_domain(d)) {
        struct route route = { .kind = ROUTE_ERROR,
                               .dsn = SL("5.1.3"),
                               .nexthop = SL("bad address syntax") };

        fn(r, &route);
        return;
    }
    f = MEM_NEW(struct finder);
    f->id = id_add(f);
    f->r = r;
    f->fn = fn;
    f->mem.cap = ROUTE_ARENA_OCTETS;
    domain = arena_alloc(&f->mem, DOMAIN_OCTETS_MAX + 1);
    for (size_t i = 0; i < d.n; i++)
        domain[i] = sl_lower_char(d.p[i]);
    f->domain = sl_n(domain, d.n);
    f->ways = ways_of(qm.conf, r->m->is_probe);
    if (needs_tables(qm.conf, &f->ways)) {
        f->keys.max = ROUTE_KEYS_MAX;
        f->keys.v = arena_alloc(&f->mem, ROUTE_KEYS_MAX * sizeof *f->keys.v);
    }
    find_class(f);
}

void
route_reload(void)
{
    map_free(&cache, free);
    cache = map_new();
    if (asks == NULL)
        asks = map_new();
}
