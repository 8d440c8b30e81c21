/* store/fill.c - what the index lacks of messages is computed, some dozens at a time: for a view that is to be sorted or
 * searched, and in the background for messages that are new, so that who lists them need not wait.
 *
 * The background has a thread of its own, which the kernel lets run when others do not want to. It looks at the newest
 * messages of a mailbox only, waits while the process is at work for its users, and gives up when it must wait for long:
 * what is not computed here is computed when it is asked for. */
#include "store/cache.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    FILL_BATCH = 32,
    FILL_BATCH_OCTETS = 8 * 1024 * 1024, /* of files: a batch ends there */
    FILL_RECENT = 500,    /* messages of a mailbox, from its newest on, that are computed unasked */
    FILL_MAILBOXES = 256, /* that may wait; more are not noted */
    FILL_DELAY_MS = 500,  /* from a message's coming: its sessions first */
    FILL_WAIT_MS = 200,   /* while the process is busy */
    FILL_WAITS_MAX = 100,
    FILL_NICE = 10
};

/* ---- a batch ---- */

struct batch {
    struct place place;
    struct msg_row rows[FILL_BATCH];
    struct forms forms[FILL_BATCH];
    size_t n, n_forms;
    uint32_t last; /* the UID up to which the index was looked through */
    bool is_end;   /* there were no more */
};

/* Rows that lack their forms, from a UID on up to another. user.lock held. */
static int
find_missing(struct batch *b, uint32_t from, uint32_t to, struct err *e)
{
    struct db_stmt *s;
    int64_t octets = 0;
    int rc;

    b->n = b->n_forms = 0;
    b->last = to;
    b->is_end = false;
    if (db_prepare(b->place.u->db,
                   "SELECT uid, size FROM messages m WHERE mailbox = ?1 AND uid BETWEEN ?2 AND ?3"
                   " AND NOT EXISTS (SELECT 1 FROM cache_sort c WHERE c.mailbox = ?1 AND"
                   " c.uid = m.uid) ORDER BY uid",
                   &s, e))
        return -1;
    db_bind_int(s, 1, b->place.mailbox);
    db_bind_int(s, 2, from);
    db_bind_int(s, 3, to);
    while ((rc = db_step(s, e)) == 1) {
        b->rows[b->n++].uid = b->last = (uint32_t)db_int(s, 0);
        octets += db_int(s, 1);
        if (b->n == FILL_BATCH || octets > FILL_BATCH_OCTETS) {
            db_reset(s);
            break;
        }
    }
    if (rc < 0)
        return -1;
    b->is_end = rc == 0;
    if (rc == 0)
        b->last = to;
    for (size_t i = 0; i < b->n; i++) {
        rc = msg_load(b->place.u, b->place.mailbox, b->rows[i].uid, &b->rows[i], e);
        if (rc < 0)
            return -1;
        if (rc == 0) /* expunged by another process this moment */
            b->rows[i--] = b->rows[--b->n];
    }
    return 0;
}

/* A message that cannot be read is passed by: who asks for it is told why. No lock. */
static void
compute_one(struct batch *b, struct msg_row *m)
{
    struct store_file *file;
    struct err e = { 0 };
    int fd, rc = file_open(&b->place, m, &fd, &e);

    if (rc == 0 && user_lock(b->place.u, &e) == 0) { /* renamed meanwhile */
        rc = msg_load(b->place.u, b->place.mailbox, m->uid, m, &e);
        if (rc == 1)
            rc = file_find(&b->place, m, &fd, &e) ? -1 : 1;
        user_unlock(b->place.u);
    }
    if (rc < 1)
        return;
    if (file_read(&b->place, fd, false, &file, &e) == 0) {
        struct forms *f = &b->forms[b->n_forms++];

        forms_compute(store_file_octets(file), f);
        f->uid = m->uid;
        store_file_close(&file);
    }
    close(fd);
}

/* Look through the index from a UID on, compute, keep. */
static int
fill_batch(struct batch *b, uint32_t from, uint32_t to, struct err *e)
{
    int rc;

    if (user_lock(b->place.u, e))
        return -1;
    rc = find_missing(b, from, to, e);
    user_unlock(b->place.u);
    if (rc || b->n == 0)
        return rc;
    for (size_t i = 0; i < b->n; i++)
        compute_one(b, &b->rows[i]);
    if (b->n_forms > 0) {
        rc = user_lock(b->place.u, e);
        if (rc == 0) {
            rc = cache_save(b->place.u, b->place.mailbox, b->forms, b->n_forms, e);
            user_unlock(b->place.u);
        }
    }
    for (size_t i = 0; i < b->n_forms; i++)
        forms_free(&b->forms[i]);
    return rc;
}

