/* core/core_test.c - timers, deferred calls, ids, addresses, the work pool, the descriptor channel. */
#include "core/addr.h"
#include "core/chan.h"
#include "core/listener.h"
#include "core/loop.h"
#include "core/work.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct buf trace;

static void
note(void *arg)
{
    buf_addz(&trace, arg);
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void
turn(uint64_t ms)
{
    struct timer t = { 0 };

    timer_start(&t, ms, stop, NULL);
    loop_run();
    timer_stop(&t);
}

static void
check_trace(const char *want)
{
    CHECK_EQ_STR(buf_z(&trace), want);
    buf_free(&trace);
}

/* ---- loop ---- */

static struct timer ta, tb, tc, td;

static void
stop_others(void *arg)
{
    note(arg);
    timer_stop(&tb); /* due in the same turn */
    timer_start(&td, 0, note, "d");
}

TEST(timers_run_in_order_and_may_stop_each_other)
{
    loop_init();
    timer_start(&tc, 30, note, "c");
    timer_start(&tb, 5, note, "b");
    timer_start(&ta, 5, note, "never");
    timer_start(&ta, 4, stop_others, "a"); /* again: the last one counts */
    CHECK(timer_is_running(&ta));
    timer_stop(&td);
    usleep(8000); /* a and b fall due together */
    turn(15);
    CHECK(!timer_is_running(&ta) && !timer_is_running(&tb) && timer_is_running(&tc));
    turn(30);
    check_trace("adc");
    loop_free();
}

TEST(many_timers_keep_their_order)
{
    enum { N = 2000 };
    static struct timer t[N];
    static uint64_t due[N];
    unsigned seed = 1, running = 0;

    loop_init();
    for (int i = 0; i < N; i++) {
        seed = seed * 1103515245 + 12345;
        due[i] = seed >> 16 & 1023;
        timer_start(&t[i], due[i] + 1000000, note, "x");
    }
    for (int i = 0; i < N; i += 3)
        timer_stop(&t[i]);
    for (int i = 1; i < N; i += 7)
        timer_start(&t[i], 2000000, note, "x");
    /* The heap's order shows in where the timers stand: a parent is due no later than its children. */
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N && t[i].heap_at; j++)
            if (t[j].heap_at / 2 == t[i].heap_at && t[j].heap_at > 1 && t[j].due_ms < t[i].due_ms)
                FAIL("%u is due before %u", t[j].heap_at, t[i].heap_at);
    for (int i = 0; i < N; i++) {
        running += timer_is_running(&t[i]);
        timer_stop(&t[i]);
    }
    CHECK(running > N / 2 && running < N);
    loop_free();
}

static void
defer_again(void *arg)
{
    note(arg);
    loop_defer(note, "3");
}

static void *
call_in(void *arg)
{
    loop_call_from_thread(note, arg);
    loop_call_from_thread(stop, NULL);
    return NULL;
}

TEST(deferred_and_foreign_calls)
{
    pthread_t th;
    struct timer guard = { 0 };

    loop_init();
    loop_defer(defer_again, "1");
    loop_defer(note, "2");
    CHECK_EQ_INT(trace.n, 0);
    turn(1);
    check_trace("123");
    pthread_create(&th, NULL, call_in, "from afar");
    timer_start(&guard, 2000, stop, NULL);
    loop_run();
    CHECK(timer_is_running(&guard)); /* the call stopped the loop, not the guard */
    timer_stop(&guard);
    pthread_join(th, NULL);
    check_trace("from afar");
    loop_free();
}

static void
on_signal(int signo, void *arg)
{
    buf_addf(&trace, "%s%d", (const char *)arg, signo == SIGUSR1);
    loop_stop();
}

static void
on_readable(void *arg)
{
    char c;

    if (read(*(int *)arg, &c, 1) == 1)
        buf_addc(&trace, c);
}

