/* session/domlist.c - see domlist.h. */
#include "session/domlist.h"

#include "proto/idn.h"
bool
domlist_is_table(const char *item)
{
    return strchr(item, ':') != NULL && item[0] != '[' && item[0] != '!';
}

void
domlist_init(struct domlist *l, const char *param, struct conf_list items, bool with_subdomains)
{
    *l = (struct domlist){ .param = param, .items = items, .with_subdomains = with_subdomains };
    for (size_t i = 0; i < items.n; i++)
        l->n_tables += domlist_is_table(items.v[i]);
}

static bool
matches(const struct domlist *l, struct slice item, struct slice domain)
{
    if (sl_ieq(item, domain))
        return true;
    if (sl_starts(item, '.'))
        return sl_has_isuffix(domain, item);
    return l->with_subdomains && domain.n > item.n + 1 && sl_has_isuffix(domain, item) &&
           domain.p[domain.n - item.n - 1] == '.';
}

/* One spelling of both is enough: whatever it is in the list, its A-labels are the same. */
static bool
item_matches(const struct domlist *l, struct slice item, struct slice domain, const struct idn *d)
{
    struct idn other;

    if (matches(l, item, domain))
        return true;
    if (d && (matches(l, item, sl_z(d->ascii)) || matches(l, item, sl_z(d->unicode))))
        return true;
    return d && idn_forms(item, &other) && matches(l, sl_z(other.ascii), sl_z(d->ascii));
}

enum domlist_rc
domlist_match(const struct domlist *l, struct slice domain)
{
    struct idn idn, *d = idn_forms(domain, &idn) ? &idn : NULL;

    for (size_t i = 0; i < l->items.n; i++) {
        struct slice item = sl_z(l->items.v[i]);
        bool is_not = sl_take_char(&item, '!');

        if (!domlist_is_table(l->items.v[i]) && item_matches(l, item, domain, d))
            return is_not ? DOMLIST_NO : DOMLIST_YES;
    }
    return l->n_tables ? DOMLIST_ASK : DOMLIST_NO;
}
