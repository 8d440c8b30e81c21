/* queue/deliver.c - jobs over kept-open LMTP connections, to lmtpd (one recipient a job, so that each copy has its own
 * IDENT) and to relayd (the recipients of one message, sender and destination). */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PAUSE_FIRST_MS = 200, /* lmtpd is being started again */
    PAUSE_MAX_MS = 10 * 1000,
    WARN_EVERY_MS = 60 * 1000,
    SLOW_MS = 2000, /* a job that lasts so long is a slow one */
    AGE_MS = 250,
    IDLE_MS = 30 * 1000, /* a link without work is closed */
    PRUNE_MS = 10 * 1000,
    CHUNK_OCTETS = 128 * 1024,
    US_PER_S = 1000000,
    LOCAL_MS = 5 * 60 * 1000,     /* lmtpd: any reply */
    RELAY_MS = 2 * 60 * 60 * 1000 /* relayd has time limits of its own, and many hosts to try */
};

/* Reading a file for one job. Outlives the link when that is lost meanwhile. */
struct feed {
    struct work_job job;
    uint64_t link_id;
    int fd;
    uint64_t at, left;
    size_t n;
    int sys;
    uint32_t crc; /* of what was read */
    bool is_reading, is_orphan;
    char octets[CHUNK_OCTETS];
};

struct link {
    struct outlet *t;
    struct smtp_client *c;
    uint64_t id;
    struct list link; /* t->idle, or t->busy until it is slow */
    bool is_ready, is_fresh, is_busy, is_slow, owes_body;
    enum dest_class class; /* under which the job began */
    uint64_t since_ms;     /* ... and when */
    int64_t connect_us, ready_us;
    uint64_t idle_since_ms;
    /* the job */
    struct qrcpt **rs;
    bool *comes_back;
    size_t n, cap;
    struct dest *dest;
    struct feed *feed;
    int64_t start_us;
    bool has_worked, has_failed_content;
    char *host_failed;
};

/* ---- outcomes ---- */

/* relayd's reply: "CODE-d.s.n relay=R conn=US xfer=US host=0|1 use=N dsn=0|1" LF "CODE d.s.n text". */
static bool
parse_relayed(const struct smtp_result *r, struct outcome *o, bool *host_failed, bool *has_dsn)
{
    struct slice in = r->reply, line, word;
    uint64_t v;

    if (!sl_take_until(&in, '\n', &line) || in.n < 4)
        return false;
    line = sl_from(line, 4);
    sl_take_word(&line, " ", &o->dsn);
    while (sl_take_word(&line, " ", &word)) {
        if (sl_take_prefix(&word, SL("relay=")))
            o->relay = word;
        else if (sl_take_prefix(&word, SL("conn=")) && sl_to_u64(word, &v))
            o->conn_us = (int64_t)v;
        else if (sl_take_prefix(&word, SL("xfer=")) && sl_to_u64(word, &v))
            o->xfer_us = (int64_t)v;
        else if (sl_take_prefix(&word, SL("use=")))
            (void)sl_to_u32(word, &o->conn_use);
        else if (sl_eqz(word, "host=1"))
            *host_failed = true;
        else if (sl_eqz(word, "dsn=1"))
            *has_dsn = true;
    }
    in = sl_from(in, 4);
    if (sl_has_prefix(in, o->dsn))
        in = sl_from(in, o->dsn.n + 1);
    o->text = in;
    return true;
}

/* LMTP is the end of the way, SMTP is not: who can say so goes on reporting (RFC 3461 §5.2.2). */
static enum sent_how
how_sent(const struct link *l, bool has_dsn)
{
    if (!l->t->is_relay)
        return SENT_DELIVERED;
    if (has_dsn)
        return SENT_ONWARD;
    return sl_has_prefix(sl_z(l->dest->nexthop), SL("lmtp ")) ? SENT_DELIVERED : SENT_RELAYED;
}

