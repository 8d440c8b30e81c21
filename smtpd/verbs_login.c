/* smtpd/verbs_login.c - may this login send as this sender? By smtpd_sender_login_maps, as Postfix has it; and on the
 * submission listeners, where nobody set any, by the aliases: an address is yours when mail to it comes to you. */
#include "smtpd/login.h"

#include "proto/alias_item.h"
#include "proto/lookup_keys.h"
#include "base/log.h"
#include "base/mem.h"
#include "smtpd/expand.h"

enum { ALIASES_FOLLOWED_MAX = 200 }; /* for one sender; who owns an address is few steps away */

/* ---- replies ---- */

static void
not_owned(struct check *c)
{
    check_refuse(c, 553, "5.7.1", "<%.*s>: Sender address rejected: not owned by user %s",
                 SL_ARG(c->about.sender), c->s->sasl_user);
}

static void
lookup_failed(struct check *c)
{
    check_fail(c, 451, "4.3.0", "<%.*s>: Temporary lookup failure", SL_ARG(c->about.sender));
}

/* ---- by aliases ---- */

struct address {
    struct address *next;
    struct slice addr;
    unsigned depth;
};
enum walk_state { WALK_NEXT, WALK_WAITS, WALK_OWNED, WALK_FAILED };
struct walk {
    struct slice login; /* complete */
    struct address *first, **end, *at;
    size_t n;
    struct addr_info info; /* of `at` */
    enum walk_state state;
    bool is_running;
};

static void walk_on(struct check *c);

/* The address is the login's with an extension: mail for it comes to the login, unless it is an alias or a user itself. */
static bool
is_login_extended(const struct check *c, const struct walk *w, struct slice addr)
{
    struct slice local, domain, own, own_domain, ext;

    smtp_addr_split(addr, &local, &domain);
    smtp_addr_split(w->login, &own, &own_domain);
    ext = find_extension(c->s->cfg, local);
    return ext.n > 0 && sl_ieq(domain, own_domain) && sl_ieq(sl_head(local, local.n - ext.n), own);
}

/* Another address to follow. False: it is the login. */
static bool
add_address(struct check *c, struct walk *w, struct slice addr)
{
    struct address *a;

    if (sl_ieq(addr, w->login))
        return false;
    for (a = w->first; a; a = a->next)
        if (sl_ieq(a->addr, addr))
            return true;
    if (w->n >= ALIASES_FOLLOWED_MAX ||
        (w->at && w->at->depth >= (unsigned)c->s->cfg->conf->virtual_alias_recursion_limit))
        return true;
    a = ARENA_NEW(&c->s->smtp.cmd, struct address);
    if (a == NULL)
        return true;
    a->addr = addr;
    a->depth = w->at ? w->at->depth + 1 : 0;
    *w->end = a;
    w->end = &a->next;
    w->n++;
    return true;
}

static void
owned(struct check *c)
{
    if (c->s->tx)
        c->s->tx->sender_is_owned = true;
    check_done(c, VERDICT_DUNNO);
}

static void
nobody_leads(struct check *c)
{
    struct smtpd_sess *s = c->s;

    log_event(LOG_LV_INFO, s->cfg->ident, "login.mismatch",
              LOG_F(LF_Z("login", s->sasl_user), LF_S("from", c->about.sender)),
              "%s: sender <%.*s> is neither the login name %s nor an alias that leads to it: "
              "add such an alias, or set %s_sender_login_maps",
              s->namaddr, SL_ARG(c->about.sender), s->sasl_user,
              s->cfg->service == SMTPD_SUBMISSIONS ? "submissions" : "submission");
    not_owned(c);
}

/* What a table says `at` leads to; false: the login was among it. */
static bool
add_targets(struct check *c, struct walk *w, struct slice value, struct slice ext)
{
    struct slice one, to;

    while (lookup_take_listed(&value, &one))
        if (expand_target(c->s, w->at->addr, one, ext, &to) && to.n > 0 && !add_address(c, w, to))
            return false;
    return true;
}

/* What has come of this address. The walk goes on from its own loop, not down the stack: with the verdict its memory goes. */
static void
become(struct check *c, struct walk *w, enum walk_state state)
{
    w->state = state;
    if (!w->is_running)
        walk_on(c);
}

/* The same of aliases(5). Who is in a list of its own (":include:") does not own the list's address by that. */
static bool
add_names(struct check *c, struct walk *w, struct slice value)
{
    struct alias_item a;
    struct slice to;

    while (alias_item_take(&value, &c->s->smtp.cmd, &a) == ALIAS_ITEM)
        if (a.kind == ALIAS_ADDRESS && expand_target(c->s, w->at->addr, a.text, SL(""), &to) &&
            to.n > 0 && !add_address(c, w, to))
            return false;
    return true;
}

