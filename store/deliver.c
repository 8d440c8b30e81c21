/* store/deliver.c - see deliver.h: the loop's side of a delivery. */
#include "store/deliver_int.h"
#include "store/store_int.h"

#include "base/mem.h"
#include "core/loop.h"

#include <stdlib.h>

enum { DELIVER_SPOOL_THREADS = 2, DELIVER_PREPARE_THREADS = 2 };

int
deliverer_new(const struct conf *c, struct deliverer **out, struct err *e)
{
    struct deliverer *d;
    struct store *s;

    *out = NULL;
    /* What is wrong with the configuration is said at start rather than at each message. */
    if (store_new(c, &s, e))
        return -1;
    d = MEM_NEW(struct deliverer);
    d->store = s;
    d->refs = 1;
    d->conf = conf_ref(c);
    d->spool_dir = location_common(c);
    d->pool = work_pool_new("spool", DELIVER_SPOOL_THREADS, 0);
    d->prepare_pool = work_pool_new("prepare", DELIVER_PREPARE_THREADS, 0);
    d->notifier = notifier_new(c);
    d->reserve = reserve_new(c);
    d->in_flight = map_new();
    lane_init(&d->small, d, false);
    lane_init(&d->large, d, true);
    if (s->quota != NULL)
        quota_settle_dead(s->quota);
    *out = d;
    return 0;
}

struct store *
deliverer_store(const struct deliverer *d)
{
    return d->store;
}

void
deliverer_unref(struct deliverer *d)
{
    if (--d->refs > 0)
        return;
    notifier_free(&d->notifier);
    reserve_free(&d->reserve);
    map_free(&d->in_flight, NULL);
    conf_unref(&d->conf);
    free(d->spool_dir);
    free(d);
}

void
deliverer_free(struct deliverer **d)
{
    if (*d == NULL)
        return;
    work_pool_free(&(*d)->pool);
    work_pool_free(&(*d)->prepare_pool);
    lane_stop(&(*d)->small);
    lane_stop(&(*d)->large);
    store_free(&(*d)->store);
    deliverer_unref(*d);
    *d = NULL;
}

static void
job_free(struct deliver_job *j)
{
    struct deliverer *d = j->m->d;

    if (j->flight_key != NULL)
        map_del(d->in_flight, sl_z(j->flight_key));
    free(j->flight_key);
    free(j->root);
    free(j->dir);
    free(j->user);
    free(j->mailbox);
    free(j->mail);
    free(j->quota);
    for (size_t i = 0; i < j->n_keywords; i++)
        free(j->keywords[i]);
    free(j->keywords);
    quota_rules_free(&j->rules);
    free(j->found);
    buf_free(&j->prepend);
    deliver_msg_unref(j->m);
    free(j);
    deliverer_unref(d);
}

/* Loop: callbacks of a batch. */
static void
answer(void *arg)
{
    struct list *batch = arg;

    LIST_EACH(at, nxt, batch)
    {
        struct deliver_job *j = deliver_job_of(at);

        if (j->on_place != NULL)
            j->on_place(j->id, j->mailbox);
        j->cb(j->id, j->rc, &j->err);
        job_free(j);
    }
    free(batch);
}

static struct list *
batch_of(struct list *jobs)
{
    struct list *batch = MEM_NEW(struct list), *l;

    list_init(batch);
    while ((l = list_pop_front(jobs)) != NULL)
        list_push_back(batch, l);
    return batch;
}

void
deliver_answer_from_thread(struct list *jobs)
{
    if (!list_is_empty(jobs))
        loop_call_from_thread(answer, batch_of(jobs));
}

/* Loop, but not inside deliver(): the caller may not expect its callback yet. */
void
deliver_fail_later(struct deliver_job *j)
{
    struct list jobs;

    j->rc = -1;
    list_init(&jobs);
    list_push_back(&jobs, &j->link);
    loop_defer(answer, batch_of(&jobs));
}

void
deliver_start(struct deliver_msg *m)
{
    struct lane *l = m->fd >= 0 ? &m->d->large : &m->d->small;
    struct list ready, *at;

    list_init(&ready);
    while ((at = list_pop_front(&m->waiting)) != NULL) {
        struct deliver_job *j = deliver_job_of(at);

        if (m->err.kind != ERR_NONE) {
            j->err = m->err;
            deliver_fail_later(j);
        } else if (j->must_prepare) {
            deliver_prepare(j);
        } else {
            list_push_back(&ready, &j->link);
        }
    }
    lane_add(l, &ready);
}

