/* smtpd/expand.c - a list of addresses to look at, each with the one it came from. An address that an alias gives back as
 * itself is final; one that comes back by a detour is a loop. */
#include "smtpd/expand.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "smtpd/srs.h"

#include <stdlib.h>

struct item {
    struct item *next;
    const struct item *from; /* NULL: RCPT's own */
    struct slice addr;       /* internal, complete; a bare local name when is_name */
    unsigned depth;
    bool is_final; /* no virtual alias any more */
    bool is_name;  /* out of aliases(5): an alias, a user, or an address without its domain */
    bool no_alias; /* a name that is its own alias, or "\name" */
    bool maps_to_itself;
};

struct expansion {
    struct smtpd_rcpt *rcpt; /* being worked on */
    struct item *first, **end, *at;
    size_t n_of_rcpt;      /* results of this recipient */
    struct addr_info info; /* of `at` */
    struct map *seen;      /* final addresses, lower case; which of out they are, from 1 */
    struct queue_rcpt *out;
    size_t n_out, cap_out;
    void (*done)(struct smtpd_sess *s, enum expand_rc rc, const struct queue_rcpt *rcpts, size_t n);
    enum expand_rc rc;
    bool is_running, is_over, must_go_on;
};

static void run(struct smtpd_sess *s, struct expansion *x);

static void
tell(struct smtpd_sess *s, struct expansion *x)
{
    x->done(s, x->rc, x->out, x->n_out);
}

static void
finish(struct smtpd_sess *s, struct expansion *x, enum expand_rc rc)
{
    x->is_over = true;
    x->rc = rc;
    if (!x->is_running)
        tell(s, x);
}

void
expand_free(struct expansion **x)
{
    struct expansion *old = *x;

    *x = NULL;
    if (old == NULL)
        return;
    map_free(&old->seen, NULL);
    free(old->out);
    free(old);
}

static void
give_up(struct smtpd_sess *s, struct expansion *x, enum expand_rc rc, const char *why)
{
    log_event(
        LOG_LV_WARN, s->cfg->cleanup_ident, "alias.error", LOG_F(LF_Z("qid", s->tx->id)),
        "%s: unreasonable alias expansion (%s) for %.*s -- message not accepted, try again later",
        s->tx->id, why, SL_ARG(x->rcpt->addr));
    finish(s, x, rc);
}

static void
lookup_failed(struct smtpd_sess *s, struct expansion *x)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.lookup", LOG_F(LF_Z("qid", s->tx->id)),
              "%s: alias lookup problem for %.*s -- message not accepted, try again later",
              s->tx->id, SL_ARG(x->rcpt->addr));
    finish(s, x, EXPAND_TEMP);
}

/* An alias that names nobody would take the mail away, and nobody would be told. */
static void
leads_nowhere(struct smtpd_sess *s, struct expansion *x)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.nowhere",
              LOG_F(LF_Z("qid", s->tx->id), LF_S("alias", x->at->addr)),
              "%s: alias %.*s leads to no address -- message not accepted, try again later",
              s->tx->id, SL_ARG(x->at->addr));
    finish(s, x, EXPAND_TEMP);
}

/* This address has been dealt with; the next one from the runner's loop. */
static void
next_item(struct smtpd_sess *s, struct expansion *x)
{
    if (x->is_over)
        return;
    x->at = NULL;
    x->must_go_on = true;
    if (!x->is_running)
        run(s, x);
}

/* ---- results ---- */

/* Another recipient leads there, too, and one copy is enough: who wants to be told of it is told (RFC 3461 §4.1; no
 * NOTIFY is to be told of a failure). */
static void
add_notify(struct queue_rcpt *out, const struct smtpd_rcpt *also)
{
    bool has_default = out->notify == 0 || also->notify == 0;

    if (also->notify == out->notify || also->notify == SMTP_NOTIFY_NEVER)
        return;
    if (out->notify == SMTP_NOTIFY_NEVER) {
        out->orig = also->addr;
        out->orcpt = also->orcpt;
        out->notify = also->notify;
        return;
    }
    out->notify |= also->notify | (has_default ? SMTP_NOTIFY_FAILURE : 0);
}

