/* relay/targets.c - hosts of a destination: MX by preference, the address where there is no MX (RFC 5321 §5.1), null MX
 * (RFC 7505), [host] and address literals. */
#include "relay/relay_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { LMTP_PORT = 24 };

struct host {
    char name[DNS_NAME_OCTETS];
    uint16_t pref;
};

struct search {
    uint64_t id; /* ours */
    struct conf *conf;
    bool is_lmtp;
    char name[DNS_NAME_OCTETS];
    uint16_t port;
    void (*cb)(uint64_t, struct target *, size_t, const struct target_error *);
    uint64_t cb_id;
    struct target *v;
    size_t n;
    struct host *hosts;
    size_t n_hosts, at;
    bool is_mx, has_temp, is_mx_secure;
    uint32_t self_pref; /* of the best address that is ours; UINT32_MAX: none */
    uint16_t best_pref;
    struct target_error err;
};

static void look_up_host(struct search *s);

__attribute__((format(printf, 4, 5))) static void
set_error(struct search *s, enum smtp_outcome outcome, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    s->err.outcome = outcome;
    snprintf(s->err.dsn, sizeof s->err.dsn, "%s", dsn);
    va_start(ap, fmt);
    vsnprintf(s->err.text, sizeof s->err.text, fmt, ap);
    va_end(ap);
}

/* Postfix's words for what the resolver said. */
static void
set_dns_error(struct search *s, const char *name, const char *type, enum dns_rc rc)
{
    const char *what = rc == DNS_TEMP     ? "Host not found, try again"
                       : rc == DNS_NODATA ? "Host found but no data record of requested type"
                                          : "Host not found";

    set_error(s, rc == DNS_TEMP ? SMTP_DEFERRED : SMTP_FAILED, rc == DNS_TEMP ? "4.4.3" : "5.4.4",
              "Host or domain name not found. Name service error for name=%s type=%s: %s", name,
              type, what);
}

/* Postfix looks for itself where it listens itself: on the port of SMTP. */
static bool
is_self(const struct search *s, const struct addr *a)
{
    return !s->is_lmtp && s->port == s->conf->smtp_tcp_port && own_addrs_has(&relay_own, a);
}

static void
add_target(struct search *s, const struct addr *a, const struct host *h, const char *tlsa_base,
           bool is_secure)
{
    struct target *t;

    if (is_self(s, a) && h->pref < s->self_pref)
        s->self_pref = h->pref;

    if (s->n == TARGETS_MAX)
        return;
    if (s->v == NULL)
        s->v = mem_zalloc(TARGETS_MAX * sizeof *s->v);
    t = &s->v[s->n++];
    t->addr = *a;
    if (addr_family(a) == AF_INET6)
        t->addr.u.in6.sin6_port = htons(s->port);
    else
        t->addr.u.in4.sin_port = htons(s->port);
    t->pref = h->pref;
    t->is_secure = is_secure;
    t->is_mx_secure = s->is_mx_secure;
    snprintf(t->host, sizeof t->host, "%s", h->name);
    snprintf(t->tlsa_base, sizeof t->tlsa_base, "%s", tlsa_base);
}

/* Where one of the hosts is this one, it and what is less wanted than it is no way out. */
static void
drop_self(struct search *s)
{
    size_t n = 0;

    if (s->self_pref == UINT32_MAX)
        return;
    while (n < s->n && s->v[n].pref < s->self_pref)
        n++;
    s->n = n;
    if (n == 0 && s->self_pref > s->best_pref)
        set_error(s, SMTP_DEFERRED, "4.4.4", "unable to find primary relay for %s", s->name);
    else if (n == 0)
        set_error(s, SMTP_FAILED, "5.4.6", "mail for %s loops back to myself", s->name);
}

