/* oauth/http.h - asking an HTTP server something (RFC 9110, 9112): one request on one connection, over TLS to a server that
 * proves its name, unless the URL is http. No redirects: where a token goes is the operator's to say. On the loop.
 * Layer: oauth. */
#ifndef POSTERN_OAUTH_HTTP_H
#define POSTERN_OAUTH_HTTP_H

#include "dns/dns.h"
#include "oauth/http_reply.h"
#include "oauth/url.h"
#include "tls/tls.h"

enum {
    HTTP_WAITING_MAX = 1024, /* beyond the connections that may be at once */
    HTTP_ADDRS_MAX = 8,      /* of a host that are tried */
    HTTP_DIAL_MS = 3000      /* for one address, while there is another */
};

struct http_client;
struct http_client *http_client_new(void);
/* Borrowed, until set anew; for requests that begin from here on. Either may be NULL: what needs it fails. */
void http_client_set(struct http_client *h, struct dns *dns, struct tls_ctx *tls,
                     unsigned max_connections);

struct http_ask {
    const struct url *url;
    struct slice suffix;        /* appended to the target */
    struct slice authorization; /* "Bearer ...", "Basic ..."; n 0: none */
    struct slice form;          /* p set: POST of application/x-www-form-urlencoded; else GET */
    uint64_t timeout_ms;        /* for all of it, waiting included */
};
struct http_answer {
    unsigned status;   /* 0: there is none, why says so */
    struct slice body; /* valid during the callback */
    const char *why;
};
/* All is copied, and wiped afterwards. cb comes from the loop exactly once, never from inside the call. */
void http_client_ask(struct http_client *h, const struct http_ask *ask,
                     void (*cb)(uint64_t id, const struct http_answer *a), uint64_t id);
size_t http_client_count(const struct http_client *h); /* of requests not yet answered */

/* Append s as a value of a form or a query: all but letters, digits and "-._~" as %XX. */
void http_add_escaped(struct buf *out, struct slice s);

#endif
