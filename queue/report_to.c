/* queue/report_to.c - see report_to.h. */
#include "queue/report_to.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/alias_item.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_addr.h"
#include "queue/qmgr_int.h"
#include "session/domlist.h"

#include <stdlib.h>

enum { ARENA_OCTETS = 1024 * 1024 };

struct place {
    struct queue_rcpt to;
    bool is_final, no_virtual, no_alias;
};

struct search {
    uint64_t id;
    struct conf *conf; /* the one the search began with: lists and tables are its */
    struct arena mem;
    struct place *v; /* [0, at) have been looked at */
    size_t n, cap, at;
    bool is_too_much;
    struct lookup_key room[LOOKUP_MAIL_KEYS_MAX];
    struct lookup_keys keys;
    struct slice local, domain, ext; /* of v[at] */
    /* the table being asked */
    const char *param;
    struct slice key;
    bool is_part;
    size_t at_key;
    struct domlist domains;
    size_t at_domain;
    void (*then)(struct search *s, bool is_found, struct slice value);
    void (*then_domain)(struct search *s, bool is_listed);
    struct timer again;
    void (*fn)(void *arg, const struct queue_rcpt *v, size_t n);
    void *arg;
};

static void look(struct search *s);
static void begin(struct search *s);

static void
finish(struct search *s)
{
    struct queue_rcpt *out = mem_alloc((s->n + 1) * sizeof *out);
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].is_final)
            out[n++] = s->v[i].to;
    if (s->is_too_much || n == 0) {
        log_warn("report.alias", LOG_F(LF_S("for", s->v[0].to.addr)),
                 "the aliases of %.*s cannot be followed: a report goes there itself",
                 SL_ARG(s->v[0].to.addr));
        out[0] = s->v[0].to;
        n = 1;
    }
    s->fn(s->arg, out, n);
    id_del(s->id);
    timer_stop(&s->again);
    conf_unref(&s->conf);
    arena_free(&s->mem);
    free(out);
    free(s->v);
    free(s);
}

/* The queue takes no other address, and a report that it does not take would be written for ever. */
static bool
is_good(struct slice addr)
{
    for (size_t i = 0; i < addr.n; i++)
        if ((unsigned char)addr.p[i] < 0x20 || addr.p[i] == 0x7f)
            return false;
    return addr.n > 0;
}

static struct place *
add(struct search *s, struct slice addr)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].to.kind == RCPT_ADDRESS && sl_ieq(s->v[i].to.addr, addr))
            return NULL; /* known: also what ends a loop */
    if (addr.p == NULL || s->n == REPORT_TO_MAX) {
        s->is_too_much = true;
        return NULL;
    }
    if (s->n > 0 && !is_good(addr)) {
        log_warn("report.alias", LOG_F(LF_S("target", addr)),
                 "a report is not given to what an alias of %.*s names: bad address syntax",
                 SL_ARG(s->v[0].to.addr));
        return NULL;
    }
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
    s->v[s->n] = (struct place){ .to = { .addr = addr } };
    return &s->v[s->n++];
}

static void
next(struct search *s)
{
    s->at++;
    look(s);
}

static void
is_mailbox(struct search *s)
{
    s->v[s->at].is_final = true;
    next(s);
}

/* ---- asking ---- */

static void ask_now(struct search *s);

/* Tables that main.cf does not name any more are not answered for: from the beginning, where it was changed since. */
static void
ask_again(void *arg)
{
    struct search *s = arg;

    if (s->conf == qm.conf) {
        ask_now(s);
        return;
    }
    conf_unref(&s->conf);
    s->n = 1;
    begin(s);
}

static void
on_answer(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct search *s = id_get(id);

    if (s == NULL)
        return;
    if (rc == LOOKUP_TEMP) {
        log_warn("report.lookup", LOG_F(LF_Z("map", s->param)), "%s lookup problem: a report waits",
                 s->param);
        timer_start(&s->again, REPORT_TO_RETRY_MS, ask_again, s);
        return;
    }
    value = rc == LOOKUP_FOUND ? arena_dup(&s->mem, value) : SL("");
    s->is_too_much = s->is_too_much || value.p == NULL;
    s->then(s, rc == LOOKUP_FOUND, value);
}