static void
on_local_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct walk *w = arg;

    (void)ext;
    if (f == FOUND_TEMP)
        become(c, w, WALK_FAILED);
    else
        become(c, w, f == FOUND_YES && !add_names(c, w, value) ? WALK_OWNED : WALK_NEXT);
}

static void
on_virtual_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                 struct slice ext)
{
    struct check *c = s->check;
    struct walk *w = arg;
    struct slice local, domain;

    if (!expand_keeps_extension(s))
        ext = SL("");
    if (f == FOUND_TEMP) {
        become(c, w, WALK_FAILED);
    } else if (f == FOUND_YES) {
        become(c, w, add_targets(c, w, value, ext) ? WALK_NEXT : WALK_OWNED);
    } else if (w->info.to.is_local && s->cfg->conf->alias_maps.n > 0) {
        smtp_addr_split(w->info.to.addr, &local, &domain);
        find_name(s, "alias_maps", local, true, on_local_alias, w);
    } else {
        become(c, w, WALK_NEXT);
    }
}

static void
on_extended_user(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                 struct slice ext)
{
    (void)value;
    (void)ext;
    become(s->check, arg, f == FOUND_TEMP ? WALK_FAILED : f == FOUND_NO ? WALK_OWNED : WALK_NEXT);
}

static void
on_extended(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct walk *w = arg;

    (void)ext;
    if (f == FOUND_TEMP)
        become(c, w, WALK_FAILED);
    else if (f == FOUND_YES)
        become(c, w, add_targets(c, w, value, SL("")) ? WALK_NEXT : WALK_OWNED);
    else if (s->cfg->conf->virtual_mailbox_maps.n > 0)
        find_key(s, "virtual_mailbox_maps", w->info.to.addr, on_extended_user, w);
    else
        become(c, w, WALK_OWNED);
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct walk *w = arg;
    bool has_aliases = s->cfg->conf->virtual_alias_maps.n > 0;

    (void)value;
    (void)ext;
    if (f != FOUND_YES)
        become(c, w, f == FOUND_TEMP ? WALK_FAILED : WALK_NEXT);
    else if (sl_ieq(w->info.to.addr, w->login))
        become(c, w, WALK_OWNED);
    else if (is_login_extended(c, w, w->info.to.addr) && has_aliases)
        find_key(s, "virtual_alias_maps", w->info.to.addr, on_extended, w);
    else if (is_login_extended(c, w, w->info.to.addr))
        on_extended(s, w, FOUND_NO, SL(""), SL(""));
    else if (has_aliases)
        find_addr(s, "virtual_alias_maps", w->info.to.addr, w->info.to.is_local, on_virtual_alias,
                  w);
    else
        on_virtual_alias(s, w, FOUND_NO, SL(""), SL(""));
}

static void
walk_on(struct check *c)
{
    struct walk *w = c->own;

    w->is_running = true;
    while (w->state == WALK_NEXT) {
        w->at = w->at ? w->at->next : w->first;
        if (w->at == NULL) {
            nobody_leads(c);
            return;
        }
        w->state = WALK_WAITS;
        w->info = (struct addr_info){ .given = w->at->addr };
        find_route(c->s, &w->info, &c->s->smtp.cmd, on_route, w);
    }
    w->is_running = false;
    if (w->state == WALK_OWNED)
        owned(c);
    else if (w->state == WALK_FAILED)
        lookup_failed(c);
}

static void
walk(struct check *c)
{
    struct arena *mem = &c->s->smtp.cmd;
    struct walk *w = ARENA_NEW(mem, struct walk);

    if (w == NULL) {
        lookup_failed(c);
        return;
    }
    c->own = w;
    w->end = &w->first;
    w->login = smtp_addr_rewrite(&c->s->cfg->rules, sl_z(c->s->sasl_user), mem);
    if (!add_address(c, w, c->addr->to.addr))
        owned(c);
    else
        walk_on(c);
}

/* ---- by tables ---- */

static bool
names_login(struct slice owners, const char *login)
{
    struct slice one;

    while (sl_take_word(&owners, ", \t\r\n", &one))
        if (sl_ieqz(one, login))
            return true;
    return false;
}

/* arg: a sender that no table knows is anybody's. */
static void
on_owners(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(c);
    else if (f == FOUND_YES ? names_login(value, s->sasl_user) : arg != NULL)
        check_done(c, VERDICT_DUNNO);
    else
        not_owned(c);
}

static void
on_any_owner(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(c);
    else if (f == FOUND_NO)
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, 553, "5.7.1", "<%.*s>: Sender address rejected: not logged in",
                     SL_ARG(c->about.sender));
}

