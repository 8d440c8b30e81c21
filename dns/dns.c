/* dns/dns.c - questions under way, answers kept. See dns.h.
 * c-ares tells which of its sockets want to be read or written; they are gathered in one epoll descriptor that the loop
 * watches: readable when any of them is ready, for whatever it waits. */
#include "dns/dns_int.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"
#include "proto/idn.h"

#include <ares.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    TRIES = 2,
    UDP_OCTETS = 1232,   /* what passes everywhere unfragmented */
    PENDING_MAX = 20000, /* questions under way */
    CLASS_IN = 1,
    EVENTS = 32,
    TIMER_MAX_MS = 1000,
    KEY_OCTETS = DNS_NAME_OCTETS + 8
};

/* One who waits for a question's answer. */
struct waiter {
    struct waiter *next;
    void (*fn)(void *arg, struct entry *e);
    void *arg;
};

struct question {
    struct dns *d;
    enum dns_type type;
    char name[DNS_NAME_OCTETS];
    char key[KEY_OCTETS];
    struct waiter *waiters;
};

struct dns {
    ares_channel channel;
    int epoll;
    struct loop_watch *watch;
    struct timer timer;
    struct map *asked, *cache;
    struct list lru;
    bool is_trusted; /* every resolver is on this host */
    bool is_closing;
};

/* ---- c-ares and the loop ---- */

static void
rearm(struct dns *d)
{
    struct timeval most = { TIMER_MAX_MS / 1000, 0 }, out, *tv;
    uint64_t ms;

    if (map_count(d->asked) == 0) {
        timer_stop(&d->timer);
        return;
    }
    tv = ares_timeout(d->channel, &most, &out);
    ms = (uint64_t)tv->tv_sec * 1000 + (uint64_t)tv->tv_usec / 1000 + 1;
    timer_start(&d->timer, ms, d->timer.fn, d);
}

static void
on_timer(void *arg)
{
    struct dns *d = arg;

    ares_process_fd(d->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    rearm(d);
}

static void
on_ready(void *arg)
{
    struct dns *d = arg;
    struct epoll_event ev[EVENTS];
    int n = epoll_wait(d->epoll, ev, EVENTS, 0);

    for (int i = 0; i < n; i++) {
        bool is_in = (ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
        bool is_out = (ev[i].events & EPOLLOUT) != 0;

        ares_process_fd(d->channel, is_in ? ev[i].data.fd : ARES_SOCKET_BAD,
                        is_out ? ev[i].data.fd : ARES_SOCKET_BAD);
    }
    rearm(d);
}

static void
on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns *d = arg;
    struct epoll_event ev = { .events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u),
                              .data.fd = fd };

    if (!readable && !writable)
        epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL);
    else if (epoll_ctl(d->epoll, EPOLL_CTL_MOD, fd, &ev) != 0)
        epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* ---- cache ---- */

static void
forget(struct dns *d, struct entry *e)
{
    list_remove(&e->link);
    map_del(d->cache, sl_z(e->key));
    entry_unref(e);
}

static void
keep(struct dns *d, const char *key, struct entry *e)
{
    struct entry *old = map_get(d->cache, sl_z(key));

    if (e->a.rc == DNS_TEMP || e->a.ttl_s == 0)
        return;
    if (old)
        forget(d, old);
    if (map_count(d->cache) >= DNS_CACHE_ENTRIES)
        forget(d, CONTAINER_OF(d->lru.next, struct entry, link));
    e->key = mem_dupz(key);
    e->until_ms = loop_now_ms() + (uint64_t)e->a.ttl_s * 1000;
    e->refs++;
    list_push_back(&d->lru, &e->link);
    map_set(d->cache, sl_z(key), e);
}

static struct entry *
recall(struct dns *d, const char *key)
{
    struct entry *e = map_get(d->cache, sl_z(key));

    if (e == NULL)
        return NULL;
    if (e->until_ms <= loop_now_ms()) {
        forget(d, e);
        return NULL;
    }
    list_remove(&e->link);
    list_push_back(&d->lru, &e->link);
    e->refs++;
    return e;
}

/* ---- telling ---- */

static void
tell_all(struct question *q, struct entry *e)
{
    struct waiter *w = q->waiters;

    while (w) {
        struct waiter *next = w->next;

        w->fn(w->arg, e);
        free(w);
        w = next;
    }
    free(q);
}