static void
on_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *res)
{
    struct link *l = arg;
    struct qrcpt *r = l->rs[i];
    struct outcome o = { .dsn = sl_z(res->dsn), .relay = sl_z(l->t->peer), .text = res->text };
    bool host_failed = false, has_dsn = false;
    char dsn[SMTP_DSN_OCTETS];

    (void)c;
    if (res->maybe_sent)
        r->flags |= QDB_REPEAT;
    if (res->is_lost && !res->is_timeout && r->lost < LOST_TRIES_MAX) {
        r->lost++;
        l->comes_back[i] = true;
        return;
    }
    if (!(l->t->is_relay || l->t->is_local) || !parse_relayed(res, &o, &host_failed, &has_dsn)) {
        o.conn_us = l->is_fresh ? l->ready_us - l->connect_us : 0;
        o.xfer_us = clock_unix_us() - l->start_us;
    }
    if (host_failed && !l->host_failed)
        l->host_failed = sl_dupz(o.text);
    l->has_worked = l->has_worked || !host_failed;
    snprintf(dsn, sizeof dsn, "%.*s", SL_ARG(o.dsn));
    o.status = verify_status_word(r->m, res->outcome);
    o.begun_us = l->is_fresh && l->connect_us > r->m->active_us ? l->connect_us : l->start_us;
    outcome_log(r, l->t->mailer, &o);
    if (res->outcome == SMTP_SENT)
        active_sent(r, &o, how_sent(l, has_dsn));
    else if (res->outcome == SMTP_DEFERRED)
        active_deferred(r, dsn, o.text);
    else
        active_failed(r, dsn, o.text);
}

static void
feed_free(struct feed *f)
{
    if (f->is_reading) {
        f->is_orphan = true;
        return;
    }
    close(f->fd);
    free(f);
}

/* Every recipient of the job has its outcome, or comes back. */
static void
end_job(struct link *l)
{
    struct qrcpt *ended[JOB_RCPTS_MAX];
    struct qmsg *m = l->rs[0]->m;
    struct dest *d = l->dest;
    size_t n = 0;

    m->n_owed -= l->owes_body;
    l->owes_body = l->is_busy = false;
    l->is_fresh = false;
    l->t->n_busy--;
    list_remove(&l->link);
    if (l->is_slow)
        l->t->n_slow--;
    else
        l->t->n_quick[l->class]--;
    if (l->feed)
        feed_free(l->feed);
    l->feed = NULL;
    for (size_t i = l->n; i-- > 0;) /* from the end: they go to the front */
        if (l->comes_back[i])
            sched_back(l->rs[i]);
    for (size_t i = 0; i < l->n; i++)
        if (!l->comes_back[i])
            ended[n++] = l->rs[i];
    l->n = 0;
    active_hold_ref(m);
    if (n > 0)
        active_record(m, ended, n);
    if (m->is_held || m->is_deleted)
        active_withdraw(m); /* what came back was not wanted any more */
    active_drop_ref(m);
    active_drop_ref(m); /* the job's own */
    sched_job_ended(d, l->has_worked, l->host_failed);
    free(l->host_failed);
    l->host_failed = NULL;
}

/* ---- content ---- */

static void feed_next(struct link *l);

static enum work_rc
feed_run(struct work_job *j)
{
    struct feed *f = CONTAINER_OF(j, struct feed, job);
    size_t want = f->left < CHUNK_OCTETS ? (size_t)f->left : CHUNK_OCTETS;
    ssize_t n;

    do
        n = pread(f->fd, f->octets, want, (off_t)f->at);
    while (n < 0 && errno == EINTR);
    f->sys = n < 0 ? errno : 0;
    f->n = n > 0 ? (size_t)n : 0;
    f->crc = enc_crc32(f->crc, f->octets, f->n);
    return WORK_DONE;
}

