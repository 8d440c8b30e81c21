/* smtpd/rewrite.c - what is mapped by which tables is worked out once a configuration; a message has one addr_map, so that an
 * address of its envelope that is in its header ten times is asked for once. Order of things: sender_canonical_maps or
 * recipient_canonical_maps, canonical_maps, masquerading, copies, then virtual aliases (expand.c). */
#include "smtpd/rewrite.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_header.h"
#include "smtpd/rewrite_clients.h"

#include <stdlib.h>

/* Replies of Postfix's cleanup(8), which has no better ones. */
#define TROUBLE "451 4.3.0 Error: queue file write error"

enum plan {
    PLAN_ENV_SENDER,
    PLAN_ENV_RECIPIENT,
    PLAN_HEADER_SENDER,
    PLAN_HEADER_RECIPIENT,
    PLAN_SENDER_BCC,
    PLAN_RECIPIENT_BCC,
    PLANS
};
struct rewrite_plans {
    struct addr_plan v[PLANS];
    struct words *exceptions;
    bool has_any;
};

/* ---- configuration ---- */

static const char *const class_names[] = { "envelope_sender", "envelope_recipient", "header_sender",
                                           "header_recipient" }; /* as enum plan */

static int
check_classes(const char *param, struct conf_list l, struct err *e)
{
    for (size_t i = 0; i < l.n; i++) {
        bool is_known = false;

        for (size_t k = 0; k < COUNT_OF(class_names); k++)
            is_known = is_known || !strcmp(l.v[i], class_names[k]);
        if (!is_known)
            return err_set(e, ERR_CONFIG,
                           "%s: \"%s\" is none of envelope_sender, envelope_recipient, "
                           "header_sender, header_recipient",
                           param, l.v[i]);
    }
    return 0;
}

enum {
    SENDERS = 1 << PLAN_ENV_SENDER | 1 << PLAN_HEADER_SENDER,
    RECIPIENTS = 1 << PLAN_ENV_RECIPIENT | 1 << PLAN_HEADER_RECIPIENT
};

/* of: the classes that such tables are for at all. */
static void
add_tables(struct rewrite_plans *p, unsigned of, const char *param, struct conf_list maps,
           struct conf_list classes)
{
    for (size_t k = 0; k < COUNT_OF(class_names) && maps.n; k++)
        if ((of & 1u << k) && conf_list_has(classes, class_names[k]))
            p->v[k].tables[p->v[k].n_tables++].param = param;
}

static void
add_bcc(struct rewrite_plans *p, enum plan which, const char *param, struct conf_list maps)
{
    if (maps.n)
        p->v[which].tables[p->v[which].n_tables++].param = param;
}

static int
check_always_bcc(const char *text, struct err *e)
{
    struct arena mem = { 0 };
    struct smtp_header h;
    bool good = text[0] == '\0' ||
                (smtp_header_read(NULL, sl_z(text), SMTP_ADDR_TOKENS_MAX, &mem, &h) && h.n == 1);

    arena_free(&mem);
    return good ? 0 : err_set(e, ERR_CONFIG, "always_bcc: \"%s\" is not one address", text);
}

static int
check_values(const struct conf *c, struct err *e)
{
    if (check_classes("canonical_classes", c->canonical_classes, e) ||
        check_classes("sender_canonical_classes", c->sender_canonical_classes, e) ||
        check_classes("recipient_canonical_classes", c->recipient_canonical_classes, e) ||
        check_classes("masquerade_classes", c->masquerade_classes, e))
        return -1;
    for (size_t i = 0; i < c->masquerade_domains.n; i++)
        if (domlist_is_table(c->masquerade_domains.v[i]))
            return err_set(e, ERR_CONFIG,
                           "masquerade_domains: %s: names of domains are wanted, tables are not "
                           "asked here",
                           c->masquerade_domains.v[i]);
    return check_always_bcc(c->always_bcc, e);
}

