/* session/queue_client_test.c - the queue's client against a qmgr of the test's own, which may hang, answer late, or go. */
#include "session/queue_client.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/chan.h"
#include "core/loop.h"
#include "session/queue_proto.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LIMIT_MS = 300, HANG_MS = 20 * 1000 };

/* ---- a qmgr ---- */

static struct {
    char dir[64], path[80];
    int listening;
    struct loop_watch *watch;
    struct chan *chan;
    unsigned connections, puts, asks, grants;
    bool hangs, keeps_verdicts;
    uint64_t late[8]; /* puts not answered */
    size_t n_late;
} fake;

static void
say_put(uint64_t req, uint32_t kind)
{
    struct buf b = { 0 };

    wire_add_u8(&b, 'p');
    wire_add_u64(&b, req);
    wire_add_u32(&b, kind);
    wire_add_u32(&b, 0);
    wire_add_str(&b, kind ? SL("no") : SL(""));
    CHECK(chan_send(fake.chan, buf_slice(&b), NULL, 0) == 0);
    buf_free(&b);
}

static void
say_grant(void)
{
    struct buf b = { 0 };

    wire_add_u8(&b, 'g');
    wire_add_u64(&b, 1000 * ++fake.grants);
    wire_add_u32(&b, 100);
    wire_add_u32(&b, 7);
    CHECK(chan_send(fake.chan, buf_slice(&b), NULL, 0) == 0);
    buf_free(&b);
}

static void
say_verdict(uint64_t req)
{
    struct buf b = { 0 };

    wire_add_u8(&b, 'v');
    wire_add_u64(&b, req);
    wire_add_u8(&b, 1);
    wire_add_u8(&b, VERIFY_BOUNCE);
    wire_add_str(&b, SL("nobody"));
    CHECK(chan_send(fake.chan, buf_slice(&b), NULL, 0) == 0);
    buf_free(&b);
}

static void
fake_msg(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    unsigned kind;
    uint64_t req = 0;

    (void)c, (void)arg, (void)fds, (void)n_fds;
    CHECK(wire_take_u8(&msg, &kind));
    if (kind == 'G') {
        if (!fake.hangs)
            say_grant();
        return;
    }
    CHECK(wire_take_u64(&msg, &req));
    if (kind == 'P') {
        fake.puts++;
        if (fake.hangs && fake.n_late < COUNT_OF(fake.late))
            fake.late[fake.n_late++] = req;
        else
            say_put(req, 0);
    } else if (kind == 'V') {
        fake.asks++;
        if (!fake.hangs && !fake.keeps_verdicts)
            say_verdict(req);
    }
}

static void
fake_close(struct chan *c, void *arg)
{
    (void)c, (void)arg;
    chan_free(&fake.chan);
}

static const struct chan_ops fake_ops = { fake_msg, fake_close };

static void
fake_accept(void *arg)
{
    int fd = accept(fake.listening, NULL, NULL);

    (void)arg;
    if (fd < 0)
        return;
    fake.connections++;
    fake.chan = chan_new(fd, &fake_ops, NULL);
}

static void
fake_listen(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    snprintf(a.sun_path, sizeof a.sun_path, "%s", fake.path);
    unlink(fake.path);
    fake.listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(bind(fake.listening, (struct sockaddr *)&a, sizeof a) == 0);
    CHECK(listen(fake.listening, 10) == 0);
    fake.watch = loop_watch_fd(fake.listening, fake_accept, NULL);
}

static void
fake_gone(void)
{
    chan_free(&fake.chan);
    loop_unwatch(&fake.watch);
    close(fake.listening);
}

/* ---- what the client says ---- */

static struct {
    int n, rc;
    struct err err;
    int n_verdicts, verdict_rc;
    enum verify_status status;
    char text[40];
    const struct queue_client *q; /* to be looked at with the verdict */
    bool was_up;
} told;

static void
on_commit(uint64_t id, int rc, const struct err *e)
{
    (void)id;
    told.n++;
    told.rc = rc;
    told.err = *e;
    loop_stop();
}

static void
on_verdict(uint64_t id, int rc, enum verify_status status, struct slice text)
{
    (void)id;
    told.n_verdicts++;
    told.verdict_rc = rc;
    told.status = status;
    snprintf(told.text, sizeof told.text, "%.*s", SL_ARG(text));
    told.was_up = told.q && queue_client_is_up(told.q);
    loop_stop();
}

