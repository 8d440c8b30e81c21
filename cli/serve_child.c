/* cli/serve_child.c - the daemons: started, watched, started again. */
#include "cli/serve_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/chan.h"
#include "core/daemon_proto.h"
#include "core/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    QUIET_MS = 10 * 1000, /* a daemon that ran so long starts its back-off anew */
    AT_ONCE_MS = 1000,    /* one that did not even run so long is not started again at once */
    START_TRIES = 4,      /* before it was ever ready */
    STATUS_WAIT_MS = 500,
    KILL_AFTER_MS = 2000, /* beyond the drain's limit */
    CHILDREN_MAX = 1024
};
static const unsigned backoff_ms[] = { 0, 1000, 2000, 5000 };

/* In the order they are started; the front waits until the back is ready, and drains first. What is on demand is started
 * when somebody knocks at its sockets, and may end when it has nothing to do. */
static const struct {
    const char *name;
    bool is_front, has_tls, is_on_demand;
} programs[] = {
    { "authd", false, false, false }, { "qmgr", false, false, false },
    { "lmtpd", false, false, false }, { "relayd", false, false, false },
    { "imapd", false, false, false }, { "pop3d", false, false, false },
    { "locald", false, false, true }, { "oauthd", false, false, true },
    { "login", true, true, false },   { "smtpd", true, true, false },
};

struct child {
    size_t program; /* in programs[] */
    unsigned worker;
    pid_t pid; /* 0: not running */
    struct chan *ch;
    bool is_ready, was_ready, is_draining, has_answered;
    unsigned restarts, tries;
    uint64_t started_ms;
    int64_t sessions;
    struct timer restart, kill;
    struct loop_watch *knock; /* on demand, and not running: its socket */
};

static struct {
    struct child *v;
    size_t n;
    char path[COUNT_OF(programs)][512];
    bool is_front_started, was_all_ready;
    struct timer status_timer;
    struct {
        void (*fn)(struct slice, void *);
        void *arg;
    } * asking;
    size_t n_asking, cap_asking;
} ch;

static void start(struct child *c);
static void await_knock(struct child *c);
static void finish_status(void *arg);

static const char *
name_of(const struct child *c)
{
    return programs[c->program].name;
}

/* ---- where the programs are ---- */

static bool
find_in(const char *dir, size_t program)
{
    snprintf(ch.path[program], sizeof ch.path[program], "%s/%s", dir, programs[program].name);
    return access(ch.path[program], X_OK) == 0;
}

int
serve_programs_find(const struct conf *c, struct err *e)
{
    char self[400], dir[400], libexec[420];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    if (n <= 0)
        return err_sys(e, "cannot tell where postern is");
    self[n] = '\0';
    snprintf(dir, sizeof dir, "%s", self);
    slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    snprintf(libexec, sizeof libexec, "%s/../libexec/postern", dir);
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        bool is_found = c->daemon_directory[0] ? find_in(c->daemon_directory, i)
                                               : find_in(dir, i) || find_in(libexec, i);

        if (!is_found)
            return err_set(e, ERR_CONFIG, "the program %s is not in %s; set daemon_directory",
                           programs[i].name, c->daemon_directory[0] ? c->daemon_directory : dir);
    }
    return 0;
}

/* ---- what a daemon is told ---- */

static void
tell(struct child *c, const char *text, const int *fds, size_t n_fds)
{
    if (c->ch)
        chan_send(c->ch, sl_z(text), fds, n_fds);
    else
        for (size_t i = 0; i < n_fds; i++)
            close(fds[i]);
}

static void
tell_conf(struct child *c)
{
    struct err e = { 0 };
    char text[600];
    int fd = chan_memfd("main.cf", buf_slice(&sv.conf_text), &e);

    if (fd < 0) {
        log_error("serve.memfd", LOG_F(LF_Z("why", e.msg)), "%s", e.msg);
        return;
    }
    snprintf(text, sizeof text, "conf %s", sv.conf_path);
    tell(c, text, &fd, 1);
}

