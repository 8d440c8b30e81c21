/* queue/report.c - who hears of what came of a message: its sender, where the recipient's NOTIFY says so (RFC 3461 §6), and
 * postmaster, where notify_classes does. A report and the end of what it is about are one transaction, so a crash neither
 * loses a report nor sends it twice. Never a report about a report: one that fails is postmaster's, and postmaster's own
 * stays on hold. What a report says is bounce.c's. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"
#include "queue/bounce.h"
#include "queue/report_to.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    US_PER_S = 1000000,
    WAIT_MS =
        60 * 1000, /* reports that are owed wait so long for what is still open of their round */
    NOBODY_MAX = 10000, /* bounces that nobody takes are kept on hold; more are thrown away */
    HEADER_OCTETS_MAX = 100 * 1024 /* of an original that is read where only its header is wanted */
};

/* What came of a recipient. */
struct item {
    struct qrcpt *r;
    enum bounce_kind kind;
    bool is_told;    /* in a letter */
    bool goes_hold;  /* nobody can be told */
    bool is_dropped; /* nobody wants to be told */
    bool was_before; /* qmgr was started anew since: nobody knows when */
    int64_t due;     /* BOUNCE_DELAY */
};

/* A report to be written: about the items of one kind that have one sender. */
struct letter {
    enum bounce_kind kind;
    bool is_copy, is_double; /* to postmaster; instead of the sender */
    struct slice about;      /* the items' sender */
    struct slice to;
    struct queue_rcpt *rcpts; /* where its aliases lead */
    size_t n_rcpts;
    struct qmsg *made;
};

struct report_op {
    struct wop op;
    struct qmsg *m;
    struct conf *conf;
    struct bounce_templates *templates;
    struct arena mem;
    struct item *items;
    struct letter *letters;
    size_t n_items, n_letters, cap_letters, at_letter;
    bool wants_whole, has_hold, is_crowded, is_gone;
};

static struct bounce_templates *templates;
static struct list waiting = { &waiting, &waiting };
static struct timer wait_timer;

/* ---- who hears ---- */

/* Postmaster's reports are from here. */
static bool
is_double_bounce(struct slice sender)
{
    struct slice local, domain;

    return smtp_addr_split(sender, &local, &domain) &&
           sl_ieqz(local, qm.conf->double_bounce_sender) &&
           (sl_ieqz(domain, qm.conf->myhostname) || sl_ieqz(domain, qm.conf->myorigin));
}

static bool
has_class(const char *class)
{
    return conf_list_has(qm.conf->notify_classes, class);
}

/* The sender, with RFC 3461's NOTIFY; without, by_default. */
static bool
wants(const struct qrcpt *r, unsigned bit, bool by_default)
{
    struct slice sender = qrcpt_sender(r);

    if (sender.n == 0 || r->m->is_probe || is_double_bounce(sender))
        return false;
    return r->r->notify == 0 ? by_default : (r->r->notify & bit) != 0;
}

bool
report_wants_sent(const struct qrcpt *r, enum sent_how how)
{
    if (how != SENT_ONWARD && wants(r, NOTIFY_SUCCESS, false))
        return true;
    return (r->flags & QDB_WARNED) && qm.conf->confirm_delay_cleared &&
           wants(r, NOTIFY_DELAY, true);
}

bool
report_wants_late(const struct qrcpt *r)
{
    const struct conf *c = qm.conf;

    if (c->delay_warning_time == 0 || (r->flags & QDB_WARNED) || r->goes_on_hold || r->m->is_held ||
        r->m->is_deleted || r->m->is_probe || active_age_us(r->m) < c->delay_warning_time * 1000)
        return false;
    return wants(r, NOTIFY_DELAY, true) || (qrcpt_sender(r).n == 0 && has_class("delay"));
}

/* ---- letters ---- */

