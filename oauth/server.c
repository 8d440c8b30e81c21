/* oauth/server.c - see server.h. */
#include "oauth/server.h"

#include "auth/tab.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/loop.h"
#include "oauth/check.h"

#include <stdlib.h>

struct peer {
    struct list link;
    struct conn *conn;
    uint64_t id;
};

static struct list peers = { &peers, &peers };

static void
on_checked(uint64_t id, uint64_t number, const struct oauth_result *r)
{
    static const char *const verbs[] = {
        [OAUTH_OK] = "OK", [OAUTH_INVALID] = "INVALID", [OAUTH_TEMP] = "TEMP"
    };
    const struct peer *p = id_get(id);
    struct buf line = { 0 };

    if (p == NULL)
        return;
    buf_addf(&line, "%s\t%llu", verbs[r->rc], (unsigned long long)number);
    if (r->rc == OAUTH_OK)
        tab_add_pair(&line, "user", r->user);
    else
        tab_add_pair(&line, "why", r->why);
    if (r->is_scope)
        buf_addz(&line, "\tscope");
    buf_addc(&line, '\n');
    conn_writes(p->conn, buf_slice(&line));
    buf_free(&line);
}

/* "CHECK number token=..."; other fields are for those who come after us. */
static bool
run_line(const struct peer *p, struct slice line)
{
    struct slice verb = { 0 }, field, v;
    struct buf token = { 0 };
    uint64_t number;
    bool is_good;

    tab_take(&line, &verb);
    if (!sl_eqz(verb, "CHECK") || !tab_take(&line, &field) || !sl_to_u64(field, &number))
        return false;
    while (tab_take(&line, &field))
        if (tab_is_pair(field, "token", &v) && token.n == 0) {
            buf_reserve(&token, v.n + 1);
            tab_unescape(&token, v);
        }
    is_good = token.n <= OAUTH_TOKEN_OCTETS && oauth_is_token(buf_slice(&token));
    if (is_good)
        check_token(buf_slice(&token), on_checked, p->id, number);
    buf_wipe(&token);
    return is_good;
}

static void
on_input(struct conn *c, void *arg)
{
    struct peer *p = arg;
    struct buf copy = { 0 }; /* answers are written to the conn meanwhile */
    struct slice line;

    for (;;) {
        enum frame_rc rc = conn_take_line(c, TAB_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            break;
        buf_reset(&copy);
        if (rc == FRAME_OK)
            buf_adds(&copy, line);
        if (rc == FRAME_TOO_LONG || !run_line(p, buf_slice(&copy))) {
            log_warn("oauth.protocol", LOG_NONE, "a malformed request on private/oauth");
            conn_abort(c);
            break;
        }
    }
    buf_wipe(&copy);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;

    (void)c;
    (void)end;
    (void)why;
    id_del(p->id);
    list_remove(&p->link);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
oauth_serve(int fd)
{
    struct peer *p = MEM_NEW(struct peer);

    p->id = id_add(p);
    list_push_back(&peers, &p->link);
    p->conn = conn_new(fd, &ops, p);
    conn_set_in_max(p->conn, TAB_LINE_OCTETS * 2);
}

void
oauth_serve_end(void)
{
    LIST_EACH(it, nxt, &peers)
    conn_abort(CONTAINER_OF(it, struct peer, link)->conn);
}
