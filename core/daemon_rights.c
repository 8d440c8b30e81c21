/* core/daemon_rights.c - what a daemon gives up before it meets a stranger. */
#include "core/daemon.h"
#include "core/daemon_int.h"

#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <grp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TRIM_OCTETS = 128 * 1024,
    OVERFLOW_ID = 65534 /* the kernel's user without a name */
};

/* design: processes. The value is main.cf's. */
static const struct {
    const char *program;
    size_t user_at; /* offset of a `const char *` in struct conf */
} users[] = {
    { "smtpd", offsetof(struct conf, front_user) },
    { "login", offsetof(struct conf, front_user) },
    { "imapd", offsetof(struct conf, store_user) },
    { "pop3d", offsetof(struct conf, store_user) },
    { "lmtpd", offsetof(struct conf, store_user) },
    { "qmgr", offsetof(struct conf, queue_user) },
    { "relayd", offsetof(struct conf, relay_user) },
    { "authd", offsetof(struct conf, auth_user) },
    { "oauthd", offsetof(struct conf, oauth_user) },
    { "locald", offsetof(struct conf, default_privs) },
};
static bool was_root;

const char *
daemon_user_of(const struct conf *c, const char *program)
{
    for (size_t i = 0; i < COUNT_OF(users); i++)
        if (strcmp(users[i].program, program) == 0)
            return *(const char *const *)(const void *)((const char *)c + users[i].user_at);
    return "";
}

void
daemon_harden_early(void)
{
    struct rlimit files;

    /* The supervisor decides when a daemon ends; a terminal's Ctrl-C goes to the whole group. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR1, SIG_IGN); /* the supervisor opens the log anew and hands it down */
    umask(077);
    /* A dozen processes: what one frees, the system has back; threads share two arenas. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, TRIM_OCTETS);
    mallopt(M_MMAP_THRESHOLD, TRIM_OCTETS);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Runs what others have written: that is no business of the daemons' group, and may be set-gid, as list managers are. */
static bool
runs_others(const char *program)
{
    return strcmp(program, "locald") == 0;
}

/* Is only asked: it has no business in private/. */
static bool
asks_nobody(const char *program)
{
    return runs_others(program) || strcmp(program, "oauthd") == 0;
}

int
daemon_default_privs(const struct conf *c, struct err *e)
{
    const struct passwd *pw = getpwnam(c->default_privs);
    uid_t uid;
    gid_t gid;

    if (pw == NULL)
        return err_set(e, ERR_CONFIG, "default_privs: there is no user \"%s\"", c->default_privs);
    uid = pw->pw_uid;
    gid = pw->pw_gid;
    if (uid == 0 || pw->pw_gid == 0)
        return err_set(e, ERR_CONFIG, "default_privs: \"%s\" has root's rights", c->default_privs);
    for (size_t i = 0; i < COUNT_OF(users); i++) {
        const char *name = daemon_user_of(c, users[i].program);

        if (runs_others(users[i].program) || name[0] == '\0')
            continue;
        pw = getpwnam(name);
        if (pw && pw->pw_uid == uid)
            return err_set(e, ERR_CONFIG, "default_privs: \"%s\" is the user of %s",
                           c->default_privs, users[i].program);
    }
    pw = getpwnam(c->front_user);
    if (pw && pw->pw_gid == gid)
        return err_set(
            e, ERR_CONFIG,
            "default_privs: \"%s\" is in the group of front_user, which may all that the "
            "daemons may ask each other",
            c->default_privs);
    return 0;
}

bool
daemon_has_default_privs(const struct conf *c, struct err *e)
{
    const struct passwd *pw;

    if (!was_root)
        return true;
    if (daemon_default_privs(c, e) != 0)
        return false;
    pw = getpwnam(c->default_privs);
    if (pw && pw->pw_uid == geteuid())
        return true;
    err_set(e, ERR_CONFIG, "default_privs: could not become \"%s\"", c->default_privs);
    return false;
}

/* The group of front_user is everybody's second one: it opens $queue_directory/private. */
static int
become(const struct conf *c, const struct passwd *pw, bool is_alone, struct err *e)
{
    uid_t uid = pw->pw_uid;
    gid_t gid = pw->pw_gid;
    const struct passwd *front = is_alone ? NULL : getpwnam(c->front_user);
    gid_t extra = front ? front->pw_gid : gid;

    if (setgroups(1, &extra) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_sys(e, "cannot become user %u", (unsigned)uid);
    if (uid != 0 && setuid(0) == 0)
        return err_set(e, ERR_BUG, "rights could be taken back");
    return 0;
}

/* Whoever runs others' programs is never root: where default_privs is no good, somebody harmless, who then does nothing. */
static const char *
user_of(const struct conf *c, const char *program)
{
    struct err e;

    if (runs_others(program) && daemon_default_privs(c, &e) != 0)
        return c->front_user;
    return daemon_user_of(c, program);
}

int
daemon_drop_rights(const struct conf *c, const char *program, struct err *e)
{
    static const struct passwd overflow = { .pw_uid = OVERFLOW_ID, .pw_gid = OVERFLOW_ID };
    const char *user = user_of(c, program);
    const struct passwd *pw;

    was_root = geteuid() == 0;
    if (geteuid() == 0 && (user[0] != '\0' || runs_others(program))) {
        errno = 0;
        pw = getpwnam(user);
        if (!pw && runs_others(program))
            pw = &overflow;
        /* The supervisor has warned, once for all daemons. */
        if (pw && become(c, pw, asks_nobody(program), e) != 0)
            return -1;
        if (pw) /* a process that has seen the keys of strangers is nobody's to read */
            prctl(PR_SET_DUMPABLE, 0);
    }
    if (!runs_others(program))
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* Beside the end of the control channel: also when this process hangs. Every promise holds across SIGKILL. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}
