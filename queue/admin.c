/* queue/admin.c - what `postern queue` and its kin ask on private/queue and public/queue. What is asked for is done on the
 * database (operate.h); here its messages in memory follow. An error is a line "E text".
 *
 * Besides what operate.h knows:
 *   memory ID   what of the message is in memory, and what is known of the destinations where it failed (why.c) */
#include "queue/qmgr_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "queue/operate.h"
#include "session/queue_proto.h"

#include <stdio.h>
#include <stdlib.h>

enum { ETRN_WAITING_MAX = 16, DOMAIN_OCTETS = 256 };

struct admin_op {
    struct wop op;
    uint64_t client, req; /* client 0: smtpd's ETRN */
    struct operate o;
};

/* Domains that ETRN was said for, one under way (the first) and others behind it: strangers shall not have the queue walked
 * through all the time. */
static struct {
    char names[ETRN_WAITING_MAX][DOMAIN_OCTETS];
    size_t n;
} etrn;

static void etrn_next(void);

/* ---- on the writer's thread ---- */

static int
admin_run(struct wop *op, struct qdb *q, struct err *e)
{
    return operate_run(&CONTAINER_OF(op, struct admin_op, op)->o, q, e);
}

static void
admin_after(struct wop *op, struct qdb *q)
{
    operate_after(&CONTAINER_OF(op, struct admin_op, op)->o, q);
}

/* ---- on the loop ---- */

static void
follow_in_memory(enum operate_verb verb, uint64_t n)
{
    struct qmsg *next;

    for (struct qmsg *m = active_find(n); m; m = next) {
        next = m->same;
        m->is_deleted = m->is_deleted || verb == OP_DELETE;
        m->is_held = verb == OP_HOLD ||
                     (m->is_held && verb != OP_RELEASE && verb != OP_REQUEUE && verb != OP_BOUNCE);
        m->is_expired = m->is_expired || verb == OP_EXPIRE || verb == OP_BOUNCE;
        if (verb != OP_FLUSH && verb != OP_RELEASE)
            active_withdraw(m);
    }
}

/* hop: whose hosts a flush shall try although they are dead; empty: all. */
static void
follow(const struct operate *o, struct slice hop)
{
    static const char *const words[OP_VERBS] = {
        [OP_HOLD] = "placed on hold", [OP_RELEASE] = "released from hold",
        [OP_REQUEUE] = "requeued",    [OP_EXPIRE] = "expired",
        [OP_BOUNCE] = "expired",      [OP_DELETE] = "removed",
    };

    for (size_t i = 0; i < o->n_touched; i++) {
        if (words[o->verb])
            log_event(LOG_LV_INFO, qmgr_ident("postsuper"), "queue.admin",
                      LOG_F(LF_Z("id", o->touched[i].id), LF_Z("what", operate_name(o->verb))),
                      "%s: %s", o->touched[i].id, words[o->verb]);
        follow_in_memory(o->verb, o->touched[i].n);
    }
    if (o->verb == OP_FLUSH)
        sched_forget_dead(hop);
    if (o->n_touched > 0 && o->verb != OP_HOLD && o->verb != OP_DELETE)
        active_load_soon();
}

static void
admin_done(struct wop *op, int rc, const struct err *e)
{
    struct admin_op *a = CONTAINER_OF(op, struct admin_op, op);
    struct operate *o = &a->o;

    if (rc != 0) {
        buf_reset(&o->text);
        buf_addf(&o->text, "E\t%s\n", e->msg);
        o->more = false;
    } else if (operate_changes(o->verb)) {
        follow(o, a->client == 0 ? sl_z(etrn.names[0]) : SL(""));
    }
    if (a->client == 0 && o->more) {
        o->after = o->next;
        writer_submit(qm.writer, op);
        return;
    }
    if (a->client == 0) {
        memmove(etrn.names[0], etrn.names[1], sizeof etrn.names - sizeof etrn.names[0]);
        etrn.n--;
        etrn_next();
    } else {
        intake_send_page(a->client, a->req, o->more, o->next, buf_slice(&o->text));
    }
    operate_free(o);
    free(a);
}

static void
etrn_next(void)
{
    struct admin_op *a;
    char words[DOMAIN_OCTETS + 8];
    struct err e = { 0 };

    if (etrn.n == 0)
        return;
    a = MEM_NEW(struct admin_op);
    a->op = (struct wop){
        .kind = WOP_READ, .run = admin_run, .after = admin_after, .done = admin_done
    };
    snprintf(words, sizeof words, "dest=%s", etrn.names[0]);
    if (operate_begin(&a->o, SL("flush"), sl_z(words), 0, QUEUE_PAGE_OCTETS, &e) == 0) {
        writer_submit(qm.writer, &a->op);
        return;
    }
    operate_free(&a->o); /* no domain: smtpd has looked */
    free(a);
    etrn.n = 0;
}

void
admin_flush(struct slice domain)
{
    if (domain.n == 0 || domain.n >= DOMAIN_OCTETS || sl_find_char(domain, '*') != SL_NPOS ||
        sl_find_char(domain, '\n') != SL_NPOS || etrn.n == ETRN_WAITING_MAX)
        return;
    for (size_t i = 0; i < etrn.n; i++)
        if (sl_ieqz(domain, etrn.names[i]))
            return;
    memcpy(etrn.names[etrn.n], domain.p, domain.n);
    etrn.names[etrn.n++][domain.n] = '\0';
    if (etrn.n == 1)
        etrn_next();
}

static void
refuse(uint64_t client, uint64_t req, const char *text)
{
    struct buf b = { 0 };

    buf_addf(&b, "E\t%s\n", text);
    intake_send_page(client, req, false, 0, buf_slice(&b));
    buf_free(&b);
}

/* Users may look, and have mail tried; nothing else. */
static const char *
forbids(enum operate_verb v, struct admin_rights may)
{
    if (may.may_all)
        return NULL;
    if (v == OP_LIST || v == OP_STAT)
        return may.may_list ? NULL : "not allowed to view the mail queue";
    if (v == OP_FLUSH)
        return may.may_flush ? NULL : "not allowed to flush the mail queue";
    return "not allowed to do that with the mail queue";
}

void
admin_ask(uint64_t client, uint64_t req, struct slice in, struct admin_rights may)
{
    struct slice verb, words;
    uint64_t after;
    uint32_t limit;
    struct admin_op *a;
    const char *why_not;
    struct err e = { 0 };

    if (!wire_take_str(&in, &verb) || !wire_take_str(&in, &words) || !wire_take_u64(&in, &after) ||
        !wire_take_u32(&in, &limit))
        return;
    why_not = forbids(operate_verb(verb), may);
    if (why_not) {
        refuse(client, req, why_not);
        return;
    }
    if (sl_eqz(verb, "memory")) {
        why_tell(client, req, words);
        return;
    }
    a = MEM_NEW(struct admin_op);
    a->op = (struct wop){
        .kind = WOP_READ, .run = admin_run, .after = admin_after, .done = admin_done
    };
    a->client = client;
    a->req = req;
    if (operate_begin(&a->o, verb, words, after, QUEUE_PAGE_OCTETS, &e) != 0) {
        refuse(client, req, e.msg);
        operate_free(&a->o);
        free(a);
        return;
    }
    writer_submit(qm.writer, &a->op);
}