int
rewrite_plans_new(const struct conf *c, struct rewrite_plans **out, struct err *e)
{
    struct rewrite_plans *p;

    *out = NULL;
    if (check_values(c, e))
        return -1;
    p = MEM_NEW(struct rewrite_plans);
    if (words_init(&p->exceptions, "masquerade_exceptions", c->masquerade_exceptions, e)) {
        free(p);
        return -1;
    }
    add_tables(p, SENDERS, "sender_canonical_maps", c->sender_canonical_maps,
               c->sender_canonical_classes);
    add_tables(p, RECIPIENTS, "recipient_canonical_maps", c->recipient_canonical_maps,
               c->recipient_canonical_classes);
    add_tables(p, SENDERS | RECIPIENTS, "canonical_maps", c->canonical_maps, c->canonical_classes);
    add_bcc(p, PLAN_SENDER_BCC, "sender_bcc_maps", c->sender_bcc_maps);
    add_bcc(p, PLAN_RECIPIENT_BCC, "recipient_bcc_maps", c->recipient_bcc_maps);
    for (unsigned k = 0; k < PLANS; k++) {
        p->v[k].number = k;
        if (k < COUNT_OF(class_names)) {
            p->v[k].rounds = ADDR_MAP_ROUNDS_MAX;
            p->v[k].keeps_extension = conf_list_has(c->propagate_unmatched_extensions, "canonical");
            if (conf_list_has(c->masquerade_classes, class_names[k]))
                p->v[k].masquerade = c->masquerade_domains;
            p->v[k].exceptions = p->exceptions;
        }
        p->has_any = p->has_any || !addr_plan_is_empty(&p->v[k]);
    }
    *out = p;
    return 0;
}

void
rewrite_plans_free(struct rewrite_plans **pp)
{
    struct rewrite_plans *p = *pp;

    *pp = NULL;
    if (p == NULL)
        return;
    words_free(&p->exceptions);
    free(p);
}

static void
release_cfg(void *arg)
{
    struct smtpd_cfg *g = arg;

    smtpd_cfg_unref(&g);
}

static struct addr_map *
make_map(struct smtpd_sess *s, const char *label)
{
    struct smtpd_cfg *g = s->cfg;
    struct addr_map_conf c = { .lookup = smtpd_env.lookup,
                               .conf = g->conf,
                               .rules = &g->rules,
                               .mydestination = &g->mydestination,
                               .own = &g->own,
                               .ident = g->cleanup_ident,
                               .outcome = "message not accepted, try again later",
                               .release = release_cfg };

    c.owner = smtpd_cfg_ref(g);
    return addr_map_new(&c, label);
}

/* The message's map; NULL: nothing is mapped. */
static struct addr_map *
map_of(struct smtpd_sess *s)
{
    if (s->tx->map == NULL && s->cfg->plans->has_any)
        s->tx->map = make_map(s, s->tx->id);
    return s->tx->map;
}

/* Of the session that asked, if it is still there: it waits, so its transaction is the same. */
static struct smtpd_sess *
session_of(uint64_t id)
{
    struct smtp_sess *s = id_get(id);

    return s ? smtpd_of(s) : NULL;
}

/* ---- the sender ---- */

/* MAILER-DAEMON at our own origin is how some programs write the null sender. */
static bool
is_null_sender(const struct smtpd_sess *s, struct slice addr)
{
    struct slice local, domain, daemon, origin;

    smtp_addr_split(addr, &local, &domain);
    if (!sl_ieq(local, SL("MAILER-DAEMON")))
        return false;
    daemon = smtp_addr_rewrite(&s->cfg->rules, SL("MAILER-DAEMON"), &s->tx->mem);
    smtp_addr_split(daemon, &local, &origin);
    return sl_ieq(domain, origin);
}

static void
end_begin(struct smtpd_sess *s)
{
    void (*done)(struct smtpd_sess * s, bool good) = s->tx->rewrite_begun;

    s->tx->rewrite_begun = NULL;
    done(s, true);
}

static void
on_sender(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct smtpd_sess *s = session_of(id);

    (void)arg;
    (void)n;
    if (s == NULL)
        return;
    if (good)
        s->tx->from = arena_dup(&s->tx->mem, v[0].addr);
    s->tx->has_map_trouble = !good || s->tx->from.p == NULL;
    end_begin(s);
}

static void
on_client(struct smtpd_sess *s, bool good)
{
    struct smtpd_tx *tx = s->tx;
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_ENV_SENDER];

    if (!good) {
        tx->rewrite_begun(s, false);
        return;
    }
    tx->from = smtp_addr_rewrite(&s->cfg->rules, tx->sender.given, &tx->mem);
    if (is_null_sender(s, tx->from))
        tx->from = SL("");
    if (tx->from.n == 0 || addr_plan_is_empty(plan))
        end_begin(s);
    else
        addr_map_run(map_of(s), plan, &tx->from, 1, on_sender, s->smtp.id, NULL);
}

void
rewrite_begin(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, bool good))
{
    s->tx->rewrite_begun = done;
    rewrite_clients_find(s, on_client);
}

/* ---- an address alone ---- */

struct probe { /* in the command's memory */
    void (*done)(struct smtpd_sess *s, bool good, struct slice addr);
};

static void
on_probe(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct smtpd_sess *s = session_of(id);
    struct slice addr = SL("");

    (void)n;
    if (s == NULL)
        return;
    if (good)
        addr = arena_dup(&s->smtp.cmd, v[0].addr);
    ((const struct probe *)arg)->done(s, good && addr.p, addr);
}

