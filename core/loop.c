/* core/loop.c - the event loop: libuv's, with deferred calls and work at the end of a turn. */
#include "core/loop.h"
#include "core/loop_int.h"

#include "base/list.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <stddef.h>

struct call {
    void (*fn)(void *);
    void *arg;
};

/* First in, first out; the two halves let a batch run while new calls come in. */
struct call_queue {
    struct call *v;
    size_t n, cap;
};

struct loop_watch {
    uv_poll_t poll;
    void (*fn)(void *);
    void *arg;
};

struct signal_watch {
    uv_signal_t sig;
    void (*fn)(int, void *);
    void *arg;
    struct signal_watch *next;
};

static struct {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: something waits for the end of the turn, so do not sleep */
    uv_async_t async;
    struct call_queue deferred, running;
    bool (*hook)(void);
    unsigned holds;
    struct signal_watch *signals;
    bool is_open;
} lp;

/* Calls from threads; the lock is outside the loop's struct since threads may outlive loop_free(). */
static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static struct call_queue thread_calls;
static bool calls_open;

static void
queue_add(struct call_queue *q, void (*fn)(void *), void *arg)
{
    q->v = mem_grow(q->v, &q->cap, q->n + 1, sizeof *q->v);
    q->v[q->n++] = (struct call){ fn, arg };
}

static void
queue_free(struct call_queue *q)
{
    free(q->v);
    *q = (struct call_queue){ 0 };
}

static void
on_idle(uv_idle_t *h)
{
    (void)h; /* its being active is all */
}

static void
keep_awake(bool yes)
{
    if (yes)
        uv_idle_start(&lp.idle, on_idle);
    else
        uv_idle_stop(&lp.idle);
}

/* One batch of deferred calls, then the hook (conns write what the callbacks produced). What these bring up
 * anew waits for the next turn, so that a chain of deferred calls cannot starve the sockets. */
static void
turn_end(void)
{
    struct call_queue batch = lp.deferred;
    bool is_more = false;

    lp.deferred = lp.running;
    lp.running = batch;
    lp.deferred.n = 0;
    for (size_t i = 0; i < lp.running.n; i++)
        lp.running.v[i].fn(lp.running.v[i].arg);
    lp.running.n = 0;
    if (lp.hook)
        is_more = lp.hook();
    keep_awake(is_more || lp.deferred.n > 0);
    timers_arm();
}

static void
on_prepare(uv_prepare_t *h)
{
    (void)h;
    turn_end();
}

static void
on_check(uv_check_t *h)
{
    (void)h;
    turn_end();
}

static void
on_async(uv_async_t *h)
{
    struct call_queue batch;

    (void)h;
    pthread_mutex_lock(&calls_lock);
    batch = thread_calls;
    thread_calls = (struct call_queue){ 0 };
    pthread_mutex_unlock(&calls_lock);
    for (size_t i = 0; i < batch.n; i++)
        batch.v[i].fn(batch.v[i].arg);
    queue_free(&batch);
}

void
loop_init(void)
{
    BUG_ON(lp.is_open);
    BUG_ON(uv_loop_init(&lp.uv) != 0);
    lp.is_open = true;
    uv_prepare_init(&lp.uv, &lp.prepare);
    uv_check_init(&lp.uv, &lp.check);
    uv_idle_init(&lp.uv, &lp.idle);
    BUG_ON(uv_async_init(&lp.uv, &lp.async, on_async) != 0);
    uv_prepare_start(&lp.prepare, on_prepare);
    uv_check_start(&lp.check, on_check);
    uv_unref((uv_handle_t *)&lp.prepare);
    uv_unref((uv_handle_t *)&lp.check);
    uv_unref((uv_handle_t *)&lp.async);
    timers_init(&lp.uv);
    pthread_mutex_lock(&calls_lock);
    calls_open = true;
    pthread_mutex_unlock(&calls_lock);
}

void
loop_run(void)
{
    timers_arm();
    uv_run(&lp.uv, UV_RUN_DEFAULT);
}

void
loop_stop(void)
{
    uv_stop(&lp.uv);
}

static void
on_walk_close(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h))
        uv_close(h, NULL);
}