/* Daemons that gave up their rights cannot open the file, and none needs to. */
static void
tell_log(struct child *c)
{
    int fd = log_dup();

    if (fd >= 0)
        tell(c, "log", &fd, 1);
}

static void
tell_secret(struct child *c, const char *text, struct slice content)
{
    struct err e = { 0 };
    int fd = chan_memfd("tls", content, &e);

    if (fd < 0)
        log_error("serve.memfd", LOG_F(LF_Z("why", e.msg)), "%s", e.msg);
    else
        tell(c, text, &fd, 1);
}

static void
tell_tickets(struct child *c)
{
    if (programs[c->program].has_tls)
        tell_secret(c, "tls tickets", serve_tls_tickets());
}

static void
tell_tls(struct child *c)
{
    struct buf bundle = { 0 };

    if (!programs[c->program].has_tls)
        return;
    serve_tls_bundle(name_of(c), &bundle);
    tell_secret(c, "tls certificates", buf_slice(&bundle));
    buf_wipe(&bundle);
}

static void
tell_socket(struct child *c, const struct serve_socket *s, bool is_new)
{
    char text[ADDR_TEXT_OCTETS + 64];
    int fd;

    if (strcmp(s->program, name_of(c)) != 0 || (s->worker >= 0 && (unsigned)s->worker != c->worker))
        return;
    snprintf(text, sizeof text, "%s %s %s", is_new ? "listen" : "unlisten", s->service, s->key);
    if (!is_new) {
        tell(c, text, NULL, 0);
        return;
    }
    fd = s->fd < 0 ? -1 : fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0)
        tell(c, text, &fd, 1);
}

static void
tell_all_at_start(struct child *c)
{
    char text[64];

    snprintf(text, sizeof text, "worker %u", c->worker);
    tell(c, text, NULL, 0);
    for (size_t i = 0; i < COUNT_OF(programs); i++) {
        snprintf(text, sizeof text, "workers %s %u", programs[i].name,
                 serve_workers(sv.conf, programs[i].name));
        tell(c, text, NULL, 0);
    }
    tell_log(c);
    tell_conf(c);
    tell_tickets(c);
    tell_tls(c);
    for (size_t i = 0; i < sv.sockets.n; i++)
        if (sv.sockets.v[i].fd >= 0)
            tell_socket(c, &sv.sockets.v[i], true);
    tell(c, "go", NULL, 0);
}

/* ---- what a daemon says ---- */

bool
serve_are_children_ready(void)
{
    for (size_t i = 0; i < ch.n; i++)
        if (!ch.v[i].is_ready && !programs[ch.v[i].program].is_on_demand)
            return false;
    return ch.n > 0;
}

static void
start_group(bool is_front)
{
    for (size_t i = 0; i < ch.n; i++) {
        struct child *c = &ch.v[i];

        if (programs[c->program].is_front != is_front)
            continue;
        if (programs[c->program].is_on_demand)
            await_knock(c);
        else
            start(c);
    }
}

static void
look_at_readiness(void)
{
    for (size_t i = 0; i < ch.n && !ch.is_front_started; i++)
        if (!programs[ch.v[i].program].is_front && !programs[ch.v[i].program].is_on_demand &&
            !ch.v[i].is_ready)
            return;
    if (!ch.is_front_started) {
        ch.is_front_started = true;
        start_group(true);
    }
    if (serve_are_children_ready())
        serve_children_ready();
}

static void
on_msg(struct chan *chan, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct child *c = arg;
    struct slice verb = { 0 };
    uint64_t n;

    (void)chan;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    sl_take_word(&msg, " ", &verb);
    msg = sl_trim(msg);
    if (sl_eqz(verb, "ready")) {
        c->is_ready = c->was_ready = true;
        look_at_readiness();
    } else if (sl_eqz(verb, "failed")) {
        log_error("serve.failed", LOG_F(LF_Z("program", name_of(c)), LF_S("why", msg)),
                  "%s cannot start: %.*s", name_of(c), SL_ARG(msg));
        if (sv.state == SERVE_STARTING)
            serve_stop(DAEMON_EXIT_CONFIG);
    } else if (sl_eqz(verb, "status") && sl_take_prefix(&msg, SL("sessions=")) &&
               sl_to_u64(msg, &n)) {
        c->sessions = (int64_t)n;
        c->has_answered = true;
        for (size_t i = 0; i < ch.n; i++)
            if (ch.v[i].is_ready && !ch.v[i].has_answered)
                return;
        finish_status(NULL);
    }
}

