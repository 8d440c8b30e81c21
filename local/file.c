/* local/file.c - a message at the end of a file, in the format of mailboxes (mboxo). On a pool's thread, which may wait for
 * a lock. What was begun is taken back when it cannot be finished. */
#include "local/locald.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { COPY_OCTETS = 64 * 1024 };

/* ---- shared with maildir.c ---- */

/* What goes away by itself, or is for the operator to mend while mail waits: a full disk above all. */
static bool
is_passing(int sys)
{
    static const int passing[] = { EAGAIN, EINTR, EIO,    ENFILE,  EMFILE,  ENOMEM, ENOSPC,
                                   EDQUOT, EROFS, ESTALE, ETXTBSY, ENOLINK, ENOLCK, EDEADLK };

    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (passing[i] == sys)
            return true;
    return sys == 0;
}

void
file_failed(struct delivery *d, const char *doing, const struct err *e)
{
    bool is_mailbox = d->kind == LOCAL_MBOX;

    if (err_is_full(e))
        outcome_set(&d->out, 450, "4.3.1", "%s %.*s: %s", doing, SL_ARG(d->target), e->msg);
    else if (e->sys == EFBIG)
        outcome_set(&d->out, 550, "5.2.2", "%s %.*s: %s", doing, SL_ARG(d->target), e->msg);
    else if (e->sys == ENOEXEC)
        outcome_set(&d->out, 550, "5.7.1", "%s %.*s: %s", doing, SL_ARG(d->target), e->msg);
    else
        outcome_set(&d->out, is_passing(e->sys) ? 450 : 550, is_passing(e->sys) ? "4.2.0" : "5.2.0",
                    "%s %.*s: %s", doing, SL_ARG(d->target), e->msg);
    log_warn("local.failed", LOG_F(LF_S("target", d->target), LF_Z("why", e->msg)), "%s %.*s: %s",
             is_mailbox ? "cannot append message to file" : "cannot deliver to maildir",
             SL_ARG(d->target), e->msg);
}

int
file_copy(const struct delivery *d, int fd, struct err *e)
{
    char *octets = malloc(COPY_OCTETS);
    uint64_t at = 0;
    int rc = octets ? 0 : err_set(e, ERR_TEMP, "no memory");

    while (rc == 0 && at < d->size) {
        ssize_t n = pread(d->content, octets, COPY_OCTETS, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            rc = err_sys(e, "error reading message");
        } else {
            at += (uint64_t)n;
            rc = fs_write_all(fd, sl_n(octets, (size_t)n), e);
        }
    }
    free(octets);
    return rc;
}

/* ---- opening ---- */

/* A symbolic link is followed only when it is root's, and not a second name of one that root has made for something else:
 * others' may lead where only we can write. */
static int
open_target(const char *path, bool *is_new, struct err *e)
{
    const int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat st;
    int fd = open(path, flags | O_NOFOLLOW);

    *is_new = false;
    if (fd < 0 && errno == ELOOP && lstat(path, &st) == 0 && S_ISLNK(st.st_mode)) {
        if (st.st_uid != 0 || st.st_nlink > 1) {
            err_set(e, ERR_PERM, "cannot open file: file is a symbolic link");
            e->sys = ELOOP;
            return -1;
        }
        fd = open(path, flags);
    }
    if (fd < 0 && errno == ENOENT) {
        fd = open(path, flags | O_CREAT | O_EXCL, 0600);
        *is_new = fd >= 0;
        if (fd < 0 && errno == EEXIST) /* just made by another delivery */
            fd = open(path, flags | O_NOFOLLOW);
    }
    if (fd < 0)
        err_sys(e, "cannot open file");
    return fd;
}

/* ---- locks ---- */

/* FILE.lock, made with O_EXCL. 0; 1: not to be had here, for want of rights; -1 with e: somebody has it. */
static int
dot_lock(const struct delivery *d, const char *lock, struct err *e)
{
    const struct timespec pause = { .tv_sec = d->conf->deliver_lock_delay / 1000,
                                    .tv_nsec = d->conf->deliver_lock_delay % 1000 * 1000000 };
    struct stat st;

    for (int64_t i = 0; i < d->conf->deliver_lock_attempts; i++) {
        int fd = open(lock, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd >= 0) {
            close(fd);
            return 0;
        }
        if (errno == EACCES || errno == EPERM || errno == EROFS)
            return 1;
        if (errno != EEXIST)
            return err_sys(e, "unable to create lock file %s", lock);
        if (lstat(lock, &st) == 0 &&
            clock_unix_s() - st.st_ctim.tv_sec > d->conf->stale_lock_time / 1000)
            unlink(lock); /* its maker is gone */
        else
            nanosleep(&pause, NULL);
    }
    err_set(e, ERR_TEMP, "unable to lock for exclusive access: lock file %s is there", lock);
    e->sys = EAGAIN;
    return -1;
}

static int
try_lock(int fd, bool is_fcntl)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

    /* Of the open file, not of the process: other deliveries here are kept out as well. */
    return is_fcntl ? fcntl(fd, F_OFD_SETLK, &l) : flock(fd, LOCK_EX | LOCK_NB);
}

