/* oauth/claims.h - is what a token, or the provider's answer about one, says enough, and for whom? The rules are main.cf's
 * (oauth2_...), the same for claims of a signed token (RFC 7519 §4, RFC 9068), an answer of introspection (RFC 7662 §2.2) and
 * what userinfo or tokeninfo say. Layer: oauth. Reentrant. */
#ifndef POSTERN_OAUTH_CLAIMS_H
#define POSTERN_OAUTH_CLAIMS_H

#include "auth/oauth_client.h"
#include "base/buf.h"
#include "base/json.h"
#include "conf/conf.h"

enum claims_from {
    CLAIMS_TOKEN,         /* signed: exp must be there */
    CLAIMS_INTROSPECTION, /* "active" must be true */
    CLAIMS_INFO           /* the provider answered, so it is active unless it says otherwise */
};
struct claims_verdict {
    enum oauth_rc rc; /* OAUTH_OK, OAUTH_INVALID */
    bool is_scope;    /* it is only the scope that is missing */
    struct slice user;
    int64_t expires_unix_s; /* 0: it does not say */
    char
        why[ERR_MSG_OCTETS]; /* OAUTH_INVALID: for the log; never has what the claims' values are */
};
/* v may be any JSON; user lies in it. */
void claims_judge(const struct json *v, enum claims_from from, const struct conf *c,
                  int64_t now_unix_s, struct claims_verdict *out);

#endif
