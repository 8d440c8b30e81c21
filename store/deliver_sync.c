/* store/deliver_sync.c - see deliver_int.h: fsync of each file or syncfs of everything, whichever is measured
 * cheaper for a message. Small rounds are cheaper by fsync, large ones by syncfs, and where the border lies depends
 * on the disk and on what else is being written: so the other way is tried again every minute. */
#include "store/deliver_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PACE_FIRST_TRIAL_ROUNDS = 8, PACE_TRIAL_ROUNDS = 4, PACE_TRIAL_EVERY_MS = 60 * 1000 };
static const double pace_weight = 0.2,
                    pace_margin = 0.9; /* the other way must be a tenth cheaper */

void
pace_init(struct pace *p, enum sync_how how)
{
    *p = (struct pace){ .how = how };
}

enum sync_how
pace_choose(struct pace *p, uint64_t now_ms)
{
    if (p->trial_left == 0 && p->rounds >= PACE_FIRST_TRIAL_ROUNDS && now_ms >= p->next_trial_ms) {
        p->trial_left = PACE_TRIAL_ROUNDS;
        p->next_trial_ms = now_ms + PACE_TRIAL_EVERY_MS;
        p->us[!p->how] = 0;
    }
    return p->trial_left > 0 ? (enum sync_how) !p->how : p->how;
}

void
pace_note(struct pace *p, enum sync_how how, double us_per_message)
{
    double *us = &p->us[how];

    *us = *us <= 0 ? us_per_message : *us + (us_per_message - *us) * pace_weight;
    if (how == p->how) {
        p->rounds++;
        return;
    }
    if (p->trial_left > 0 && --p->trial_left == 0) {
        p->rounds = 0;
        if (p->us[how] < p->us[p->how] * pace_margin)
            p->how = how;
    }
}

/* ---- fsync side by side ---- */

struct syncer {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t threads[DELIVER_SYNC_THREADS];
    unsigned n_threads;
    bool must_stop;
    const int *fds;
    size_t n, next, finished;
    struct err err; /* kind ERR_NONE: none yet */
};

struct syncer *
syncer_new(void)
{
    struct syncer *s = MEM_NEW(struct syncer);

    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->done, NULL);
    return s;
}

/* Take descriptors and sync them until none is left. Called and returns with the lock held. */
static void
sync_some(struct syncer *s)
{
    while (s->next < s->n) {
        int fd = s->fds[s->next++];
        struct err e = { 0 };

        pthread_mutex_unlock(&s->lock);
        fs_sync_fd(fd, &e);
        pthread_mutex_lock(&s->lock);
        if (e.kind != ERR_NONE && s->err.kind == ERR_NONE)
            s->err = e;
        if (++s->finished == s->n)
            pthread_cond_signal(&s->done);
    }
}

static void *
sync_thread(void *arg)
{
    struct syncer *s = arg;

    pthread_mutex_lock(&s->lock);
    while (!s->must_stop) {
        sync_some(s);
        if (!s->must_stop)
            pthread_cond_wait(&s->work, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int
syncer_run(struct syncer *s, const int *fds, size_t n, struct err *e)
{
    int rc = 0;

    if (n == 0)
        return 0;
    pthread_mutex_lock(&s->lock);
    s->fds = fds;
    s->n = n;
    s->next = s->finished = 0;
    s->err.kind = ERR_NONE;
    /* The caller works too. Without a thread everything still gets done. */
    while (s->n_threads < DELIVER_SYNC_THREADS && s->n_threads + 1 < n) {
        if (pthread_create(&s->threads[s->n_threads], NULL, sync_thread, s))
            break;
        s->n_threads++;
    }
    if (n > 1)
        pthread_cond_broadcast(&s->work);
    sync_some(s);
    while (s->finished < s->n)
        pthread_cond_wait(&s->done, &s->lock);
    s->n = s->next = 0;
    if (s->err.kind != ERR_NONE) {
        *e = s->err;
        rc = -1;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void
syncer_free(struct syncer **s)
{
    if (*s == NULL)
        return;
    pthread_mutex_lock(&(*s)->lock);
    (*s)->must_stop = true;
    pthread_cond_broadcast(&(*s)->work);
    pthread_mutex_unlock(&(*s)->lock);
    for (unsigned i = 0; i < (*s)->n_threads; i++)
        pthread_join((*s)->threads[i], NULL);
    pthread_mutex_destroy(&(*s)->lock);
    pthread_cond_destroy(&(*s)->work);
    pthread_cond_destroy(&(*s)->done);
    free(*s);
    *s = NULL;
}
