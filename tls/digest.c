/* tls/digest.c - digests and MACs. */
#include "tls/digest.h"

#include "base/mem.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <stdlib.h>

static const EVP_MD *
md_of(enum digest_kind k)
{
    switch (k) {
    case DIGEST_MD5:
        return EVP_md5();
    case DIGEST_SHA1:
        return EVP_sha1();
    case DIGEST_SHA256:
        return EVP_sha256();
    case DIGEST_SHA512:
        return EVP_sha512();
    }
    return NULL;
}

size_t
digest(enum digest_kind k, struct slice in, unsigned char out[DIGEST_MAX_OCTETS])
{
    unsigned n = 0;

    return EVP_Digest(in.p, in.n, out, &n, md_of(k), NULL) == 1 ? n : 0;
}

size_t
digest_hmac(enum digest_kind k, struct slice key, struct slice in,
            unsigned char out[DIGEST_MAX_OCTETS])
{
    unsigned n = 0;

    /* An empty key is a key; a NULL one would mean "the last one". */
    if (!HMAC(md_of(k), key.n ? key.p : "", (int)key.n, (const unsigned char *)in.p, in.n, out, &n))
        return 0;
    return n;
}

struct digest_key {
    EVP_MAC_CTX *ready; /* the key is in; copied for each MAC */
};

struct digest_key *
digest_key_new(enum digest_kind k, struct slice key)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(
                                "digest", (char *)(uintptr_t)EVP_MD_get0_name(md_of(k)),
                                0), /* it is only read */
                            OSSL_PARAM_construct_end() };
    struct digest_key *out = NULL;

    if (ctx && EVP_MAC_init(ctx, (const unsigned char *)(key.n ? key.p : ""), key.n, params) == 1) {
        out = MEM_NEW(struct digest_key);
        out->ready = ctx;
        ctx = NULL;
    }
    EVP_MAC_CTX_free(ctx);
    EVP_MAC_free(mac);
    return out;
}

void
digest_key_free(struct digest_key **k)
{
    if (*k == NULL)
        return;
    EVP_MAC_CTX_free((*k)->ready);
    free(*k);
    *k = NULL;
}

size_t
digest_key_mac(const struct digest_key *k, struct slice in, unsigned char out[DIGEST_MAX_OCTETS])
{
    EVP_MAC_CTX *ctx = k ? EVP_MAC_CTX_dup(k->ready) : NULL;
    size_t n = 0;

    if (ctx == NULL || EVP_MAC_update(ctx, (const unsigned char *)in.p, in.n) != 1 ||
        EVP_MAC_final(ctx, out, &n, DIGEST_MAX_OCTETS) != 1)
        n = 0;
    EVP_MAC_CTX_free(ctx);
    return n;
}

size_t
digest_pbkdf2(enum digest_kind k, struct slice password, struct slice salt, uint32_t iterations,
              unsigned char out[DIGEST_MAX_OCTETS])
{
    const EVP_MD *md = md_of(k);
    int n = EVP_MD_get_size(md);

    if (n <= 0 || PKCS5_PBKDF2_HMAC(password.n ? password.p : "", (int)password.n,
                                    (const unsigned char *)(salt.n ? salt.p : ""), (int)salt.n,
                                    (int)iterations, md, n, out) != 1)
        return 0;
    return (size_t)n;
}

bool
digest_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
