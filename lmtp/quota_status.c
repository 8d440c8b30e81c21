/* lmtp/quota_status.c - "private/quota": smtpd, or a Postfix, asks in the policy protocol whether there is room in the
 * mailbox of a recipient; what is answered are Dovecot's quota_status_* parameters. A question goes to authd (whose mailbox
 * is it), then to the work pool (quota.db, and the store of a user who was never counted); a connection has one
 * out at a time. */
#include "lmtp/lmtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "lmtp/warner.h"
#include "proto/policy.h"
#include "session/quota_tell.h"
#include "store/quota.h"

#include <stdlib.h>

enum {
    PEERS_MAX = 2000, /* connections; each has one question out */
    ADDRESS_OCTETS_MAX = 1024,
    NAMES_ARENA_OCTETS = 16 * 1024
};

struct peer {
    struct list link;
    struct conn *conn;
    uint64_t id;
    struct arena mem; /* of the question */
    bool is_asking, is_drained;
    bool is_own; /* our smtpd asks: it wants to hear of full mailboxes alone */
    struct slice user, bare;
    int64_t size_octets;
};

struct job {
    struct work_job work;
    uint64_t peer;
    struct conf *conf;
    struct buf mem; /* user, mail, quota */
    struct slice user;
    struct store_userdb db;
    int64_t size_octets;
    bool is_too_large;
    int rc;
    struct err err;
};

static struct list peers = { &peers, &peers };
static size_t n_peers;

static void take_questions(struct peer *p);

/* ---- answers ---- */

static void
answer(struct peer *p, const char *action)
{
    conn_printf(p->conn, "action=%s\n\n", action);
    p->is_asking = false;
    arena_free(&p->mem);
    if (p->is_drained)
        conn_close(p->conn);
    else
        conn_resume_input(p->conn);
}

/* What went wrong is in the log. Whoever else asks shall try again; smtpd takes the recipient. */
static void
cannot_tell(struct peer *p)
{
    answer(p, p->is_own ? "DUNNO" : "DEFER_IF_PERMIT Temporary internal error");
}

static const char *
action_of(const struct conf *c, const struct job *j)
{
    if (j->rc == 0)
        return c->quota_status_success;
    return j->is_too_large && c->quota_status_toolarge[0] ? c->quota_status_toolarge
                                                          : c->quota_status_overquota;
}

/* ---- asking the store ---- */

static enum work_rc
run(struct work_job *work)
{
    struct job *j = CONTAINER_OF(work, struct job, work);
    struct store *s = deliverer_store(lmtpd_env.deliverer);
    struct quota_ask ask = { .user = j->user,
                             .db = &j->db,
                             .octets = j->size_octets,
                             .messages = 1,
                             .max_octets = j->size_octets,
                             .flags = QUOTA_GRACE | (j->size_octets == 0 ? QUOTA_NOW : 0) };
    struct quota_rules *r = NULL;

    j->rc = quota_check(s, &ask, &j->err);
    if (j->rc != 0 && j->err.kind == ERR_LIMIT &&
        quota_rules_new(j->conf, j->db.quota, &r, NULL) == 0) {
        int64_t one = quota_rules_max_mail(r), all = quota_rules_user(r).octets;

        j->is_too_large = (one > 0 && j->size_octets > one) || (all > 0 && j->size_octets > all);
        quota_rules_free(&r);
    }
    return WORK_DONE;
}

static void
done(struct work_job *work)
{
    struct job *j = CONTAINER_OF(work, struct job, work);
    struct peer *p = id_get(j->peer);
    bool is_known = j->rc == 0 || j->err.kind == ERR_LIMIT;

    if (!is_known)
        log_error("quota.status", LOG_F(LF_S("user", j->user), LF_Z("why", j->err.msg)),
                  "quota-status(%.*s): %s", SL_ARG(j->user), j->err.msg);
    if (p && is_known)
        answer(p, action_of(j->conf, j));
    else if (p)
        cannot_tell(p);
    conf_unref(&j->conf);
    buf_free(&j->mem);
    free(j);
}

static struct slice
keep(struct buf *mem, size_t *at, struct slice s)
{
    struct slice all = buf_slice(mem), kept = sl_n(all.p + *at, s.n);

    *at += s.n;
    return kept;
}

