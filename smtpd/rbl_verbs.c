/* smtpd/rbl_verbs.c - the restrictions that ask DNS lists. Those that refuse go on where a list cannot be asked; those that
 * permit make what is refused later a deferral. */
#include "smtpd/rbl.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>

/* One verb under way. */
struct list_verb {
    struct rbl_ask ask; /* first: c->own is both */
    struct slice arg, what;
    const char *reply_class;
    bool is_permit, is_addr;
    size_t next; /* of maps_rbl_domains */
};

static bool
begin(struct check *c, struct slice arg, struct slice what, const char *reply_class)
{
    struct list_verb *v = ARENA_NEW(&c->s->smtp.cmd, struct list_verb);

    c->own = v;
    if (v == NULL) {
        check_server_error(c);
        return false;
    }
    v->arg = arg;
    v->what = what;
    v->reply_class = reply_class;
    return true;
}

/* The zone and filter of v->arg, and the name to ask for; false when there is nothing to ask. */
static bool
aim(struct check *c)
{
    struct list_verb *v = c->own;
    struct slice zone;
    struct err e = { 0 };

    if (rbl_filter_parse(v->arg, &zone, &v->ask.filter, &e) <
        0) { /* a table's; main.cf's were checked */
        log_event(LOG_LV_WARN, c->s->cfg->ident, "rbl.argument", LOG_F(LF_S("arg", v->arg)),
                  "bad block list argument \"%.*s\": %s", SL_ARG(v->arg), e.msg);
        return false;
    }
    return v->is_addr ? rbl_name_of_addr(&c->s->peer, zone, v->ask.name)
                      : rbl_name_of_domain(v->what, zone, v->ask.name);
}

/* ---- refusing ---- */

static void
block_answer(struct check *c, enum rbl_found f, struct slice reason)
{
    struct list_verb *v = c->own;

    if (f == RBL_LISTED)
        rbl_refuse(c, v->arg, v->what, v->reply_class, reason);
    else
        check_done(c, VERDICT_DUNNO);
}

/* The block lists right after this one, up to anything else. Most clients are on none, so all of them will be asked. */
static void
ask_rest_ahead(struct check *c)
{
    const struct restrict_step *st;

    for (size_t i = 0; i < RBL_AHEAD_MAX && (st = check_step_ahead(c, i)) != NULL; i++) {
        char name[DNS_NAME_OCTETS];
        struct rbl_filter filter;
        struct slice zone;
        struct err e = { 0 };

        if (st->kind != RESTRICT_VERB || (!sl_ieqz(sl_z(st->name), "reject_rbl_client") &&
                                          !sl_ieqz(sl_z(st->name), "reject_rbl")))
            break;
        if (rbl_filter_parse(sl_z(st->arg), &zone, &filter, &e) == 0 &&
            rbl_name_of_addr(&c->s->peer, zone, name))
            rbl_ask_ahead(c->s, name);
    }
}

static void
block(struct check *c, struct slice what, const char *reply_class, bool is_addr)
{
    struct list_verb *v;

    if (!begin(c, sl_z(c->arg), what, reply_class))
        return;
    v = c->own;
    v->is_addr = is_addr;
    v->ask.want_reason = true;
    v->ask.done = block_answer;
    if (is_addr)
        ask_rest_ahead(c);
    if (aim(c))
        rbl_ask(c, &v->ask);
    else
        check_done(c, VERDICT_DUNNO);
}

static struct slice
client_ip(struct check *c)
{
    char ip[ADDR_TEXT_OCTETS];

    return arena_dup(&c->s->smtp.cmd, sl_z(addr_ip_text(&c->s->peer, ip)));
}

void
verb_reject_rbl_client(struct check *c)
{
    block(c, client_ip(c), CLASS_TEXT_CLIENT, true);
}