static void
add_letter(struct report_op *o, enum bounce_kind kind, struct slice about, const char *postmaster,
           bool is_double)
{
    struct letter *l;

    for (size_t i = 0; i < o->n_letters; i++) {
        l = &o->letters[i];
        if (l->kind == kind && l->is_copy == (postmaster != NULL) && sl_eq(l->about, about))
            return;
    }
    o->letters = mem_grow(o->letters, &o->cap_letters, o->n_letters + 1, sizeof *o->letters);
    l = &o->letters[o->n_letters++];
    *l = (struct letter){ .kind = kind,
                          .is_copy = postmaster != NULL,
                          .is_double = is_double,
                          .about = about,
                          .to = about };
    if (postmaster)
        l->to = sl_z(strchr(postmaster, '@')
                         ? arena_printf(&o->mem, "%s", postmaster)
                         : arena_printf(&o->mem, "%s@%s", postmaster, o->conf->myorigin));
    if (kind == BOUNCE_FAILURE && (postmaster == NULL || is_double))
        o->wants_whole = true;
}

/* A bounce that cannot be delivered: postmaster's, if postmaster wants such. Where main.cf says nothing of classes, it is not
 * for us to say that nobody does. */
static void
fail_bounce(struct report_op *o, struct item *it, struct slice sender)
{
    const struct conf *c = o->conf;

    if (is_double_bounce(sender)) {
        it->goes_hold = true;
    } else if (has_class("2bounce") || has_class("bounce")) {
        add_letter(o, BOUNCE_FAILURE, sender, c->double_bounce_notice_recipient, true);
        it->is_told = true;
    } else {
        it->goes_hold = conf_line_of(c, "notify_classes") == 0;
        it->is_dropped = !it->goes_hold;
    }
    o->has_hold = o->has_hold || it->goes_hold;
}

static void
settle_item(struct report_op *o, struct item *it)
{
    const struct qrcpt *r = it->r;
    struct slice sender = qrcpt_sender(r);

    if (it->kind == BOUNCE_FAILURE && (sender.n == 0 || is_double_bounce(sender))) {
        fail_bounce(o, it, sender);
    } else if (it->kind == BOUNCE_SUCCESS) { /* else it would not be owed */
        add_letter(o, it->kind, sender, NULL, false);
        it->is_told = true;
    } else if (wants(r, it->kind == BOUNCE_DELAY ? NOTIFY_DELAY : NOTIFY_FAILURE, true)) {
        add_letter(o, it->kind, sender, NULL, false);
        if (it->kind == BOUNCE_FAILURE && has_class("bounce"))
            add_letter(o, it->kind, sender, o->conf->bounce_notice_recipient, false);
        it->is_told = true;
    }
    if (it->kind == BOUNCE_DELAY && has_class("delay")) {
        add_letter(o, it->kind, sender, o->conf->delay_notice_recipient, false);
        it->is_told = true;
    }
}

static const char *
action_of(const struct item *it)
{
    return it->kind == BOUNCE_FAILURE        ? "failed"
           : it->kind == BOUNCE_DELAY        ? "delayed"
           : it->r->r->kind == RCPT_EXPANDED ? "expanded"
           : it->r->flags & QDB_RELAYED      ? "relayed"
                                             : "delivered";
}

/* ---- on the writer's thread ---- */

/* The original, or its beginning. What cannot be read is left out: the report goes all the same. */
static void
read_original(struct report_op *o, struct qdb *q, struct buf *out)
{
    uint64_t limit = (uint64_t)o->conf->bounce_size_limit, size = o->m->size;
    size_t most = o->wants_whole && size <= limit ? (size_t)size : HEADER_OCTETS_MAX;
    struct err e = { 0 };
    char path[4096];

    if (most > size)
        most = (size_t)size;
    if (o->m->is_file) {
        FILE *f = fopen(qdb_file_path(q, o->m->env.id, path, sizeof path), "re");
        char *to = buf_reserve(out, most);

        if (f && to)
            buf_commit(out, fread(to, 1, most, f));
        if (f)
            fclose(f);
    } else if (qdb_get(q, o->m->n, true, qdb_take_body, out, &e) == 0) {
        buf_truncate(out, most);
    }
}

