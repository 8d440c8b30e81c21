/* queue/sched_test.c - turns between destinations, concurrency, and queue's back-off, against the real database. No daemon:
 * outlets lead to a socket that is not there, so jobs are taken by the test itself. */
#include "queue/qmgr_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

static char root[64];
static struct outlet *out;
static size_t job_max = 10;
static const char *more_settings = "";

static const char settings[] =
    "myhostname = mx.example\nmydestination = localhost\nvirtual_mailbox_domains = hosted.test\n"
    "virtual_transport = lmtp:unix:private/none\nrelay_connections = 8\nlmtp_connections = 1\n"
    "initial_destination_concurrency = 2\ndefault_destination_concurrency_limit = 3\n"
    "minimal_backoff_time = 180s\nmaximal_backoff_time = 3h\nmaximal_queue_lifetime = 5d\n";

static void
start(void)
{
    struct conf_problems ps = { 0 };
    struct qdb *q = NULL;
    struct err e = { 0 };
    char dir[80], text[1000];

    snprintf(root, sizeof root, "/tmp/sched_test.XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/queue", root);
    loop_init();
    memset(&qm, 0, sizeof qm);
    snprintf(text, sizeof text, "%s%s", settings, more_settings);
    qm.conf = conf_parse(sl_z(text), "test", &ps);
    conf_problems_free(&ps);
    list_init(&qm.all);
    qm.active = map_new();
    qm.next_due = INT64_MAX;
    if (!CHECK(qm.conf != NULL) || !CHECK_EQ_INT(qdb_open(dir, &q, &e), 0))
        exit(1);
    qm.db_bits = qdb_db_bits(q);
    qm.writer = writer_new(q, 0);
    route_reload();
    sched_reload();
    out = sched_outlet(SL("private/relay"), "smtp", true);
    /* nobody is to be connected to: the test takes the jobs */
    out->paused_until_ms = UINT64_MAX;
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
}

static void
stop(void)
{
    struct err e = { 0 };

    writer_free(&qm.writer);
    timer_stop(&qm.load_timer);
    active_free_all();
    map_free(&qm.active, NULL);
    sched_free();
    conf_unref(&qm.conf);
    loop_free();
    fs_remove_tree(root, &e);
}

/* A message in memory with these recipients ("a@one.test b@one.test/owner@hosted.test ..."), which were tried so often. */
static struct qmsg *
tried_message(uint64_t n, const char *recipients, int64_t arrived_us, uint32_t attempts)
{
    struct qdb_rcpt rows[8];
    struct queue_rcpt to[8];
    struct queue_env env = { .sender = SL("s@hosted.test"), .rcpts = to };
    struct buf packed = { 0 }, body = { 0 };
    struct slice in = sl_z(recipients), word;
    struct err e = { 0 };
    struct qmsg *m;

    while (env.n_rcpts < 8 && sl_take_word(&in, " ", &word)) {
        size_t at = sl_find_char(word, '/');
        struct slice addr = sl_head(word, at == SL_NPOS ? word.n : at);

        to[env.n_rcpts++] =
            (struct queue_rcpt){ .addr = addr,
                                 .orig = addr,
                                 .alias = sl_has_prefix(addr, SL("via-")) ? SL("via@hosted.test")
                                                                          : SL(""),
                                 .has_sender = at != SL_NPOS,
                                 .sender = at != SL_NPOS ? sl_from(word, at + 1) : SL("") };
    }
    queue_id_format(arrived_us, n, qm.db_bits, env.id);
    queue_env_pack(&packed, &env, arrived_us);
    buf_addz(&body, "hi\r\n");
    for (uint32_t i = 0; i < env.n_rcpts; i++)
        rows[i] = (struct qdb_rcpt){ .i = i, .attempts = attempts };
    m = active_new(n, &packed, &body, false, 4, enc_crc32(0, "hi\r\n", 4), rows, env.n_rcpts, &e);
    if (!CHECK(m != NULL))
        exit(1);
    active_begin(m);
    return m;
}

static struct qmsg *
message(uint64_t n, const char *recipients, int64_t arrived_us)
{
    return tried_message(n, recipients, arrived_us, 0);
}