TEST(signals_and_watched_descriptors)
{
    int p[2];
    struct loop_watch *w;

    NEED(pipe(p) == 0);
    loop_init();
    w = loop_watch_fd(p[0], on_readable, &p[0]);
    CHECK_EQ_INT(write(p[1], "xy", 2), 2);
    turn(3);
    loop_unwatch(&w);
    loop_unwatch(&w);
    CHECK_EQ_INT(write(p[1], "z", 1), 1);
    turn(3);
    loop_on_signal(SIGUSR1, on_signal, "signal");
    raise(SIGUSR1);
    turn(500);
    check_trace("xysignal1");
    loop_free();
    close(p[0]);
    close(p[1]);
}

TEST(ids_are_never_told_twice)
{
    int a, b;
    uint64_t first = id_add(&a), second = id_add(&b), again;

    CHECK(first != 0 && second != 0 && first != second);
    CHECK(id_get(first) == &a && id_get(second) == &b);
    id_del(first);
    id_del(first);
    CHECK(id_get(first) == NULL);
    again = id_add(&b);
    CHECK(again != first && id_get(again) == &b && id_get(first) == NULL);
    CHECK(id_get(0) == NULL && id_get(UINT64_MAX) == NULL);
    id_del(again);
    id_del(second);
}

/* ---- addresses ---- */

TEST(addresses)
{
    static const struct {
        const char *in, *ip, *text, *net;
    } rows[] = {
        { "192.0.2.7", "192.0.2.7", "192.0.2.7:25", "192.0.2.0/24" },
        { "[2001:db8:1:2ff::1]", "2001:db8:1:2ff::1", "[2001:db8:1:2ff::1]:25",
          "2001:db8:1:200::/56" },
        { "::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7:25", "192.0.2.0/24" },
        { "::1", "::1", "[::1]:25", "::/56" },
        { "192.0.2", NULL, NULL, NULL },
        { "192.0.2.7 ", NULL, NULL, NULL },
        { "[192.0.2.7", NULL, NULL, NULL },
        { "", NULL, NULL, NULL },
        { "host.example", NULL, NULL, NULL },
    };
    struct addr a, b;
    char text[ADDR_TEXT_OCTETS], path[200];

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(addr_parse_ip(sl_z(rows[i].in), 25, &a), rows[i].ip ? 0 : -1);
        if (!rows[i].ip)
            continue;
        CHECK_EQ_STR(addr_ip_text(&a, text), rows[i].ip);
        CHECK_EQ_STR(addr_text(&a, text), rows[i].text);
        CHECK_EQ_STR(addr_net_text(&a, text), rows[i].net);
        CHECK_EQ_INT(addr_port(&a), 25);
    }
    TEST_ROW("networks");
    NEED(addr_parse_ip(SL("10.1.130.9"), 0, &a) == 0 &&
         addr_parse_ip(SL("10.1.128.0"), 0, &b) == 0);
    CHECK(addr_in_net(&a, &b, 17) && addr_in_net(&a, &b, 22) && !addr_in_net(&a, &b, 23));
    CHECK(addr_in_net(&a, &b, 0) && !addr_in_net(&a, &b, 33) && !addr_same_ip(&a, &b));
    NEED(addr_parse_ip(SL("::"), 0, &b) == 0);
    CHECK(!addr_in_net(&a, &b, 0));
    CHECK(!addr_is_loopback(&a));
    memset(path, 'x', sizeof path);
    path[sizeof path - 1] = '\0';
    CHECK_EQ_INT(addr_unix(path, &a, NULL), -1);
    CHECK_EQ_INT(addr_unix("/run/x", &a, NULL), 0);
    CHECK_EQ_STR(addr_text(&a, text), "/run/x");
    CHECK_EQ_STR(addr_ip_text(&a, text), "unknown");
}

/* ---- work ---- */

struct job {
    struct work_job w;
    atomic_int runs;
    int want_runs, n_parked, n_done;
    bool park, on_loop;
    pthread_t loop_thread;
};
static int jobs_left;
static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;

static enum work_rc
run(struct work_job *w)
{
    struct job *j = CONTAINER_OF(w, struct job, w);

    if (pthread_equal(j->loop_thread, pthread_self()))
        j->on_loop = true;
    pthread_mutex_lock(&order_lock);
    buf_addc(&trace, (char)('a' + j->want_runs));
    pthread_mutex_unlock(&order_lock);
    if (atomic_fetch_add(&j->runs, 1) + 1 >= j->want_runs)
        return WORK_DONE;
    return j->park ? WORK_PARK : WORK_YIELD;
}

