/* store/notify.c - see notify.h. */
#include "store/notify.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct notifier {
    int fd;
    unsigned workers;
    char sender[NOTIFY_SENDER_OCTETS];
    struct sockaddr_un to[]; /* one a worker */
};

/* imapd_processes as the supervisor reads it: 0 is one a processor, at most 4. */
static unsigned
workers_of(const struct conf *c)
{
    long n = c->imapd_processes;

    if (n <= 0) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
        n = n < 1 ? 1 : n > 4 ? 4 : n;
    }
    return n > NOTIFY_WORKERS_MAX ? NOTIFY_WORKERS_MAX : (unsigned)n;
}

struct notifier *
notifier_new(const struct conf *c)
{
    unsigned workers = workers_of(c);
    struct notifier *n = mem_zalloc(sizeof(*n) + workers * sizeof(n->to[0]));

    rand_hex(n->sender, NOTIFY_SENDER_OCTETS - 1);
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd < 0)
        log_warn("store.notify", LOG_NONE, "cannot make a socket to notify imapd by: %s",
                 strerror(errno));
    for (unsigned i = 0; n->fd >= 0 && i < workers; i++) {
        struct sockaddr_un *to = &n->to[n->workers];
        int len;

        to->sun_family = AF_UNIX;
        len = snprintf(to->sun_path, sizeof(to->sun_path), "%s/private/imapd-notify-%u",
                       c->queue_directory, i);
        if (len > 0 && (size_t)len < sizeof(to->sun_path))
            n->workers++;
    }
    return n;
}

void
notifier_free(struct notifier **n)
{
    if (*n == NULL)
        return;
    if ((*n)->fd >= 0)
        close((*n)->fd);
    free(*n);
    *n = NULL;
}

const char *
notifier_sender(const struct notifier *n)
{
    return n->sender;
}

void
notifier_add(struct notifier *n, struct buf *datagram, struct slice user, struct slice mailbox)
{
    struct buf line = { 0 };
    struct slice all;

    buf_addf(&line, "%s\t%.*s\t%.*s\n", n->sender, SL_ARG(user), SL_ARG(mailbox));
    if (datagram->n + line.n > NOTIFY_DATAGRAM_MAX)
        notifier_send(n, datagram);
    all = buf_slice(datagram);
    if (line.n <= NOTIFY_DATAGRAM_MAX && !sl_has_suffix(all, buf_slice(&line)))
        buf_adds(datagram, buf_slice(&line));
    buf_free(&line);
}

void
notifier_send(struct notifier *n, struct buf *datagram)
{
    for (unsigned i = 0; datagram->n > 0 && i < n->workers; i++) {
        struct slice s = buf_slice(datagram);

        /* ENOENT, ECONNREFUSED: no such worker now. EAGAIN: it has a queue of these already, and will look. */
        (void)!sendto(n->fd, s.p, s.n, MSG_NOSIGNAL, (const struct sockaddr *)&n->to[i],
                      sizeof(n->to[i]));
    }
    buf_reset(datagram);
}

bool
notifier_take(struct slice *datagram, struct slice *sender, struct slice *user,
              struct slice *mailbox)
{
    struct slice line;

    if (!sl_take_until(datagram, '\n', &line) || !sl_take_until(&line, '\t', sender) ||
        !sl_take_until(&line, '\t', user) || line.n == 0)
        return false;
    *mailbox = line;
    return true;
}
