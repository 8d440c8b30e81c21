/* oauth/keys.h - the file with the provider's public keys, read again when it has changed. On the loop; the file itself is
 * looked at by a thread. Layer: oauth. */
#ifndef POSTERN_OAUTH_KEYS_H
#define POSTERN_OAUTH_KEYS_H

#include "oauth/jwks.h"

enum { KEYS_POLL_MS = 2000 }; /* who looks at keys sees what the file was at most that long ago */

struct keys;
/* on_ready: whenever keys_are_ready() said no, it has become yes. */
struct keys *keys_new(void (*on_ready)(void));
/* Another file from now on; "": none. */
void keys_set(struct keys *k, const char *path);
/* Has the file been looked at lately? False: it is being looked at now, on_ready follows. */
bool keys_are_ready(struct keys *k);
/* The keys that the file had when it was last good; NULL: it never was, *why says what is wrong. */
const struct jwks *keys_now(const struct keys *k, const char **why);

#endif