/* The next job as "domain:count", or "-". */
static const char *
next_job(struct qrcpt **rs, size_t *n)
{
    static char text[64];
    size_t at;

    *n = sched_next(out, rs, job_max);
    if (*n == 0)
        return "-";
    at = sl_find_char(rs[0]->addr, '@');
    snprintf(text, sizeof text, "%.*s:%zu", SL_ARG(sl_from(rs[0]->addr, at + 1)), *n);
    return text;
}

TEST(destinations_take_turns)
{
    static const char *const want[] = { "one.test:2", "two.test:1", "three.test:1", "one.test:1",
                                        "-" };
    struct qrcpt *rs[10];
    size_t n;

    start();
    message(1, "a@one.test b@one.test", clock_unix_us());
    message(2, "a@one.test", clock_unix_us());
    message(3, "a@one.test a@two.test", clock_unix_us());
    message(4, "a@three.test", clock_unix_us());
    /* one.test may have two deliveries at once: its third message waits */
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        TEST_ROW("job %zu", i);
        CHECK_EQ_STR(next_job(rs, &n), want[i]);
    }
    stop();
}

TEST(messages_take_turns)
{
    static const char *const want[] = { "1:2", "2:1", "3:2", "1:2", "3:1", "4:1", "1:2", "-" };
    struct qrcpt *rs[10];
    size_t n;
    char got[16];

    more_settings =
        "initial_destination_concurrency = 8\ndefault_destination_concurrency_limit = 8\n"
        "default_destination_recipient_limit = 2\n";
    start();
    message(1, "a@one.test b@one.test c@one.test d@one.test e@one.test f@one.test",
            clock_unix_us());
    message(2, "a@one.test", clock_unix_us());
    message(3, "a@one.test b@one.test c@one.test", clock_unix_us());
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        TEST_ROW("job %zu", i);
        if (i == 3)
            message(4, "a@one.test", clock_unix_us());
        snprintf(got, sizeof got, "-");
        if (next_job(rs, &n)[0] != '-')
            snprintf(got, sizeof got, "%llu:%zu", (unsigned long long)rs[0]->m->n, n);
        CHECK_EQ_STR(got, want[i]);
    }
    stop();
    more_settings = "";
}

/* One job has one sender, and one alias that Delivered-To names; recipients of a sender stay together, also where one comes back. */
TEST(senders_of_one_message_are_kept_apart)
{
    static const char *const want[] = { "s@hosted.test:3", "o@hosted.test:2", ":1",
                                        "s@hosted.test:2", "-" };
    struct qrcpt *rs[10];
    size_t n;
    char got[64];

    more_settings = "initial_destination_concurrency = 8\n"
                    "default_destination_concurrency_limit = 8\n";
    start();
    message(1,
            "a@one.test b@one.test/o@hosted.test c@one.test d@one.test/ e@one.test "
            "f@one.test/o@hosted.test via-g@one.test via-h@one.test",
            clock_unix_us());
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        TEST_ROW("job %zu", i);
        snprintf(got, sizeof got, "-");
        if (next_job(rs, &n)[0] != '-')
            snprintf(got, sizeof got, "%.*s:%zu", SL_ARG(qrcpt_sender(rs[0])), n);
        if (i == 0) { /* two links were lost at once */
            CHECK_EQ_STR(got, "s@hosted.test:3");
            sched_back(rs[0]);
            next_job(rs, &n);
            CHECK_EQ_INT(n, 1);
            sched_back(rs[0]);
            sched_back(rs[1]);
            sched_back(rs[2]);
            next_job(rs, &n);
            snprintf(got, sizeof got, "%.*s:%zu", SL_ARG(qrcpt_sender(rs[0])), n);
        }
        CHECK_EQ_STR(got, want[i]);
    }
    stop();
    more_settings = "";
}

struct share_row {
    const char *what;
    int good, fresh, bad; /* destinations of each kind that have mail for one job each */
    unsigned want_good, want_fresh, want_bad;
};

