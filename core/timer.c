/* core/timer.c - all timers of a process in one binary heap over one libuv timer: an idle session's timer costs
 * the struct in its owner and a pointer here. */
#include "core/loop.h"
#include "core/loop_int.h"

#include "base/mem.h"

#include <stdlib.h>

static struct {
    struct timer **heap; /* heap[i] is due no later than heap[2i+1] and heap[2i+2] */
    size_t n, cap;
    uv_timer_t uv;
    uint64_t armed_ms; /* what the uv timer stands at; 0: stopped */
} tm;

static void
put(size_t at, struct timer *t)
{
    tm.heap[at] = t;
    t->heap_at = (uint32_t)at + 1;
}

static void
sift_up(size_t at, struct timer *t)
{
    while (at > 0) {
        size_t up = (at - 1) / 2;

        if (tm.heap[up]->due_ms <= t->due_ms)
            break;
        put(at, tm.heap[up]);
        at = up;
    }
    put(at, t);
}

static void
sift_down(size_t at, struct timer *t)
{
    for (;;) {
        size_t down = 2 * at + 1;

        if (down >= tm.n)
            break;
        if (down + 1 < tm.n && tm.heap[down + 1]->due_ms < tm.heap[down]->due_ms)
            down++;
        if (t->due_ms <= tm.heap[down]->due_ms)
            break;
        put(at, tm.heap[down]);
        at = down;
    }
    put(at, t);
}

static void
place(size_t at, struct timer *t)
{
    if (at > 0 && t->due_ms < tm.heap[(at - 1) / 2]->due_ms)
        sift_up(at, t);
    else
        sift_down(at, t);
}

void
timer_start(struct timer *t, uint64_t in_ms, void (*fn)(void *), void *arg)
{
    size_t at;

    t->due_ms = loop_now_ms() + in_ms;
    t->fn = fn;
    t->arg = arg;
    if (t->heap_at) {
        at = t->heap_at - 1;
    } else {
        tm.heap = mem_grow(tm.heap, &tm.cap, tm.n + 1, sizeof(struct timer *));
        at = tm.n++;
    }
    place(at, t);
}

void
timer_stop(struct timer *t)
{
    size_t at;
    struct timer *last;

    if (!t->heap_at)
        return;
    at = t->heap_at - 1;
    t->heap_at = 0;
    last = tm.heap[--tm.n];
    if (last != t)
        place(at, last);
}

bool
timer_is_running(const struct timer *t)
{
    return t->heap_at != 0;
}

/* Timers that a callback starts anew with 0 ms wait for the next turn: `now` does not move meanwhile, so what
 * is due is what stood in the heap when the turn began; the batch bound keeps sockets served. */
static void
on_timer(uv_timer_t *h)
{
    uint64_t now = loop_now_ms();
    size_t batch = tm.n;

    (void)h;
    tm.armed_ms = 0;
    while (tm.n > 0 && batch-- > 0 && tm.heap[0]->due_ms <= now) {
        struct timer *t = tm.heap[0];

        timer_stop(t);
        t->fn(t->arg);
    }
}

void
timers_init(uv_loop_t *l)
{
    uv_timer_init(l, &tm.uv);
    tm.armed_ms = 0;
}

void
timers_arm(void)
{
    uint64_t now, due;

    if (tm.n == 0) {
        if (tm.armed_ms)
            uv_timer_stop(&tm.uv);
        tm.armed_ms = 0;
        return;
    }
    due = tm.heap[0]->due_ms;
    if (tm.armed_ms == due)
        return;
    now = loop_now_ms();
    uv_timer_start(&tm.uv, on_timer, due > now ? due - now : 0, 0);
    tm.armed_ms = due;
}

void
timers_free(void)
{
    for (size_t i = 0; i < tm.n; i++)
        tm.heap[i]->heap_at = 0;
    free(tm.heap);
    tm.heap = NULL;
    tm.n = tm.cap = 0;
    tm.armed_ms = 0;
}
