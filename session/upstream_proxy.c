/* session/upstream_proxy.c - see upstream_proxy.h. */
#include "session/upstream_proxy.h"

#include "base/list.h"
#include "base/mem.h"
#include "core/conn.h"
#include "proto/proxy_header.h"

#include <stdlib.h>

struct reader {
    struct list link;
    struct conn *conn;
    const struct upstream_ops *ops;
    void *arg;
    struct addr proxy;
    bool is_over; /* failed was called; the farewell is on its way */
};
static struct list readers = { &readers, &readers };
static size_t n_readers;

static void
forget(struct reader *r)
{
    list_remove(&r->link);
    n_readers--;
    free(r);
}

static void
fail(struct reader *r, const struct err *why)
{
    const char *farewell;

    if (r->is_over)
        return;
    r->is_over = true;
    farewell = r->ops->failed(r->arg, why);
    if (farewell)
        conn_writes(r->conn, sl_z(farewell));
    conn_close(r->conn);
}

static void
set_ends(const struct reader *r, const struct proxy_header *h, struct upstream_client *out)
{
    size_t n = h->kind == PROXY_IPV4 ? 4 : 16;

    if (h->kind != PROXY_NONE) {
        addr_from_octets(h->client.ip, n, h->client.port, &out->peer);
        addr_from_octets(h->server.ip, n, h->server.port, &out->local);
        return;
    }
    out->peer = r->proxy;
    if (addr_of_self(conn_fd(r->conn), &out->local))
        out->local.len = 0;
}

static void
hand_over(struct reader *r, const struct proxy_header *h)
{
    const struct upstream_ops *ops = r->ops;
    struct upstream_client client = { 0 };
    struct buf unread = { 0 };
    void *arg = r->arg;
    int fd;

    set_ends(r, h, &client);
    fd = conn_detach(r->conn, &unread);
    if (fd < 0)
        return; /* it has ended: on_close follows */
    forget(r);
    client.unread = buf_slice(&unread);
    ops->ready(arg, fd, &client);
    buf_free(&unread);
}

static void
on_input(struct conn *c, void *arg)
{
    struct reader *r = arg;
    struct proxy_header h;
    struct err e = { 0 };
    size_t used;

    if (r->is_over)
        return;
    switch (proxy_header_parse(conn_input(c), &h, &used, &e)) {
    case PARSE_OK:
        conn_consume(c, used);
        hand_over(r, &h);
        return;
    case PARSE_BAD:
        fail(r, &e);
        return;
    case PARSE_MORE:
        return; /* an end before the whole header comes by on_close */
    }
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct err e = { 0 };

    (void)c;
    (void)err_set(&e, ERR_CLIENT, "timeout");
    fail(arg, &e);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct reader *r = arg;
    struct err e = { 0 };

    (void)c;
    (void)end;
    if (!r->is_over) {
        (void)err_set(&e, ERR_CLIENT, "%s", why && why->msg[0] ? why->msg : "lost connection");
        (void)r->ops->failed(r->arg, &e);
    }
    forget(r);
}

static const struct conn_ops reader_ops = { .on_input = on_input,
                                            .on_deadline = on_deadline,
                                            .on_close = on_close };

void
upstream_proxy_read(int fd, const struct addr *proxy, uint64_t timeout_ms,
                    const struct upstream_ops *ops, void *arg)
{
    struct reader *r = MEM_NEW(struct reader);

    r->ops = ops;
    r->arg = arg;
    r->proxy = *proxy;
    list_push_back(&readers, &r->link);
    n_readers++;
    r->conn = conn_new(fd, &reader_ops, r);
    conn_set_in_max(r->conn, PROXY_HEADER_OCTETS);
    conn_set_deadline(r->conn, timeout_ms); /* once: octets that trickle in buy no time */
}

size_t
upstream_proxy_count(void)
{
    return n_readers;
}

void
upstream_proxy_drain(void)
{
    LIST_EACH(it, nxt, &readers)
    conn_abort(CONTAINER_OF(it, struct reader, link)->conn);
}
