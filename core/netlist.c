/* core/netlist.c */
#include "core/netlist.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* ::ffff:a.b.c.d/96+n is a.b.c.d/n: peers come with mapped addresses taken as IPv4. */
static void
unmap(struct addr *a, unsigned *bits)
{
    struct addr v4 = { .len = sizeof(a->u.in4) };

    if (addr_family(a) != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr) || *bits < 96)
        return;
    v4.u.in4.sin_family = AF_INET;
    memcpy(&v4.u.in4.sin_addr, a->u.in6.sin6_addr.s6_addr + 12, 4);
    *a = v4;
    *bits -= 96;
}

int
net_parse(struct slice text, struct net *out)
{
    struct slice ip = text, bits_text = SL("");
    size_t slash = sl_rfind_char(text, '/');
    uint64_t bits = 0;
    bool is_v6;

    *out = (struct net){ 0 };
    out->is_not = sl_take_char(&ip, '!');
    if (slash != SL_NPOS) {
        bits_text = sl_from(text, slash + 1);
        ip.n -= bits_text.n + 1;
    }
    is_v6 = sl_find_char(ip, ':') != SL_NPOS;
    if (is_v6) { /* by hand: a mapped network must keep its 104 bits until it is unmapped */
        char z[INET6_ADDRSTRLEN];

        if (sl_starts(ip, '[') && sl_ends(ip, ']'))
            ip = sl_n(ip.p + 1, ip.n - 2);
        if (ip.n >= sizeof(z))
            return -1;
        memcpy(z, ip.p, ip.n);
        z[ip.n] = '\0';
        out->addr.u.in6.sin6_family = AF_INET6;
        out->addr.len = sizeof(out->addr.u.in6);
        if (inet_pton(AF_INET6, z, &out->addr.u.in6.sin6_addr) != 1)
            return -1;
    } else if (addr_parse_ip(ip, 0, &out->addr)) {
        return -1;
    }
    if (slash == SL_NPOS)
        bits = is_v6 ? 128 : 32;
    else if (!sl_to_u64(bits_text, &bits) || bits > (is_v6 ? 128 : 32))
        return -1;
    out->bits = (unsigned)bits;
    unmap(&out->addr, &out->bits);
    return 0;
}

int
netlist_init(struct netlist *l, const char *param, struct conf_list items, struct err *e)
{
    *l = (struct netlist){ .v = mem_zalloc((items.n + 1) * sizeof(struct net)) };
    for (size_t i = 0; i < items.n; i++)
        if (net_parse(sl_z(items.v[i]), &l->v[l->n++])) {
            netlist_free(l);
            return err_set(e, ERR_CONFIG,
                           "%s: \"%s\" is no network (192.0.2.0/24, [2001:db8::]/32)", param,
                           items.v[i]);
        }
    return 0;
}

void
netlist_free(struct netlist *l)
{
    free(l->v);
    *l = (struct netlist){ 0 };
}

bool
netlist_match(const struct netlist *l, const struct addr *a)
{
    for (size_t i = 0; i < l->n; i++)
        if (addr_in_net(a, &l->v[i].addr, l->v[i].bits))
            return !l->v[i].is_not;
    return false;
}