/* The transfer ends without its end, so the other side throws away what it has. damaged: no more tries will mend it. */
static void
fail_content(struct link *l, const char *reason, bool is_damaged, const char *what)
{
    log_error("queue.read", LOG_F(LF_Z("id", l->rs[0]->m->env.id)), "%s: %s: %s",
              l->rs[0]->m->env.id, what, reason);
    for (size_t i = 0; is_damaged && i < l->n; i++)
        l->rs[i]->goes_on_hold = true;
    l->has_failed_content = true; /* ours, not the other side's */
    smtp_client_body_fail(l->c, what);
}

static void
feed_done(struct work_job *j)
{
    struct feed *f = CONTAINER_OF(j, struct feed, job);
    struct link *l = id_get(f->link_id);

    f->is_reading = false;
    if (f->is_orphan || l == NULL || l->feed != f) {
        feed_free(f);
        return;
    }
    if (f->n == 0) {
        fail_content(l, f->sys ? strerror(f->sys) : "the file is too short", f->sys == 0,
                     "queue file read error");
        return;
    }
    if (f->left == f->n && f->crc != l->rs[0]->m->crc) {
        fail_content(l, "the content is damaged", true, "queue file read error");
        return;
    }
    f->at += f->n;
    f->left -= f->n;
    smtp_client_body(l->c, sl_n(f->octets, f->n));
    if (f->left == 0)
        smtp_client_body_end(l->c);
    else if (!smtp_client_is_full(l->c))
        feed_next(l);
}

static void
feed_next(struct link *l)
{
    struct feed *f = l->feed;

    if (f == NULL || f->is_reading || f->left == 0)
        return;
    f->is_reading = true;
    f->job = (struct work_job){ .run = feed_run, .done = feed_done };
    work_submit(qm.files, &f->job);
}

/* What is put in front of the content for this job: where it leaves, which alias of ours sends it away (smtpd/loops.h). */
static void
add_front(const struct link *l, struct buf *out)
{
    struct slice alias = l->rs[0]->r->alias;
    struct arena quoted = { 0 };

    if (l->t->is_relay && alias.n > 0 && !sl_has_prefix(sl_z(l->dest->nexthop), SL("lmtp ")))
        buf_addf(out, "Delivered-To: %.*s\r\n", SL_ARG(smtp_addr_quote(alias, &quoted)));
    arena_free(&quoted);
}

static void
push_body(struct link *l)
{
    struct buf front = { 0 };
    struct qmsg *m = l->rs[0]->m;
    char path[PATH_MAX];
    int fd;

    m->n_owed -= l->owes_body;
    l->owes_body = false;
    add_front(l, &front);
    if (front.n > 0)
        smtp_client_body(l->c, buf_slice(&front));
    buf_free(&front);
    if (!m->is_file) {
        smtp_client_body(l->c, buf_slice(&m->body));
        smtp_client_body_end(l->c);
        return;
    }
    snprintf(path, sizeof path, "%s/files/%s", qm.queue_dir, m->env.id);
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fail_content(l, strerror(errno), errno == ENOENT, "queue file open error");
        return;
    }
    l->feed = mem_alloc(sizeof *l->feed);
    memset(l->feed, 0, offsetof(struct feed, octets));
    l->feed->link_id = l->id;
    l->feed->fd = fd;
    l->feed->left = m->size;
    feed_next(l);
}

/* ---- links ---- */

/* What locald is told of the recipient and the message (local/locald.h). */
static void
add_local_attributes(const struct link *l, struct buf *out)
{
    const struct qrcpt *r = l->rs[0];
    const struct queue_env *env = &r->m->env;
    const struct {
        const char *name;
        struct slice value;
    } attributes[] = {
        { "TARGET", sl_z(l->dest->nexthop) }, { "ORIG", r->r->orig }, { "NAME", env->client_name },
        { "ADDR", env->client_ip },           { "HELO", env->helo },  { "PROTO", env->protocol },
        { "LOGIN", env->sasl_user },
    };

    buf_addf(out, "IDENT=%s.%u", env->id, r->i);
    for (size_t i = 0; i < COUNT_OF(attributes); i++)
        if (attributes[i].value.n > 0) {
            buf_addf(out, " %s=", attributes[i].name);
            enc_xtext(out, attributes[i].value);
        }
}

