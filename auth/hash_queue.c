/* auth/hash_queue.c - see hash_queue.h. The pool gets as many jobs as it has threads; which are next is decided here. */
#include "auth/hash_queue.h"

#include "auth/password.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/work.h"

#include <stdlib.h>
#include <unistd.h>

struct waiter {
    struct list link;
    void (*cb)(uint64_t id, int match, const char *why);
    uint64_t id;
};

struct source {
    struct list link; /* in the queue's turns, while it has tasks waiting */
    struct list tasks;
    char *name;
    size_t n;
};

struct task {
    struct work_job work;
    struct list link; /* in its source */
    struct hash_queue *queue;
    struct source *source;
    struct list waiters;
    char *user, *key; /* key: equal questions have equal ones */
    char *stored, *password, *scheme;
    size_t password_n;
    bool is_dummy;
    int match;
    struct err e;
};

struct hash_queue {
    struct work_pool *pool;
    unsigned threads, running;
    struct list turns;                   /* sources with tasks that wait */
    struct map *sources, *users, *tasks; /* users: name -> number of tasks, as a pointer */
    size_t waiting;
};

struct hash_queue *
hash_queue_new(void)
{
    struct hash_queue *q = MEM_NEW(struct hash_queue);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    q->threads = cpus > 2 ? (unsigned)cpus - 1 : 1;
    q->pool = work_pool_new("hash", q->threads, 0);
    list_init(&q->turns);
    q->sources = map_new();
    q->users = map_new();
    q->tasks = map_new();
    return q;
}

static void
count_user(struct hash_queue *q, const char *user, intptr_t by)
{
    intptr_t n = (intptr_t)map_get(q->users, sl_z(user)) + by;

    if (n > 0)
        map_set(q->users, sl_z(user), (void *)n);
    else
        map_del(q->users, sl_z(user));
}

static void
free_task(struct task *t)
{
    struct hash_queue *q = t->queue;

    map_del(q->tasks, sl_z(t->key));
    count_user(q, t->user, -1);
    if (--t->source->n == 0) {
        map_del(q->sources, sl_z(t->source->name));
        list_remove(&t->source->link);
        free(t->source->name);
        free(t->source);
    }
    q->waiting--;
    mem_wipe(t->password, t->password_n);
    mem_wipe(t->key, strlen(t->key));
    free(t->password);
    free(t->stored);
    free(t->scheme);
    free(t->user);
    free(t->key);
    free(t);
}

/* ---- running ---- */

static enum work_rc
run(struct work_job *w)
{
    struct task *t = CONTAINER_OF(w, struct task, work);
    struct slice stored = sl_z(t->stored), password = sl_n(t->password, t->password_n);

    if (t->is_dummy)
        password_spend(stored, password, t->scheme);
    else
        t->match = password_verify(stored, password, t->scheme, &t->e);
    return WORK_DONE;
}

static void next_turns(struct hash_queue *q);

static void
done(struct work_job *w)
{
    struct task *t = CONTAINER_OF(w, struct task, work);
    struct hash_queue *q = t->queue;
    struct list waiters;
    struct err e = t->e;
    int match = t->match;

    /* Callbacks may submit: the task is out of the books first. */
    list_init(&waiters);
    LIST_EACH(it, nxt, &t->waiters)
    {
        list_remove(it);
        list_push_back(&waiters, it);
    }
    free_task(t);
    q->running--;
    LIST_EACH(it, nxt, &waiters)
    {
        struct waiter *x = CONTAINER_OF(it, struct waiter, link);

        list_remove(it);
        x->cb(x->id, match, e.msg);
        free(x);
    }
    next_turns(q);
}

static void
next_turns(struct hash_queue *q)
{
    while (q->running < q->threads && !list_is_empty(&q->turns)) {
        struct source *s = CONTAINER_OF(list_pop_front(&q->turns), struct source, link);
        struct task *t = CONTAINER_OF(list_pop_front(&s->tasks), struct task, link);

        if (!list_is_empty(&s->tasks))
            list_push_back(&q->turns, &s->link);
        q->running++;
        work_submit(q->pool, &t->work);
    }
}