/* At most smtp_mx_address_limit addresses; both families among them where there are both and smtp_balance_inet_protocols. */
static void
keep_enough(struct search *s)
{
    size_t limit = (size_t)s->conf->smtp_mx_address_limit, room[2], n = 0, of[2] = { 0, 0 };

    if (limit == 0 || s->n <= limit)
        return;
    for (size_t i = 0; i < s->n; i++)
        of[addr_family(&s->v[i].addr) == AF_INET6]++;
    room[0] = room[1] = limit;
    if (s->conf->smtp_balance_inet_protocols && limit > 1 && of[0] && of[1])
        for (int k = 0; k < 2; k++)
            room[k] = limit - (of[!k] < limit / 2 ? of[!k] : limit / 2);
    for (size_t i = 0; i < s->n && n < limit; i++) {
        size_t *left = &room[addr_family(&s->v[i].addr) == AF_INET6];

        if (*left == 0)
            continue;
        --*left;
        s->v[n++] = s->v[i];
    }
    s->n = n;
}

/* Whether a is to be tried before b. */
static bool
is_before(const struct conf *c, const struct target *a, const struct target *b)
{
    int family = strcmp(c->smtp_address_preference, "ipv4") == 0   ? AF_INET
                 : strcmp(c->smtp_address_preference, "ipv6") == 0 ? AF_INET6
                                                                   : AF_UNSPEC;

    if (a->pref != b->pref)
        return a->pref < b->pref;
    return addr_family(&a->addr) == family && addr_family(&b->addr) != family;
}

/* By preference, the preferred family first; what is equal in random order, so that all of them share the load. */
static void
put_in_order(struct search *s)
{
    for (size_t i = s->n; i > 1 && s->conf->smtp_randomize_addresses; i--) {
        size_t k = rand_below((uint32_t)i);
        struct target t = s->v[i - 1];

        s->v[i - 1] = s->v[k];
        s->v[k] = t;
    }
    for (size_t i = 1; i < s->n; i++) { /* stable, TARGETS_MAX at most */
        struct target t = s->v[i];
        size_t k = i;

        for (; k > 0 && is_before(s->conf, &t, &s->v[k - 1]); k--)
            s->v[k] = s->v[k - 1];
        s->v[k] = t;
    }
}

static void
finish(struct search *s)
{
    struct target *v;

    put_in_order(s);
    drop_self(s);
    keep_enough(s);
    v = s->v;
    if (s->n == 0) {
        free(v);
        v = NULL;
    }
    s->cb(s->cb_id, v, s->n, &s->err);
    id_del(s->id);
    conf_unref(&s->conf);
    free(s->hosts);
    free(s);
}

static void
finish_later(void *arg)
{
    finish(arg);
}

static unsigned
wanted(const struct conf *c)
{
    unsigned want = 0;

    for (size_t i = 0; i < c->inet_protocols.n; i++) {
        const char *p = c->inet_protocols.v[i];

        if (strcmp(p, "all") == 0)
            want |= DNS_WANT_A | DNS_WANT_AAAA;
        else if (strcmp(p, "ipv4") == 0)
            want |= DNS_WANT_A;
        else if (strcmp(p, "ipv6") == 0)
            want |= DNS_WANT_AAAA;
    }
    if (want == 0)
        want = DNS_WANT_A | DNS_WANT_AAAA;
    for (size_t i = 0; i < c->smtp_host_lookup.n; i++)
        if (sl_ieqz(sl_z(c->smtp_host_lookup.v[i]), "native"))
            want |= DNS_WANT_HOSTS;
    return want;
}

/* The host is an alias that is signed, of a name that is not: the alias may have TLSA records of its own (RFC 7672 §2.2.2). */
static void
on_cname(uint64_t id, const struct dns_answer *a)
{
    struct search *s = id_get(id);

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n && a->rc == DNS_OK && a->is_secure; i++)
        if (strcmp(s->v[i].host, s->hosts[s->at - 1].name) == 0) {
            s->v[i].is_secure = true;
            snprintf(s->v[i].tlsa_base, sizeof s->v[i].tlsa_base, "%s", s->v[i].host);
        }
    look_up_host(s);
}