static void
on_gone(struct chan *chan, void *arg)
{
    struct child *c = arg;

    (void)chan;
    chan_free(&c->ch); /* its end is told by SIGCHLD */
}

static const struct chan_ops chan_ops = { .on_msg = on_msg, .on_close = on_gone };

/* ---- start and end ---- */

/* In the child, after fork. Signals, descriptors and the working folder are as a daemon wants them. */
static _Noreturn void
exec_program(const struct child *c, int control)
{
    char *argv[] = { (char *)(uintptr_t)name_of(c), NULL };
    int null = open("/dev/null", O_RDWR);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(control, DAEMON_CONTROL_FD) < 0)
        _exit(127);
    if (control == DAEMON_CONTROL_FD && fcntl(control, F_SETFD, 0) != 0)
        _exit(127);
    if (close_range(DAEMON_CONTROL_FD + 1, ~0U, 0) != 0 || chdir("/") != 0)
        _exit(127);
    execv(ch.path[c->program], argv);
    _exit(127);
}

static void
on_knock(void *arg)
{
    struct child *c = arg;

    loop_unwatch(&c->knock);
    start(c);
}

/* Until it runs, its socket is watched here; who knocks waits in the socket's queue. */
static void
await_knock(struct child *c)
{
    loop_unwatch(&c->knock);
    if (c->pid > 0 || sv.state == SERVE_STOPPING)
        return;
    for (size_t i = 0; i < sv.sockets.n; i++)
        if (strcmp(sv.sockets.v[i].program, name_of(c)) == 0 && sv.sockets.v[i].fd >= 0) {
            c->knock = loop_watch_fd(sv.sockets.v[i].fd, on_knock, c);
            return;
        }
}

static void
on_restart(void *arg)
{
    const struct child *c = arg;

    if (programs[c->program].is_on_demand)
        await_knock(arg);
    else
        start(arg);
}

static void
start_later(struct child *c)
{
    unsigned at = c->tries < COUNT_OF(backoff_ms) ? c->tries : COUNT_OF(backoff_ms) - 1;

    c->tries++;
    timer_start(&c->restart, backoff_ms[at], on_restart, c);
}

static void
start(struct child *c)
{
    int fds[2];
    pid_t pid;

    if (sv.state == SERVE_STOPPING || c->pid > 0)
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) {
        log_error("serve.start", LOG_NONE, "cannot start %s: %s", name_of(c), strerror(errno));
        start_later(c);
        return;
    }
    pid = fork();
    if (pid == 0)
        exec_program(c, fds[1]);
    close(fds[1]);
    if (pid < 0) {
        log_error("serve.start", LOG_NONE, "cannot start %s: %s", name_of(c), strerror(errno));
        close(fds[0]);
        start_later(c);
        return;
    }
    c->pid = pid;
    c->is_ready = false;
    c->sessions = 0;
    c->started_ms = loop_now_ms();
    c->ch = chan_new(fds[0], &chan_ops, c);
    tell_all_at_start(c);
}

static void
log_end(const struct child *c, int status)
{
    const char *path = ch.path[c->program];

    if (WIFSIGNALED(status))
        log_warn("serve.died",
                 LOG_F(LF_Z("program", name_of(c)), LF_N("pid", c->pid),
                       LF_N("signal", WTERMSIG(status))),
                 "process %s pid %ld killed by signal %d", path, (long)c->pid, WTERMSIG(status));
    else
        log_warn("serve.died",
                 LOG_F(LF_Z("program", name_of(c)), LF_N("pid", c->pid),
                       LF_N("status", WEXITSTATUS(status))),
                 "process %s pid %ld exit status %d", path, (long)c->pid, WEXITSTATUS(status));
}

