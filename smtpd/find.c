/* smtpd/find.c - what is asked for a command lives in that command's memory, and goes with it when the session does; only
 * the small record that the look-up client holds on to is on its own. */
#include "smtpd/find.h"

#include "base/mem.h"
#include "proto/hostname.h"
#include "proto/lookup_keys.h"

#include <stdlib.h>

enum { ASKED_DOMAINS_MAX = 8 };

static const struct slice nothing = { "", 0 };

/* ---- one key ---- */

struct key_ask {
    uint64_t id, sess;
    find_fn *cb;
    void *arg;
};

static void
on_key(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct key_ask *k = id_get(id);
    struct smtp_sess *s;

    if (k == NULL)
        return;
    id_del(id);
    s = id_get(k->sess);
    if (s)
        k->cb(smtpd_of(s), k->arg,
              rc == LOOKUP_FOUND      ? FOUND_YES
              : rc == LOOKUP_NOTFOUND ? FOUND_NO
                                      : FOUND_TEMP,
              value, nothing);
    free(k);
}

static uint64_t
key_ask_new(struct smtpd_sess *s, find_fn *cb, void *arg)
{
    struct key_ask *k = MEM_NEW(struct key_ask);

    *k = (struct key_ask){ .id = id_add(k), .sess = s->smtp.id, .cb = cb, .arg = arg };
    return k->id;
}

void
find_key(struct smtpd_sess *s, const char *table, struct slice key, find_fn *cb, void *arg)
{
    lookup_ask(smtpd_env.lookup, table, key, on_key, key_ask_new(s, cb, arg));
}

void
find_part(struct smtpd_sess *s, const char *table, struct slice key, find_fn *cb, void *arg)
{
    lookup_ask_part(smtpd_env.lookup, table, key, on_key, key_ask_new(s, cb, arg));
}

/* ---- a domain in a list ---- */

struct domain_ask {
    const struct domlist *l;
    struct slice domain; /* lives with the asker */
    size_t next;
    find_fn *cb;
    void *arg;
};

static void
on_domain_table(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct domain_ask *d = arg;

    if (f == FOUND_NO) {
        while (d->next < d->l->items.n && !domlist_is_table(d->l->items.v[d->next]))
            d->next++;
        if (d->next < d->l->items.n) {
            find_key(s, d->l->items.v[d->next++], d->domain, on_domain_table, d);
            return;
        }
    }
    d->cb(s, d->arg, f, value, ext);
}

void
find_domain(struct smtpd_sess *s, const struct domlist *l, struct slice domain, find_fn *cb,
            void *arg)
{
    enum domlist_rc rc = domlist_match(l, domain);
    struct domain_ask *d;

    if (rc != DOMLIST_ASK) {
        cb(s, arg, rc == DOMLIST_YES ? FOUND_YES : FOUND_NO, nothing, nothing);
        return;
    }
    if (l->n_tables == l->items.n) { /* authd goes through all of them for one question */
        find_key(s, l->param, domain, cb, arg);
        return;
    }
    d = ARENA_NEW(&s->smtp.cmd, struct domain_ask);
    if (d == NULL) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    *d = (struct domain_ask){ .l = l, .domain = domain, .cb = cb, .arg = arg };
    on_domain_table(s, d, FOUND_NO, nothing, nothing);
}

/* ---- an address in tables ---- */

struct addr_ask {
    const char *param;
    struct lookup_keys keys;
    struct lookup_key key_room[LOOKUP_MAIL_KEYS_MAX];
    struct addr_answer {
        struct addr_ask *up;
        enum found found;
        struct slice value;
    } answers[LOOKUP_MAIL_KEYS_MAX];
    size_t n_open;
    struct slice ext;
    find_fn *cb;
    void *arg;
};

struct slice
find_extension(const struct smtpd_cfg *c, struct slice local)
{
    return lookup_extension(local, c->conf->recipient_delimiter, c->conf->double_bounce_sender);
}

static void
finish_addr(struct smtpd_sess *s, struct addr_ask *a)
{
    enum found f = FOUND_NO;
    struct slice value = nothing, ext = nothing;

    for (size_t i = 0; i < a->keys.n && f == FOUND_NO; i++) {
        f = a->answers[i].found;
        if (f == FOUND_YES) {
            value = a->answers[i].value;
            ext = a->keys.v[i].is_bare ? a->ext : nothing;
        }
    }
    a->cb(s, a->arg, f, value, ext);
}

