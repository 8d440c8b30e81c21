/* oauth/jwks.h - a provider's public keys: JSON Web Key Sets (RFC 7517), keys of RSA, EC and OKP (RFC 7518 §6, RFC 8037).
 * Layer: oauth. Reentrant. */
#ifndef POSTERN_OAUTH_JWKS_H
#define POSTERN_OAUTH_JWKS_H

#include "base/err.h"
#include "tls/verify_sig.h"

enum { JWKS_OCTETS = 512 * 1024, JWKS_KEYS_MAX = 64 };

struct jwk {
    struct slice kid; /* p NULL: it has none */
    bool has_alg;
    enum verify_alg alg; /* the only one that it is for */
    struct verify_key *key;
};

struct jwks;
/* The text is {"keys":[...]} or one key. Keys that are not for signatures, or of kinds that are not known, are passed over
 * (RFC 7517 §5); so are symmetric ones: a key that everybody may read proves nothing. -1 with e ERR_CLIENT or ERR_LIMIT: no
 * JSON, or no key that could be used is left, or one is broken. Takes its time: not on the loop. */
int jwks_parse(struct slice text, struct jwks **out, struct err *e);
/* The same of a file; ERR_NOTFOUND, ERR_TEMP when it cannot be read. Blocks. */
int jwks_read(const char *path, struct jwks **out, struct err *e);
void jwks_free(struct jwks **k); /* NULL-safe */
size_t jwks_count(const struct jwks *k);
const struct jwk *jwks_at(const struct jwks *k, size_t i);
/* Some of it is secret: somebody has put private keys, or symmetric ones, where public ones belong. */
bool jwks_has_secret(const struct jwks *k);

#endif
