/* session/handoff.h - login hands an authenticated session to imapd or pop3d over a SEQPACKET socket
 * ("private/imapd-N", "private/pop3d"), and imapd hands back one that is authenticated no more ("private/login", RFC
 * 8437): a descriptor (the client's own when plain; one end of a socketpair when login goes on relaying TLS) and what the other side needs. The receiver believes nothing but the cookie, which it redeems
 * at authd (design §1). On the loop. Layer: session. */
#ifndef POSTERN_SESSION_HANDOFF_H
#define POSTERN_SESSION_HANDOFF_H

#include "base/err.h"
#include "core/addr.h"

/* HANDOFF_MARGIN_MS before the sender gives up the receiver may no longer adopt, so never do both answer the client. */
enum {
    HANDOFF_INPUT_MAX = 16 * 1024,
    HANDOFF_ADOPT_MS = 5000,
    HANDOFF_MARGIN_MS = 500,
    HANDOFF_SESSION_OCTETS = 64, /* of an id; it is one word */
    /* What a receiver bears of senders that mean it harm. */
    HANDOFF_PEERS_MAX =
        512, /* connections to it; a process has more than HANDOFF_PEER_CONNS_MAX only until one more comes */
    HANDOFF_PEER_CONNS_MAX = 4,
    HANDOFF_OFFERS_MAX = 1024, /* not decided yet, of all; others are refused at once */
    HANDOFF_BAD_MAX = 64       /* malformed or refused in a row: then the connection ends */
};

struct handoff {
    struct slice cookie; /* authd's one-time cookie */
    struct slice user;   /* for worker choice and logs only; the receiver must not trust it */
    struct slice
        tag; /* IMAP tag of LOGIN/AUTHENTICATE: the receiver writes "tag OK [CAPABILITY ...] Logged in" */
    struct slice input;     /* octets the client sent after that command */
    struct slice session;   /* log id */
    struct slice client_id; /* IMAP ID the client gave, wire form, or empty */
    struct slice
        reply; /* to login only: what it writes first, as it is, in place of "tag OK ..." */
    struct addr remote, local;
    bool is_tls;  /* the descriptor is a socketpair with login relaying */
    bool is_utf8; /* POP3: the client has said UTF8 (RFC 6856 §2.1) */
};

/* Sender. cb, once and never from inside the call: result is the adopter's process id; or -1: the worker refused, did not
 * adopt in time or is away. Then the caller still owns its own end and answers NO [UNAVAILABLE]. fd is moved (dup first
 * when it must survive a failure). Fields together at most HANDOFF_INPUT_MAX + 12 KiB; more is -1 too. */
void handoff_send(const char *socket_path, const struct handoff *h, int fd,
                  void (*cb)(uint64_t id, int result), uint64_t id);

/* Receiver: for each accepted connection of the "imapd-N"/"pop3d" listener. on_session: *h is valid during the call, fd
 * is the callee's; the callee calls handoff_adopted(key, ok) once it knows (cookie redeemed or not), before it writes
 * anything to the client. True: the session is the callee's. False: not ok, too late or the sender is gone: close fd. */
void handoff_serve(int fd, void (*on_session)(uint64_t key, const struct handoff *h, int fd));
bool handoff_adopted(uint64_t key, bool ok);

#endif
