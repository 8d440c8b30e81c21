/* relay/tls_policy.c - which TLS a destination wants: smtp_tls_security_level or the answer of smtp_tls_policy_maps, and the
 * contexts that go with it. TLS_README, RFC 7672. */
#include "relay/relay_int.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/hostname.h"
#include "tls/tls.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONTEXTS_MAX = 64 };

static const struct {
    const char *name;
    enum tls_level level;
} levels[] = {
    { "none", LEVEL_NONE },       { "may", LEVEL_MAY },
    { "encrypt", LEVEL_ENCRYPT }, { "fingerprint", LEVEL_FINGERPRINT },
    { "verify", LEVEL_VERIFY },   { "secure", LEVEL_SECURE },
    { "dane", LEVEL_DANE },       { "dane-only", LEVEL_DANE_ONLY },
};

static struct map *contexts; /* all that a context is made of -> struct tls_ctx */

static bool
take_level(struct slice name, enum tls_level *out)
{
    for (size_t i = 0; i < COUNT_OF(levels); i++)
        if (sl_ieqz(name, levels[i].name)) {
            *out = levels[i].level;
            return true;
        }
    return false;
}

/* The old parameters count where the new one is not set. */
static enum tls_level
default_level(const struct conf *c, bool is_lmtp)
{
    const char *name = is_lmtp ? c->lmtp_tls_security_level : c->smtp_tls_security_level;
    enum tls_level level = LEVEL_NONE;

    if (name[0])
        (void)take_level(sl_z(name), &level); /* `postern check` refuses others */
    else if (!is_lmtp && c->smtp_enforce_tls)
        level = c->smtp_tls_enforce_peername ? LEVEL_VERIFY : LEVEL_ENCRYPT;
    else if (!is_lmtp && c->smtp_use_tls)
        level = LEVEL_MAY;
    return level;
}

/* ---- contexts ---- */

static void
drop_context(void *v)
{
    struct tls_ctx *t = v;

    tls_unref(&t);
}

void
tls_policy_reload(void)
{
    map_free(&contexts, drop_context);
    contexts = map_new();
}

static struct tls_ctx *
context(const struct conf *c, const struct tls_policy *p)
{
    struct buf key = { 0 };
    struct tls_client_opts o = { .protocols = p->protocols,
                                 .cipher_grade = p->ciphers,
                                 .exclude_ciphers = p->exclude,
                                 .high_ciphers = c->tls_high_cipherlist,
                                 .medium_ciphers = c->tls_medium_cipherlist,
                                 .ca_file = c->smtp_tls_CAfile,
                                 .ca_path = c->smtp_tls_CApath,
                                 .system_ca = c->tls_append_default_CA,
                                 .depth = (int)c->smtp_tls_scert_verifydepth,
                                 .digest = c->smtp_tls_fingerprint_digest };
    struct tls_ctx *t;
    struct err e = { 0 };

    /* The authorities too: mail that was under way at a reload still has the configuration of before. */
    buf_addf(&key, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%d %d %s", p->protocols, p->ciphers, p->exclude,
             o.high_ciphers, o.medium_ciphers, o.ca_file, o.ca_path, o.system_ca, o.depth,
             o.digest);
    t = map_get(contexts, buf_slice(&key));
    if (t == NULL) {
        if (map_count(contexts) >= CONTEXTS_MAX)
            tls_policy_reload();
        if (tls_client_new(&o, &t, &e) == 0)
            map_set(contexts, buf_slice(&key), t);
        else
            log_error("relay.tls", LOG_NONE, "TLS for other hosts: %s", e.msg);
    }
    buf_free(&key);
    return t;
}

/* ---- a destination's policy ---- */

/* "match=a:b" may come several times; an empty list would match nobody, and only levels that look at certificates have one. */
static bool
add_match(struct tls_policy *p, struct slice list, struct arena *mem)
{
    bool is_print = p->level == LEVEL_FINGERPRINT;

    if (list.n == 0 || (!is_print && p->level != LEVEL_VERIFY && p->level != LEVEL_SECURE))
        return false;
    p->match = p->match
                   ? arena_printf(mem, "%s%c%.*s", p->match, is_print ? '|' : ':', SL_ARG(list))
                   : arena_dupz(mem, list);
    return p->match != NULL;
}

