/* store/deliver_lane.c - see deliver_int.h: rounds of writing, renaming and syncing. */
#include "store/deliver_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LANE_COPY_OCTETS = 256 * 1024, LANE_STACK_OCTETS = 256 * 1024 };

static struct deliver_job *
job_of(struct list *l)
{
    return CONTAINER_OF(l, struct deliver_job, link);
}

static void
job_path(const struct deliver_job *j, const char *part, struct buf *out)
{
    buf_reset(out);
    buf_addf(out, "%s/%s/%s", j->dir, part, j->base);
    buf_z(out);
}

/* ---- write ---- */

/* The row of this file's file system, so that one syncfs can serve it. The descriptor is opened before anything is
 * written and stays: syncfs tells the errors since its descriptor was opened. */
static int
device_of(struct lane *l, const struct deliver_job *j)
{
    struct stat st;
    int fd;

    if (fstat(j->fd, &st))
        return -1;
    for (unsigned i = 0; i < l->n_devices; i++)
        if (l->devices[i].dev == st.st_dev)
            return (int)i;
    if (l->n_devices == DELIVER_DEVICES_MAX)
        return -1;
    fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    l->devices[l->n_devices].dev = st.st_dev;
    l->devices[l->n_devices].fd = fd;
    return (int)l->n_devices++;
}

static int
write_both(int fd, struct slice a, struct slice b, struct err *e)
{
    struct iovec iov[2] = { { (void *)(uintptr_t)a.p, a.n }, { (void *)(uintptr_t)b.p, b.n } };
    ssize_t put;

    do
        put = writev(fd, iov, 2);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return err_sys(e, "cannot write");
    if ((size_t)put < a.n)
        return fs_write_all(fd, sl_from(a, (size_t)put), e) ? -1 : fs_write_all(fd, b, e);
    return fs_write_all(fd, sl_from(b, (size_t)put - a.n), e);
}