void
rewrite_recipient(struct smtpd_sess *s, struct slice addr,
                  void (*done)(struct smtpd_sess *s, bool good, struct slice addr))
{
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_ENV_RECIPIENT];
    struct probe *p = ARENA_NEW(&s->smtp.cmd, struct probe);
    struct addr_map *m;

    addr = smtp_addr_rewrite(&s->cfg->rules, addr, &s->smtp.cmd);
    if (p == NULL || addr_plan_is_empty(plan)) {
        done(s, p != NULL, addr);
        return;
    }
    p->done = done;
    m = make_map(s, "NOQUEUE");
    addr_map_run(m, plan, &addr, 1, on_probe, s->smtp.id, p);
    addr_map_unref(&m);
}

/* ---- the header ---- */

bool
rewrite_has_headers(const struct smtpd_sess *s)
{
    const struct rewrite_plans *p = s->cfg->plans;

    return s->tx->rewrite != REWRITE_NONE && p &&
           (!addr_plan_is_empty(&p->v[PLAN_HEADER_SENDER]) ||
            !addr_plan_is_empty(&p->v[PLAN_HEADER_RECIPIENT]));
}

bool
rewrite_header_rules(const struct smtpd_sess *s, struct smtp_addr_rules *out)
{
    *out = s->cfg->rules;
    if (s->tx->rewrite == REWRITE_REMOTE)
        out->myorigin = out->mydomain = sl_z(s->cfg->conf->remote_header_rewrite_domain);
    return s->tx->rewrite != REWRITE_NONE;
}

void
rewrite_header(struct smtpd_sess *s, struct header *h, struct header_run *r)
{
    struct smtp_addr_rules rules;
    struct addr_header_how how = {
        .sender = &s->cfg->plans->v[PLAN_HEADER_SENDER],
        .recipient = &s->cfg->plans->v[PLAN_HEADER_RECIPIENT],
        .max_tokens = (size_t)s->cfg->conf->header_address_token_limit,
        .ident = s->cfg->cleanup_ident,
        .label = s->tx->id,
    };

    if (rewrite_header_rules(s, &rules))
        how.rules = &rules;
    addr_header_run(map_of(s), &how, h, r);
}

/* ---- recipients, and copies ---- */

static void
end_recipients(struct smtpd_sess *s, const char *refusal)
{
    void (*done)(struct smtpd_sess * s, const char *refusal) = s->tx->rewrite_ended;

    s->tx->rewrite_ended = NULL;
    done(s, refusal);
}

static bool
is_rcpt(const struct smtpd_tx *tx, struct slice addr)
{
    for (const struct smtpd_rcpt *r = tx->first; r; r = r->next)
        if (sl_ieq(r->mapped.p ? r->mapped : r->addr, addr))
            return true;
    return false;
}

bool
rewrite_add_copy(struct smtpd_tx *tx, struct slice addr, bool is_mapped)
{
    struct smtpd_rcpt *to;

    if (addr.n == 0 || is_rcpt(tx, addr))
        return true;
    to = ARENA_NEW(&tx->mem, struct smtpd_rcpt);
    if (to == NULL)
        return false;
    to->addr = arena_dup(&tx->mem, addr);
    if (is_mapped)
        to->mapped = to->addr;
    to->orcpt = sl_z(arena_printf(&tx->mem, "rfc822;%.*s", SL_ARG(addr)));
    to->notify = SMTP_NOTIFY_NEVER;
    to->is_forwarded = to->is_copy = true;
    *tx->end = to;
    tx->end = &to->next;
    tx->n_rcpts++;
    return to->addr.p && to->orcpt.p;
}

static void
on_copies_mapped(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct smtpd_sess *s = session_of(id);

    (void)arg;
    if (s == NULL)
        return;
    for (size_t i = 0; i < n && good; i++)
        good = rewrite_add_copy(s->tx, v[i].addr, true);
    end_recipients(s, good ? NULL : TROUBLE);
}

/* Addresses of copies, as tables and main.cf have them: complete, and mapped as other recipients are. */
static void
map_copies(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_ENV_RECIPIENT];
    struct slice *v = arena_alloc(&tx->mem, (tx->n_copies + 1) * sizeof(*v));
    size_t n = 0;
    bool good = v != NULL;

    for (const struct tx_line *l = tx->copies; l && good; l = l->next) {
        struct smtp_header h;

        good = smtp_header_read(&s->cfg->rules, l->text, SMTP_ADDR_TOKENS_MAX, &tx->mem, &h);
        if (good && h.n != 1)
            log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "bcc.value", LOG_F(LF_Z("qid", tx->id)),
                      "%s: a copy is to go to \"%.*s\", which is not one address", tx->id,
                      SL_ARG(sl_head(l->text, 200)));
        if (good && h.n > 0)
            v[n++] = *h.addrs[0];
    }
    if (!good) {
        end_recipients(s, TROUBLE);
        return;
    }
    if (n > 0 && !addr_plan_is_empty(plan)) {
        addr_map_run(map_of(s), plan, v, n, on_copies_mapped, s->smtp.id, NULL);
        return;
    }
    for (size_t i = 0; i < n && good; i++)
        good = rewrite_add_copy(tx, v[i], true);
    end_recipients(s, good ? NULL : TROUBLE);
}

