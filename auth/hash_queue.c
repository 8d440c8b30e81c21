/* auth/hash_queue.c - see hash_queue.h. The pool gets as many jobs as it has threads; which are next is decided here. */
#include "auth/hash_queue.h"

#include "auth/password.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"
#include "core/work.h"
#include "tls/digest.h"

#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SECRET_OCTETS = 32 };

struct waiter {
    struct list link;
    void (*cb)(uint64_t id, int match, const char *why);
    uint64_t id;
    int match; /* of one that the cache answers */
};

struct source {
    struct list link; /* in its rank's turns, while it has tasks waiting */
    struct list tasks;
    enum penalty_rank rank;
    char *name; /* the rank and the source: one may have tasks of several ranks */
    size_t n;
};

struct task {
    struct work_job work;
    struct list link; /* in its source */
    struct hash_queue *queue;
    struct source *source;
    struct list waiters;
    unsigned char key[AUTH_CACHE_KEY_OCTETS]; /* equal questions have equal ones */
    char *user;                               /* the rank and the user */
    char *stored, *password, *scheme;
    size_t password_n;
    bool is_dummy;
    int match;
    uint64_t took_us; /* of a processor */
    struct err e;
};

struct hash_queue {
    struct work_pool *pool;
    unsigned threads, running, suspects_max, suspects_running;
    uint64_t rest_factor,
        rest_us; /* a suspect's task of n us is followed by a rest of so many times n */
    struct timer rest;
    unsigned passed;                     /* tasks run since a suspect's while one waited */
    struct list turns[PENALTY_RANKS];    /* sources with tasks that wait */
    struct map *sources, *users, *tasks; /* users: name -> number of tasks, as a pointer */
    size_t waiting[PENALTY_RANKS];
    uint64_t n_hashed;
    struct auth_cache *cache;
    struct digest_key *secret; /* random, this process's own */
};

static struct digest_key *
make_secret(void)
{
    unsigned char key[SECRET_OCTETS];
    struct digest_key *k;

    rand_octets(key, sizeof key);
    k = digest_key_new(DIGEST_SHA256, sl_n((const char *)key, sizeof key));
    mem_wipe(key, sizeof key);
    return k;
}

struct hash_queue *
hash_queue_new(void)
{
    struct hash_queue *q = MEM_NEW(struct hash_queue);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned share = 100 / HASH_SUSPECT_PERCENT;

    q->threads = cpus > 2 ? (unsigned)cpus - 1 : 1;
    q->suspects_max = q->threads > share ? q->threads / share : 1;
    q->rest_factor = q->threads < share ? share / q->threads - 1 : 0;
    q->pool = work_pool_new("hash", q->threads, 0);
    for (size_t i = 0; i < PENALTY_RANKS; i++)
        list_init(&q->turns[i]);
    q->sources = map_new();
    q->users = map_new();
    q->tasks = map_new();
    q->cache = auth_cache_new();
    q->secret = make_secret();
    return q;
}

struct auth_cache *
hash_cache(struct hash_queue *q)
{
    return q->cache;
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

static struct slice
key_slice(const unsigned char key[AUTH_CACHE_KEY_OCTETS])
{
    return sl_n((const char *)key, AUTH_CACHE_KEY_OCTETS);
}

static void
free_task(struct task *t)
{
    struct hash_queue *q = t->queue;

    q->waiting[t->source->rank]--;
    map_del(q->tasks, key_slice(t->key));
    count_user(q, t->user, -1);
    if (--t->source->n == 0) {
        map_del(q->sources, sl_z(t->source->name));
        list_remove(&t->source->link);
        free(t->source->name);
        free(t->source);
    }
    mem_wipe(t->password, t->password_n);
    mem_wipe(t->stored, strlen(t->stored));
    free(t->password);
    free(t->stored);
    free(t->scheme);
    free(t->user);
    free(t);
}

/* ---- running ---- */

static uint64_t
thread_cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static enum work_rc
run(struct work_job *w)
{
    struct task *t = CONTAINER_OF(w, struct task, work);
    struct slice stored = sl_z(t->stored), password = sl_n(t->password, t->password_n);
    uint64_t began_us = thread_cpu_us();

    if (t->is_dummy)
        password_spend(stored, password, t->scheme);
    else
        t->match = password_verify(stored, password, t->scheme, &t->e);
    t->took_us = thread_cpu_us() - began_us;
    return WORK_DONE;
}

static void next_turns(struct hash_queue *q);

static void
on_rested(void *arg)
{
    next_turns(arg);
}

/* After a suspect's task nobody of that rank has a turn for as long as makes its time their share. */
static void
rest(struct hash_queue *q, uint64_t took_us)
{
    q->suspects_running--;
    q->rest_us += took_us * q->rest_factor;
    if (q->rest_us < 1000)
        return;
    timer_start(&q->rest, q->rest_us / 1000, on_rested, q);
    q->rest_us %= 1000;
}

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
    if (match >= 0)
        auth_cache_put(q->cache, t->key, match > 0, loop_now_ms());
    q->running--;
    q->n_hashed++;
    if (t->source->rank == PENALTY_SUSPECT)
        rest(q, t->took_us);
    free_task(t);
    LIST_EACH(it, nxt, &waiters)
    {
        struct waiter *x = CONTAINER_OF(it, struct waiter, link);

        list_remove(it);
        x->cb(x->id, match, e.msg);
        free(x);
    }
    next_turns(q);
}