static void
on_addr_key(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct addr_answer *k = arg;
    struct addr_ask *a = k->up;

    (void)ext;
    k->found = f;
    if (f == FOUND_YES) {
        k->value = arena_dup(&s->smtp.cmd, value);
        if (k->value.p == NULL)
            k->found = FOUND_TEMP;
    }
    if (--a->n_open > 0)
        return;
    if (k == &a->answers[0] && f == FOUND_NO &&
        a->keys.n > 1) { /* most addresses are found at once; the rest side by side */
        a->n_open = a->keys.n - 1;
        for (size_t i = 1; i < a->keys.n; i++)
            (a->keys.v[i].is_part ? find_part : find_key)(s, a->param, a->keys.v[i].key,
                                                          on_addr_key, &a->answers[i]);
        return;
    }
    finish_addr(s, a);
}

void
find_addr(struct smtpd_sess *s, const char *param, struct slice addr, bool is_local, find_fn *cb,
          void *arg)
{
    struct addr_ask *a = ARENA_NEW(&s->smtp.cmd, struct addr_ask);
    struct slice local, domain, own = arena_dup(&s->smtp.cmd, addr);

    if (a == NULL || own.p == NULL) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    smtp_addr_split(own, &local, &domain);
    *a = (struct addr_ask){ .param = param, .cb = cb, .arg = arg };
    a->keys = (struct lookup_keys){ .v = a->key_room, .max = LOOKUP_MAIL_KEYS_MAX };
    a->ext = find_extension(s->cfg, local);
    lookup_keys_mail(&a->keys, own, a->ext, is_local || sl_ieq(domain, s->cfg->rules.myorigin),
                     &s->smtp.cmd);
    if (a->keys.is_full) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    for (size_t i = 0; i < a->keys.n; i++)
        a->answers[i].up = a;
    a->n_open = 1;
    find_key(s, param, a->keys.v[0].key, on_addr_key, &a->answers[0]);
}

/* ---- a name in aliases(5) ---- */

struct name_ask {
    const char *param;
    struct slice bare, ext; /* ext n 0: nothing is left to ask for */
    find_fn *cb;
    void *arg;
};

static void
on_bare_name(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct name_ask *a = arg;

    (void)ext;
    a->cb(s, a->arg, f, value, a->ext);
}

static void
on_name(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct name_ask *a = arg;

    if (f == FOUND_NO && a->ext.n > 0)
        find_part(s, a->param, a->bare, on_bare_name, a);
    else
        a->cb(s, a->arg, f, value, ext);
}

void
find_name(struct smtpd_sess *s, const char *param, struct slice local, bool is_bare_too,
          find_fn *cb, void *arg)
{
    struct arena *mem = &s->smtp.cmd;
    struct name_ask *a = ARENA_NEW(mem, struct name_ask);
    char *low = arena_alloc(mem, local.n + 1);

    if (a == NULL || low == NULL) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    for (size_t i = 0; i < local.n; i++)
        low[i] = sl_lower_char(local.p[i]);
    *a = (struct name_ask){ .param = param, .cb = cb, .arg = arg };
    a->ext = is_bare_too ? find_extension(s->cfg, sl_n(low, local.n)) : nothing;
    a->bare = sl_n(low, local.n - a->ext.n);
    find_key(s, param, sl_n(low, local.n), on_name, a);
}

/* ---- where an address leads ---- */

struct route_ask {
    struct addr_info *a;
    struct arena *mem;
    struct {
        struct slice domain;
        bool is_local;
    } asked[ASKED_DOMAINS_MAX];
    size_t n_asked;
    const struct smtpd_cfg *cfg;
    const struct addr *front; /* the address that the client sees, of a proxy before us; or NULL */
    find_fn *cb;
    void *arg;
};

/* "[192.0.2.1]": one of this host's own addresses. */
static bool
is_own_literal(const struct smtpd_cfg *c, const struct addr *front, struct slice domain)
{
    struct slice ip = sl_n(domain.p + 1, domain.n - 2);
    struct addr a;

    (void)sl_take_iprefix(&ip, SL("IPv6:"));
    if (!hostname_is_literal(domain) || addr_parse_ip(ip, 0, &a))
        return false;
    return own_addrs_has(&c->own, &a) || (front && addr_same_ip(&a, front));
}

static int
is_local(void *arg, struct slice domain)
{
    const struct route_ask *r = arg;

    if (sl_starts(domain, '[') && sl_ends(domain, ']'))
        return is_own_literal(r->cfg, r->front, domain);
    for (size_t i = 0; i < r->n_asked; i++)
        if (sl_ieq(r->asked[i].domain, domain))
            return r->asked[i].is_local;
    switch (domlist_match(&r->cfg->mydestination, hostname_trim_dot(domain))) {
    case DOMLIST_YES:
        return 1;
    case DOMLIST_NO:
        return 0;
    default:
        return -1;
    }
}