/* An answer that was there at once is told by the next turn of the loop. */
struct later {
    struct question *q;
    struct entry *e;
};

static void
tell_later_fn(void *arg)
{
    struct later *l = arg;

    tell_all(l->q, l->e);
    entry_unref(l->e);
    free(l);
}

static void
tell_later(struct question *q, struct entry *e)
{
    struct later *l = MEM_NEW(struct later);

    l->q = q;
    l->e = e;
    loop_defer(tell_later_fn, l);
}

/* Equal preference: in an order that differs each time (RFC 5321 §5.1). */
static void
sort_mx(struct entry *e)
{
    struct dns_rr *v = (struct dns_rr *)(uintptr_t)e->a.rrs;

    for (size_t i = e->a.n; i > 1; i--) {
        size_t k = rand_below((uint32_t)i);
        struct dns_rr t = v[i - 1];

        v[i - 1] = v[k];
        v[k] = t;
    }
    for (size_t i = 1; i < e->a.n; i++) { /* stable, few */
        struct dns_rr t = v[i];
        size_t k = i;

        for (; k > 0 && v[k - 1].pref > t.pref; k--)
            v[k] = v[k - 1];
        v[k] = t;
    }
}

static void
on_answer(void *arg, int status, int timeouts, unsigned char *msg, int n)
{
    struct question *q = arg;
    struct dns *d = q->d;
    struct entry *e;

    (void)timeouts;
    if (status == ARES_EDESTRUCTION || d->is_closing) {
        while (q->waiters) {
            struct waiter *w = q->waiters;

            q->waiters = w->next;
            free(w);
        }
        free(q);
        return;
    }
    e = entry_new(sl_z(q->name), DNS_TEMP, ares_strerror(status));
    if (status == ARES_SUCCESS)
        answer_read(e, q->type, msg, n);
    map_del(d->asked, sl_z(q->key));
    keep(d, q->key, e);
    tell_later(q, e);
}

/* ---- asking ---- */

static bool
is_localhost(struct slice name)
{
    return sl_ieqz(name, "localhost") || sl_has_isuffix(name, SL(".localhost"));
}

static void
fill_localhost(struct entry *e, enum dns_type type)
{
    struct dns_rr rr = { .type = type };

    if (type == DNS_A || type == DNS_AAAA) {
        addr_parse_ip(type == DNS_A ? SL("127.0.0.1") : SL("::1"), 0, &rr.addr);
        entry_add(e, &rr);
    }
    e->a.rc = e->a.n > 0 ? DNS_OK : DNS_NODATA;
    e->a.why = "";
}

static void
send_question(struct dns *d, struct question *q)
{
    unsigned char *msg = NULL;
    int n = 0, rc = ares_create_query(q->name, CLASS_IN, q->type, (unsigned short)rand_below(65536),
                                      1, &msg, &n, UDP_OCTETS);

    if (rc != ARES_SUCCESS) {
        map_del(d->asked, sl_z(q->key));
        tell_later(q, entry_new(sl_z(q->name), rc == ARES_ENOMEM ? DNS_TEMP : DNS_NXDOMAIN, ""));
        return;
    }
    msg[3] |= 0x20; /* tell us whether it was validated: RFC 6840 §5.7 */
    ares_send(d->channel, msg, n, on_answer, q);
    ares_free_string(msg);
    rearm(d);
}

