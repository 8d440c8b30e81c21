/* core/loop_int.h - what the files of core/ share about the loop. Folder-private. */
#ifndef POSTERN_CORE_LOOP_INT_H
#define POSTERN_CORE_LOOP_INT_H

#include <stdbool.h>
#include <uv.h>

uv_loop_t *loop_uv(void);

/* Keep the loop running although no handle is active: a job is out on a thread. Counted. */
void loop_hold(void);
void loop_release(void);

/* fn runs at the end of each turn's callbacks and before the loop sleeps; it returns true when it left work
 * behind (then the loop does not sleep). One hook: conn's. */
void loop_set_turn_hook(bool (*fn)(void));
/* Something was given to the hook: do not sleep before it ran. */
void loop_want_hook(void);

/* core/timer.c: run what is due; set the one uv timer for the next; loop_free(). */
void timers_init(uv_loop_t *l);
void timers_arm(void);
void timers_free(void);

#endif
