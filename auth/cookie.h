/* auth/cookie.h - one-time cookies: proof, for imapd and pop3d, that somebody has logged in as this user. 128 random
 * bits, COOKIE_TTL_MS long, redeemed once. In authd's memory only. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_COOKIE_H
#define POSTERN_AUTH_COOKIE_H

#include "base/slice.h"

enum { COOKIE_TTL_MS = 30 * 1000, COOKIES_MAX = 16384, COOKIE_HEX_DIGITS = 32 };

struct cookie_jar;
struct cookie_jar *cookie_jar_new(void);
void cookie_jar_free(struct cookie_jar **j);
/* out: COOKIE_HEX_DIGITS and a NUL. When the jar is full the oldest cookie is worth nothing any more. */
void cookie_make(struct cookie_jar *j, struct slice user, uint64_t now_ms,
                 char out[COOKIE_HEX_DIGITS + 1]);
/* The user (malloc'ed, the caller frees), or NULL: unknown, used, or too old. */
char *cookie_redeem(struct cookie_jar *j, struct slice cookie, uint64_t now_ms);
size_t cookie_count(const struct cookie_jar *j);

#endif
