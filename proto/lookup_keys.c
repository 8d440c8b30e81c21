/* proto/lookup_keys.c - see lookup_keys.h. */
#include "proto/lookup_keys.h"

#include "proto/smtp_addr.h"

struct slice
lookup_extension(struct slice local, const char *delimiters, const char *double_bounce)
{
    if (sl_ieq(local, SL("postmaster")) || sl_ieq(local, SL("mailer-daemon")) ||
        sl_ieqz(local, double_bounce))
        return SL("");
    if (strchr(delimiters, '-') != NULL &&
        (sl_has_iprefix(local, SL("owner-")) || sl_has_isuffix(local, SL("-request"))))
        return SL("");
    for (size_t i = 1; i < local.n; i++)
        if (local.p[i] != '\0' && strchr(delimiters, local.p[i]) != NULL)
            return sl_from(local, i);
    return SL("");
}

static void
add_key(struct lookup_keys *k, struct slice key, bool is_part, bool is_bare)
{
    if (key.p == NULL || k->n == k->max) {
        k->is_full = true;
        return;
    }
    k->v[k->n++] = (struct lookup_key){ .key = key, .is_part = is_part, .is_bare = is_bare };
}

static void
add(struct lookup_keys *k, struct slice key, bool is_bare)
{
    add_key(k, key, k->n > 0, is_bare);
}

/* An address, or a local part alone: as it is written, and where that has quotes, without them too. */
static void
add_addr(struct lookup_keys *k, struct slice key, bool is_bare, struct arena *mem)
{
    bool is_part = k->n > 0;
    struct slice written = key.p ? smtp_addr_quote(key, mem) : key;

    if (!sl_eq(written, key))
        add_key(k, written, is_part, is_bare);
    add_key(k, key, is_part, is_bare);
}

void
lookup_keys_mail(struct lookup_keys *k, struct slice addr, struct slice ext, bool with_local,
                 struct arena *mem)
{
    struct slice local, domain, bare, at_domain;

    k->n = 0;
    k->is_full = false;
    smtp_addr_split(addr, &local, &domain);
    at_domain = sl_from(addr, local.n);
    bare = sl_head(local, local.n - ext.n);
    add_addr(k, addr, false, mem);
    if (ext.n)
        add_addr(k, arena_join(mem, bare, at_domain), true, mem);
    if (with_local) {
        add_addr(k, local, false, mem);
        if (ext.n)
            add_addr(k, bare, true, mem);
    }
    if (at_domain.n > 1)
        add(k, at_domain, false);
}

void
lookup_keys_transport(struct lookup_keys *k, struct slice addr, struct slice ext, struct arena *mem)
{
    struct slice local, domain;

    k->n = 0;
    k->is_full = false;
    smtp_addr_split(addr, &local, &domain);
    add(k, addr, false);
    if (ext.n)
        add(k, arena_join(mem, sl_head(local, local.n - ext.n), sl_from(addr, local.n)), true);
    if (domain.n)
        add(k, domain, false);
    for (size_t i = 1; i < domain.n; i++)
        if (domain.p[i] == '.' && domain.p[0] != '[')
            add(k, sl_from(domain, i), false);
    add(k, SL("*"), false);
}

bool
lookup_take_listed(struct slice *in, struct slice *out)
{
    size_t i = 0;
    bool quoted = false;

    while (in->n && strchr(", \t\r\n", in->p[0]) != NULL && in->p[0] != '\0')
        *in = sl_from(*in, 1);
    for (; i < in->n; i++) {
        if (in->p[i] == '"')
            quoted = !quoted;
        else if (in->p[i] == '\\' && i + 1 < in->n)
            i++;
        else if (!quoted && in->p[i] != '\0' && strchr(", \t\r\n", in->p[i]) != NULL)
            break;
    }
    *out = sl_head(*in, i);
    *in = sl_from(*in, i);
    return out->n > 0;
}