/* ---- for a view ---- */

static int
save_view(struct store_view *v, struct err *e)
{
    if (v->n_fresh == 0)
        return 0;
    if (user_lock(v->u, e))
        return -1;
    view_save_fresh(v);
    user_unlock(v->u);
    return 0;
}

/* A run of UIDs from *at on. 0 done, 1 stopped, -1. */
static int
fill_run(struct batch *b, uint32_t first, uint32_t last, uint32_t *at, bool (*yield)(void *),
         void *arg, struct err *e)
{
    uint32_t from = first > *at ? first : *at + 1;

    while (from != 0 && from <= last) {
        if (fill_batch(b, from, last, e))
            return -1;
        *at = b->last;
        from = b->last + 1;
        if (b->n > 0 && yield != NULL && yield(arg))
            return 1;
    }
    return 0;
}

int
cache_fill(struct store_view *v, const struct store_uids *uids, uint32_t *at, bool (*yield)(void *),
           void *arg, struct err *e)
{
    uint32_t last = v->is_asleep || v->n == 0 ? 0 : view_uid_at(v, v->n - 1);
    struct store_uid_range all = { v->filled_to + 1, last };
    struct batch *b;
    int rc = 0;

    if (v->filled_to >= last)
        return 0;
    if (save_view(v, e))
        return -1;
    view_drop_ahead(v); /* it may say that something is missing */
    b = mem_alloc(sizeof(*b));
    b->place = place_of(v);
    for (size_t i = 0; rc == 0 && i < (uids == NULL ? 1 : uids->n); i++) {
        const struct store_uid_range *r = uids == NULL ? &all : &uids->v[i];

        rc = fill_run(b, r->first, r->last < last ? r->last : last, at, yield, arg, e);
    }
    free(b);
    if (rc == 0 && uids == NULL)
        v->filled_to = last;
    return rc;
}

/* ---- in the background ---- */

struct task {
    struct list link;
    struct store_user *u;
    char *name;
    uint32_t from; /* UID */
};

struct filler {
    struct store *s;
    struct work_pool *pool;
    struct work_job job;
    struct timer timer;
    bool is_running; /* loop only: the job */
    atomic_bool is_stopping;
    unsigned n_waits; /* the job's: in a row */
    bool must_wait;   /* the job's: told to done() */
    struct batch batch;
    pthread_mutex_t lock;
    struct list tasks; /* under lock */
    size_t n_tasks;
};

static void
task_free(struct task *t)
{
    store_user_close(&t->u);
    free(t->name);
    free(t);
}

static struct task *
take_task(struct filler *f)
{
    struct task *t = NULL;

    pthread_mutex_lock(&f->lock);
    LIST_EACH(at, nxt, &f->tasks)
    {
        t = CONTAINER_OF(at, struct task, link);
        list_remove(at);
        f->n_tasks--;
        break;
    }
    pthread_mutex_unlock(&f->lock);
    return t;
}

static void
drop_tasks(struct filler *f)
{
    struct task *t;

    while ((t = take_task(f)) != NULL)
        task_free(t);
}

/* Back in front, for the next turn. */
static void
put_back(struct filler *f, struct task *t)
{
    pthread_mutex_lock(&f->lock);
    list_push_front(&f->tasks, &t->link);
    f->n_tasks++;
    pthread_mutex_unlock(&f->lock);
}

