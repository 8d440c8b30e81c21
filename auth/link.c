/* auth/link.c - see link.h. */
#include "auth/link.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

static void connect_now(void *arg);

static void
on_connect(struct conn *c, void *arg)
{
    struct link *l = arg;

    (void)c;
    l->is_up = true;
    l->is_awaiting = false;
    l->since_ms = 0;
    l->ops->on_up(l, l->arg);
}

static void
on_input(struct conn *c, void *arg)
{
    struct link *l = arg;

    (void)c;
    l->ops->on_input(l, l->arg);
}

static void
on_deadline(struct conn *c, void *arg)
{
    struct link *l = arg;

    log_warn("link.timeout", LOG_F(LF_Z("path", l->path)), "no answer from %s, trying again",
             l->path);
    conn_abort(c);
}

/* Nobody listens: a daemon may be on its way up, so try for a while before those who wait are told. */
static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct link *l = arg;
    bool was_up = l->is_up;

    (void)c;
    (void)end;
    l->conn = NULL;
    l->is_up = false;
    if (was_up) {
        l->ops->on_broken(l, l->arg);
    } else if (loop_now_ms() - l->since_ms < LINK_PATIENCE_MS) {
        timer_start(&l->retry, LINK_RETRY_MS, connect_now, l);
    } else {
        l->since_ms = 0;
        log_warn("link.down", LOG_F(LF_Z("path", l->path)), "cannot connect to %s: %s", l->path,
                 why && why->msg[0] ? why->msg : "connection refused");
        l->ops->on_down(l, l->arg);
    }
}

static const struct conn_ops conn_cbs = {
    .on_input = on_input,
    .on_deadline = on_deadline,
    .on_connect = on_connect,
    .on_close = on_close,
};

static void
connect_now(void *arg)
{
    struct link *l = arg;

    if (l->conn == NULL)
        l->conn = conn_connect_unix(l->path, &conn_cbs, l);
}

void
link_init(struct link *l, const char *path, const struct link_ops *ops, void *arg)
{
    *l = (struct link){ .path = mem_dupz(path), .ops = ops, .arg = arg };
}

void
link_free(struct link *l)
{
    timer_stop(&l->retry);
    conn_abandon(&l->conn);
    free(l->path);
    l->path = NULL;
}

void
link_need(struct link *l)
{
    if (l->conn || timer_is_running(&l->retry))
        return;
    l->since_ms = loop_now_ms();
    connect_now(l);
}

void
link_expect(struct link *l, uint64_t ms)
{
    if (!l->conn || !l->is_up)
        return;
    conn_set_deadline(l->conn, ms);
    l->is_awaiting = ms > 0;
}

void
link_asked(struct link *l, uint64_t ms)
{
    if (!l->is_awaiting)
        link_expect(l, ms);
}

void
link_break(struct link *l)
{
    if (l->conn)
        conn_abort(l->conn);
}