/* ---- coming in ---- */

/* Two questions are one when all of this is equal; a hash of it would do, but this is never wrong. */
static char *
key_of(const struct hash_ask *a)
{
    struct buf b = { 0 };
    char *key;

    buf_addf(&b, "%zu,%zu,%d,", a->user.n, a->stored.n, a->is_dummy);
    buf_adds(&b, a->user);
    buf_adds(&b, a->stored);
    buf_adds(&b, a->password);
    key = sl_dupz(buf_slice(&b));
    mem_wipe(b.p, b.cap);
    buf_free(&b);
    return key;
}

static void
add_waiter(struct task *t, void (*cb)(uint64_t id, int match, const char *why), uint64_t id)
{
    struct waiter *w = MEM_NEW(struct waiter);

    w->cb = cb;
    w->id = id;
    list_push_back(&t->waiters, &w->link);
}

static struct source *
source_of(struct hash_queue *q, struct slice name)
{
    struct source *s = map_get(q->sources, name);

    if (s == NULL) {
        s = MEM_NEW(struct source);
        s->name = sl_dupz(name);
        list_init(&s->tasks);
        list_init(&s->link);
        map_set(q->sources, name, s);
    }
    return s;
}

static bool
has_room(struct hash_queue *q, const struct hash_ask *a)
{
    struct source *s = map_get(q->sources, a->source);

    return q->waiting < HASH_WAITING_MAX && (s == NULL || s->n < HASH_PER_SOURCE_MAX) &&
           (intptr_t)map_get(q->users, a->user) < HASH_PER_USER_MAX;
}

bool
hash_submit(struct hash_queue *q, const struct hash_ask *a,
            void (*cb)(uint64_t id, int match, const char *why), uint64_t id)
{
    char *key = key_of(a);
    struct task *t = map_get(q->tasks, sl_z(key));

    if (t) {
        mem_wipe(key, strlen(key));
        free(key);
        add_waiter(t, cb, id);
        return true;
    }
    if (!has_room(q, a)) {
        mem_wipe(key, strlen(key));
        free(key);
        return false;
    }
    t = MEM_NEW(struct task);
    *t = (struct task){
        .work = { .run = run, .done = done }, .queue = q, .key = key, .is_dummy = a->is_dummy
    };
    t->user = sl_dupz(a->user);
    t->stored = sl_dupz(a->stored);
    t->password = sl_dupz(a->password);
    t->password_n = a->password.n;
    t->scheme = mem_dupz(a->default_scheme);
    list_init(&t->waiters);
    add_waiter(t, cb, id);
    t->source = source_of(q, a->source);
    if (list_is_empty(&t->source->tasks) && !list_is_linked(&t->source->link))
        list_push_back(&q->turns, &t->source->link);
    list_push_back(&t->source->tasks, &t->link);
    t->source->n++;
    q->waiting++;
    count_user(q, t->user, 1);
    map_set(q->tasks, sl_z(key), t);
    next_turns(q);
    return true;
}

size_t
hash_waiting(const struct hash_queue *q)
{
    return q->waiting;
}

void
hash_queue_free(struct hash_queue **qp)
{
    struct hash_queue *q = *qp;

    if (q == NULL)
        return;
    while (!list_is_empty(&q->turns)) { /* nobody waits for these any more */
        struct source *s = CONTAINER_OF(q->turns.next, struct source, link);
        struct task *t = CONTAINER_OF(list_pop_front(&s->tasks), struct task, link);

        if (list_is_empty(&s->tasks))
            list_remove(&s->link);
        LIST_EACH(it, nxt, &t->waiters)
        free(CONTAINER_OF(it, struct waiter, link));
        free_task(t);
    }
    work_pool_free(&q->pool);
    map_free(&q->sources, NULL);
    map_free(&q->users, NULL);
    map_free(&q->tasks, NULL);
    free(q);
    *qp = NULL;
}
