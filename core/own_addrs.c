/* core/own_addrs.c - see own_addrs.h. */
#include "core/own_addrs.h"

#include "base/mem.h"

#include <ifaddrs.h>
#include <stdlib.h>

static void
add(struct own_addrs *o, const struct addr *a, size_t *cap)
{
    o->v = mem_grow(o->v, cap, o->n + 1, sizeof(*o->v));
    o->v[o->n++] = *a;
}

void
own_addrs_init(struct own_addrs *o, const struct conf *c)
{
    struct conf_list in = c->inet_interfaces, proxy = c->proxy_interfaces;
    bool is_all = conf_list_has(in, "all"), is_loopback = conf_list_has(in, "loopback-only");
    struct ifaddrs *list = NULL;
    size_t cap = 0;
    struct addr a;

    *o = (struct own_addrs){ 0 };
    if ((is_all || is_loopback) && getifaddrs(&list) == 0) {
        for (const struct ifaddrs *i = list; i; i = i->ifa_next) {
            int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;

            a = (struct addr){ .len = family == AF_INET ? sizeof(a.u.in4) : sizeof(a.u.in6) };
            if (family != AF_INET && family != AF_INET6)
                continue;
            memcpy(&a.u, i->ifa_addr, a.len);
            if (is_all || addr_is_loopback(&a))
                add(o, &a, &cap);
        }
        freeifaddrs(list);
    }
    for (size_t i = 0; i < in.n + proxy.n; i++)
        if (addr_parse_ip(sl_z(i < in.n ? in.v[i] : proxy.v[i - in.n]), 0, &a) == 0)
            add(o, &a, &cap);
}

void
own_addrs_free(struct own_addrs *o)
{
    free(o->v);
    *o = (struct own_addrs){ 0 };
}

bool
own_addrs_has(const struct own_addrs *o, const struct addr *a)
{
    for (size_t i = 0; i < o->n; i++)
        if (addr_same_ip(&o->v[i], a))
            return true;
    return false;
}
