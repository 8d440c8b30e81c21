/* queue/admin.c - what `postern queue` asks on private/queue. A question is a verb, an argument and where to go on; an answer
 * is a page of text, a line a message or recipient, fields separated by tabs:
 *
 *   list               M id state size arrived sender        state: active, deferred, hold
 *                      R i state due attempts status address orig why
 *   show ID            the same for one message
 *   content ID         its content, raw; after: octets seen so far
 *   stat               S messages recipients held active
 *   flush|hold|release|requeue|delete  ID, "ALL", or "account=NAME" (all that this login submitted)
 *                                                            N count of recipients (delete: messages)
 * An error is a line "E text". */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/listing.h"
#include "session/queue_proto.h"

#include <limits.h>
#include <stdlib.h>

enum { LIST_MAX = 50, ALL_STEP = 200, CONTENT_PAGE = 16 * 1024 };

enum verb { V_LIST, V_SHOW, V_CONTENT, V_STAT, V_FLUSH, V_HOLD, V_RELEASE, V_REQUEUE, V_DELETE };

static const struct {
    const char *name;
    bool takes_id, changes;
} verbs[] = {
    [V_LIST] = { "list", false, false },      [V_SHOW] = { "show", true, false },
    [V_CONTENT] = { "content", true, false }, [V_STAT] = { "stat", false, false },
    [V_FLUSH] = { "flush", true, true },      [V_HOLD] = { "hold", true, true },
    [V_RELEASE] = { "release", true, true },  [V_REQUEUE] = { "requeue", true, true },
    [V_DELETE] = { "delete", true, true },
};

struct admin_op {
    struct wop op;
    uint64_t client, req;
    enum verb verb;
    uint64_t n, after; /* n 0: all */
    char id[QUEUE_ID_TEXT_OCTETS];
    char *account; /* all of this login; NULL: whoever sent them */
    char path[PATH_MAX];
    uint32_t limit;
    struct buf text;
    bool more;
    uint64_t next;
    uint64_t count;
    uint64_t stat[3];
    /* all of them: what this step touched */
    struct {
        uint64_t n;
        char id[QUEUE_ID_TEXT_OCTETS];
    } touched[ALL_STEP];
    size_t n_touched, n_seen;
};

/* ---- on the writer's thread ---- */

static void
take_row(void *arg, const struct qdb_message *m)
{
    struct admin_op *o = arg;

    if (o->text.n > QUEUE_PAGE_OCTETS / 2) {
        o->more = true; /* this one opens the next page */
        return;
    }
    listing_add(&o->text, m, QUEUE_PAGE_OCTETS - QUEUE_PAGE_OCTETS / 2);
    o->next = m->n;
    o->count++;
}

static void
take_content(void *arg, const struct qdb_message *m)
{
    struct admin_op *o = arg;
    struct slice s = sl_from(m->body, (size_t)o->after);

    if (strcmp(m->id, o->id) != 0)
        return;
    if (m->is_file) {
        listing_add_file(&o->text, o->path, o->after, CONTENT_PAGE, &o->more);
    } else {
        o->more = s.n > CONTENT_PAGE;
        buf_adds(&o->text, sl_head(s, CONTENT_PAGE));
    }
    o->next = o->after + o->text.n;
}

static void
touch(void *arg, const struct qdb_message *m)
{
    struct admin_op *o = arg;

    o->n_seen++;
    if (o->n > 0 && strcmp(m->id, o->id) != 0)
        return;
    if (o->account && !listing_is_by(m, o->account)) {
        o->next = m->n;
        return;
    }
    o->touched[o->n_touched].n = m->n;
    memcpy(o->touched[o->n_touched].id, m->id, strlen(m->id) + 1);
    o->n_touched++;
    o->next = m->n;
}

static int
change(struct admin_op *o, struct qdb *q, uint64_t n, struct err *e)
{
    uint64_t changed = 0;
    bool was_there;
    int64_t now = clock_unix_s();

    switch (o->verb) {
    case V_HOLD:
        if (qdb_hold(q, n, &changed, e) != 0)
            return -1;
        break;
    case V_DELETE:
        if (qdb_message_delete(q, n, &was_there, e) != 0)
            return -1;
        changed = was_there;
        break;
    default:
        if (qdb_set_due(q, n, now, o->verb != V_FLUSH, &changed, e) != 0)
            return -1;
        break;
    }
    o->count += changed;
    return 0;
}

static int
run_change(struct admin_op *o, struct qdb *q, struct err *e)
{
    o->n_touched = o->n_seen = 0;
    o->count = 0;
    if (o->n > 0 ? qdb_get(q, o->n, false, touch, o, e) != 0
                 : qdb_list(q, o->after, ALL_STEP, touch, o, e) != 0)
        return -1;
    o->more = o->n == 0 && o->n_seen == ALL_STEP;
    for (size_t i = 0; i < o->n_touched; i++)
        if (change(o, q, o->touched[i].n, e) != 0)
            return -1;
    return 0;
}

