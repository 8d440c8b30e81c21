/* store/reserve.c - see reserve.h. */
#include "store/reserve.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/names.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    RESERVE_MARGIN_OCTETS = 1024 * 1024,
    RESERVE_AGAIN_MS = 60 * 1000,
    RESERVE_ROOM_FACTOR = 16
};

struct reserve {
    pthread_mutex_t lock;
    char *dir, *path; /* NULL: mail_location has no common part */
    uint64_t next_ms;
};

struct reserve *
reserve_new(const struct conf *c)
{
    struct reserve *r = MEM_NEW(struct reserve);

    pthread_mutex_init(&r->lock, NULL);
    r->dir = location_common(c);
    if (r->dir != NULL) {
        size_t n = strlen(r->dir) + sizeof("/.postern-reserve");

        r->path = mem_alloc(n);
        snprintf(r->path, n, "%s/.postern-reserve", r->dir);
    }
    return r;
}

void
reserve_free(struct reserve **r)
{
    if (*r == NULL)
        return;
    pthread_mutex_destroy(&(*r)->lock);
    free((*r)->dir);
    free((*r)->path);
    free(*r);
    *r = NULL;
}

void
reserve_keep(struct reserve *r)
{
    uint64_t now_ms = clock_mono_ms();
    struct statvfs vfs;
    struct stat st;
    int fd;

    if (r->path == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    if (now_ms < r->next_ms)
        goto out;
    r->next_ms = now_ms + RESERVE_AGAIN_MS;
    if (stat(r->path, &st) == 0 && st.st_size >= RESERVE_OCTETS)
        goto out;
    if (fs_mkdirs(r->dir, 0700, NULL) || statvfs(r->dir, &vfs) ||
        (uint64_t)vfs.f_bavail * vfs.f_frsize < (uint64_t)RESERVE_OCTETS * RESERVE_ROOM_FACTOR)
        goto out;
    fd = open(r->path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        goto out; /* a root folder that is not ours: nothing to hold in reserve there */
    if (posix_fallocate(fd, 0, RESERVE_OCTETS))
        unlink(r->path);
    close(fd);
out:
    pthread_mutex_unlock(&r->lock);
}

int
reserve_check(struct reserve *r, struct err *e)
{
    struct statvfs vfs;

    if (r->path == NULL || access(r->path, F_OK) == 0 || statvfs(r->dir, &vfs) ||
        (uint64_t)vfs.f_bavail * vfs.f_frsize >= RESERVE_OCTETS + RESERVE_MARGIN_OCTETS)
        return 0;
    errno = ENOSPC;
    return err_sys(e, "no room for new mail in %s", r->dir);
}

bool
reserve_release(struct reserve *r)
{
    bool gave = false;

    if (r->path == NULL)
        return false;
    pthread_mutex_lock(&r->lock);
    if (unlink(r->path) == 0) {
        gave = true;
        r->next_ms = clock_mono_ms() + RESERVE_AGAIN_MS;
        log_error(
            "store.full", LOG_F(LF_Z("dir", r->dir)),
            "no space left in %s: the reserve of %d MiB is released so that mail can be deleted",
            r->dir, RESERVE_OCTETS / 1024 / 1024);
    }
    pthread_mutex_unlock(&r->lock);
    return gave;
}
