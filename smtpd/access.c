/* smtpd/access.c - check_*_access: tables of clients, names and addresses. The keys and their order are access(5)'s. */
#include "smtpd/access_int.h"

#include "base/log.h"

/* What Postfix makes of a table that cannot be asked. */
#define ACCESS_TROUBLE "451 4.3.5 Server configuration error"

/* ---- one key after the other ---- */

struct walk { /* in the command's memory */
    struct access_keys keys;
    size_t at;
    bool keeps_case;
    void (*missed)(struct check *c);
};

/* Tables have keys in lower case; a pattern sees what the client said. */
static bool
keeps_case(const char *table)
{
    struct slice name = sl_z(table);

    (void)sl_take_prefix(&name, SL("proxy:"));
    return sl_has_prefix(name, SL("regexp:")) || sl_has_prefix(name, SL("pcre:"));
}

static struct slice
lower(struct check *c, struct slice key)
{
    char *p = arena_alloc(&c->s->smtp.cmd, key.n + 1);

    for (size_t i = 0; p && i < key.n; i++)
        p[i] = sl_lower_char(key.p[i]);
    return p ? sl_n(p, key.n) : key;
}

static void
on_value(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct walk *w = arg;
    const struct access_key *k = &w->keys.v[w->at];
    struct slice key;

    (void)ext;
    if (f == FOUND_YES) {
        check_action(c, value, c->step->table.name, w->keys.v[0].key);
        return;
    }
    if (f == FOUND_TEMP) { /* authd has said why */
        check_action(c, SL(ACCESS_TROUBLE), c->step->table.name, w->keys.v[0].key);
        return;
    }
    if (++w->at >= w->keys.n) {
        w->missed(c);
        return;
    }
    key = w->keeps_case ? k[1].key : lower(c, k[1].key);
    if (k[1].is_part)
        find_part(s, c->step->table.name, key, on_value, w);
    else
        find_key(s, c->step->table.name, key, on_value, w);
}

static void
no_room(struct check *c)
{
    check_fail(c, 451, "4.3.0", "Error: too much memory wanted");
}

void
access_ask(struct check *c, const struct access_keys *keys, void (*missed)(struct check *c))
{
    struct walk *w = ARENA_NEW(&c->s->smtp.cmd, struct walk);
    struct slice key;

    if (w == NULL) {
        no_room(c);
        return;
    }
    if (keys->n == 0) {
        missed(c);
        return;
    }
    *w = (struct walk){ .keys = *keys,
                        .missed = missed,
                        .keeps_case = keeps_case(c->step->table.name) };
    key = w->keeps_case ? keys->v[0].key : lower(c, keys->v[0].key);
    find_key(c->s, c->step->table.name, key, on_value, w);
}

void
access_missed(struct check *c)
{
    check_done(c, VERDICT_DUNNO);
}

void
access_name(struct check *c, const char *reply_class, struct slice name)
{
    c->reply_class = reply_class;
    c->reply_name = name;
}

void
access_ask_domain(struct check *c, struct slice name, void (*missed)(struct check *c))
{
    struct access_keys keys;

    if (access_keys_domain(name, c->s->cfg->access_parents, &c->s->smtp.cmd, &keys))
        no_room(c);
    else
        access_ask(c, &keys, missed);
}

void
access_ask_ip(struct check *c, struct slice ip, void (*missed)(struct check *c))
{
    struct access_keys keys;

    if (access_keys_ip(ip, &c->s->smtp.cmd, &keys))
        no_room(c);
    else
        access_ask(c, &keys, missed);
}

static void
ask_one(struct check *c, struct slice key, void (*missed)(struct check *c))
{
    struct access_keys keys = { .v = ARENA_NEW(&c->s->smtp.cmd, struct access_key), .n = 1 };

    if (keys.v == NULL) {
        no_room(c);
        return;
    }
    keys.v[0].key = key;
    access_ask(c, &keys, missed);
}

/* ---- permission that must not be given ---- */

static void
no_permit(struct check *c, enum verdict v)
{
    if (v != VERDICT_PERMIT || (c->s->tx && c->s->tx->wishes.discard)) {
        check_done(c, v);
        return;
    }
    log_event(LOG_LV_WARN, c->s->cfg->ident, "access.forbidden", LOG_NONE,
              "restriction %s returns OK for %.*s: this is not allowed for security reasons; use "
              "DUNNO instead of OK if you want to make an exception",
              c->step->name, SL_ARG(c->reply_name));
    check_server_error(c);
}

void
access_forbid_permit(struct check *c)
{
    check_after(c, no_permit);
}

/* ---- client ---- */

static void
client_ip(struct check *c)
{
    char ip[ADDR_TEXT_OCTETS];
    struct slice text = arena_dup(&c->s->smtp.cmd, sl_z(addr_ip_text(&c->s->peer, ip)));

    if (text.p)
        access_ask_ip(c, text, access_missed);
    else
        no_room(c);
}

void
verb_check_client_access(struct check *c)
{
    access_name(c, CLASS_TEXT_CLIENT, sl_z(c->s->namaddr));
    access_ask_domain(c, sl_z(c->s->name), client_ip);
}

void
verb_check_reverse_client_hostname_access(struct check *c)
{
    access_name(c, CLASS_TEXT_REVERSE, sl_z(c->s->reverse_name));
    access_forbid_permit(c);
    access_ask_domain(c, sl_z(c->s->reverse_name), client_ip);
}

