/* auth/srs.c - see srs.h. */
#include "auth/srs.h"

#include "base/enc.h"
#include "base/mem.h"
#include "tls/digest.h"

enum { DAY_S = 24 * 60 * 60, STAMP_LETTERS = 2, STAMPS = 1024, TAG_OCTETS = 5 };

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* Split at the last '@'. */
static bool
split(struct slice addr, struct slice *local, struct slice *domain)
{
    size_t at = sl_rfind_char(addr, '@');

    if (at == SL_NPOS || at == 0 || at + 1 == addr.n)
        return false;
    *local = sl_head(addr, at);
    *domain = sl_from(addr, at + 1);
    return true;
}

/* "SRS0=", "SRS0+" or "SRS0-" at the front. */
static bool
has_tag(struct slice local, const char *tag)
{
    if (!sl_take_iprefix(&local, sl_z(tag)) || local.n == 0)
        return false;
    return local.p[0] == '=' || local.p[0] == '+' || local.p[0] == '-';
}

bool
srs_is(struct slice addr)
{
    return has_tag(addr, "SRS0") || has_tag(addr, "SRS1");
}

/* ---- the hash ---- */

/* n_letters at the front of the hash of the parts. False: there is no SHA-1 to be had. */
static bool
make_hash(struct slice secret, const struct slice *parts, size_t n_parts, size_t n_letters,
          char out[SRS_HASH_MAX])
{
    unsigned char mac[DIGEST_MAX_OCTETS];
    struct buf text = { 0 };
    size_t n;

    for (size_t i = 0; i < n_parts; i++)
        for (size_t k = 0; k < parts[i].n; k++)
            buf_addc(&text, sl_lower_char(parts[i].p[k]));
    n = digest_hmac(DIGEST_SHA1, secret, buf_slice(&text), mac);
    buf_reset(&text);
    if (n > 0)
        enc_b64(&text, sl_n((const char *)mac, n));
    if (n > 0)
        memcpy(out, buf_slice(&text).p, n_letters);
    buf_free(&text);
    return n > 0;
}

/* In constant time, whatever the case of the letters. */
static bool
is_same_hash(struct slice given, const char *want)
{
    unsigned char differs = 0;

    for (size_t i = 0; i < given.n; i++)
        differs |= (unsigned char)(sl_lower_char(given.p[i]) ^ sl_lower_char(want[i]));
    return differs == 0;
}

static enum srs_rc
check_hash(const struct srs *c, struct slice given, const struct slice *parts, size_t n_parts)
{
    char want[SRS_HASH_MAX];

    /* a shorter one would be what somebody guesses (srs_hash_length) */
    if (given.n < c->hash || given.n > SRS_HASH_MAX)
        return SRS_OTHER;
    for (size_t i = 0; i < c->n_secrets; i++) {
        if (!make_hash(c->secrets[i], parts, n_parts, given.n, want))
            return SRS_FAILED;
        if (is_same_hash(given, want))
            return SRS_OK;
    }
    return SRS_OTHER;
}

/* ---- the day ---- */

static unsigned
today(const struct srs *c)
{
    return (unsigned)(c->now_s / DAY_S % STAMPS);
}

static bool
read_stamp(struct slice text, unsigned *day)
{
    *day = 0;
    if (text.n != STAMP_LETTERS)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char up = text.p[i] >= 'a' && text.p[i] <= 'z' ? (char)(text.p[i] - 'a' + 'A') : text.p[i];
        const char *at = up ? strchr(base32, up) : NULL;

        if (at == NULL)
            return false;
        *day = *day * 32 + (unsigned)(at - base32);
    }
    return true;
}

/* Two hosts with one secret may be on two sides of midnight: tomorrow is not too old. */
static bool
is_young(const struct srs *c, unsigned day)
{
    unsigned age = (today(c) + STAMPS - day) % STAMPS;

    return age <= c->days || age == STAMPS - 1;
}

/* ---- there ---- */

/* "SRS0=hash=part=part": whatever octets. */
static void
add_parts(struct buf *out, const char *tag, struct slice hash, const struct slice *parts, size_t n)
{
    buf_addz(out, tag);
    buf_addc(out, '=');
    buf_adds(out, hash);
    for (size_t i = 0; i < n; i++) {
        buf_addc(out, '=');
        buf_adds(out, parts[i]);
    }
}