static void
ask_now(struct search *s)
{
    (s->is_part ? lookup_ask_part : lookup_ask)(qm.lookup, s->param, s->key, on_answer, s->id);
}

static void
ask(struct search *s, const char *param, struct slice key, bool is_part,
    void (*then)(struct search *s, bool is_found, struct slice value))
{
    s->param = param;
    s->key = key;
    s->is_part = is_part;
    s->then = then;
    ask_now(s);
}

static void
next_domain_table(struct search *s, bool is_found, struct slice value)
{
    const struct conf_list *l = &s->domains.items;

    (void)value;
    while (!is_found && s->at_domain < l->n && !domlist_is_table(l->v[s->at_domain]))
        s->at_domain++;
    if (is_found || s->at_domain == l->n)
        s->then_domain(s, is_found);
    else
        ask(s, l->v[s->at_domain++], s->domain, false, next_domain_table);
}

/* Is the domain in this list? */
static void
ask_domain(struct search *s, const char *param, struct conf_list items,
           void (*then)(struct search *s, bool is_listed))
{
    enum domlist_rc rc;

    domlist_init(&s->domains, param, items, false);
    rc = domlist_match(&s->domains, s->domain);
    s->then_domain = then;
    s->at_domain = 0;
    if (rc == DOMLIST_ASK)
        next_domain_table(s, false, SL(""));
    else
        then(s, rc == DOMLIST_YES);
}

/* ---- aliases(5) ---- */

/* A name, or an address. Out of a list of names that main.cf does not allow, or of a file of them: not here. */
static void
add_alias(struct search *s, const struct alias_item *item)
{
    struct slice addr, local, domain;
    struct place *p;
    struct err e;

    if (item->kind != ALIAS_ADDRESS) {
        log_warn("report.alias", LOG_F(LF_S("target", item->text)),
                 "a report is not given to what the alias %.*s names: %.*s", SL_ARG(s->local),
                 SL_ARG(item->text));
        return;
    }
    if (smtp_path_parse(item->text, false, &s->mem, &addr, &e) != PARSE_OK || addr.n == 0)
        return;
    if (!smtp_addr_split(addr, &local, &domain))
        addr = sl_z(arena_printf(&s->mem, "%.*s@%.*s", SL_ARG(addr), SL_ARG(s->domain)));
    if (sl_ieq(addr, s->v[s->at].to.addr)) {
        s->v[s->at].is_final = true; /* itself: a mailbox */
        return;
    }
    p = add(s, addr);
    if (p)
        p->no_virtual = p->no_alias = item->as_is;
}

static void on_root(struct search *s, bool is_found, struct slice value);

static void
on_alias(struct search *s, bool is_found, struct slice value)
{
    struct alias_item item;
    size_t before = s->n;

    if (!is_found && sl_ieqz(s->local, "postmaster")) {
        ask(s, "alias_maps", SL("root"), false, on_root);
        return;
    }
    while (is_found && alias_item_take(&value, &s->mem, &item) == ALIAS_ITEM)
        add_alias(s, &item);
    if (s->n == before)
        s->v[s->at].is_final = true;
    next(s);
}

static void
on_root(struct search *s, bool is_found, struct slice value)
{
    if (is_found)
        on_alias(s, true, value);
    else
        is_mailbox(s);
}

static void
ask_alias(struct search *s)
{
    s->local = sl_head(s->local, s->local.n - s->ext.n);
    if (s->conf->alias_maps.n == 0 || s->v[s->at].no_alias)
        is_mailbox(s);
    else
        ask(s, "alias_maps", s->local, false, on_alias);
}

/* ---- whose is the domain? ---- */

static void
on_mailbox(struct search *s, bool is_found, struct slice value)
{
    (void)value;
    if (is_found)
        is_mailbox(s);
    else
        ask_alias(s);
}

static void
on_virtual_domain(struct search *s, bool is_listed)
{
    if (is_listed)
        ask(s, "virtual_mailbox_maps", s->v[s->at].to.addr, false, on_mailbox);
    else
        is_mailbox(s);
}

