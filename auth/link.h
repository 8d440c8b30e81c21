/* auth/link.h - the client's end of a private socket: one connection, made on need and again after it broke.
 * What auth_client, lookup_client and anvil_client have in common. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_LINK_H
#define POSTERN_AUTH_LINK_H

#include "core/conn.h"
#include "core/loop.h"

/* A daemon that is being started again is back within this time; so long do questions wait before they fail. */
enum { LINK_PATIENCE_MS = 2000, LINK_RETRY_MS = 100 };

struct link;
struct link_ops {
    void (*on_up)(struct link *l, void *arg);    /* connected: say hello, then what waits */
    void (*on_input)(struct link *l, void *arg); /* take from l->conn */
    /* It was up and broke: questions that were sent have no answer. Call link_need() for those to be sent again. */
    void (*on_broken)(struct link *l, void *arg);
    void (*on_down)(struct link *l,
                    void *arg); /* nobody there for LINK_PATIENCE_MS: fail what waits */
};
struct link {
    char *path;
    const struct link_ops *ops;
    void *arg;
    struct conn *conn; /* NULL: none; set while connecting and connected */
    bool is_up;
    bool is_awaiting;  /* the conn's deadline runs */
    uint64_t since_ms; /* first attempt of this series; 0: none goes on */
    struct timer retry;
};

void link_init(struct link *l, const char *path, const struct link_ops *ops, void *arg);
void link_free(struct link *l); /* no callback any more */
void link_need(struct link *l); /* connect unless it is or tries already */
/* An answer must come within ms from now, or the connection is broken off; 0: none is awaited. For when one has come. */
void link_expect(struct link *l, uint64_t ms);
/* A question was sent: the same, but time that runs already runs on, or questions would keep a stuck peer alive. */
void link_asked(struct link *l, uint64_t ms);
void link_break(struct link *l); /* the peer talks nonsense; on_broken follows from the loop */

#endif
