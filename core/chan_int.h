/* core/chan_int.h - one message, for who has no loop yet: a daemon before "go". Folder-private. */
#ifndef POSTERN_CORE_CHAN_INT_H
#define POSTERN_CORE_CHAN_INT_H

#include "core/chan.h"

#include <sys/types.h>

/* recvmsg() of one message into octets[max] and fds[CHAN_FDS_MAX] (close-on-exec). Octets; 0: the other end is gone;
 * -1: errno, EMSGSIZE when octets or descriptors did not fit (those were closed). */
ssize_t chan_recv_raw(int fd, char *octets, size_t max, int *fds, size_t *n_fds, int flags);

#endif