static void
on_local_domain(struct search *s, bool is_listed)
{
    if (is_listed)
        ask_alias(s);
    else if (sl_ieqz(s->local, "postmaster") && s->conf->virtual_mailbox_maps.n > 0)
        ask_domain(s, "virtual_mailbox_domains", s->conf->virtual_mailbox_domains,
                   on_virtual_domain);
    else
        is_mailbox(s);
}

static void
find_domain(struct search *s)
{
    ask_domain(s, "mydestination", s->conf->mydestination, on_local_domain);
}

/* ---- virtual(5) ---- */

/* "u@d", "u", "@d" (the same user there), with the extension that the table did not see. */
static struct slice
target(struct search *s, struct slice text, struct slice ext)
{
    struct slice local, domain;
    struct err e;

    if (!sl_starts(text, '@') &&
        (smtp_path_parse(text, false, &s->mem, &text, &e) != PARSE_OK || text.n == 0))
        return SL("");
    if (!smtp_addr_split(text, &local, &domain)) {
        local = text;
        domain = sl_z(s->conf->myorigin);
    }
    if (local.n == 0) {
        local = sl_head(s->local, s->local.n - s->ext.n);
        ext = s->ext;
    }
    return sl_z(arena_printf(&s->mem, "%.*s%.*s@%.*s", SL_ARG(local), SL_ARG(ext), SL_ARG(domain)));
}

static void
take(struct search *s, struct slice value, bool is_bare)
{
    struct slice ext = is_bare && conf_list_has(s->conf->propagate_unmatched_extensions, "virtual")
                           ? s->ext
                           : SL(""),
                 one;
    bool is_itself = false;

    while (lookup_take_listed(&value, &one)) {
        struct slice addr = target(s, one, ext);

        if (sl_ieq(addr, s->v[s->at].to.addr))
            is_itself = true;
        else
            add(s, addr);
    }
    if (is_itself)
        find_domain(s);
    else
        next(s);
}

static void
on_virtual(struct search *s, bool is_found, struct slice value)
{
    const struct lookup_key *k = &s->keys.v[s->at_key];

    if (is_found) {
        take(s, value, k->is_bare);
    } else if (++s->at_key < s->keys.n) {
        k++;
        ask(s, "virtual_alias_maps", k->key, k->is_part, on_virtual);
    } else {
        find_domain(s);
    }
}

/* The next address, from its first key on. */
static void
look(struct search *s)
{
    struct slice addr;

    if (s->at == s->n || s->is_too_much) {
        finish(s);
        return;
    }
    addr = s->v[s->at].to.addr;
    smtp_addr_split(addr, &s->local, &s->domain);
    s->ext =
        lookup_extension(s->local, s->conf->recipient_delimiter, s->conf->double_bounce_sender);
    if (s->conf->virtual_alias_maps.n == 0 || s->v[s->at].no_virtual) {
        find_domain(s);
        return;
    }
    s->keys = (struct lookup_keys){ .v = s->room, .max = LOOKUP_MAIL_KEYS_MAX };
    lookup_keys_mail(&s->keys, addr, s->ext, sl_ieqz(s->domain, s->conf->myorigin), &s->mem);
    if (s->keys.is_full) {
        s->is_too_much = true;
        finish(s);
        return;
    }
    s->at_key = 0;
    ask(s, "virtual_alias_maps", s->keys.v[0].key, s->keys.v[0].is_part, on_virtual);
}

static void
begin(struct search *s)
{
    s->conf = conf_ref(qm.conf);
    s->at = 0;
    s->v[0].is_final = s->is_too_much = false;
    look(s);
}

void
report_to_find(struct slice sender, void (*fn)(void *arg, const struct queue_rcpt *v, size_t n),
               void *arg)
{
    struct search *s = MEM_NEW(struct search);

    s->id = id_add(s);
    s->mem.cap = ARENA_OCTETS;
    s->fn = fn;
    s->arg = arg;
    s->mem.cap += sender.n;
    add(s, arena_dup(&s->mem, sender));
    begin(s);
}
