/* smtpd/access_server.c - check_*_a_access, _mx_access, _ns_access: tables of the hosts behind a name. What DNS cannot say
 * leaves the name alone, with a warning, as in Postfix. */
#include "smtpd/access_int.h"

#include "base/log.h"
#include "proto/hostname.h"

#include <stdio.h>

enum { SERVER_ADDRS_MAX = 100 /* of all hosts together: dns_rr_list_limit */ };

struct servers { /* in the command's memory */
    enum dns_type type;
    struct slice domain; /* asked about; a parent of it while there are no NS records */
    struct slice *hosts;
    size_t n, at;
    struct slice addrs[SERVER_ADDRS_MAX]; /* of the host under way */
    size_t n_addrs, at_addr, n_all;
};

static const char *
type_text(const struct servers *v)
{
    return v->type == DNS_A ? "A" : v->type == DNS_MX ? "MX" : "NS";
}

static struct check *
check_of(uint64_t id)
{
    struct smtp_sess *s = id_get(id);

    return s ? smtpd_of(s)->check : NULL;
}

static void
no_room(struct check *c)
{
    check_fail(c, 451, "4.3.0", "Error: too much memory wanted");
}

static void warn(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
warn(struct check *c, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_event(LOG_LV_WARN, c->s->cfg->ident, "access.dns", LOG_NONE, "%s", text);
}

/* ---- hosts, one after the other: the name, then the addresses ---- */

static void next_host(struct check *c);

static void
next_addr(struct check *c)
{
    struct servers *v = c->own;

    if (v->at_addr < v->n_addrs)
        access_ask_ip(c, v->addrs[v->at_addr++], next_addr);
    else
        next_host(c);
}

static void
on_addrs(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of(id);
    struct servers *v;
    char ip[ADDR_TEXT_OCTETS];

    if (c == NULL)
        return;
    v = c->own;
    v->n_addrs = v->at_addr = 0;
    if (a->rc != DNS_OK && v->type != DNS_A)
        warn(c, "Unable to look up %s host %s for %s %.*s: %s", type_text(v), a->name,
             c->reply_class, SL_ARG(c->reply_name), a->why[0] ? a->why : "Host not found");
    for (size_t i = 0; a->rc == DNS_OK && i < a->n; i++) {
        if (++v->n_all > SERVER_ADDRS_MAX) {
            warn(
                c,
                "%s server address count limit (%d) exceeded for %s %.*s -- ignoring the remainder",
                type_text(v), SERVER_ADDRS_MAX, c->reply_class, SL_ARG(c->reply_name));
            v->at = v->n;
            break;
        }
        v->addrs[v->n_addrs] = arena_dup(&c->s->smtp.cmd, sl_z(addr_ip_text(&a->rrs[i].addr, ip)));
        if (v->addrs[v->n_addrs].p == NULL) {
            no_room(c);
            return;
        }
        v->n_addrs++;
    }
    next_addr(c);
}

static void
ask_addrs(struct check *c)
{
    const struct servers *v = c->own;

    dns_addr(smtpd_env.dns, v->hosts[v->at - 1], DNS_WANT_A | DNS_WANT_AAAA | DNS_WANT_HOSTS,
             on_addrs, c->s->smtp.id);
}

static void
next_host(struct check *c)
{
    struct servers *v = c->own;
    struct slice host;

    if (v->at >= v->n) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    host = v->hosts[v->at++];
    if (hostname_is_ipv4(host) || hostname_is_ipv6(host))
        access_ask_ip(c, host, next_host);
    else if (v->type == DNS_A)
        ask_addrs(c);
    else
        access_ask_domain(c, host, ask_addrs);
}

/* ---- which hosts ---- */

static void
use_domain(struct check *c)
{
    struct servers *v = c->own;

    v->hosts = &v->domain;
    v->n = 1;
    next_host(c);
}

static void
use_answer(struct check *c, const struct dns_answer *a)
{
    struct servers *v = c->own;

    v->hosts = arena_alloc(&c->s->smtp.cmd, a->n * sizeof(*v->hosts));
    for (size_t i = 0; v->hosts && i < a->n; i++) {
        v->hosts[v->n] = arena_dup(&c->s->smtp.cmd, a->rrs[i].text);
        v->n += v->hosts[v->n].n > 0;
    }
    if (v->hosts == NULL)
        no_room(c);
    else
        next_host(c);
}

static void
not_known(struct check *c, const struct dns_answer *a)
{
    warn(c, "Unable to look up %s host for %s: %s", type_text(c->own), a->name,
         a->why[0] ? a->why : "Host not found");
    check_done(c, VERDICT_DUNNO);
}

static void
on_mx(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of(id);

    if (c == NULL)
        return;
    if (a->rc == DNS_TEMP)
        not_known(c, a);
    else if (a->rc != DNS_OK) /* a name without mail exchangers is its own */
        use_domain(c);
    else if (a->n == 1 && a->rrs[0].text.n == 0) /* takes no mail: RFC 7505 */
        check_done(c, VERDICT_DUNNO);
    else
        use_answer(c, a);
}

static void
on_ns(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of(id);
    struct servers *v;
    size_t dot;

    if (c == NULL)
        return;
    v = c->own;
    if (a->rc == DNS_OK) {
        use_answer(c, a);
        return;
    }
    dot = sl_find_char(v->domain, '.');
    if (a->rc == DNS_TEMP || dot == SL_NPOS || dot + 1 == v->domain.n) {
        not_known(c, a);
        return;
    }
    v->domain = sl_from(v->domain, dot + 1); /* a zone's servers stand at its top */
    dns_query(smtpd_env.dns, DNS_NS, v->domain, on_ns, id);
}

/* An address literal is its own host; nobody serves names below it. */
static void
ask_literal(struct check *c, enum dns_type type, struct slice domain)
{
    struct slice ip = sl_n(domain.p + 1, domain.n - 2);

    if (type == DNS_NS || !hostname_is_literal(domain)) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    (void)sl_take_iprefix(&ip, SL("IPv6:"));
    access_ask_ip(c, ip, access_missed);
}

static void
server_access(struct check *c, enum dns_type type, struct slice name, const char *reply_class,
              struct slice reply_name)
{
    size_t at = sl_rfind_char(name, '@');
    struct slice domain = at == SL_NPOS ? name : sl_from(name, at + 1);
    struct servers *v = ARENA_NEW(&c->s->smtp.cmd, struct servers);

    if (domain.n == 0) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    if (v == NULL) {
        no_room(c);
        return;
    }
    v->type = type;
    v->domain = domain;
    c->own = v;
    access_name(c, reply_class, reply_name);
    access_forbid_permit(c);
    if (sl_starts(domain, '['))
        ask_literal(c, type, domain);
    else if (type == DNS_MX)
        dns_mx(smtpd_env.dns, domain, on_mx, c->s->smtp.id);
    else if (type == DNS_NS)
        dns_query(smtpd_env.dns, DNS_NS, domain, on_ns, c->s->smtp.id);
    else
        use_domain(c);
}

/* ---- verbs ---- */

static void
client_access(struct check *c, enum dns_type type)
{
    if (strcmp(c->s->name, "unknown") == 0)
        check_done(c, VERDICT_DUNNO);
    else
        server_access(c, type, sl_z(c->s->name), CLASS_TEXT_CLIENT, sl_z(c->s->namaddr));
}

static void
reverse_access(struct check *c, enum dns_type type)
{
    struct slice name = sl_z(c->s->reverse_name);

    if (sl_eqz(name, "unknown"))
        check_done(c, VERDICT_DUNNO);
    else
        server_access(c, type, name, CLASS_TEXT_REVERSE, name);
}

static void
helo_access(struct check *c, enum dns_type type)
{
    struct slice helo = sl_z(c->about.helo);

    server_access(c, type, helo, CLASS_TEXT_HELO, helo);
}

static void
sender_access(struct check *c, enum dns_type type)
{
    server_access(c, type, c->about.sender, CLASS_TEXT_SENDER, c->about.sender);
}

static void
recipient_access(struct check *c, enum dns_type type)
{
    server_access(c, type, c->about.recipient, CLASS_TEXT_RECIPIENT, c->about.recipient);
}

#define SERVER_VERBS(verb, fn)                                                                     \
    void verb_check_##verb##_a_access(struct check *c)                                             \
    {                                                                                              \
        fn(c, DNS_A);                                                                              \
    }                                                                                              \
    void verb_check_##verb##_mx_access(struct check *c)                                            \
    {                                                                                              \
        fn(c, DNS_MX);                                                                             \
    }                                                                                              \
    void verb_check_##verb##_ns_access(struct check *c)                                            \
    {                                                                                              \
        fn(c, DNS_NS);                                                                             \
    }
SERVER_VERBS(client, client_access)
SERVER_VERBS(reverse_client_hostname, reverse_access)
SERVER_VERBS(helo, helo_access)
SERVER_VERBS(sender, sender_access)
SERVER_VERBS(recipient, recipient_access)