static void
ask(struct dns *d, enum dns_type type, struct slice name, void (*fn)(void *, struct entry *),
    void *arg)
{
    struct question *q;
    struct waiter *w = MEM_NEW(struct waiter);
    struct entry *e;
    char key[KEY_OCTETS], lower[DNS_NAME_OCTETS];
    struct idn idn;

    w->fn = fn;
    w->arg = arg;
    if (sl_ends(name, '.'))
        name.n--;
    if (idn_forms(name, &idn)) /* what the DNS knows is the A-label */
        name = sl_z(idn.ascii);
    q = MEM_NEW(struct question);
    q->d = d;
    q->type = type;
    q->waiters = w;
    if (name.n == 0 || name.n >= DNS_NAME_OCTETS - 1 || memchr(name.p, '\0', name.n)) {
        tell_later(q, entry_new(SL(""), DNS_NXDOMAIN, ""));
        return;
    }
    for (size_t i = 0; i < name.n; i++)
        lower[i] = sl_lower_char(name.p[i]);
    lower[name.n] = '\0';
    snprintf(key, sizeof key, "%d %s", type, lower);
    memcpy(q->name, lower, name.n + 1);
    memcpy(q->key, key, strlen(key) + 1);
    if (is_localhost(name)) {
        e = entry_new(name, DNS_NODATA, "");
        fill_localhost(e, type);
        tell_later(q, e);
    } else if ((e = recall(d, key)) != NULL) {
        tell_later(q, e);
    } else if (map_count(d->asked) >= PENDING_MAX) {
        tell_later(q, entry_new(name, DNS_TEMP, "too many DNS questions at once"));
    } else {
        struct question *same = map_get(d->asked, sl_z(key));

        if (same) {
            w->next = same->waiters;
            same->waiters = w;
            free(q);
            return;
        }
        map_set(d->asked, sl_z(key), q);
        send_question(d, q);
    }
}

/* ---- the public questions ---- */

struct plain {
    dns_fn *cb;
    uint64_t id;
};

static void
tell_plain(void *arg, struct entry *e)
{
    struct plain *p = arg;

    if (e->a.rc == DNS_OK && e->a.rrs[0].type == DNS_MX)
        sort_mx(e);
    p->cb(p->id, &e->a);
    free(p);
}

static struct plain *
plain_new(dns_fn *cb, uint64_t id)
{
    struct plain *p = MEM_NEW(struct plain);

    p->cb = cb;
    p->id = id;
    return p;
}

void
dns_query(struct dns *d, enum dns_type type, struct slice name, dns_fn *cb, uint64_t id)
{
    ask(d, type, name, tell_plain, plain_new(cb, id));
}

void
dns_mx(struct dns *d, struct slice name, dns_fn *cb, uint64_t id)
{
    dns_query(d, DNS_MX, name, cb, id);
}

void
dns_txt(struct dns *d, struct slice name, dns_fn *cb, uint64_t id)
{
    dns_query(d, DNS_TXT, name, cb, id);
}

void
dns_tlsa(struct dns *d, struct slice name, dns_fn *cb, uint64_t id)
{
    dns_query(d, DNS_TLSA, name, cb, id);
}

/* A and AAAA gathered. */
struct pair {
    dns_fn *cb;
    uint64_t id;
    unsigned waits;
    struct entry *v4, *v6;
};

static void
add_all(struct entry *to, const struct entry *from)
{
    for (size_t i = 0; from && from->a.rc == DNS_OK && i < from->a.n; i++)
        entry_add(to, &from->a.rrs[i]);
    if (from && from->a.n > 0 && from->a.ttl_s < to->a.ttl_s)
        to->a.ttl_s = from->a.ttl_s;
}

static void
pair_end(struct pair *p)
{
    struct entry *one = p->v6 ? p->v6 : p->v4, *all = entry_new(sl_z(one->a.name), DNS_NODATA, "");
    const struct entry *both[] = { p->v6, p->v4 };
    bool is_temp = false, is_no_name = true;

    all->a.ttl_s = DNS_CACHE_TTL_MAX_S;
    all->a.is_secure = true;
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        if (both[i] == NULL)
            continue;
        add_all(all, both[i]);
        is_no_name = is_no_name && both[i]->a.rc == DNS_NXDOMAIN;
        /* An answer that did not come says nothing of those that did: else who keeps one from us takes away the other's AD. */
        if (both[i]->a.rc != DNS_TEMP)
            all->a.is_secure = all->a.is_secure && both[i]->a.is_secure;
        if (both[i]->a.rc == DNS_TEMP) {
            is_temp = true;
            all->a.why = both[i]->a.why;
        }
        if (both[i]->a.cname != both[i]->a.name)
            all->a.cname = arena_dupz(&all->arena, sl_z(both[i]->a.cname));
    }
    all->a.rc = all->a.n > 0 ? DNS_OK : is_temp ? DNS_TEMP : is_no_name ? DNS_NXDOMAIN : DNS_NODATA;
    if (all->a.rc != DNS_TEMP)
        all->a.why = "";
    all->a.about = p->v6 && (p->v6->a.rc == DNS_TEMP || p->v4 == NULL || p->v4->a.rc != DNS_TEMP)
                       ? DNS_AAAA
                       : DNS_A;
    all->a.is_secure = all->a.is_secure && all->a.rc != DNS_TEMP;
    p->cb(p->id, &all->a);
    entry_unref(all);
    entry_unref(p->v4);
    entry_unref(p->v6);
    free(p);
}