/* The turns from which the next task is taken, or NULL. */
static struct list *
whose_turn(struct hash_queue *q)
{
    bool may_suspects = !list_is_empty(&q->turns[PENALTY_SUSPECT]) &&
                        q->suspects_running < q->suspects_max && !timer_is_running(&q->rest);

    if (!list_is_empty(&q->turns[PENALTY_KNOWN]))
        return &q->turns[PENALTY_KNOWN];
    if (!list_is_empty(&q->turns[PENALTY_CLEAN]) && !(may_suspects && q->passed >= HASH_PASSED_MAX))
        return &q->turns[PENALTY_CLEAN];
    return may_suspects ? &q->turns[PENALTY_SUSPECT] : NULL;
}

static void
next_turns(struct hash_queue *q)
{
    struct list *turns;

    while (q->running < q->threads && (turns = whose_turn(q)) != NULL) {
        struct source *s = CONTAINER_OF(list_pop_front(turns), struct source, link);
        struct task *t = CONTAINER_OF(list_pop_front(&s->tasks), struct task, link);

        if (!list_is_empty(&s->tasks))
            list_push_back(turns, &s->link);
        if (s->rank == PENALTY_SUSPECT) {
            q->suspects_running++;
            q->passed = 0;
        } else {
            q->passed++;
        }
        q->running++;
        work_submit(q->pool, &t->work);
    }
}

/* ---- coming in ---- */

/* Two questions are one when all of this is equal. A MAC, because the cache keeps it; 0: no MAC can be made. */
static size_t
key_of(const struct hash_queue *q, const struct hash_ask *a,
       unsigned char out[AUTH_CACHE_KEY_OCTETS])
{
    unsigned char md[DIGEST_MAX_OCTETS];
    struct buf b = { 0 };
    size_t n;

    buf_addf(&b, "%zu,%zu,%d,%s,", a->user.n, a->stored.n, a->is_dummy, a->default_scheme);
    buf_adds(&b, a->user);
    buf_adds(&b, a->stored);
    buf_adds(&b, a->password);
    n = digest_key_mac(q->secret, buf_slice(&b), md);
    buf_wipe(&b);
    memcpy(out, md, AUTH_CACHE_KEY_OCTETS);
    return n;
}

static struct waiter *
waiter_new(void (*cb)(uint64_t id, int match, const char *why), uint64_t id)
{
    struct waiter *w = MEM_NEW(struct waiter);

    w->cb = cb;
    w->id = id;
    return w;
}

static void
tell_known(void *arg)
{
    struct waiter *w = arg;

    w->cb(w->id, w->match, "");
    free(w);
}

static char *
ranked(enum penalty_rank rank, struct slice name)
{
    struct buf b = { 0 };
    char *z;

    buf_addf(&b, "%d ", (int)rank);
    buf_adds(&b, name);
    z = sl_dupz(buf_slice(&b));
    buf_free(&b);
    return z;
}

static struct source *
source_make(struct hash_queue *q, const struct hash_ask *a, char *name)
{
    struct source *s = MEM_NEW(struct source);

    s->name = name;
    s->rank = a->rank;
    list_init(&s->tasks);
    list_init(&s->link);
    map_set(q->sources, sl_z(name), s);
    return s;
}

