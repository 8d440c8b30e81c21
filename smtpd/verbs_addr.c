/* smtpd/verbs_addr.c - restriction verbs about where an address leads: classes of domains, lists of users, DNS. */
#include "smtpd/check.h"

#include "base/mem.h"
#include "proto/lookup_keys.h"
#include "smtpd/access.h"
#include "smtpd/srs.h"

#include <stdio.h>

static const char *
class_text(const struct check *c)
{
    return c->is_sender ? CLASS_TEXT_SENDER : CLASS_TEXT_RECIPIENT;
}

static void
lookup_failed(struct check *c)
{
    check_fail(c, 451, "4.3.0", "<%.*s>: Temporary lookup failure", SL_ARG(c->addr->given));
}

/* ---- the route and class of the sender or the recipient, worked out once an evaluation ---- */

static void
on_class(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    void (*const *then)(struct check *) = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(c);
    else
        (*then)(c);
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP) {
        lookup_failed(c);
        return;
    }
    if (f == FOUND_NO) /* bad addresses do not come this far; an odd one is nobody's */
        c->addr->cls = CLASS_OTHER;
    find_class(s, c->addr, on_class, arg);
}

void
check_with_class(struct check *c, bool is_sender, void (*const *then)(struct check *))
{
    c->is_sender = is_sender;
    c->addr = is_sender ? &c->sender : &c->rcpt;
    c->addr->given = is_sender ? c->about.sender : c->about.recipient;
    if (is_sender && c->s->tx && sl_eq(c->s->tx->sender.given, c->about.sender))
        c->addr = &c->s->tx->sender; /* known for the whole transaction */
    if (c->addr->to.addr.n)
        find_class(c->s, c->addr, on_class, (void *)(uintptr_t)then);
    else
        find_route(c->s, c->addr, &c->s->smtp.cmd, on_route, (void *)(uintptr_t)then);
}

/* ---- relaying ---- */

bool
check_is_auth_destination(const struct check *c)
{
    if (c->addr->to.is_routed && !c->s->cfg->conf->allow_untrusted_routing)
        return false;
    return c->addr->cls == CLASS_LOCAL || c->addr->cls == CLASS_ALIAS ||
           c->addr->cls == CLASS_VIRTUAL || c->addr->cls == CLASS_RELAY;
}

static void
unauth_destination(struct check *c)
{
    if (check_is_auth_destination(c))
        check_done(c, VERDICT_DUNNO);
    else
        check_refuse(c, c->code, c->esc, "<%.*s>: Relay access denied", SL_ARG(c->about.recipient));
}
static void (*const then_unauth)(struct check *) = unauth_destination;

void
verb_reject_unauth_destination(struct check *c)
{
    c->code = c->s->cfg->conf->relay_domains_reject_code;
    c->esc = "5.7.1";
    check_with_class(c, false, &then_unauth);
}

void
verb_defer_unauth_destination(struct check *c)
{
    c->code = c->s->cfg->conf->relay_domains_reject_code - 100;
    c->esc = "4.7.1";
    check_with_class(c, false, &then_unauth);
}

static void
auth_destination(struct check *c)
{
    check_done(c, check_is_auth_destination(c) ? VERDICT_PERMIT : VERDICT_DUNNO);
}
static void (*const then_auth)(struct check *) = auth_destination;

void
verb_permit_auth_destination(struct check *c)
{
    check_with_class(c, false, &then_auth);
}

static void
relay_domains(struct check *c)
{
    if (check_is_auth_destination(c))
        check_done(c, VERDICT_PERMIT);
    else
        check_refuse(c, c->s->cfg->conf->relay_domains_reject_code, "5.7.1",
                     "<%.*s>: %s rejected: Relay access denied", SL_ARG(c->about.recipient),
                     CLASS_TEXT_RECIPIENT);
}
static void (*const then_relay_domains)(struct check *) = relay_domains;

/* Old configurations have it. */
void
verb_check_relay_domains(struct check *c)
{
    check_with_class(c, false, &then_relay_domains);
}

