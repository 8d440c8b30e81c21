/* queue/report_to.c - see report_to.h. */
#include "queue/report_to.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_addr.h"
#include "queue/qmgr_int.h"

#include <stdlib.h>

enum { ARENA_OCTETS = 1024 * 1024 };

struct search {
    uint64_t id;
    struct arena mem;
    struct slice addrs[REPORT_TO_MAX]; /* [0, at) have been looked at */
    bool is_final[REPORT_TO_MAX];
    size_t n, at;
    struct lookup_key room[LOOKUP_MAIL_KEYS_MAX];
    struct lookup_keys keys;
    struct slice ext;
    size_t at_key;
    bool is_too_much;
    struct timer again;
    void (*fn)(void *arg, const struct slice *v, size_t n);
    void *arg;
};

static void look(struct search *s);

static void
finish(struct search *s)
{
    struct slice out[REPORT_TO_MAX];
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->is_final[i])
            out[n++] = s->addrs[i];
    if (s->is_too_much || n == 0) {
        log_warn("report.alias", LOG_NONE,
                 "virtual_alias_maps: a report for %.*s goes there itself", SL_ARG(s->addrs[0]));
        out[0] = s->addrs[0];
        n = 1;
    }
    s->fn(s->arg, out, n);
    id_del(s->id);
    timer_stop(&s->again);
    arena_free(&s->mem);
    free(s);
}

static void
add(struct search *s, struct slice addr)
{
    for (size_t i = 0; i < s->n; i++)
        if (sl_ieq(s->addrs[i], addr))
            return; /* known: also what ends a loop */
    if (addr.p == NULL || s->n == REPORT_TO_MAX) {
        s->is_too_much = true;
        return;
    }
    s->addrs[s->n++] = addr;
}

/* "u@d", "u", "@d" (the same user there), with the extension that the table did not see. */
static struct slice
target(struct search *s, struct slice text, struct slice ext)
{
    struct slice from_local, from_domain, local, domain, addr = text;

    smtp_addr_split(s->addrs[s->at], &from_local, &from_domain);
    if (!smtp_addr_split(text, &local, &domain)) {
        local = text;
        domain = sl_z(qm.conf->myorigin);
    }
    if (local.n == 0) {
        local = sl_head(from_local, from_local.n - s->ext.n);
        ext = s->ext;
    }
    addr = sl_z(arena_printf(&s->mem, "%.*s%.*s@%.*s", SL_ARG(local), SL_ARG(ext), SL_ARG(domain)));
    return addr;
}

static void
take(struct search *s, struct slice value, bool is_bare)
{
    struct slice ext = is_bare && conf_list_has(qm.conf->propagate_unmatched_extensions, "virtual")
                           ? s->ext
                           : SL(""),
                 one, rest;

    value = arena_dup(&s->mem, value);
    rest = value;
    while (lookup_take_listed(&rest, &one)) {
        struct slice addr = target(s, one, ext);

        if (sl_ieq(addr, s->addrs[s->at]))
            s->is_final[s->at] = true; /* itself: a mailbox */
        else
            add(s, addr);
    }
    s->at++;
    look(s);
}

static void
ask_again(void *arg)
{
    look(arg);
}

static void
on_key(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct search *s = id_get(id);

    if (s == NULL)
        return;
    if (rc == LOOKUP_TEMP) {
        log_warn("report.lookup", LOG_NONE, "virtual_alias_maps lookup problem: a report waits");
        timer_start(&s->again, REPORT_TO_RETRY_MS, ask_again, s);
    } else if (rc == LOOKUP_FOUND) {
        take(s, value, s->keys.v[s->at_key].is_bare);
    } else if (++s->at_key < s->keys.n) {
        (s->keys.v[s->at_key].is_part ? lookup_ask_part : lookup_ask)(
            qm.lookup, "virtual_alias_maps", s->keys.v[s->at_key].key, on_key, s->id);
    } else {
        s->is_final[s->at++] = true;
        look(s);
    }
}

/* The next address, from its first key on. */
static void
look(struct search *s)
{
    struct slice local, domain;

    if (s->at == s->n || s->is_too_much) {
        finish(s);
        return;
    }
    smtp_addr_split(s->addrs[s->at], &local, &domain);
    s->ext = lookup_extension(local, qm.conf->recipient_delimiter, qm.conf->double_bounce_sender);
    s->keys = (struct lookup_keys){ .v = s->room, .max = LOOKUP_MAIL_KEYS_MAX };
    lookup_keys_mail(&s->keys, s->addrs[s->at], s->ext, sl_ieqz(domain, qm.conf->myorigin),
                     &s->mem);
    if (s->keys.is_full) {
        s->is_too_much = true;
        finish(s);
        return;
    }
    s->at_key = 0;
    lookup_ask(qm.lookup, "virtual_alias_maps", s->keys.v[0].key, on_key, s->id);
}

void
report_to_find(struct slice sender, void (*fn)(void *arg, const struct slice *v, size_t n),
               void *arg)
{
    struct search *s;

    if (qm.conf->virtual_alias_maps.n == 0) {
        fn(arg, &sender, 1);
        return;
    }
    s = MEM_NEW(struct search);
    s->id = id_add(s);
    s->mem.cap = ARENA_OCTETS;
    s->fn = fn;
    s->arg = arg;
    add(s, arena_dup(&s->mem, sender));
    look(s);
}
