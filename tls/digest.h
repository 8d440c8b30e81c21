/* tls/digest.h - digests and MACs by OpenSSL. Layer: tls. Reentrant. */
#ifndef POSTERN_TLS_DIGEST_H
#define POSTERN_TLS_DIGEST_H

#include "base/slice.h"

enum digest_kind { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256, DIGEST_SHA512 };
enum { DIGEST_MAX_OCTETS = 64 };

/* Octets written to out; 0 on failure (the algorithm is switched off in this OpenSSL). */
size_t digest(enum digest_kind k, struct slice in, unsigned char out[DIGEST_MAX_OCTETS]);
size_t digest_hmac(enum digest_kind k, struct slice key, struct slice in,
                   unsigned char out[DIGEST_MAX_OCTETS]);
/* A key that many MACs are made with: setting it up is most of what one of a short text costs. NULL: as 0 above. */
struct digest_key;
struct digest_key *digest_key_new(enum digest_kind k, struct slice key);
void digest_key_free(struct digest_key **k);
/* HMAC; 0 on failure, or where there is no key. */
size_t digest_key_mac(const struct digest_key *k, struct slice in,
                      unsigned char out[DIGEST_MAX_OCTETS]);
/* PBKDF2 (RFC 8018 §5.2), as long as the digest. Takes its time: not on the loop. */
size_t digest_pbkdf2(enum digest_kind k, struct slice password, struct slice salt,
                     uint32_t iterations, unsigned char out[DIGEST_MAX_OCTETS]);
/* Constant-time comparison. */
bool digest_equal(const void *a, const void *b, size_t n);

#endif
