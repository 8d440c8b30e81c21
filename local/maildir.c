/* local/maildir.c - "/path/" in aliases(5): a message as a file of its own in a Maildir, which is made where it is missing.
 * Data first, then its name, then the answer. On a pool's thread. */
#include "local/locald.h"

#include "base/fs.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const parts[] = { "", "tmp", "new", "cur" };

/* As Postfix: the Maildir itself, not what it lies in. *is_new: it has got a name, too. */
static int
make_folders(const char *path, bool *is_new, struct err *e)
{
    struct buf b = { 0 };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof parts / sizeof *parts; i++) {
        buf_reset(&b);
        buf_addf(&b, "%s%s", path, parts[i]);
        if (mkdir(buf_z(&b), 0700) == 0)
            *is_new |= i == 0;
        else if (errno != EEXIST)
            rc = err_sys(e, "create maildir file %s", buf_z(&b));
    }
    if (rc == 0)
        rc = fs_sync_dir(path, e);
    buf_free(&b);
    return rc;
}

/* The names of the file and, where it was made for this one, of the Maildir. */
static int
sync_names(const char *path, bool is_new, int fd, struct err *e)
{
    struct buf b = { 0 };
    int rc;

    buf_addf(&b, "%snew", path);
    rc = file_sync_names(buf_z(&b), fd, e);
    buf_reset(&b);
    buf_addf(&b, "%s..", path);
    if (rc == 0 && is_new)
        rc = file_sync_names(buf_z(&b), fd, e);
    buf_free(&b);
    return rc;
}

/* tmp/, synced, then new/. */
static int
write_file(const struct delivery *d, const char *path, const char *name, struct err *e)
{
    struct buf tmp = { 0 }, new = { 0 };
    bool is_new = false;
    int fd, rc;

    buf_addf(&tmp, "%stmp/%s", path, name);
    buf_addf(&new, "%snew/%s", path, name);
    fd = open(buf_z(&tmp), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == ENOENT && make_folders(path, &is_new, e) == 0)
        fd = open(buf_z(&tmp), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    rc = fd < 0 ? (e->sys ? -1 : err_sys(e, "create maildir file %s", buf_z(&tmp)))
                : file_copy(d, fd, e);
    if (rc == 0)
        rc = fs_sync_fd(fd, e);
    if (rc == 0 && rename(buf_z(&tmp), buf_z(&new)) != 0)
        rc = err_sys(e, "create maildir file %s", buf_z(&new));
    if (rc != 0 && fd >= 0)
        unlink(buf_z(&tmp));
    if (rc == 0)
        rc = sync_names(path, is_new, fd, e);
    if (fd >= 0)
        close(fd);
    buf_free(&tmp);
    buf_free(&new);
    return rc;
}

void
maildir_deliver(struct delivery *d)
{
    uint64_t limit = (uint64_t)d->conf->mailbox_size_limit;
    char *path = sl_dupz(d->target), host[256] = "localhost", name[400], random[13];
    struct timespec now;
    struct err e = { 0 };
    int rc;

    clock_gettime(CLOCK_REALTIME, &now);
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "localhost");
    for (char *p = host; *p; p++)
        if (*p == '/' || *p == ':')
            *p = '_';
    rand_hex(random, 12);
    snprintf(name, sizeof name, "%lld.M%06ldR%s.%s", (long long)now.tv_sec, now.tv_nsec / 1000,
             random, host);
    if (limit > 0 && d->size > limit) {
        rc = err_set(&e, ERR_LIMIT, "error writing message: %s", strerror(EFBIG));
        e.sys = EFBIG;
    } else {
        rc = write_file(d, path, name, &e);
    }
    if (rc == 0)
        outcome_set(&d->out, 250, "2.0.0", "delivered to maildir");
    else
        file_failed(d, "maildir delivery failed:", &e);
    free(path);
}