static void look_at_drain(void);

static void
ended(struct child *c, int status)
{
    uint64_t lived_ms;

    bool is_done = programs[c->program].is_on_demand && WIFEXITED(status) &&
                   WEXITSTATUS(status) == 0; /* it had nothing more to do */

    chan_free(&c->ch);
    timer_stop(&c->kill);
    if (!c->is_draining && !is_done)
        log_end(c, status);
    c->pid = 0;
    c->is_ready = false;
    if (sv.state == SERVE_STOPPING) {
        look_at_drain();
        return;
    }
    if (is_done) {
        c->tries = 0;
        await_knock(c);
        return;
    }
    lived_ms = loop_now_ms() - c->started_ms;
    if (lived_ms >= QUIET_MS)
        c->tries = 0;
    if (lived_ms < AT_ONCE_MS) {
        log_warn("serve.throttle", LOG_F(LF_Z("program", name_of(c))),
                 "%s: bad command startup -- throttling", ch.path[c->program]);
        c->tries += c->tries == 0;
    }
    if (!c->was_ready && c->tries >= START_TRIES && sv.state == SERVE_STARTING) {
        log_error("serve.failed", LOG_F(LF_Z("program", name_of(c))), "%s does not come up",
                  name_of(c));
        serve_stop(EXIT_FAILURE);
        return;
    }
    c->restarts++;
    start_later(c);
}

void
serve_on_sigchld(int signo, void *arg)
{
    (void)signo;
    (void)arg;
    for (size_t i = 0; i < ch.n; i++) {
        int status;

        if (ch.v[i].pid > 0 && waitpid(ch.v[i].pid, &status, WNOHANG) == ch.v[i].pid)
            ended(&ch.v[i], status);
    }
}

void
serve_children_start(void)
{
    size_t n = 0, at = 0;

    for (size_t i = 0; i < COUNT_OF(programs); i++)
        n += serve_workers(sv.conf, programs[i].name);
    BUG_ON(n > CHILDREN_MAX * 2);
    ch.v = mem_zalloc(n * sizeof *ch.v);
    ch.n = n;
    for (size_t i = 0; i < COUNT_OF(programs); i++)
        for (unsigned w = 0; w < serve_workers(sv.conf, programs[i].name); w++)
            ch.v[at++] = (struct child){ .program = i, .worker = w };
    start_group(false);
}

/* ---- all of them ---- */

void
serve_children_reload(void)
{
    for (size_t i = 0; i < ch.n; i++) {
        tell_log(&ch.v[i]);
        tell_conf(&ch.v[i]);
        tell(&ch.v[i], "reload", NULL, 0);
    }
}

void
serve_children_tls(void)
{
    for (size_t i = 0; i < ch.n; i++)
        tell_tls(&ch.v[i]);
}

void
serve_children_tickets(void)
{
    for (size_t i = 0; i < ch.n; i++)
        tell_tickets(&ch.v[i]);
}

static bool
has_socket(const struct serve_sockets *in, const struct serve_socket *s)
{
    for (size_t i = 0; i < in->n; i++)
        if (strcmp(in->v[i].service, s->service) == 0 && strcmp(in->v[i].key, s->key) == 0)
            return true;
    return false;
}

void
serve_children_sockets(const struct serve_sockets *now, const struct serve_sockets *before)
{
    for (size_t i = 0; i < now->n; i++)
        for (size_t j = 0; j < ch.n && !has_socket(before, &now->v[i]); j++)
            tell_socket(&ch.v[j], &now->v[i], true);
    for (size_t i = 0; i < before->n; i++)
        for (size_t j = 0; j < ch.n && !has_socket(now, &before->v[i]); j++)
            tell_socket(&ch.v[j], &before->v[i], false);
    for (size_t i = 0; i < ch.n; i++)
        if (programs[ch.v[i].program].is_on_demand)
            await_knock(&ch.v[i]);
}