static void
start_job(struct link *l)
{
    size_t n = l->n;
    struct qmsg *m = l->rs[0]->m;
    bool is_list = l->rs[0]->r->has_sender; /* not what this sender wished (RFC 3461 §5.2.7.1) */
    struct smtp_tx_rcpt small[1], *rcpts = n == 1 ? small : mem_alloc(n * sizeof *rcpts);
    struct arena quoted = { 0 };
    struct smtp_tx tx = { .sender = smtp_addr_quote(qrcpt_mail_from(l->rs[0]), &quoted),
                          .rcpts = rcpts,
                          .n_rcpts = n,
                          .size = m->size,
                          .ret = is_list ? RET_NONE : m->env.ret,
                          .envid = is_list ? SL("") : m->env.envid,
                          .is_8bit = m->env.is_8bit,
                          .is_utf8 = m->env.is_utf8,
                          .is_probe = m->is_probe };
    char xforward[QUEUE_ID_OCTETS + 64];
    struct buf orcpts = { 0 }, xroute = { 0 }, xforward_of_local = { 0 }, front = { 0 };
    size_t at = 0;

    l->dest = l->rs[0]->dest;
    add_front(l, &front);
    tx.size += front.n;
    buf_free(&front);
    l->class = l->dest->class;
    l->since_ms = loop_now_ms();
    l->is_slow = false;
    l->owes_body = true;
    m->n_owed++;
    list_push_back(&l->t->busy, &l->link);
    l->is_busy = true;
    l->t->n_busy++;
    l->start_us = clock_unix_us();
    l->has_worked = false;
    memset(l->comes_back, 0, n * sizeof *l->comes_back);
    active_hold_ref(m);
    for (size_t i = 0; i < n; i++)
        buf_addf(&orcpts, "rfc822;%.*s", SL_ARG(l->rs[i]->r->orig));
    for (size_t i = 0; i < n; i++) {
        const struct queue_rcpt *r = l->rs[i]->r;
        size_t len = strlen("rfc822;") + r->orig.n;

        rcpts[i] =
            (struct smtp_tx_rcpt){ .addr = smtp_addr_quote(l->rs[i]->addr, &quoted),
                                   .notify = r->notify,
                                   .orcpt = r->orcpt.n > 0 ? r->orcpt
                                                           : sl_n(buf_slice(&orcpts).p + at, len) };
        at += len;
    }
    if (l->t->is_relay) {
        buf_addz(&xroute, l->dest->nexthop);
        if (l->dest->secrets)
            buf_addz(&xroute, l->dest->secrets);
        buf_addf(&xroute, " ID=%s", m->env.id);
        if (l->dest->n_pending > 0)
            buf_addz(&xroute, " MORE=1");
        tx.xroute = buf_slice(&xroute);
    } else if (l->t->is_local) {
        add_local_attributes(l, &xforward_of_local);
        tx.xforward = buf_slice(&xforward_of_local);
    } else if (!m->is_probe) {
        bool is_repeat =
            (l->rs[0]->flags & QDB_REPEAT) && (smtp_client_exts(l->c) & SMTP_EXT_XREPEAT);

        snprintf(xforward, sizeof xforward, "IDENT=%s.%u%s", m->env.id, l->rs[0]->i,
                 is_repeat ? " REPEAT=1" : "");
        tx.xforward = sl_z(xforward);
    }
    if (smtp_client_send(l->c, &tx))
        push_body(l);
    arena_free(&quoted);
    buf_free(&xroute);
    buf_free(&xforward_of_local);
    buf_free(&orcpts);
    if (rcpts != small)
        free(rcpts);
}

