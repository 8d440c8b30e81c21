/* queue/verify.c - address verification: smtpd asks whether an address can be delivered to, and is told what the last probe found.
 * A probe takes the way mail would take, as a message of its own that is in no database: its MAIL and RCPT are said, and
 * nothing is sent. All who ask about one address share a probe; who asks does not wait here but asks again. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "queue/verify_rules.h"
#include "session/verify_sender.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROBES_MAX = 100, /* at once; for more addresses "in progress" is all that is said */
    ASKS_MAX = 2000,  /* look-ups waiting for the database */
    ADDR_OCTETS_MAX = 1000,
    IDS_A_GRANT = 256,
    WARN_EVERY_MS = 60 * 1000
};
#define PROBE_BIT (1ULL << 63) /* keys of messages that are in no database */

struct probe {
    char *addr, *orig;
    struct list link; /* vf.waiting: until there is an id */
};

static struct {
    struct verify_db *db;
    struct work_pool *pool;
    struct map *probes; /* address -> struct probe */
    struct list waiting;
    size_t n_asks;
    uint64_t seq, id_next, id_end;
    bool is_granting;
    uint64_t warned_ms;
    struct timer clean;
} vf;

static void clean_later(void);

/* ---- rows ---- */

static struct verify_times
times_of(const struct conf *c)
{
    return (struct verify_times){
        .good_refresh_s = c->address_verify_positive_refresh_time / 1000,
        .good_expire_s = c->address_verify_positive_expire_time / 1000,
        .bad_refresh_s = c->address_verify_negative_refresh_time / 1000,
        .bad_expire_s = c->address_verify_negative_expire_time / 1000,
    };
}

/* Say so, but not for each of a thousand questions. */
static void
warn(const char *what, const char *why)
{
    uint64_t now = loop_now_ms();

    if (vf.warned_ms != 0 && now - vf.warned_ms < WARN_EVERY_MS)
        return;
    vf.warned_ms = now;
    log_warn("verify.trouble", LOG_NONE, "address verification: %s: %s", what, why);
}

/* A change that nobody waits for: a refresh begins, a probe ended, old rows go. */
struct change {
    struct work_job job;
    enum { CHANGE_BEGIN, CHANGE_END, CHANGE_CLEAN } kind;
    char *addr;
    struct verify_row row; /* END: status and text */
    bool keeps_failures;
    struct verify_times times;
    int64_t now_s;
    int rc;
    struct err err;
};

static enum work_rc
change_run(struct work_job *job)
{
    struct change *c = CONTAINER_OF(job, struct change, job);
    struct verify_row old;
    uint64_t n;
    int found;

    if (c->kind == CHANGE_CLEAN) {
        c->rc = verify_db_clean(vf.db, c->now_s - c->times.good_expire_s,
                                c->now_s - c->times.bad_expire_s, VERIFY_ROWS_MAX, &n, &c->err);
        return WORK_DONE;
    }
    found = verify_db_get(vf.db, sl_z(c->addr), &old, &c->err);
    if (found < 0) {
        c->rc = -1;
    } else if (c->kind == CHANGE_BEGIN) {
        old.probed_s = c->now_s;
        if (found)
            c->rc = verify_db_put(vf.db, sl_z(c->addr), &old, &c->err);
    } else if (verify_replaces(found ? &old : NULL, c->row.status, c->keeps_failures)) {
        c->rc = verify_db_put(vf.db, sl_z(c->addr), &c->row, &c->err);
    }
    return WORK_DONE;
}

static void
probe_free(void *arg)
{
    struct probe *p = arg;

    free(p->addr);
    free(p->orig);
    free(p);
}

static void
change_done(struct work_job *job)
{
    struct change *c = CONTAINER_OF(job, struct change, job);

    if (c->rc != 0)
        warn("verify.db", c->err.msg);
    if (c->kind == CHANGE_CLEAN)
        clean_later();
    /* Only now: who asks meanwhile must not start another probe. */
    if (c->kind == CHANGE_END) {
        struct probe *p = map_del(vf.probes, sl_z(c->addr));

        if (p)
            probe_free(p);
    }
    free(c->addr);
    free(c);
}

static void
submit_change(struct change *c)
{
    c->now_s = clock_unix_s();
    c->times = times_of(qm.conf);
    c->job = (struct work_job){ .run = change_run, .done = change_done };
    work_submit(vf.pool, &c->job);
}

static void
clean(void *arg)
{
    struct change *c = MEM_NEW(struct change);

    (void)arg;
    c->kind = CHANGE_CLEAN;
    submit_change(c);
}

