/* session/masquerade.c - see masquerade.h. */
#include "session/masquerade.h"

#include "proto/smtp_addr.h"

/* "example.com", "!example.com": is domain it, or below it? *is_not: "!" in front, once or any odd number of times. */
static bool
covers(const char *item, struct slice domain, struct slice *parent, bool *is_not)
{
    *parent = sl_z(item);
    *is_not = false;
    while (sl_take_char(parent, '!'))
        *is_not = !*is_not;
    if (parent->n == 0 || !sl_has_isuffix(domain, *parent))
        return false;
    return domain.n == parent->n || domain.p[domain.n - parent->n - 1] == '.';
}

static struct slice
lower(struct slice s, struct arena *mem)
{
    struct slice d = arena_dup(mem, s);
    char *p = (char *)(uintptr_t)d.p;

    for (size_t i = 0; i < d.n; i++)
        p[i] = sl_lower_char(p[i]);
    return d;
}

bool
masquerade(struct conf_list domains, struct slice addr, struct arena *mem, struct slice *out)
{
    struct slice local, domain, parent;
    bool is_not;

    if (!smtp_addr_split(addr, &local, &domain))
        return false;
    for (size_t i = 0; i < domains.n; i++) {
        if (!covers(domains.v[i], domain, &parent, &is_not))
            continue;
        if (is_not || domain.n == parent.n)
            return false;
        *out = arena_join(mem, sl_head(addr, local.n + 1), lower(parent, mem));
        return out->p != NULL;
    }
    return false;
}
