/* oauth/jwt.h - signed tokens: JSON Web Signature in its compact form (RFC 7515 §7.1) and JSON Web Token (RFC 7519).
 * Layer: oauth. Reentrant. */
#ifndef POSTERN_OAUTH_JWT_H
#define POSTERN_OAUTH_JWT_H

#include "base/json.h"
#include "oauth/jwks.h"

enum { JWT_ARENA_OCTETS = 256 * 1024 };

/* Appends what was signed to payload. -1 with e ERR_CLIENT and why: no signed token; by no key that there is; an algorithm
 * that is none for public keys ("none", HS256: whoever knows the public key could have made it); "crit" (RFC 7515 §4.1.11).
 * A key is tried when it fits the algorithm, and, where both the token and the key have a kid, has that. */
int jws_verify(struct slice token, const struct jwks *keys, struct buf *payload, struct err *e);
/* The same, and the payload is claims, an object in mem (whose cap should be JWT_ARENA_OCTETS). What they say is for the
 * caller to judge (claims.h). */
int jwt_verify(struct slice token, const struct jwks *keys, struct arena *mem,
               const struct json **claims, struct err *e);

#endif
