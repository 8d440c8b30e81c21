/* smtpd/expand_end.c - where aliases end. A recipient is refused at RCPT when nobody is there; an alias that leads to nobody
 * is seen only here. What is known to be returned for certain is marked: when nothing else is left of a message, it is
 * refused rather than returned to a sender who may never have sent it. */
#include "smtpd/expand_int.h"

#include "proto/lookup_keys.h"

struct end_ask {
    struct expansion *x;
    struct slice addr; /* the result */
    struct lookup_keys keys;
    struct lookup_key room[LOOKUP_TRANSPORT_KEYS_MAX];
    size_t at;
};

/* Did an alias lead here? Members of a list do not count: whoever owns it hears of them, not the sender. */
static bool
is_led(const struct item *i)
{
    if (i->owner)
        return false;
    for (; i; i = i->from)
        if (i->is_alias || (i->kind == ITEM_ADDRESS && i->from && i->from->kind == ITEM_ADDRESS))
            return true;
    return false;
}

static void
is_unknown(struct smtpd_sess *s, struct end_ask *k, struct slice dsn, struct slice why)
{
    struct expansion *x = k->x;

    x->at->is_unknown = true;
    if (x->unknown == NULL)
        x->unknown = arena_printf(&s->tx->mem, "550 %.*s <%.*s>: Recipient address rejected: %.*s",
                                  SL_ARG(dsn), SL_ARG(x->rcpt->addr), SL_ARG(why));
    expand_emit(s, x, k->addr);
}

static void
no_user(struct smtpd_sess *s, struct end_ask *k, const char *table)
{
    const char *why = s->cfg->conf->show_user_unknown_table_name
                          ? arena_printf(&s->smtp.cmd, "User unknown in %s", table)
                          : "User unknown";

    is_unknown(s, k, SL("5.1.1"), sl_z(why ? why : "User unknown"));
}

static void
on_users(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct end_ask *k = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        expand_lookup_failed(s, k->x);
    else if (f == FOUND_YES)
        expand_emit(s, k->x, k->addr);
    else
        no_user(s, k,
                k->x->info.cls == CLASS_LOCAL ? "local recipient table" : "virtual mailbox table");
}

/* Names that a local system always has. */
static bool
is_system_name(const struct smtpd_sess *s, struct slice local)
{
    return sl_ieqz(local, "postmaster") || sl_ieqz(local, "mailer-daemon") ||
           sl_ieqz(local, s->cfg->conf->double_bounce_sender);
}

/* Only where the mailboxes are ours: another host's users may be more than relay_recipient_maps lists. */
static void
ask_users(struct smtpd_sess *s, struct end_ask *k)
{
    const struct conf *conf = s->cfg->conf;
    const struct addr_info *a = &k->x->info;
    struct slice local, domain;

    smtp_addr_split(a->to.addr, &local, &domain);
    if (a->cls == CLASS_ALIAS)
        no_user(s, k, "virtual alias table");
    else if (a->cls == CLASS_LOCAL && conf->local_recipient_maps.n && !is_system_name(s, local))
        find_addr(s, "local_recipient_maps", a->to.addr, true, on_users, k);
    else if (a->cls == CLASS_VIRTUAL && conf->virtual_mailbox_maps.n)
        find_addr(s, "virtual_mailbox_maps", a->to.addr, false, on_users, k);
    else
        expand_emit(s, k->x, k->addr);
}

/* "error:5.1.2 text" */
static void
on_transport(struct smtpd_sess *s, struct end_ask *k, struct slice value)
{
    struct slice rest, dsn;

    if (!sl_take_prefix(&value, SL("error:"))) {
        ask_users(s, k);
        return;
    }
    rest = value = sl_trim(value);
    if (sl_take_word(&rest, " ", &dsn) && dsn.n >= 5 && sl_has_prefix(dsn, SL("5.")) &&
        sl_find_char(sl_from(dsn, 2), '.') != SL_NPOS)
        value = sl_trim(rest);
    else
        dsn = SL("5.1.1");
    is_unknown(s, k, dsn, value.n ? value : SL("mail is not accepted for this address"));
}

static struct slice
class_transport(const struct conf *c, enum addr_class cls)
{
    return cls == CLASS_LOCAL     ? sl_z(c->local_transport)
           : cls == CLASS_VIRTUAL ? sl_z(c->virtual_transport)
           : cls == CLASS_RELAY   ? sl_z(c->relay_transport)
           : cls == CLASS_OTHER   ? sl_z(c->default_transport)
                                  : SL("");
}

static void
on_key(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct end_ask *k = arg;
    const struct lookup_key *key;

    (void)ext;
    value = sl_trim(value);
    if (f == FOUND_TEMP) {
        expand_lookup_failed(s, k->x);
    } else if (f == FOUND_YES && value.n > 0 && !sl_starts(value, ':')) {
        on_transport(s, k, value);
    } else if (f == FOUND_YES || k->at == k->keys.n) {
        on_transport(s, k, class_transport(s->cfg->conf, k->x->info.cls));
    } else {
        key = &k->keys.v[k->at++];
        (key->is_part ? find_part : find_key)(s, "transport_maps", key->key, on_key, k);
    }
}

static void
on_class(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct end_ask *k = arg;
    const struct addr_info *a = &k->x->info;
    struct slice local, domain;

    (void)value;
    (void)ext;
    if (f != FOUND_TEMP && s->cfg->conf->transport_maps.n && a->cls != CLASS_ALIAS) {
        smtp_addr_split(a->to.addr, &local, &domain);
        lookup_keys_transport(&k->keys, a->to.addr, find_extension(s->cfg, local), &s->smtp.cmd);
    }
    on_key(s, k, f == FOUND_TEMP || k->keys.is_full ? FOUND_TEMP : FOUND_NO, SL(""), SL(""));
}

/* A name of this host: x->info is of some address before it. */
static void
ask_name(struct smtpd_sess *s, struct end_ask *k)
{
    const struct item *from = k->x->at;
    struct slice local, domain;

    while (from->kind != ITEM_ADDRESS)
        from = from->from;
    smtp_addr_split(from->addr, &local, &domain);
    k->x->info = (struct addr_info){ .cls = CLASS_LOCAL };
    k->x->info.to.addr =
        sl_z(arena_printf(&s->smtp.cmd, "%.*s@%.*s", SL_ARG(k->x->at->addr), SL_ARG(domain)));
    if (k->x->info.to.addr.p)
        ask_users(s, k);
    else
        expand_lookup_failed(s, k->x);
}

void
expand_end(struct smtpd_sess *s, struct expansion *x, struct slice addr)
{
    struct end_ask *k;

    /* smtpd_reject_unlisted_recipient = no: what nobody has is taken, and returned, as the operator wants it */
    if (!s->cfg->conf->smtpd_reject_unlisted_recipient || !is_led(x->at) || addr.p == NULL) {
        expand_emit(s, x, addr);
        return;
    }
    k = ARENA_NEW(&s->smtp.cmd, struct end_ask);
    if (k == NULL) {
        expand_lookup_failed(s, x);
        return;
    }
    *k = (struct end_ask){ .x = x, .addr = addr };
    k->keys = (struct lookup_keys){ .v = k->room, .max = LOOKUP_TRANSPORT_KEYS_MAX };
    if (x->at->kind == ITEM_ADDRESS)
        find_class(s, &x->info, on_class, k);
    else
        ask_name(s, k);
}
