/* oauth/check.h - what a token is worth: by the cache, by its signature, or by asking the provider. On the loop.
 * Layer: oauth. */
#ifndef POSTERN_OAUTH_CHECK_H
#define POSTERN_OAUTH_CHECK_H

#include "auth/oauth_client.h"
#include "conf/conf.h"

/* Cached good tokens; the oldest goes first. */
enum { CHECK_CACHE_MAX = 10000 };

void check_init(void);
/* As c has it from now on; what is known is forgotten. -1 with e: nobody can be asked; checks are temporary failures until it
 * is set anew. Reads the files that c names. c is borrowed, but what runs keeps a reference. */
int check_set(const struct conf *c, struct err *e);

/* cb exactly once, maybe from inside the call. r is valid during it. */
typedef void check_fn(uint64_t id, uint64_t number, const struct oauth_result *r);
void check_token(struct slice token, check_fn *cb, uint64_t id, uint64_t number);

#endif
