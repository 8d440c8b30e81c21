/* auth/lookup_client.c - questions go out at once, answers come back in the same order (socketmap has no numbers).
 * A question whose connection breaks is asked once more: a look-up changes nothing. */
#include "auth/lookup_client.h"

#include "auth/link.h"
#include "auth/table.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    LOOKUP_USUAL_OCTETS = 128 * 1024, /* Postfix's own limit for a socketmap reply is 100000 */
    LOOKUP_ANSWER_MS = 20 * 1000,
    LOOKUP_TRIES = 2,
    LOOKUP_PENDING_MAX = 65536
};

struct lookup_req {
    struct list link;
    void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value);
    lookup_lines_fn *lines_cb; /* or this */
    size_t n_lines;
    uint64_t id;
    unsigned tries;
    enum lookup_rc refusal; /* what refuse_later() says */
    struct slice wire;      /* the netstring, in the same allocation */
};

struct lookup_client {
    struct link link;
    struct list waiting, sent;
    size_t pending;
    struct buf reply; /* the value shown to the callback */
};

/* "SEEN 3 5:abcde,7 1:x,": false: nonsense. */
static bool
take_hits(struct slice in, size_t n_lines, size_t *n_seen, struct buf *hits)
{
    uint64_t seen, i, n, next = 0;

    if (!sl_take_u64(&in, &seen) || !sl_take_char(&in, ' ') || seen == 0 || seen > n_lines)
        return false;
    *n_seen = (size_t)seen;
    while (in.n > 0) {
        struct lookup_hit h;

        if (!sl_take_u64(&in, &i) || i < next || i >= seen || !sl_take_char(&in, ' ') ||
            !sl_take_u64(&in, &n) || !sl_take_char(&in, ':') || n >= in.n || in.p[n] != ',')
            return false;
        h = (struct lookup_hit){ (size_t)i, sl_head(in, (size_t)n) };
        buf_add(hits, &h, sizeof h);
        in = sl_from(in, (size_t)n + 1);
        next = i + 1;
    }
    return true;
}

static void
call_back(struct lookup_req *r, enum lookup_rc rc, struct slice value)
{
    struct buf hits = { 0 };
    size_t n_seen = r->n_lines;

    if (r->lines_cb == NULL) {
        r->cb(r->id, rc, value);
    } else {
        if (rc == LOOKUP_FOUND && !take_hits(value, r->n_lines, &n_seen, &hits))
            rc = LOOKUP_TEMP;
        r->lines_cb(r->id, rc, n_seen, (const struct lookup_hit *)(const void *)hits.p,
                    rc == LOOKUP_FOUND ? hits.n / sizeof(struct lookup_hit) : 0);
    }
    buf_free(&hits);
    free(r);
}

static void
answer(struct lookup_client *l, struct lookup_req *r, enum lookup_rc rc, struct slice value)
{
    list_remove(&r->link);
    l->pending--;
    call_back(r, rc, value);
}

static void
fail_list(struct lookup_client *l, struct list *from, unsigned tries)
{
    struct list failed;

    /* A callback may ask again: those questions belong to the next round. */
    list_init(&failed);
    LIST_EACH(it, nxt, from)
    {
        if (CONTAINER_OF(it, struct lookup_req, link)->tries >= tries) {
            list_remove(it);
            list_push_back(&failed, it);
        }
    }
    while (!list_is_empty(&failed))
        answer(l, CONTAINER_OF(failed.next, struct lookup_req, link), LOOKUP_TEMP, sl_n(NULL, 0));
}

static void
send_waiting(struct lookup_client *l)
{
    LIST_EACH(it, nxt, &l->waiting)
    {
        struct lookup_req *r = CONTAINER_OF(it, struct lookup_req, link);

        list_remove(&r->link);
        list_push_back(&l->sent, &r->link);
        r->tries++;
        conn_writes(l->link.conn, r->wire);
    }
    if (!list_is_empty(&l->sent))
        link_asked(&l->link, LOOKUP_ANSWER_MS);
}

static void
on_up(struct link *link, void *arg)
{
    conn_set_in_max(link->conn, LOOKUP_USUAL_OCTETS);
    send_waiting(arg);
}

/* One netstring from the front: 1 taken into l->reply, 0 not whole yet, -1 nonsense. */
static int
take_reply(struct lookup_client *l)
{
    struct slice in = conn_input(l->link.conn), at = in;
    uint64_t n;

    if (!sl_take_u64(&at, &n))
        return in.n ? -1 : 0;
    if (n > LOOKUP_LINES_OCTETS || in.n - at.n > LOOKUP_LENGTH_DIGITS)
        return -1;
    if (at.n == 0)
        return 0;
    if (!sl_take_char(&at, ':'))
        return -1;
    if (at.n < n + 1) {
        if (n >= LOOKUP_USUAL_OCTETS - LOOKUP_LENGTH_DIGITS - 2)
            conn_set_in_max(l->link.conn, in.n - at.n + (size_t)n + 1);
        return 0;
    }
    if (at.p[n] != ',')
        return -1;
    buf_reset(&l->reply);
    buf_add(&l->reply, at.p, (size_t)n);
    conn_consume(l->link.conn, in.n - at.n + (size_t)n + 1);
    return 1;
}