static void
make_idle(struct link *l)
{
    l->idle_since_ms = loop_now_ms();
    list_push_front(&l->t->idle, &l->link);
    deliver_kick(l->t);
}

static void
on_ready(struct smtp_client *c, void *arg)
{
    struct link *l = arg;

    if (l->t->is_relay)
        conn_set_write_timeout(smtp_client_conn(c), RELAY_MS);
    l->is_ready = true;
    l->ready_us = clock_unix_us();
    l->t->n_connecting--;
    l->t->pause_ms = 0;
    l->t->down_since_ms = 0;
    free(l->t->down_why);
    l->t->down_why = NULL;
    make_idle(l);
}

static void
on_body(struct smtp_client *c, void *arg)
{
    (void)c;
    push_body(arg);
}

static void
on_drain(struct smtp_client *c, void *arg)
{
    (void)c;
    feed_next(arg);
}

static void
on_done(struct smtp_client *c, void *arg)
{
    struct link *l = arg;

    (void)c;
    end_job(l);
    make_idle(l);
}

static void
resume(void *arg)
{
    struct outlet *t = arg;

    t->paused_until_ms = 0;
    deliver_kick(t);
}

static void
pause_outlet(struct outlet *t, struct slice why)
{
    uint64_t now = loop_now_ms();

    if (t->paused_until_ms > now)
        return;
    t->pause_ms = t->pause_ms == 0 ? PAUSE_FIRST_MS : t->pause_ms * 2;
    if (t->pause_ms > PAUSE_MAX_MS)
        t->pause_ms = PAUSE_MAX_MS;
    t->paused_until_ms = now + t->pause_ms;
    if (t->down_since_ms == 0)
        t->down_since_ms = now;
    if (now - t->down_since_ms >= (uint64_t)qm.conf->transport_retry_time) {
        char *z = sl_dupz(why);

        sched_outlet_failed(t, z);
        free(z);
    }
    if (t->warned_ms == 0 || now - t->warned_ms > WARN_EVERY_MS) {
        t->warned_ms = now;
        log_warn("outlet.pause", LOG_F(LF_Z("path", t->path)), "%.*s: deliveries wait",
                 SL_ARG(why));
    }
    timer_start(&t->resume, t->pause_ms, resume, t);
}

static void
on_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    struct link *l = arg;
    struct outlet *t = l->t;
    bool was_busy = l->is_busy, was_ready = l->is_ready;

    (void)c;
    l->c = NULL;
    list_remove(&l->link);
    id_del(l->id);
    t->n_links--;
    if (!was_ready)
        t->n_connecting--;
    if (was_busy)
        end_job(l);
    if (!was_ready || (was_busy && !l->has_failed_content))
        pause_outlet(t, why->text);
    free(l->rs);
    free(l->comes_back);
    free(l);
    deliver_kick(t);
}

static const struct smtp_client_ops ops = {
    on_ready, on_body, on_drain, on_rcpt, on_done, on_closed
};

/* A command may take its time, and so may a lock. */
static uint64_t
locald_ms(void)
{
    const struct conf *c = qm.conf;

    return (uint64_t)(c->command_time_limit + 2 * c->deliver_lock_attempts * c->deliver_lock_delay);
}

static void
open_link(struct outlet *t)
{
    struct link *l = MEM_NEW(struct link);
    uint64_t ms = t->is_relay ? RELAY_MS : LOCAL_MS + t->is_local * locald_ms();
    struct smtp_client_opts o = { .is_lmtp = true,
                                  .wants_bdat = true,
                                  .helo_name = qm.conf->myhostname,
                                  .peer = t->peer,
                                  .times = { LOCAL_MS, LOCAL_MS, LOCAL_MS, LOCAL_MS, LOCAL_MS, ms,
                                             ms, ms, ms, ms, ms, LOCAL_MS } };

    l->t = t;
    l->id = id_add(l);
    l->is_fresh = true;
    l->connect_us = clock_unix_us();
    list_init(&l->link);
    t->n_links++;
    t->n_connecting++;
    l->c = smtp_client_connect_unix(t->path, &o, &ops, l);
}