/* ---- does the domain exist ---- */

static void
unknown_domain(struct check *c)
{
    check_refuse(c, c->s->cfg->conf->unknown_address_reject_code, c->is_sender ? "4.1.8" : "4.1.2",
                 "<%.*s>: %s rejected: Domain not found", SL_ARG(c->addr->given), class_text(c));
}

static void
domain_tempfail(struct check *c)
{
    check_tempfail(c, c->s->cfg->conf->unknown_address_tempfail_action, 450,
                   c->is_sender ? "4.1.8" : "4.1.2", "<%.*s>: %s rejected: Domain not found",
                   SL_ARG(c->addr->given), class_text(c));
}

static void
on_address(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);

    if (c == NULL)
        return;
    if (a->rc == DNS_OK)
        check_done(c, VERDICT_DUNNO);
    else if (a->rc == DNS_TEMP || c->had_trouble)
        domain_tempfail(c);
    else
        unknown_domain(c);
}

static void
on_mx(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);

    if (c == NULL)
        return;
    if (a->rc == DNS_OK && a->n == 1 && a->rrs[0].text.n == 0) { /* RFC 7505 */
        check_refuse(c, c->is_sender ? 550 : 556, c->is_sender ? "4.7.27" : "4.1.10",
                     "<%.*s>: %s rejected: Domain %.*s does not accept mail (nullMX)",
                     SL_ARG(c->addr->given), class_text(c), SL_ARG(c->addr->to.domain));
    } else if (a->rc == DNS_OK) {
        check_done(c, VERDICT_DUNNO);
    } else { /* an address will do, even where the mail exchangers cannot be had just now */
        c->had_trouble = a->rc == DNS_TEMP;
        dns_addr(smtpd_env.dns, c->addr->to.domain, DNS_WANT_A | DNS_WANT_AAAA, on_address, id);
    }
}

static void
unknown_address(struct check *c)
{
    bool is_final =
        c->addr->cls == CLASS_LOCAL || c->addr->cls == CLASS_ALIAS || c->addr->cls == CLASS_VIRTUAL;

    if (is_final || sl_starts(c->addr->to.domain, '['))
        check_done(c, VERDICT_DUNNO);
    else if (sl_has_suffix(c->addr->to.domain, SL(".localhost")))
        unknown_domain(
            c); /* such a name resolves, but only to ourselves, where nobody has that mail (RFC 6761 §6.3) */
    else
        dns_mx(smtpd_env.dns, c->addr->to.domain, on_mx, c->s->smtp.id);
}
static void (*const then_unknown)(struct check *) = unknown_address;

void
verb_reject_unknown_sender_domain(struct check *c)
{
    check_with_class(c, true, &then_unknown);
}

void
verb_reject_unknown_recipient_domain(struct check *c)
{
    check_with_class(c, false, &then_unknown);
}

/* ---- is the user listed ---- */

static void
user_unknown(struct check *c, int64_t code, const char *table)
{
    bool with_table = c->s->cfg->conf->show_user_unknown_table_name;
    const char *esc = !c->is_sender ? "5.1.1" : c->addr->cls == CLASS_ALIAS ? "5.1.7" : "5.1.0";

    check_refuse(c, code, esc, "<%.*s>: %s rejected: User unknown%s%s", SL_ARG(c->addr->given),
                 class_text(c), with_table ? " in " : "", with_table ? table : "");
}

static void
on_users(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    const struct conf *conf = s->cfg->conf;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(c);
    else if (f == FOUND_YES)
        check_done(c, VERDICT_DUNNO);
    else if (c->addr->cls == CLASS_LOCAL)
        user_unknown(c, conf->unknown_local_recipient_reject_code, "local recipient table");
    else if (c->addr->cls == CLASS_VIRTUAL)
        user_unknown(c, conf->unknown_virtual_mailbox_reject_code, "virtual mailbox table");
    else
        user_unknown(c, conf->unknown_relay_recipient_reject_code, "relay recipient table");
}