/* What is charged, and by which limit. */
static int
job_rules(struct deliver_job *j, struct err *e)
{
    struct quota *q = j->m->d->store->quota;

    quota_rules_free(&j->rules);
    if (q == NULL)
        return 0;
    if (quota_rules_over(q->rules, sl_z(j->quota), &j->rules, e)) {
        e->kind = ERR_TEMP; /* the operator's error: mail waits for him */
        return -1;
    }
    if (!quota_rules_limit(j->rules, sl_z(j->mailbox), j->separator, &j->limit))
        quota_rules_free(&j->rules);
    return 0;
}

int
deliver_place(struct deliver_job *j, const struct location *where, struct slice normal,
              struct err *e)
{
    struct buf dir = { 0 };
    int rc = 0;

    buf_addz(&dir, where->root);
    j->is_fs = where->layout == LAYOUT_FS;
    j->is_subfolder = !name_is_inbox(normal) && !j->is_fs;
    if (!name_is_inbox(normal)) {
        buf_addc(&dir, '/');
        rc = name_to_folder(where, normal, &dir, e);
    }
    if (rc == 0) {
        free(j->dir);
        free(j->mailbox);
        j->dir = mem_dupz(buf_z(&dir));
        j->mailbox = sl_dupz(normal);
        j->separator = where->separator;
        j->must_prepare = !name_is_inbox(normal) || j->n_keywords > 0;
        rc = job_rules(j, e);
    }
    buf_free(&dir);
    return rc;
}

/* Where the copy goes. */
static int
job_place(struct deliver_job *j, const struct deliver_rcpt *r, struct err *e)
{
    struct buf name = { 0 };
    struct location where;
    int rc = -1;

    j->user = sl_dupz(r->user);
    j->mail = sl_dupz(r->db.mail);
    j->quota = sl_dupz(r->db.quota);
    if (location_resolve(j->m->d->conf, r->user, r->db.mail, &where, e))
        goto out;
    if (r->mailbox.n == 0 || name_normalise(&where, r->mailbox, &name, e)) {
        if (r->mailbox.n > 0 && !r->or_inbox)
            goto out;
        *e = (struct err){ 0 };
        buf_reset(&name);
        buf_addz(&name, "INBOX");
    }
    j->root = mem_dupz(where.root);
    rc = deliver_place(j, &where, buf_slice(&name), e);
out:
    location_free(&where);
    buf_free(&name);
    return rc;
}

/* Two deliveries of one ident must not run side by side: neither would find the other's file. */
static int
job_claim_ident(struct deliver_job *j, struct err *e)
{
    struct buf key = { 0 };
    int rc = 0;

    if (j->ident[0] == '\0')
        return 0;
    buf_addf(&key, "%s\t%s", j->ident, j->dir);
    if (map_get(j->m->d->in_flight, buf_slice(&key)) != NULL) {
        rc = err_set(e, ERR_TEMP, "the same delivery is under way");
    } else {
        j->flight_key = mem_dupz(buf_z(&key));
        map_set(j->m->d->in_flight, sl_z(j->flight_key), j);
    }
    buf_free(&key);
    return rc;
}

void
deliver(struct deliver_msg *m, const struct deliver_rcpt *r,
        void (*cb)(uint64_t id, int rc, const struct err *e), uint64_t id)
{
    struct deliver_job *j = MEM_NEW(struct deliver_job);
    bool cr = false;

    j->m = m;
    m->refs++;
    m->d->refs++;
    j->cb = cb;
    j->id = id;
    j->fd = -1;
    j->device = -1;
    j->may_be_repeat = r->may_be_repeat;
    j->no_create = r->no_create;
    j->must_subscribe = r->must_subscribe;
    j->ignores_quota = r->ignores_quota;
    j->on_place = r->on_place;
    j->flags =
        r->flags & (STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT);
    j->keywords = mem_alloc((r->n_keywords + 1) * sizeof(j->keywords[0]));
    for (; j->n_keywords < r->n_keywords; j->n_keywords++)
        j->keywords[j->n_keywords] = mem_dupz(r->keywords[j->n_keywords]);
    maildir_ident(r->ident, j->ident);
    maildir_lf(&j->prepend, r->prepend, &cr, &j->prepend_crlf);
    maildir_lf_end(&j->prepend, &cr, &j->prepend_crlf);
    if (job_place(j, r, &j->err) || job_claim_ident(j, &j->err)) {
        deliver_fail_later(j);
        return;
    }
    list_push_back(&m->waiting, &j->link);
    if (deliver_msg_end(m))
        deliver_start(m);
}