static void
on_host(uint64_t id, const struct dns_answer *a)
{
    struct search *s = id_get(id);
    struct host *h;

    if (s == NULL)
        return;
    h = &s->hosts[s->at++];
    for (size_t i = 0; a->rc == DNS_OK && i < a->n; i++)
        add_target(s, &a->rrs[i].addr, h, a->cname, a->is_secure);
    if (a->rc == DNS_TEMP || (a->rc != DNS_OK && !s->has_temp))
        set_dns_error(s, h->name, a->about == DNS_AAAA ? "AAAA" : "A", a->rc);
    s->has_temp = s->has_temp || a->rc == DNS_TEMP;
    if (a->rc == DNS_OK && !a->is_secure && strcmp(a->cname, a->name) != 0 &&
        sl_ieqz(sl_z(s->conf->smtp_dns_support_level), "dnssec"))
        dns_query(relay_dns, DNS_CNAME, sl_z(h->name), on_cname, s->id);
    else
        look_up_host(s);
}

/* More addresses would not be tried, and there is a choice of families. */
static bool
has_enough(const struct search *s)
{
    size_t limit = (size_t)s->conf->smtp_mx_address_limit, six = 0;

    /* Of equal hosts all are asked for: when one is this host, none of them is a way out. */
    if (s->at > 0 && s->at < s->n_hosts && s->hosts[s->at].pref == s->hosts[s->at - 1].pref)
        return false;
    for (size_t i = 0; i < s->n; i++)
        six += addr_family(&s->v[i].addr) == AF_INET6;
    return s->n == TARGETS_MAX ||
           (limit > 0 && (s->n >= 2 * limit || (s->n >= limit && six > 0 && six < s->n)));
}

static void
look_up_host(struct search *s)
{
    struct addr literal;

    /* An address is no host name (RFC 5321 §5.1), but mail has always gone there. */
    while (s->at < s->n_hosts && !has_enough(s) &&
           addr_parse_ip(sl_z(s->hosts[s->at].name), 0, &literal) == 0) {
        log_warn("relay.mx", LOG_NONE,
                 "numeric domain name in resource data of MX record for %s: %s", s->name,
                 s->hosts[s->at].name);
        add_target(s, &literal, &s->hosts[s->at], s->hosts[s->at].name, false);
        s->at++;
    }
    if (s->at == s->n_hosts || has_enough(s)) {
        finish(s);
        return;
    }
    dns_addr(relay_dns, sl_z(s->hosts[s->at].name), wanted(s->conf), on_host, s->id);
}

static void
add_host(struct search *s, struct slice name, uint16_t pref)
{
    struct host *h;

    if (s->n_hosts == TARGETS_MAX || name.n >= DNS_NAME_OCTETS)
        return;
    if (s->hosts == NULL)
        s->hosts = mem_zalloc(TARGETS_MAX * sizeof *s->hosts);
    h = &s->hosts[s->n_hosts++];
    snprintf(h->name, sizeof h->name, "%.*s", SL_ARG(name));
    h->pref = pref;
}

static void
on_mx(uint64_t id, const struct dns_answer *a)
{
    struct search *s = id_get(id);

    if (s == NULL)
        return;
    switch (a->rc) {
    case DNS_OK:
        if (a->n == 1 && a->rrs[0].text.n == 0) {
            set_error(s, SMTP_FAILED, "5.1.10", "Domain %s does not accept mail (nullMX)", s->name);
            break;
        }
        s->is_mx = true;
        s->is_mx_secure = a->is_secure;
        s->best_pref = a->rrs[0].pref;
        set_error(s, SMTP_FAILED, "5.4.4", "no usable MX record for %s", s->name);
        for (size_t i = 0; i < a->n; i++) /* "." beside others is none of them */
            if (a->rrs[i].text.n > 0)
                add_host(s, a->rrs[i].text, a->rrs[i].pref);
        break;
    case DNS_NODATA:
    case DNS_NXDOMAIN: /* may have an address all the same: in /etc/hosts */
        s->is_mx_secure = a->is_secure;
        add_host(s, sl_z(s->name), 0);
        break;
    default:
        if (a->rc == DNS_TEMP && s->conf->ignore_mx_lookup_error) {
            add_host(s, sl_z(s->name), 0);
            break;
        }
        set_dns_error(s, s->name, "MX", a->rc);
        break;
    }
    look_up_host(s);
}

