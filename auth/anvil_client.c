/* auth/anvil_client.c - requests and replies are lists of "name=value" lines ended by an empty one, in order.
 * A count that could not be taken is no reason to turn a client away, so nothing is asked twice. */
#include "auth/anvil_client.h"

#include "auth/link.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { ANVIL_LINE_OCTETS = 1024, ANVIL_ANSWER_MS = 10 * 1000, ANVIL_PENDING_MAX = 65536 };

static const char *const verbs[] = {
    [ANVIL_CONNECT] = "connect", [ANVIL_DISCONNECT] = "disconnect",
    [ANVIL_MESSAGE] = "message", [ANVIL_RECIPIENT] = "recipient",
    [ANVIL_NEWTLS] = "newtls",   [ANVIL_NEWTLS_STATUS] = "newtls_status",
    [ANVIL_AUTH] = "auth",       [ANVIL_LOOKUP] = "lookup",
    [ANVIL_ACCOUNT] = "account",
};

struct anvil_ask_node {
    struct list link;
    void (*cb)(uint64_t id, const struct anvil_result *r);
    uint64_t id;
    struct slice wire; /* in the same allocation */
};

struct anvil_client {
    struct link link;
    struct list waiting, sent;
    size_t pending;
    struct anvil_result now; /* the reply being read */
    bool has_status;
    void (*tell)(void *arg); /* NULL: connect on need only */
    void *tell_arg;
};

static void
answer(struct anvil_client *a, struct anvil_ask_node *n, const struct anvil_result *r)
{
    list_remove(&n->link);
    a->pending--;
    if (n->cb)
        n->cb(n->id, r);
    free(n);
}

static void
fail_all(struct anvil_client *a, struct list *from)
{
    struct list failed;

    list_init(&failed);
    LIST_EACH(it, nxt, from)
    {
        list_remove(it);
        list_push_back(&failed, it);
    }
    while (!list_is_empty(&failed))
        answer(a, CONTAINER_OF(failed.next, struct anvil_ask_node, link),
               &(struct anvil_result){ 0 });
}

static void
send_waiting(struct anvil_client *a)
{
    LIST_EACH(it, nxt, &a->waiting)
    {
        list_remove(it);
        list_push_back(&a->sent, it);
        conn_writes(a->link.conn, CONTAINER_OF(it, struct anvil_ask_node, link)->wire);
    }
    if (!list_is_empty(&a->sent))
        link_asked(&a->link, ANVIL_ANSWER_MS);
}

/* What is told anew goes before what has waited meanwhile. */
static void
tell_first(struct anvil_client *a)
{
    struct list held;

    if (!a->tell)
        return;
    list_init(&held);
    LIST_EACH(it, nxt, &a->waiting)
    {
        list_remove(it);
        list_push_back(&held, it);
    }
    a->tell(a->tell_arg);
    LIST_EACH(it, nxt, &held)
    {
        list_remove(it);
        list_push_back(&a->waiting, it);
    }
}

static void
on_up(struct link *link, void *arg)
{
    struct anvil_client *a = arg;

    (void)link;
    a->now = (struct anvil_result){ 0 };
    a->has_status = false;
    tell_first(a);
    send_waiting(a);
}

