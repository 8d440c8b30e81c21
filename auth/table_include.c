/* auth/table_include.c - see table_include.h. Each step of the way is looked at anew: what an alias named yesterday is
 * nobody's to read today. */
#include "auth/table_include.h"

#include "auth/lookup_client.h"
#include "base/fs.h"
#include "base/log.h"
#include "proto/alias_item.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ITEMS_OCTETS = 2 * 1024 * 1024 };

/* A list is often its users' own file, and they may put another in its place, or include another: that must not be one which
 * only authd may read, whose lines would come back to them in a report. `by`: owner of the file that includes this one, 0 for
 * an alias. */
static bool
is_trusted(uid_t uid)
{
    return uid == 0 || uid == geteuid();
}

static int
check_rights(const char *path, const struct stat *st, uid_t by, struct err *e)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
    struct stat direct;
    bool is_direct;
    int fd;

    if ((st->st_mode & S_IROTH) || (!is_trusted(by) && st->st_uid == by))
        return 0;
    if (!is_trusted(by))
        return err_set(e, ERR_CONFIG,
                       ":include: file %s is not readable for all, and a list of uid %u names it",
                       path, (unsigned)by);
    fd = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    is_direct = fd >= 0 && fstat(fd, &direct) == 0 && direct.st_dev == st->st_dev &&
                direct.st_ino == st->st_ino;
    if (fd >= 0)
        close(fd);
    return is_direct ? 0
                     : err_set(e, ERR_CONFIG,
                               ":include: file %s is not readable for all, and behind a "
                               "symbolic link",
                               path);
}

/* Does the value of an alias, or the text of a file, include this file? */
static bool
names_file(struct slice text, struct slice path)
{
    struct arena mem = { .cap = ITEMS_OCTETS };
    struct alias_item item;
    bool is_named = false;

    while (!is_named && alias_item_take(&text, &mem, &item) == ALIAS_ITEM)
        is_named = item.kind == ALIAS_INCLUDE && sl_eq(item.text, path);
    arena_free(&mem);
    return is_named;
}

static int
read_open(int fd, const char *path, uid_t *by, struct buf *out, struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_sys(e, "unable to lookup :include: file %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_CONFIG, ":include: file %s is not a regular file", path);
    if (st.st_mode & S_IWOTH)
        return err_set(e, ERR_CONFIG, ":include: file %s is world writable", path);
    if (st.st_size > LOOKUP_LONG_OCTETS)
        return err_set(e, ERR_CONFIG, ":include: file %s is longer than %d octets", path,
                       (int)LOOKUP_LONG_OCTETS);
    if (check_rights(path, &st, *by, e) != 0)
        return -1;
    if (is_trusted(*by)) /* from here on it is this user who names files */
        *by = st.st_uid;
    out->max = LOOKUP_LONG_OCTETS;
    return fs_read_fd(fd, out, e);
}

static int
read_file(struct slice path, uid_t *by, struct buf *out, struct err *e)
{
    char *z = sl_dupz(path);
    int fd, rc = -1;

    if (!sl_starts(path, '/')) {
        err_set(e, ERR_CONFIG, ":include:%s uses a relative path", z);
    } else {
        fd = open(z, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        rc = fd < 0 ? err_sys(e, "unable to open :include: file %s", z)
                    : read_open(fd, z, by, out, e);
        if (fd >= 0)
            close(fd);
    }
    free(z);
    return rc;
}

/* Lines that are neither empty nor comments. */
static void
take_lines(struct slice in, struct buf *out)
{
    while (in.n > 0) {
        struct slice line;

        if (!sl_take_until(&in, '\n', &line)) {
            line = in;
            in = SL("");
        }
        line = sl_trim(line);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        buf_adds(out, line);
        buf_addc(out, '\n');
    }
}

enum table_rc
table_include(struct table_set *s, struct slice way, struct buf *value, struct err *e)
{
    struct slice alias, path;
    struct buf text = { 0 };
    enum table_rc rc;
    uid_t by = 0;
    unsigned depth = 0;

    if (!sl_take_until(&way, '\t', &alias))
        return TABLE_NOTFOUND;
    rc = table_set_lookup(s, SL("alias_maps"), alias, value, e);
    while (rc == TABLE_FOUND && way.n > 0) {
        if (!sl_take_until(&way, '\t', &path)) {
            path = way;
            way = SL("");
        }
        if (!names_file(buf_slice(value), path)) {
            rc = TABLE_NOTFOUND;
        } else if (++depth > INCLUDE_DEPTH_MAX) {
            err_set(e, ERR_CONFIG, ":include: files nested deeper than %d", INCLUDE_DEPTH_MAX);
            rc = TABLE_TEMP;
        } else {
            buf_reset(&text);
            rc = read_file(path, &by, &text, e) == 0 ? TABLE_FOUND : TABLE_TEMP;
            buf_reset(value);
            take_lines(buf_slice(&text), value);
        }
    }
    if (rc == TABLE_TEMP)
        log_warn("include.fail", LOG_F(LF_Z("why", e->msg)), "%s", e->msg);
    if (rc != TABLE_FOUND)
        buf_reset(value);
    buf_free(&text);
    return rc;
}
