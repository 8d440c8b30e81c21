/* smtpd/hostlist.c */
#include "smtpd/hostlist.h"

#include "base/mem.h"
#include "proto/hostname.h"

#include <stdlib.h>

static int
parse_item(const char *text, struct host *out)
{
    struct slice item = sl_z(text), name;

    *out = (struct host){ .is_not = sl_take_char(&item, '!') };
    if (net_parse(item, &out->net) == 0)
        return 0;
    out->net = (struct net){ 0 };
    out->name = item.p;
    name = item;
    (void)sl_take_char(&name, '.');
    return hostname_is_valid(name) ? 0 : -1;
}

int
hostlist_init(struct hostlist *l, const char *param, struct conf_list items, struct err *e)
{
    *l = (struct hostlist){ .v = mem_zalloc((items.n + 1) * sizeof(struct host)) };
    for (size_t i = 0; i < items.n; i++)
        if (parse_item(items.v[i], &l->v[l->n++])) {
            hostlist_free(l);
            return err_set(e, ERR_CONFIG,
                           "%s: \"%s\" is no address, network or host name (tables are not asked "
                           "here)",
                           param, items.v[i]);
        }
    return 0;
}

void
hostlist_free(struct hostlist *l)
{
    free(l->v);
    *l = (struct hostlist){ 0 };
}

static bool
fits(const struct host *h, struct slice name, const struct addr *a)
{
    struct slice want = sl_z(h->name);

    if (h->name == NULL)
        return addr_in_net(a, &h->net.addr, h->net.bits);
    if (sl_starts(want, '.'))
        return sl_has_isuffix(name, want);
    return sl_ieq(name, want) && !sl_ieq(name, SL("unknown"));
}

bool
hostlist_match(const struct hostlist *l, const char *name, const struct addr *a)
{
    for (size_t i = 0; i < l->n; i++)
        if (fits(&l->v[i], sl_z(name), a))
            return !l->v[i].is_not;
    return false;
}