void
verb_reject_rhsbl_client(struct check *c)
{
    if (sl_ieq(sl_z(c->s->name), SL("unknown")))
        check_done(c, VERDICT_DUNNO);
    else
        block(c, sl_z(c->s->name), CLASS_TEXT_CLIENT, false);
}

void
verb_reject_rhsbl_reverse_client(struct check *c)
{
    if (sl_ieq(sl_z(c->s->reverse_name), SL("unknown")))
        check_done(c, VERDICT_DUNNO);
    else
        block(c, sl_z(c->s->reverse_name), CLASS_TEXT_REVERSE, false);
}

void
verb_reject_rhsbl_helo(struct check *c)
{
    block(c, sl_z(c->about.helo), CLASS_TEXT_HELO, false);
}

void
verb_reject_rhsbl_sender(struct check *c)
{
    block(c, c->about.sender, CLASS_TEXT_SENDER, false);
}

void
verb_reject_rhsbl_recipient(struct check *c)
{
    block(c, c->about.recipient, CLASS_TEXT_RECIPIENT, false);
}

/* ---- reject_maps_rbl: the zones of maps_rbl_domains, one after the other ---- */

static void next_of_maps(struct check *c);

static void
maps_answer(struct check *c, enum rbl_found f, struct slice reason)
{
    struct list_verb *v = c->own;

    if (f == RBL_LISTED)
        rbl_refuse(c, v->arg, v->what, v->reply_class, reason);
    else
        next_of_maps(c);
}

static void
next_of_maps(struct check *c)
{
    struct conf_list zones = c->s->cfg->conf->maps_rbl_domains;
    struct list_verb *v = c->own;

    while (v->next < zones.n) {
        v->arg = sl_z(zones.v[v->next++]);
        if (aim(c)) {
            rbl_ask(c, &v->ask);
            return;
        }
    }
    check_done(c, VERDICT_DUNNO);
}

void
verb_reject_maps_rbl(struct check *c)
{
    struct list_verb *v;

    if (!begin(c, SL(""), client_ip(c), CLASS_TEXT_CLIENT))
        return;
    v = c->own;
    v->is_addr = true;
    v->ask.want_reason = true;
    v->ask.done = maps_answer;
    next_of_maps(c);
}

/* ---- permitting ---- */

static void
permit_answer(struct check *c, enum rbl_found f, struct slice reason)
{
    struct list_verb *v = c->own;

    (void)reason;
    if (f == RBL_TROUBLE) {
        check_defer_if_reject(c, 450, "4.7.1", "<%.*s>: %s rejected: Service unavailable",
                              SL_ARG(v->what), v->reply_class);
        return;
    }
    check_done(c, f == RBL_LISTED ? VERDICT_PERMIT : VERDICT_DUNNO);
}

static void
permit_safely(struct check *c)
{
    struct list_verb *v = c->own;
    /* whoever is on a list may not relay for it */
    bool is_unsafe =
        c->stage == STAGE_RCPT && c->about.recipient.p && !check_is_auth_destination(c);

    if (!is_unsafe && aim(c))
        rbl_ask(c, &v->ask);
    else
        check_done(c, VERDICT_DUNNO);
}
static void (*const then_permit)(struct check *) = permit_safely;

static void
permit(struct check *c, struct slice what, bool is_addr)
{
    struct list_verb *v;

    if (!begin(c, sl_z(c->arg), what, CLASS_TEXT_CLIENT))
        return;
    v = c->own;
    v->is_addr = is_addr;
    v->ask.done = permit_answer;
    if (c->stage == STAGE_RCPT && c->about.recipient.p)
        check_with_class(c, false, &then_permit);
    else
        permit_safely(c);
}

void
verb_permit_dnswl_client(struct check *c)
{
    permit(c, client_ip(c), true);
}

void
verb_permit_rhswl_client(struct check *c)
{
    if (sl_ieq(sl_z(c->s->name), SL("unknown")))
        check_done(c, VERDICT_DUNNO);
    else
        permit(c, sl_z(c->s->name), false);
}
