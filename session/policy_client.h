/* session/policy_client.h - asking a policy server (SMTPD_POLICY_README): connections are kept open and shared by all
 * sessions of the process, one request at a time on each; what fails is tried again as Postfix does.
 * Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_POLICY_CLIENT_H
#define POSTERN_SESSION_POLICY_CLIENT_H

#include "base/err.h"
#include "base/slice.h"

enum {
    POLICY_CONNS_MAX = 100, /* to one server; further requests wait for one of them to be free */
    POLICY_PENDING_MAX = 20000, /* requests under way in the process; more are failed at once */
    POLICY_SERVERS_MAX = 64,    /* names in main.cf that are remembered */
    POLICY_ADDRS_MAX = 8        /* of a host name are tried */
};

/* A server, and how to treat it. Strings are copied where they are needed beyond the call. */
struct policy_server {
    const char *name; /* for the log, as Postfix names it: "private/policy", "127.0.0.1:10023" */
    const char *path; /* of a unix socket; NULL: host and port */
    const char *host; /* a name or an address without brackets */
    uint16_t port;
    uint64_t timeout_ms; /* of one attempt: connection, request and reply */
    uint64_t max_idle_ms, max_ttl_ms, retry_delay_ms;
    unsigned request_limit; /* of one connection; 0: none */
    unsigned try_limit;
    bool is_quiet; /* who asks tells the log that it failed */
};

struct dns;
struct policy_client;
/* d may be NULL where hosts are addresses only; borrowed. */
struct policy_client *policy_client_new(struct dns *d);
void policy_client_free(struct policy_client **p); /* no callback any more; NULL-safe */

/* Send the request (policy_end() was called; copied). cb comes from the loop exactly once, never from inside the call:
 * ok with what "action=" said, valid during the call; or not ok: every attempt failed, and the log says why.
 * ident: the log's program name, NULL for the process's own; copied. */
void policy_ask(struct policy_client *p, const struct policy_server *s, const char *ident,
                struct slice request, void (*cb)(uint64_t id, bool ok, struct slice action),
                uint64_t id);

#endif