/* Names that a local system always has. */
static bool
is_system_name(const struct conf *c, struct slice local)
{
    return sl_ieq(local, SL("postmaster")) || sl_ieq(local, SL("mailer-daemon")) ||
           sl_ieqz(local, c->double_bounce_sender);
}

/* No alias: does a table of users have it? */
static void
ask_users(struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;
    struct slice local, domain;

    smtp_addr_split(c->addr->to.addr, &local, &domain);
    if (c->addr->cls == CLASS_ALIAS)
        user_unknown(c, conf->unknown_virtual_alias_reject_code, "virtual alias table");
    else if (c->addr->cls == CLASS_LOCAL && conf->local_recipient_maps.n &&
             !is_system_name(conf, local))
        find_addr(c->s, "local_recipient_maps", c->addr->to.addr, true, on_users, NULL);
    else if (c->addr->cls == CLASS_VIRTUAL && conf->virtual_mailbox_maps.n)
        find_addr(c->s, "virtual_mailbox_maps", c->addr->to.addr, false, on_users, NULL);
    else if (c->addr->cls == CLASS_RELAY && conf->relay_recipient_maps.n)
        find_addr(c->s, "relay_recipient_maps", c->addr->to.addr, false, on_users, NULL);
    else
        check_done(c, VERDICT_DUNNO);
}

/* ---- does its way end here ("error:5.1.1 text")? What would be returned for certain is not taken ---- */

static void
on_transport(struct check *c, struct slice value)
{
    struct slice rest = value, dsn;
    char esc[ACCESS_ESC_OCTETS];

    snprintf(esc, sizeof(esc), "%s", c->is_sender ? "5.1.0" : "5.1.1");
    if (!sl_take_prefix(&rest, SL("error:"))) {
        ask_users(c);
        return;
    }
    rest = value = sl_trim(rest);
    if (sl_take_word(&rest, " ", &dsn) && dsn.n >= 5 && sl_has_prefix(dsn, SL("5.")) &&
        sl_find_char(sl_from(dsn, 2), '.') != SL_NPOS) {
        snprintf(esc, sizeof(esc), "%.*s", SL_ARG(dsn));
        access_dsn_fix(esc, class_text(c));
        value = sl_trim(rest);
    }
    if (value.n == 0)
        value = SL("mail is not accepted for this address");
    check_refuse(c, 550, esc, "<%.*s>: %s rejected: %.*s", SL_ARG(c->addr->given), class_text(c),
                 SL_ARG(value));
}

static struct slice
class_transport(const struct check *c)
{
    const struct conf *conf = c->s->cfg->conf;

    switch (c->addr->cls) {
    case CLASS_LOCAL:
        return sl_z(conf->local_transport);
    case CLASS_VIRTUAL:
        return sl_z(conf->virtual_transport);
    case CLASS_RELAY:
        return sl_z(conf->relay_transport);
    case CLASS_OTHER:
        return sl_z(conf->default_transport);
    default:
        return SL(""); /* an alias' domain: the users' step knows */
    }
}

struct transport_keys {
    struct lookup_keys keys;
    struct lookup_key room[LOOKUP_TRANSPORT_KEYS_MAX];
    size_t at;
};

/* transport(5): the first key that is there; one without a transport leaves the class's. */
static void
on_transport_key(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                 struct slice ext)
{
    struct transport_keys *t = arg;
    const struct lookup_key *k;

    (void)ext;
    value = sl_trim(value);
    if (f == FOUND_TEMP) {
        lookup_failed(s->check);
    } else if (f == FOUND_YES && value.n > 0 && !sl_starts(value, ':')) {
        on_transport(s->check, value);
    } else if (f == FOUND_YES || t->at == t->keys.n) {
        on_transport(s->check, class_transport(s->check));
    } else {
        k = &t->keys.v[t->at++];
        (k->is_part ? find_part : find_key)(s, "transport_maps", k->key, on_transport_key, t);
    }
}