static void
pair_v4(void *arg, struct entry *e)
{
    struct pair *p = arg;

    e->refs++;
    p->v4 = e;
    if (--p->waits == 0)
        pair_end(p);
}

static void
pair_v6(void *arg, struct entry *e)
{
    struct pair *p = arg;

    e->refs++;
    p->v6 = e;
    if (--p->waits == 0)
        pair_end(p);
}

static struct question *
question_for(struct dns *d, dns_fn *cb, uint64_t id)
{
    struct question *q = MEM_NEW(struct question);
    struct waiter *w = MEM_NEW(struct waiter);

    q->d = d;
    w->fn = tell_plain;
    w->arg = plain_new(cb, id);
    q->waiters = w;
    return q;
}

void
dns_addr(struct dns *d, struct slice name, unsigned want, dns_fn *cb, uint64_t id)
{
    struct pair *p;

    if (!(want & (DNS_WANT_A | DNS_WANT_AAAA)))
        want |= DNS_WANT_A | DNS_WANT_AAAA;
    if (want & DNS_WANT_HOSTS) {
        struct entry *e = entry_new(name, DNS_NODATA, "");

        if (hosts_addr(name, want, e)) {
            tell_later(question_for(d, cb, id), e);
            return;
        }
        entry_unref(e);
    }
    p = MEM_NEW(struct pair);
    p->cb = cb;
    p->id = id;
    p->waits = ((want & DNS_WANT_A) != 0) + ((want & DNS_WANT_AAAA) != 0);
    if (want & DNS_WANT_AAAA)
        ask(d, DNS_AAAA, name, pair_v6, p);
    if (want & DNS_WANT_A)
        ask(d, DNS_A, name, pair_v4, p);
}

int
dns_reverse_name(const struct addr *a, const char *zone, char out[DNS_NAME_OCTETS])
{
    const unsigned char *p;
    size_t at = 0;

    if (addr_family(a) == AF_INET) {
        p = (const unsigned char *)&a->u.in4.sin_addr;
        return snprintf(out, DNS_NAME_OCTETS, "%u.%u.%u.%u.%s", p[3], p[2], p[1], p[0], zone) <
                       DNS_NAME_OCTETS
                   ? 0
                   : -1;
    }
    if (addr_family(a) != AF_INET6)
        return -1;
    p = (const unsigned char *)&a->u.in6.sin6_addr;
    for (int i = 15; i >= 0; i--)
        at += (size_t)snprintf(out + at, DNS_NAME_OCTETS - at, "%x.%x.", p[i] & 15u, p[i] >> 4);
    return snprintf(out + at, DNS_NAME_OCTETS - at, "%s", zone) < (int)(DNS_NAME_OCTETS - at) ? 0
                                                                                              : -1;
}

void
dns_ptr(struct dns *d, const struct addr *a, dns_fn *cb, uint64_t id)
{
    char name[DNS_NAME_OCTETS] = "";
    struct entry *e;

    dns_reverse_name(a, addr_family(a) == AF_INET6 ? "ip6.arpa" : "in-addr.arpa", name);
    e = entry_new(sl_z(name), DNS_NODATA, "");
    if (hosts_name(a, e)) {
        tell_later(question_for(d, cb, id), e);
        return;
    }
    entry_unref(e);
    dns_query(d, DNS_PTR, sl_z(name), cb, id);
}

/* ---- beginning and end ---- */

