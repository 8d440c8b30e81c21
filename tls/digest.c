/* tls/digest.c - digests and MACs. */
#include "tls/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

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