static void
add_at(struct buf *out, struct slice domain)
{
    buf_addc(out, '@');
    buf_adds(out, domain);
}

/* SRS1 of an address that another host has made: only that one knows what is behind it. */
static enum srs_rc
add_later(const struct srs *c, struct slice first, struct slice rest, struct buf *out)
{
    const struct slice parts[] = { first, rest };
    char hash[SRS_HASH_MAX];

    if (!make_hash(c->secrets[0], parts, 2, c->hash, hash))
        return SRS_FAILED;
    add_parts(out, "SRS1", sl_n(hash, c->hash), parts, COUNT_OF(parts));
    return SRS_OK;
}

static enum srs_rc
add_first(const struct srs *c, struct slice local, struct slice domain, struct buf *out)
{
    const char stamp[] = { base32[today(c) / 32], base32[today(c) % 32] };
    const struct slice parts[] = { sl_n(stamp, sizeof stamp), domain, local };
    char hash[SRS_HASH_MAX];

    if (!make_hash(c->secrets[0], parts, 3, c->hash, hash))
        return SRS_FAILED;
    add_parts(out, "SRS0", sl_n(hash, c->hash), parts, COUNT_OF(parts));
    return SRS_OK;
}

enum srs_rc
srs_forward(const struct srs *c, struct slice sender, struct slice ours, struct buf *out)
{
    struct slice local, domain, rest, hash, first;
    enum srs_rc rc;

    if (c->n_secrets == 0 || !split(sender, &local, &domain) ||
        sl_find_char(domain, '=') != SL_NPOS) /* it would not lead back */
        return SRS_OTHER;
    rest = sl_from(local, local.n < TAG_OCTETS ? local.n : TAG_OCTETS);
    if (has_tag(local, "SRS0"))
        rc = add_later(c, domain, sl_from(local, TAG_OCTETS - 1), out);
    else if (has_tag(local, "SRS1") && sl_take_until(&rest, '=', &hash) &&
             sl_take_until(&rest, '=', &first) && first.n > 0 && rest.n > 0)
        rc = add_later(c, first, rest, out);
    else
        rc = add_first(c, local, domain, out);
    if (rc == SRS_OK)
        add_at(out, ours);
    return rc;
}

/* ---- and back ---- */

static enum srs_rc
undo_first(const struct srs *c, struct slice hash, struct slice rest, struct buf *out)
{
    struct slice stamp, domain, parts[3];
    unsigned day;
    enum srs_rc rc;

    if (!sl_take_until(&rest, '=', &stamp) || !read_stamp(stamp, &day) ||
        !sl_take_until(&rest, '=', &domain) || domain.n == 0 || rest.n == 0)
        return SRS_OTHER;
    parts[0] = stamp;
    parts[1] = domain;
    parts[2] = rest;
    rc = check_hash(c, hash, parts, 3);
    if (rc != SRS_OK)
        return rc;
    if (!is_young(c, day))
        return SRS_EXPIRED;
    buf_adds(out, rest);
    add_at(out, domain);
    return SRS_OK;
}

static enum srs_rc
undo_later(const struct srs *c, struct slice hash, struct slice rest, struct buf *out)
{
    struct slice parts[2];
    enum srs_rc rc;

    if (!sl_take_until(&rest, '=', &parts[0]) || parts[0].n == 0 || rest.n == 0)
        return SRS_OTHER;
    parts[1] = rest;
    rc = check_hash(c, hash, parts, 2);
    if (rc == SRS_OK) {
        buf_addz(out, "SRS0");
        buf_adds(out, rest);
        add_at(out, parts[0]);
    }
    return rc;
}

enum srs_rc
srs_reverse(const struct srs *c, struct slice addr, struct buf *out)
{
    struct slice local, domain, rest, hash;

    if (!split(addr, &local, &domain) || !srs_is(local))
        return SRS_OTHER;
    rest = sl_from(local, TAG_OCTETS);
    if (!sl_take_until(&rest, '=', &hash))
        return SRS_OTHER;
    return has_tag(local, "SRS0") ? undo_first(c, hash, rest, out) : undo_later(c, hash, rest, out);
}