static int
admin_run(struct wop *op, struct qdb *q, struct err *e)
{
    struct admin_op *o = CONTAINER_OF(op, struct admin_op, op);

    buf_reset(&o->text);
    o->more = false;
    o->next = o->after;
    switch (o->verb) {
    case V_LIST:
        return qdb_list(q, o->after, o->limit < LIST_MAX ? o->limit : LIST_MAX, take_row, o, e);
    case V_SHOW:
        return qdb_get(q, o->n, false, take_row, o, e);
    case V_CONTENT:
        qdb_file_path(q, o->id, o->path, sizeof o->path);
        return qdb_get(q, o->n, true, take_content, o, e);
    case V_STAT:
        return qdb_count(q, &o->stat[0], &o->stat[1], &o->stat[2], e);
    default:
        return run_change(o, q, e);
    }
}

static void
admin_after(struct wop *op, struct qdb *q)
{
    struct admin_op *o = CONTAINER_OF(op, struct admin_op, op);

    for (size_t i = 0; o->verb == V_DELETE && i < o->n_touched; i++)
        qdb_remove_file(q, o->touched[i].id);
}

/* ---- on the loop ---- */

static void
follow(struct admin_op *o)
{
    static const char *const words[] = { [V_HOLD] = "placed on hold", [V_DELETE] = "removed" };

    for (size_t i = 0; i < o->n_touched; i++) {
        struct qmsg *m = active_find(o->touched[i].n);

        if (o->verb == V_HOLD || o->verb == V_DELETE) {
            log_event(LOG_LV_INFO, qmgr_ident("postsuper"), "queue.admin",
                      LOG_F(LF_Z("id", o->touched[i].id), LF_Z("what", verbs[o->verb].name)),
                      "%s: %s", o->touched[i].id, words[o->verb]);
            while (m) {
                struct qmsg *next = m->same;

                active_withdraw(m, o->verb == V_DELETE);
                m = next;
            }
        } else if (o->verb == V_RELEASE || o->verb == V_REQUEUE) {
            active_unhold(o->touched[i].n);
        }
    }
    if (o->verb != V_HOLD && o->verb != V_DELETE)
        active_load_soon();
}

static void
admin_done(struct wop *op, int rc, const struct err *e)
{
    struct admin_op *o = CONTAINER_OF(op, struct admin_op, op);

    if (rc != 0) {
        buf_reset(&o->text);
        buf_addf(&o->text, "E\t%s\n", e->msg);
        o->more = false;
    } else if (o->verb == V_STAT) {
        buf_addf(&o->text, "S\t%llu\t%llu\t%llu\t%zu\n", (unsigned long long)o->stat[0],
                 (unsigned long long)o->stat[1], (unsigned long long)o->stat[2], qm.n_active);
    } else if (verbs[o->verb].changes) {
        if (o->n > 0 && o->n_touched == 0)
            buf_addz(&o->text, "E\tno such message in the queue\n");
        else
            buf_addf(&o->text, "N\t%llu\n", (unsigned long long)o->count);
        follow(o);
    } else if (o->verb == V_LIST) {
        o->more = o->more || o->count == LIST_MAX;
    }
    intake_send_page(o->client, o->req, o->more, o->next, buf_slice(&o->text));
    buf_free(&o->text);
    free(o->account);
    free(o);
}

static void
refuse(uint64_t client, uint64_t req, const char *text)
{
    struct buf b = { 0 };

    buf_addf(&b, "E\t%s\n", text);
    intake_send_page(client, req, false, 0, buf_slice(&b));
    buf_free(&b);
}

void
admin_ask(uint64_t client, uint64_t req, struct slice in)
{
    struct slice verb, arg, account;
    uint64_t after, n = 0;
    bool is_account;
    uint32_t limit, bits;
    struct admin_op *o;

    if (!wire_take_str(&in, &verb) || !wire_take_str(&in, &arg) || !wire_take_u64(&in, &after) ||
        !wire_take_u32(&in, &limit))
        return;
    for (size_t v = 0; v < COUNT_OF(verbs); v++) {
        if (!sl_eqz(verb, verbs[v].name))
            continue;
        account = arg;
        is_account = verbs[v].changes && sl_take_prefix(&account, SL("account=")) && account.n > 0;
        if (verbs[v].takes_id && !is_account && !(verbs[v].changes && sl_eqz(arg, "ALL")) &&
            !queue_id_parse(arg, NULL, &n, &bits)) {
            refuse(client, req, "not a queue id");
            return;
        }
        o = MEM_NEW(struct admin_op);
        o->op = (struct wop){
            .kind = WOP_READ, .run = admin_run, .after = admin_after, .done = admin_done
        };
        o->client = client;
        o->req = req;
        o->verb = (enum verb)v;
        o->n = n;
        o->account = is_account ? sl_dupz(account) : NULL;
        o->after = after;
        o->limit = limit > 0 ? limit : LIST_MAX;
        if (n > 0)
            memcpy(o->id, arg.p, arg.n);
        writer_submit(qm.writer, &o->op);
        return;
    }
    refuse(client, req, "unknown question");
}
