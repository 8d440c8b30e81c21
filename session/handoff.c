/* session/handoff.c - the two ends of private/imapd-N and private/pop3d. One connection from each login process to each
 * worker, made on need; an offer is one packet with one descriptor, an answer one small packet. Packets never leave the
 * machine, so numbers are in its own octet order. */
#include "session/handoff.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/chan.h"
#include "core/loop.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAGIC = 0x33464f48, /* "HOF3" */ LATE_GRACE_MS = 20, N_FIELDS = 7 };

struct offer_head {
    uint32_t magic;
    uint16_t is_tls, is_utf8;
    uint64_t number;
    uint64_t sent_ms; /* CLOCK_MONOTONIC, the same for all processes of the machine */
    uint16_t lens[N_FIELDS];
    uint16_t remote_len, local_len;
};
struct answer {
    uint32_t magic;
    int32_t pid; /* of the adopter; -1 refused */
    uint64_t number;
};

/* ---- the sender ---- */

struct worker {
    struct list link;
    char *path;
    struct chan *chan;   /* NULL: none */
    struct map *waiting; /* number -> struct waiting */
};
struct waiting {
    struct worker *worker;
    struct timer timer;
    uint64_t number, id;
    void (*cb)(uint64_t id, int result);
    bool is_late;
};

static struct list workers = { &workers, &workers };
static uint64_t last_number;

static void
finish(struct waiting *w, int result)
{
    void (*cb)(uint64_t, int) = w->cb;
    uint64_t id = w->id;

    timer_stop(&w->timer);
    map_del_u64(w->worker->waiting, w->number);
    free(w);
    cb(id, result);
}

/* A process that was stopped for a while finds its timers due before it reads what has come: an answer that is already
 * here must win, or both sides would answer the client. So look at the socket once more. */
static void
on_late(void *arg)
{
    struct waiting *w = arg;

    if (!w->is_late) {
        w->is_late = true;
        timer_start(&w->timer, LATE_GRACE_MS, on_late, w);
        return;
    }
    log_warn("handoff.late", LOG_NONE, "%s: nobody took over the session within %d seconds",
             w->worker->path, HANDOFF_ADOPT_MS / 1000);
    finish(w, -1);
}

static void
on_refused(void *arg)
{
    finish(arg, -1);
}

static void
on_answer(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct worker *k = arg;
    struct answer a;
    struct waiting *w;

    (void)c;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (msg.n != sizeof a)
        return;
    memcpy(&a, msg.p, sizeof a);
    w = a.magic == MAGIC ? map_get_u64(k->waiting, a.number) : NULL;
    if (w)
        finish(w, a.pid > 0 ? a.pid : -1);
}

/* What was offered and not answered may have been seen by the worker that is gone: it is not offered again. */
static void
on_worker_gone(struct chan *c, void *arg)
{
    struct worker *k = arg;
    size_t it = 0;
    uint64_t number;
    void *w;

    (void)c;
    chan_free(&k->chan);
    while (map_next_u64(k->waiting, &it, &number, &w))
        timer_start(&((struct waiting *)w)->timer, 0, on_refused, w);
}

static const struct chan_ops sender_ops = { on_answer, on_worker_gone };

static struct worker *
worker_for(const char *path)
{
    struct worker *k;

    LIST_EACH(it, nxt, &workers)
    {
        k = CONTAINER_OF(it, struct worker, link);
        if (strcmp(k->path, path) == 0)
            return k;
    }
    k = MEM_NEW(struct worker);
    k->path = mem_dupz(path);
    k->waiting = map_new();
    list_push_back(&workers, &k->link);
    return k;
}

static void
add_addr(struct buf *b, const struct addr *a)
{
    buf_add(b, &a->u, a->len);
}

static int
write_offer(const struct handoff *h, uint64_t number, struct buf *out)
{
    struct slice f[N_FIELDS] = { h->cookie,  h->user,      h->tag,  h->input,
                                 h->session, h->client_id, h->reply };
    struct offer_head head = { .magic = MAGIC,
                               .is_tls = h->is_tls,
                               .is_utf8 = h->is_utf8,
                               .number = number,
                               .sent_ms = clock_mono_ms(),
                               .remote_len = (uint16_t)h->remote.len,
                               .local_len = (uint16_t)h->local.len };
    size_t sum = sizeof head + h->remote.len + h->local.len;

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (f[i].n > CHAN_MSG_OCTETS)
            return -1;
        head.lens[i] = (uint16_t)f[i].n;
        sum += f[i].n;
    }
    if (sum > CHAN_MSG_OCTETS || h->input.n > HANDOFF_INPUT_MAX)
        return -1;
    buf_add(out, &head, sizeof head);
    add_addr(out, &h->remote);
    add_addr(out, &h->local);
    for (size_t i = 0; i < N_FIELDS; i++)
        buf_adds(out, f[i]);
    return 0;
}