static void
done(struct work_job *w)
{
    struct job *j = CONTAINER_OF(w, struct job, w);

    CHECK(pthread_equal(j->loop_thread, pthread_self()));
    j->n_done++;
    if (--jobs_left == 0)
        loop_stop();
}

static void
parked(struct work_job *w)
{
    CONTAINER_OF(w, struct job, w)->n_parked++;
    work_resume(w);
}

static struct job
job_new(int want_runs, bool park)
{
    return (struct job){ .w = { .run = run, .done = done, .parked = parked },
                         .want_runs = want_runs,
                         .park = park,
                         .loop_thread = pthread_self() };
}

TEST(jobs_yield_park_and_finish_on_the_loop)
{
    struct work_pool *p = work_pool_new("test", 1, 0);
    struct job a = job_new(3, false), b = job_new(1, false), c = job_new(2, true);

    loop_init();
    jobs_left = 3;
    CHECK(work_submit(p, &a.w) && work_submit(p, &b.w) && work_submit(p, &c.w));
    CHECK_EQ_INT(work_pending(p), 3);
    loop_run(); /* also: pending work keeps the loop running */
    CHECK_EQ_INT(work_pending(p), 0);
    CHECK_EQ_INT(a.runs, 3);
    CHECK_EQ_INT(c.n_parked, 1);
    CHECK(a.n_done == 1 && b.n_done == 1 && c.n_done == 1);
    CHECK(!a.on_loop && !c.on_loop);
    /* One thread: a yielded to b before it ran again. */
    CHECK(strchr(buf_z(&trace), 'b') < strrchr(buf_z(&trace), 'd'));
    buf_free(&trace);
    work_pool_free(&p);
    loop_free();
}

TEST(a_resume_that_comes_too_early_is_not_lost)
{
    struct work_pool *p = work_pool_new("test", 2, 0);

    loop_init();
    for (int i = 0; i < 200; i++) {
        struct job j = job_new(4, true);

        jobs_left = 1;
        CHECK(work_submit(p, &j.w));
        work_resume(&j.w); /* while it is queued, runs, or is about to park */
        loop_run();
        CHECK_EQ_INT(j.runs, 4);
    }
    buf_free(&trace);
    work_pool_free(&p);
    loop_free();
}

static void
allow_threads(void *arg)
{
    setrlimit(RLIMIT_NPROC, arg);
}

/* In a process of its own, under a user who may start nothing: 0 when the job ran once that was allowed again. */
static int
run_without_threads(void)
{
    struct rlimit was, none;
    struct work_pool *p = work_pool_new("test", 1, 0);
    struct job j = job_new(1, false);
    struct timer later = { 0 };

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        return 2;
    getrlimit(RLIMIT_NPROC, &was);
    none = was;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NPROC, &none);
    loop_init();
    jobs_left = 1;
    if (!work_submit(p, &j.w))
        return 3;
    timer_start(&later, 50, allow_threads, &was);
    loop_run();
    return j.runs == 1 ? 0 : 4;
}

TEST(a_job_waits_for_a_thread_that_cannot_be_started)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(run_without_threads());
    CHECK_EQ_INT(waitpid(pid, &status, 0), pid);
    CHECK_EQ_INT(status, 0);
}

static atomic_int gate;

static enum work_rc
wait_gate(struct work_job *w)
{
    (void)w;
    while (!atomic_load(&gate))
        usleep(200);
    return WORK_DONE;
}

TEST(the_queue_is_bounded_and_freeing_drops_nothing)
{
    struct work_pool *p = work_pool_new("test", 1, 2);
    struct job j[4] = { job_new(1, false), job_new(1, false), job_new(1, false),
                        job_new(1, false) };
    int taken = 0;

    loop_init();
    atomic_store(&gate, 0);
    jobs_left = 100;
    j[0].w.run = wait_gate;
    CHECK(work_submit(p, &j[0].w));
    usleep(20 * 1000); /* the thread has it */
    for (int i = 1; i < 4; i++)
        taken += work_submit(p, &j[i].w);
    CHECK_EQ_INT(taken, 2);
    atomic_store(&gate, 1);
    work_pool_free(&p); /* waits */
    CHECK(j[0].n_done == 1 && j[1].n_done == 1 && j[2].n_done == 1 && j[3].n_done == 0);
    turn(0);
    buf_free(&trace);
    loop_free();
}