/* Links that had nothing to do for a while, and destinations that nobody needs. */
static void
prune(void *arg)
{
    struct outlet *t = arg;
    uint64_t now = loop_now_ms();

    LIST_EACH(it, nxt, &t->idle)
    {
        struct link *l = CONTAINER_OF(it, struct link, link);

        if (now - l->idle_since_ms < IDLE_MS)
            continue;
        list_remove(&l->link);
        smtp_client_quit(l->c);
    }
    sched_prune(t);
    if (t->n_links > 0 || map_count(t->dests) > 1)
        timer_start(&t->prune, PRUNE_MS, prune, t);
}

/* Jobs that have lasted wait for somebody: they leave their place to others. */
static void
age_links(struct outlet *t)
{
    uint64_t now = loop_now_ms();

    while (!list_is_empty(&t->busy)) {
        struct link *l = CONTAINER_OF(t->busy.next, struct link, link);

        if (now - l->since_ms < SLOW_MS)
            break;
        list_remove(&l->link);
        l->is_slow = true;
        if (qm.body_octets > BODY_CACHE_OCTETS / 2)
            active_drop_body(l->rs[0]->m); /* relayd has it */
        t->n_quick[l->class]--;
        t->n_slow++;
    }
}

static void
age(void *arg)
{
    deliver_kick(arg);
}

static bool
has_ready(const struct outlet *t)
{
    for (size_t k = 0; k < DEST_CLASSES; k++)
        if (!list_is_empty(&t->ready[k]))
            return true;
    return false;
}

/* Give the job to the link that was busy last. False: there is none, of either. */
static bool
give_job(struct outlet *t)
{
    struct qrcpt *rs[JOB_RCPTS_MAX];
    struct link *l;
    size_t n;

    if (list_is_empty(&t->idle) || (n = sched_next(t, rs, JOB_RCPTS_MAX)) == 0)
        return false;
    l = CONTAINER_OF(list_pop_front(&t->idle), struct link, link);
    if (n > l->cap) {
        free(l->rs);
        free(l->comes_back);
        l->cap = n;
        l->rs = mem_alloc(n * sizeof(struct qrcpt *));
        l->comes_back = mem_alloc(n * sizeof *l->comes_back);
    }
    memcpy(l->rs, rs, n * sizeof(struct qrcpt *));
    l->n = n;
    start_job(l);
    return true;
}

void
deliver_kick(struct outlet *t)
{
    size_t want;

    if (t->paused_until_ms > loop_now_ms() || writer_is_stuck(qm.writer) || qm.is_draining)
        return;
    age_links(t);
    while (give_job(t))
        ;
    want = sched_runnable(t, t->max_links);
    while (t->n_connecting < want && t->n_links < t->max_links + t->max_slow)
        open_link(t);
    if (t->is_relay && has_ready(t) && !timer_is_running(&t->age))
        timer_start(&t->age, AGE_MS, age, t);
    if (t->n_links > 0 && !timer_is_running(&t->prune))
        timer_start(&t->prune, PRUNE_MS, prune, t);
}

static size_t busy_count;

static void
count_busy(struct outlet *t)
{
    busy_count += t->n_busy;
}

size_t
deliver_busy(void)
{
    busy_count = 0;
    sched_each_outlet(count_busy);
    return busy_count;
}

static void
stop_outlet(struct outlet *t)
{
    struct list *n;

    timer_stop(&t->resume);
    timer_stop(&t->prune);
    timer_stop(&t->age);
    while ((n = list_pop_front(&t->idle)) != NULL)
        smtp_client_quit(CONTAINER_OF(n, struct link, link)->c);
}

void
deliver_stop(void)
{
    sched_each_outlet(stop_outlet);
}
