/* auth/srs_map.c - see srs_map.h. */
#include "auth/srs_map.h"

#include "auth/secret.h"
#include "auth/srs.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/idn.h"

enum { DAY_MS = 24 * 60 * 60 * 1000, COMPLAIN_MS = 60 * 1000 };

/* ---- the secret ---- */

void
srs_map_path(const struct conf *c, struct buf *out)
{
    if (c->srs_secret_file[0])
        table_add_path(out, c, sl_z(c->srs_secret_file));
    else
        buf_addf(out, "%s/srs.secret", c->data_directory);
}

/* Whole lines, as postsrsd reads them. */
static size_t
take_secrets(struct slice text, struct slice out[SRS_SECRETS_MAX])
{
    struct slice line;
    size_t n = 0;

    while (n < SRS_SECRETS_MAX && sl_take_word(&text, "\r\n", &line))
        out[n++] = line;
    return n;
}

bool
srs_map_is_secret(struct slice text)
{
    struct slice secrets[SRS_SECRETS_MAX];

    return take_secrets(text, secrets) > 0;
}

/* ERR_NOTFOUND: there is none, and it was not to be made. */
static int
read_secret(const struct conf *c, bool may_make, struct buf *text, struct err *e)
{
    struct buf path = { 0 };
    int rc;

    text->max = SRS_SECRET_FILE_OCTETS;
    srs_map_path(c, &path);
    rc = fs_read_file(buf_z(&path), text, e);
    if (rc != 0 && e->kind == ERR_NOTFOUND && may_make && !c->srs_secret_file[0]) {
        rc = secret_make(buf_z(&path), e);
        if (rc == 0)
            log_info("srs.secret", LOG_F(LF_Z("path", buf_z(&path))),
                     "made a new secret for the senders of forwarded mail: %s", buf_z(&path));
        if (rc == 0)
            rc = fs_read_file(buf_z(&path), text, e);
    }
    if (rc != 0 && e->kind == ERR_NOTFOUND && c->srs_secret_file[0])
        err_set(e, ERR_TEMP, "srs_secret_file %s is not there", buf_z(&path));
    if (rc == 0 && !srs_map_is_secret(buf_slice(text)))
        rc = err_set(e, ERR_TEMP, "%s has no secret in it", buf_z(&path));
    buf_free(&path);
    return rc;
}

/* ---- whose domain ---- */

/* Mail for it comes to us and goes no further. */
static enum table_rc
is_ours(struct table_set *s, struct slice domain, struct err *e)
{
    static const char *const lists[] = { "mydestination", "virtual_alias_domains",
                                         "virtual_mailbox_domains" };
    struct buf value = { 0 };
    enum table_rc rc = TABLE_NOTFOUND;

    if (sl_ieqz(domain, table_set_conf(s)->srs_domain))
        return TABLE_FOUND;
    for (size_t i = 0; i < COUNT_OF(lists) && rc == TABLE_NOTFOUND; i++)
        rc = table_set_lookup(s, sl_z(lists[i]), domain, &value, e);
    buf_free(&value);
    return rc;
}

/* Would another host take it for a sender's domain? */
static bool
is_public(struct slice domain)
{
    return sl_find_char(domain, '.') != SL_NPOS && !sl_starts(domain, '[') &&
           !sl_has_isuffix(domain, SL(".localhost")) && !sl_has_isuffix(domain, SL(".localdomain"));
}

/* The domain that vouches: that of the forwarded address, else one of ours that other hosts know. FOUND: it is in out. */
static enum table_rc
find_domain(struct table_set *s, struct slice forwarded, struct buf *out, struct err *e)
{
    const struct conf *c = table_set_conf(s);
    const struct slice tries[] = { forwarded, sl_z(c->myorigin), sl_z(c->myhostname),
                                   sl_z(c->mydomain) };
    enum table_rc rc = TABLE_NOTFOUND;
    struct idn forms;
    struct slice domain = sl_z(c->srs_domain);

    for (size_t i = 0; domain.n == 0 && i < COUNT_OF(tries); i++) {
        rc = is_public(tries[i]) ? is_ours(s, tries[i], e) : TABLE_NOTFOUND;
        if (rc == TABLE_FOUND)
            domain = tries[i];
        else if (rc != TABLE_NOTFOUND)
            return rc;
    }
    if (domain.n == 0)
        return TABLE_NOTFOUND;
    if (idn_is_any(domain) && idn_forms(domain, &forms))
        buf_addz(out, forms.ascii); /* the next host may not know the other */
    else
        buf_adds(out, domain);
    return TABLE_FOUND;
}

