/* tls/verify_sig.c - see verify_sig.h. */
#include "tls/verify_sig.h"

#include "base/mem.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <stdlib.h>

enum key_kind { KEY_RSA, KEY_EC, KEY_ED };

struct verify_key {
    EVP_PKEY *h;
    enum key_kind kind;
    enum verify_curve curve; /* KEY_EC, KEY_ED */
};

static const struct {
    const char *group;
    size_t octets; /* of a coordinate */
    int raw;       /* KEY_ED: OpenSSL's number */
} curves[] = {
    [VERIFY_P256] = { "P-256", 32, 0 },
    [VERIFY_P384] = { "P-384", 48, 0 },
    [VERIFY_P521] = { "P-521", 66, 0 },
    [VERIFY_ED25519] = { NULL, 32, EVP_PKEY_ED25519 },
    [VERIFY_ED448] = { NULL, 57, EVP_PKEY_ED448 },
};

static const struct {
    const char *name, *digest;
    enum key_kind kind;
    bool is_pss;
    enum verify_curve curve; /* KEY_EC */
} algs[VERIFY_ALGS] = {
    [VERIFY_RS256] = { "RS256", "SHA256", KEY_RSA, false, 0 },
    [VERIFY_RS384] = { "RS384", "SHA384", KEY_RSA, false, 0 },
    [VERIFY_RS512] = { "RS512", "SHA512", KEY_RSA, false, 0 },
    [VERIFY_PS256] = { "PS256", "SHA256", KEY_RSA, true, 0 },
    [VERIFY_PS384] = { "PS384", "SHA384", KEY_RSA, true, 0 },
    [VERIFY_PS512] = { "PS512", "SHA512", KEY_RSA, true, 0 },
    [VERIFY_ES256] = { "ES256", "SHA256", KEY_EC, false, VERIFY_P256 },
    [VERIFY_ES384] = { "ES384", "SHA384", KEY_EC, false, VERIFY_P384 },
    [VERIFY_ES512] = { "ES512", "SHA512", KEY_EC, false, VERIFY_P521 },
    [VERIFY_EDDSA] = { "EdDSA", NULL, KEY_ED, false, 0 },
};

const char *
verify_alg_name(enum verify_alg a)
{
    return algs[a].name;
}

bool
verify_alg_find(struct slice name, enum verify_alg *a)
{
    for (size_t i = 0; i < COUNT_OF(algs); i++)
        if (sl_eqz(name, algs[i].name)) {
            *a = (enum verify_alg)i;
            return true;
        }
    return false;
}

/* ---- keys ---- */

static struct verify_key *
key_new(EVP_PKEY *h, enum key_kind kind, enum verify_curve curve)
{
    struct verify_key *k = MEM_NEW(struct verify_key);

    *k = (struct verify_key){ h, kind, curve };
    return k;
}

/* A public key of that type; NULL: these numbers make none. */
static EVP_PKEY *
from_params(const char *type, OSSL_PARAM_BLD *b)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY *h = NULL;
    EVP_PKEY_CTX *look = NULL;

    if (ctx == NULL || params == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &h, EVP_PKEY_PUBLIC_KEY, params) != 1)
        h = NULL;
    if (h)
        look = EVP_PKEY_CTX_new_from_pkey(NULL, h, NULL);
    if (h && (look == NULL || EVP_PKEY_public_check_quick(look) != 1)) {
        EVP_PKEY_free(h);
        h = NULL;
    }
    EVP_PKEY_CTX_free(look);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return h;
}

static struct slice
without_zeros(struct slice number)
{
    while (number.n > 0 && number.p[0] == '\0')
        number = sl_from(number, 1);
    return number;
}

int
verify_key_rsa(struct slice modulus, struct slice exponent, struct verify_key **out, struct err *e)
{
    OSSL_PARAM_BLD *b;
    BIGNUM *n, *x;
    EVP_PKEY *h = NULL;

    modulus = without_zeros(modulus);
    exponent = without_zeros(exponent);
    if (modulus.n > VERIFY_RSA_BITS_MAX / 8 || modulus.n < VERIFY_RSA_BITS_MIN / 8)
        return err_set(e, ERR_CLIENT, "an RSA key of %zu bits; from %d to %d will do",
                       modulus.n * 8, VERIFY_RSA_BITS_MIN, VERIFY_RSA_BITS_MAX);
    if (exponent.n == 0 || exponent.n > 8 || (exponent.p[exponent.n - 1] & 1) == 0 ||
        sl_eq(exponent, SL("\1")))
        return err_set(e, ERR_CLIENT, "an RSA key with an exponent that is none");
    b = OSSL_PARAM_BLD_new();
    n = BN_bin2bn((const unsigned char *)modulus.p, (int)modulus.n, NULL);
    x = BN_bin2bn((const unsigned char *)exponent.p, (int)exponent.n, NULL);
    if (b && n && x && OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_RSA_E, x) == 1)
        h = from_params("RSA", b);
    OSSL_PARAM_BLD_free(b);
    BN_free(n);
    BN_free(x);
    if (h == NULL)
        return err_set(e, ERR_CLIENT, "no RSA key");
    *out = key_new(h, KEY_RSA, 0);
    return 0;
}

