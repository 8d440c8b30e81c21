/* smtpd/rbl.c - one A question to a list, and one TXT where its answer counts. An answer that is a list's error, or no
 * list's at all, is logged and never a listing; so is a list that cannot be asked: mail is not refused because a list is
 * down (the verbs that permit say so themselves). */
#include "smtpd/rbl.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/hostname.h"
#include "proto/idn.h"

#include <stdio.h>
#include <stdlib.h>

struct entry {
    char *name;
    bool is_pending; /* asked ahead; nothing is known yet */
    bool is_trouble;
    uint8_t (*ips)[4];
    size_t n_ips;
    char *reason; /* NULL: not asked yet */
    uint64_t until_ms;
};
struct rbl_cache {
    struct entry *v[RBL_CACHE_ENTRIES];
    size_t n, next;        /* where the next one goes when all are taken */
    struct rbl_ask *waits; /* for what was asked ahead */
};

/* ---- names ---- */

static bool
put_name(char out[DNS_NAME_OCTETS], struct slice left, struct slice zone)
{
    int n = snprintf(out, DNS_NAME_OCTETS, "%.*s.%.*s", SL_ARG(left), SL_ARG(zone));

    return n > 0 && n < DNS_NAME_OCTETS;
}

bool
rbl_name_of_addr(const struct addr *a, struct slice zone, char out[DNS_NAME_OCTETS])
{
    char z[RBL_ZONE_OCTETS + 1];

    snprintf(z, sizeof(z), "%.*s", SL_ARG(zone));
    return dns_reverse_name(a, z, out) == 0;
}

static bool
is_digits(struct slice s)
{
    uint64_t n;

    return s.n > 0 && sl_take_u64(&s, &n) && s.n == 0;
}

bool
rbl_name_of_domain(struct slice what, struct slice zone, char out[DNS_NAME_OCTETS])
{
    size_t at = sl_rfind_char(what, '@'), dot;
    struct slice domain = at == SL_NPOS ? what : sl_from(what, at + 1);
    struct idn idn;

    if (idn_is_any(domain) && idn_forms(domain, &idn))
        domain = sl_z(idn.ascii);
    dot = sl_rfind_char(domain, '.');
    /* Lists of names have no addresses, and some take offence at being asked for what looks like one. */
    if (is_digits(dot == SL_NPOS ? domain : sl_from(domain, dot + 1)))
        return false;
    return hostname_is_valid(domain) && put_name(out, domain, zone);
}

/* ---- what the session has been told ---- */

static void
entry_free(struct entry *en)
{
    if (en == NULL)
        return;
    free(en->name);
    free(en->ips);
    free(en->reason);
    free(en);
}

void
rbl_cache_free(struct rbl_cache **c)
{
    struct rbl_cache *k = *c;

    *c = NULL;
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->n; i++)
        entry_free(k->v[i]);
    free(k);
}

/* Its place, or n. */
static size_t
find_entry(const struct rbl_cache *k, const char *name)
{
    size_t i = 0;

    while (i < k->n && !sl_ieqz(sl_z(k->v[i]->name), name))
        i++;
    return i;
}

static struct entry *
recall(const struct smtpd_sess *s, const char *name)
{
    size_t i = s->rbl ? find_entry(s->rbl, name) : 0;
    struct entry *en = s->rbl && i < s->rbl->n ? s->rbl->v[i] : NULL;

    return en && !en->is_pending && en->until_ms > clock_mono_ms() ? en : NULL;
}

static bool
is_asked(const struct smtpd_sess *s, const char *name)
{
    size_t i = s->rbl ? find_entry(s->rbl, name) : 0;

    return s->rbl && i < s->rbl->n && s->rbl->v[i]->is_pending;
}

static struct entry *
remember(struct smtpd_sess *s, const char *name, uint32_t ttl_s)
{
    struct entry *en = MEM_NEW(struct entry);
    struct rbl_cache *k;
    size_t i;

    if (s->rbl == NULL)
        s->rbl = MEM_NEW(struct rbl_cache);
    k = s->rbl;
    i = find_entry(k, name); /* one that has run out */
    if (i == RBL_CACHE_ENTRIES) {
        i = k->next;
        k->next = (k->next + 1) % RBL_CACHE_ENTRIES;
    }
    if (i < k->n)
        entry_free(k->v[i]);
    else
        k->n++;
    k->v[i] = en;
    en->name = mem_dupz(name);
    en->until_ms = clock_mono_ms() + (uint64_t)ttl_s * 1000;
    return en;
}

/* ---- asking ---- */

/* The strings of all records, as Postfix joins them. */
static char *
join_reason(const struct dns_answer *a)
{
    struct buf b = { .max = RBL_REASON_OCTETS };
    char *out;

    for (size_t i = 0; a->rc == DNS_OK && i < a->n; i++) {
        if (i > 0 && buf_addz(&b, " / ") < 0)
            break;
        if (buf_adds(&b, a->rrs[i].text) < 0) {
            buf_adds(&b, sl_head(a->rrs[i].text, RBL_REASON_OCTETS - b.n));
            break;
        }
    }
    out = mem_dupz(b.n > 0 ? buf_z(&b) : "");
    buf_free(&b);
    return out;
}