static void
check(struct peer *p, const struct auth_user *u)
{
    struct job *j = MEM_NEW(struct job);
    struct slice user = u->user.n ? u->user : p->user;
    size_t at = 0;

    j->peer = p->id;
    j->conf = conf_ref(lmtpd_env.conf);
    j->size_octets = p->size_octets;
    buf_adds(&j->mem, user);
    buf_adds(&j->mem, u->mail);
    buf_adds(&j->mem, u->quota);
    j->user = keep(&j->mem, &at, user);
    j->db.mail = keep(&j->mem, &at, u->mail);
    j->db.quota = keep(&j->mem, &at, u->quota);
    j->work.run = run;
    j->work.done = done;
    if (!work_submit(lmtpd_env.pool, &j->work)) { /* never: the pool has no bound, peers have */
        j->rc = err_set(&j->err, ERR_TEMP, "too many questions");
        done(&j->work);
    }
}

/* ---- asking authd ---- */

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct peer *p = id_get(id);

    if (p == NULL)
        return;
    if (u->found == 0 && p->bare.n > 0) {
        p->user = p->bare;
        p->bare = SL("");
        auth_master_user(lmtpd_env.auth, p->user, "quota-status", on_user, id);
    } else if (u->found > 0) {
        check(p, u);
    } else if (u->found < 0) {
        log_error("quota.status", LOG_F(LF_S("user", p->user)),
                  "quota-status: auth server cannot tell about %.*s", SL_ARG(p->user));
        cannot_tell(p);
    } else {
        answer(p, p->is_own ? "DUNNO" : lmtpd_env.conf->quota_status_nouser);
    }
}

/* ---- questions ---- */

static bool
is_address(struct slice s)
{
    return s.n > 0 && s.n <= ADDRESS_OCTETS_MAX && sl_find_char(s, '\0') == SL_NPOS;
}

static void
ask(struct peer *p, struct slice request)
{
    struct slice recipient = policy_attr(request, "recipient");
    uint64_t size = 0;

    p->is_asking = true;
    conn_pause_input(p->conn);
    if (sl_eqz(policy_attr(request, "request"), QUOTA_TELL_REQUEST)) {
        warner_look(recipient);
        answer(p, "OK");
        return;
    }
    p->is_own = sl_eqz(policy_attr(request, "policy_context"), QUOTA_OWN_CONTEXT);
    if (!sl_to_u64(policy_attr(request, "size"), &size) || size > INT64_MAX)
        size = 0;
    p->size_octets = (int64_t)size;
    p->mem.cap = NAMES_ARENA_OCTETS;
    if (!is_address(recipient)) /* there is none before RCPT and, with several, at DATA */
        answer(p, "DUNNO");
    else if (!lmtpd_names(arena_dup(&p->mem, recipient), &p->mem, &p->user, &p->bare))
        cannot_tell(p);
    else
        auth_master_user(lmtpd_env.auth, p->user, "quota-status", on_user, p->id);
}

static void
take_questions(struct peer *p)
{
    while (!p->is_asking) {
        struct slice in = conn_input(p->conn), rest = in, request;
        struct err e = { 0 };
        enum parse_rc rc = policy_take_request(&rest, &request, &e);
        struct buf copy = { 0 };

        if (rc == PARSE_BAD) {
            log_warn("quota.status", LOG_NONE, "quota-status: %s in a request", e.msg);
            conn_abort(p->conn);
            return;
        }
        if (rc == PARSE_MORE) {
            if (conn_is_eof(p->conn))
                conn_close(p->conn);
            return;
        }
        buf_adds(&copy, request);
        conn_consume(p->conn, in.n - rest.n);
        ask(p, buf_slice(&copy));
        buf_free(&copy);
    }
}

static void
on_input(struct conn *c, void *arg)
{
    (void)c;
    take_questions(arg);
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
    n_peers--;
    arena_free(&p->mem);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
quota_status_accept(int fd)
{
    struct peer *p = MEM_NEW(struct peer);

    p->id = id_add(p);
    p->conn = conn_new(fd, &ops, p);
    conn_set_in_max(p->conn, POLICY_REQUEST_OCTETS + 1);
    list_push_back(&peers, &p->link);
    n_peers++;
    if (n_peers > PEERS_MAX) {
        log_warn("quota.status", LOG_NONE, "quota-status: too many connections");
        conn_abort(p->conn);
    }
}

size_t
quota_status_count(void)
{
    return n_peers;
}

void
quota_status_drain(void)
{
    LIST_EACH(it, nxt, &peers)
    {
        struct peer *p = CONTAINER_OF(it, struct peer, link);

        p->is_drained = true;
        if (!p->is_asking)
            conn_close(p->conn);
    }
}
