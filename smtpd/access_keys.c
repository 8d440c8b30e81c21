/* smtpd/access_keys.c - under which keys access tables are asked, in Postfix's order: access(5). */
#include "smtpd/access.h"

#include "base/mem.h"
#include "proto/hostname.h"
#include "proto/smtp_addr.h"

enum { MAIL_FORMS = 2 /* quoted, bare */, MAIL_LOCAL_KEYS = 4 * MAIL_FORMS };

static int
start(struct access_keys *out, size_t most, struct arena *a)
{
    *out = (struct access_keys){ .v = arena_alloc(a, (most + 1) * sizeof(*out->v)) };
    return out->v ? 0 : -1;
}

static void
add(struct access_keys *out, struct slice key, bool is_part)
{
    if (key.n)
        out->v[out->n++] = (struct access_key){ key, is_part };
}

static size_t
count(struct slice s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == c;
    return n;
}

/* From the second octet on: a leading dot belongs to the key. */
static bool
next_parent(struct slice *name, bool with_parents)
{
    size_t dot = sl_find_char(sl_from(*name, 1), '.');

    if (dot == SL_NPOS)
        return false;
    *name = sl_from(*name, dot + 1 + (with_parents ? 1u : 0u));
    return name->n > 0;
}

static void
add_domain(struct access_keys *out, struct slice name, bool with_parents, bool is_part)
{
    if (name.n == 0)
        return;
    do {
        add(out, name, is_part);
        is_part = true;
    } while (next_parent(&name, with_parents));
}

int
access_keys_domain(struct slice name, bool with_parents, struct arena *a, struct access_keys *out)
{
    if (start(out, count(name, '.') + 1, a))
        return -1;
    if (hostname_is_ipv4(name) || hostname_is_ipv6(name))
        add(out, name, false);
    else
        add_domain(out, name, with_parents, false);
    return 0;
}

int
access_keys_ip(struct slice ip, struct arena *a, struct access_keys *out)
{
    char delim = sl_find_char(ip, ':') != SL_NPOS ? ':' : '.';
    size_t at;

    if (start(out, count(ip, delim) + 1, a))
        return -1;
    add(out, ip, false);
    while ((at = sl_rfind_char(ip, delim)) != SL_NPOS) {
        ip = sl_head(ip, at);
        add(out, ip, true);
    }
    return 0;
}

/* In quotes where it needs them, then as it is. */
static void
add_mail(struct access_keys *out, struct slice local, struct slice rest, bool is_part,
         struct arena *a)
{
    struct slice bare = arena_join(a, local, rest), with_domain = arena_join(a, local, SL("@x")),
                 quoted;

    quoted = smtp_addr_quote(with_domain, a);
    if (quoted.n > 2)
        quoted = arena_join(a, sl_head(quoted, quoted.n - 2), rest);
    add(out, quoted, is_part);
    if (!sl_eq(quoted, bare))
        add(out, bare, is_part);
}

int
access_keys_mail(struct slice addr, size_t ext, bool with_parents, struct arena *a,
                 struct access_keys *out)
{
    struct slice local, domain, whole, at_domain;

    if (!smtp_addr_split(addr, &local, &domain) ||
        start(out, count(domain, '.') + 1 + MAIL_LOCAL_KEYS, a))
        return -1;
    at_domain = sl_from(addr, local.n);
    whole = local;
    local = sl_head(local, local.n - ext);
    add_mail(out, whole, at_domain, false, a);
    if (ext)
        add_mail(out, local, at_domain, true, a);
    add_domain(out, domain, with_parents, true);
    add_mail(out, whole, SL("@"), true, a);
    if (ext)
        add_mail(out, local, SL("@"), true, a);
    return 0;
}