static void
clean_later(void)
{
    if (qm.conf->address_verify_cache_cleanup_interval > 0)
        timer_start(&vf.clean, (uint64_t)qm.conf->address_verify_cache_cleanup_interval, clean,
                    NULL);
}

/* ---- probes ---- */

const char *
verify_status_word(const struct qmsg *m, enum smtp_outcome outcome)
{
    if (!m->is_probe)
        return outcome == SMTP_SENT ? "sent" : outcome == SMTP_DEFERRED ? "deferred" : "bounced";
    if (outcome == SMTP_SENT)
        return "deliverable";
    return qm.conf->address_verify_negative_cache ? "undeliverable"
                                                  : "undeliverable-but-not-cached";
}

static void
end_probe(const char *addr, enum verify_status status, struct slice text)
{
    struct change *c = MEM_NEW(struct change);
    bool is_utf8;

    c->kind = CHANGE_END;
    c->addr = mem_dupz(addr);
    c->row.status = status;
    c->row.updated_s = clock_unix_s();
    c->keeps_failures = qm.conf->address_verify_negative_cache;
    snprintf(c->row.text, sizeof c->row.text, "%.*s", SL_ARG(text));
    is_utf8 = utf8_is_valid(sl_z(c->row.text));
    for (char *z = c->row.text; *z;
         z++) /* another host's words, on their way into a reply of ours */
        if ((unsigned char)*z < 0x20 || *z == 0x7f || (!is_utf8 && (unsigned char)*z >= 0x80))
            *z = '?';
    submit_change(c);
}

void
verify_ended(const struct qrcpt *r)
{
    const struct qmsg *m = r->m;
    char *addr = sl_dupz(r->r->addr);

    end_probe(addr,
              r->state == RS_SENT       ? VERIFY_OK
              : r->state == RS_DEFERRED ? VERIFY_DEFER
                                        : VERIFY_BOUNCE,
              r->why ? sl_z(r->why) : SL("250 2.1.5 Ok"));
    free(addr);
    log_info("queue.removed", LOG_F(LF_Z("id", m->env.id)), "%s: removed", m->env.id);
}

static void
begin_probe(struct probe *p)
{
    struct buf sender = { 0 }, packed = { 0 }, body = { 0 };
    struct queue_rcpt to = { .addr = sl_z(p->addr), .orig = sl_z(p->orig), .notify = NOTIFY_NEVER };
    struct queue_env env = { .rcpts = &to, .n_rcpts = 1, .protocol = SL("verify") };
    struct err e = { 0 };
    struct qmsg *m;

    verify_sender_make(qm.conf, clock_unix_s(), &sender);
    env.sender = buf_slice(&sender);
    env.is_utf8 = !utf8_is_ascii(to.addr) || !utf8_is_ascii(env.sender);
    queue_id_format(clock_unix_us(), vf.id_next++, qm.db_bits, env.id);
    queue_env_pack(&packed, &env, clock_unix_us());
    m = active_new(PROBE_BIT | ++vf.seq, &packed, &body, false, 0, 0, NULL, 0, &e);
    buf_free(&sender);
    if (m == NULL) { /* no address that could be a command's argument */
        end_probe(p->addr, VERIFY_BOUNCE, SL("bad address syntax"));
        return;
    }
    m->is_probe = true;
    active_begin(m);
}

struct grant_op {
    struct wop op;
    uint64_t first;
};

static int
grant_run(struct wop *op, struct qdb *q, struct err *e)
{
    return qdb_grant(q, IDS_A_GRANT, &CONTAINER_OF(op, struct grant_op, op)->first, e);
}

static void
grant_done(struct wop *op, int rc, const struct err *e)
{
    struct grant_op *g = CONTAINER_OF(op, struct grant_op, op);
    struct list *n;

    vf.is_granting = false;
    if (rc == 0) {
        vf.id_next = g->first;
        vf.id_end = g->first + IDS_A_GRANT;
    } else {
        warn("no queue ids can be given", e->msg);
    }
    free(g);
    while ((n = list_pop_front(&vf.waiting)) != NULL) {
        struct probe *p = CONTAINER_OF(n, struct probe, link);

        if (vf.id_next < vf.id_end)
            begin_probe(p);
        else
            probe_free(map_del(vf.probes, sl_z(p->addr)));
    }
}