static void
write_letter(struct report_op *o, const struct letter *l, const char *id, int64_t now_s,
             struct slice original, struct buf *out)
{
    const struct qmsg *m = o->m;
    struct bounce_rcpt *v = mem_zalloc(o->n_items * sizeof *v);
    bool is_list =
        !sl_eq(l->about, m->env.sender); /* RET and ENVID are another's (RFC 3461 §5.2.7.1) */
    struct bounce_report r = { .kind = l->kind,
                               .is_copy = l->is_copy,
                               .templates = o->templates,
                               .myhostname = o->conf->myhostname,
                               .myorigin = o->conf->myorigin,
                               .mail_name = o->conf->mail_name,
                               .id = id,
                               .now_s = now_s,
                               .to = l->to,
                               .of = m->env.id,
                               .sender = l->about,
                               .envid = is_list ? SL("") : m->env.envid,
                               .arrived_s = m->arrived_us / US_PER_S,
                               .is_utf8 = m->env.is_utf8,
                               .wants_header_only =
                                   (l->is_copy && !l->is_double) ||
                                   (!l->is_copy && !is_list && m->env.ret == RET_HDRS),
                               .original = original,
                               .is_whole = original.n == m->size,
                               .rcpts = v };

    r.expires_s =
        r.arrived_s +
        (l->about.n > 0 ? o->conf->maximal_queue_lifetime : o->conf->bounce_queue_lifetime) / 1000;
    for (size_t i = 0; i < o->n_items; i++) {
        const struct item *it = &o->items[i];

        if (it->kind != l->kind || !it->is_told || !sl_eq(qrcpt_sender(it->r), l->about))
            continue;
        v[r.n_rcpts++] = (struct bounce_rcpt){ .addr = it->r->r->addr,
                                               .orig = it->r->r->orig,
                                               .orcpt = it->r->r->orcpt,
                                               .action = action_of(it),
                                               .status = sl_z(it->r->dsn),
                                               .why = sl_z(it->r->why),
                                               .attempt_s = it->was_before ? 0 : now_s };
    }
    bounce_build(&r, out);
    free(v);
}

static int
put_letter(struct report_op *o, struct letter *l, struct qdb *q, struct slice original,
           struct err *e)
{
    struct buf body = { 0 }, packed = { 0 };
    struct queue_env env = { .rcpts = l->rcpts, .n_rcpts = l->n_rcpts, .protocol = SL("internal") };
    int64_t now_us = clock_unix_us();
    struct qdb_put put;
    uint64_t n;
    int rc = -1;

    if (qdb_grant(q, 1, &n, e) != 0)
        goto out;
    env.sender = l->is_copy ? sl_z(arena_printf(&o->mem, "%s@%s", o->conf->double_bounce_sender,
                                                o->conf->myhostname))
                            : SL("");
    queue_id_format(now_us, n, qdb_db_bits(q), env.id);
    write_letter(o, l, env.id, now_us / US_PER_S, original, &body);
    env.is_8bit = bounce_is_8bit(buf_slice(&body));
    env.is_utf8 = o->m->env.is_utf8;
    queue_env_pack(&packed, &env, now_us);
    if (l->made) /* of an earlier run that was rolled back */
        active_free(l->made);
    l->made = active_new(n, &packed, &body, false, body.n, enc_crc32(0, buf_slice(&body).p, body.n),
                         NULL, 0, e);
    if (l->made ==
        NULL) { /* an address out of main.cf that is none: no try will mend it, and the writer must go on */
        log_error("queue.report", LOG_F(LF_Z("id", o->m->env.id)),
                  "%s: the report cannot be addressed (%s): nobody is told", o->m->env.id, e->msg);
        e->kind = ERR_NONE;
        rc = 0;
        goto out;
    }
    put = (struct qdb_put){ .n = n,
                            .id = l->made->env.id,
                            .env = buf_slice(&l->made->packed),
                            .size = l->made->size,
                            .crc = l->made->crc,
                            .body = buf_slice(&l->made->body),
                            .n_rcpts = (uint32_t)l->n_rcpts,
                            .due = INT64_MIN };
    rc = qdb_put(q, &put, e);
out:
    buf_free(&body);
    buf_free(&packed);
    return rc;
}

