/* session/handoff.h - login hands an authenticated session to imapd or pop3d over a SEQPACKET socket
 * ("private/imapd-N", "private/pop3d"): a descriptor (the client's own when plain; one end of a socketpair when login
 * goes on relaying TLS) and what the other side needs. The receiver believes nothing but the cookie, which it redeems
 * at authd (design §1). Layer: session. */
#ifndef POSTERN_SESSION_HANDOFF_H
#define POSTERN_SESSION_HANDOFF_H

#include "base/err.h"
#include "core/addr.h"

enum { HANDOFF_INPUT_MAX = 16 * 1024, HANDOFF_ADOPT_MS = 5000 };

struct handoff {
    struct slice cookie;   /* authd's one-time cookie */
    struct slice user;     /* for worker choice and logs only; the receiver must not trust it */
    struct slice tag;      /* IMAP tag of LOGIN/AUTHENTICATE: the receiver writes "tag OK [CAPABILITY ...] Logged in" */
    struct slice input;    /* octets the client sent after that command */
    struct slice session;  /* log id */
    struct slice client_id;/* IMAP ID the client gave, wire form, or empty */
    struct addr remote, local;
    bool is_tls;           /* the descriptor is a socketpair with login relaying */
};

/* Sender. cb: rc 0 adopted; -1 nobody adopted in time or the worker is away: the caller still owns its own end and
 * answers NO [UNAVAILABLE]. fd is moved (dup first when it must survive a failure). */
void handoff_send(const char *socket_path, const struct handoff *h, int fd, void (*cb)(uint64_t id, int rc), uint64_t id);

/* Receiver: for each accepted connection of the "imapd-N"/"pop3d" listener. on_session: *h is valid during the call, fd
 * is the callee's; the callee calls handoff_adopted(key, ok) once it knows (cookie redeemed or not). */
void handoff_serve(int fd, void (*on_session)(uint64_t key, const struct handoff *h, int fd));
void handoff_adopted(uint64_t key, bool ok);

#endif
