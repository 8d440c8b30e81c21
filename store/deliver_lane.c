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

enum { LANE_COPY_OCTETS = 256 * 1024, LANE_STACK_OCTETS = 256 * 1024, DELIVER_FIND_TRIES = 10 };

static struct deliver_job *
job_of(struct list *l)
{
    return deliver_job_of(l);
}

static void
job_path(const struct deliver_job *j, const char *part, struct buf *out)
{
    buf_reset(out);
    buf_addf(out, "%s/%s/%s", j->dir, part, strcmp(part, "tmp") == 0 ? j->base : j->file);
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

/* 1: found as delivered before, 0: not, -1: failed. A folder that is not to be made may have had its mail go to INBOX. */
static int
job_find(struct lane *l, struct deliver_job *j)
{
    int rc = 0;

    if (!j->may_be_repeat || j->ident[0] == '\0')
        return 0;
    /* What is found may not have been synced, and must be. It may get another name meanwhile, by a scan or a client: then
     * it is looked for again. */
    for (int tries = 0; j->fd < 0 && tries < DELIVER_FIND_TRIES; tries++) {
        char *was = j->found;

        rc = maildir_find_ident(j->dir, j->ident, &j->found, &j->err);
        if (rc == 0 && strcmp(j->dir, j->root) != 0)
            rc = maildir_find_ident(j->root, j->ident, &j->found, &j->err);
        if (rc == 0 &&
            was != NULL) { /* gone: moved or deleted by its owner, so it had been delivered */
            j->found = was;
            return 1;
        }
        free(was);
        if (rc < 1)
            return rc;
        j->fd = open(j->found, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (j->fd < 0 && errno != ENOENT)
            return err_sys(&j->err, "cannot open %s", j->found);
    }
    if (j->fd >= 0)
        j->device = device_of(l, j);
    return rc;
}

/* Names of the copy. 1: found as delivered before, 0: to be written, -1: failed. */
static int
job_name(struct lane *l, struct deliver_job *j)
{
    const struct deliver_msg *m = j->m;
    int rc = job_find(l, j);

    if (rc != 0)
        return rc;
    maildir_base(j->base, j->ident, j->prepend.n + m->lf_octets, j->prepend_crlf + m->crlf_octets);
    if (j->flags == 0 && j->letters == 0)
        memcpy(j->file, j->base, sizeof(j->base));
    else
        BUG_ON(!maildir_compose(j->file, sl_z(j->base), j->flags, j->letters, sl_n(NULL, 0)));
    return 0;
}

/* Another copy with the same octets, of this round or, renamed already, of the last: one file for both. */
static bool
job_link(struct deliver_job *j, struct list *others, bool are_renamed, const char *to)
{
    LIST_EACH(at, nxt, others)
    {
        struct deliver_job *other = job_of(at);
        struct buf from = { 0 };
        int rc;

        if (other == j)
            return false;
        if (other->m != j->m || other->found != NULL ||
            !sl_eq(buf_slice(&other->prepend), buf_slice(&j->prepend)))
            continue;
        job_path(other, are_renamed ? deliver_part(other) : "tmp", &from);
        rc = link(from.p, to);
        if (rc && errno == ENOENT && maildir_make(j->dir, j->is_subfolder, NULL) == 0)
            rc = link(from.p, to);
        buf_free(&from);
        if (rc == 0)
            j->device = other->device;
        return rc == 0; /* else it is written */
    }
    return false;
}

static int
job_write(struct lane *l, struct deliver_job *j, struct list *now, struct list *prev)
{
    const struct deliver_msg *m = j->m;
    struct buf path = { 0 };
    int rc = 0;

    job_path(j, "tmp", &path);
    if (job_link(j, prev, true, path.p) || job_link(j, now, false, path.p))
        goto out;
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
out:
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
    job_path(j, deliver_part(j), &to);
    rc = rename(from.p, to.p);
    if (rc && errno == ENOENT && maildir_make(j->dir, j->is_subfolder, NULL) == 0)
        rc = rename(from.p, to.p); /* there was no such folder */
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
job_undo(struct deliver_job *j, bool is_renamed)
{
    struct buf path = { 0 };

    if (j->found == NULL) {
        job_path(j, is_renamed ? deliver_part(j) : "tmp", &path);
        unlink(path.p);
    }
    buf_free(&path);
}

/* ---- sync ---- */

struct fd_set_of_round {
    int v[4 * DELIVER_ROUND_MAX + 4]; /* files and folders of two rounds, and a log */
    size_t n, n_borrowed;             /* the first are the jobs' own */
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
        if (job_of(at)->found == NULL && strcmp(job_of(at)->dir, j->dir) == 0 &&
            deliver_part(job_of(at)) == deliver_part(j))
            return true;
    }
    return false;
}

static int
sync_each(struct lane *l, struct list *written, struct list *renamed, bool only_without_device,
          bool with_log, struct err *e)
{
    struct fd_set_of_round set = { .n = 0 };
    int rc = 0;

    if (with_log)
        set.v[set.n++] = l->log_fd;
    LIST_EACH(at, nxt, written)
    {
        if (job_of(at)->fd >= 0 && (!only_without_device || job_of(at)->device < 0))
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
            rc = add_dir(&set, j, deliver_part(j), e);
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

    bool with_log = l->log_fd >= 0;

    if (how == SYNC_EACH)
        return sync_each(l, written, renamed, false, with_log, e);
    for (int i = 0; i < 2; i++)
        LIST_EACH(at, nxt, both[i])
        {
            if (job_of(at)->device >= 0)
                used[job_of(at)->device] = true;
        }
    for (unsigned i = 0; i < l->n_devices; i++) {
        if (used[i] && syncfs(l->devices[i].fd))
            return err_sys(e, "cannot sync the mail file system");
        if (used[i] && l->devices[i].dev == l->log_dev)
            with_log = false;
    }
    return sync_each(l, written, renamed, true, with_log, e);
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
    deliver_quota_settle(l, j);
    job_close(j);
    list_remove(&j->link);
    list_push_back(done, &j->link);
}

static void
fail_all(struct lane *l, struct list *jobs, bool is_renamed, const struct err *e, struct list *done)
{
    while (!list_is_empty(jobs)) {
        struct deliver_job *j = job_of(jobs->next);

        job_undo(j, is_renamed);
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

/* Name and write `now`; what was found goes to prev, to be synced and answered with it. */
static void
write_all(struct lane *l, struct list *now, struct list *prev, struct list *done,
          struct list *uncounted)
{
    struct list failed;

    LIST_EACH(at, nxt, now)
    {
        struct deliver_job *j = job_of(at);

        j->rc = reserve_check(l->d->reserve, &j->err) ? -1 : job_name(l, j);
        if (j->rc < 0) {
            job_finish(l, j, done);
        } else if (j->rc > 0) {
            j->rc = 0;
            list_remove(&j->link);
            list_push_back(prev, &j->link);
        }
    }
    list_init(&failed);
    deliver_quota_admit(l, now, &failed, uncounted);
    while (!list_is_empty(&failed))
        job_finish(l, job_of(failed.next), done);
    LIST_EACH(at2, nxt2, now)
    {
        struct deliver_job *j = job_of(at2);

        j->rc = job_write(l, j, now, prev);
        if (j->rc < 0)
            job_finish(l, j, done);
    }
}

/* Write `now`, rename `prev`, sync both. Afterwards prev is in done and now has become prev. */
static void
lane_round(struct lane *l, struct list *now, struct list *prev, struct list *done,
           struct list *uncounted)
{
    size_t n = count(now) + count(prev);
    struct pace *p = &l->pace[n < 4 ? 0 : n < 12 ? 1 : 2];
    enum sync_how how = l->is_large ? SYNC_EACH : pace_choose(p, clock_mono_ms());
    double start_us = now_us();
    struct err e = { 0 };
    int rc;

    LIST_EACH(at, nxt, prev)
    {
        struct deliver_job *j = job_of(at);

        j->rc = job_rename(j);
        if (j->rc)
            job_finish(l, j, done);
    }
    write_all(l, now, prev, done, uncounted);
    rc = sync_round(l, how, now, prev, &e);
    if (l->log_fd >= 0)
        close(l->log_fd);
    l->log_fd = -1;
    if (rc) {
        log_error("store.sync", LOG_NONE, "delivery: %s; %zu messages are deferred", e.msg, n);
        fail_all(l, now, false, &e, done);
        fail_all(l, prev, true, &e, done);
        return;
    }
    if (!list_is_empty(now) || !list_is_empty(prev))
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
    struct list now, prev, done, uncounted;

    list_init(&now);
    list_init(&prev);
    list_init(&done);
    list_init(&uncounted);
    while (lane_take(l, &now, !list_is_empty(&prev))) {
        reserve_keep(l->d->reserve);
        lane_round(l, &now, &prev, &done, &uncounted);
        tell_imapd(l, &done);
        deliver_answer_from_thread(&done);
        deliver_count_from_thread(&uncounted);
        if (list_is_empty(&prev))
            deliver_quota_idle(l);
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
    l->log_fd = -1;
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
    free(l->settled);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->cond);
}