static bool
note_copy(struct smtpd_tx *tx, struct slice text)
{
    struct tx_line *l = ARENA_NEW(&tx->mem, struct tx_line);

    if (l == NULL)
        return false;
    l->text = arena_dup(&tx->mem, text);
    l->next = tx->copies;
    tx->copies = l;
    tx->n_copies++;
    return l->text.p != NULL;
}

/* What one of the two bcc maps says. */
static void
on_bcc(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct smtpd_sess *s = session_of(id);
    void (*next)(struct smtpd_sess * s);

    if (s == NULL)
        return;
    next = *(void (*const *)(struct smtpd_sess *))arg;
    for (size_t i = 0; i < n && good; i++)
        if (v[i].is_changed)
            good = note_copy(s->tx, v[i].addr);
    if (good)
        next(s);
    else
        end_recipients(s, TROUBLE);
}

static void (*const then_map_copies)(struct smtpd_sess *s) = map_copies;

static void
ask_recipient_bcc(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_RECIPIENT_BCC];
    struct slice *v;
    size_t n = 0;

    if (addr_plan_is_empty(plan)) {
        map_copies(s);
        return;
    }
    v = mem_alloc((tx->n_rcpts + 1) * sizeof(*v));
    for (const struct smtpd_rcpt *r = tx->first; r; r = r->next)
        v[n++] = r->mapped;
    addr_map_run(map_of(s), plan, v, n, on_bcc, s->smtp.id, (void *)(uintptr_t)&then_map_copies);
    free(v);
}
static void (*const then_ask_recipient_bcc)(struct smtpd_sess *s) = ask_recipient_bcc;

static void
ask_bcc(struct smtpd_sess *s)
{
    struct smtpd_tx *tx = s->tx;
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_SENDER_BCC];

    if (s->cfg->conf->always_bcc[0] && !note_copy(tx, sl_z(s->cfg->conf->always_bcc))) {
        end_recipients(s, TROUBLE);
        return;
    }
    if (tx->from.n == 0 || addr_plan_is_empty(plan))
        ask_recipient_bcc(s);
    else
        addr_map_run(map_of(s), plan, &tx->from, 1, on_bcc, s->smtp.id,
                     (void *)(uintptr_t)&then_ask_recipient_bcc);
}

static void
on_recipients(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct smtpd_sess *s = session_of(id);
    struct smtpd_rcpt *r;
    size_t i = 0;

    (void)arg;
    if (s == NULL)
        return;
    for (r = s->tx->first; r && i < n && good; r = r->next, i++) {
        if (!v[i].is_changed)
            continue;
        r->is_forwarded = true;
        r->mapped = v[i].addr.n ? arena_dup(&s->tx->mem, v[i].addr)
                                : smtp_addr_rewrite(&s->cfg->rules,
                                                    sl_z(s->cfg->conf->empty_address_recipient),
                                                    &s->tx->mem);
        good = r->mapped.p != NULL;
    }
    if (good)
        ask_bcc(s);
    else
        end_recipients(s, TROUBLE);
}

void
rewrite_recipients(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, const char *refusal))
{
    struct smtpd_tx *tx = s->tx;
    const struct addr_plan *plan = &s->cfg->plans->v[PLAN_ENV_RECIPIENT];
    struct slice *v;
    size_t n = 0;

    tx->rewrite_ended = done;
    if (tx->has_map_trouble) {
        end_recipients(s, TROUBLE);
        return;
    }
    for (struct smtpd_rcpt *r = tx->first; r; r = r->next)
        r->mapped = smtp_addr_rewrite(&s->cfg->rules, r->addr, &tx->mem);
    if (addr_plan_is_empty(plan)) {
        ask_bcc(s);
        return;
    }
    v = mem_alloc((tx->n_rcpts + 1) * sizeof(*v));
    for (const struct smtpd_rcpt *r = tx->first; r; r = r->next)
        v[n++] = r->mapped;
    addr_map_run(map_of(s), plan, v, n, on_recipients, s->smtp.id, NULL);
    free(v);
}