static atomic_int n_inside, most_inside;

static enum work_rc
stay(struct work_job *w)
{
    struct job *j = CONTAINER_OF(w, struct job, w);
    int now = atomic_fetch_add(&n_inside, 1) + 1;

    if (now > atomic_load(&most_inside))
        atomic_store(&most_inside, now);
    while (!atomic_load(&gate))
        usleep(200);
    pthread_mutex_lock(&order_lock);
    buf_addc(&trace, (char)('a' + j->want_runs));
    pthread_mutex_unlock(&order_lock);
    atomic_fetch_sub(&n_inside, 1);
    return WORK_DONE;
}

static void
open_gate(struct work_job *w)
{
    done(w);
    atomic_store(&gate, 1);
}

/* A key that would take every thread, and jobs that end: another key's, and one of none. */
TEST(jobs_of_a_key_leave_threads_to_others)
{
    struct work_pool *p = work_pool_new("test", 4, 0);
    struct job greedy[12], other = job_new(1, false), none = job_new(1, false);

    loop_init();
    work_pool_share(p, 2);
    atomic_store(&gate, 0);
    jobs_left = 14;
    for (int i = 0; i < 12; i++) {
        greedy[i] = job_new(i, false);
        greedy[i].w.run = stay;
        greedy[i].w.key = 7;
        CHECK(work_submit(p, &greedy[i].w));
    }
    CHECK(work_submit(p, &none.w));
    other.w.key = 8;
    other.w.done = open_gate; /* else nothing ends */
    CHECK(work_submit(p, &other.w));
    loop_run();
    CHECK_EQ_INT(atomic_load(&most_inside), 2);
    CHECK_EQ_INT(other.n_done, 1);
    CHECK_EQ_INT(none.n_done, 1);
    for (int i = 0; i < 12; i++)
        CHECK_EQ_INT(greedy[i].n_done, 1);
    CHECK_EQ_INT(work_pending(p), 0);
    buf_free(&trace);
    work_pool_free(&p);
    loop_free();
}

/* One thread, so that turns show: keys go round and round, each in its own order. */
TEST(keys_take_turns)
{
    struct work_pool *p = work_pool_new("test", 1, 0);
    struct job first = job_new(25, false), j[6];

    loop_init();
    work_pool_share(p, 1);
    atomic_store(&gate, 0);
    jobs_left = 7;
    first.w.run = stay;
    first.w.key = 3;
    CHECK(work_submit(p, &first.w));
    usleep(20 * 1000); /* the thread has it */
    for (int i = 0; i < 6; i++) {
        j[i] = job_new(i, false);
        j[i].w.run = stay;
        j[i].w.key = i < 4 ? 1 : 2;
        CHECK(work_submit(p, &j[i].w));
    }
    atomic_store(&gate, 1);
    loop_run();
    CHECK_EQ_STR(buf_z(&trace), "zaebfcd");
    buf_free(&trace);
    work_pool_free(&p);
    loop_free();
}

/* ---- channel ---- */

struct end {
    struct chan *c;
    struct buf got;
    unsigned n_msgs, n_closed;
    size_t n_fds;
    bool free_in_msg;
};

static void
on_msg(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    struct end *e = arg;
    struct err err = { 0 };

    (void)c;
    e->n_msgs++;
    if (msg.n < 100)
        buf_addf(&e->got, "<%.*s>", SL_ARG(msg));
    for (size_t i = 0; i < n_fds; i++) {
        if (chan_read_memfd(fds[i], &e->got, &err) != 0)
            FAIL("%s", err.msg);
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
    e->n_fds += n_fds;
    if (e->free_in_msg)
        chan_free(&e->c);
}

static void
on_close(struct chan *c, void *arg)
{
    struct end *e = arg;

    (void)c;
    e->n_closed++;
    chan_free(&e->c);
}

static const struct chan_ops chan_ops = { .on_msg = on_msg, .on_close = on_close };

static void
ends_start(struct end *a, struct end *b)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    *a = *b = (struct end){ 0 };
    loop_init();
    a->c = chan_new(fds[0], &chan_ops, a);
    b->c = chan_new(fds[1], &chan_ops, b);
}