/* "example.org", and ".example.org" for what is below it. */
static bool
is_excluded(const struct conf_list *l, struct slice domain)
{
    for (size_t i = 0; i < l->n; i++) {
        struct slice item = sl_z(l->v[i]);

        if (sl_ieq(domain, item) || (sl_starts(item, '.') && sl_has_isuffix(domain, item)))
            return true;
    }
    return false;
}

/* ---- the questions ---- */

static int
prepare(const struct conf *c, bool may_make, struct buf *text, struct srs *out, struct err *e)
{
    *out = (struct srs){ .now_s = clock_unix_s(),
                         .days = (unsigned)(c->srs_lifetime / DAY_MS),
                         .hash = (unsigned)c->srs_hash_length };
    if (read_secret(c, may_make, text, e) != 0)
        return -1;
    out->n_secrets = take_secrets(buf_slice(text), out->secrets);
    return 0;
}

/* Why mail waits: once in a while. */
static enum table_rc
trouble(const struct err *e)
{
    static uint64_t told_ms;
    uint64_t now = clock_mono_ms();

    if (told_ms == 0 || now - told_ms > COMPLAIN_MS) {
        told_ms = now;
        log_error("srs.fail", LOG_NONE, "srs: senders cannot be rewritten: %s", e->msg);
    }
    return TABLE_TEMP;
}

static void
forget(struct buf *text)
{
    if (text->n > 0)
        explicit_bzero((char *)(uintptr_t)buf_slice(text).p, text->n);
    buf_free(text);
}

static enum table_rc
outcome(enum srs_rc rc, struct err *e)
{
    if (rc != SRS_FAILED)
        return rc == SRS_OK ? TABLE_FOUND : TABLE_NOTFOUND;
    err_set(e, ERR_TEMP, "OpenSSL has no SHA-1");
    return trouble(e);
}

static enum table_rc
forward(struct table_set *s, struct slice key, struct buf *value, struct err *e)
{
    const struct conf *c = table_set_conf(s);
    struct slice forwarded = { 0 }, domain;
    struct buf ours = { 0 }, text = { 0 };
    struct srs srs;
    enum table_rc rc;

    if (sl_take_char(&key, '@') && !sl_take_until(&key, ' ', &forwarded))
        return TABLE_NOTFOUND; /* Postfix asks its maps for "@domain", too */
    if (!c->srs_enable || sl_find_char(key, '@') == SL_NPOS)
        return TABLE_NOTFOUND;
    domain = sl_from(key, sl_rfind_char(key, '@') + 1);
    if (domain.n == 0 || sl_starts(domain, '[') || is_excluded(&c->srs_exclude_domains, domain))
        return TABLE_NOTFOUND;
    rc = is_ours(s, domain, e);
    if (rc != TABLE_NOTFOUND)
        return rc == TABLE_FOUND ? TABLE_NOTFOUND : rc;
    rc = find_domain(s, forwarded, &ours, e);
    if (rc == TABLE_FOUND)
        rc = prepare(c, true, &text, &srs, e) == 0
                 ? outcome(srs_forward(&srs, key, buf_slice(&ours), value), e)
                 : trouble(e);
    buf_free(&ours);
    forget(&text);
    return rc;
}

static enum table_rc
reverse(struct table_set *s, struct slice key, bool wants_verdict, struct buf *value, struct err *e)
{
    struct buf text = { 0 };
    struct srs srs;
    enum srs_rc rc = SRS_OTHER;
    enum table_rc ours = TABLE_NOTFOUND;

    if (srs_is(key) && sl_find_char(key, '@') != SL_NPOS)
        ours = is_ours(s, sl_from(key, sl_rfind_char(key, '@') + 1), e);
    if (ours != TABLE_FOUND)
        return ours;
    if (prepare(table_set_conf(s), false, &text, &srs, e) != 0) {
        forget(&text);
        return e->kind == ERR_NOTFOUND ? TABLE_NOTFOUND : trouble(e); /* nothing was ever signed */
    }
    if (wants_verdict)
        buf_addz(value, "valid ");
    rc = srs_reverse(&srs, key, value);
    forget(&text);
    if (rc == SRS_EXPIRED && wants_verdict) {
        buf_reset(value);
        buf_addz(value, "expired");
        return TABLE_FOUND;
    }
    return outcome(rc, e);
}

bool
srs_map_has(struct slice name)
{
    return sl_eqz(name, "srs_forward") || sl_eqz(name, "srs_reverse") ||
           sl_eqz(name, "srs_verdict");
}

enum table_rc
srs_map_lookup(struct table_set *s, struct slice name, struct slice key, struct buf *value,
               struct err *e)
{
    buf_reset(value);
    if (key.n > TABLE_KEY_OCTETS)
        return TABLE_NOTFOUND;
    if (sl_eqz(name, "srs_forward"))
        return forward(s, key, value, e);
    return reverse(s, key, sl_eqz(name, "srs_verdict"), value, e);
}
