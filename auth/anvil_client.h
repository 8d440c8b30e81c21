/* auth/anvil_client.h - counting clients across all workers: Postfix's anvil protocol on private/anvil.
 * ident is "service:client", e.g. "smtp:192.0.2.1", as Postfix writes it; a login's is "imap:user:192.0.2.1".
 * Asynchronous, on the loop, pipelined over one connection; what a process has connected is taken back when it ends.
 * Layer: auth. */
#ifndef POSTERN_AUTH_ANVIL_CLIENT_H
#define POSTERN_AUTH_ANVIL_CLIENT_H

#include "base/slice.h"

#include <stdint.h>

enum anvil_req {
    ANVIL_CONNECT,       /* count, rate */
    ANVIL_DISCONNECT,    /* nothing */
    ANVIL_MESSAGE,       /* rate */
    ANVIL_RECIPIENT,     /* rate */
    ANVIL_NEWTLS,        /* rate */
    ANVIL_NEWTLS_STATUS, /* rate, counts nothing */
    ANVIL_AUTH,          /* rate */
    ANVIL_LOOKUP,        /* all, counts nothing */
    ANVIL_ACCOUNT        /* anvil_ask_account() */
};
struct anvil_result {
    bool is_ok; /* false: authd is away or the table is full: Postfix then lets the client pass */
    uint64_t count; /* connections now, this one included */
    uint64_t rate;  /* of the thing asked for, within anvil_rate_time_unit */
    uint64_t messages, recipients, newtls, auths; /* rates, for ANVIL_LOOKUP */
    /* ANVIL_ACCOUNT: the limit that is exceeded ("message_limit_hour"; "": none), what it is (count: what would be), and
     * whether postmaster is to be told. */
    char limit[32];
    uint64_t max;
    bool tell;
};

struct anvil_client;
struct anvil_client *anvil_client_new(const char *socket_path);
void anvil_client_free(struct anvil_client **a);
/* Be connected, and again whenever that broke. on_up comes each time it is, before what waits is sent: for telling what the
 * other side has forgotten, by anvil_ask(). */
void anvil_client_stay(struct anvil_client *a, void (*on_up)(void *arg), void *arg);
bool anvil_client_is_up(const struct anvil_client *a);
/* cb may be NULL; it comes from the loop exactly once, never from inside the call. */
void anvil_ask(struct anvil_client *a, enum anvil_req req, struct slice ident,
               void (*cb)(uint64_t id, const struct anvil_result *r), uint64_t id);
/* The same for a message that an account submits to so many recipients. */
void anvil_ask_account(struct anvil_client *a, struct slice account, uint64_t recipients,
                       void (*cb)(uint64_t id, const struct anvil_result *r), uint64_t id);

#endif