static void
take_attribute(struct anvil_client *a, struct slice line)
{
    const struct {
        const char *name;
        uint64_t *to;
    } rows[] = {
        { "count", &a->now.count },     { "rate", &a->now.rate },     { "mail", &a->now.messages },
        { "rcpt", &a->now.recipients }, { "newtls", &a->now.newtls }, { "auth", &a->now.auths },
        { "max", &a->now.max },
    };
    struct slice name;
    uint64_t n;

    if (!sl_take_until(&line, '=', &name))
        return;
    if (sl_eqz(name, "limit") && line.n < sizeof(a->now.limit))
        memcpy(a->now.limit, line.p, line.n); /* the rest is zero */
    if (sl_eqz(name, "tell"))
        a->now.tell = sl_to_u64(line, &n) && n > 0;
    if (sl_eqz(name, "status")) {
        a->has_status = true;
        a->now.is_ok = sl_eqz(line, "0");
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (sl_eqz(name, rows[i].name))
            sl_to_u64(line, rows[i].to);
}

static void
on_input(struct link *link, void *arg)
{
    struct anvil_client *a = arg;
    struct anvil_result done;
    struct slice line;

    while (link->conn && link->is_up) {
        enum frame_rc rc = conn_take_line(link->conn, ANVIL_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            return;
        if (rc == FRAME_TOO_LONG) {
            link_break(link);
            return;
        }
        if (line.n) {
            take_attribute(a, line);
            continue;
        }
        if (!a->has_status)
            continue; /* the greeting "protocol=anvil" */
        done = a->now;
        a->now = (struct anvil_result){ 0 };
        a->has_status = false;
        if (list_is_empty(&a->sent)) {
            link_break(link);
            return;
        }
        link_expect(link, a->sent.next->next == &a->sent ? 0 : ANVIL_ANSWER_MS);
        answer(a, CONTAINER_OF(a->sent.next, struct anvil_ask_node, link), &done);
    }
}

static void
on_broken(struct link *link, void *arg)
{
    struct anvil_client *a = arg;

    fail_all(a, &a->sent);
    if (a->tell || !list_is_empty(&a->waiting))
        link_need(link);
}

static void
on_down(struct link *link, void *arg)
{
    struct anvil_client *a = arg;

    fail_all(a, &a->waiting);
    if (a->tell || !list_is_empty(&a->waiting))
        link_need(link);
}

static const struct link_ops link_cbs = { on_up, on_input, on_broken, on_down };

struct anvil_client *
anvil_client_new(const char *socket_path)
{
    struct anvil_client *a = MEM_NEW(struct anvil_client);

    list_init(&a->waiting);
    list_init(&a->sent);
    link_init(&a->link, socket_path, &link_cbs, a);
    return a;
}

void
anvil_client_free(struct anvil_client **ap)
{
    struct anvil_client *a = *ap;

    if (a == NULL)
        return;
    link_free(&a->link);
    LIST_EACH(it, nxt, &a->waiting)
    free(CONTAINER_OF(it, struct anvil_ask_node, link));
    LIST_EACH(it, nxt, &a->sent)
    free(CONTAINER_OF(it, struct anvil_ask_node, link));
    free(a);
    *ap = NULL;
}

void
anvil_client_stay(struct anvil_client *a, void (*on_up_fn)(void *arg), void *arg)
{
    a->tell = on_up_fn;
    a->tell_arg = arg;
    link_need(&a->link);
}

bool
anvil_client_is_up(const struct anvil_client *a)
{
    return a->link.is_up;
}

static void
refuse_later(void *arg)
{
    struct anvil_ask_node *n = arg;

    if (n->cb)
        n->cb(n->id, &(struct anvil_result){ 0 });
    free(n);
}

static void
ask(struct anvil_client *a, enum anvil_req req, struct slice ident, uint64_t recipients,
    void (*cb)(uint64_t id, const struct anvil_result *r), uint64_t id)
{
    char count[40] = "";
    size_t most = sizeof(struct anvil_ask_node) + ident.n + sizeof(count) + 80;
    struct anvil_ask_node *n = mem_zalloc(most);
    char *wire = (char *)(n + 1), *p = wire;

    if (req == ANVIL_ACCOUNT)
        snprintf(count, sizeof count, "recipients=%llu\n", (unsigned long long)recipients);
    p = stpcpy(stpcpy(p, "request="), verbs[req]); /* two for each SMTP session: no printf */
    p = stpcpy(stpcpy(stpcpy(p, "\n"), count), "ident=");
    for (size_t i = 0; i < ident.n; i++) /* an ident is one line */
        *p++ = ident.p[i] == '\n' || ident.p[i] == '\0' ? '?' : ident.p[i];
    p = stpcpy(p, "\n\n");
    n->wire = sl_n(wire, (size_t)(p - wire));
    n->cb = cb;
    n->id = id;
    if (a->pending >= ANVIL_PENDING_MAX) {
        loop_defer(refuse_later, n);
        return;
    }
    a->pending++;
    list_push_back(&a->waiting, &n->link);
    if (a->link.is_up)
        send_waiting(a);
    else
        link_need(&a->link);
}

void
anvil_ask(struct anvil_client *a, enum anvil_req req, struct slice ident,
          void (*cb)(uint64_t id, const struct anvil_result *r), uint64_t id)
{
    ask(a, req, ident, 0, cb, id);
}

void
anvil_ask_account(struct anvil_client *a, struct slice account, uint64_t recipients,
                  void (*cb)(uint64_t id, const struct anvil_result *r), uint64_t id)
{
    ask(a, ANVIL_ACCOUNT, account, recipients, cb, id);
}
