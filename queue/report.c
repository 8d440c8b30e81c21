/* queue/report.c - the end of a round with failures: the report and the removal of what failed are one transaction, so a crash
 * neither loses a report nor sends it twice. What is in a report is bounce.c's. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/report_to.h"

#include <stdio.h>
#include <stdlib.h>

enum { US_PER_S = 1000000 };

struct report_op {
    struct wop op;
    struct qmsg *m;
    struct conf *conf;
    bool wants_report, is_gone;
    struct slice *to; /* who gets the report */
    size_t n_to;
    struct arena mem;
    struct qmsg *report;
};

/* The beginning of the original, from memory, row or file. What cannot be read is left out: the report goes all the same. */
static void
read_original(struct report_op *o, struct qdb *q, size_t most, struct buf *out)
{
    struct err e = { 0 };
    char path[4096];

    out->max = most;
    if (o->m->has_body) {
        buf_adds(out, sl_head(buf_slice(&o->m->body), most));
    } else if (o->m->is_file) {
        FILE *f = fopen(qdb_file_path(q, o->m->env.id, path, sizeof path), "re");
        char *to = buf_reserve(out, most);

        if (f && to)
            buf_commit(out, fread(to, 1, most, f));
        if (f)
            fclose(f);
    } else {
        struct buf whole = { 0 };

        if (qdb_get(q, o->m->n, true, qdb_take_body, &whole, &e) == 0)
            buf_adds(out, sl_head(buf_slice(&whole), most));
        buf_free(&whole);
    }
}

static int
put_report(struct report_op *o, struct qdb *q, struct err *e)
{
    struct buf original = { 0 }, body = { 0 }, packed = { 0 };
    struct queue_rcpt *to = mem_zalloc(o->n_to * sizeof *to);
    struct queue_env env = {
        .sender = SL(""), .rcpts = to, .n_rcpts = o->n_to, .protocol = SL("internal")
    };
    int64_t now_us = clock_unix_us();
    uint64_t n, limit = (uint64_t)o->conf->bounce_size_limit;
    struct qdb_put put = { 0 };

    if (qdb_grant(q, 1, &n, e) != 0) {
        free(to);
        return -1;
    }
    for (size_t i = 0; i < o->n_to; i++)
        to[i] = (struct queue_rcpt){ .addr = o->to[i],
                                     .orig = o->m->env.sender,
                                     .notify = NOTIFY_NEVER };
    queue_id_format(now_us, n, qdb_db_bits(q), env.id);
    read_original(o, q, o->m->size < limit ? o->m->size : limit, &original);
    bounce_build(o->m, o->conf, env.id, now_us / US_PER_S, buf_slice(&original),
                 original.n == o->m->size, &body);
    buf_free(&original);
    env.is_8bit = o->m->env.is_8bit;
    env.is_utf8 = o->m->env.is_utf8;
    queue_env_pack(&packed, &env, now_us);
    free(to);
    if (o->report) /* of an earlier run that was rolled back */
        active_free(o->report);
    o->report = active_new(n, &packed, &body, false, body.n,
                           enc_crc32(0, buf_slice(&body).p, body.n), NULL, 0, e);
    if (o->report == NULL)
        return -1;
    put = (struct qdb_put){ .n = n,
                            .id = o->report->env.id,
                            .env = buf_slice(&o->report->packed),
                            .size = o->report->size,
                            .crc = o->report->crc,
                            .body = buf_slice(&o->report->body),
                            .n_rcpts = (uint32_t)o->n_to,
                            .due = INT64_MIN,
                            .arrived_s = now_us / US_PER_S };
    return qdb_put(q, &put, e);
}

static int
report_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);

    if (o->wants_report && put_report(o, q, e) != 0)
        return -1;
    for (size_t k = 0; k < o->m->n_rcpts; k++)
        if (o->m->rcpts[k].state == RS_FAILED &&
            qdb_rcpt_done(q, o->m->n, o->m->rcpts[k].i, e) != 0)
            return -1;
    return qdb_message_reap(q, o->m->n, &o->is_gone, e);
}

static void
report_after(struct wop *op, struct qdb *q)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);

    if (o->is_gone && o->m->is_file)
        qdb_remove_file(q, o->m->env.id);
}

static void
report_done(struct wop *op, int rc, const struct err *e)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);

    (void)rc, (void)e;
    if (o->report) {
        log_event(LOG_LV_INFO, qmgr_ident("cleanup"), "msg.id",
                  LOG_F(LF_Z("id", o->report->env.id)), "%s: message-id=<%s@%s>", o->report->env.id,
                  o->report->env.id, o->conf->myhostname);
        log_event(LOG_LV_INFO, qmgr_ident("bounce"), "queue.bounce",
                  LOG_F(LF_Z("id", o->m->env.id), LF_Z("report", o->report->env.id)),
                  "%s: sender non-delivery notification: %s", o->m->env.id, o->report->env.id);
        active_begin(o->report);
    }
    if (o->is_gone && !o->m->is_deleted)
        active_log_removed(o->m);
    conf_unref(&o->conf);
    active_drop_ref(o->m);
    free(o->to);
    arena_free(&o->mem);
    free(o);
}

bool
report_has_failed(const struct qmsg *m)
{
    for (size_t k = 0; k < m->n_rcpts; k++)
        if (m->rcpts[k].state == RS_FAILED)
            return true;
    return false;
}

static void
on_report_to(void *arg, const struct slice *v, size_t n)
{
    struct report_op *o = arg;

    o->to = mem_alloc(n * sizeof *o->to);
    for (size_t i = 0; i < n; i++)
        o->to[o->n_to++] = arena_dup(&o->mem, v[i]);
    writer_submit(qm.writer, &o->op);
}

void
report_failures(struct qmsg *m)
{
    struct report_op *o = MEM_NEW(struct report_op);

    m->is_reported = true;
    o->op = (struct wop){
        .kind = WOP_STATE, .run = report_run, .after = report_after, .done = report_done
    };
    o->m = m;
    o->conf = conf_ref(qm.conf);
    for (size_t k = 0; k < m->n_rcpts; k++)
        o->wants_report =
            o->wants_report || (m->rcpts[k].state == RS_FAILED && bounce_wants(&m->rcpts[k]));
    if (!o->wants_report && m->env.sender.n == 0)
        log_warn("queue.double", LOG_F(LF_Z("id", m->env.id)), "%s: undeliverable bounce discarded",
                 m->env.id);
    active_hold_ref(m);
    if (o->wants_report)
        report_to_find(m->env.sender, on_report_to, o);
    else
        writer_submit(qm.writer, &o->op);
}