static void
on_txt(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    struct rbl_ask *ask;
    struct entry *en;

    if (c == NULL)
        return;
    ask = c->own;
    en = recall(c->s, ask->name);
    if (en == NULL) { /* its time has run out meanwhile; it was a listing all the same */
        char *reason = join_reason(a);

        ask->done(c, RBL_LISTED, sl_z(reason));
        free(reason);
        return;
    }
    free(en->reason);
    en->reason = join_reason(a);
    ask->done(c, RBL_LISTED, sl_z(en->reason));
}

static void
tell(struct check *c, const struct entry *en)
{
    struct rbl_ask *ask = c->own;
    bool is_match = false;

    for (size_t i = 0; i < en->n_ips && !is_match; i++)
        is_match = rbl_filter_match(&ask->filter, en->ips[i]);
    if (en->is_trouble)
        ask->done(c, RBL_TROUBLE, SL(""));
    else if (!is_match)
        ask->done(c, RBL_NOT_LISTED, SL(""));
    else if (en->reason || !ask->want_reason)
        ask->done(c, RBL_LISTED, sl_z(en->reason));
    else
        dns_txt(smtpd_env.dns, sl_z(ask->name), on_txt, c->s->smtp.id);
}

static void
take_answer(struct smtpd_sess *s, struct entry *en, const struct dns_answer *a)
{
    char text[ADDR_TEXT_OCTETS];

    en->ips = mem_zalloc((a->n + 1) * sizeof(*en->ips));
    for (size_t i = 0; i < a->n; i++) {
        const char *bad;

        memcpy(en->ips[en->n_ips], &a->rrs[i].addr.u.in4.sin_addr, 4);
        bad = rbl_answer_error(en->ips[en->n_ips]);
        if (bad == NULL)
            en->n_ips++;
        else
            log_event(
                LOG_LV_WARN, s->cfg->ident, "rbl.bad",
                LOG_F(LF_Z("name", en->name), LF_Z("answer", addr_ip_text(&a->rrs[i].addr, text))),
                "%s: RBL answer %s is no listing: %s", en->name, text, bad);
    }
}

/* What this answer says, kept; once, whoever of those who wait for it hears it first. */
static struct entry *
learn(struct smtpd_sess *s, const char *name, const struct dns_answer *a)
{
    struct entry *en = recall(s, name);

    if (en)
        return en;
    en = remember(s, name, a->rc == DNS_TEMP ? RBL_TROUBLE_S : a->ttl_s);
    if (a->rc == DNS_TEMP) {
        en->is_trouble = true;
        log_event(
            LOG_LV_WARN, s->cfg->ident, "rbl.fail", LOG_F(LF_Z("name", name), LF_Z("why", a->why)),
            "%s: RBL lookup error: Name service error for name=%s type=A: %s", name, name, a->why);
    } else if (a->rc == DNS_OK) {
        take_answer(s, en, a);
    }
    return en;
}

static void
on_a(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    struct rbl_ask *ask;

    if (c == NULL)
        return;
    ask = c->own;
    tell(c, learn(c->s, ask->name, a));
}

/* A question whose answer nobody waits for yet. */
struct ahead {
    uint64_t sess;
    char name[DNS_NAME_OCTETS];
};

static void
on_ahead(uint64_t id, const struct dns_answer *a)
{
    struct ahead *q = id_get(id);
    struct smtp_sess *smtp = id_get(q->sess);
    struct smtpd_sess *s = smtp ? smtpd_of(smtp) : NULL;
    struct entry *en = s ? learn(s, q->name, a) : NULL;

    id_del(id);
    free(q);
    if (en && s->rbl->waits && sl_ieqz(sl_z(en->name), s->rbl->waits->name)) {
        s->rbl->waits = NULL;
        tell(s->check, en);
    }
}

void
rbl_ask_ahead(struct smtpd_sess *s, const char *name)
{
    struct ahead *q;

    if (recall(s, name) || is_asked(s, name))
        return;
    remember(s, name, 0)->is_pending = true;
    q = MEM_NEW(struct ahead);
    q->sess = s->smtp.id;
    snprintf(q->name, sizeof(q->name), "%s", name);
    dns_query(smtpd_env.dns, DNS_A, sl_z(name), on_ahead, id_add(q));
}

void
rbl_ask(struct check *c, struct rbl_ask *ask)
{
    const struct entry *en = recall(c->s, ask->name);

    c->own = ask;
    if (en)
        tell(c, en);
    else if (is_asked(c->s, ask->name))
        c->s->rbl->waits = ask; /* on_ahead() tells */
    else
        dns_query(smtpd_env.dns, DNS_A, sl_z(ask->name), on_a, c->s->smtp.id);
}
