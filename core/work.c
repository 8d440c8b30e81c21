/* core/work.c - a pool of threads that run jobs for the loop. Jobs that wait stand in lanes, one a key; lanes that may run
 * another job stand in a ring. */
#include "core/work.h"
#include "core/loop.h"
#include "core/loop_int.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_OCTETS (4 * 1024 * 1024) /* their frames are larger */
#else
#define STACK_OCTETS (512 * 1024)
#endif
enum { IDLE_S = 60, NAME_OCTETS = 12, RETRY_MS = 100 };

/* work_job.state; all but FREE only under the pool's lock. */
enum {
    JOB_FREE,     /* the owner's */
    JOB_QUEUED,   /* in its lane */
    JOB_RUNNING,  /* a thread has it */
    JOB_FINISHED, /* in pool->finished; the loop will call done() */
    JOB_PARKING,  /* in pool->finished; the loop will call parked() */
    JOB_PARKED    /* in pool->parked */
};

struct lane {
    uint64_t key;
    struct list ring; /* in pool->ring while it has jobs and may run another */
    struct list jobs;
    unsigned n_running;
};

struct work_pool {
    pthread_mutex_t lock;
    pthread_cond_t wanted; /* a job was queued, or the pool ends */
    pthread_cond_t ended;  /* a thread has ended */
    struct list ring, finished, parked;
    struct map *lanes; /* by key; one without jobs, waiting or running, is none */
    size_t n_queued, max_queued;
    unsigned max_running; /* of a key; 0: any */
    unsigned n_threads, max_threads, n_idle;
    bool is_ending, is_told; /* is_told: the loop was called to look at `finished` */
    size_t pending;          /* submitted and not done; the loop's */
    unsigned refs;           /* the owner and calls under way to the loop */
    struct timer retry;      /* no thread could be started */
    char name[NAME_OCTETS];
};

static void deliver(void *arg);

struct work_pool *
work_pool_new(const char *name, unsigned threads, size_t max_queued)
{
    struct work_pool *p = MEM_NEW(struct work_pool);
    pthread_condattr_t attr;

    BUG_ON(threads == 0);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wanted, &attr);
    pthread_cond_init(&p->ended, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&p->ring);
    p->lanes = map_new();
    list_init(&p->finished);
    list_init(&p->parked);
    p->max_threads = threads;
    p->max_queued = max_queued;
    p->refs = 1;
    snprintf(p->name, sizeof p->name, "%s", name);
    return p;
}

void
work_pool_share(struct work_pool *p, unsigned max_running)
{
    p->max_running = max_running;
}

/* ---- lanes; the lock is held ---- */

static struct lane *
lane_get(struct work_pool *p, uint64_t key)
{
    struct lane *l = map_get_u64(p->lanes, key);

    if (l != NULL)
        return l;
    l = MEM_NEW(struct lane);
    l->key = key;
    list_init(&l->ring);
    list_init(&l->jobs);
    map_set_u64(p->lanes, key, l);
    return l;
}

/* In the ring, at its end, or not; or it goes. */
static void
lane_settle(struct work_pool *p, struct lane *l)
{
    bool may_run = l->key == 0 || p->max_running == 0 || l->n_running < p->max_running;

    if (list_is_empty(&l->jobs) && l->n_running == 0) {
        list_remove(&l->ring);
        map_del_u64(p->lanes, l->key);
        free(l);
    } else if (list_is_empty(&l->jobs) || !may_run) {
        list_remove(&l->ring);
    } else if (!list_is_linked(&l->ring)) {
        list_push_back(&p->ring, &l->ring);
    }
}

static void
queue_job(struct work_pool *p, struct work_job *j)
{
    struct lane *l = lane_get(p, j->key);

    j->state = JOB_QUEUED;
    list_push_back(&l->jobs, &j->link);
    p->n_queued++;
    lane_settle(p, l);
}

/* The next job, of the lane whose turn it is. */
static struct work_job *
take_job(struct work_pool *p)
{
    struct lane *l = CONTAINER_OF(list_pop_front(&p->ring), struct lane, ring);
    struct work_job *j = CONTAINER_OF(list_pop_front(&l->jobs), struct work_job, link);

    p->n_queued--;
    l->n_running++;
    j->state = JOB_RUNNING;
    lane_settle(p, l);
    return j;
}

static void
leave_lane(struct work_pool *p, uint64_t key)
{
    struct lane *l = map_get_u64(p->lanes, key);

    l->n_running--;
    lane_settle(p, l);
}

/* ---- the threads' side; the lock is held ---- */

/* False: a minute without work. */
static bool
wait_for_work(struct work_pool *p)
{
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    p->n_idle++;
    while (list_is_empty(&p->ring) && !p->is_ending && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&p->wanted, &p->lock, &until);
    p->n_idle--;
    return !list_is_empty(&p->ring);
}

static void
hand_to_loop(struct work_pool *p, struct work_job *j, int state)
{
    j->state = state;
    list_push_back(&p->finished, &j->link);
    if (p->is_told)
        return;
    p->is_told = true;
    p->refs++;
    loop_call_from_thread(deliver, p);
}

static void
run_one(struct work_pool *p)
{
    struct work_job *j = take_job(p);
    uint64_t key = j->key; /* the job may be gone when its lane is left */
    enum work_rc rc;

    pthread_mutex_unlock(&p->lock);
    rc = j->run(j);
    pthread_mutex_lock(&p->lock);
    if (rc == WORK_DONE) {
        hand_to_loop(p, j, JOB_FINISHED);
    } else if (rc == WORK_PARK && !j->is_woken) {
        hand_to_loop(p, j, JOB_PARKING);
    } else {
        j->is_woken = false;
        queue_job(p, j);
    }
    leave_lane(p, key);
}

