/* store/store_test.h - what the tests of the store share: a user's Maildir in a folder of its own, and short words for
 * what is done to it. Tests only. */
#ifndef POSTERN_STORE_STORE_TEST_H
#define POSTERN_STORE_STORE_TEST_H
#include "base/test.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "core/loop.h"
#include "store/store_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64], root[128];
static struct conf *conf;
static struct store *st;
static struct store_user *us;
static struct err e;

__attribute__((unused)) static void
open_store(void)
{
    memset(&e, 0, sizeof e);
    BUG_ON(store_new(conf, &st, &e));
    if (store_user_open(st, SL("bob@example.org"), NULL, &us, &e)) {
        FAIL("cannot open user: %s", e.msg);
        abort();
    }
}

__attribute__((unused)) static void
close_store(void)
{
    store_user_close(&us);
    store_free(&st);
}

__attribute__((unused)) static void
setup(void)
{
    struct conf_problems ps = { 0 };
    char text[200];

    snprintf(base, sizeof base, "%s/store-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    BUG_ON(mkdtemp(base) == NULL);
    snprintf(root, sizeof root, "%s/example.org/bob", base);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\n", base,
             base);
    conf = conf_parse(sl_z(text), "test", &ps);
    BUG_ON(conf == NULL);
}

__attribute__((unused)) static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

/* Let the loop do what was put off. */
__attribute__((unused)) static void
turn(unsigned ms)
{
    struct timer t = { 0 };

    timer_start(&t, ms, stop, NULL);
    loop_run();
    timer_stop(&t);
}

__attribute__((unused)) static void
teardown(void)
{
    close_store();
    turn(1);
    conf_unref(&conf);
    fs_remove_tree(base, NULL);
}

/* A file by another program: dir "new" or "cur" of a folder of root. */
__attribute__((unused)) static void
foreign(const char *dir, const char *name, const char *text)
{
    char path[600];
    struct err why = { 0 };

    snprintf(path, sizeof path, "%s/%s/%s", root, dir, name);
    if (fs_replace_file(path, sl_z(text), 0600, &why))
        FAIL("%s", why.msg);
}

__attribute__((unused)) static void
foreign_mkdirs(const char *sub)
{
    char path[400];
    static const char *const parts[] = { "cur", "new", "tmp" };

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", root, sub, parts[i]);
        fs_mkdirs(path, 0700, NULL);
    }
}

__attribute__((unused)) static int
count_files(const char *sub)
{
    char path[400];
    struct dirent *ent;
    int n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/%s", root, sub);
    d = opendir(path);
    while (d && (ent = readdir(d)) != NULL)
        n += ent->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

/* The name of the one file in sub that contains `part`; static storage. */
__attribute__((unused)) static const char *
name_with(const char *sub, const char *part)
{
    static char name[300];
    char path[400];
    struct dirent *ent;
    DIR *d;

    name[0] = '\0';
    snprintf(path, sizeof path, "%s/%s", root, sub);
    d = opendir(path);
    while (d && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' && strstr(ent->d_name, part))
            snprintf(name, sizeof name, "%s", ent->d_name);
    if (d)
        closedir(d);
    return name;
}

__attribute__((unused)) static uint32_t
append(const char *mailbox, const char *text, uint32_t sys, const char *keyword)
{
    struct store_append *a;
    uint32_t uidvalidity, *uids, uid = 0;
    size_t n;

    if (store_append_begin(us, sl_z(mailbox), &a, &e))
        return 0;
    if (store_append_msg(a, sys, &keyword, keyword != NULL, 1700000000, 60, &e) ||
        store_append_octets(a, sl_z(text), &e)) {
        store_append_abort(&a);
        return 0;
    }
    if (store_append_commit(&a, &uidvalidity, &uids, &n, &e) == 0 && n == 1)
        uid = uids[0];
    free(uids);
    return uid;
}

__attribute__((unused)) static struct store_view *
sel(const char *mailbox)
{
    struct store_view *v;

    if (store_select(us, sl_z(mailbox), false, &v, &e))
        FAIL("select %s: %s", mailbox, e.msg);
    return v;
}

__attribute__((unused)) static uint32_t
exists(const struct store_view *v)
{
    struct store_box b;

    store_view_box(v, &b);
    return b.exists;
}

__attribute__((unused)) static void
sync_quiet(struct store_view *v)
{
    struct store_changes c;

    if (store_view_sync(v, true, &c, &e))
        FAIL("sync: %s", e.msg);
    store_changes_free(&c);
}

__attribute__((unused)) static int
store_flags(struct store_view *v, uint32_t first, uint32_t last, enum store_op op, uint32_t sys,
            uint64_t kw, bool silent)
{
    struct store_uids u = { 0 };
    struct store_flag_change ch = { .op = op, .flags = { sys, kw }, .is_silent = silent };
    int rc;

    store_uids_add(&u, first, last);
    rc = store_change_flags(v, &u, &ch, NULL, &e);
    store_uids_free(&u);
    return rc;
}

__attribute__((unused)) static uint32_t
flags_of(const struct store_view *v, uint32_t seq)
{
    struct store_row r = { 0 };

    store_view_row(v, seq, &r);
    return r.flags.sys;
}

#endif
