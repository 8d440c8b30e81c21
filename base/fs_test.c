#include "base/fs.h"

#include "base/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64];

static const char *
in_top(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *p = paths[next++ % 4];

    snprintf(p, sizeof(paths[0]), "%s/%s", top, name);
    return p;
}

static bool
make_top(void)
{
    snprintf(top, sizeof(top), "/tmp/postern-fs-test-XXXXXX");
    return mkdtemp(top) != NULL;
}

static mode_t
mode_of(const char *path)
{
    struct stat st = { 0 };

    return stat(path, &st) ? 0 : st.st_mode & 07777;
}

static size_t
n_names(const char *path)
{
    DIR *d = opendir(path);
    size_t n = 0;

    if (d == NULL)
        return (size_t)-1;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2; /* "." and ".." */
}

TEST(replaces_and_reads)
{
    struct err e = { 0 };
    struct buf b = { 0 };
    mode_t was = umask(077);

    NEED(make_top());
    CHECK_EQ_INT(fs_replace_file(in_top("f"), SL("one"), 0640, &e), 0);
    CHECK_EQ_INT(mode_of(in_top("f")), 0640);
    CHECK_EQ_INT(fs_replace_file(in_top("f"), SL("two\0!"), 0600, &e), 0);
    CHECK_EQ_INT(mode_of(in_top("f")), 0600);
    buf_addz(&b, "x");
    CHECK_EQ_INT(fs_read_file(in_top("f"), &b, &e), 0);
    CHECK_EQ_MEM(buf_slice(&b).p, b.n, "xtwo\0!", 6);
    CHECK_EQ_INT(n_names(top), 1); /* no temporary file stays */
    CHECK_EQ_INT(fs_replace_file(in_top("empty"), (struct slice){ 0 }, 0600, &e), 0);
    buf_reset(&b);
    CHECK_EQ_INT(fs_read_file(in_top("empty"), &b, &e), 0);
    CHECK_EQ_INT(b.n, 0);
    buf_free(&b);
    CHECK_EQ_INT(fs_remove_tree(top, &e), 0);
    umask(was);
}

