/* tests/fuzz/wire.h - for targets that are a server: a connection of which the fuzzer is the other end, and stand-ins of
 * authd and qmgr in the same process, on sockets in a folder of their own. */
#ifndef POSTERN_TESTS_FUZZ_WIRE_H
#define POSTERN_TESTS_FUZZ_WIRE_H

#include "auth/tab.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WIRE_IDLE_TURNS = 40, WIRE_END_MS = 5000, WIRE_NAP_US = 50, WIRE_NAPS_MAX = 400 };

static char wire_dir[64];

struct wire {
    int fd;                /* the client's end */
    struct buf got;        /* all that the server said */
    unsigned idle;         /* turns of the loop since it said the last */
    unsigned naps;         /* since then, too */
    bool (*is_busy)(void); /* a thread of the server is at work; may be NULL */
    bool is_closed, is_ending, is_late;
    struct loop_watch *output, *turn;
    struct timer limit;
};
static int wire_turns = -1; /* an eventfd that is always readable: its watch runs once a turn */

static void
wire_rmdir(void)
{
    char command[96];

    snprintf(command, sizeof command, "rm -rf %s", wire_dir);
    if (system(command) != 0)
        perror(wire_dir);
}

/* Once, before all else. Returns a buffer with main.cf's queue_directory. */
static inline void
wire_init(struct buf *main_cf)
{
    const char *where =
        getenv("TMPDIR"); /* what is left behind there after a crash is the caller's */
    char path[96];

    signal(SIGPIPE, SIG_IGN);
    loop_init();
    snprintf(wire_dir, sizeof wire_dir, "%s/fuzz-XXXXXX",
             where && strlen(where) < 40 ? where : "/tmp");
    MUST(mkdtemp(wire_dir) != NULL);
    atexit(wire_rmdir);
    snprintf(path, sizeof path, "%s/private", wire_dir);
    MUST(mkdir(path, 0700) == 0);
    buf_addf(main_cf, "queue_directory = %s\n", wire_dir);
    wire_turns = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
}

static inline const char *
wire_path(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/private/%s", wire_dir, name);
    return path;
}

static inline void
wire_listen(const char *name, int type,
            void (*on)(struct listener *, void *, int, const struct addr *))
{
    struct addr a;
    struct err e;

    MUST(addr_unix(wire_path(name), &a, &e) == 0);
    MUST(listener_new(listener_bind(&a, type, 0600, &e), on, NULL) != NULL);
}

/* ---- the client ---- */

static inline void
wire_on_output(void *arg)
{
    struct wire *w = arg;
    char piece[16 * 1024];
    ssize_t n = recv(w->fd, piece, sizeof piece, MSG_DONTWAIT);

    w->idle = w->naps = 0;
    if (n > 0) {
        buf_add(&w->got, piece, (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        w->is_closed = true;
        loop_unwatch(&w->output);
        loop_stop();
    }
}

static inline void
wire_on_turn(void *arg)
{
    struct wire *w = arg;

    if (w->is_busy && w->is_busy() && w->naps < WIRE_NAPS_MAX) { /* it may also wait for us */
        w->idle = 0;
        w->naps++;
        usleep(WIRE_NAP_US);
    }
    if (++w->idle >= WIRE_IDLE_TURNS && !w->is_ending)
        loop_stop();
}

static inline void
wire_on_limit(void *arg)
{
    ((struct wire *)arg)->is_late = true;
    loop_stop();
}

/* The server's end; give it to the server. */
static inline int
wire_open(struct wire *w)
{
    int pair[2];

    memset(w, 0, sizeof *w);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    w->fd = pair[0];
    w->output = loop_watch_fd(w->fd, wire_on_output, w);
    return pair[1];
}

/* Send, then let the loop run until nothing happens any more. */
static inline void
wire_send(struct wire *w, struct slice s)
{
    while (s.n > 0 && !w->is_closed) {
        ssize_t n = send(w->fd, s.p, s.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN)
            return;
        s = sl_from(s, n > 0 ? (size_t)n : 0);
        w->idle = w->naps = 0;
        w->turn = loop_watch_fd(wire_turns, wire_on_turn, w);
        loop_run();
        loop_unwatch(&w->turn);
        if (n <= 0)
            return; /* it does not read: held back, or waiting */
    }
}

/* The client goes; the server must go too, soon. */
static inline void
wire_close(struct wire *w)
{
    shutdown(w->fd, SHUT_WR);
    w->is_ending = true;
    timer_start(&w->limit, WIRE_END_MS, wire_on_limit, w);
    while (!w->is_closed && !w->is_late)
        loop_run();
    timer_stop(&w->limit);
    MUST(!w->is_late);
    close(w->fd);
    buf_free(&w->got);
}

/* A few turns more, for what ends after the connection. */
static inline void
wire_settle(struct wire *w)
{
    w->idle = w->naps = 0;
    w->is_ending = false;
    w->turn = loop_watch_fd(wire_turns, wire_on_turn, w);
    loop_run();
    loop_unwatch(&w->turn);
}

/* ---- authd ---- */

static inline void
wire_on_auth_input(struct conn *c, void *arg)
{
    struct slice line, verb, id, field, v;

    (void)arg;
    while (conn_take_line(c, TAB_LINE_OCTETS, LINE_LF_TOO, &line) == FRAME_OK) {
        struct buf copy = { 0 };
        bool is_first = true, is_plain = false;

        buf_adds(&copy, line);
        line = buf_slice(&copy);
        if (tab_take(&line, &verb) && tab_take(&line, &id)) {
            if (sl_eqz(verb, "AUTH")) {
                while (tab_take(&line, &field)) {
                    is_plain = is_plain || (is_first && sl_eqz(field, "PLAIN"));
                    is_first = false;
                    if (tab_is_pair(field, "resp", &v) && is_plain)
                        verb = SL("CONT");
                }
                if (!sl_eqz(verb, "CONT"))
                    conn_printf(c, "CONT\t%.*s\t%s\n", SL_ARG(id), is_plain ? "" : "VXNlcm5hbWU6");
            } else if (sl_eqz(verb, "CONT")) {
                v = line;
            }
            /* "AHUAcA==" is right; the rest of two kinds wrong. */
            if (sl_eqz(verb, "CONT") && sl_eqz(v, "AHUAcA=="))
                conn_printf(c, "OK\t%.*s\tuser=u@example.com\tpostern_cookie=c\n", SL_ARG(id));
            else if (sl_eqz(verb, "CONT"))
                conn_printf(c, "FAIL\t%.*s%s\n", SL_ARG(id), v.n % 2 ? "\ttemp" : "");
        }
        buf_free(&copy);
    }
}

static inline void
wire_on_conn_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c;
    (void)arg;
    (void)end;
    (void)why;
}

static inline void
wire_auth_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    static const struct conn_ops ops = { .on_input = wire_on_auth_input,
                                         .on_close = wire_on_conn_close };

    (void)l;
    (void)arg;
    (void)peer;
    conn_printf(conn_new(fd, &ops, NULL),
                "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\n"
                "COOKIE\t0123456789abcdef0123456789abcdef\nDONE\n");
}

#endif
