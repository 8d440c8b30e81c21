/* auth/password.c - see password.h. A scheme is a row: how to verify, how to make. */
#include "auth/password.h"

#include "auth/scram.h"
#include "base/buf.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

#include <crypt.h>
#include <stdio.h>
#include <stdlib.h>

enum { SALT_OCTETS = 8, DIGEST_TEXT_OCTETS = 400 };

enum encoding { ENC_DEFAULT, ENC_B64, ENC_HEX };

struct scheme {
    const char *name;
    const char *prefix; /* crypt(3): of its settings; NULL: no crypt(3) scheme */
    unsigned long cost; /* crypt_gensalt's count; 0: the library's */
    bool is_crypt, is_plain, is_salted, is_hex, is_scram;
    enum digest_kind digest;
};

static const struct scheme schemes[] = {
    { .name = "SHA512-CRYPT", .is_crypt = true, .prefix = "$6$" },
    { .name = "SHA256-CRYPT", .is_crypt = true, .prefix = "$5$" },
    { .name = "BLF-CRYPT", .is_crypt = true, .prefix = "$2y$", .cost = 10 },
    { .name = "MD5-CRYPT", .is_crypt = true, .prefix = "$1$" },
    { .name = "YESCRYPT", .is_crypt = true, .prefix = "$y$" },
    { .name = "DES-CRYPT", .is_crypt = true },
    { .name = "CRYPT", .is_crypt = true, .prefix = "$6$" },
    { .name = "MD5", .is_crypt = true, .prefix = "$1$" },
    { .name = "PLAIN", .is_plain = true },
    { .name = "PLAIN-TEXT", .is_plain = true },
    { .name = "CLEARTEXT", .is_plain = true },
    { .name = "CLEAR", .is_plain = true },
    { .name = "SHA", .digest = DIGEST_SHA1 },
    { .name = "SHA1", .digest = DIGEST_SHA1 },
    { .name = "SSHA", .digest = DIGEST_SHA1, .is_salted = true },
    { .name = "SHA256", .digest = DIGEST_SHA256 },
    { .name = "SSHA256", .digest = DIGEST_SHA256, .is_salted = true },
    { .name = "SHA512", .digest = DIGEST_SHA512 },
    { .name = "SSHA512", .digest = DIGEST_SHA512, .is_salted = true },
    { .name = "SCRAM-SHA-256", .is_scram = true, .digest = DIGEST_SHA256 },
    { .name = "PLAIN-MD5", .digest = DIGEST_MD5, .is_hex = true },
    { .name = "LDAP-MD5", .digest = DIGEST_MD5 },
    { .name = "SMD5", .digest = DIGEST_MD5, .is_salted = true },
};

static size_t
digest_octets(enum digest_kind k)
{
    switch (k) {
    case DIGEST_MD5:
        return 16;
    case DIGEST_SHA1:
        return 20;
    case DIGEST_SHA256:
        return 32;
    case DIGEST_SHA512:
        return 64;
    }
    return 0;
}

/* "SSHA512.hex": the scheme and how its octets are written. */
static const struct scheme *
find_scheme(struct slice name, enum encoding *enc)
{
    size_t dot = sl_find_char(name, '.');

    *enc = ENC_DEFAULT;
    if (dot != SL_NPOS) {
        struct slice suffix = sl_from(name, dot + 1);

        if (sl_ieqz(suffix, "hex"))
            *enc = ENC_HEX;
        else if (sl_ieqz(suffix, "b64") || sl_ieqz(suffix, "base64"))
            *enc = ENC_B64;
        else
            return NULL;
        name = sl_head(name, dot);
    }
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (sl_ieqz(name, schemes[i].name))
            return &schemes[i];
    return NULL;
}

bool
password_is_scheme(const char *scheme)
{
    enum encoding enc;

    return find_scheme(sl_z(scheme), &enc) != NULL;
}