static void
ask_transport(struct check *c)
{
    struct smtpd_sess *s = c->s;
    struct slice local, domain;
    struct transport_keys *t;

    if (s->cfg->conf->transport_maps.n == 0 || c->addr->cls == CLASS_ALIAS) {
        on_transport(c, class_transport(c));
        return;
    }
    t = ARENA_NEW(&s->smtp.cmd, struct transport_keys);
    if (t == NULL) {
        lookup_failed(c);
        return;
    }
    t->keys = (struct lookup_keys){ .v = t->room, .max = LOOKUP_TRANSPORT_KEYS_MAX };
    smtp_addr_split(c->addr->to.addr, &local, &domain);
    lookup_keys_transport(&t->keys, c->addr->to.addr, find_extension(s->cfg, local), &s->smtp.cmd);
    on_transport_key(s, t, t->keys.is_full ? FOUND_TEMP : FOUND_NO, SL(""), SL(""));
}

static void
on_alias(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        lookup_failed(c);
    else if (f == FOUND_YES)
        check_done(c, VERDICT_DUNNO);
    else
        ask_transport(c);
}

/* Who is in a table that maps addresses is known, whatever classes the table is for. In this order. */
static const struct {
    const char *param;
    size_t offset; /* of its list in struct conf */
    bool is_for_senders;
} mapped[] = {
    { "recipient_canonical_maps", offsetof(struct conf, recipient_canonical_maps), false },
    { "sender_canonical_maps", offsetof(struct conf, sender_canonical_maps), true },
    { "canonical_maps", offsetof(struct conf, canonical_maps), false },
    { "virtual_alias_maps", offsetof(struct conf, virtual_alias_maps), false },
};

static void
on_mapped(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    size_t at = (uintptr_t)arg;

    while (f == FOUND_NO && at < COUNT_OF(mapped)) {
        const struct conf_list *maps =
            (const struct conf_list *)(const void *)((const char *)s->cfg->conf +
                                                     mapped[at].offset);
        const char *param = mapped[at].param;
        bool is_for_all = !mapped[at].is_for_senders;

        at++;
        if (maps->n && (is_for_all || c->is_sender)) {
            find_addr(s, param, c->addr->to.addr, c->addr->to.is_local, on_mapped,
                      (void *)(uintptr_t)at);
            return;
        }
    }
    on_alias(s, NULL, f, value, ext);
}

static void
on_srs(struct smtpd_sess *s, void *arg, enum srs_verdict v, struct slice value)
{
    struct check *c = s->check;

    (void)arg;
    (void)value;
    if (v == SRS_UNKNOWN)
        lookup_failed(c);
    else if (v == SRS_STANDS)
        check_done(c, VERDICT_DUNNO);
    else if (v == SRS_TOO_OLD)
        check_refuse(c, 550, c->is_sender ? "5.1.0" : "5.1.1",
                     "<%.*s>: %s rejected: SRS address has expired", SL_ARG(c->addr->given),
                     class_text(c));
    else
        on_mapped(s, NULL, FOUND_NO, SL(""), SL(""));
}

static void
unlisted(struct check *c)
{
    if (c->addr->to.addr.n ==
        0) /* it has no route (VRFY takes anything): nobody's, so nobody's list */
        check_done(c, VERDICT_DUNNO);
    else
        srs_ask(c->s, c->addr->to.addr, on_srs, NULL);
}
static void (*const then_unlisted)(struct check *) = unlisted;

void
check_unlisted_recipient(struct check *c)
{
    c->rcpt_listed = !check_is_warning(c); /* a warning leaves the real check to do */
    check_with_class(c, false, &then_unlisted);
}

void
check_unlisted_sender(struct check *c)
{
    c->sender_listed = !check_is_warning(c);
    check_with_class(c, true, &then_unlisted);
}

void
verb_reject_unlisted_recipient(struct check *c)
{
    if (c->rcpt_listed)
        check_done(c, VERDICT_DUNNO);
    else
        check_unlisted_recipient(c);
}

void
verb_reject_unlisted_sender(struct check *c)
{
    if (c->sender_listed)
        check_done(c, VERDICT_DUNNO);
    else
        check_unlisted_sender(c);
}
