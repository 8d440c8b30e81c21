/* oauth/jwks.c - see jwks.h. */
#include "oauth/jwks.h"

#include "base/arena.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdlib.h>

enum { JWKS_ARENA_OCTETS = 4 * 1024 * 1024, NUMBER_OCTETS = 1024 };

struct jwks {
    struct jwk v[JWKS_KEYS_MAX];
    size_t n;
    bool has_secret;
};

/* A member that is a number in base64url. */
static int
take_octets(const struct json *j, const char *name, struct buf *out, struct err *e)
{
    struct slice text = json_string(j, name);

    if (text.p == NULL || enc_b64url_decode(out, text) != 0 || out->n == 0)
        return err_set(e, ERR_CLIENT, "a key without a good \"%s\"", name);
    return 0;
}

static int
take_rsa(const struct json *j, struct verify_key **out, struct err *e)
{
    struct buf n = { .max = NUMBER_OCTETS + 1 }, x = { .max = NUMBER_OCTETS };
    int rc = take_octets(j, "n", &n, e);

    if (rc == 0)
        rc = take_octets(j, "e", &x, e);
    if (rc == 0)
        rc = verify_key_rsa(buf_slice(&n), buf_slice(&x), out, e);
    buf_free(&n);
    buf_free(&x);
    return rc;
}

static int
take_point(const struct json *j, enum verify_curve curve, bool has_y, struct verify_key **out,
           struct err *e)
{
    struct buf x = { .max = NUMBER_OCTETS }, y = { .max = NUMBER_OCTETS };
    int rc = take_octets(j, "x", &x, e);

    if (rc == 0 && has_y)
        rc = take_octets(j, "y", &y, e);
    if (rc == 0)
        rc = verify_key_point(curve, buf_slice(&x), buf_slice(&y), out, e);
    buf_free(&x);
    buf_free(&y);
    return rc;
}

/* 1 taken, 0 none that is known here, -1 with e broken. */
static int
take_key(const struct json *j, struct verify_key **out, struct err *e)
{
    static const struct {
        const char *kty, *crv;
        enum verify_curve curve;
    } points[] = {
        { "EC", "P-256", VERIFY_P256 },   { "EC", "P-384", VERIFY_P384 },
        { "EC", "P-521", VERIFY_P521 },   { "OKP", "Ed25519", VERIFY_ED25519 },
        { "OKP", "Ed448", VERIFY_ED448 },
    };
    struct slice kty = json_string(j, "kty"), crv = json_string(j, "crv");

    if (sl_eqz(kty, "RSA"))
        return take_rsa(j, out, e) == 0 ? 1 : -1;
    for (size_t i = 0; i < COUNT_OF(points); i++)
        if (sl_eqz(kty, points[i].kty) && sl_eqz(crv, points[i].crv))
            return take_point(j, points[i].curve, sl_eqz(kty, "EC"), out, e) == 0 ? 1 : -1;
    return 0;
}

/* Is it for looking at signatures? RFC 7517 §4.2, §4.3 */
static bool
is_for_signatures(const struct json *j)
{
    const struct json *use = json_get(j, "use"), *ops = json_get(j, "key_ops");

    return (use == NULL || json_has_string(use, SL("sig"))) &&
           (ops == NULL || json_has_string(ops, SL("verify")));
}

static int
add_key(struct jwks *k, const struct json *j, struct err *e)
{
    struct jwk *one = &k->v[k->n];
    struct slice alg = json_string(j, "alg"), kid = json_string(j, "kid");
    int rc;

    *one = (struct jwk){ 0 };
    k->has_secret |= json_get(j, "d") || json_get(j, "k");
    if (alg.p) {
        one->has_alg = true;
        if (!verify_alg_find(alg, &one->alg))
            return 0; /* for encryption, or a secret */
    }
    if (!is_for_signatures(j))
        return 0;
    rc = take_key(j, &one->key, e);
    if (rc < 0)
        return err_prefix(e, "key %.*s", SL_ARG(kid.p ? sl_head(kid, 40) : SL("without kid")));
    if (rc > 0 && kid.p)
        one->kid = sl_n(sl_dupz(kid), kid.n);
    k->n += (size_t)rc;
    return 0;
}

static int
fill(struct jwks *k, const struct json *j, struct err *e)
{
    const struct json *keys = json_get(j, "keys");

    if (json_get(j, "kty")) { /* one key, by itself */
        if (add_key(k, j, e) != 0)
            return -1;
    } else if (keys == NULL || keys->type != JSON_ARRAY) {
        return err_set(e, ERR_CLIENT, "no key set: there is no array \"keys\"");
    }
    for (const struct json *one = keys ? keys->first : NULL; one; one = one->next) {
        if (one->type != JSON_OBJECT)
            return err_set(e, ERR_CLIENT, "a key that is no object");
        if (k->n == JWKS_KEYS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d keys", JWKS_KEYS_MAX);
        if (add_key(k, one, e) != 0)
            return -1;
    }
    if (k->n == 0)
        return err_set(e, ERR_CLIENT, "no public key for signatures in it");
    return 0;
}

int
jwks_parse(struct slice text, struct jwks **out, struct err *e)
{
    struct arena mem = { .cap = JWKS_ARENA_OCTETS };
    struct jwks *k = MEM_NEW(struct jwks);
    const struct json *j;
    int rc = json_parse(text, &mem, &j, e);

    if (rc == 0)
        rc = fill(k, j, e);
    arena_free(&mem);
    if (rc == 0)
        *out = k;
    else
        jwks_free(&k);
    return rc;
}

int
jwks_read(const char *path, struct jwks **out, struct err *e)
{
    struct buf text = { .max = JWKS_OCTETS };
    int rc = fs_read_file(path, &text, e);

    if (rc == 0) {
        rc = jwks_parse(buf_slice(&text), out, e);
        if (rc != 0)
            err_prefix(e, "%s", path);
    }
    buf_free(&text);
    return rc;
}

void
jwks_free(struct jwks **kp)
{
    struct jwks *k = *kp;

    if (k == NULL)
        return;
    for (size_t i = 0; i < k->n; i++) {
        verify_key_free(&k->v[i].key);
        free((void *)(uintptr_t)k->v[i].kid.p);
    }
    free(k);
    *kp = NULL;
}

size_t
jwks_count(const struct jwks *k)
{
    return k->n;
}

const struct jwk *
jwks_at(const struct jwks *k, size_t i)
{
    return i < k->n ? &k->v[i] : NULL;
}

bool
jwks_has_secret(const struct jwks *k)
{
    return k->has_secret;
}