/* Take "{SCHEME}" off the front of stored, or use the default. */
static const struct scheme *
scheme_of(struct slice *stored, const char *default_scheme, enum encoding *enc, struct err *e)
{
    struct slice at = *stored, name = sl_z(default_scheme);
    const struct scheme *s;

    if (sl_take_char(&at, '{') && sl_take_until(&at, '}', &name))
        *stored = at;
    s = find_scheme(name, enc);
    if (s == NULL)
        err_set(e, ERR_CONFIG, "password scheme %.*s is not known", SL_ARG(name));
    return s;
}

static bool
is_password(struct slice p)
{
    return p.n > 0 && p.n <= PASSWORD_MAX_OCTETS && memchr(p.p, '\0', p.n) == NULL;
}

/* ---- crypt(3) ---- */

int
password_crypt(struct slice password, struct slice salt, char out[PASSWORD_HASH_OCTETS])
{
    struct crypt_data *data;
    char *z, *setting;
    const char *hash;
    int rc = -1;

    if (password.n > PASSWORD_MAX_OCTETS || salt.n >= CRYPT_OUTPUT_SIZE)
        return -1;
    data = mem_zalloc(sizeof *data);
    z = sl_dupz(password);
    setting = sl_dupz(salt);
    hash = crypt_r(z, setting, data);
    if (hash && hash[0] != '*') { /* "*0" and "*1" are libxcrypt's failures */
        snprintf(out, PASSWORD_HASH_OCTETS, "%s", hash);
        rc = 0;
    }
    mem_wipe(z, password.n);
    mem_wipe(data, sizeof *data);
    free(z);
    free(setting);
    free(data);
    return rc;
}

static bool
is_same(struct slice a, struct slice b)
{
    return a.n == b.n && digest_equal(a.p, b.p, a.n);
}

static int
verify_crypt(struct slice stored, struct slice password)
{
    char out[PASSWORD_HASH_OCTETS];
    int rc;

    if (password_crypt(password, stored, out) < 0)
        return 0;
    rc = is_same(sl_z(out), stored);
    mem_wipe(out, sizeof out);
    return rc;
}

/* ---- digests ---- */

/* Octets of a digest as it is stored: hex when told, or when its length says so. */
static int
decode(const struct scheme *s, enum encoding enc, struct slice stored, struct buf *out)
{
    bool is_hex = enc == ENC_HEX ||
                  (enc == ENC_DEFAULT &&
                   (s->is_hex || (!s->is_salted && stored.n == digest_octets(s->digest) * 2)));

    if (is_hex)
        return enc_hex_decode(out, stored);
    if (enc_b64_decode(out, stored) == 0)
        return 0;
    buf_reset(out);
    return -1;
}

static size_t
salted_digest(const struct scheme *s, struct slice password, struct slice salt,
              unsigned char md[DIGEST_MAX_OCTETS])
{
    struct buf text = { 0 };
    size_t n;

    buf_adds(&text, password);
    buf_adds(&text, salt);
    n = digest(s->digest, buf_slice(&text), md);
    buf_wipe(&text);
    return n;
}

static int
verify_digest(const struct scheme *s, enum encoding enc, struct slice stored, struct slice password)
{
    unsigned char md[DIGEST_MAX_OCTETS];
    struct buf want = { 0 };
    size_t n = digest_octets(s->digest);
    int rc = 0;

    if (stored.n <= DIGEST_TEXT_OCTETS && decode(s, enc, stored, &want) == 0 &&
        (s->is_salted ? want.n > n : want.n == n)) {
        struct slice w = buf_slice(&want);

        rc = salted_digest(s, password, sl_from(w, n), md) == n && digest_equal(md, w.p, n);
    }
    buf_free(&want);
    return rc;
}

/* ---- SCRAM ---- */

static int
verify_scram(struct slice stored, struct slice password)
{
    struct sasl_verifier v;
    bool is_right = scram_read(stored, &v) == 0 && scram_matches(&v, password);

    mem_wipe(&v, sizeof v);
    return is_right;
}

static int
make_scram(struct slice password, char out[PASSWORD_HASH_OCTETS], struct err *e)
{
    struct buf text = { 0 };
    struct sasl_verifier v;

    if (scram_make(password, SCRAM_ITERATIONS, &v, e) < 0)
        return -1;
    buf_addz(&text, SCRAM_SCHEME_PREFIX);
    scram_write(&v, &text);
    snprintf(out, PASSWORD_HASH_OCTETS, "%s", buf_z(&text));
    mem_wipe(&v, sizeof v);
    buf_wipe(&text);
    return 0;
}