void
serve_children_log(void)
{
    for (size_t i = 0; i < ch.n; i++)
        tell_log(&ch.v[i]);
}

/* ---- stopping: first who talks to clients, then who they need ---- */

static void
on_kill(void *arg)
{
    struct child *c = arg;

    log_warn("serve.kill", LOG_F(LF_Z("program", name_of(c)), LF_N("pid", c->pid)),
             "process %s pid %ld does not end: killed", ch.path[c->program], (long)c->pid);
    kill(c->pid, SIGKILL);
}

static void
drain(struct child *c, unsigned limit_ms)
{
    char text[32];

    if (c->pid <= 0 || c->is_draining)
        return;
    c->is_draining = true;
    snprintf(text, sizeof text, "drain %u", limit_ms);
    tell(c, text, NULL, 0);
    timer_start(&c->kill, limit_ms + KILL_AFTER_MS, on_kill, c);
}

/* imapd and pop3d hold clients' sessions as well. */
static bool
holds_clients(const struct child *c)
{
    const char *n = name_of(c);

    return programs[c->program].is_front || strcmp(n, "imapd") == 0 || strcmp(n, "pop3d") == 0;
}

static void
look_at_drain(void)
{
    bool is_front = false, is_any = false;

    for (size_t i = 0; i < ch.n; i++) {
        is_any = is_any || ch.v[i].pid > 0;
        is_front = is_front || (ch.v[i].pid > 0 && holds_clients(&ch.v[i]));
    }
    if (!is_any) {
        serve_children_gone();
        return;
    }
    for (size_t i = 0; i < ch.n; i++)
        if (is_front && holds_clients(&ch.v[i]))
            drain(&ch.v[i], SERVE_DRAIN_FRONT_MS);
        else if (!is_front)
            drain(&ch.v[i], SERVE_DRAIN_BACK_MS);
}

void
serve_children_drain(void)
{
    for (size_t i = 0; i < ch.n; i++) {
        timer_stop(&ch.v[i].restart);
        loop_unwatch(&ch.v[i].knock);
    }
    look_at_drain();
}

void
serve_children_kill(void)
{
    for (size_t i = 0; i < ch.n; i++)
        if (ch.v[i].pid > 0) {
            ch.v[i].is_draining = true;
            kill(ch.v[i].pid, SIGKILL);
        }
}

/* ---- status ---- */

static void
finish_status(void *arg)
{
    struct buf text = { 0 };
    size_t n = ch.n_asking;

    (void)arg;
    timer_stop(&ch.status_timer);
    for (size_t i = 0; i < ch.n; i++) {
        const struct child *c = &ch.v[i];

        if (programs[c->program].is_on_demand && c->pid == 0)
            continue;
        buf_addf(&text, "daemon %s %u %ld %s %lld %u\n", name_of(c), c->worker, (long)c->pid,
                 c->is_ready ? "ready"
                 : c->pid    ? "starting"
                             : "waiting",
                 (long long)c->sessions, c->restarts);
    }
    ch.n_asking = 0;
    for (size_t i = 0; i < n; i++)
        ch.asking[i].fn(buf_slice(&text), ch.asking[i].arg);
    buf_free(&text);
}

void
serve_children_status(void (*fn)(struct slice lines, void *arg), void *arg)
{
    bool is_asked = ch.n_asking > 0, is_any = false;

    ch.asking = mem_grow(ch.asking, &ch.cap_asking, ch.n_asking + 1, sizeof *ch.asking);
    ch.asking[ch.n_asking].fn = fn;
    ch.asking[ch.n_asking++].arg = arg;
    if (is_asked)
        return;
    for (size_t i = 0; i < ch.n; i++) {
        ch.v[i].has_answered = false;
        if (ch.v[i].is_ready) {
            tell(&ch.v[i], "status", NULL, 0);
            is_any = true;
        }
    }
    timer_start(&ch.status_timer, is_any ? STATUS_WAIT_MS : 0, finish_status, NULL);
}
