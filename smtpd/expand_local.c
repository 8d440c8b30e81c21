/* smtpd/expand_local.c - names of this host: aliases(5), with its commands, files, lists and owners, and the system's users.
 *
 * Where Postfix would send mail back because main.cf does not allow a command or file, the message is refused: its sender
 * is still there to be told. A list that cannot be read, or that anybody may write, is the operator's trouble: mail for it
 * waits. */
#include "smtpd/expand_int.h"

#include "base/log.h"
#include "proto/alias_item.h"
#include "smtpd/loops.h"

enum { ITEMS_OCTETS = 16 * 1024 * 1024 /* of an alias' or a file's items while they are read */ };

/* ---- users ---- */

static struct slice
bare_name(const struct smtpd_sess *s, struct slice name)
{
    return sl_head(name, name.n - find_extension(s->cfg, name).n);
}

static bool
came_from(const struct item *i, struct slice addr)
{
    for (; i; i = i->from)
        if (i->kind == ITEM_ADDRESS && sl_ieq(i->addr, addr))
            return true;
    return false;
}

/* No user of this host: the address is the origin's. Where it has come from there already it is nobody's, which is said
 * where it is delivered. */
static void
on_passwd(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct item *from = x->at;
    struct slice bare = bare_name(s, from->addr),
                 there = smtp_addr_rewrite(&s->cfg->rules, from->addr, &s->smtp.cmd);

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        expand_lookup_failed(s, x);
    else if (f == FOUND_YES || from->is_again || came_from(from, there))
        (f == FOUND_YES ? expand_emit : expand_end)(
            s, x, sl_z(arena_printf(&s->smtp.cmd, "%.*s@localhost", SL_ARG(bare))));
    else if (!expand_add(s, x, from, there, ITEM_ADDRESS))
        expand_give_up(s, x, EXPAND_LOOP, "size");
    else
        expand_next(s, x);
}

/* The system's users count where local_recipient_maps names them. */
static void
ask_passwd(struct smtpd_sess *s, struct expansion *x)
{
    struct conf_list l = s->cfg->conf->local_recipient_maps;

    for (size_t i = 0; i < l.n; i++)
        if (sl_has_suffix(sl_z(l.v[i]), SL("unix:passwd.byname"))) {
            find_key(s, l.v[i], bare_name(s, x->at->addr), on_passwd, x);
            return;
        }
    on_passwd(s, x, FOUND_NO, SL(""), SL(""));
}

/* ---- what an alias or a list names ---- */

enum added {
    ADDED,
    ADD_FAILED, /* it cannot be followed, or memory is full */
    ADD_OVER    /* the end has been told: nothing is left to look at */
};

/* "joe" with "+x": "joe+x". */
static struct slice
extended(struct slice addr, struct slice ext, struct arena *mem)
{
    struct slice local, domain;

    if (ext.n == 0)
        return addr;
    if (!smtp_addr_split(addr, &local, &domain))
        return arena_join(mem, addr, ext);
    return sl_z(arena_printf(mem, "%.*s%.*s@%.*s", SL_ARG(local), SL_ARG(ext), SL_ARG(domain)));
}

static enum added
add_address(struct smtpd_sess *s, struct expansion *x, const struct alias_item *a, struct slice ext,
            struct arena *mem)
{
    struct slice addr;
    struct item *i;
    struct err e;

    if (smtp_path_parse(a->text, false, mem, &addr, &e) != PARSE_OK || addr.n == 0)
        return ADD_FAILED;
    if (sl_find_char(addr, '@') != SL_NPOS)
        return expand_add(s, x, x->at, extended(addr, ext, mem), ITEM_ADDRESS) ? ADDED : ADD_FAILED;
    i = expand_add(s, x, x->at, extended(addr, ext, mem), ITEM_NAME);
    if (i == NULL)
        return ADD_FAILED;
    i->no_alias = a->as_is || (x->at->kind == ITEM_NAME && sl_ieq(addr, x->at->addr));
    return ADDED;
}

/* The name as an address: "list+ext@here". */
static struct slice
name_address(const struct item *name, struct arena *mem)
{
    const struct item *addr = name;
    struct slice local, domain;

    while (addr->kind != ITEM_ADDRESS)
        addr = addr->from;
    smtp_addr_split(addr->addr, &local, &domain);
    return sl_z(arena_printf(mem, "%.*s@%.*s", SL_ARG(name->addr), SL_ARG(domain)));
}