static int
copy_file(int to, int from, uint64_t octets, struct err *e)
{
    char *block = mem_alloc(LANE_COPY_OCTETS);
    off_t at = 0;
    int rc = 0;

    while (rc == 0 && (uint64_t)at < octets) {
        ssize_t got = pread(from, block, LANE_COPY_OCTETS, at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            rc = got < 0 ? err_sys(e, "cannot read back a large message")
                         : err_set(e, ERR_TEMP, "the file of a large message is short");
        else
            rc = fs_write_all(to, sl_n(block, (size_t)got), e);
        at += got;
    }
    free(block);
    return rc;
}

static int
open_tmp(struct deliver_job *j, struct buf *path, struct err *e)
{
    int flags = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW;

    job_path(j, "tmp", path);
    j->fd = open(path->p, flags, 0600);
    if (j->fd < 0 && errno == ENOENT) {
        if (maildir_make(j->dir, j->is_subfolder, e))
            return -1;
        j->fd = open(path->p, flags, 0600);
    }
    return j->fd < 0 ? err_sys(e, "cannot create %s", path->p) : 0;
}

/* 0: written, 1: found as delivered before, -1: failed. */
static int
job_write(struct lane *l, struct deliver_job *j)
{
    const struct deliver_msg *m = j->m;
    struct buf path = { 0 };
    int rc;

    if (j->may_be_repeat && j->ident[0] != '\0') {
        rc = maildir_find_ident(j->dir, j->ident, &j->found, &j->err);
        if (rc > 0) { /* it may never have been synced */
            j->fd = open(j->found, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
            if (j->fd >= 0)
                j->device = device_of(l, j);
            else if (errno !=
                     ENOENT) /* gone: moved or deleted by its owner, so it had been delivered */
                rc = err_sys(&j->err, "cannot open %s", j->found);
        }
        if (rc != 0)
            return rc;
    }
    maildir_base(j->base, j->ident, j->prepend.n + m->lf_octets, j->prepend_crlf + m->crlf_octets);
    rc = open_tmp(j, &path, &j->err);
    if (rc == 0) {
        j->device = device_of(l, j);
        if (m->fd < 0)
            rc = write_both(j->fd, buf_slice(&j->prepend), buf_slice(&m->mem), &j->err);
        else if ((rc = fs_write_all(j->fd, buf_slice(&j->prepend), &j->err)) == 0)
            rc = copy_file(j->fd, m->fd, m->lf_octets, &j->err);
        if (rc)
            unlink(path.p);
    }
    if (rc)
        err_prefix(&j->err, "delivering to %s", j->dir);
    buf_free(&path);
    return rc;
}

/* ---- rename ---- */

static int
job_rename(struct deliver_job *j)
{
    struct buf from = { 0 }, to = { 0 };
    int rc = 0;

    if (j->found != NULL)
        return 0;
    job_path(j, "tmp", &from);
    job_path(j, "new", &to);
    rc = rename(from.p, to.p);
    if (rc && errno == ENOENT && maildir_make(j->dir, j->is_subfolder, NULL) == 0)
        rc = rename(from.p, to.p); /* there was no new/ */
    if (rc) {
        rc = err_sys(&j->err, "cannot rename to %s", to.p);
        unlink(from.p);
    }
    buf_free(&from);
    buf_free(&to);
    return rc;
}

/* A name that was not answered for must not be found later as if it had been. */
static void
job_undo(struct deliver_job *j, const char *part)
{
    struct buf path = { 0 };

    if (j->found == NULL) {
        job_path(j, part, &path);
        unlink(path.p);
    }
    buf_free(&path);
}

/* ---- sync ---- */

struct fd_set_of_round {
    int v[4 * DELIVER_ROUND_MAX + 4];
    size_t n, n_borrowed; /* the first are the jobs' own */
};

static int
add_dir(struct fd_set_of_round *set, const struct deliver_job *j, const char *part, struct err *e)
{
    struct buf path = { 0 };
    int fd, rc = 0;

    buf_addf(&path, "%s/%s", j->dir, part);
    fd = open(buf_z(&path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        set->v[set->n++] = fd;
    else if (errno != ENOENT || strcmp(part, "cur") != 0) /* cur/ may never have been made */
        rc = err_sys(e, "cannot open folder %s", buf_z(&path));
    buf_free(&path);
    return rc;
}

/* Was this job's folder taken in already? */
static bool
dir_is_known(struct list *jobs, const struct deliver_job *j)
{
    LIST_EACH(at, nxt, jobs)
    {
        if (job_of(at) == j)
            return false;
        if (job_of(at)->found == NULL && strcmp(job_of(at)->dir, j->dir) == 0)
            return true;
    }
    return false;
}

static int
sync_each(struct lane *l, struct list *written, struct list *renamed, bool only_without_device,
          struct err *e)
{
    struct fd_set_of_round set = { .n = 0 };
    int rc = 0;

    LIST_EACH(at, nxt, written)
    {
        if (!only_without_device || job_of(at)->device < 0)
            set.v[set.n++] = job_of(at)->fd;
    }
    LIST_EACH(at2, nxt2, renamed)
    {
        if (job_of(at2)->found != NULL && job_of(at2)->fd >= 0 &&
            (!only_without_device || job_of(at2)->device < 0))
            set.v[set.n++] = job_of(at2)->fd;
    }
    set.n_borrowed = set.n;
    LIST_EACH(at3, nxt3, renamed)
    {
        struct deliver_job *j = job_of(at3);

        if (rc != 0 || (only_without_device && j->device >= 0))
            continue;
        if (j->found != NULL)
            rc = add_dir(&set, j, "new", e) || add_dir(&set, j, "cur", e) ? -1 : 0;
        else if (!dir_is_known(renamed, j))
            rc = add_dir(&set, j, "new", e);
    }
    if (rc == 0)
        rc = syncer_run(l->syncer, set.v, set.n, e);
    for (size_t i = set.n_borrowed; i < set.n; i++)
        close(set.v[i]);
    return rc;
}

static int
sync_round(struct lane *l, enum sync_how how, struct list *written, struct list *renamed,
           struct err *e)
{
    bool used[DELIVER_DEVICES_MAX] = { false };
    struct list *both[2] = { written, renamed };

    if (how == SYNC_EACH)
        return sync_each(l, written, renamed, false, e);
    for (int i = 0; i < 2; i++)
        LIST_EACH(at, nxt, both[i])
        {
            if (job_of(at)->device >= 0)
                used[job_of(at)->device] = true;
        }
    for (unsigned i = 0; i < l->n_devices; i++)
        if (used[i] && syncfs(l->devices[i].fd))
            return err_sys(e, "cannot sync the mail file system");
    return sync_each(l, written, renamed, true, e);
}

/* ---- a round ---- */

static void
job_close(struct deliver_job *j)
{
    if (j->fd >= 0)
        close(j->fd);
    j->fd = -1;
}

static void
job_finish(struct lane *l, struct deliver_job *j, struct list *done)
{
    if (j->rc != 0 && err_is_full(&j->err))
        reserve_release(l->d->reserve);
    job_close(j);
    list_remove(&j->link);
    list_push_back(done, &j->link);
}

static void
fail_all(struct lane *l, struct list *jobs, const char *part, const struct err *e,
         struct list *done)
{
    while (!list_is_empty(jobs)) {
        struct deliver_job *j = job_of(jobs->next);

        job_undo(j, part);
        j->rc = -1;
        j->err = *e;
        job_finish(l, j, done);
    }
}

static double
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

static size_t
count(const struct list *jobs)
{
    size_t n = 0;

    for (const struct list *at = jobs->next; at != jobs; at = at->next)
        n++;
    return n;
}

/* Write `now`, rename `prev`, sync both. Afterwards prev is in done and now has become prev. */
static void
lane_round(struct lane *l, struct list *now, struct list *prev, struct list *done)
{
    size_t n = count(now) + count(prev);
    struct pace *p = &l->pace[n < 4 ? 0 : n < 12 ? 1 : 2];
    enum sync_how how = l->is_large ? SYNC_EACH : pace_choose(p, clock_mono_ms());
    double start_us = now_us();
    struct err e = { 0 };

    LIST_EACH(at, nxt, prev)
    {
        struct deliver_job *j = job_of(at);

        j->rc = job_rename(j);
        if (j->rc)
            job_finish(l, j, done);
    }
    LIST_EACH(at2, nxt2, now)
    {
        struct deliver_job *j = job_of(at2);

        j->rc = reserve_check(l->d->reserve, &j->err) ? -1 : job_write(l, j);
        if (j->rc < 0) {
            job_finish(l, j, done);
        } else if (j->rc > 0) {
            j->rc = 0;
            list_remove(&j->link);
            list_push_back(prev, &j->link);
        }
    }
    if (sync_round(l, how, now, prev, &e)) {
        log_error("store.sync", LOG_NONE, "delivery: %s; %zu messages are deferred", e.msg, n);
        fail_all(l, now, "tmp", &e, done);
        fail_all(l, prev, "new", &e, done);
        return;
    }
    pace_note(p, how, (now_us() - start_us) * 2 / (double)n);
    while (!list_is_empty(prev))
        job_finish(l, job_of(prev->next), done);
    while (!list_is_empty(now)) {
        struct list *at3 = list_pop_front(now);

        job_close(job_of(at3));
        list_push_back(prev, at3);
    }
}

static void
tell_imapd(struct lane *l, const struct list *done)
{
    struct buf datagram = { 0 };

    for (const struct list *at = done->next; at != done; at = at->next) {
        const struct deliver_job *j = CONTAINER_OF(at, const struct deliver_job, link);

        if (j->rc == 0)
            notifier_add(l->d->notifier, &datagram, sl_z(j->user), sl_z(j->mailbox));
    }
    notifier_send(l->d->notifier, &datagram);
    buf_free(&datagram);
}

/* Up to round_max jobs; waits for some when there is nothing to finish either. False: the end. */
static bool
lane_take(struct lane *l, struct list *now, bool has_prev)
{
    pthread_mutex_lock(&l->lock);
    while (list_is_empty(&l->queue) && !has_prev && !l->must_stop)
        pthread_cond_wait(&l->cond, &l->lock);
    for (unsigned i = 0; i < l->round_max && !list_is_empty(&l->queue); i++)
        list_push_back(now, list_pop_front(&l->queue));
    pthread_mutex_unlock(&l->lock);
    return has_prev || !list_is_empty(now);
}

static void *
lane_thread(void *arg)
{
    struct lane *l = arg;
    struct list now, prev, done;

    list_init(&now);
    list_init(&prev);
    list_init(&done);
    while (lane_take(l, &now, !list_is_empty(&prev))) {
        reserve_keep(l->d->reserve);
        lane_round(l, &now, &prev, &done);
        tell_imapd(l, &done);
        deliver_answer_from_thread(&done);
    }
    return NULL;
}

void
lane_init(struct lane *l, struct deliverer *d, bool is_large)
{
    l->d = d;
    l->is_large = is_large;
    l->round_max = is_large ? DELIVER_ROUND_MAX_LARGE : DELIVER_ROUND_MAX;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->cond, NULL);
    list_init(&l->queue);
    pace_init(&l->pace[0], SYNC_EACH);
    pace_init(&l->pace[1], SYNC_EACH);
    pace_init(&l->pace[2], SYNC_FS);
    l->syncer = syncer_new();
}

static void
lane_start(struct lane *l)
{
    pthread_attr_t attr;
    sigset_t all, was;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all,
                    &was); /* signals are the loop's; also in the threads this one starts */
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, LANE_STACK_OCTETS);
    rc = pthread_create(&l->thread, &attr, lane_thread, l);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    BUG_ON(rc != 0); /* as out of memory: the supervisor restarts us, nothing was answered */
    l->is_started = true;
}

void
lane_add(struct lane *l, struct list *jobs)
{
    struct list *at;

    if (list_is_empty(jobs))
        return;
    if (!l->is_started)
        lane_start(l);
    pthread_mutex_lock(&l->lock);
    while ((at = list_pop_front(jobs)) != NULL)
        list_push_back(&l->queue, at);
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->lock);
}

void
lane_stop(struct lane *l)
{
    pthread_mutex_lock(&l->lock);
    l->must_stop = true;
    pthread_cond_signal(&l->cond);
    pthread_mutex_unlock(&l->lock);
    if (l->is_started)
        pthread_join(l->thread, NULL);
    for (unsigned i = 0; i < l->n_devices; i++)
        close(l->devices[i].fd);
    syncer_free(&l->syncer);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->cond);
}