/* See hash_queue.h: who has nothing waiting finds room as long as there is any. */
static bool
has_room(const struct hash_queue *q, enum penalty_rank rank, const struct source *s,
         const char *user)
{
    bool is_suspect = rank == PENALTY_SUSPECT;
    size_t places = is_suspect ? HASH_SUSPECT_WAITING_MAX : HASH_WAITING_MAX;
    size_t most = is_suspect ? HASH_SUSPECT_PER_SOURCE_MAX : HASH_PER_SOURCE_MAX, left;

    if (q->waiting[rank] >= places)
        return false;
    if (s == NULL)
        return true;
    left = places - q->waiting[rank];
    return s->n < most && s->n < 1 + left / HASH_ROOM_SHARE &&
           (intptr_t)map_get(q->users, sl_z(user)) < HASH_PER_USER_MAX;
}

static void
enqueue(struct hash_queue *q, struct task *t)
{
    struct source *s = t->source;

    if (list_is_empty(&s->tasks) && !list_is_linked(&s->link))
        list_push_back(&q->turns[s->rank], &s->link);
    list_push_back(&s->tasks, &t->link);
    s->n++;
    q->waiting[s->rank]++;
    count_user(q, t->user, 1);
    map_set(q->tasks, key_slice(t->key), t);
}

static struct task *
task_new(struct hash_queue *q, const struct hash_ask *a,
         const unsigned char key[AUTH_CACHE_KEY_OCTETS])
{
    struct task *t = MEM_NEW(struct task);

    t->work = (struct work_job){ .run = run, .done = done };
    t->queue = q;
    memcpy(t->key, key, sizeof t->key);
    t->is_dummy = a->is_dummy;
    t->stored = sl_dupz(a->stored);
    t->password = sl_dupz(a->password);
    t->password_n = a->password.n;
    t->scheme = mem_dupz(a->default_scheme);
    list_init(&t->waiters);
    return t;
}

static struct task *
submit(struct hash_queue *q, const struct hash_ask *a,
       const unsigned char key[AUTH_CACHE_KEY_OCTETS])
{
    char *source = ranked(a->rank, a->source), *user = ranked(a->rank, a->user);
    struct source *s = map_get(q->sources, sl_z(source));
    struct task *t;

    if (!has_room(q, a->rank, s, user)) {
        free(source);
        free(user);
        return NULL;
    }
    t = task_new(q, a, key);
    t->user = user;
    if (s)
        free(source);
    else
        s = source_make(q, a, source);
    t->source = s;
    enqueue(q, t);
    return t;
}

bool
hash_submit(struct hash_queue *q, const struct hash_ask *a,
            void (*cb)(uint64_t id, int match, const char *why), uint64_t id)
{
    unsigned char key[AUTH_CACHE_KEY_OCTETS];
    struct waiter *w;
    struct task *t;
    int match;

    if (key_of(q, a, key) < sizeof key)
        return false; /* a made-up key would take one password for another */
    match = auth_cache_get(q->cache, key, loop_now_ms());
    if (match >= 0) {
        w = waiter_new(cb, id);
        w->match = match;
        loop_defer(tell_known, w);
        return true;
    }
    t = map_get(q->tasks, key_slice(key));
    if (t == NULL)
        t = submit(q, a, key);
    if (t == NULL)
        return false;
    list_push_back(&t->waiters, &waiter_new(cb, id)->link);
    next_turns(q);
    return true;
}

uint64_t
hash_count(const struct hash_queue *q)
{
    return q->n_hashed;
}

size_t
hash_waiting(const struct hash_queue *q)
{
    size_t n = 0;

    for (size_t i = 0; i < PENALTY_RANKS; i++)
        n += q->waiting[i];
    return n;
}

/* Nobody waits for these any more. */
static void
drop_waiting(struct list *turns)
{
    while (!list_is_empty(turns)) {
        struct source *s = CONTAINER_OF(turns->next, struct source, link);
        struct task *t = CONTAINER_OF(list_pop_front(&s->tasks), struct task, link);

        if (list_is_empty(&s->tasks))
            list_remove(&s->link);
        LIST_EACH(it, nxt, &t->waiters)
        free(CONTAINER_OF(it, struct waiter, link));
        free_task(t);
    }
}

void
hash_queue_free(struct hash_queue **qp)
{
    struct hash_queue *q = *qp;

    if (q == NULL)
        return;
    timer_stop(&q->rest);
    for (size_t i = 0; i < PENALTY_RANKS; i++)
        drop_waiting(&q->turns[i]);
    work_pool_free(&q->pool);
    timer_stop(&q->rest);
    auth_cache_free(&q->cache);
    digest_key_free(&q->secret);
    map_free(&q->sources, NULL);
    map_free(&q->users, NULL);
    map_free(&q->tasks, NULL);
    free(q);
    *qp = NULL;
}
