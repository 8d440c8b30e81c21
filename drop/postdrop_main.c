/* drop/postdrop_main.c - postdrop: what sendmail(1) starts to leave a message in maildrop/, and what a user's mailq starts
 * to reach qmgr's public/queue. Set-gid $setgid_group, and nothing else: so it is small, believes nothing of who starts it
 * - no environment, no main.cf of his - and does one thing. */
#include "base/buf.h"
#include "conf/conf.h"
#include "conf/users_list.h"
#include "drop/spool.h"
#include "proto/drop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

static volatile sig_atomic_t is_interrupted;

/* Reading ends, and then nothing of the message stays; what is on its way to the disk by then is whole. */
static void
on_signal(int signo)
{
    (void)signo;
    is_interrupted = 1;
}

/* "postdrop: warning: ..." as Postfix's; returns code. */
static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int
fail(int code, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    buf_addz(&b, "postdrop: fatal: ");
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < b.n; i++)
        if ((unsigned char)b.p[i] < ' ' || b.p[i] == 127)
            b.p[i] = '?';
    buf_addc(&b, '\n');
    (void)!write(STDERR_FILENO, b.p, b.n);
    buf_free(&b);
    spool_abort();
    return code;
}

static bool
is_privileged(void)
{
    /* root has won nothing by the group */
    return geteuid() != getuid() || (geteuid() != 0 && getegid() != getgid());
}

/* ---- the configuration ---- */

static struct conf *
load(const char *path)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_load_file(path, &ps);

    for (size_t i = 0; c == NULL && i < ps.n; i++)
        if (ps.v[i].is_error)
            fail(0, "%s:%u: %s", ps.v[i].file, ps.v[i].line, ps.v[i].text);
    conf_problems_free(&ps);
    return c;
}

/* Is the folder one that the default main.cf vouches for? */
static bool
is_known_dir(const char *dir)
{
    const char *known = conf_default_dir();
    char path[PATH_MAX];
    struct conf *c;
    bool is_known = false;

    if (strcmp(dir, known) == 0)
        return true;
    snprintf(path, sizeof path, "%s/main.cf", known);
    c = load(path);
    for (size_t i = 0; c && i < c->alternate_config_directories.n; i++)
        is_known |= strcmp(c->alternate_config_directories.v[i], dir) == 0;
    conf_unref(&c);
    return is_known;
}

/* `named`: a folder, or a main.cf in one; NULL: none. Other files only for who has no more rights than his own. */
static struct conf *
find_conf(const char *named)
{
    char dir[PATH_MAX], path[PATH_MAX + 16];
    struct slice at = sl_z(named ? named : conf_default_dir());
    struct stat st;

    if (sl_has_suffix(at, SL("/main.cf")))
        at.n -= strlen("/main.cf");
    if (at.n >= sizeof dir) {
        fail(0, "the name of the configuration is too long");
        return NULL;
    }
    snprintf(dir, sizeof dir, "%.*s", SL_ARG(at));
    if (is_privileged() && !is_known_dir(dir)) {
        fail(0, "%s: not in alternate_config_directories of %s/main.cf", dir, conf_default_dir());
        return NULL;
    }
    if (!is_privileged() && stat(dir, &st) == 0 && S_ISREG(st.st_mode))
        snprintf(path, sizeof path, "%s", dir);
    else
        snprintf(path, sizeof path, "%s/main.cf", dir);
    return load(path);
}

/* ---- may this user? ---- */

/* Tables are asked by pickup, which can: authd has them. */
static bool
may_submit(const struct conf *c)
{
    const struct passwd *pw = getpwuid(getuid());
    struct slice table;
    struct err e = { 0 };
    size_t at = 0;
    enum users_list_rc rc =
        users_list_match(c->authorized_submit_users, pw ? pw->pw_name : "unknown", &at, &table, &e);

    if (e.msg[0])
        fail(0, "authorized_submit_users: %s", e.msg);
    return rc != USERS_NO;
}

/* ---- a message ---- */

static bool
has_room(const struct conf *c)
{
    uint64_t want =
        c->queue_minfree > 0 ? (uint64_t)c->queue_minfree : (uint64_t)c->message_size_limit / 2 * 3;
    struct statvfs st;

    return statvfs(".", &st) != 0 || (uint64_t)st.f_bavail * st.f_frsize >= want;
}