/* "host", "host:port", "[ip]:port", "ip" into c-ares' list. */
static int
add_resolver(struct buf *csv, const char *text, struct err *e)
{
    struct slice s = sl_z(text), host = s, port = SL("53");
    struct addr a;
    char ip[ADDR_TEXT_OCTETS];
    uint32_t n;

    if (addr_parse_ip(s, 0, &a) != 0) {
        size_t colon = sl_rfind_char(s, ':');

        if (colon != SL_NPOS) {
            host = sl_head(s, colon);
            port = sl_from(s, colon + 1);
        }
    }
    if (!sl_to_u32(port, &n) || n == 0 || n > 65535)
        return err_set(e, ERR_CONFIG, "dns_resolvers: %s: bad port", text);
    if (addr_parse_ip(host, 0, &a) != 0) {
        struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *found = NULL;
        char *z = sl_dupz(host);

        if (getaddrinfo(z, NULL, &hints, &found) == 0) {
            memcpy(&a.u, found->ai_addr, found->ai_addrlen);
            a.len = found->ai_addrlen;
            freeaddrinfo(found);
        }
        free(z);
        if (found == NULL)
            return err_set(e, ERR_CONFIG, "dns_resolvers: %s: no such host", text);
    }
    addr_ip_text(&a, ip);
    buf_addf(csv, addr_family(&a) == AF_INET6 ? "%s[%s]:%u" : "%s%s:%u", csv->n > 0 ? "," : "", ip,
             n);
    return 0;
}

static bool
are_resolvers_loopback(ares_channel ch)
{
    struct ares_addr_port_node *list = NULL;
    bool is_good = true;

    if (ares_get_servers_ports(ch, &list) != ARES_SUCCESS || list == NULL)
        return false;
    for (const struct ares_addr_port_node *n = list; n; n = n->next) {
        struct addr a;

        if (n->family == AF_INET)
            addr_from_octets((const unsigned char *)&n->addr.addr4, 4, 0, &a);
        else
            addr_from_octets((const unsigned char *)&n->addr.addr6, 16, 0, &a);
        is_good = is_good && addr_is_loopback(&a);
    }
    ares_free_data(list);
    return is_good;
}

bool
dns_is_trusted(const struct dns *d)
{
    return d->is_trusted;
}

int
dns_new(const struct conf_list *resolvers, struct dns **out, struct err *e)
{
    struct ares_options o = {
        .flags = ARES_FLAG_EDNS, .timeout = DNS_TIMEOUT_MS, .tries = TRIES, .ednspsz = UDP_OCTETS
    };
    struct dns *d;
    struct buf csv = { 0 };
    int rc;

    for (size_t i = 0; resolvers && i < resolvers->n; i++) {
        if (add_resolver(&csv, resolvers->v[i], e) != 0) {
            buf_free(&csv);
            return -1;
        }
    }
    d = MEM_NEW(struct dns);
    d->epoll = epoll_create1(EPOLL_CLOEXEC);
    o.sock_state_cb = on_socket;
    o.sock_state_cb_data = d;
    rc = ares_library_init(ARES_LIB_INIT_ALL);
    if (rc == ARES_SUCCESS)
        rc = ares_init_options(&d->channel, &o,
                               ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                   ARES_OPT_SOCK_STATE_CB | ARES_OPT_EDNSPSZ);
    if (rc == ARES_SUCCESS && csv.n > 0)
        rc = ares_set_servers_ports_csv(d->channel, buf_z(&csv));
    buf_free(&csv);
    if (rc != ARES_SUCCESS || d->epoll < 0) {
        if (d->channel)
            ares_destroy(d->channel);
        if (d->epoll >= 0)
            close(d->epoll);
        free(d);
        return err_set(e, ERR_CONFIG, "DNS resolver: %s", ares_strerror(rc));
    }
    d->is_trusted = are_resolvers_loopback(d->channel);
    d->asked = map_new();
    d->cache = map_new();
    list_init(&d->lru);
    d->timer.fn = on_timer;
    d->watch = loop_watch_fd(d->epoll, on_ready, d);
    *out = d;
    return 0;
}

void
dns_free(struct dns **dd)
{
    struct dns *d = *dd;

    if (d == NULL)
        return;
    *dd = NULL;
    d->is_closing = true;
    timer_stop(&d->timer);
    loop_unwatch(&d->watch);
    ares_destroy(d->channel);
    while (!list_is_empty(&d->lru))
        forget(d, CONTAINER_OF(d->lru.next, struct entry, link));
    map_free(&d->asked, NULL);
    map_free(&d->cache, NULL);
    close(d->epoll);
    free(d);
}
