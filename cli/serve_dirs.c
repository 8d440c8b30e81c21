/* cli/serve_dirs.c - the folders a stack lives in, and the lock that keeps a second supervisor out. */
#include "cli/serve_int.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "store/names.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int lock_fd = -1;

/* Rows for when root starts it and the users exist; otherwise all is the invoking user's alone. */
static const struct {
    const char *name;
    mode_t mode;
    const char *owner,
        *group; /* the user, and the group, of this program; NULL: root's, the daemons' common one */
} dirs[] = {
    /* Sticky: a daemon may add files of its own, not take another's place. */
    { "", 01775, NULL, "qmgr" },        { "private", 01770, NULL, NULL },
    { "public", 0755, NULL, NULL },     { "pid", 0755, NULL, NULL },
    { "incoming", 0770, "qmgr", NULL }, { "corrupt", 0700, "smtpd", NULL },
};

static const struct passwd *
user_of(const struct conf *c, const char *program)
{
    const char *user = program ? daemon_user_of(c, program) : c->front_user;

    return user[0] ? getpwnam(user) : NULL;
}

static int
own(const struct conf *c, const char *path, const char *owner, const char *group, mode_t mode,
    struct err *e)
{
    const struct passwd *pw;
    uid_t uid = 0;
    gid_t gid = 0;

    if (geteuid() != 0)
        return 0;
    pw = owner ? user_of(c, owner) : NULL;
    if (pw)
        uid = pw->pw_uid;
    pw = user_of(c, group);
    if (pw)
        gid = pw->pw_gid;
    else
        mode &= ~(mode_t)022; /* root's group is nobody's business */
    if (chown(path, uid, gid) != 0 || chmod(path, mode) != 0)
        return err_sys(e, "cannot set the owner of %s", path);
    return 0;
}

/* Do the daemons get at this folder as it is? More rights than needed are the operator's affair. */
static bool
serves(const struct conf *c, const struct stat *st, const char *owner, const char *group,
       mode_t mode)
{
    const struct passwd *pw;

    if (geteuid() != 0)
        return true;
    pw = owner ? user_of(c, owner) : NULL;
    if (pw && st->st_uid != pw->pw_uid)
        return false;
    pw = user_of(c, group);
    return !pw || (st->st_gid == pw->pw_gid && (st->st_mode & mode) == mode);
}

/* A folder that is there may be Postfix's, with Postfix's owners: it changes hands, as Postfix's own set-permissions
 * would do it. */
static int
make_dir(const struct conf *c, const char *path, const char *owner, const char *group, mode_t mode,
         struct err *e)
{
    struct stat st;

    if (stat(path, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return err_set(e, ERR_CONFIG, "%s is no folder", path);
        return serves(c, &st, owner, group, mode) ? 0 : own(c, path, owner, group, mode, e);
    }
    if (fs_mkdirs(path, geteuid() == 0 ? 0755 : 0700, e) != 0)
        return -1;
    return own(c, path, owner, group, mode, e);
}

/* Whoever is in setgid_group, which is postdrop alone, gets at the sockets in public/. Where there is no such group anybody
 * does: qmgr asks the kernel who it is. */
static int
close_public(const struct conf *c, struct err *e)
{
    const struct group *gr = c->setgid_group[0] ? getgrnam(c->setgid_group) : NULL;
    char path[512];

    if (geteuid() != 0)
        return 0;
    snprintf(path, sizeof path, "%s/public", c->queue_directory);
    if (chown(path, 0, gr ? gr->gr_gid : 0) != 0 || chmod(path, gr ? 0710 : 0755) != 0)
        return err_sys(e, "cannot set the owner of %s", path);
    return 0;
}

/* `postern sql`, run by root before the first start, has made these root's. */
static int
give_to_authd(const struct conf *c, const char *path, struct err *e)
{
    const struct passwd *pw = user_of(c, "authd");
    struct stat st;

    /* The folder is authd's: what it puts there between two looks must not lead elsewhere. */
    if (geteuid() != 0 || !pw || lstat(path, &st) != 0 || st.st_uid != 0 || S_ISLNK(st.st_mode) ||
        (S_ISREG(st.st_mode) && st.st_nlink != 1))
        return 0;
    if (lchown(path, pw->pw_uid, pw->pw_gid) != 0)
        return err_sys(e, "cannot set the owner of %s", path);
    return 0;
}

/* Where all mail lies: made for whom the store's daemons run as. One that is there is not touched: there is mail in it. */
static int
make_mail_root(const struct conf *c, struct err *e)
{
    const struct passwd *pw = user_of(c, "lmtpd");
    char *root = location_common(c);
    struct stat st;
    int rc = 0;

    if (root && stat(root, &st) != 0)
        rc = make_dir(c, root, "lmtpd", "lmtpd", 0750, e);
    else if (root && geteuid() == 0 && pw && st.st_uid != pw->pw_uid && st.st_gid != pw->pw_gid)
        log_warn("dirs.mail", LOG_NONE,
                 "%s is not %s's: if mail is deferred for want of rights, chown -R %s: %s", root,
                 pw->pw_name, pw->pw_name, root);
    free(root);
    return rc;
}

/* Where sendmail(1) leaves messages: smtpd's, which picks them up; the group of the set-gid postdrop may put something in,
 * see nothing and take nothing away. */
static int
make_maildrop(const struct conf *c, struct err *e)
{
    bool is_root = geteuid() == 0;
    const struct group *gr = is_root ? getgrnam(c->setgid_group) : NULL;
    const struct passwd *pw = is_root ? user_of(c, "smtpd") : NULL;
    mode_t mode = gr ? 01730 : 0700;
    char path[512];
    struct stat st;

    snprintf(path, sizeof path, "%s/maildrop", c->queue_directory);
    if (stat(path, &st) != 0) {
        if (fs_mkdirs(path, 0700, e) != 0)
            return -1;
    } else if (!S_ISDIR(st.st_mode)) {
        return err_set(e, ERR_CONFIG, "%s is no folder", path);
    }
    if (is_root &&
        (chown(path, pw ? pw->pw_uid : 0, gr ? gr->gr_gid : 0) != 0 || chmod(path, mode) != 0))
        return err_sys(e, "cannot set the owner of %s", path);
    return 0;
}

int
serve_make_dirs(const struct conf *c, struct err *e)
{
    static const char *const parts[] = { "", "-wal", "-shm" };
    char path[512];

    if (make_mail_root(c, e) != 0)
        return -1;

    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        snprintf(path, sizeof path, "%s%s%s", c->queue_directory, dirs[i].name[0] ? "/" : "",
                 dirs[i].name);
        if (make_dir(c, path, dirs[i].owner, dirs[i].group, dirs[i].mode, e) != 0)
            return -1;
    }
    if (make_maildrop(c, e) != 0)
        return -1;
    if (close_public(c, e) != 0 || make_dir(c, c->data_directory, "authd", NULL, 0750, e) != 0 ||
        give_to_authd(c, c->data_directory, e) != 0)
        return -1;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        snprintf(path, sizeof path, "%s%s", c->users_database, parts[i]);
        if (give_to_authd(c, path, e) != 0)
            return -1;
    }
    return 0;
}

