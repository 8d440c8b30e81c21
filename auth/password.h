/* auth/password.h - stored passwords: crypt(3) of libxcrypt, and Dovecot's schemes with a {SCHEME} in front.
 * Blocking by intent (milliseconds of hashing): work pool or command line only. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_PASSWORD_H
#define POSTERN_AUTH_PASSWORD_H

#include "base/err.h"
#include "base/slice.h"

/* Room for any hash with its scheme; the longest password that is hashed (crypt(3)'s own limit). */
enum { PASSWORD_HASH_OCTETS = 512, PASSWORD_MAX_OCTETS = 512 };

/* 1 right, 0 wrong, -1 the stored text is of a scheme that is not known here (e tells). default_scheme is that of
 * stored text without {SCHEME}. Empty passwords are wrong, and so are those with a NUL in them. */
int password_verify(struct slice stored, struct slice password, const char *default_scheme,
                    struct err *e);
/* Spend the time that verifying against `stored` would (empty: a fresh SHA512-CRYPT): for a user who does not exist. */
void password_spend(struct slice stored, struct slice password, const char *default_scheme);
/* A new hash for storing. In scheme's own form; {SCHEME} in front only where that form does not tell it. -1: e
 * (ERR_CLIENT: a password that cannot be one, ERR_CONFIG: no such scheme). */
int password_make(struct slice password, const char *scheme, char out[PASSWORD_HASH_OCTETS],
                  struct err *e);
bool password_is_scheme(const char *scheme);
/* crypt(3): 0, or -1 when the salt is none. */
int password_crypt(struct slice password, struct slice salt, char out[PASSWORD_HASH_OCTETS]);

#endif