static int
end_item(struct report_op *o, const struct item *it, struct qdb *q, struct err *e)
{
    const struct qrcpt *r = it->r;
    bool is_held = it->goes_hold && !o->is_crowded;
    struct qdb_defer d = { .n = o->m->n,
                           .i = r->i,
                           .due = is_held ? QDB_DUE_HELD : it->due,
                           .attempts = r->attempts,
                           .flags = (r->flags & ~(uint32_t)(QDB_FLUSHED | QDB_EXPIRED)) |
                                    (is_held ? QDB_NOBODY : QDB_WARNED),
                           .status = sl_z(r->dsn),
                           .why = sl_z(r->why),
                           .hop = r->hop ? sl_z(r->hop) : SL("") };

    if (is_held)
        return qdb_rcpt_set(q, &d, e);
    if (it->kind == BOUNCE_DELAY)
        return qdb_rcpt_defer(q, &d, e);
    return qdb_rcpt_done(q, o->m->n, r->i, e);
}

static int
report_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);
    struct buf original = { 0 };
    uint64_t n = 0;
    int rc = 0;

    if (o->has_hold && qdb_count_nobody(q, &n, e) != 0)
        return -1;
    o->is_crowded = n >= NOBODY_MAX;
    if (o->n_letters > 0)
        read_original(o, q, &original);
    for (size_t i = 0; rc == 0 && i < o->n_letters; i++)
        rc = put_letter(o, &o->letters[i], q, buf_slice(&original), e);
    buf_free(&original);
    for (size_t i = 0; rc == 0 && i < o->n_items; i++)
        rc = end_item(o, &o->items[i], q, e);
    return rc == 0 ? qdb_message_reap(q, o->m->n, &o->is_gone, e) : -1;
}

static void
report_after(struct wop *op, struct qdb *q)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);

    if (o->is_gone && o->m->is_file)
        qdb_remove_file(q, o->m->env.id);
}

/* ---- on the loop ---- */

static void
send_letter(struct report_op *o, struct letter *l)
{
    static const char *const words[BOUNCE_KINDS] = { [BOUNCE_FAILURE] = "non-delivery",
                                                     [BOUNCE_DELAY] = "delay",
                                                     [BOUNCE_SUCCESS] = "delivery status" };

    if (l->made == NULL) {
        free(l->rcpts);
        return;
    }
    log_event(LOG_LV_INFO, qmgr_ident("cleanup"), "msg.id", LOG_F(LF_Z("id", l->made->env.id)),
              "%s: message-id=<%s@%s>", l->made->env.id, l->made->env.id, o->conf->myhostname);
    log_event(LOG_LV_INFO, qmgr_ident("bounce"), "queue.bounce",
              LOG_F(LF_Z("id", o->m->env.id), LF_Z("report", l->made->env.id)),
              "%s: %s %s notification: %s", o->m->env.id, l->is_copy ? "postmaster" : "sender",
              words[l->kind], l->made->env.id);
    active_begin(l->made);
    free(l->rcpts);
}

static void
log_untold(const struct report_op *o, const struct item *it)
{
    const char *what = qrcpt_sender(it->r).n > 0 ? "postmaster notification" : "bounce";

    if (it->goes_hold && !o->is_crowded)
        log_event(LOG_LV_WARN, qmgr_ident("bounce"), "queue.nobody",
                  LOG_F(LF_Z("id", o->m->env.id), LF_S("to", it->r->r->addr)),
                  "%s: undeliverable %s for <%.*s> is kept on hold: %s", o->m->env.id, what,
                  SL_ARG(it->r->r->addr), it->r->why);
    else if (it->goes_hold || it->is_dropped)
        log_event(LOG_LV_WARN, qmgr_ident("bounce"), "queue.double",
                  LOG_F(LF_Z("id", o->m->env.id)), "%s: undeliverable %s discarded%s", o->m->env.id,
                  what, it->is_dropped ? "" : ": too many are on hold");
}

static void
report_done(struct wop *op, int rc, const struct err *e)
{
    struct report_op *o = CONTAINER_OF(op, struct report_op, op);

    (void)rc, (void)e; /* state is written until it succeeds */
    for (size_t i = 0; i < o->n_letters; i++)
        send_letter(o, &o->letters[i]);
    for (size_t i = 0; i < o->n_items; i++) {
        const struct item *it = &o->items[i];

        log_untold(o, it);
        if (it->kind == BOUNCE_DELAY && it->due != QDB_DUE_HELD)
            active_load_at(o->m->is_expired ? 0 : it->due);
    }
    if (o->is_gone && !o->m->is_deleted)
        active_log_removed(o->m);
    conf_unref(&o->conf);
    bounce_templates_unref(&o->templates);
    active_drop_ref(o->m);
    free(o->letters);
    free(o->items);
    arena_free(&o->mem);
    free(o);
}

