/* auth/oauth_client.h - asking oauthd on private/oauth what a token is worth. Lines of fields between tabs (auth/tab.h),
 * numbered, in any order:
 *   CHECK number token=...
 *   OK number user=NAME                  the token is good and names that user, as the provider spells it
 *   INVALID number why=... [scope]       it is not; scope: for want of a scope
 *   TEMP number why=...                  nobody can tell now
 * Asynchronous, on the loop, over one connection. Layer: auth. */
#ifndef POSTERN_AUTH_OAUTH_CLIENT_H
#define POSTERN_AUTH_OAUTH_CLIENT_H

#include "base/slice.h"
#include "conf/conf.h"

/* Longest token: of one response less what is around it. Those of large providers have 2 to 4 KiB. */
enum { OAUTH_TOKEN_OCTETS = 8000, OAUTH_PENDING_MAX = 4096 };

/* Does main.cf offer a mechanism with tokens? Then oauthd runs. */
bool oauth_is_offered(const struct conf *c);
/* And say who could tell what one is worth? */
bool oauth_is_configured(const struct conf *c);

enum oauth_rc {
    OAUTH_OK,
    OAUTH_INVALID, /* no such token, expired, for somebody else */
    OAUTH_TEMP     /* oauthd or the provider is away, or is not set up rightly: never "wrong" */
};
struct oauth_result {
    enum oauth_rc rc;
    struct slice user; /* OAUTH_OK */
    struct slice why;  /* else: for the log, never the client */
    bool is_scope;     /* OAUTH_INVALID: the token is good but for its scope */
};

struct oauth_client;
struct oauth_client *oauth_client_new(const char *socket_path);
void oauth_client_free(struct oauth_client **o);
/* cb comes from the loop exactly once, never from inside the call; slices are valid during it. A token that is empty, too
 * long or has octets that none has is OAUTH_INVALID without being asked for. */
void oauth_client_check(struct oauth_client *o, struct slice token,
                        void (*cb)(uint64_t id, const struct oauth_result *r), uint64_t id);
/* RFC 6750 §2.1: letters, digits, "-._~+/" and then "=". */
bool oauth_is_token(struct slice token);

#endif