static int
kernel_lock(const struct delivery *d, int fd, bool is_fcntl, struct err *e)
{
    const struct timespec pause = { .tv_sec = d->conf->deliver_lock_delay / 1000,
                                    .tv_nsec = d->conf->deliver_lock_delay % 1000 * 1000000 };

    for (int64_t i = 0; i < d->conf->deliver_lock_attempts; i++) {
        if (try_lock(fd, is_fcntl) == 0)
            return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EWOULDBLOCK && errno != EINTR)
            return err_sys(e, "unable to lock for exclusive access");
        nanosleep(&pause, NULL);
    }
    err_set(e, ERR_TEMP, "unable to lock for exclusive access: somebody else has it");
    e->sys = EAGAIN;
    return -1;
}

/* All that mailbox_delivery_lock asks for. *dot: the lock file was made. */
static int
lock(const struct delivery *d, int fd, const char *lock_path, bool *dot, struct err *e)
{
    struct conf_list l = d->conf->mailbox_delivery_lock;
    bool has_fcntl = conf_list_has(l, "fcntl"), has_flock = conf_list_has(l, "flock");
    int rc;

    *dot = false;
    if (conf_list_has(l, "dotlock")) {
        rc = dot_lock(d, lock_path, e);
        if (rc < 0)
            return -1;
        *dot = rc == 0;
        if (rc == 1 && !has_fcntl && !has_flock) {
            err_set(e, ERR_TEMP, "unable to create lock file %s: %s", lock_path, strerror(errno));
            e->sys = EAGAIN;
            return -1;
        }
    }
    if (has_flock && kernel_lock(d, fd, false, e) != 0)
        return -1;
    return has_fcntl ? kernel_lock(d, fd, true, e) : 0;
}

/* ---- writing ---- */

int
file_sync_names(const char *dir, int fd, struct err *e)
{
    struct err why = { 0 };

    if (fs_sync_dir(dir, &why) == 0)
        return 0;
    if (why.sys == EACCES)
        return syncfs(fd) == 0 ? 0 : err_sys(e, "cannot sync the file system of %s", dir);
    *e = why;
    return -1;
}

static int
sync_folder_of(const char *path, int fd, struct err *e)
{
    char *dir = sl_dupz(sl_head(sl_z(path), sl_rfind_char(sl_z(path), '/')));
    int rc = file_sync_names(dir[0] ? dir : "/", fd, e);

    free(dir);
    return rc;
}

static int
append(const struct delivery *d, int fd, struct err *e)
{
    uint64_t limit = (uint64_t)d->conf->mailbox_size_limit;
    struct stat st;
    int rc;

    if (fstat(fd, &st) != 0)
        return err_sys(e, "fstat");
    if (limit > 0 && (uint64_t)st.st_size + d->size > limit) {
        err_set(e, ERR_LIMIT, "error writing message: %s", strerror(EFBIG));
        e->sys = EFBIG;
        return -1;
    }
    rc = file_copy(d, fd, e);
    if (rc == 0)
        rc = fs_sync_fd(fd, e);
    if (rc != 0 && ftruncate(fd, st.st_size) != 0)
        log_error("local.truncate", LOG_F(LF_S("target", d->target)),
                  "cannot take back a part of a message at the end of %.*s: %s", SL_ARG(d->target),
                  strerror(errno));
    return rc;
}

/* 0, or -1 with e. */
static int
deliver_open(const struct delivery *d, int fd, const char *path, bool is_new, struct err *e)
{
    struct stat st;
    struct buf lock_path = { 0 };
    bool has_dot;
    int rc;

    if (fstat(fd, &st) != 0)
        return err_sys(e, "fstat");
    if (S_ISCHR(st.st_mode)) /* such as /dev/null */
        return file_copy(d, fd, e);
    if (!S_ISREG(st.st_mode) || st.st_nlink > 1) {
        if (S_ISREG(st.st_mode))
            err_set(e, ERR_PERM, "file has %lu hard links", (unsigned long)st.st_nlink);
        else
            err_set(e, ERR_PERM, "cannot open file: not a regular file");
        e->sys = EPERM;
        return -1;
    }
    if (st.st_mode & 0111) { /* somebody's program: mail is no code */
        err_set(e, ERR_PERM, "file is executable");
        e->sys = ENOEXEC;
        return -1;
    }
    buf_addf(&lock_path, "%s.lock", path);
    rc = lock(d, fd, buf_z(&lock_path), &has_dot, e);
    if (rc == 0)
        rc = append(d, fd, e);
    if (rc == 0 && is_new)
        rc = sync_folder_of(path, fd, e);
    if (has_dot)
        unlink(buf_z(&lock_path));
    buf_free(&lock_path);
    return rc;
}

void
file_deliver(struct delivery *d)
{
    char *path = sl_dupz(d->target);
    struct err e = { 0 };
    bool is_new;
    int fd = open_target(path, &is_new, &e);
    int rc = fd < 0 ? -1 : deliver_open(d, fd, path, is_new, &e);

    if (fd >= 0 && close(fd) != 0 && rc == 0)
        rc = err_sys(&e, "close");
    if (rc == 0)
        outcome_set(&d->out, 250, "2.0.0", "delivered to file: %.*s", SL_ARG(d->target));
    else
        file_failed(d, "cannot append message to file", &e);
    free(path);
}