/* Handles whose owner forgot them are closed without a callback: their memory is the owner's leak to report. */
void
loop_free(void)
{
    if (!lp.is_open)
        return;
    for (unsigned i = 0; i < 100 && lp.deferred.n > 0; i++)
        turn_end();
    on_async(&lp.async);           /* what threads have asked for */
    uv_run(&lp.uv, UV_RUN_NOWAIT); /* close callbacks that are due */
    pthread_mutex_lock(&calls_lock);
    calls_open = false;
    queue_free(&thread_calls);
    pthread_mutex_unlock(&calls_lock);
    uv_prepare_stop(&lp.prepare);
    uv_check_stop(&lp.check);
    lp.hook = NULL;
    uv_walk(&lp.uv, on_walk_close, NULL);
    uv_run(&lp.uv, UV_RUN_DEFAULT);
    BUG_ON(uv_loop_close(&lp.uv) != 0);
    for (struct signal_watch *s = lp.signals, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    lp.signals = NULL;
    queue_free(&lp.deferred);
    queue_free(&lp.running);
    timers_free();
    lp.holds = 0;
    lp.is_open = false;
}

uint64_t
loop_now_ms(void)
{
    return uv_now(&lp.uv);
}

void
loop_defer(void (*fn)(void *), void *arg)
{
    queue_add(&lp.deferred, fn, arg);
    keep_awake(true);
}

void
loop_call_from_thread(void (*fn)(void *), void *arg)
{
    pthread_mutex_lock(&calls_lock);
    if (calls_open) {
        queue_add(&thread_calls, fn, arg);
        uv_async_send(&lp.async);
    }
    pthread_mutex_unlock(&calls_lock);
}

uv_loop_t *
loop_uv(void)
{
    BUG_ON(!lp.is_open);
    return &lp.uv;
}

void
loop_hold(void)
{
    if (lp.holds++ == 0)
        uv_ref((uv_handle_t *)&lp.async);
}

void
loop_release(void)
{
    BUG_ON(lp.holds == 0);
    if (--lp.holds == 0)
        uv_unref((uv_handle_t *)&lp.async);
}

void
loop_set_turn_hook(bool (*fn)(void))
{
    lp.hook = fn;
}

void
loop_want_hook(void)
{
    keep_awake(true);
}

/* ---- descriptors and signals ---- */

static void
on_watch(uv_poll_t *h, int status, int events)
{
    struct loop_watch *w = CONTAINER_OF(h, struct loop_watch, poll);

    (void)events;
    /* After an error libuv has stopped the handle; start it again so that fn meets the error by reading. */
    if (status < 0)
        uv_poll_start(h, UV_READABLE, on_watch);
    w->fn(w->arg);
}

static void
on_watch_closed(uv_handle_t *h)
{
    free(CONTAINER_OF((uv_poll_t *)h, struct loop_watch, poll));
}

struct loop_watch *
loop_watch_fd(int fd, void (*fn)(void *), void *arg)
{
    struct loop_watch *w = MEM_NEW(struct loop_watch);

    w->fn = fn;
    w->arg = arg;
    BUG_ON(uv_poll_init(&lp.uv, &w->poll, fd) != 0);
    BUG_ON(uv_poll_start(&w->poll, UV_READABLE, on_watch) != 0);
    return w;
}

void
loop_unwatch(struct loop_watch **w)
{
    if (*w)
        uv_close((uv_handle_t *)&(*w)->poll, on_watch_closed);
    *w = NULL;
}

static void
on_uv_signal(uv_signal_t *h, int signo)
{
    struct signal_watch *s = CONTAINER_OF(h, struct signal_watch, sig);

    s->fn(signo, s->arg);
}

void
loop_on_signal(int signo, void (*fn)(int signo, void *), void *arg)
{
    struct signal_watch *s = MEM_NEW(struct signal_watch);

    s->fn = fn;
    s->arg = arg;
    s->next = lp.signals;
    lp.signals = s;
    uv_signal_init(&lp.uv, &s->sig);
    BUG_ON(uv_signal_start(&s->sig, on_uv_signal, signo) != 0);
    uv_unref((uv_handle_t *)&s->sig);
}