/* Whose alias it is that `at` belongs to. */
static struct slice
alias_address(struct smtpd_sess *s, const struct expansion *x)
{
    const struct item *name = x->at;

    while (name->kind == ITEM_INCLUDE)
        name = name->from;
    return name_address(name, &s->smtp.cmd);
}

struct slice
expand_led_by(const struct item *i, struct arena *mem)
{
    const struct item *first = NULL;
    struct slice addr;
    char *low;

    for (i = i->from; i; i = i->from)
        if (i->kind == ITEM_NAME && i->is_alias)
            first = i;
    if (first == NULL)
        return SL("");
    addr = name_address(first, mem);
    low = arena_alloc(mem, addr.n);
    for (size_t k = 0; low && k < addr.n; k++)
        low[k] = sl_lower_char(addr.p[k]);
    return low ? sl_n(low, addr.n) : SL("");
}

/* It has been through this alias before. */
static void
end_loop(struct smtpd_sess *s, struct expansion *x, struct slice alias)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.loop",
              LOG_F(LF_Z("qid", s->tx->id), LF_S("alias", alias)),
              "%s: mail forwarding loop for %.*s", s->tx->id, SL_ARG(alias));
    if (expand_result(
            s, x, RCPT_REFUSED, alias,
            sl_z(arena_printf(&s->smtp.cmd, "5.4.6 mail forwarding loop for %.*s", SL_ARG(alias)))))
        expand_next(s, x);
}

/* A command or a file, where main.cf allows it. */
static enum added
add_target(struct smtpd_sess *s, struct expansion *x, const struct alias_item *a)
{
    const struct conf *c = s->cfg->conf;
    bool is_command = a->kind == ALIAS_COMMAND;
    struct conf_list allowed = is_command ? c->allow_mail_to_commands : c->allow_mail_to_files;

    if (!conf_list_has(allowed, x->at->kind == ITEM_INCLUDE ? "include" : "alias")) {
        expand_refuse(s, x,
                      is_command ? "mail to command is restricted" : "mail to file is restricted");
        return ADD_OVER;
    }
    return expand_result(s, x, is_command ? RCPT_COMMAND : RCPT_FILE, alias_address(s, x), a->text)
               ? ADDED
               : ADD_OVER;
}

static enum added
add_include(struct smtpd_sess *s, struct expansion *x, struct slice path)
{
    struct slice way = x->at->kind == ITEM_INCLUDE ? x->at->addr : x->alias;

    way = sl_z(arena_printf(&s->smtp.cmd, "%.*s\t%.*s", SL_ARG(way), SL_ARG(path)));
    return way.p && expand_add(s, x, x->at, way, ITEM_INCLUDE) ? ADDED : ADD_FAILED;
}

static enum added
add_one(struct smtpd_sess *s, struct expansion *x, const struct alias_item *a, struct slice ext,
        struct arena *mem)
{
    switch (a->kind) {
    case ALIAS_ADDRESS:
        return add_address(s, x, a, ext, mem);
    case ALIAS_INCLUDE:
        return add_include(s, x, a->text);
    default:
        return add_target(s, x, a);
    }
}

/* All that an alias' value, or a list, names. */
static void
take_value(struct smtpd_sess *s, struct expansion *x, struct slice value, struct slice ext)
{
    struct arena mem = { .cap = ITEMS_OCTETS };
    struct alias_item a;
    enum alias_rc rc = ALIAS_END;
    enum added added = ADDED;
    size_t n = 0;

    if (!conf_list_has(s->cfg->conf->propagate_unmatched_extensions,
                       x->at->kind == ITEM_INCLUDE ? "include" : "alias"))
        ext = SL("");
    while (added == ADDED && (rc = alias_item_take(&value, &mem, &a)) == ALIAS_ITEM) {
        added = add_one(s, x, &a, ext, &mem);
        n++;
    }
    arena_free(&mem);
    if (added == ADD_OVER)
        return;
    if (added == ADD_FAILED || rc == ALIAS_BAD)
        expand_give_up(s, x, EXPAND_LOOP, "alias");
    else if (n == 0)
        expand_leads_nowhere(s, x);
    else
        expand_next(s, x);
}

/* ---- lists ---- */