/* "match=a:b", "protocols=", "ciphers=", "exclude=", "servername=" (smtp_tls_policy_maps). What is not understood, or said
 * twice, is never passed over: the mail would go with less than was asked for. */
static bool
take_attribute(struct tls_policy *p, struct slice word, struct arena *mem)
{
    static const struct {
        const char *name;
        size_t offset;
    } names[] = {
        { "protocols=", offsetof(struct tls_policy, protocols) },
        { "ciphers=", offsetof(struct tls_policy, ciphers) },
        { "exclude=", offsetof(struct tls_policy, exclude) },
        { "servername=", offsetof(struct tls_policy, servername) },
    };

    if (sl_take_iprefix(&word, SL("match=")))
        return add_match(p, word, mem);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (sl_take_iprefix(&word, sl_z(names[i].name))) {
            const char **at = (const char **)(void *)((char *)p + names[i].offset);

            if (*at || (at == &p->ciphers && word.n == 0) ||
                (at == &p->servername && !hostname_is_valid(word)))
                return false;
            *at = arena_dupz(mem, word);
            return *at != NULL;
        }
    /* sessions are kept by their own rule */
    return sl_take_iprefix(&word, SL("connection_reuse=")) &&
           (sl_ieqz(word, "yes") || sl_ieqz(word, "no"));
}

static const char *
joined_list(const struct conf_list *l, struct arena *mem)
{
    struct buf b = { 0 };
    char *z;

    for (size_t i = 0; i < l->n; i++)
        buf_addf(&b, "%s%s", i ? " " : "", l->v[i]);
    z = arena_dupz(mem, buf_slice(&b));
    buf_free(&b);
    return z;
}

/* What the level means where the table says no more. False: no memory for it. */
static bool
set_defaults(const struct conf *c, struct tls_policy *p, struct arena *mem)
{
    bool is_mandatory = p->level > LEVEL_MAY;
    const struct conf_list *match = p->level == LEVEL_FINGERPRINT
                                        ? &c->smtp_tls_fingerprint_cert_match
                                    : p->level == LEVEL_VERIFY ? &c->smtp_tls_verify_cert_match
                                                               : &c->smtp_tls_secure_cert_match;

    if (p->protocols == NULL)
        p->protocols = is_mandatory ? c->smtp_tls_mandatory_protocols : c->smtp_tls_protocols;
    if (p->ciphers == NULL)
        p->ciphers = is_mandatory ? c->smtp_tls_mandatory_ciphers : c->smtp_tls_ciphers;
    if (p->exclude == NULL)
        p->exclude = is_mandatory ? arena_printf(mem, "%s %s", c->smtp_tls_exclude_ciphers,
                                                 c->smtp_tls_mandatory_exclude_ciphers)
                                  : c->smtp_tls_exclude_ciphers;
    if (p->match == NULL)
        p->match = joined_list(match, mem);
    if (p->servername == NULL)
        p->servername = "hostname";
    return p->exclude && p->match;
}

static bool
is_dane_possible(const struct conf *c)
{
    return sl_ieqz(sl_z(c->smtp_dns_support_level), "dnssec") && dns_is_trusted(relay_dns);
}

bool
tls_policy_of(const struct conf *c, bool is_lmtp, bool is_wrapper, struct slice table,
              struct arena *mem, struct tls_policy *out, const char **why)
{
    struct slice word, rest = table;

    *out = (struct tls_policy){ .level = default_level(c, is_lmtp) };
    *why = "TLS policy table: invalid entry";
    if (table.n > 0) {
        if (!sl_take_word(&rest, ", \t\r\n", &word) || !take_level(word, &out->level))
            return false;
        while (sl_take_word(&rest, ", \t\r\n", &word))
            if (out->level > LEVEL_NONE && !take_attribute(out, word, mem))
                return false;
    }
    if ((out->level == LEVEL_DANE || out->level == LEVEL_DANE_ONLY) && !is_dane_possible(c)) {
        *why =
            "DANE needs smtp_dns_support_level = dnssec and resolvers on this host that validate";
        if (out->level == LEVEL_DANE_ONLY)
            return false;
        log_warn("relay.dane", LOG_NONE, "TLS level dane is taken as may: %s", *why);
        out->level = LEVEL_MAY;
    }
    if (is_wrapper && out->level < LEVEL_ENCRYPT)
        out->level = LEVEL_ENCRYPT;
    if (out->level == LEVEL_NONE)
        return true;
    *why = "TLS is not available due to a local problem";
    if (!set_defaults(c, out, mem))
        return false;
    out->ctx = context(c, out);
    if (out->ctx)
        tls_ref(out->ctx); /* a reload may come while the session waits for DNS */
    return out->ctx != NULL;
}

