/* base/fs.c - see fs.h. */
#include "base/fs.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FS_READ_OCTETS = 64 * 1024 };

/* errno as an err: "VERB PATH: strerror". Returns -1. */
static int
fs_err(struct err *e, const char *verb, const char *path)
{
    int sys = errno;

    err_sys(e, "%s %s", verb, path);
    if (e != NULL && sys == ENOENT)
        e->kind = ERR_NOTFOUND;
    return -1;
}

/* Close on a path that failed already: errno and e stay. */
static int
fs_close_failed(int fd)
{
    int sys = errno;

    close(fd);
    errno = sys;
    return -1;
}

static ssize_t
read_retry(int fd, void *p, size_t n)
{
    ssize_t got;

    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got;
}

int
fs_read_fd(int fd, struct buf *out, struct err *e)
{
    size_t was = out->n;

    for (;;) {
        size_t room =
            out->max == 0 ? FS_READ_OCTETS : out->max - (out->n < out->max ? out->n : out->max);
        char beyond, *at = &beyond;
        ssize_t got;

        if (room > FS_READ_OCTETS)
            room = FS_READ_OCTETS;
        if (room > 0)
            at = buf_reserve(out, room);
        got = read_retry(fd, at, room > 0 ? room : sizeof(beyond));
        if (got == 0)
            return 0;
        if (got < 0)
            err_sys(e, "cannot read");
        else if (room == 0)
            err_set(e, ERR_LIMIT, "longer than %zu octets", out->max);
        else
            buf_commit(out, (size_t)got);
        if (got < 0 || room == 0) {
            buf_truncate(out, was);
            return -1;
        }
    }
}

int
fs_read_file(const char *path, struct buf *out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return fs_err(e, "cannot open", path);
    if (fs_read_fd(fd, out, e)) {
        err_prefix(e, "%s", path);
        return fs_close_failed(fd);
    }
    close(fd);
    return 0;
}

int
fs_write_all(int fd, struct slice s, struct err *e)
{
    while (s.n > 0) {
        ssize_t put = write(fd, s.p, s.n);

        if (put < 0 && errno != EINTR)
            return err_sys(e, "cannot write");
        if (put > 0)
            s = sl_from(s, (size_t)put);
    }
    return 0;
}

/* The folder that holds path, malloc'ed. */
static char *
dir_of(const char *path)
{
    struct slice s = sl_z(path);
    size_t slash;

    while (s.n > 1 && sl_ends(s, '/'))
        s.n--;
    slash = sl_rfind_char(s, '/');
    if (slash == SL_NPOS)
        return mem_dupz(".");
    return sl_dupz(sl_head(s, slash == 0 ? 1 : slash));
}

static int
fill_and_sync(int fd, struct slice content, mode_t mode, struct err *e)
{
    if (fchmod(fd, mode))
        return err_sys(e, "cannot set mode");
    if (fs_write_all(fd, content, e))
        return -1;
    return fs_sync_fd(fd, e);
}

int
fs_replace_file(const char *path, struct slice content, mode_t mode, struct err *e)
{
    struct buf tmp = { 0 };
    char *dir = dir_of(path);
    int fd, sys, rc = -1;
    char *name;

    buf_addf(&tmp, "%s.tmp.XXXXXX", path);
    buf_addc(&tmp, '\0');
    name = tmp.p;
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        fs_err(e, "cannot create", name);
        goto out;
    }
    if (fill_and_sync(fd, content, mode, e)) {
        err_prefix(e, "%s", name);
        fs_close_failed(fd);
        goto gone;
    }
    if (close(fd) && errno != EINTR) {
        fs_err(e, "cannot close", name);
        goto gone;
    }
    if (rename(name, path)) {
        fs_err(e, "cannot rename to", path);
        goto gone;
    }
    rc = fs_sync_dir(dir, e);
    goto out;