static void
ask_owners(struct check *c, find_fn *cb, void *arg)
{
    const struct smtp_resolved *to = &c->addr->to;

    if (to->addr.n == 0) /* it leads nowhere: nobody's */
        cb(c->s, arg, FOUND_NO, SL(""), SL(""));
    else
        find_addr(c->s, c->s->cfg->login_param, to->addr, to->is_local, cb, arg);
}

/* ---- the verbs ---- */

static void
must_own(struct check *c)
{
    if (c->s->cfg->login_param)
        ask_owners(c, on_owners, NULL);
    else if (c->addr->cls == CLASS_OTHER || c->addr->to.addr.n == 0)
        check_done(c, VERDICT_DUNNO); /* other hosts' addresses have no owner here */
    else
        walk(c);
}
static void (*const then_must_own)(struct check *) = must_own;

static void
must_own_known(struct check *c)
{
    if (c->s->cfg->login_param)
        ask_owners(c, on_owners, c);
    else
        must_own(c);
}
static void (*const then_must_own_known)(struct check *) = must_own_known;

static void
must_log_in(struct check *c)
{
    ask_owners(c, on_any_owner, NULL);
}
static void (*const then_must_log_in)(struct check *) = must_log_in;

static void
authenticated(struct check *c, void (*const *then)(struct check *))
{
    const struct smtpd_cfg *g = c->s->cfg;

    if (c->s->sasl_user == NULL || (g->login_param == NULL && !g->login_by_alias) ||
        (g->login_param == NULL && c->s->tx && c->s->tx->sender_is_owned))
        check_done(c, VERDICT_DUNNO);
    else
        check_with_class(c, true, then);
}

static void
unauthenticated(struct check *c)
{
    const struct smtpd_cfg *g = c->s->cfg;

    if (c->s->sasl_user || g->login_param == NULL || !g->sasl_enable)
        check_done(c, VERDICT_DUNNO);
    else
        check_with_class(c, true, &then_must_log_in);
}

void
verb_reject_authenticated_sender_login_mismatch(struct check *c)
{
    authenticated(c, &then_must_own);
}

void
verb_reject_unauthenticated_sender_login_mismatch(struct check *c)
{
    unauthenticated(c);
}

void
verb_reject_sender_login_mismatch(struct check *c)
{
    if (c->s->sasl_user)
        authenticated(c, &then_must_own);
    else
        unauthenticated(c);
}

void
verb_reject_known_sender_login_mismatch(struct check *c)
{
    if (c->s->sasl_user)
        authenticated(c, &then_must_own_known);
    else
        unauthenticated(c);
}

/* ---- the configuration ---- */

static bool
is_mismatch_verb(const struct restrict_step *st)
{
    return st->name && sl_has_isuffix(sl_z(st->name), SL("sender_login_mismatch"));
}

static bool
list_has_one(const struct restrict_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_mismatch_verb(&l->v[i]))
            return true;
    return false;
}

static bool
set_has_one(const struct restrict_set *r)
{
    for (size_t i = 0; i < RESTRICT_LISTS; i++)
        if (list_has_one(&r->lists[i]))
            return true;
    for (size_t i = 0; i < r->n_classes; i++)
        if (list_has_one(&r->classes[i].list))
            return true;
    return false;
}

void
login_set_cfg(struct smtpd_cfg *g)
{
    static const char *const own[SMTPD_SERVICES] = { "smtpd_sender_login_maps",
                                                     "submission_sender_login_maps",
                                                     "submissions_sender_login_maps" };
    static const char name[] = "reject_authenticated_sender_login_mismatch";
    struct restrict_list *l = &g->restrictions.lists[RESTRICT_SENDER];
    struct restrict_step *v;
    bool is_set = conf_line_of(g->conf, own[0]) > 0;

    if (g->service == SMTPD_PICKUP)
        return; /* nobody logs in there */
    if (g->conf->smtpd_sender_login_maps.n > 0)
        g->login_param = conf_user_value(g->conf, own[g->service]) ? own[g->service] : own[0];
    g->login_by_alias = g->service != SMTPD_MX && !is_set;
    if (g->service == SMTPD_MX || !g->sasl_enable || (!g->login_by_alias && g->login_param == NULL))
        return;
    if (g->login_param && set_has_one(&g->restrictions))
        return; /* it has been said where and how they are to be looked at */
    v = arena_alloc(&g->restrictions.mem, (l->n + 1) * sizeof(*v));
    BUG_ON(v == NULL);
    v[0] = (struct restrict_step){ .kind = RESTRICT_VERB,
                                   .needs = NEEDS_SENDER,
                                   .verb = restrict_verb_of(SL(name)),
                                   .name = name };
    if (l->n > 0)
        memcpy(v + 1, l->v, l->n * sizeof(*v));
    l->v = v;
    l->n++;
}