/* The mailbox as it is now, and where the newest begin. 1, 0 nothing to do, -1. user.lock held. */
static int
find_recent(struct task *t, int64_t *mailbox, struct buf *dir, uint32_t *last, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (mbox_dir(t->u, sl_z(t->name), dir, e) || mbox_find(t->u, sl_z(t->name), mailbox, e))
        return -1;
    if (db_prepare(t->u->db,
                   "SELECT min(uid), max(uid) FROM (SELECT uid FROM messages WHERE mailbox = ?"
                   " ORDER BY uid DESC LIMIT ?)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, *mailbox);
    db_bind_int(s, 2, FILL_RECENT);
    rc = db_step(s, e);
    if (rc < 1)
        return rc;
    if (t->from < (uint32_t)db_int(s, 0))
        t->from = (uint32_t)db_int(s, 0);
    *last = (uint32_t)db_int(s, 1);
    db_reset(s);
    return *last >= t->from;
}

/* A batch of a task. 1: there is more. */
static int
work_on(struct filler *f, struct task *t)
{
    struct buf dir = { 0 };
    struct err e = { 0 };
    uint32_t last = 0;
    int rc = user_lock(t->u, &e);

    if (rc == 0) {
        rc = find_recent(t, &f->batch.place.mailbox, &dir, &last, &e);
        user_unlock(t->u);
    }
    if (rc == 1) {
        f->batch.place.u = t->u;
        f->batch.place.name = t->name;
        f->batch.place.dir = buf_z(&dir);
        rc = fill_batch(&f->batch, t->from, last, &e);
        t->from = f->batch.last + 1;
        if (rc == 0)
            rc = !f->batch.is_end;
    }
    if (rc < 0 && e.kind != ERR_NOTFOUND)
        log_info("store.fill", LOG_F(LF_Z("user", t->u->name)),
                 "user %s: nothing is computed ahead: %s", t->u->name, e.msg);
    buf_free(&dir);
    return rc == 1;
}

static enum work_rc
fill_run_job(struct work_job *j)
{
    struct filler *f = CONTAINER_OF(j, struct filler, job);
    struct task *t;

    setpriority(PRIO_PROCESS, (id_t)gettid(), FILL_NICE); /* of this thread; it may be a new one */
    f->must_wait = false;
    if (atomic_load(&f->is_stopping))
        return WORK_DONE;
    if (atomic_load(&f->s->n_busy) > 0) {
        f->must_wait = ++f->n_waits < FILL_WAITS_MAX;
        if (!f->must_wait)
            drop_tasks(f);
        return WORK_DONE;
    }
    f->n_waits = 0;
    t = take_task(f);
    if (t == NULL)
        return WORK_DONE;
    if (work_on(f, t))
        put_back(f, t);
    else
        task_free(t);
    return WORK_YIELD;
}

static void
fill_start(void *arg)
{
    struct filler *f = arg;

    f->is_running = true;
    work_submit(f->pool, &f->job);
}

static void
fill_done(struct work_job *j)
{
    struct filler *f = CONTAINER_OF(j, struct filler, job);
    bool any;

    f->is_running = false;
    pthread_mutex_lock(&f->lock);
    any = f->n_tasks > 0;
    pthread_mutex_unlock(&f->lock);
    if (f->must_wait || any)
        timer_start(&f->timer, FILL_WAIT_MS, fill_start, f);
    else
        f->n_waits = 0;
}

static void
fill_wake(void *arg)
{
    struct watcher *w = id_get((uint64_t)(uintptr_t)arg);
    struct filler *f = w == NULL ? NULL : watcher_store(w)->filler;

    if (f != NULL && !f->is_running && !timer_is_running(&f->timer))
        timer_start(&f->timer, FILL_DELAY_MS, fill_start, f);
}

static bool
note_task(struct filler *f, struct store_user *u, struct slice normal, uint32_t from)
{
    struct task *t;

    LIST_EACH(at, nxt, &f->tasks)
    {
        t = CONTAINER_OF(at, struct task, link);
        if (t->u == u && sl_eqz(normal, t->name)) {
            t->from = from < t->from ? from : t->from;
            return false;
        }
    }
    if (f->n_tasks >= FILL_MAILBOXES)
        return false;
    t = MEM_NEW(struct task);
    t->u = user_ref(u);
    t->name = sl_dupz(normal);
    t->from = from;
    list_push_back(&f->tasks, &t->link);
    f->n_tasks++;
    return true;
}

void
fill_ask(struct store_user *u, struct slice normal, uint32_t from_uid)
{
    struct filler *f = u->s->filler;
    bool is_new;

    if (f == NULL || atomic_load(&f->is_stopping))
        return;
    pthread_mutex_lock(&f->lock);
    is_new = note_task(f, u, normal, from_uid);
    pthread_mutex_unlock(&f->lock);
    if (is_new)
        loop_call_from_thread(fill_wake, (void *)(uintptr_t)u->s->watcher_id);
}

struct filler *
filler_new(struct store *s)
{
    struct filler *f = MEM_NEW(struct filler);

    f->s = s;
    f->pool = work_pool_new("fill", 1, 0);
    f->job.run = fill_run_job;
    f->job.done = fill_done;
    pthread_mutex_init(&f->lock, NULL);
    list_init(&f->tasks);
    return f;
}

void
filler_free(struct filler **fp)
{
    struct filler *f = *fp;

    if (f == NULL)
        return;
    atomic_store(&f->is_stopping, true);
    work_pool_free(&f->pool);
    timer_stop(&f->timer);
    drop_tasks(f);
    pthread_mutex_destroy(&f->lock);
    free(f);
    *fp = NULL;
}

void
store_fill_ahead(struct store *s)
{
    if (s->filler == NULL)
        s->filler = filler_new(s);
}