/* "domain", "[host]", either with ":port". */
static bool
parse_nexthop(struct search *s, struct slice in, bool *is_bracketed)
{
    struct slice host = in, port = SL("");
    uint32_t n;

    *is_bracketed = sl_starts(in, '[');
    if (*is_bracketed) {
        size_t end = sl_find_char(in, ']');

        if (end == SL_NPOS)
            return false;
        host = sl_from(sl_head(in, end), 1);
        port = sl_from(in, end + 1);
        if (port.n > 0 && !sl_take_char(&port, ':'))
            return false;
    } else if (sl_find_char(in, ':') != SL_NPOS) {
        host = sl_head(in, sl_find_char(in, ':'));
        port = sl_from(in, host.n + 1);
    }
    s->port = (uint16_t)(s->is_lmtp ? LMTP_PORT : s->conf->smtp_tcp_port);
    if (sl_ieqz(port, "smtp"))
        s->port = 25;
    else if (sl_ieqz(port, "submission"))
        s->port = 587;
    else if (port.n > 0 && (!sl_to_u32(port, &n) || n == 0 || n > 65535))
        return false;
    else if (port.n > 0)
        s->port = (uint16_t)n;
    sl_take_iprefix(&host, SL("IPv6:"));
    if (host.n == 0 || host.n >= sizeof s->name)
        return false;
    snprintf(s->name, sizeof s->name, "%.*s", SL_ARG(host));
    return true;
}

void
targets_hop_name(struct slice hop, char out[DNS_NAME_OCTETS])
{
    bool is_bracketed = sl_take_char(&hop, '[');
    size_t end = sl_find_char(hop, is_bracketed ? ']' : ':');

    hop = end == SL_NPOS ? hop : sl_head(hop, end);
    sl_take_iprefix(&hop, SL("IPv6:"));
    snprintf(out, DNS_NAME_OCTETS, "%.*s", SL_ARG(hop));
}

void
targets_find(const struct conf *conf, struct slice hop, bool is_lmtp,
             void (*cb)(uint64_t id, struct target *v, size_t n, const struct target_error *err),
             uint64_t id)
{
    struct search *s = MEM_NEW(struct search);
    struct addr a;
    bool is_bracketed = false;

    s->id = id_add(s);
    s->conf = conf_ref(conf);
    s->is_lmtp = is_lmtp;
    s->self_pref = UINT32_MAX;
    s->cb = cb;
    s->cb_id = id;
    if (!parse_nexthop(s, hop, &is_bracketed)) {
        set_error(s, SMTP_DEFERRED, "4.3.5", "bad next hop \"%.*s\"", SL_ARG(hop));
        loop_defer(finish_later, s);
    } else if (addr_parse_ip(sl_z(s->name), 0, &a) == 0) {
        struct host h = { 0 };

        snprintf(h.name, sizeof h.name, "%s", s->name);
        add_target(s, &a, &h, h.name, false); /* an address has no TLSA records */
        loop_defer(finish_later, s);
    } else if (is_bracketed || is_lmtp || sl_ieqz(sl_z(conf->smtp_dns_support_level), "disabled")) {
        s->is_mx_secure = true; /* the host was named by the operator */
        add_host(s, sl_z(s->name), 0);
        look_up_host(s);
    } else {
        dns_mx(relay_dns, sl_z(s->name), on_mx, s->id);
    }
}