static int
connect_worker(struct worker *k)
{
    struct err e = { 0 };

    if (k->chan)
        return 0;
    if (chan_connect(k->path, &sender_ops, k, &k->chan, &e) == 0)
        return 0;
    log_error("handoff.connect", LOG_NONE, "%s", e.msg);
    return -1;
}

/* A worker that ended since the last offer shows itself only now: then its successor is asked, once. */
static int
offer(struct worker *k, struct slice msg, int fd)
{
    int again = fcntl(fd, F_DUPFD_CLOEXEC, 3), rc = -1;

    if (connect_worker(k) == 0) {
        rc = chan_send(k->chan, msg, &fd, 1);
        fd = -1;
    }
    if (rc != 0 && fd < 0 && again >= 0 && map_count(k->waiting) == 1) {
        chan_free(&k->chan);
        if (connect_worker(k) == 0) {
            rc = chan_send(k->chan, msg, &again, 1);
            again = -1;
        }
    }
    if (again >= 0)
        close(again);
    if (fd >= 0)
        close(fd);
    return rc;
}

void
handoff_send(const char *socket_path, const struct handoff *h, int fd,
             void (*cb)(uint64_t id, int result), uint64_t id)
{
    struct worker *k = worker_for(socket_path);
    struct waiting *w = MEM_NEW(struct waiting);
    struct buf msg = { 0 };

    w->worker = k;
    w->cb = cb;
    w->id = id;
    w->number = ++last_number;
    map_set_u64(k->waiting, w->number, w);
    if (write_offer(h, w->number, &msg) != 0) {
        close(fd);
        timer_start(&w->timer, 0, on_refused, w);
    } else if (offer(k, buf_slice(&msg), fd) != 0) {
        timer_start(&w->timer, 0, on_refused, w);
    } else {
        timer_start(&w->timer, HANDOFF_ADOPT_MS, on_late, w);
    }
    if (msg.p)
        mem_wipe(msg.p, msg.cap); /* the cookie */
    buf_free(&msg);
}

/* ---- the receiver ---- */

struct server {
    struct list link;
    struct chan *chan;
    uint64_t id;
    int pid;         /* of the sender */
    unsigned n_bad;  /* in a row */
    bool is_too_bad; /* about to end */
    struct timer over;
    void (*on_session)(uint64_t key, const struct handoff *h, int fd);
};
struct offered {
    uint64_t server, number, until_ms;
};

static struct list servers = { &servers, &servers }; /* oldest first */
static size_t n_servers, n_offered;

static bool
take(struct slice *in, size_t n, struct slice *out)
{
    if (in->n < n)
        return false;
    *out = sl_head(*in, n);
    *in = sl_from(*in, n);
    return true;
}

static bool
take_addr(struct slice *in, size_t len, struct addr *out)
{
    struct slice s;

    if (len > sizeof out->u || !take(in, len, &s))
        return false;
    memset(out, 0, sizeof *out);
    if (len > 0)
        memcpy(&out->u, s.p, len);
    out->len = (socklen_t)len;
    switch (len >= sizeof out->u.sa.sa_family ? out->u.sa.sa_family : AF_UNSPEC) {
    case AF_INET:
        return len == sizeof out->u.in4;
    case AF_INET6:
        return len == sizeof out->u.in6;
    case AF_UNIX:
        return true;
    default:
        return len == 0;
    }
}

/* It stands in every line that is logged of the session. */
static bool
is_word(struct slice session)
{
    for (size_t i = 0; i < session.n; i++)
        if (session.p[i] <= ' ' || session.p[i] > '~' || strchr("<>\"", session.p[i]))
            return false;
    return session.n <= HANDOFF_SESSION_OCTETS;
}

static bool
read_offer(struct slice in, struct offer_head *head, struct handoff *h)
{
    struct slice *f[N_FIELDS] = { &h->cookie,  &h->user,      &h->tag,  &h->input,
                                  &h->session, &h->client_id, &h->reply };
    struct slice s;

    if (!take(&in, sizeof *head, &s))
        return false;
    memcpy(head, s.p, sizeof *head);
    if (head->magic != MAGIC || !take_addr(&in, head->remote_len, &h->remote) ||
        !take_addr(&in, head->local_len, &h->local))
        return false;
    for (size_t i = 0; i < N_FIELDS; i++)
        if (!take(&in, head->lens[i], f[i]))
            return false;
    h->is_tls = head->is_tls != 0;
    h->is_utf8 = head->is_utf8 != 0;
    return in.n == 0 && h->input.n <= HANDOFF_INPUT_MAX && is_word(h->session);
}

