/* store/check_disk.c - the rows of a mailbox compared with its files. See check_box.c for when that counts. */
#include "store/check_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* RFC822.SIZE by counting; -1: it cannot be read. */
static int64_t
count_crlf(int dir_fd, const char *file, int64_t size)
{
    int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int64_t n = size;
    const char *p;

    if (fd < 0 || size == 0) {
        if (fd >= 0)
            close(fd);
        return fd < 0 ? -1 : 0;
    }
    p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (p == MAP_FAILED)
        return -1;
    for (const char *at = p, *end = p + size;
         (at = memchr(at, '\n', (size_t)(end - at))) != NULL && at < end; at++)
        n += at == p || at[-1] != '\r';
    munmap((void *)(uintptr_t)p, (size_t)size);
    return n;
}

static void
check_file(struct check_box *c, struct check_row *r, int dir_fd, const char *file)
{
    struct stat st;
    int64_t crlf;

    if (fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
        return;
    if (st.st_size != r->size) {
        r->is_size_wrong = true;
        check_found(c, FAULT_SIZE, "UID %u, %lld in the index, %lld on disk", r->uid,
                    (long long)r->size, (long long)st.st_size);
        return;
    }
    if (!c->reads_files || r->crlf < 0)
        return;
    crlf = count_crlf(dir_fd, file, st.st_size);
    if (crlf >= 0 && crlf != r->crlf && !r->is_crlf_wrong) {
        r->is_crlf_wrong = true;
        r->right_crlf = crlf;
        check_found(c, FAULT_CRLF, "UID %u, %lld in the index, %lld by counting", r->uid,
                    (long long)r->crlf, (long long)crlf);
    }
}

static void
meet(struct check_box *c, const struct check_disk *d, int dir, int dir_fd, const char *file)
{
    size_t at = (size_t)(uintptr_t)map_get(c->by_base, check_base_of(file));
    struct check_row *r = at == 0 ? NULL : &c->rows[at - 1];
    struct maildir_name name;
    struct stat st;

    if (r != NULL) {
        if (!r->is_seen && (r->dir != dir || strcmp(r->file, file) != 0)) {
            if (d->is_in_line)
                check_found(c, FAULT_OTHER_NAME, "UID %u, %s", r->uid, file);
            else
                c->pending++;
        }
        if (!r->is_seen)
            check_file(c, r, dir_fd, file);
        r->is_seen = true;
        return;
    }
    /* A wreck of a power cut, a symbolic link: no message, and none in the index either. */
    if (!maildir_parse(file, &name) || fstatat(dir_fd, file, &st, AT_SYMLINK_NOFOLLOW) ||
        !S_ISREG(st.st_mode) || (name.size != UINT64_MAX && (uint64_t)st.st_size < name.size))
        return;
    if (d->is_in_line)
        check_found(c, FAULT_NO_ROW, "%s", file);
    else
        c->pending++;
}

static int
read_part(struct check_box *c, const struct check_disk *disk, int part, struct err *e)
{
    char *path = path_join(c->dir, part == MAILDIR_NEW ? "new" : "cur", NULL);
    DIR *d = opendir(path);
    struct dirent *ent;
    int rc = 0;

    if (d == NULL && errno != ENOENT)
        rc = err_sys(e, "cannot open folder %s", path);
    while (d != NULL && (errno = 0, ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' && ent->d_type != DT_DIR)
            meet(c, disk, part, dirfd(d), ent->d_name);
    if (d != NULL && errno != 0)
        rc = err_sys(e, "cannot read folder %s", path);
    if (d != NULL)
        closedir(d);
    free(path);
    return rc;
}

int
check_disk(struct check_box *c, const struct check_disk *d, struct err *e)
{
    if (read_part(c, d, MAILDIR_NEW, e) || read_part(c, d, MAILDIR_CUR, e))
        return -1;
    for (size_t i = 0; i < c->n; i++) {
        if (c->rows[i].is_seen)
            continue;
        if (d->is_in_line)
            check_found(c, FAULT_NO_FILE, "UID %u, %s", c->rows[i].uid, c->rows[i].file);
        else
            c->pending++;
    }
    return 0;
}
