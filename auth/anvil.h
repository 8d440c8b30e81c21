/* auth/anvil.h - how many connections a client has and how often it does things, for all workers together.
 * Counts as Postfix's anvil(8): per ident "service:client"; rates begin anew when a time unit is over.
 * Bounded: at most ANVIL_ENTRIES_MAX idents. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_ANVIL_H
#define POSTERN_AUTH_ANVIL_H

#include "base/slice.h"

enum { ANVIL_ENTRIES_MAX = 100000, ANVIL_IDENT_OCTETS = 512 };
enum anvil_event {
    ANVIL_EV_CONNECT,
    ANVIL_EV_MESSAGE,
    ANVIL_EV_RECIPIENT,
    ANVIL_EV_NEWTLS,
    ANVIL_EV_AUTH,
    ANVIL_EVENTS
};

struct anvil;
struct anvil *anvil_new(uint64_t unit_ms);
void anvil_free(struct anvil **a);
void anvil_set_unit(struct anvil *a, uint64_t unit_ms);

struct anvil_counts {
    uint64_t connections;
    uint64_t rates[ANVIL_EVENTS];
};
/* Count one event at now_ms; out is what holds then. A full table forgets an ident that has no connection and did little;
 * false: none was found. */
bool anvil_count(struct anvil *a, struct slice ident, enum anvil_event ev, uint64_t now_ms,
                 struct anvil_counts *out);
/* Without counting; zeroes for an ident that is not known. */
void anvil_peek(struct anvil *a, struct slice ident, uint64_t now_ms, struct anvil_counts *out);
void anvil_disconnect(struct anvil *a, struct slice ident);
/* Forget idents without connections whose rates are out of date. */
void anvil_sweep(struct anvil *a, uint64_t now_ms);
size_t anvil_size(const struct anvil *a);
/* Log the highest counts since the last report and whose they were, as Postfix's anvil does ("statistics: max connection
 * rate 5/60s for (smtp:192.0.2.1) at Nov 22 18:43:32"); nothing where there was nothing. */
void anvil_report(struct anvil *a, const char *log_ident);

/* private/anvil: take over a connection. The table is shared by all of them. */
void anvil_serve(struct anvil *a, int fd);
/* A request of our own on private/anvil, "account" (ident, recipients): counted here; NULL: answered with a failure. */
struct account_rate;
void anvil_serve_accounts(struct account_rate *a);

#endif