static void
lock_path(const struct conf *c, char *out, size_t n)
{
    snprintf(out, n, "%s/pid/postern.pid", c->queue_directory);
}

/* Open and lock the file that has this name now: one that its last owner unlinked meanwhile keeps nobody out. */
static int
open_lock(const char *path, bool *is_ours, struct err *e)
{
    struct stat held, named;

    for (;;) {
        lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (lock_fd < 0)
            return err_sys(e, "cannot open %s", path);
        *is_ours = flock(lock_fd, LOCK_EX | LOCK_NB) == 0;
        if (!*is_ours || (fstat(lock_fd, &held) == 0 && stat(path, &named) == 0 &&
                          held.st_dev == named.st_dev && held.st_ino == named.st_ino))
            return 0;
        close(lock_fd);
    }
}

int
serve_lock(const struct conf *c, struct err *e)
{
    char path[512], text[32];
    bool is_ours = false;
    int n;

    lock_path(c, path, sizeof path);
    if (open_lock(path, &is_ours, e) != 0)
        return -1;
    if (!is_ours) {
        ssize_t got = read(lock_fd, text, sizeof text - 1);
        struct slice pid = sl_trim(sl_n(text, got > 0 ? (size_t)got : 0));

        err_set(e, ERR_EXISTS, "another `postern serve` runs on %s (pid %.*s)", c->queue_directory,
                SL_ARG(pid));
        close(lock_fd);
        lock_fd = -1;
        return -1;
    }
    n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(lock_fd, 0) != 0 || pwrite(lock_fd, text, (size_t)n, 0) != n)
        return err_sys(e, "cannot write %s", path);
    return 0;
}

/* The file goes while it is still locked, so that nobody locks a file that is about to vanish. */
void
serve_unlock(const struct conf *c)
{
    char path[512];

    if (lock_fd < 0)
        return;
    lock_path(c, path, sizeof path);
    unlink(path);
    close(lock_fd);
    lock_fd = -1;
}

void
serve_warn_users(const struct conf *c)
{
    static const char *const programs[] = { "smtpd", "lmtpd", "qmgr", "relayd", "authd" };
    struct buf names = { 0 };

    if (geteuid() != 0)
        return;
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        const char *user = daemon_user_of(c, programs[i]);

        if (user[0] && !getpwnam(user))
            buf_addf(&names, " %s", user);
    }
    if (names.n > 0)
        log_warn(
            "serve.users", LOG_F(LF_S("users", sl_trim(buf_slice(&names)))),
            "these users do not exist, so daemons that should run as them keep root's rights:%s",
            buf_z(&names));
    buf_free(&names);
}
