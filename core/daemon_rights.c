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

enum { TRIM_OCTETS = 128 * 1024 };

/* design: processes. The value is main.cf's. */
static const struct {
    const char *program;
    size_t user_at; /* offset of a `const char *` in struct conf */
} users[] = {
    { "smtpd", offsetof(struct conf, front_user) },  { "login", offsetof(struct conf, front_user) },
    { "imapd", offsetof(struct conf, store_user) },  { "pop3d", offsetof(struct conf, store_user) },
    { "lmtpd", offsetof(struct conf, store_user) },  { "qmgr", offsetof(struct conf, queue_user) },
    { "relayd", offsetof(struct conf, relay_user) }, { "authd", offsetof(struct conf, auth_user) },
};

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

/* The group of front_user is everybody's second one: it opens $queue_directory/private. */
static int
become(const struct conf *c, const struct passwd *pw, struct err *e)
{
    uid_t uid = pw->pw_uid;
    gid_t gid = pw->pw_gid;
    const struct passwd *front = getpwnam(c->front_user);
    gid_t extra = front ? front->pw_gid : gid;

    if (setgroups(1, &extra) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
        return err_sys(e, "cannot become user %u", (unsigned)uid);
    if (uid != 0 && setuid(0) == 0)
        return err_set(e, ERR_BUG, "rights could be taken back");
    return 0;
}

int
daemon_drop_rights(const struct conf *c, const char *program, struct err *e)
{
    const char *user = daemon_user_of(c, program);
    const struct passwd *pw;

    if (geteuid() == 0 && user[0] != '\0') {
        errno = 0;
        pw = getpwnam(user);
        /* The supervisor has warned, once for all daemons. */
        if (pw && become(c, pw, e) != 0)
            return -1;
        if (pw) /* a process that has seen the keys of strangers is nobody's to read */
            prctl(PR_SET_DUMPABLE, 0);
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    /* Beside the end of the control channel: also when this process hangs. Every promise holds across SIGKILL. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return 0;
}
