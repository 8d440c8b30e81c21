/* session/userip.h - how many sessions a user has from one address, in all processes of a service together
 * (mail_max_userip_connections). authd counts (private/sessions, the anvil protocol: what a process has is taken back when it
 * ends, and told again to an authd that was restarted); while authd is away each process counts for itself. On the loop.
 * Layer: session. */
#ifndef POSTERN_SESSION_USERIP_H
#define POSTERN_SESSION_USERIP_H

#include "base/slice.h"
#include "core/addr.h"

struct userips;
/* service: "imap"; socket_path: of private/sessions. */
struct userips *userips_new(const char *service, const char *socket_path);
void userips_free(struct userips **u); /* no callback any more */

/* One more session of user from remote, of which there may be `most` at a time (0: any number). cb comes from the loop once,
 * never from inside the call: token is malloc'ed and the callee's, to be given back by userip_leave(); or NULL: that would be
 * too many. */
void userip_join(struct userips *u, struct slice user, const struct addr *remote, uint64_t most,
                 void (*cb)(uint64_t id, char *token), uint64_t id);
void userip_leave(struct userips *u, char *token); /* frees it; NULL-safe */

#endif
