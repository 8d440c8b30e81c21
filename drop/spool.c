/* drop/spool.c - see spool.h. Who may only search and write a folder cannot open it to sync it: the file system as a whole
 * is synced by a descriptor of the file then. */
#include "drop/spool.h"

#include "base/fs.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int fd = -1;
static char temp_name[SPOOL_NAME_OCTETS]; /* "": no file of ours is there */

int
spool_begin(struct err *e)
{
    char random[17];

    rand_hex(random, 16);
    snprintf(temp_name, sizeof temp_name, "new.%s", random);
    /* Readable: maildrop/ is closed to all but pickup, which is another user. */
    fd = open(temp_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);
    if (fd < 0) {
        temp_name[0] = '\0';
        return err_sys(e, "cannot make a file in maildrop");
    }
    if (fchmod(fd, 0444) != 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
        return err_sys(e, "cannot lock a file in maildrop");
    return 0;
}

int
spool_write(struct slice s, struct err *e)
{
    return fs_write_all(fd, s, e);
}

static int
sync_names(struct err *e)
{
    int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    if (dir < 0)
        return syncfs(fd) == 0 ? 0 : err_sys(e, "cannot sync the file system of maildrop");
    rc = fs_sync_fd(dir, e);
    close(dir);
    return rc;
}

int
spool_end(char name[SPOOL_NAME_OCTETS], struct err *e)
{
    char random[9];
    struct timespec now;

    if (fs_sync_fd(fd, e) != 0)
        return -1;
    clock_gettime(CLOCK_REALTIME, &now);
    rand_hex(random, 8);
    snprintf(name, SPOOL_NAME_OCTETS, "%010llX%05lX.%s", (unsigned long long)now.tv_sec,
             (unsigned long)(now.tv_nsec / 1000), random);
    if (renameat2(AT_FDCWD, temp_name, AT_FDCWD, name, RENAME_NOREPLACE) != 0 &&
        (errno != EINVAL || rename(temp_name, name) != 0))
        return err_sys(e, "cannot give a file in maildrop its name");
    temp_name[0] = '\0'; /* from here on pickup may have it */
    if (sync_names(e) != 0 && unlink(name) == 0)
        return -1;
    close(fd);
    fd = -1;
    return 0;
}

void
spool_abort(void)
{
    if (temp_name[0])
        unlink(temp_name);
    temp_name[0] = '\0';
}
