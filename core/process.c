/* core/process.c - see process.h. The child says by a descriptor that exec closes why it could not be run. Between fork and
 * exec only what is safe after a fork of a process with threads is called. */
#include "core/process.h"

#include "base/buf.h"
#include "base/list.h"
#include "base/mem.h"
#include "core/loop_int.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STATUS_FD = 3,
    CHILD_FILES_MAX = 1024,
    READ_OCTETS = 4096,
    READS_AT_END = 64 /* of what is left in the pipe of a process that has ended */
};

struct process {
    struct list link;
    pid_t pid;
    int out_fd, status_fd;
    struct loop_watch *watch;
    struct timer timer;
    struct buf output;
    bool is_timeout;
    void (*done)(void *arg, const struct process_end *end);
    void *arg;
};

/* What the child writes when it gets nowhere. */
struct failure {
    int sys;
    int at_dir;
};

static struct list all = { &all, &all };
static bool has_handler;
extern char **environ;

/* ---- in the child ---- */

static _Noreturn void
fail(int status_fd, bool at_dir)
{
    struct failure f = { .sys = errno, .at_dir = at_dir };
    ssize_t n = write(status_fd, &f, sizeof f);

    _exit(n == (ssize_t)sizeof f ? 127 : 126);
}

static char *const *
words(const char *const *v)
{
    return (char *const *)(uintptr_t)v;
}

static _Noreturn void
run_child(const struct process_opts *o, int out_fd, int status_fd)
{
    struct rlimit files;
    sigset_t none;

    setpgid(0, 0);
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(o->in_fd, STDIN_FILENO) < 0 || dup2(out_fd, STDOUT_FILENO) < 0 ||
        dup2(out_fd, STDERR_FILENO) < 0 || dup3(status_fd, STATUS_FD, O_CLOEXEC) < 0 ||
        close_range(STATUS_FD + 1, ~0U, 0) != 0)
        fail(status_fd, false);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > CHILD_FILES_MAX) {
        files.rlim_cur = CHILD_FILES_MAX;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (chdir(o->dir) != 0)
        fail(STATUS_FD, true);
    environ = (char **)(uintptr_t)o->envp;
    execvp(o->argv[0], words(o->argv));
    if (errno == ENOENT && o->argv_else)
        execvp(o->argv_else[0], words(o->argv_else));
    fail(STATUS_FD, false);
}

/* ---- its output ---- */

/* False: there is no more, now or for ever. */
static bool
read_some(struct process *p, bool *is_end)
{
    char octets[READ_OCTETS];
    ssize_t n = read(p->out_fd, octets, sizeof octets);
    size_t room = p->output.max - p->output.n;

    if (n > 0)
        buf_add(&p->output, octets, (size_t)n < room ? (size_t)n : room);
    *is_end = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    return n > 0;
}

static void
on_output(void *arg)
{
    struct process *p = arg;
    bool is_end;

    (void)read_some(p, &is_end);
    if (is_end)
        loop_unwatch(&p->watch);
}

/* ---- its end ---- */

static void
free_process(struct process *p)
{
    list_remove(&p->link);
    timer_stop(&p->timer);
    loop_unwatch(&p->watch);
    close(p->out_fd);
    close(p->status_fd);
    buf_free(&p->output);
    free(p);
    loop_release();
}

static void
ended(struct process *p, int status)
{
    struct process_end end = { .status = status, .is_timeout = p->is_timeout };
    struct failure f;
    bool is_end = false;

    for (int i = 0; i < READS_AT_END && !is_end && read_some(p, &is_end); i++)
        ;
    if (read(p->status_fd, &f, sizeof f) == (ssize_t)sizeof f) {
        end.exec_errno = f.sys;
        end.failed_at_dir = f.at_dir;
    }
    end.output = buf_slice(&p->output);
    list_remove(&p->link);
    p->done(p->arg, &end);
    free_process(p);
}

static void
on_child(int signo, void *arg)
{
    (void)signo;
    (void)arg;
    LIST_EACH(it, next, &all)
    {
        struct process *p = CONTAINER_OF(it, struct process, link);
        int status;

        if (waitpid(p->pid, &status, WNOHANG) == p->pid)
            ended(p, status);
    }
}

static void
on_limit(void *arg)
{
    struct process *p = arg;

    p->is_timeout = true;
    kill(-p->pid, SIGKILL);
    kill(p->pid, SIGKILL); /* had it left its group; on_child() follows */
}

/* ---- its beginning ---- */

static int
make_pipe(int fds[2], struct err *e)
{
    if (pipe2(fds, O_CLOEXEC) != 0) {
        fds[0] = fds[1] = -1;
        return err_sys(e, "cannot make a pipe");
    }
    return fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 ? 0 : err_sys(e, "cannot make a pipe");
}

static void
close_pipe(int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int
process_start(const struct process_opts *o, void (*done)(void *arg, const struct process_end *end),
              void *arg, struct err *e)
{
    int out[2] = { -1, -1 }, status[2] = { -1, -1 };
    struct process *p;
    pid_t pid;

    if (!has_handler) {
        loop_on_signal(SIGCHLD, on_child, NULL);
        has_handler = true;
    }
    if (make_pipe(out, e) != 0 || make_pipe(status, e) != 0)
        goto fail;
    pid = fork();
    if (pid == 0)
        run_child(o, out[1], status[1]);
    if (pid < 0) {
        err_sys(e, "cannot fork");
        goto fail;
    }
    setpgid(pid, pid); /* the child does the same; whoever is first */
    close(out[1]);
    close(status[1]);
    p = MEM_NEW(struct process);
    p->pid = pid;
    p->out_fd = out[0];
    p->status_fd = status[0];
    p->output.max = o->output_max;
    p->done = done;
    p->arg = arg;
    p->watch = loop_watch_fd(p->out_fd, on_output, p);
    timer_start(&p->timer, o->limit_ms, on_limit, p);
    list_push_back(&all, &p->link);
    loop_hold(); /* its pipe may be closed long before it ends */
    return 0;
fail:
    close_pipe(out);
    close_pipe(status);
    return -1;
}