static void resolve_next(struct report_op *o);

static void
on_report_to(void *arg, const struct queue_rcpt *v, size_t n)
{
    struct report_op *o = arg;
    struct letter *l = &o->letters[o->at_letter++];

    l->rcpts = mem_alloc(n * sizeof *l->rcpts);
    for (size_t i = 0; i < n; i++)
        l->rcpts[l->n_rcpts++] = (struct queue_rcpt){ .addr = arena_dup(&o->mem, v[i].addr),
                                                      .orig = l->to,
                                                      .notify = NOTIFY_NEVER };
    resolve_next(o);
}

static void
resolve_next(struct report_op *o)
{
    if (o->at_letter < o->n_letters) {
        report_to_find(o->letters[o->at_letter].to, on_report_to, o);
        return;
    }
    for (size_t i = 0; i < o->n_items; i++)
        if (o->items[i].kind == BOUNCE_DELAY)
            o->items[i].due = active_next_due(o->m);
    writer_submit(qm.writer, &o->op);
}

static void
add_item(struct report_op *o, struct qrcpt *r)
{
    struct item *it;

    if (r->state != RS_FAILED && r->state != RS_OWED && r->state != RS_LATE)
        return;
    it = &o->items[o->n_items++];
    *it = (struct item){ .r = r,
                         .kind = r->state == RS_FAILED ? BOUNCE_FAILURE
                                 : r->state == RS_LATE ? BOUNCE_DELAY
                                                       : BOUNCE_SUCCESS,
                         .was_before = r->state == RS_OWED && r->dest == NULL && o->m->is_loaded };
    r->state = RS_REPORTED;
    settle_item(o, it);
}

static void
report_now(struct qmsg *m)
{
    struct report_op *o = MEM_NEW(struct report_op);

    report_forget(m);
    o->op = (struct wop){
        .kind = WOP_STATE, .run = report_run, .after = report_after, .done = report_done
    };
    o->m = m;
    o->conf = conf_ref(qm.conf);
    o->templates = templates;
    templates->refs++;
    o->items = mem_zalloc(m->n_owed_reports * sizeof *o->items);
    for (size_t k = 0; k < m->n_rcpts; k++)
        add_item(o, &m->rcpts[k]);
    m->n_owed_reports = 0;
    active_hold_ref(m);
    resolve_next(o);
}

/* ---- when ---- */

static void
wait_over(void *arg)
{
    uint64_t now = loop_now_ms();

    (void)arg;
    while (!list_is_empty(&waiting)) {
        struct qmsg *m = CONTAINER_OF(waiting.next, struct qmsg, report_link);

        if (now - m->report_since_ms < WAIT_MS) {
            timer_start(&wait_timer, WAIT_MS - (now - m->report_since_ms), wait_over, NULL);
            return;
        }
        report_now(m);
    }
}

/* Those of a round go together, but what is over does not wait for ever for what is not. */
void
report_owed(struct qmsg *m)
{
    if (m->n_open == 0) {
        report_now(m);
        return;
    }
    if (list_is_linked(&m->report_link))
        return;
    m->report_since_ms = loop_now_ms();
    list_push_back(&waiting, &m->report_link);
    if (!timer_is_running(&wait_timer))
        timer_start(&wait_timer, WAIT_MS, wait_over, NULL);
}

void
report_forget(struct qmsg *m)
{
    list_remove(&m->report_link);
}

void
report_init(void)
{
    struct conf_problems ps = { 0 };

    bounce_templates_unref(&templates);
    templates = bounce_templates_load(qm.conf, &ps);
    for (size_t i = 0; i < ps.n; i++)
        log_event(LOG_LV_WARN, qmgr_ident("bounce"), "bounce.template", LOG_NONE, "%s, line %u: %s",
                  ps.v[i].file, ps.v[i].line, ps.v[i].text);
    conf_problems_free(&ps);
}
