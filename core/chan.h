/* core/chan.h - whole messages with descriptors over a unix SOCK_SEQPACKET socket: supervisor to daemon,
 * login to imapd. A message is at most CHAN_MSG_OCTETS; more goes by memfd. Layer: core. */
#ifndef POSTERN_CORE_CHAN_H
#define POSTERN_CORE_CHAN_H

#include "base/err.h"
#include "base/slice.h"

enum { CHAN_MSG_OCTETS = 32 * 1024, CHAN_FDS_MAX = 4 };

struct chan;
struct chan_ops {
    /* fds become the receiver's: close what is not kept. msg is valid during the call. */
    void (*on_msg)(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds);
    void (*on_close)(struct chan *c,
                     void *arg); /* the other end is gone; chan_free() is still the owner's */
};

struct chan *chan_new(int fd, const struct chan_ops *ops, void *arg);
/* Connect to a listening SEQPACKET socket by path. -1 with e: nobody there. */
int chan_connect(const char *path, const struct chan_ops *ops, void *arg, struct chan **out,
                 struct err *e);
/* Queue a message; fds are duplicated by the kernel when sent: they are MOVED in (closed after sending).
 * -1 when the queue is full (CHAN_QUEUE_MAX messages) or the other end is gone; fds are then closed too. */
int chan_send(struct chan *c, struct slice msg, const int *fds, size_t n_fds);
void chan_free(struct chan **c); /* no callback */
/* Peer credentials (SO_PEERCRED); -1 where unknown. */
int chan_peer_ids(int fd, int *pid, unsigned *uid);

/* A sealed memfd with these octets, readable at offset 0; and reading one back (at most max octets). */
int chan_memfd(const char *name, struct slice content, struct err *e); /* descriptor or -1 */
struct buf;
int chan_read_memfd(int fd, struct buf *out, struct err *e);

#endif