static void
emit(struct smtpd_sess *s, struct expansion *x, struct slice addr)
{
    struct arena *mem = &s->tx->mem;
    struct slice kept = arena_dup(mem, addr);
    char low[SMTP_ADDR_OCTETS_MAX];
    uintptr_t had; /* its place in out, from 1 */
    size_t n = addr.n < sizeof(low) ? addr.n : sizeof(low);

    if (kept.p == NULL || ++x->n_of_rcpt > (size_t)s->cfg->conf->virtual_alias_expansion_limit) {
        give_up(s, x, EXPAND_LOOP, "size");
        return;
    }
    for (size_t i = 0; i < n; i++)
        low[i] = sl_lower_char(addr.p[i]);
    had = (uintptr_t)map_get(x->seen, sl_n(low, n));
    if (had) {
        add_notify(&x->out[had - 1], x->rcpt);
    } else {
        map_set(x->seen, sl_n(low, n), (void *)(uintptr_t)(x->n_out + 1));
        x->out = mem_grow(x->out, &x->cap_out, x->n_out + 1, sizeof(*x->out));
        x->out[x->n_out++] = (struct queue_rcpt){ .addr = kept,
                                                  .orig = x->rcpt->addr,
                                                  .orcpt = x->rcpt->orcpt,
                                                  .notify = x->rcpt->notify,
                                                  .is_forwarded = x->at->from && !x->at->is_name &&
                                                                  !sl_ieq(addr, x->rcpt->addr) };
    }
    next_item(s, x);
}

static bool
add_item(struct smtpd_sess *s, struct expansion *x, const struct item *from, struct slice addr,
         bool is_name)
{
    struct item *i = ARENA_NEW(&s->tx->mem, struct item);

    if (i == NULL)
        return false;
    i->addr = arena_dup(&s->tx->mem, addr);
    if (i->addr.p == NULL)
        return false;
    i->from = from;
    i->is_name = is_name;
    i->depth = from ? from->depth + 1 : 0;
    *x->end = i;
    x->end = &i->next;
    if (from && !is_name && sl_ieq(addr, from->addr))
        i->is_final = true;
    return true;
}

/* The address among those it came from, by a detour: NULL when there is none. */
static const struct item *
find_ancestor(const struct item *i)
{
    for (const struct item *p = i->from; p; p = p->from)
        if (!p->is_name == !i->is_name && sl_ieq(p->addr, i->addr))
            return p;
    return NULL;
}

/* ---- virtual aliases ---- */

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
    if (sl_starts(text, '@')) {
        smtp_addr_split(from, &own, &own_domain);
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
    return add_item(s, x, x->at, addr, false);
}

bool
expand_keeps_extension(const struct smtpd_sess *s)
{
    return conf_list_has(s->cfg->conf->propagate_unmatched_extensions, "virtual");
}

static void local_step(struct smtpd_sess *s, struct expansion *x);

static void
on_virtual(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct item **end = x->end;
    struct slice one;

    if (f == FOUND_TEMP) {
        lookup_failed(s, x);
        return;
    }
    if (f == FOUND_NO) {
        x->at->is_final = true;
        local_step(s, x);
        return;
    }
    if (!expand_keeps_extension(s))
        ext = SL("");
    while (lookup_take_listed(&value, &one))
        if (!add_result(s, x, one, ext)) {
            give_up(s, x, EXPAND_LOOP, "result");
            return;
        }
    if (x->end == end)
        leads_nowhere(s, x);
    else
        next_item(s, x);
}

/* ---- local names ---- */

static void
on_passwd(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct item *from = x->at;
    struct slice addr;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        lookup_failed(s, x);
        return;
    }
    if (f == FOUND_YES) {
        addr = sl_z(arena_printf(&s->smtp.cmd, "%.*s@localhost", SL_ARG(from->addr)));
        emit(s, x, addr);
        return;
    }
    addr = smtp_addr_rewrite(&s->cfg->rules, from->addr,
                             &s->smtp.cmd); /* no user here: the origin's */
    if (!add_item(s, x, from, addr, false))
        give_up(s, x, EXPAND_LOOP, "size");
    else
        next_item(s, x);
}

