/* store/notify.c - see notify.h. */
#include "store/notify.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct target { /* a worker */
    struct sockaddr_un addr;
    struct buf waiting; /* lines it had no room for; under lock */
};

struct notifier {
    int fd;
    uint64_t id;
    struct timer retry;
    pthread_mutex_t lock;
    atomic_uint n_waiting; /* targets with lines that wait */
    unsigned workers;
    char sender[NOTIFY_SENDER_OCTETS];
    struct target to[]; /* one a worker */
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
    n->id = id_add(n);
    pthread_mutex_init(&n->lock, NULL);
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd < 0)
        log_warn("store.notify", LOG_NONE, "cannot make a socket to notify imapd by: %s",
                 strerror(errno));
    for (unsigned i = 0; n->fd >= 0 && i < workers; i++) {
        struct sockaddr_un *to = &n->to[n->workers].addr;
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
    id_del((*n)->id);
    timer_stop(&(*n)->retry);
    for (unsigned i = 0; i < (*n)->workers; i++)
        buf_free(&(*n)->to[i].waiting);
    pthread_mutex_destroy(&(*n)->lock);
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
    notifier_add_event(n, datagram, user, mailbox, SL(""));
}

void
notifier_add_event(struct notifier *n, struct buf *datagram, struct slice user,
                   struct slice mailbox, struct slice event)
{
    struct buf line = { 0 };
    struct slice all;

    buf_addf(&line, "%s\t%.*s\t%.*s%s%.*s\n", n->sender, SL_ARG(user), SL_ARG(mailbox),
             event.n > 0 ? "\t" : "", SL_ARG(event));
    if (datagram->n + line.n > NOTIFY_DATAGRAM_MAX)
        notifier_send(n, datagram);
    all = buf_slice(datagram);
    if (line.n <= NOTIFY_DATAGRAM_MAX && !sl_has_suffix(all, buf_slice(&line)))
        buf_adds(datagram, buf_slice(&line));
    buf_free(&line);
}

/* False: its queue is full. One that is not there has nobody to tell. */
static bool
send_to(const struct notifier *n, const struct target *t, struct slice s)
{
    return sendto(n->fd, s.p, s.n, MSG_NOSIGNAL, (const struct sockaddr *)&t->addr,
                  sizeof(t->addr)) >= 0 ||
           (errno != EAGAIN && errno != ENOBUFS);
}

/* What waits, as far as there is room: whole lines, a datagram at a time. The lock is held. */
static void
send_waiting(struct notifier *n, struct target *t)
{
    while (t->waiting.n > 0) {
        struct slice s = sl_head(buf_slice(&t->waiting), NOTIFY_DATAGRAM_MAX);
        size_t end = sl_rfind_char(s, '\n');

        if (!send_to(n, t, sl_head(s, end + 1)))
            return;
        buf_consume(&t->waiting, end + 1);
    }
    buf_free(&t->waiting);
    atomic_fetch_sub(&n->n_waiting, 1);
}

static void
on_retry(void *arg)
{
    struct notifier *n = arg;

    pthread_mutex_lock(&n->lock);
    for (unsigned i = 0; i < n->workers; i++)
        if (n->to[i].waiting.n > 0)
            send_waiting(n, &n->to[i]);
    pthread_mutex_unlock(&n->lock);
    if (atomic_load(&n->n_waiting) > 0)
        timer_start(&n->retry, NOTIFY_RETRY_MS, on_retry, n);
}

static void
ask_retry(void *arg)
{
    struct notifier *n = id_get((uint64_t)(uintptr_t)arg);

    if (n != NULL && !timer_is_running(&n->retry))
        timer_start(&n->retry, NOTIFY_RETRY_MS, on_retry, n);
}

/* Lines that were told already do no harm; those of many changes become one line for all. */
static void
keep_waiting(struct notifier *n, struct target *t, struct slice s)
{
    pthread_mutex_lock(&n->lock);
    if (t->waiting.n == 0) {
        atomic_fetch_add(&n->n_waiting, 1);
        loop_call_from_thread(ask_retry, (void *)(uintptr_t)n->id);
    }
    if (t->waiting.n + s.n <= NOTIFY_WAITING_MAX) {
        buf_adds(&t->waiting, s);
    } else {
        buf_reset(&t->waiting);
        buf_addf(&t->waiting, "%s\t" NOTIFY_ALL "\t" NOTIFY_ALL "\n", n->sender);
    }
    pthread_mutex_unlock(&n->lock);
}

void
notifier_send(struct notifier *n, struct buf *datagram)
{
    for (unsigned i = 0; datagram->n > 0 && i < n->workers; i++)
        if (!send_to(n, &n->to[i], buf_slice(datagram)))
            keep_waiting(n, &n->to[i], buf_slice(datagram));
    buf_reset(datagram);
}

bool
notifier_take(struct slice *datagram, struct notify_line *out)
{
    struct slice line;

    if (!sl_take_until(datagram, '\n', &line) || !sl_take_until(&line, '\t', &out->sender) ||
        !sl_take_until(&line, '\t', &out->user) || line.n == 0)
        return false;
    out->event = SL("");
    if (sl_take_until(&line, '\t', &out->mailbox))
        out->event = line;
    else
        out->mailbox = line;
    return true;
}
