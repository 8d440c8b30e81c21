/* core/work.h - jobs off the loop: SQLite, files, password hashes. A pool's threads start with its first job,
 * so after rights were dropped, and end after a minute without work. Layer: core. */
#ifndef POSTERN_CORE_WORK_H
#define POSTERN_CORE_WORK_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct work_pool;

enum work_rc {
    WORK_DONE,
    WORK_YIELD, /* put me behind the others that wait, then run me again: fair turns */
    WORK_PARK   /* keep me aside until work_resume() (e.g. output is full) */
};

/* Jobs of one key, such as a user's, take turns with those of other keys, and no more of them run at once than
 * work_pool_share() allows: the others wait in order, without a thread. Jobs of no key (0) are a key of their own without that
 * bound. Embedded (zeroed) in what the owner allocates; nobody touches that memory but `run` between submit and `done`. */
struct work_job {
    enum work_rc (*run)(struct work_job *); /* on a pool thread */
    void (*done)(struct work_job *);        /* on the loop, after WORK_DONE; may free the job */
    void (*parked)(struct work_job *);      /* on the loop, after WORK_PARK; may be NULL */
    uint64_t key;                           /* set before submit; 0: none */
    struct list link;                       /* the pool's */
    struct work_pool *pool;
    int state;     /* the pool's; 0 before submit */
    bool is_woken; /* the pool's */
};

/* threads >= 1. name shows in thread names. max_queued 0: no bound (the caller bounds what it submits). */
struct work_pool *work_pool_new(const char *name, unsigned threads, size_t max_queued);
/* At most that many jobs of a key run at once; 0: no bound, as at first. Before the first job. */
void work_pool_share(struct work_pool *p, unsigned max_running);
/* False when max_queued jobs wait already: answer "try later". On the loop. */
bool work_submit(struct work_pool *p, struct work_job *j);
/* A parked job runs again; one that is just about to park does so too. On the loop. */
void work_resume(struct work_job *j);
/* Jobs submitted and not yet done. */
size_t work_pending(const struct work_pool *p);
/* Blocks: all queued jobs run and their done functions are called; done() of parked ones without another run. */
void work_pool_free(struct work_pool **p);

#endif