static void route_step(struct smtpd_sess *s, struct route_ask *r);

static void
on_local_domain(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct route_ask *r = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        r->cb(s, r->arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    r->asked[r->n_asked - 1].is_local = f == FOUND_YES;
    route_step(s, r);
}

static void
route_step(struct smtpd_sess *s, struct route_ask *r)
{
    struct smtp_addr_rules rules = r->cfg->rules;
    enum smtp_resolve_rc rc;

    rules.is_local = is_local;
    rules.arg = r;
    rc = smtp_addr_resolve(&rules, r->a->given, r->mem, &r->a->to);
    if (rc == SMTP_RESOLVE_ASK && r->n_asked < ASKED_DOMAINS_MAX) {
        r->asked[r->n_asked++].domain = r->a->to.ask;
        find_domain(s, &r->cfg->mydestination, r->a->to.ask, on_local_domain, r);
        return;
    }
    r->cb(s, r->arg, rc == SMTP_RESOLVE_OK ? FOUND_YES : FOUND_NO, nothing, nothing);
}

void
find_route(struct smtpd_sess *s, struct addr_info *a, struct arena *mem, find_fn *cb, void *arg)
{
    struct route_ask *r = ARENA_NEW(&s->smtp.cmd, struct route_ask);

    if (r == NULL) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    *r = (struct route_ask){ .a = a, .mem = mem, .cfg = s->cfg, .cb = cb, .arg = arg };
    if (s->cfg->is_proxied)
        r->front = &s->local;
    route_step(s, r);
}

/* ---- the class ---- */

struct class_ask {
    struct addr_info *a;
    enum found alias, mailbox;
    unsigned n_open;
    find_fn *cb;
    void *arg;
};

static void
finish_class(struct smtpd_sess *s, struct class_ask *k, enum addr_class cls, enum found f)
{
    k->a->cls = cls;
    k->cb(s, k->arg, f, nothing, nothing);
}

static void
on_relay_domain(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        finish_class(s, arg, CLASS_UNKNOWN, FOUND_TEMP);
    else
        finish_class(s, arg, f == FOUND_YES ? CLASS_RELAY : CLASS_OTHER, FOUND_YES);
}

/* In Postfix's order: alias domains, mailbox domains, relay domains. The first two were asked side by side. */
static void
class_answered(struct smtpd_sess *s, struct class_ask *k)
{
    if (--k->n_open > 0)
        return;
    if (k->alias == FOUND_TEMP || (k->alias == FOUND_NO && k->mailbox == FOUND_TEMP))
        finish_class(s, k, CLASS_UNKNOWN, FOUND_TEMP);
    else if (k->alias == FOUND_YES)
        finish_class(s, k, CLASS_ALIAS, FOUND_YES);
    else if (k->mailbox == FOUND_YES)
        finish_class(s, k, CLASS_VIRTUAL, FOUND_YES);
    else
        find_domain(s, &s->cfg->relay_domains, k->a->to.domain, on_relay_domain, k);
}

static void
on_alias_domain(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct class_ask *k = arg;

    (void)value;
    (void)ext;
    k->alias = f;
    class_answered(s, k);
}

static void
on_mailbox_domain(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                  struct slice ext)
{
    struct class_ask *k = arg;

    (void)value;
    (void)ext;
    k->mailbox = f;
    class_answered(s, k);
}

void
find_class(struct smtpd_sess *s, struct addr_info *a, find_fn *cb, void *arg)
{
    struct class_ask *k;

    if (a->to.is_local)
        a->cls = CLASS_LOCAL;
    else if (sl_starts(a->to.domain, '['))
        a->cls = CLASS_OTHER;
    if (a->cls != CLASS_UNKNOWN) {
        cb(s, arg, FOUND_YES, nothing, nothing);
        return;
    }
    k = ARENA_NEW(&s->smtp.cmd, struct class_ask);
    if (k == NULL) {
        cb(s, arg, FOUND_TEMP, nothing, nothing);
        return;
    }
    *k = (struct class_ask){ .a = a, .n_open = 2, .cb = cb, .arg = arg };
    find_domain(s, &s->cfg->alias_domains, a->to.domain, on_alias_domain, k);
    find_domain(s, &s->cfg->mailbox_domains, a->to.domain, on_mailbox_domain, k);
}