static void
on_include(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    const struct item *name = x->at->from;

    (void)ext;
    while (name->kind == ITEM_INCLUDE)
        name = name->from;
    if (f == FOUND_YES && value.n > 0)
        take_value(s, x, value, find_extension(s->cfg, name->addr));
    else if (f == FOUND_YES) /* a list without members is no mistake */
        expand_next(s, x);
    else
        expand_lookup_failed(s, x);
}

void
expand_include(struct smtpd_sess *s, struct expansion *x)
{
    find_key(s, LOOKUP_INCLUDE, x->at->addr, on_include, x);
}

/* ---- owners ---- */

/* "owner-list", or what that leads to, complete. The origin's if that is us, else the domain under which the list was
 * written to: there the alias is. */
static struct slice
owner_address(struct smtpd_sess *s, struct expansion *x, struct slice value)
{
    struct arena *mem = &s->smtp.cmd;
    struct slice owner = sl_z(arena_printf(mem, "owner-%.*s", SL_ARG(x->alias))), local, domain;
    struct alias_item a;
    struct err e;

    if (s->cfg->conf->expand_owner_alias && alias_item_take(&value, mem, &a) == ALIAS_ITEM &&
        a.kind == ALIAS_ADDRESS && smtp_path_parse(a.text, false, mem, &local, &e) == PARSE_OK &&
        local.n > 0)
        owner = local;
    else if (domlist_match(&s->cfg->mydestination, s->cfg->rules.myorigin) != DOMLIST_YES &&
             smtp_addr_split(alias_address(s, x), &local, &domain))
        owner = sl_z(arena_printf(mem, "%.*s@%.*s", SL_ARG(owner), SL_ARG(domain)));
    return smtp_addr_rewrite(&s->cfg->rules, owner, mem);
}

static void
on_owner(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct slice *owner;

    (void)ext;
    if (f == FOUND_TEMP) {
        expand_lookup_failed(s, x);
        return;
    }
    if (f == FOUND_YES) {
        owner = ARENA_NEW(&s->tx->mem, struct slice);
        if (owner)
            *owner = arena_dup(&s->tx->mem, owner_address(s, x, value));
        if (owner == NULL || owner->p == NULL) {
            expand_give_up(s, x, EXPAND_LOOP, "size");
            return;
        }
        x->at->owner = owner;
    }
    take_value(s, x, x->value, x->ext);
}

/* ---- names ---- */

static void
on_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;
    struct arena *mem = &s->smtp.cmd;
    struct slice owner;

    if (f == FOUND_TEMP) {
        expand_lookup_failed(s, x);
        return;
    }
    if (f == FOUND_NO) {
        ask_passwd(s, x);
        return;
    }
    if (s->tx->delivered_to) {
        owner = name_address(x->at, mem);
        if (loops_has(s->tx, owner)) {
            end_loop(s, x, owner);
            return;
        }
    }
    x->is_local = x->at->is_alias = true;
    x->alias = sl_head(x->at->addr, x->at->addr.n - ext.n);
    x->ext = sl_from(x->at->addr, x->alias.n);
    if (!s->cfg->conf->owner_request_special) {
        take_value(s, x, value, x->ext);
        return;
    }
    x->value = arena_dup(mem, value);
    owner = sl_z(arena_printf(mem, "owner-%.*s", SL_ARG(x->alias)));
    if (x->value.p == NULL || owner.p == NULL)
        expand_give_up(s, x, EXPAND_LOOP, "size");
    else
        find_name(s, "alias_maps", owner, false, on_owner, x);
}

void
expand_name(struct smtpd_sess *s, struct expansion *x)
{
    if (s->cfg->conf->alias_maps.n && !x->at->no_alias)
        find_name(s, "alias_maps", x->at->addr, true, on_alias, x);
    else
        ask_passwd(s, x);
}

void
expand_local(struct smtpd_sess *s, struct expansion *x)
{
    struct slice local, domain;

    if (!x->info.to.is_local) {
        expand_end(s, x, expand_destination(x->at->addr, &x->info, &s->smtp.cmd));
        return;
    }
    smtp_addr_split(x->info.to.addr, &local, &domain);
    if (sl_ieqz(local,
                s->cfg->conf->double_bounce_sender)) { /* nobody's, and no error: qmgr drops it */
        expand_emit(s, x, x->info.to.addr);
        return;
    }
    if (!expand_add(s, x, x->at, local, ITEM_NAME))
        expand_give_up(s, x, EXPAND_LOOP, "size");
    else
        expand_next(s, x);
}