TEST(a_failed_replace_leaves_the_old_file)
{
    struct err e = { 0 };

    NEED(make_top());
    CHECK_EQ_INT(mkdir(in_top("d"), 0700), 0);
    CHECK_EQ_INT(fs_replace_file(in_top("d"), SL("x"), 0600, &e), -1); /* a folder is in the way */
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    CHECK(e.sys == EISDIR || e.sys == ENOTEMPTY || e.sys == EEXIST);
    CHECK_EQ_INT(n_names(top), 1);
    CHECK_EQ_INT(fs_replace_file(in_top("none/f"), SL("x"), 0600, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(fs_remove_tree(top, NULL), 0);
}

TEST(reads_up_to_max)
{
    static char big[200001];
    struct err e = { 0 };
    struct buf b = { 0 };

    NEED(make_top());
    memset(big, 'z', sizeof(big));
    CHECK_EQ_INT(fs_replace_file(in_top("big"), sl_n(big, sizeof(big)), 0600, &e), 0);
    CHECK_EQ_INT(fs_read_file(in_top("big"), &b, &e), 0);
    CHECK_EQ_MEM(buf_slice(&b).p, b.n, big, sizeof(big));
    buf_free(&b);
    b.max = sizeof(big);
    CHECK_EQ_INT(fs_read_file(in_top("big"), &b, &e), 0);
    CHECK_EQ_INT(b.n, sizeof(big));
    buf_free(&b);
    b.max = sizeof(big) - 1;
    buf_addz(&b, "");
    CHECK_EQ_INT(fs_read_file(in_top("big"), &b, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(b.n, 0);
    buf_free(&b);
    CHECK_EQ_INT(fs_read_file(in_top("none"), &b, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(e.sys, ENOENT);
    CHECK_EQ_INT(fs_read_file(top, &b, &e), -1);
    CHECK_EQ_INT(e.sys, EISDIR);
    buf_free(&b);
    CHECK_EQ_INT(fs_remove_tree(top, NULL), 0);
}

TEST(makes_folders)
{
    struct err e = { 0 };
    mode_t was = umask(077);

    NEED(make_top());
    CHECK_EQ_INT(fs_mkdirs(in_top("a//b/c/"), 0750, &e), 0);
    CHECK_EQ_INT(mode_of(in_top("a")), 0750);
    CHECK_EQ_INT(mode_of(in_top("a/b/c")), 0750);
    CHECK_EQ_INT(fs_mkdirs(in_top("a/b/c"), 0700, &e), 0);
    CHECK_EQ_INT(mode_of(in_top("a/b/c")), 0750); /* an old one keeps its mode */
    CHECK_EQ_INT(symlink("a", in_top("link")), 0);
    CHECK_EQ_INT(fs_mkdirs(in_top("link/x"), 0700, &e), 0);
    CHECK_EQ_INT(fs_mkdirs("/", 0700, &e), 0);
    CHECK_EQ_INT(fs_replace_file(in_top("f"), SL("x"), 0600, &e), 0);
    CHECK_EQ_INT(fs_mkdirs(in_top("f"), 0700, &e), -1);
    CHECK_EQ_INT(e.sys, ENOTDIR);
    CHECK_EQ_INT(fs_mkdirs(in_top("f/x"), 0700, &e), -1);
    CHECK_EQ_INT(e.sys, ENOTDIR);
    CHECK_EQ_INT(fs_mkdirs("", 0700, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(fs_sync_dir(in_top("a"), &e), 0);
    CHECK_EQ_INT(fs_sync_dir(in_top("f"), &e), -1);
    CHECK_EQ_INT(fs_sync_dir(in_top("none"), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(fs_remove_tree(top, NULL), 0);
    umask(was);
}

TEST(removes_trees_and_no_more)
{
    struct err e = { 0 };

    NEED(make_top());
    CHECK_EQ_INT(fs_mkdirs(in_top("keep"), 0700, &e), 0);
    CHECK_EQ_INT(fs_replace_file(in_top("keep/f"), SL("x"), 0600, &e), 0);
    CHECK_EQ_INT(fs_mkdirs(in_top("go/a/b/c/d"), 0700, &e), 0);
    CHECK_EQ_INT(symlink("../keep", in_top("go/link")), 0);
    CHECK_EQ_INT(symlink("keep", in_top("link")), 0);
    for (int i = 0; i < 300; i++) {
        char name[32];
        int fd;

        snprintf(name, sizeof(name), "go/a/%d", i);
        fd = open(in_top(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        close(fd);
    }
    CHECK_EQ_INT(fs_remove_tree(in_top("go"), &e), 0);
    CHECK_EQ_INT(fs_remove_tree(in_top("go"), &e), 0); /* absent is success */
    CHECK_EQ_INT(fs_remove_tree(in_top("link"), &e), 0);
    CHECK_EQ_INT(mode_of(in_top("keep/f")), 0600);
    CHECK_EQ_INT(n_names(top), 1);
    CHECK_EQ_INT(fs_remove_tree(in_top("keep/f"), &e), 0); /* a file is a tree too */
    CHECK_EQ_INT(fs_remove_tree(in_top("keep/f/x"), &e), 0);
    CHECK_EQ_INT(fs_remove_tree(top, &e), 0);
    CHECK_EQ_INT(access(top, F_OK), -1);
}

TEST(write_tells_why)
{
    struct err e = { 0 };
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    NEED(fd >= 0);
    CHECK_EQ_INT(fs_write_all(fd, SL("x"), &e), -1);
    CHECK(err_is_full(&e));
    CHECK_EQ_INT(errno, ENOSPC);
    CHECK_EQ_INT(fs_write_all(fd, (struct slice){ 0 }, &e), 0);
    close(fd);
    CHECK_EQ_INT(fs_sync_fd(-1, &e), -1);
    CHECK_EQ_INT(e.sys, EBADF);
}

TEST_MAIN()