gone:
    sys = errno;
    unlink(name);
    errno = sys;
out:
    sys = errno;
    buf_free(&tmp);
    free(dir);
    errno = sys;
    return rc;
}

/* The name of a new folder is on disk when the one that holds it was synced. Who may make names there but not read them
 * cannot do that; the names are as safe as any other change. */
static int
sync_holder(const char *path, struct err *e)
{
    char *dir = dir_of(path);
    struct err why = { 0 };
    int rc = fs_sync_dir(dir, &why);

    free(dir);
    if (rc == 0 || why.sys == EACCES)
        return 0;
    if (e != NULL)
        *e = why;
    return -1;
}

/* One folder; there already is success, and a link to a folder is one. */
static int
make_dir(const char *path, mode_t mode, struct err *e)
{
    struct stat st;

    if (mkdir(path, mode) == 0) {
        if (chmod(path, mode)) /* whatever the umask */
            return fs_err(e, "cannot set mode of", path);
        return sync_holder(path, e);
    }
    if (errno != EEXIST)
        return fs_err(e, "cannot make folder", path);
    if (stat(path, &st))
        return fs_err(e, "cannot stat", path);
    if (S_ISDIR(st.st_mode))
        return 0;
    errno = ENOTDIR;
    return fs_err(e, "cannot make folder", path);
}

int
fs_mkdirs(const char *path, mode_t mode, struct err *e)
{
    char *at = mem_dupz(path);
    int rc = 0;

    for (size_t i = 1; rc == 0 && at[0] != '\0' && at[i] != '\0'; i++) {
        if (at[i] != '/' || at[i - 1] == '/')
            continue;
        at[i] = '\0';
        rc = make_dir(at, mode, e);
        at[i] = '/';
    }
    if (rc == 0)
        rc = make_dir(at, mode, e);
    free(at);
    return rc;
}

int
fs_sync_dir(const char *path, struct err *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return fs_err(e, "cannot open folder", path);
    if (fs_sync_fd(fd, e)) {
        err_prefix(e, "%s", path);
        return fs_close_failed(fd);
    }
    close(fd);
    return 0;
}

int
fs_sync_fd(int fd, struct err *e)
{
    int rc;

    do
        rc = fsync(fd);
    while (rc && errno == EINTR);
    return rc ? err_sys(e, "cannot sync") : 0;
}

static int remove_at(int dir_fd, const char *name, struct err *e);

/* Everything in the folder d, until a pass finds nothing: names may be skipped while others go. */
static int
remove_entries(DIR *d, struct err *e)
{
    size_t n_removed;

    do {
        struct dirent *ent;

        n_removed = 0;
        rewinddir(d);
        while ((errno = 0, ent = readdir(d)) != NULL) {
            if (sl_eqz(sl_z(ent->d_name), ".") || sl_eqz(sl_z(ent->d_name), ".."))
                continue;
            if (remove_at(dirfd(d), ent->d_name, e))
                return -1;
            n_removed++;
        }
        if (errno != 0)
            return err_sys(e, "cannot read folder");
    } while (n_removed > 0);
    return 0;
}

/* BUGS: holds a descriptor for each level of the tree. */
static int
remove_at(int dir_fd, const char *name, struct err *e)
{
    int fd, rc;
    DIR *d;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM) /* POSIX says EPERM for a folder, Linux EISDIR */
        return fs_err(e, "cannot remove", name);
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fs_err(e, "cannot open folder", name);
    d = fdopendir(fd);
    if (d == NULL) {
        fs_err(e, "cannot open folder", name);
        return fs_close_failed(fd);
    }
    rc = remove_entries(d, e);
    closedir(d);
    if (rc)
        return -1;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) && errno != ENOENT)
        return fs_err(e, "cannot remove folder", name);
    return 0;
}

int
fs_remove_tree(const char *path, struct err *e)
{
    return remove_at(AT_FDCWD, path, e);
}