static void
hung(void *arg)
{
    (void)arg;
    FAIL("it hangs");
    loop_stop();
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

/* Run until a callback stops the loop. */
static void
run(void)
{
    struct timer limit = { 0 };

    timer_start(&limit, HANG_MS, hung, NULL);
    loop_run();
    timer_stop(&limit);
}

static void
run_for(uint64_t ms)
{
    struct timer t = { 0 };

    timer_start(&t, ms, stop, NULL);
    loop_run();
    timer_stop(&t);
}

static void
until_up(struct queue_client *q, bool wanted)
{
    for (int i = 0; i < 200 && queue_client_is_up(q) != wanted; i++)
        run_for(20);
    CHECK_EQ_INT(queue_client_is_up(q), wanted);
}

static bool
commit(struct queue_client *q)
{
    static const struct queue_rcpt to = { .addr = SL_INIT("a@x"), .orig = SL_INIT("a@x") };
    struct queue_env env = { .rcpts = &to, .n_rcpts = 1 };
    struct queue_put *p;

    if (queue_id_new(q, env.id) != 0)
        return false;
    p = queue_put_new(q);
    queue_put_write(p, SL("Subject: x\r\n\r\n"));
    queue_put_commit(p, &env, on_commit, 1);
    return true;
}

static struct queue_client *
begin(void)
{
    struct queue_client *q;

    memset(&fake, 0, sizeof fake);
    memset(&told, 0, sizeof told);
    snprintf(fake.dir, sizeof fake.dir, "/tmp/queue_client.XXXXXX");
    CHECK(mkdtemp(fake.dir) != NULL);
    snprintf(fake.path, sizeof fake.path, "%s/queue", fake.dir);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    loop_init();
    fake_listen();
    q = queue_client_new(fake.path, fake.dir);
    queue_client_set_limit(q, LIMIT_MS);
    return q;
}

static void
end(struct queue_client **q)
{
    struct err e = { 0 };

    queue_client_free(q);
    fake_gone();
    loop_free();
    CHECK_EQ_INT(fs_remove_tree(fake.dir, &e), 0);
}

TEST(answered)
{
    struct queue_client *q = begin();

    until_up(q, true);
    CHECK(commit(q));
    run();
    CHECK_EQ_INT(told.n, 1);
    CHECK_EQ_INT(told.rc, 0);
    queue_verify(q, SL("b@x"), SL("c@x"), on_verdict, 1);
    CHECK_EQ_INT(told.n_verdicts, 0); /* never from inside */
    run();
    CHECK_EQ_INT(told.verdict_rc, 0);
    CHECK_EQ_INT(told.status, VERIFY_BOUNCE);
    CHECK_EQ_STR(told.text, "nobody");
    end(&q);
}

/* It takes what is said and answers nothing. */
TEST(hung_and_back)
{
    struct queue_client *q = begin();
    char id[QUEUE_ID_OCTETS];

    until_up(q, true);
    fake.hangs = true;
    CHECK(commit(q));
    queue_verify(q, SL("b@x"), SL("b@x"), on_verdict, 1);
    while (told.n == 0 || told.n_verdicts == 0)
        run();
    CHECK_EQ_INT(told.rc, -1);
    CHECK_EQ_INT(told.err.kind, ERR_TEMP);
    CHECK_EQ_STR(told.err.msg, "the queue manager does not answer");
    CHECK_EQ_INT(told.verdict_rc, -1);
    /* from now on at once */
    CHECK(!queue_client_is_up(q));
    CHECK_EQ_INT(queue_id_new(q, id), -1);
    told.n_verdicts = 0;
    queue_verify(q, SL("b@x"), SL("b@x"), on_verdict, 1);
    run_for(50);
    CHECK_EQ_INT(told.n_verdicts, 1);
    CHECK_EQ_INT(fake.asks, 1);
    /* the late answer is nobody's, and says that it is back */
    NEED(fake.n_late == 1);
    fake.hangs = false;
    say_put(fake.late[0], 0);
    until_up(q, true);
    CHECK_EQ_INT(told.n, 1);
    CHECK(commit(q));
    run();
    CHECK_EQ_INT(told.n, 2);
    CHECK_EQ_INT(told.rc, 0);
    CHECK_EQ_INT(fake.connections, 1);
    end(&q);
}

/* One question is never answered, others are: no reason to refuse mail. */
TEST(one_is_lost)
{
    struct queue_client *q = begin();
    uint64_t until_ms;

    until_up(q, true);
    fake.keeps_verdicts = true;
    told.q = q;
    queue_verify(q, SL("b@x"), SL("b@x"), on_verdict, 1);
    until_ms = loop_now_ms() + HANG_MS;
    while (told.n_verdicts == 0 && loop_now_ms() < until_ms) {
        CHECK(commit(q));
        run(); /* its answer */
        run_for(20);
    }
    CHECK_EQ_INT(told.n_verdicts, 1);
    CHECK_EQ_INT(told.verdict_rc, -1);
    CHECK(told.was_up);
    CHECK_EQ_INT(told.rc, 0);
    end(&q);
}

/* Nothing is out: silence is no hang. */
TEST(quiet)
{
    struct queue_client *q = begin();

    until_up(q, true);
    run_for(2 * LIMIT_MS + 1200);
    CHECK(queue_client_is_up(q));
    end(&q);
}

TEST(gone_and_back)
{
    struct queue_client *q = begin();
    char id[QUEUE_ID_OCTETS];

    until_up(q, true);
    fake.hangs = true;
    CHECK(commit(q));
    queue_verify(q, SL("b@x"), SL("b@x"), on_verdict, 1);
    run_for(50);
    CHECK_EQ_INT(fake.puts, 1);
    fake_gone();
    while (told.n == 0 || told.n_verdicts == 0)
        run();
    CHECK_EQ_INT(told.rc, -1);
    CHECK_EQ_STR(told.err.msg, "lost connection with the queue manager");
    CHECK_EQ_INT(told.verdict_rc, -1);
    CHECK_EQ_INT(queue_id_new(q, id), -1);
    run_for(900); /* tried in vain meanwhile, further and further apart */
    fake.hangs = false;
    fake_listen();
    until_up(q, true);
    CHECK(commit(q));
    run();
    CHECK_EQ_INT(told.rc, 0);
    CHECK_EQ_INT(fake.connections, 2);
    end(&q);
}

TEST_MAIN()