/* Of eight links. */
TEST(no_kind_of_destination_takes_all_links)
{
    static const struct share_row rows[] = {
        { "only bad ones", 0, 0, 20, 0, 0, 2 },
        { "only fresh ones", 0, 20, 0, 0, 7, 0 },
        { "only good ones", 20, 0, 0, 8, 0, 0 },
        { "bad and fresh", 0, 20, 20, 0, 6, 1 },
        { "a good one beside many", 1, 20, 20, 1, 5, 1 },
        { "bad ones beside a fresh one", 0, 1, 20, 0, 1, 2 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qrcpt *rs[10];
        size_t n;
        uint64_t id = 1;
        char to[64];

        TEST_ROW("%s", rows[i].what);
        start();
        for (int k = 0; k < rows[i].bad; k++) {
            snprintf(to, sizeof to, "a@bad%d.test", k);
            tried_message(id++, to, clock_unix_us(), 1);
        }
        for (int k = 0; k < rows[i].fresh; k++) {
            snprintf(to, sizeof to, "a@fresh%d.test", k);
            message(id++, to, clock_unix_us());
        }
        for (int k = 0; k < rows[i].good; k++) {
            struct qmsg *m;

            snprintf(to, sizeof to, "a@good%d.test", k);
            m = message(id++, to, clock_unix_us());
            m->rcpts[0].dest->busy++;
            sched_job_ended(m->rcpts[0].dest, true, NULL);
        }
        while (sched_next(out, rs, 10) > 0)
            ;
        n = out->n_quick[DEST_GOOD] + out->n_quick[DEST_FRESH] + out->n_quick[DEST_BAD];
        CHECK(n <= 8);
        CHECK_EQ_INT(out->n_quick[DEST_GOOD], rows[i].want_good);
        CHECK_EQ_INT(out->n_quick[DEST_FRESH], rows[i].want_fresh);
        CHECK_EQ_INT(out->n_quick[DEST_BAD], rows[i].want_bad);
        stop();
    }
}

TEST(one_destination_leaves_room)
{
    struct qmsg *m = NULL;
    size_t pending = 0;

    more_settings = "qmgr_message_recipient_limit = 100\n";
    start();
    for (uint64_t i = 1; i <= 60;
         i++) { /* of those that are parked the record stays in memory: no turn of the loop */
        m = message(i, "a@hangs.test", clock_unix_us());
        pending += m->rcpts[0].state == RS_PENDING;
    }
    CHECK(pending >= 15 &&
          pending <= 20); /* a quarter of what is left, and less and less is left */
    CHECK_EQ_INT(m->rcpts[0].state, RS_PARKED);
    CHECK_EQ_INT(m->rcpts[0].attempts, 0);
    m = message(99, "a@other.test", clock_unix_us());
    CHECK_EQ_INT(m->rcpts[0].state, RS_PENDING);
    CHECK(active_room(false) > active_room(true));
    stop();
    more_settings = "";
}

TEST(content_is_kept_while_a_job_waits_for_it)
{
    struct qmsg *m;
    size_t before;

    start();
    m = message(1, "a@one.test", clock_unix_us());
    before = qm.body_octets;
    m->n_owed = 1;
    active_drop_body(m);
    CHECK(active_has_body(m));
    m->n_owed = 0;
    active_drop_body(m);
    CHECK(!active_has_body(m));
    CHECK_EQ_INT(before - qm.body_octets, 4);
    active_drop_body(m);
    CHECK_EQ_INT(before - qm.body_octets, 4);
    stop();
}

TEST(concurrency_grows_with_success)
{
    struct qrcpt *rs[10], *held;
    struct dest *d;
    size_t n;

    start();
    for (uint64_t i = 1; i <= 6; i++)
        message(i, "a@one.test", clock_unix_us());
    CHECK_EQ_STR(next_job(rs, &n), "one.test:1");
    held = rs[0];
    d = held->dest;
    CHECK_EQ_STR(next_job(rs, &n), "one.test:1");
    CHECK_EQ_STR(next_job(rs, &n), "-");
    active_sent(held, &(struct outcome){ .dsn = SL("2.0.0") }, SENT_DELIVERED);
    active_hold_ref(held->m);
    active_record(held->m, &held, 1);
    active_drop_ref(held->m);
    sched_job_ended(d, true, NULL);
    CHECK_EQ_STR(next_job(rs, &n), "one.test:1"); /* the one that ended, */
    CHECK_EQ_STR(next_job(rs, &n), "one.test:1"); /* and one more than before */
    CHECK_EQ_STR(next_job(rs, &n), "-");
    stop();
}

TEST(a_dead_destination_is_left_alone)
{
    struct qrcpt *rs[10], *first;
    struct qmsg *last;
    struct dest *d;
    size_t n;

    start();
    for (uint64_t i = 1; i <= 4; i++)
        message(i, "a@dead.test", clock_unix_us());
    next_job(rs, &n);
    first = rs[0];
    d = first->dest;
    next_job(rs, &n);
    CHECK_EQ_INT(d->n_pending, 2);
    sched_job_ended(d, false, "connect to dead: refused");
    CHECK_EQ_INT(d->n_pending, 2);
    sched_job_ended(d, false, "connect to dead: refused");
    CHECK_EQ_INT(d->n_pending, 0); /* put off with the others */
    last = message(9, "a@dead.test a@live.test", clock_unix_us());
    CHECK_EQ_INT(last->rcpts[0].state, RS_DEFERRED);
    CHECK_EQ_STR(next_job(rs, &n), "live.test:1");
    stop();
}

static void
end_turn(void *arg)
{
    (void)arg;
    loop_stop();
}

struct due_want {
    int64_t age_s, want_s; /* how old the message is; how long until the next try */
};

static int64_t due_of;

static bool
see(void *arg, const struct qdb_message *m)
{
    (void)arg;
    if (m->n_rcpts > 0)
        due_of = m->rcpts[0].due;
    return false;
}

TEST(backs_off_as_postfix_does)
{
    static const struct due_want rows[] = {
        { 0, 180 }, { 100, 180 }, { 1000, 1000 }, { 100000, 10800 }, { -5000, 180 }
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t now = clock_unix_s();
        struct qdb *q = NULL;
        struct err e = { 0 };
        struct qmsg *m;
        struct qrcpt *rs[10], *r;
        struct qdb_put put;
        size_t n;
        char dir[80];

        TEST_ROW("age %lld", (long long)rows[i].age_s);
        start();
        snprintf(dir, sizeof dir, "%s/queue", root);
        m = message(1, "a@one.test", now * 1000000);
        m->aged_from_us = qdb_clock_us(&qm.clock) - rows[i].age_s * 1000000;
        put = (struct qdb_put){ .n = 1,
                                .id = m->env.id,
                                .env = buf_slice(&m->packed),
                                .size = 4,
                                .crc = m->crc,
                                .body = buf_slice(&m->body),
                                .n_rcpts = 1,
                                .due = INT64_MIN };
        /* the row, behind the writer's back but on its thread's turn: nothing else is under way */
        writer_free(&qm.writer);
        NEED(qdb_open(dir, &q, &e) == 0);
        CHECK_EQ_INT(qdb_grant(q, 1, &put.n, &e), 0);
        CHECK_EQ_INT(put.n, 1);
        CHECK_EQ_INT(qdb_put(q, &put, &e), 0);
        qm.writer = writer_new(q, 0);
        next_job(rs, &n);
        r = rs[0];
        active_deferred(r, "4.4.1", SL("later"));
        active_hold_ref(m);
        active_record(m, &r, 1);
        active_drop_ref(m);
        while (!writer_is_idle(qm.writer)) {
            struct timer t = { 0 };

            timer_start(&t, 5, end_turn, NULL);
            loop_run();
            timer_stop(&t);
        }
        writer_free(&qm.writer);
        NEED(qdb_open_readonly(dir, &q, &e) == 0);
        due_of = 0;
        CHECK_EQ_INT(qdb_walk(q, 0, see, NULL, &e), 0);
        CHECK(due_of - now >= rows[i].want_s && due_of - now <= rows[i].want_s + 3);
        qm.writer = writer_new(q, 0);
        stop();
    }
}

TEST_MAIN()
