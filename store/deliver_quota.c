/* store/deliver_quota.c - see deliver_int.h: rows of quota.db for the copies of a round, in one transaction. They are on
 * disk before any of the copies has its name: the round's sync takes the log of quota.db with it. */
#include "store/deliver_int.h"
#include "store/store_int.h"

#include "base/log.h"

#include <stdlib.h>
#include <unistd.h>

static struct quota *
quota_of(const struct lane *l)
{
    return l->d->store->quota;
}

/* A user's first deliveries wait until he is counted; whoever has no limit need not be. */
static bool
is_counted(const struct deliver_job *j, const struct quota_row *row)
{
    return (row->is_counted && row->ignored == quota_rules_ignored(j->rules)) ||
           !quota_rules_limited(j->rules, sl_z(j->user));
}

/* 1: not counted, 0: it has its row, -1: no room, or e of quota.db, which fails them all. */
static int
admit_one(struct quota *q, struct deliver_job *j, struct err *e)
{
    struct quota_delivery d = { .base = sl_z(j->base), .dir = sl_z(j->dir) };
    struct buf file = { 0 };
    struct quota_row row;
    int rc;

    d.octets = (int64_t)(j->prepend.n + j->m->lf_octets);
    if (quota_row_take(q, sl_z(j->user), &row, e))
        return -1;
    if (!is_counted(j, &row))
        return 1;
    if (quota_row_usage(q, sl_z(j->user), &row, j->rules, &j->was, e))
        return -1;
    if (!j->ignores_quota &&
        quota_judge(j->rules, &j->was, &j->limit, d.octets, 1, d.octets, QUOTA_GRACE, &j->err)) {
        j->rc = -1;
        return 0;
    }
    buf_addf(&file, "%s/%s", deliver_part(j), j->file);
    d.file = buf_slice(&file);
    d.user = row.id;
    rc = quota_delivery_add(q, &d, e);
    buf_free(&file);
    j->quota_id = d.id;
    j->now = j->was;
    j->now.octets += d.octets;
    j->now.messages++;
    return rc;
}

static int
write_settled(struct quota *q, struct lane *l, struct err *e)
{
    for (size_t i = 0; i < l->n_settled; i++)
        if (l->settled[i].is_done ? quota_delivery_done(q, l->settled[i].id, e)
                                  : quota_delivery_drop(q, l->settled[i].id, e))
            return -1;
    return 0;
}

static int
admit_all(struct quota *q, struct lane *l, struct list *jobs, struct list *failed,
          struct list *uncounted, struct err *e)
{
    int rc = write_settled(q, l, e);

    LIST_EACH(at, nxt, jobs)
    {
        struct deliver_job *j = deliver_job_of(at);

        if (rc != 0 || j->rules == NULL)
            continue;
        rc = admit_one(q, j, e);
        if (rc < 0 || (rc == 0 && j->rc == 0))
            continue;
        list_remove(&j->link);
        list_push_back(rc == 1 ? uncounted : failed, &j->link);
        rc = 0;
    }
    return rc;
}

static void
take_all(struct list *from, struct list *to, const struct err *e)
{
    struct list *at;

    while ((at = list_pop_front(from)) != NULL) {
        struct deliver_job *j = deliver_job_of(at);

        j->quota_id = 0;
        if (j->rc == 0) {
            j->rc = -1;
            j->err = *e;
        }
        list_push_back(to, at);
    }
}

static bool
any_charged(struct list *jobs)
{
    LIST_EACH(at, nxt, jobs)
    {
        if (deliver_job_of(at)->rules != NULL)
            return true;
    }
    return false;
}

void
deliver_quota_admit(struct lane *l, struct list *jobs, struct list *failed, struct list *uncounted)
{
    struct quota *q = quota_of(l);
    struct list late;
    struct err e = { 0 };
    int rc;

    if (q == NULL || !any_charged(jobs))
        return;
    rc = quota_begin(q, true, &e);
    if (rc == 0) {
        rc = admit_all(q, l, jobs, failed, uncounted, &e);
        if (rc == 0)
            l->log_fd = quota_log_fd(q, &l->log_dev);
        rc = quota_end(q, true, rc, &e);
    }
    if (rc == 0) {
        l->n_settled = 0;
        return;
    }
    log_error("quota.deliver", LOG_NONE, "delivery: %s; mail of users with quota is deferred",
              e.msg);
    e.kind = ERR_TEMP;
    if (l->log_fd >= 0)
        close(l->log_fd);
    l->log_fd = -1;
    list_init(&late);
    LIST_EACH(at, nxt, jobs)
    {
        if (deliver_job_of(at)->rules != NULL) {
            list_remove(at);
            list_push_back(&late, at);
        }
    }
    take_all(&late, failed, &e);
    take_all(uncounted, failed, &e);
}

void
deliver_quota_settle(struct lane *l, const struct deliver_job *j)
{
    struct quota *q = quota_of(l);

    if (q == NULL || j->quota_id == 0)
        return;
    l->settled = mem_grow(l->settled, &l->cap_settled, l->n_settled + 1, sizeof(l->settled[0]));
    l->settled[l->n_settled].id = j->quota_id;
    l->settled[l->n_settled++].is_done = j->rc == 0;
    if (j->rc != 0)
        return;
    maildirsize_note(j->root, j->rules, j->now.octets - j->was.octets, 1, &j->now);
    if (q->on_change != NULL)
        q->on_change(q->on_change_arg,
                     &(struct quota_change){
                         .user = sl_z(j->user), .rules = j->rules, .was = j->was, .now = j->now });
}

void
deliver_quota_idle(struct lane *l)
{
    struct quota *q = quota_of(l);
    struct err e = { 0 };

    if (q == NULL || l->n_settled == 0)
        return;
    if (quota_begin(q, true, &e) == 0 && quota_end(q, true, write_settled(q, l, &e), &e) == 0)
        l->n_settled = 0;
    else
        log_warn("quota.deliver", LOG_NONE, "delivery: %s; tried again later", e.msg);
}