void
verb_check_sasl_access(struct check *c)
{
    struct slice user = sl_z(c->s->sasl_user);
    char *name;

    if (!c->s->cfg->sasl_enable) {
        log_event(LOG_LV_WARN, c->s->cfg->ident, "access.config", LOG_NONE,
                  "restriction `%s' ignored: no SASL support", c->step->name);
        check_done(c, VERDICT_DUNNO);
        return;
    }
    if (user.n == 0) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    name = arena_dupz(&c->s->smtp.cmd, user);
    if (name == NULL) {
        no_room(c);
        return;
    }
    for (char *p = name; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '_';
    access_name(c, CLASS_TEXT_SASL, sl_z(name));
    ask_one(c, user, access_missed);
}

/* ---- client certificates ---- */

struct ccert {
    const char *prints[3]; /* in the order of the table's search; NULL ends */
    size_t at;
};

static void
next_print(struct check *c)
{
    struct ccert *k = c->own;
    const char *print = k->prints[k->at];

    if (print == NULL) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    k->at++;
    ask_one(c, sl_z(print), next_print);
}

/* DUNNO for one fingerprint leaves the other to be looked up. */
static void
print_answered(struct check *c, enum verdict v)
{
    if (v != VERDICT_DUNNO) {
        check_done(c, v);
        return;
    }
    if (((struct ccert *)c->own)->prints[((struct ccert *)c->own)->at] != NULL)
        check_after(c, print_answered);
    next_print(c);
}

void
verb_check_ccert_access(struct check *c)
{
    struct tls_info t;
    struct ccert *k = ARENA_NEW(&c->s->smtp.cmd, struct ccert);
    size_t n = 0;

    if (!tls_info_of(c->s->smtp.conn, &t) || !t.has_peer_cert) {
        if (!c->s->cfg->conf->smtpd_tls_ask_ccert && !c->s->cfg->conf->smtpd_tls_req_ccert)
            log_event(LOG_LV_WARN, c->s->cfg->ident, "access.config", LOG_NONE,
                      "%s is requested, but \"smtpd_tls_ask_ccert = no\"", c->step->name);
        check_done(c, VERDICT_DUNNO);
        return;
    }
    if (k == NULL) {
        no_room(c);
        return;
    }
    for (const char *p = c->step->table.search; *p; p++) {
        const char *print = *p == 'c' ? t.peer_fingerprint : t.peer_key_fingerprint;

        if (print[0])
            k->prints[n++] = print;
    }
    c->own = k;
    access_name(c, CLASS_TEXT_CCERT, sl_z(t.peer_cn));
    if (n > 1)
        check_after(c, print_answered);
    next_print(c);
}

/* ---- names ---- */

void
verb_check_helo_access(struct check *c)
{
    access_name(c, CLASS_TEXT_HELO, sl_z(c->about.helo));
    access_ask_domain(c, sl_z(c->about.helo), access_missed);
}

void
verb_check_etrn_access(struct check *c)
{
    if (c->about.etrn.p == NULL) {
        check_done(c, VERDICT_DUNNO);
        return;
    }
    access_name(c, CLASS_TEXT_ETRN, c->about.etrn);
    access_ask_domain(c, c->about.etrn, access_missed);
}

/* ---- mail addresses ---- */

/* A recipient with another route inside is too odd to be let in by a table. */
static void
no_odd_permit(struct check *c, enum verdict v)
{
    if (v == VERDICT_PERMIT && c->addr->to.is_routed && !c->s->cfg->conf->allow_untrusted_routing)
        v = VERDICT_DUNNO;
    check_done(c, v);
}

static void
ask_mail(struct check *c)
{
    struct slice addr = c->addr->to.addr, local, domain;
    struct access_keys keys;

    if (!smtp_addr_split(addr, &local, &domain)) {
        check_done(c, VERDICT_DUNNO); /* it has no route (VRFY takes anything) */
        return;
    }
    if (!c->is_sender)
        check_after(c, no_odd_permit);
    if (access_keys_mail(addr, find_extension(c->s->cfg, local).n, c->s->cfg->access_parents,
                         &c->s->smtp.cmd, &keys))
        no_room(c);
    else
        access_ask(c, &keys, access_missed);
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        check_fail(c, 451, "4.3.0", "<%.*s>: Temporary lookup failure", SL_ARG(c->addr->given));
    else
        ask_mail(c);
}

static void
mail_access(struct check *c, bool is_sender)
{
    c->is_sender = is_sender;
    c->addr = is_sender ? &c->sender : &c->rcpt;
    c->addr->given = is_sender ? c->about.sender : c->about.recipient;
    access_name(c, is_sender ? CLASS_TEXT_SENDER : CLASS_TEXT_RECIPIENT, c->addr->given);
    if (is_sender && c->s->tx && sl_eq(c->s->tx->sender.given, c->about.sender))
        c->addr = &c->s->tx->sender; /* known for the whole transaction */
    if (c->addr->to.addr.n)
        ask_mail(c);
    else
        find_route(c->s, c->addr, &c->s->smtp.cmd, on_route, NULL);
}

void
verb_check_sender_access(struct check *c)
{
    if (c->about.sender.p == NULL) {
        check_done(c, VERDICT_DUNNO);
    } else if (c->about.sender.n) {
        mail_access(c, true);
    } else {
        access_name(c, CLASS_TEXT_SENDER, c->about.sender);
        ask_one(c, sl_z(c->s->cfg->conf->smtpd_null_access_lookup_key), access_missed);
    }
}

void
verb_check_recipient_access(struct check *c)
{
    mail_access(c, false);
}
