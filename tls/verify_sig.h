/* tls/verify_sig.h - public keys from their numbers, and signatures by them, as JSON Web Signatures have both (RFC 7518 §3,
 * §6; RFC 8037). Layer: tls. Reentrant. */
#ifndef POSTERN_TLS_VERIFY_SIG_H
#define POSTERN_TLS_VERIFY_SIG_H

#include "base/err.h"
#include "base/slice.h"

enum { VERIFY_RSA_BITS_MIN = 2048, VERIFY_RSA_BITS_MAX = 8192 };

enum verify_curve { VERIFY_P256, VERIFY_P384, VERIFY_P521, VERIFY_ED25519, VERIFY_ED448 };
enum verify_alg {
    VERIFY_RS256, /* RSASSA-PKCS1-v1_5 */
    VERIFY_RS384,
    VERIFY_RS512,
    VERIFY_PS256, /* RSASSA-PSS, salt as long as the digest */
    VERIFY_PS384,
    VERIFY_PS512,
    VERIFY_ES256, /* ECDSA, each on its own curve; the signature is R and S, not DER */
    VERIFY_ES384,
    VERIFY_ES512,
    VERIFY_EDDSA,
    VERIFY_ALGS
};
const char *verify_alg_name(enum verify_alg a); /* "RS256" */
bool verify_alg_find(struct slice name,
                     enum verify_alg *a); /* as it is spelled; false: none of these */

struct verify_key;
/* Numbers in network order. -1 with e ERR_CLIENT: too short or too long a modulus, no point of the curve, ... */
int verify_key_rsa(struct slice modulus, struct slice exponent, struct verify_key **out,
                   struct err *e);
/* y is empty for Ed25519 and Ed448. */
int verify_key_point(enum verify_curve curve, struct slice x, struct slice y,
                     struct verify_key **out, struct err *e);
void verify_key_free(struct verify_key **k); /* NULL-safe */

/* Is it a key for that algorithm? */
bool verify_key_fits(const struct verify_key *k, enum verify_alg a);
/* False: not by this key, or not of these octets, or the key does not fit. Some 50 microseconds to a millisecond. */
bool verify_sig(const struct verify_key *k, enum verify_alg a, struct slice text,
                struct slice signature);

#endif