static EVP_PKEY *
ec_key(enum verify_curve curve, struct slice x, struct slice y)
{
    unsigned char point[1 + 2 * 66] = { 4 }; /* uncompressed */
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *h = NULL;

    memcpy(point + 1, x.p, x.n);
    memcpy(point + 1 + x.n, y.p, y.n);
    if (b &&
        OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, curves[curve].group, 0) ==
            1 &&
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + x.n + y.n) == 1)
        h = from_params("EC", b);
    OSSL_PARAM_BLD_free(b);
    return h;
}

int
verify_key_point(enum verify_curve curve, struct slice x, struct slice y, struct verify_key **out,
                 struct err *e)
{
    bool is_ed = curves[curve].group == NULL;
    EVP_PKEY *h = NULL;

    if (x.n == curves[curve].octets && y.n == (is_ed ? 0 : x.n))
        h = is_ed ? EVP_PKEY_new_raw_public_key(curves[curve].raw, NULL, (const unsigned char *)x.p,
                                                x.n)
                  : ec_key(curve, x, y);
    ERR_clear_error();
    if (h == NULL)
        return err_set(e, ERR_CLIENT, "no point of its curve");
    *out = key_new(h, is_ed ? KEY_ED : KEY_EC, curve);
    return 0;
}

void
verify_key_free(struct verify_key **kp)
{
    if (*kp == NULL)
        return;
    EVP_PKEY_free((*kp)->h);
    free(*kp);
    *kp = NULL;
}

/* ---- signatures ---- */

bool
verify_key_fits(const struct verify_key *k, enum verify_alg a)
{
    return k->kind == algs[a].kind && (k->kind != KEY_EC || k->curve == algs[a].curve);
}

/* R and S side by side, each as long as a coordinate, to the DER that OpenSSL wants. NULL: that is no signature. */
static unsigned char *
der_of(struct slice rs, size_t octets, size_t *n)
{
    ECDSA_SIG *sig = ECDSA_SIG_new();
    const unsigned char *p = (const unsigned char *)rs.p;
    unsigned char *der = NULL;
    BIGNUM *r, *s;
    int len = -1;

    if (sig && rs.n == 2 * octets) {
        r = BN_bin2bn(p, (int)octets, NULL);
        s = BN_bin2bn(p + octets, (int)octets, NULL);
        if (r && s && ECDSA_SIG_set0(sig, r, s) == 1) {
            len = i2d_ECDSA_SIG(sig, &der);
        } else {
            BN_free(r);
            BN_free(s);
        }
    }
    ECDSA_SIG_free(sig);
    *n = len > 0 ? (size_t)len : 0;
    return len > 0 ? der : NULL;
}

static bool
is_right(const struct verify_key *k, enum verify_alg a, struct slice text, const unsigned char *sig,
         size_t n)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how = NULL; /* ctx's own */
    bool is_good =
        ctx && EVP_DigestVerifyInit_ex(ctx, &how, algs[a].digest, NULL, NULL, k->h, NULL) == 1;

    if (is_good && algs[a].is_pss)
        is_good = EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) == 1;
    is_good = is_good && EVP_DigestVerify(ctx, sig, n, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(ctx);
    return is_good;
}

bool
verify_sig(const struct verify_key *k, enum verify_alg a, struct slice text, struct slice signature)
{
    unsigned char *der = NULL;
    size_t n = signature.n;
    bool is_good;

    if (!verify_key_fits(k, a) || signature.n == 0)
        return false;
    if (k->kind == KEY_EC)
        der = der_of(signature, curves[k->curve].octets, &n);
    if (k->kind == KEY_EC && der == NULL)
        return false;
    is_good = is_right(k, a, text, der ? der : (const unsigned char *)signature.p, n);
    OPENSSL_free(der);
    ERR_clear_error();
    return is_good;
}