/* The system's users count where local_recipient_maps names them. */
static void
ask_passwd(struct smtpd_sess *s, struct expansion *x)
{
    struct conf_list l = s->cfg->conf->local_recipient_maps;

    for (size_t i = 0; i < l.n; i++)
        if (sl_has_suffix(sl_z(l.v[i]), SL("unix:passwd.byname"))) {
            find_key(s, l.v[i], x->at->addr, on_passwd, x);
            return;
        }
    on_passwd(s, x, FOUND_NO, SL(""), SL(""));
}

/* An item of aliases(5): an address, a name, "\name" that is no alias. Commands, files and lists are not followed. */
static bool
add_alias_item(struct smtpd_sess *s, struct expansion *x, struct slice text)
{
    struct slice addr;
    struct err e;
    bool as_is = sl_take_char(&text, '\\');

    if (sl_starts(text, '|') || sl_starts(text, '/') || sl_has_prefix(text, SL("\"|")) ||
        sl_has_prefix(text, SL(":"))) {
        log_error("alias.unsupported", LOG_F(LF_S("target", text)),
                  "alias target %.*s: commands, files and :include: are not supported",
                  SL_ARG(text));
        return false;
    }
    if (smtp_path_parse(text, false, &s->smtp.cmd, &addr, &e) != PARSE_OK || addr.n == 0)
        return false;
    if (sl_find_char(addr, '@') != SL_NPOS)
        return add_item(s, x, x->at, addr, false);
    if (!add_item(s, x, x->at, addr, true))
        return false;
    CONTAINER_OF(x->end, struct item, next)->no_alias = as_is || sl_ieq(addr, x->at->addr);
    return true;
}

static void
on_local_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct item **end = x->end;
    struct slice one;

    (void)ext;
    if (f == FOUND_TEMP) {
        lookup_failed(s, x);
        return;
    }
    if (f == FOUND_NO) {
        ask_passwd(s, x);
        return;
    }
    while (lookup_take_listed(&value, &one))
        if (!add_alias_item(s, x, one)) {
            give_up(s, x, EXPAND_LOOP, "alias");
            return;
        }
    if (x->end == end)
        leads_nowhere(s, x);
    else
        next_item(s, x);
}