/* Standard input to the file, record by record. Exit code. */
static int
take_records(const struct conf *c)
{
    static char block[DROP_RECORD_OCTETS];
    struct buf in = { .max = 3 * DROP_RECORD_OCTETS };
    struct drop_seen seen = { 0 };
    struct err e = { 0 };
    bool has_magic = false;
    int code = EX_OK;

    while (code == EX_OK && !seen.is_over) {
        ssize_t n = is_interrupted ? 0 : read(STDIN_FILENO, block, sizeof block);
        struct slice whole, at, octets;
        enum drop_kind kind;
        enum parse_rc rc = PARSE_OK;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            /* a signal, or who was to give us the message has died */
            code = is_interrupted ? EX_TEMPFAIL : n < 0 ? EX_IOERR : EX_DATAERR;
            break;
        }
        buf_add(&in, block, (size_t)n);
        whole = at = buf_slice(&in);
        if (!has_magic) {
            rc = drop_take_magic(&at, &e);
            has_magic = rc == PARSE_OK;
        }
        while (rc == PARSE_OK && !seen.is_over)
            if ((rc = drop_take(&at, &kind, &octets, &e)) == PARSE_OK)
                rc = drop_check(&seen, kind, octets, &e);
        if (rc == PARSE_BAD)
            code = fail(EX_DATAERR, "uid=%u: malformed input: %s", getuid(), e.msg);
        else if (c->message_size_limit && seen.content_octets > (uint64_t)c->message_size_limit)
            code = fail(EX_UNAVAILABLE, "uid=%u: message file too big", getuid());
        else if (spool_write(sl_head(whole, whole.n - at.n), &e) != 0)
            code = fail(EX_TEMPFAIL, "uid=%u: %s", getuid(), e.msg);
        buf_consume(&in, whole.n - at.n);
    }
    buf_free(&in);
    return code;
}

static int
drop_message(const struct conf *c)
{
    char name[SPOOL_NAME_OCTETS];
    struct err e = { 0 };
    int code;

    if (!may_submit(c))
        return fail(EX_NOPERM, "User with uid %u is not allowed to submit mail", getuid());
    if (chdir(c->queue_directory) != 0 || chdir("maildrop") != 0)
        return fail(EX_TEMPFAIL, "mail system is not set up: cannot enter %s/maildrop: %s",
                    c->queue_directory, strerror(errno));
    if (!has_room(c))
        return fail(EX_TEMPFAIL, "no room: %s has less free than queue_minfree wants",
                    c->queue_directory);
    if (spool_begin(&e) != 0)
        return fail(EX_TEMPFAIL, "%s", e.msg);
    code = take_records(c);
    if (code == EX_OK && spool_end(name, &e) != 0)
        code = fail(EX_TEMPFAIL, "uid=%u: %s", getuid(), e.msg);
    if (code == EX_OK)
        dprintf(STDOUT_FILENO, "%s\n", name);
    else
        spool_abort();
    return code;
}

/* ---- the queue's socket for tools ---- */

/* Standard input is a socket: over it goes the descriptor of a connection. What may be asked there qmgr decides, by who we
 * are: the user is still himself. */
static int
pass_queue(const struct conf *c)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    char octet = 0;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec part = { &octet, 1 };
    struct msghdr m = { .msg_iov = &part,
                        .msg_iovlen = 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof control.room };
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if ((size_t)snprintf(to.sun_path, sizeof to.sun_path, "%s/public/queue", c->queue_directory) >=
        sizeof to.sun_path)
        return fail(EX_CONFIG, "%s: too long for a socket's path", c->queue_directory);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        return fail(EX_UNAVAILABLE, "cannot connect to %s: %s", to.sun_path, strerror(errno));
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    if (sendmsg(STDIN_FILENO, &m, MSG_NOSIGNAL) != 1)
        return fail(EX_UNAVAILABLE, "cannot pass the connection on: %s", strerror(errno));
    return EX_OK;
}

/* ---- who starts us ---- */

/* Nothing of the caller's reaches further than here: no descriptors, no environment, no odd signals and limits. */
static void
clean_up_after_caller(void)
{
    static const int deadly[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGALRM, SIGXCPU };
    struct rlimit none = { 0, 0 };
    sigset_t all;
    int fd;

    do /* closed standard descriptors would be given to our own files */
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    clearenv();
    setenv("PATH", "/usr/bin:/bin", 1);
    umask(0);
    setrlimit(RLIMIT_CORE, &none);
    sigemptyset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        sigaction(deadly[i], &(struct sigaction){ .sa_handler = on_signal }, NULL);
}

int
main(int argc, char **argv)
{
    static char env[PATH_MAX];
    const char *named = getenv("MAIL_CONFIG");
    bool wants_queue = false;
    struct conf *c;
    int opt, code;

    if (geteuid() != getuid())
        return fail(EX_USAGE, "this program must be set-gid, not set-uid");
    if (named && (size_t)snprintf(env, sizeof env, "%s", named) >= sizeof env)
        return fail(EX_USAGE, "MAIL_CONFIG is too long");
    named = env[0] ? env : NULL;
    clean_up_after_caller();
    while ((opt = getopt(argc, argv, "c:rvq")) > 0)
        if (opt == 'c')
            named = optarg;
        else if (opt == 'q')
            wants_queue = true;
        else if (opt == '?')
            return fail(EX_USAGE, "usage: postdrop [-c config_dir] [-q]");
    c = find_conf(named);
    if (c == NULL)
        return EX_TEMPFAIL; /* the operator mends it, and the mail is sent again */
    code = wants_queue ? pass_queue(c) : drop_message(c);
    conf_unref(&c);
    return code;
}
