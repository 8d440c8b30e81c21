/* core/loop.h - the one event loop of a process, timers, and calls from other threads.
 * core/ is the only folder that includes <uv.h>; nothing of libuv shows in its headers.
 * Everything in core/ but work_submit()'s run function and loop_call_from_thread() belongs to the loop's thread. */
#ifndef POSTERN_CORE_LOOP_H
#define POSTERN_CORE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

void loop_init(void); /* once, before anything else of core/ */
void loop_run(void);  /* until loop_stop() or nothing is left to wait for */
void loop_stop(void);
void
loop_free(void); /* close what is open, run the close callbacks; for clean exits under sanitizers */
uint64_t loop_now_ms(void); /* monotonic, cached at the start of the turn */

/* Run fn(arg) on the loop, after the current callback has returned; in order. */
void loop_defer(void (*fn)(void *), void *arg);
/* The same from any thread. */
void loop_call_from_thread(void (*fn)(void *), void *arg);

/* A timer embedded in its owner. Zeroed is valid and stopped. */
struct timer {
    uint64_t due_ms;
    void (*fn)(void *);
    void *arg;
    uint32_t heap_at; /* place in the loop's heap plus one; 0: stopped */
};
void timer_start(struct timer *t, uint64_t in_ms, void (*fn)(void *),
                 void *arg);      /* restarts a running one */
void timer_stop(struct timer *t); /* idempotent */
bool timer_is_running(const struct timer *t);

/* Readiness of a descriptor that is no conn (inotify, a datagram socket). fn runs while readable. */
struct loop_watch;
struct loop_watch *loop_watch_fd(int fd, void (*fn)(void *), void *arg);
void loop_unwatch(struct loop_watch **w); /* does not close the descriptor */

/* Signals, on the loop. */
void loop_on_signal(int signo, void (*fn)(int signo, void *), void *arg);

/* Sessions are named by number when a question is out: if the session is gone, the answer finds none. */
uint64_t id_add(void *obj); /* never 0, never reused in a process */
void *id_get(uint64_t id);  /* NULL when gone */
void id_del(uint64_t id);

#endif