/* False: not now. */
static bool
start_probe(struct slice addr, struct slice orig)
{
    struct probe *p;

    if (map_count(vf.probes) >= PROBES_MAX || !active_is_room() || qm.is_draining) {
        warn("not probed now", "too many probes are under way");
        return false;
    }
    p = MEM_NEW(struct probe);
    p->addr = sl_dupz(addr);
    p->orig = sl_dupz(orig);
    list_init(&p->link);
    map_set(vf.probes, addr, p);
    if (vf.id_next < vf.id_end) {
        begin_probe(p);
        return true;
    }
    list_push_back(&vf.waiting, &p->link);
    if (!vf.is_granting) {
        struct grant_op *g = MEM_NEW(struct grant_op);

        vf.is_granting = true;
        g->op = (struct wop){ .kind = WOP_READ, .run = grant_run, .done = grant_done };
        writer_submit(qm.writer, &g->op);
    }
    return true;
}

/* ---- questions ---- */

struct verify_ask {
    struct work_job job;
    uint64_t client, req;
    char *addr, *orig;
    bool has_row;
    struct verify_times times;
    int64_t now_s;
    struct verify_row row;
    struct verify_judged judged;
    int rc;
    struct err err;
};

static enum work_rc
ask_run(struct work_job *job)
{
    struct verify_ask *a = CONTAINER_OF(job, struct verify_ask, job);
    int found = verify_db_get(vf.db, sl_z(a->addr), &a->row, &a->err);

    a->has_row = found == 1;
    a->rc = found < 0 ? -1 : 0;
    a->judged = verify_judge(a->has_row ? &a->row : NULL, a->now_s, &a->times);
    if (a->judged
            .has_expired) { /* else it would stand in the way of what the probe finds, and of who asks meanwhile */
        a->has_row = false;
        a->rc = verify_db_delete(vf.db, sl_z(a->addr), &a->err);
    }
    return WORK_DONE;
}

static void
ask_done(struct work_job *job)
{
    struct verify_ask *a = CONTAINER_OF(job, struct verify_ask, job);
    bool is_todo = a->judged.status == VERIFY_TODO;

    vf.n_asks--;
    if (a->rc != 0)
        warn("verify.db", a->err.msg);
    intake_send_verdict(a->client, a->req, a->rc == 0, a->judged.status,
                        is_todo ? SL("Address verification in progress") : sl_z(a->row.text));
    if (a->rc == 0 && a->judged.needs_probe && map_get(vf.probes, sl_z(a->addr)) == NULL &&
        start_probe(sl_z(a->addr), sl_z(a->orig)) && a->has_row) {
        struct change *c = MEM_NEW(struct change);

        c->kind = CHANGE_BEGIN; /* not again at once, should this one be lost or fail */
        c->addr = mem_dupz(a->addr);
        submit_change(c);
    }
    free(a->addr);
    free(a->orig);
    free(a);
}

void
verify_ask(uint64_t client, uint64_t req, struct slice addr, struct slice orig)
{
    size_t at = sl_rfind_char(addr, '@');
    struct verify_ask *a;

    if (vf.db == NULL || vf.n_asks >= ASKS_MAX || at == SL_NPOS || addr.n > ADDR_OCTETS_MAX ||
        orig.n > ADDR_OCTETS_MAX) {
        intake_send_verdict(client, req, false, VERIFY_TODO, SL(""));
        return;
    }
    a = MEM_NEW(struct verify_ask);
    a->client = client;
    a->req = req;
    a->addr = sl_dupz(addr);
    a->orig = sl_dupz(orig);
    for (char *z = a->addr + at; *z; z++)
        *z = sl_lower_char(*z);
    a->times = times_of(qm.conf);
    a->now_s = clock_unix_s();
    a->job = (struct work_job){ .run = ask_run, .done = ask_done };
    vf.n_asks++;
    work_submit(vf.pool, &a->job);
}

/* ---- beginning and end ---- */

void
verify_init(void)
{
    char path[PATH_MAX];
    struct err e = { 0 };

    list_init(&vf.waiting);
    vf.probes = map_new();
    vf.pool = work_pool_new("verify-db", 1, 0);
    snprintf(path, sizeof path, "%s/verify.db", qm.queue_dir);
    if (verify_db_open(qm.conf->address_verify_map[0] ? path : ":memory:", &vf.db, &e) != 0)
        log_error("verify.open", LOG_NONE,
                  "address verification: %s: no address can be verified: %s", path, e.msg);
    if (vf.db)
        clean_later();
}

void
verify_free(void)
{
    if (vf.pool == NULL)
        return;
    timer_stop(&vf.clean);
    while (list_pop_front(&vf.waiting) != NULL)
        ; /* freed with the others; an answer that still comes finds none to begin */
    work_pool_free(&vf.pool);
    verify_db_close(&vf.db);
    map_free(&vf.probes, probe_free);
}
