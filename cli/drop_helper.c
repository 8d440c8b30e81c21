/* cli/drop_helper.c - see drop_helper.h. */
#include "cli/drop_helper.h"
#include "cli/cli.h"

#include "base/fs.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DROP_NAME_OCTETS = 100 };

struct drop {
    pid_t pid;
    int to, from; /* its standard input and output */
    bool is_broken;
    struct buf out;
};

/* ---- starting it ---- */

/* It stands beside us. */
static int
find_postdrop(char path[PATH_MAX], struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 16);
    char *slash;

    if (n <= 0)
        return err_sys(e, "cannot tell where postern is");
    path[n] = '\0';
    slash = strrchr(path, '/');
    snprintf(slash + 1, 16, "postdrop");
    return access(path, X_OK) == 0 ? 0 : err_sys(e, "cannot start %s", path);
}

static int
spawn(const struct conf *c, const char *option, int in, int out, pid_t *pid, struct err *e)
{
    char path[PATH_MAX];
    const char *argv[] = { "postdrop", "-c", conf_file_of(c), option, NULL };
    sigset_t none;

    if (find_postdrop(path, e) != 0)
        return -1;
    signal(SIGPIPE, SIG_IGN);
    *pid = fork();
    if (*pid < 0)
        return err_sys(e, "fork");
    if (*pid > 0)
        return 0;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, STDIN_FILENO) >= 0 && (out < 0 || dup2(out, STDOUT_FILENO) >= 0))
        execv(path, (char *const *)(uintptr_t)argv);
    _exit(EXIT_TEMPFAIL);
}

static int
wait_for_exit(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_TEMPFAIL;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_TEMPFAIL;
}

/* ---- a message ---- */

int
drop_begin(const struct conf *c, struct drop **out, struct err *e)
{
    int to[2], from[2], rc;
    struct drop *d;

    if (pipe2(to, O_CLOEXEC) != 0)
        return err_sys(e, "pipe");
    if (pipe2(from, O_CLOEXEC) != 0) {
        close(to[0]);
        close(to[1]);
        return err_sys(e, "pipe");
    }
    d = MEM_NEW(struct drop);
    rc = spawn(c, NULL, to[0], from[1], &d->pid, e);
    close(to[0]);
    close(from[1]);
    d->to = to[1];
    d->from = from[0];
    if (rc != 0) {
        close(d->to);
        close(d->from);
        free(d);
        return -1;
    }
    buf_addz(&d->out, DROP_MAGIC);
    *out = d;
    return 0;
}

static void
flush(struct drop *d)
{
    struct err e;

    if (!d->is_broken && d->out.n > 0 && fs_write_all(d->to, buf_slice(&d->out), &e) != 0)
        d->is_broken = true;
    buf_reset(&d->out);
}

void
drop_record(struct drop *d, enum drop_kind kind, struct slice octets)
{
    drop_add(&d->out, kind, octets);
    if (d->out.n >= DROP_RECORD_OCTETS)
        flush(d);
}

static int
finish(struct drop **dp, struct buf *name)
{
    struct buf text = { .max = DROP_NAME_OCTETS };
    struct drop *d = *dp;
    int code;

    close(d->to);
    fs_read_fd(d->from, &text, NULL);
    close(d->from);
    code = wait_for_exit(d->pid);
    if (name)
        buf_adds(name, sl_trim(buf_slice(&text)));
    buf_free(&text);
    buf_free(&d->out);
    free(d);
    *dp = NULL;
    return code;
}

int
drop_end(struct drop **d, struct buf *name)
{
    drop_record(*d, DROP_END, SL(""));
    flush(*d);
    return finish(d, name);
}

/* It sees the end of its input without the end of the message. */
void
drop_abort(struct drop **d)
{
    if (*d)
        finish(d, NULL);
}

/* ---- the queue's socket ---- */

static int
connect_queue(const struct conf *c, struct err *e)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int fd, sys;

    if ((size_t)snprintf(to.sun_path, sizeof to.sun_path, "%s/public/queue", c->queue_directory) >=
        sizeof to.sun_path)
        return err_set(e, ERR_CONFIG, "%s: too long for a socket's path", c->queue_directory);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(e, "socket");
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    sys = errno;
    close(fd);
    errno = sys;
    err_sys(e, "cannot connect to %s", to.sun_path);
    e->kind = sys == EACCES                          ? ERR_PERM
              : sys == ENOENT || sys == ECONNREFUSED ? ERR_NOTFOUND
                                                     : ERR_TEMP;
    return -1;
}

static int
receive(int from)
{
    char octet;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec part = { &octet, 1 };
    struct msghdr m = { .msg_iov = &part,
                        .msg_iovlen = 1,
                        .msg_control = control.room,
                        .msg_controllen = sizeof control.room };
    struct cmsghdr *h;
    int fd = -1;

    if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS &&
        h->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(h), sizeof fd);
    return fd;
}

int
drop_helper_queue(const struct conf *c, struct err *e)
{
    int fd = connect_queue(c, e), pair[2];
    pid_t pid;

    if (fd >= 0 || e->kind != ERR_PERM)
        return fd;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_sys(e, "socketpair");
    if (spawn(c, "-q", pair[1], -1, &pid, e) != 0) {
        close(pair[0]);
        close(pair[1]);
        return -1;
    }
    close(pair[1]);
    fd = receive(pair[0]);
    close(pair[0]);
    if (wait_for_exit(pid) != 0 && fd < 0)
        return err_set(e, ERR_PERM, "postdrop did not get a connection to the queue");
    return fd < 0 ? err_set(e, ERR_TEMP, "postdrop passed no connection on") : fd;
}
