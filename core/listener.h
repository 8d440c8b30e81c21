/* core/listener.h - listening sockets. Layer: core. */
#ifndef POSTERN_CORE_LISTENER_H
#define POSTERN_CORE_LISTENER_H

#include "core/addr.h"

#include <stdint.h>

struct listener;

/* Bind and listen with the largest backlog; returns a descriptor or -1 with e (kind ERR_CONFIG: address in use,
 * permission, ...; sys is errno). A unix socket file that nobody listens behind is replaced, and gets unix_mode.
 * type SOCK_STREAM or SOCK_SEQPACKET. */
int listener_bind(const struct addr *a, int type, unsigned unix_mode, struct err *e);

/* Accept on fd (taken over, shared with sibling workers): on_accept gets a non-blocking close-on-exec
 * descriptor that is the callee's, and the peer. At descriptor exhaustion it pauses for a second and warns once a
 * minute; a few accepts a turn so that sessions get theirs. */
struct listener *listener_new(int fd,
                              void (*on_accept)(struct listener *, void *arg, int fd,
                                                const struct addr *peer),
                              void *arg);
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
void listener_free(struct listener **l);

#endif
