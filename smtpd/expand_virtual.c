/* smtpd/expand_virtual.c - what a virtual alias leads to: virtual(5). */
#include "smtpd/expand_int.h"

#include "proto/lookup_keys.h"

bool
expand_target(struct smtpd_sess *s, struct slice from, struct slice text, struct slice ext,
              struct slice *out)
{
    struct slice addr, local, domain, own, own_domain;
    struct arena *mem = &s->smtp.cmd;
    struct err e;

    *out = SL("");
    if (text.n > (size_t)s->cfg->conf->virtual_alias_address_length_limit)
        return false;
    smtp_addr_split(from, &own, &own_domain);
    if (sl_has_isuffix(own, ext)) { /* in the letters it was written in; the route has lost them */
        ext = sl_from(own, own.n - ext.n);
        own.n -= ext.n;
    }
    if (sl_starts(text, '@')) {
        addr = sl_z(arena_printf(mem, "%.*s%.*s", SL_ARG(own), SL_ARG(text)));
    } else if (smtp_path_parse(text, false, mem, &addr, &e) != PARSE_OK) {
        return false;
    }
    if (addr.n == 0)
        return true;
    addr = smtp_addr_rewrite(&s->cfg->rules, addr, mem);
    if (ext.n) {
        smtp_addr_split(addr, &local, &domain);
        addr = sl_z(arena_printf(mem, "%.*s%.*s@%.*s", SL_ARG(local), SL_ARG(ext), SL_ARG(domain)));
    }
    *out = addr;
    return addr.p != NULL;
}

bool
expand_keeps_extension(const struct smtpd_sess *s)
{
    return conf_list_has(s->cfg->conf->propagate_unmatched_extensions, "virtual");
}

/* One address of a table's value. */
static bool
add_result(struct smtpd_sess *s, struct expansion *x, struct slice text, struct slice ext)
{
    struct slice addr;

    if (!expand_target(s, x->at->addr, text, ext, &addr))
        return false;
    if (addr.n == 0)
        return true;
    if (sl_ieq(addr, x->at->addr))
        x->at->maps_to_itself = true;
    return expand_add(s, x, x->at, addr, ITEM_ADDRESS) != NULL;
}

void
expand_on_virtual(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                  struct slice ext)
{
    struct expansion *x = arg;
    struct item **end = x->end;
    struct slice one;

    if (f == FOUND_TEMP) {
        expand_lookup_failed(s, x);
        return;
    }
    if (f == FOUND_NO) {
        x->at->is_final = true;
        expand_local(s, x);
        return;
    }
    if (!expand_keeps_extension(s))
        ext = SL("");
    while (lookup_take_listed(&value, &one))
        if (!add_result(s, x, one, ext)) {
            expand_give_up(s, x, EXPAND_LOOP, "result");
            return;
        }
    if (x->end == end)
        expand_leads_nowhere(s, x);
    else
        expand_next(s, x);
}

struct slice
expand_destination(struct slice addr, const struct addr_info *a, struct arena *mem)
{
    struct slice local, domain, hidden, to_domain;

    smtp_addr_split(addr, &local, &domain);
    if (sl_ieq(domain, a->to.domain))
        return addr;
    smtp_addr_split(a->to.addr, &hidden, &to_domain);
    for (size_t i = 0; i + hidden.n <= local.n; i++)
        if (sl_ieq(sl_n(local.p + i, hidden.n), hidden)) {
            hidden.p = local.p + i;
            break;
        }
    return sl_z(arena_printf(mem, "%.*s@%.*s", SL_ARG(hidden), SL_ARG(to_domain)));
}