static void
ends_stop(struct end *a, struct end *b)
{
    chan_free(&a->c);
    chan_free(&b->c);
    turn(0);
    loop_free();
    buf_free(&a->got);
    buf_free(&b->got);
}

static int
count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 200; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

TEST(messages_carry_descriptors)
{
    struct end a, b;
    struct err e = { 0 };
    int fds[2], before = count_fds();

    ends_start(&a, &b);
    fds[0] = chan_memfd("one", SL("first"), &e);
    fds[1] = chan_memfd("two", SL("second"), &e);
    NEED(fds[0] >= 0 && fds[1] >= 0);
    CHECK(write(fds[0], "x", 1) < 0); /* sealed */
    CHECK_EQ_INT(chan_send(a.c, SL("here"), fds, 2), 0);
    CHECK_EQ_INT(chan_send(b.c, SL("back"), NULL, 0), 0);
    turn(3);
    CHECK_EQ_STR(buf_z(&b.got), "<here>firstsecond");
    CHECK_EQ_STR(buf_z(&a.got), "<back>");
    chan_free(&a.c);
    turn(3);
    CHECK_EQ_INT(b.n_closed, 1);
    ends_stop(&a, &b);
    CHECK_EQ_INT(count_fds(), before);
}

TEST(a_slow_reader_gets_all_in_order_and_a_full_queue_says_so)
{
    struct end a, b;
    static char big[CHAN_MSG_OCTETS];
    unsigned sent = 0;

    ends_start(&a, &b);
    while (sent < 5000 && chan_send(a.c, sl_n(big, sizeof big), NULL, 0) == 0)
        sent++;
    CHECK(sent > 100 && sent < 5000);
    CHECK_EQ_INT(chan_send(a.c, SL("refused"), NULL, 0), -1);
    for (int i = 0; i < 1000 && b.n_msgs < sent; i++)
        turn(1);
    CHECK_EQ_INT(b.n_msgs, sent);
    CHECK_EQ_INT(chan_send(a.c, SL("again"), NULL, 0), 0);
    turn(3);
    CHECK_EQ_STR(buf_z(&b.got), "<again>");
    ends_stop(&a, &b);
}

TEST(a_channel_may_be_freed_by_its_own_message)
{
    struct end a, b;

    ends_start(&a, &b);
    b.free_in_msg = true;
    chan_send(a.c, SL("one"), NULL, 0);
    chan_send(a.c, SL("two"), NULL, 0);
    turn(3);
    CHECK_EQ_STR(buf_z(&b.got), "<one>");
    CHECK_EQ_INT(a.n_closed, 1);
    CHECK_EQ_INT(b.n_closed, 0);
    ends_stop(&a, &b);
}

/* ---- listeners on unix paths ---- */

TEST(unix_listeners_replace_leftovers_only)
{
    char dir[] = "/tmp/core_test.XXXXXX", path[64];
    struct addr a;
    struct err e = { 0 };
    struct stat st;
    int l, file;

    NEED(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/s", dir);
    NEED(addr_unix(path, &a, &e) == 0);
    l = listener_bind(&a, SOCK_STREAM, 0600, &e);
    NEED(l >= 0);
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    CHECK_EQ_INT(listener_bind(&a, SOCK_STREAM, 0600, &e), -1);
    CHECK_EQ_INT(e.sys, EADDRINUSE);
    close(l); /* as after kill -9: the file stays */
    l = listener_bind(&a, SOCK_SEQPACKET, 0666, &e);
    CHECK(l >= 0);
    close(l);
    unlink(path);
    file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    CHECK_EQ_INT(listener_bind(&a, SOCK_STREAM, 0600, &e), -1); /* not ours to remove */
    CHECK_EQ_INT(e.sys, EEXIST);
    unlink(path);
    rmdir(dir);
}

TEST_MAIN()