static void
name_step(struct smtpd_sess *s, struct expansion *x)
{
    if (s->cfg->conf->alias_maps.n && !x->at->no_alias)
        find_key(s, "alias_maps", x->at->addr, on_local_alias, x);
    else
        ask_passwd(s, x);
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

/* No virtual alias any more: here, then aliases(5) has its say. */
static void
local_step(struct smtpd_sess *s, struct expansion *x)
{
    struct slice local, domain, ext;

    if (!x->info.to.is_local) {
        emit(s, x, expand_destination(x->at->addr, &x->info, &s->smtp.cmd));
        return;
    }
    smtp_addr_split(x->info.to.addr, &local, &domain);
    if (sl_ieqz(local,
                s->cfg->conf->double_bounce_sender)) { /* nobody's, and no error: qmgr drops it */
        emit(s, x, x->info.to.addr);
        return;
    }
    ext = find_extension(s->cfg, local);
    local.n -= ext.n;
    if (!add_item(s, x, x->at, local, true))
        give_up(s, x, EXPAND_LOOP, "size");
    else
        next_item(s, x);
}

/* ---- one address ---- */

static void
alias_step(struct smtpd_sess *s, struct expansion *x)
{
    if (x->at->is_final || s->cfg->conf->virtual_alias_maps.n == 0)
        local_step(s, x);
    else
        find_addr(s, "virtual_alias_maps", x->info.to.addr, x->info.to.is_local, on_virtual, x);
}

/* A sender of ours: what was forwarded under it comes back, for the one it stands for. */
static void
on_srs(struct smtpd_sess *s, void *arg, enum srs_verdict v, struct slice value)
{
    struct expansion *x = arg;

    if (v == SRS_UNKNOWN)
        lookup_failed(s, x);
    else if (v != SRS_STANDS) /* nobody's: who checks no recipients bounces it */
        alias_step(s, x);
    else if (add_item(s, x, x->at, value, false))
        next_item(s, x);
    else
        give_up(s, x, EXPAND_LOOP, "size");
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(s, x);
    else if (f == FOUND_NO) /* an alias leads to what is no address: it will bounce */
        emit(s, x, x->at->addr);
    else
        srs_ask(s, x->info.to.addr, on_srs, x);
}

static void
item_step(struct smtpd_sess *s, struct expansion *x)
{
    const struct item *before = x->at->is_final ? NULL : find_ancestor(x->at);

    /* The command's memory holds nothing but what the last address was asked with; a message may have thousands. Whoever is
     * on the stack above has said its last word by calling back. */
    arena_reset(&s->smtp.cmd);

    if (x->at->depth > (unsigned)s->cfg->conf->virtual_alias_recursion_limit ||
        (before && !before->maps_to_itself && !x->at->is_name)) {
        give_up(s, x, EXPAND_LOOP, "nesting");
        return;
    }
    if (before) /* itself again, now for good: the mailbox */
        x->at->is_final = x->at->no_alias = true;
    if (x->at->is_name) {
        name_step(s, x);
        return;
    }
    x->info = (struct addr_info){ .given = x->at->addr };
    find_route(s, &x->info, &s->smtp.cmd, on_route, x);
}

/* REDIRECT: the first recipient's place is taken by this address, which no virtual alias changes any more; the others
 * get nothing. */
static bool
add_redirected(struct smtpd_sess *s, struct expansion *x)
{
    struct slice to = smtp_addr_rewrite(&s->cfg->rules, s->tx->wishes.redirect, &s->smtp.cmd);

    if (!add_item(s, x, NULL, to, false))
        return false;
    x->first->is_final = true;
    return true;
}

static bool
add_recipient(struct smtpd_sess *s, struct expansion *x)
{
    if (s->tx->wishes.redirect.n)
        return add_redirected(s, x);
    return add_item(s, x, NULL, smtp_addr_rewrite(&s->cfg->rules, x->rcpt->addr, &s->smtp.cmd),
                    false);
}

/* The next address of this recipient, or the next recipient's. False: all done. */
static bool
take_item(struct smtpd_sess *s, struct expansion *x)
{
    if (x->first == NULL) {
        if (x->rcpt && s->tx->wishes.redirect.n)
            return false;
        x->rcpt = x->rcpt ? x->rcpt->next : s->tx->first;
        if (x->rcpt == NULL)
            return false;
        x->end = &x->first;
        x->n_of_rcpt = 0;
        if (!add_recipient(s, x)) {
            give_up(s, x, EXPAND_TEMP, "size"); /* never the message without this recipient */
            return false;
        }
    }
    x->at = x->first;
    x->first = x->at->next;
    if (x->first == NULL)
        x->end = &x->first;
    return true;
}

static void
run(struct smtpd_sess *s, struct expansion *x)
{
    x->is_running = true;
    for (;;) {
        x->must_go_on = false;
        if (!take_item(s, x)) { /* all done, or given up */
            x->is_over = true;
            break;
        }
        item_step(s, x);
        if (!x->must_go_on || x->is_over)
            break;
    }
    x->is_running = false;
    if (x->is_over) /* last: with it x may go */
        tell(s, x);
}

void
expand_recipients(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, enum expand_rc rc,
                                                     const struct queue_rcpt *rcpts, size_t n))
{
    struct expansion *x = MEM_NEW(struct expansion);

    expand_free(&s->tx->expansion);
    s->tx->expansion = x;
    x->seen = map_new();
    x->done = done;
    x->end = &x->first;
    run(s, x);
}