/* ---- what is expected of one host ---- */

/* "hostname", "nexthop", "dot-nexthop" stand for names; others are names or fingerprints themselves. */
static const char *
match_name(struct slice word, const struct target *t, const char *domain, struct arena *mem)
{
    if (sl_ieqz(word, "hostname"))
        return t->host;
    if (sl_ieqz(word, "nexthop"))
        return domain;
    if (sl_ieqz(word, "dot-nexthop"))
        return arena_printf(mem, ".%s", domain);
    return arena_dupz(mem, word);
}

static void
add_matches(struct tls_expect *x, const struct tls_policy *p, const struct target *t,
            const char *domain, struct arena *mem)
{
    const char **names = arena_alloc(mem, TLS_MATCHES_MAX * sizeof *names);
    struct slice rest = sl_z(p->match), word;
    bool is_print = p->level == LEVEL_FINGERPRINT;
    size_t n = 0;

    if (is_print) { /* fingerprints have colons of their own: bars part them, or blanks where main.cf has them */
        while (names && n < TLS_MATCHES_MAX && sl_take_word(&rest, "| \t", &word))
            if ((names[n] = arena_dupz(mem, word)) != NULL)
                n++;
        x->prints = names;
        x->n_prints = n;
        return;
    }
    while (names && n < TLS_MATCHES_MAX && sl_take_word(&rest, ": \t", &word))
        if ((names[n] = match_name(word, t, domain, mem)) != NULL)
            n++;
    x->names = names;
    x->n_names = n;
}

/* Names for DANE-TA: the TLSA base domain, the host, and, where it led here for certain, the domain that mail is for
 * (RFC 7672 §3.2.2). */
static void
expect_dane(const struct target *t, const char *domain, const struct dns_answer *tlsa,
            struct arena *mem, struct tls_expect *x)
{
    struct tls_tlsa *v = arena_alloc(mem, tlsa->n * sizeof *v);
    const char **names = arena_alloc(mem, 3 * sizeof *names);
    size_t n = 0;

    x->demand = TLS_DEMAND_DANE; /* without a record nothing matches: the safe side */
    x->sni = t->tlsa_base;
    if (v == NULL || names == NULL)
        return;
    for (size_t i = 0; i < tlsa->n; i++)
        v[n++] = (struct tls_tlsa){ tlsa->rrs[i].usage, tlsa->rrs[i].selector,
                                    tlsa->rrs[i].matching, arena_dup(mem, tlsa->rrs[i].text) };
    x->tlsa = v;
    x->n_tlsa = n;
    names[0] = t->tlsa_base;
    names[1] = t->host;
    names[2] = domain;
    x->names = names;
    x->n_names = t->is_mx_secure ? 3 : 2;
}

void
tls_policy_expect(const struct tls_policy *p, const struct target *t, const char *domain,
                  const struct dns_answer *tlsa, struct arena *mem, struct tls_expect *x)
{
    *x = (struct tls_expect){ .sni = sl_ieqz(sl_z(p->servername), "hostname")  ? t->host
                                     : sl_ieqz(sl_z(p->servername), "nexthop") ? domain
                                                                               : p->servername };
    switch (p->level) {
    case LEVEL_NONE:
    case LEVEL_MAY:
    case LEVEL_ENCRYPT:
        break;
    case LEVEL_FINGERPRINT:
        x->demand = TLS_DEMAND_FINGERPRINT;
        add_matches(x, p, t, domain, mem);
        break;
    case LEVEL_VERIFY:
    case LEVEL_SECURE:
        x->demand = TLS_DEMAND_CHAIN;
        add_matches(x, p, t, domain, mem);
        break;
    case LEVEL_DANE:
    case LEVEL_DANE_ONLY:
        if (tlsa)
            expect_dane(t, domain, tlsa, mem, x);
    }
}
