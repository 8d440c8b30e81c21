/* session/upstream_proxy.h - connections that a proxy passes on: its header (proto/proxy_header.h) is read before the
 * daemon's own engine has the connection, so nothing that a client sends is looked at before it is known whose it is.
 * Whom to believe is the daemon's to say, before it calls this. Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_UPSTREAM_PROXY_H
#define POSTERN_SESSION_UPSTREAM_PROXY_H

#include "base/err.h"
#include "base/slice.h"
#include "core/addr.h"

/* Whose connection it is. */
struct upstream_client {
    /* As the proxy says; where it speaks for itself (LOCAL, UNKNOWN, AF_UNSPEC) the connection's own ends. */
    struct addr peer, local;
    struct slice unread; /* came with the header and is the client's; valid during the call */
};

struct upstream_ops {
    /* fd is the callee's. */
    void (*ready)(void *arg, int fd, const struct upstream_client *c);
    /* No header, a bad one, or too late. What is returned is sent before the connection is closed; NULL: nothing. */
    const char *(*failed)(void *arg, const struct err *why);
};

/* Take over fd, whose peer is the proxy, and read the header, within timeout_ms in all. ready or failed is called exactly
 * once, from the loop and not from inside the call. */
void upstream_proxy_read(int fd, const struct addr *proxy, uint64_t timeout_ms,
                         const struct upstream_ops *ops, void *arg);

/* How many headers are being read; and end them all (failed is called). */
size_t upstream_proxy_count(void);
void upstream_proxy_drain(void);

#endif