static void
on_input(struct link *link, void *arg)
{
    struct lookup_client *l = arg;
    int rc;

    while (link->conn && link->is_up && (rc = take_reply(l)) != 0) {
        struct slice v = buf_slice(&l->reply);
        struct lookup_req *r;

        if (rc < 0 || list_is_empty(&l->sent)) {
            log_error("lookup.protocol", LOG_NONE, "%s: malformed reply", link->path);
            link_break(link);
            return;
        }
        r = CONTAINER_OF(l->sent.next, struct lookup_req, link);
        link_expect(link, l->sent.next->next == &l->sent ? 0 : LOOKUP_ANSWER_MS);
        if (sl_take_prefix(&v, SL("OK ")))
            answer(l, r, LOOKUP_FOUND, v);
        else if (sl_has_prefix(v, SL("NOTFOUND ")))
            answer(l, r, LOOKUP_NOTFOUND, sl_n(NULL, 0));
        else
            answer(l, r, LOOKUP_TEMP,
                   sl_n(NULL, 0)); /* TEMP, TIMEOUT, PERM: never "no such user" */
    }
}

static void
on_broken(struct link *link, void *arg)
{
    struct lookup_client *l = arg;

    fail_list(l, &l->sent, LOOKUP_TRIES);
    while (!list_is_empty(&l->sent)) {
        struct list *last = l->sent.prev;

        list_remove(last);
        list_push_front(&l->waiting, last);
    }
    if (!list_is_empty(&l->waiting))
        link_need(link);
}

static void
on_down(struct link *link, void *arg)
{
    struct lookup_client *l = arg;

    fail_list(l, &l->waiting, 0);
    if (!list_is_empty(&l->waiting))
        link_need(link);
}

static const struct link_ops link_cbs = { on_up, on_input, on_broken, on_down };

struct lookup_client *
lookup_client_new(const char *socket_path)
{
    struct lookup_client *l = MEM_NEW(struct lookup_client);

    list_init(&l->waiting);
    list_init(&l->sent);
    link_init(&l->link, socket_path, &link_cbs, l);
    return l;
}

void
lookup_client_free(struct lookup_client **lp)
{
    struct lookup_client *l = *lp;

    if (l == NULL)
        return;
    link_free(&l->link);
    LIST_EACH(it, nxt, &l->waiting)
    free(CONTAINER_OF(it, struct lookup_req, link));
    LIST_EACH(it, nxt, &l->sent)
    free(CONTAINER_OF(it, struct lookup_req, link));
    buf_free(&l->reply);
    free(l);
    *lp = NULL;
}

static void
refuse_later(void *arg)
{
    struct lookup_req *r = arg;

    call_back(r, r->refusal, sl_n(NULL, 0));
}

static struct lookup_req *
new_req(struct slice wire, uint64_t id)
{
    struct lookup_req *r = mem_zalloc(sizeof *r + wire.n);

    if (wire.n > 0)
        memcpy(r + 1, wire.p, wire.n);
    r->wire = sl_n((const char *)(r + 1), wire.n);
    r->id = id;
    r->refusal = LOOKUP_TEMP;
    return r;
}

/* One without a wire is refused: what the server would take for nonsense must not break off what others wait for on the
 * same connection. */
static void
ask_req(struct lookup_client *l, struct lookup_req *r)
{
    if (r->wire.n == 0 || l->pending >= LOOKUP_PENDING_MAX) {
        loop_defer(refuse_later, r);
        return;
    }
    l->pending++;
    list_push_back(&l->waiting, &r->link);
    if (l->link.is_up)
        send_waiting(l);
    else
        link_need(&l->link);
}

static void
ask(struct lookup_client *l, const char *prefix, const char *name, struct slice key,
    void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    struct buf wire = { 0 };
    struct lookup_req *r;
    size_t n = strlen(prefix) + strlen(name) + 1 + key.n;

    if (n <= LOOKUP_QUERY_OCTETS) {
        buf_addf(&wire, "%zu:%s%s ", n, prefix, name);
        buf_adds(&wire, key);
        buf_addc(&wire, ',');
    }
    r = new_req(buf_slice(&wire), id);
    buf_free(&wire);
    r->cb = cb;
    if (key.n > TABLE_KEY_OCTETS)
        r->refusal = LOOKUP_NOTFOUND;
    ask_req(l, r);
}

void
lookup_ask(struct lookup_client *l, const char *name, struct slice key,
           void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    ask(l, "", name, key, cb, id);
}

void
lookup_ask_part(struct lookup_client *l, const char *name, struct slice key,
                void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    ask(l, LOOKUP_PART_PREFIX, name, key, cb, id);
}

void
lookup_ask_lines(struct lookup_client *l, const char *name, const struct slice *lines, size_t n,
                 lookup_lines_fn *cb, uint64_t id)
{
    struct buf text = { 0 }, wire = { 0 };
    struct lookup_req *r;

    buf_addf(&text, LOOKUP_LINES_PREFIX "%s ", name);
    for (size_t i = 0; i < n; i++) {
        buf_addf(&text, "%zu:", lines[i].n);
        buf_adds(&text, lines[i]);
        buf_addc(&text, ',');
    }
    if (text.n <= LOOKUP_LINES_OCTETS) {
        buf_addf(&wire, "%zu:", text.n);
        buf_adds(&wire, buf_slice(&text));
        buf_addc(&wire, ',');
    }
    r = new_req(buf_slice(&wire), id);
    buf_free(&wire);
    buf_free(&text);
    r->lines_cb = cb;
    r->n_lines = n;
    ask_req(l, r);
}