/* ---- the interface ---- */

int
password_verify(struct slice stored, struct slice password, const char *default_scheme,
                struct err *e)
{
    enum encoding enc;
    const struct scheme *s = scheme_of(&stored, default_scheme, &enc, e);

    if (s == NULL)
        return -1;
    if (!is_password(password) || stored.n == 0)
        return 0;
    if (s->is_crypt)
        return verify_crypt(stored, password);
    if (s->is_plain)
        return is_same(stored, password);
    if (s->is_scram)
        return verify_scram(stored, password);
    return verify_digest(s, enc, stored, password);
}

void
password_spend(struct slice stored, struct slice password, const char *default_scheme)
{
    char out[PASSWORD_HASH_OCTETS];
    struct err e;

    if (stored.n)
        password_verify(stored, password, default_scheme, &e);
    else
        password_crypt(password, SL("$6$nosuchuserhere.."), out);
}

static int
make_crypt(const struct scheme *s, struct slice password, char out[PASSWORD_HASH_OCTETS],
           struct err *e)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];

    /* Octets from the kernel's generator, through our own so that a test of it covers this too. */
    unsigned char seed[64];

    rand_octets(seed, sizeof seed);
    if (crypt_gensalt_rn(s->prefix ? s->prefix : "", s->cost, (char *)seed, sizeof seed, setting,
                         sizeof setting) == NULL ||
        password_crypt(password, sl_z(setting), out) < 0)
        return err_set(e, ERR_CONFIG, "password scheme %s cannot be made on this system", s->name);
    return 0;
}

static int
make_digest(const struct scheme *s, enum encoding enc, struct slice password,
            char out[PASSWORD_HASH_OCTETS], struct err *e)
{
    unsigned char md[DIGEST_MAX_OCTETS + SALT_OCTETS];
    struct buf text = { 0 };
    size_t n, salt_n = s->is_salted ? SALT_OCTETS : 0;
    char salt[SALT_OCTETS];

    rand_octets(salt, sizeof salt);
    n = salted_digest(s, password, sl_n(salt, salt_n), md);
    if (n == 0)
        return err_set(e, ERR_CONFIG, "password scheme %s is switched off on this system", s->name);
    memcpy(md + n, salt, salt_n);
    buf_addf(&text, "{%s%s}", s->name, enc == ENC_HEX ? ".hex" : "");
    if (enc == ENC_HEX || s->is_hex)
        enc_hex(&text, sl_n((char *)md, n + salt_n));
    else
        enc_b64(&text, sl_n((char *)md, n + salt_n));
    snprintf(out, PASSWORD_HASH_OCTETS, "%.*s", SL_ARG(buf_slice(&text)));
    buf_free(&text);
    return 0;
}

int
password_make(struct slice password, const char *scheme, char out[PASSWORD_HASH_OCTETS],
              struct err *e)
{
    enum encoding enc;
    const struct scheme *s = find_scheme(sl_z(scheme), &enc);

    if (s == NULL)
        return err_set(e, ERR_CONFIG, "password scheme %s is not known", scheme);
    if (password.n == 0)
        return err_set(e, ERR_CLIENT, "the password is empty");
    if (!is_password(password))
        return err_set(e, ERR_CLIENT, "the password is longer than %d octets or has a NUL in it",
                       PASSWORD_MAX_OCTETS - 1);
    if (s->is_crypt)
        return make_crypt(s, password, out, e);
    if (s->is_scram)
        return make_scram(password, out, e);
    if (!s->is_plain)
        return make_digest(s, enc, password, out, e);
    if (password.n > PASSWORD_HASH_OCTETS - sizeof "{PLAIN}")
        return err_set(e, ERR_CLIENT, "the password is too long to be stored in the clear");
    snprintf(out, PASSWORD_HASH_OCTETS, "{PLAIN}%.*s", SL_ARG(password));
    return 0;
}