static void *
thread_main(void *arg)
{
    struct work_pool *p = arg;

    pthread_setname_np(pthread_self(), p->name);
    pthread_mutex_lock(&p->lock);
    while (!list_is_empty(&p->ring) || wait_for_work(p))
        run_one(p);
    p->n_threads--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals are the loop's: threads block them all. */
static int
start_thread(struct work_pool *p)
{
    pthread_attr_t attr;
    pthread_t id;
    sigset_t all, old;
    int rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_OCTETS);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&id, &attr, thread_main, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc == 0)
        p->n_threads++;
    return rc;
}

static void wake_thread(struct work_pool *p);

static void
on_retry(void *arg)
{
    struct work_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    if (!list_is_empty(&p->ring))
        wake_thread(p);
    pthread_mutex_unlock(&p->lock);
}

static void
wake_thread(struct work_pool *p)
{
    int rc = 0;

    if (list_is_empty(&p->ring))
        return; /* who runs a job of that key goes on with this one */
    if (p->n_idle >= p->n_queued) {
        pthread_cond_signal(&p->wanted);
        return;
    }
    if (p->n_threads < p->max_threads && (rc = start_thread(p)) == 0)
        return;
    if (p->n_threads > 0) {
        pthread_cond_signal(&p->wanted);
        return;
    }
    /* A limit of the user's or the unit's, perhaps for a moment: jobs wait, sessions live on. */
    if (!timer_is_running(&p->retry))
        log_warn("work.thread", LOG_NONE, "cannot start a thread: %s; trying again", strerror(rc));
    timer_start(&p->retry, RETRY_MS, on_retry, p);
}

/* ---- the loop's side ---- */

bool
work_submit(struct work_pool *p, struct work_job *j)
{
    bool is_full;

    BUG_ON(j->state != JOB_FREE);
    pthread_mutex_lock(&p->lock);
    is_full = p->max_queued > 0 && p->n_queued >= p->max_queued;
    if (!is_full) {
        j->pool = p;
        j->is_woken = false;
        queue_job(p, j);
        wake_thread(p);
    }
    pthread_mutex_unlock(&p->lock);
    if (is_full)
        return false;
    p->pending++;
    loop_hold();
    return true;
}

/* A job that is not yet parked remembers: it looked at the world before this call and would sleep through it. */
void
work_resume(struct work_job *j)
{
    struct work_pool *p = j->pool;

    pthread_mutex_lock(&p->lock);
    if (j->state == JOB_PARKED) {
        list_remove(&j->link);
        queue_job(p, j);
        wake_thread(p);
    } else if (j->state == JOB_RUNNING || j->state == JOB_PARKING || j->state == JOB_QUEUED) {
        j->is_woken = true;
    }
    pthread_mutex_unlock(&p->lock);
}

size_t
work_pending(const struct work_pool *p)
{
    return p->pending;
}

static void
park(struct work_pool *p, struct work_job *j)
{
    pthread_mutex_lock(&p->lock);
    if (j->is_woken) {
        j->is_woken = false;
        queue_job(p, j);
        wake_thread(p);
        pthread_mutex_unlock(&p->lock);
        return;
    }
    j->state = JOB_PARKED;
    list_push_back(&p->parked, &j->link);
    pthread_mutex_unlock(&p->lock);
    if (j->parked)
        j->parked(j);
}

static void
finish(struct work_pool *p, struct work_job *j)
{
    j->state = JOB_FREE;
    p->pending--;
    loop_release();
    j->done(j);
}

static void
drop_ref(struct work_pool *p)
{
    if (--p->refs > 0)
        return;
    pthread_cond_destroy(&p->wanted);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    map_free(&p->lanes, NULL); /* empty: all jobs are done */
    free(p);
}

static void
deliver_all(struct work_pool *p)
{
    struct list *l;

    for (;;) {
        struct work_job *j;
        int state;

        pthread_mutex_lock(&p->lock);
        l = list_pop_front(&p->finished);
        state = l ? CONTAINER_OF(l, struct work_job, link)->state : JOB_FREE;
        pthread_mutex_unlock(&p->lock);
        if (!l)
            return;
        j = CONTAINER_OF(l, struct work_job, link);
        if (state == JOB_PARKING)
            park(p, j);
        else
            finish(p, j);
    }
}

static void
deliver(void *arg)
{
    struct work_pool *p = arg;

    pthread_mutex_lock(&p->lock);
    p->is_told = false;
    pthread_mutex_unlock(&p->lock);
    deliver_all(p);
    pthread_mutex_lock(&p->lock);
    if (p->refs > 1 || !p->is_ending) {
        p->refs--;
        pthread_mutex_unlock(&p->lock);
        return;
    }
    pthread_mutex_unlock(&p->lock);
    drop_ref(p);
}

void
work_pool_free(struct work_pool **pool)
{
    struct work_pool *p = *pool;
    struct list *l;

    *pool = NULL;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_ending = true;
    pthread_cond_broadcast(&p->wanted);
    while (p->n_threads > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    while (!list_is_empty(&p->ring)) /* there was no thread to run these */
        run_one(p);
    timer_stop(&p->retry);
    pthread_mutex_unlock(&p->lock);
    deliver_all(p);
    /* Nobody will resume these any more; their done() sees an unfinished job. */
    while ((l = list_pop_front(&p->parked)) != NULL)
        finish(p, CONTAINER_OF(l, struct work_job, link));
    drop_ref(p);
}