/* A client, or an end of a pair: what else there is would not be read as a session is. */
static bool
is_connection(int fd)
{
    int type = 0, is_listening = 1;
    socklen_t len = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM)
        return false;
    len = sizeof is_listening;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) == 0 && !is_listening;
}

static void
server_free(struct server *s)
{
    timer_stop(&s->over);
    id_del(s->id);
    list_remove(&s->link);
    n_servers--;
    chan_free(&s->chan);
    free(s);
}

static void
on_too_bad(void *arg)
{
    struct server *s = arg;

    log_warn("handoff.bad", LOG_NONE,
             "%d sessions in a row that process %d has offered are none: it is heard no more",
             HANDOFF_BAD_MAX, s->pid);
    server_free(s);
}

/* From inside its own callbacks: it ends after them. */
static void
count_bad(struct server *s)
{
    if (++s->n_bad < HANDOFF_BAD_MAX || s->is_too_bad)
        return;
    s->is_too_bad = true;
    timer_start(&s->over, 0, on_too_bad, s);
}

static bool
answer(struct server *s, uint64_t number, int pid)
{
    struct answer a = { .magic = MAGIC, .pid = pid, .number = number };

    return chan_send(s->chan, sl_n((const char *)&a, sizeof a), NULL, 0) == 0;
}

static void
on_offer(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct server *s = arg;
    uint64_t now = clock_mono_ms();
    struct offer_head head;
    struct handoff h = { 0 };
    struct offered *o;
    bool is_right =
        n_fds == 1 && !s->is_too_bad && read_offer(msg, &head, &h) && is_connection(fds[0]);

    (void)c;
    if (!is_right || n_offered >= HANDOFF_OFFERS_MAX) {
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
        if (is_right) {
            answer(s, head.number, -1);
        } else if (!s->is_too_bad) {
            log_error("handoff.protocol", LOG_NONE, "malformed hand-over of a session");
            count_bad(s);
        }
        return;
    }
    o = MEM_NEW(struct offered);
    o->server = s->id;
    o->number = head.number;
    o->until_ms = (head.sent_ms < now ? head.sent_ms : now) + HANDOFF_ADOPT_MS - HANDOFF_MARGIN_MS;
    n_offered++;
    s->on_session(id_add(o), &h, fds[0]);
}

static void
on_login_gone(struct chan *c, void *arg)
{
    (void)c;
    server_free(arg);
}

static const struct chan_ops receiver_ops = { on_offer, on_login_gone };

/* A process has one connection, or a second one while it does not know yet that the first is dead: of more the oldest goes,
 * so that nobody takes the room of others. */
static void
make_room(int pid)
{
    struct server *oldest = NULL;
    size_t n = 0;

    LIST_EACH(it, nxt, &servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);

        if (s->pid != pid)
            continue;
        n++;
        if (!oldest)
            oldest = s;
    }
    if (n >= HANDOFF_PEER_CONNS_MAX)
        server_free(oldest);
}

void
handoff_serve(int fd, void (*on_session)(uint64_t key, const struct handoff *h, int fd))
{
    struct server *s;
    unsigned uid;
    int pid = 0;

    if (chan_peer_ids(fd, &pid, &uid) != 0)
        pid = 0;
    make_room(pid);
    if (n_servers >= HANDOFF_PEERS_MAX) {
        log_warn("handoff.full", LOG_NONE, "too many processes would hand sessions over");
        close(fd);
        return;
    }
    s = MEM_NEW(struct server);
    s->pid = pid;
    s->on_session = on_session;
    s->id = id_add(s);
    list_push_back(&servers, &s->link);
    n_servers++;
    s->chan = chan_new(fd, &receiver_ops, s);
}

bool
handoff_adopted(uint64_t key, bool ok)
{
    struct offered *o = id_get(key);
    struct server *s;
    uint64_t number;
    bool is_late;

    if (o == NULL)
        return false;
    s = id_get(o->server);
    number = o->number;
    is_late = clock_mono_ms() > o->until_ms;
    id_del(key);
    free(o);
    n_offered--;
    if (!s)
        return false;
    if (ok)
        s->n_bad = 0;
    else
        count_bad(s);
    ok = ok && !is_late;
    return answer(s, number, ok ? (int)getpid() : -1) && ok;
}
