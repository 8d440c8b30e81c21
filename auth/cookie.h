/* auth/cookie.h - one-time cookies: proof, for imapd and pop3d, that somebody has logged in as this user. 128 random
 * bits, COOKIE_TTL_MS long, shown once: right or wrong, it is worth nothing afterwards. Good only at the daemon of the
 * service that was logged in to, and for the session it was made for. In authd's memory only. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_COOKIE_H
#define POSTERN_AUTH_COOKIE_H

#include "base/buf.h"
#include "base/slice.h"

enum { COOKIE_TTL_MS = 30 * 1000, COOKIES_MAX = 16384, COOKIE_HEX_DIGITS = 32 };

/* What a cookie stands for. */
struct cookie_grant {
    struct slice user;    /* canonical */
    struct slice master;  /* who logged in as that user; empty: the user */
    struct slice service; /* "imap", "pop3" */
    struct slice session; /* login's id of the session, or empty */
};

struct cookie_jar;
struct cookie_jar *cookie_jar_new(void);
void cookie_jar_free(struct cookie_jar **j);
/* All of g is copied. out: COOKIE_HEX_DIGITS and a NUL. When the jar is full the oldest cookie is worth nothing any more. */
void cookie_make(struct cookie_jar *j, const struct cookie_grant *g, uint64_t now_ms,
                 char out[COOKIE_HEX_DIGITS + 1]);

enum cookie_rc {
    COOKIE_GOOD,
    COOKIE_UNKNOWN, /* invented, used, or too old */
    COOKIE_ASTRAY   /* another service's or session's; it is void now */
};
/* service and session as the one who redeems knows them. GOOD: *out is set, its slices are in mem, which is appended to. */
enum cookie_rc cookie_redeem(struct cookie_jar *j, struct slice cookie, struct slice service,
                             struct slice session, uint64_t now_ms, struct buf *mem,
                             struct cookie_grant *out);
size_t cookie_count(const struct cookie_jar *j);

#endif
