/* session/policy_client_test.c - the policy client against a server in the same loop that answers, hangs up, keeps silent. */
#include "session/policy_client.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"
#include "proto/policy.h"

#include <stdlib.h>
#include <unistd.h>

enum { ASKS_MAX = 300 };
enum manner { ANSWER, HANG_UP, SILENT, LATE, GARBAGE, CHATTER };

static struct {
    char dir[64], path[80];
    struct listener *listener;
    enum manner manner;
    unsigned conns, open, most_open, requests, hang_ups; /* hang_ups left, for HANG_UP */
} srv;

static struct {
    unsigned wanted, got, good, wrong;
} result;

/* ---- the server ---- */

struct peer {
    struct conn *c;
    struct timer late;
    struct buf name;
};

static void
say(void *arg)
{
    struct peer *p = arg;

    conn_printf(p->c, "action=OK %.*s\n\n", SL_ARG(buf_slice(&p->name)));
}

static void
srv_input(struct conn *c, void *arg)
{
    struct peer *p = arg;
    struct slice line;

    while (conn_take_line(c, 1000, LINE_LF_TOO, &line) == FRAME_OK) {
        if (sl_take_prefix(&line, SL("name="))) {
            buf_reset(&p->name);
            buf_adds(&p->name, line);
        } else if (line.n == 0) {
            srv.requests++;
            if (srv.manner == HANG_UP && srv.hang_ups > 0) {
                srv.hang_ups--;
                conn_abort(c);
                return;
            }
            if (srv.manner == GARBAGE)
                conn_printf(c, "who are you\n\n");
            else if (srv.manner == LATE)
                timer_start(&p->late, 20, say, p);
            else if (srv.manner != SILENT)
                say(p);
            if (srv.manner == CHATTER)
                conn_printf(c, "action=REJECT unasked\n\n");
        }
    }
}

static void
srv_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;

    (void)c, (void)end, (void)why;
    timer_stop(&p->late);
    buf_free(&p->name);
    free(p);
    srv.open--;
}

static const struct conn_ops srv_ops = { .on_input = srv_input, .on_close = srv_close };

static void
srv_accept(struct listener *l, void *arg, int fd, const struct addr *from)
{
    struct peer *p = MEM_NEW(struct peer);

    (void)l, (void)arg, (void)from;
    p->c = conn_new(fd, &srv_ops, p);
    srv.conns++;
    if (++srv.open > srv.most_open)
        srv.most_open = srv.open;
}

static struct policy_server
begin(enum manner m)
{
    struct err e = { 0 };
    struct addr a;
    int fd;

    loop_init();
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_ERROR);
    memset(&srv, 0, sizeof srv);
    memset(&result, 0, sizeof result);
    srv.manner = m;
    snprintf(srv.dir, sizeof srv.dir, "/tmp/policy_client_test.XXXXXX");
    BUG_ON(mkdtemp(srv.dir) == NULL);
    snprintf(srv.path, sizeof srv.path, "%s/s", srv.dir);
    BUG_ON(addr_unix(srv.path, &a, &e) != 0);
    fd = listener_bind(&a, SOCK_STREAM, 0600, &e);
    BUG_ON(fd < 0);
    srv.listener = listener_new(fd, srv_accept, NULL);
    return (struct policy_server){ .name = "test",
                                   .path = srv.path,
                                   .timeout_ms = 5000,
                                   .max_idle_ms = 5000,
                                   .max_ttl_ms = 5000,
                                   .retry_delay_ms = 10,
                                   .try_limit = 2 };
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
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
end(struct policy_client **c)
{
    policy_client_free(c);
    for (int i = 0; i < 100 && srv.open > 0; i++)
        run_for(5); /* the server sees them go */
    CHECK_EQ_INT(srv.open, 0);
    listener_free(&srv.listener);
    loop_free();
    unlink(srv.path);
    rmdir(srv.dir);
}

/* ---- the client's side ---- */

static void
on_answer(uint64_t id, bool ok, struct slice action)
{
    char want[32];

    snprintf(want, sizeof want, "OK %llu", (unsigned long long)id);
    result.got++;
    result.good += ok;
    result.wrong += ok && !sl_eqz(action, want);
    if (result.got == result.wanted)
        loop_stop();
}

static void
ask(struct policy_client *c, const struct policy_server *s, uint64_t id)
{
    struct buf b = { 0 };

    policy_add_number(&b, "name", id);
    policy_end(&b);
    result.wanted++;
    policy_ask(c, s, NULL, buf_slice(&b), on_answer, id);
    buf_free(&b);
}

/* ---- cases ---- */

TEST(one_connection_serves_one_after_another)
{
    struct policy_server s = begin(ANSWER);
    struct policy_client *c = policy_client_new(NULL);

    for (uint64_t i = 0; i < 5; i++) {
        ask(c, &s, i);
        CHECK_EQ_INT(result.got, i); /* never from inside the call */
        loop_run();
    }
    CHECK_EQ_INT(result.good, 5);
    CHECK_EQ_INT(result.wrong, 0);
    CHECK_EQ_INT(srv.conns, 1);
    end(&c);
}

TEST(many_at_a_time_share_a_bounded_pool)
{
    struct policy_server s = begin(LATE);
    struct policy_client *c = policy_client_new(NULL);

    for (uint64_t i = 0; i < ASKS_MAX; i++)
        ask(c, &s, i);
    loop_run();
    CHECK_EQ_INT(result.good, ASKS_MAX);
    CHECK_EQ_INT(result.wrong, 0);
    CHECK_EQ_INT(srv.requests, ASKS_MAX);
    CHECK_EQ_INT(srv.most_open, POLICY_CONNS_MAX);
    end(&c);
}

TEST(what_fails_is_tried_again)
{
    static const struct {
        enum manner manner;
        unsigned hang_ups, try_limit, asks, good, requests;
    } rows[] = {
        { HANG_UP, 1, 2, 1, 1, 2 },    { HANG_UP, 2, 2, 1, 0, 2 }, { HANG_UP, 2, 3, 1, 1, 3 },
        { HANG_UP, 1, 1, 1, 0, 1 },    { GARBAGE, 0, 2, 1, 0, 2 }, { SILENT, 0, 2, 1, 0, 2 },
        { SILENT, 0, 1, 120, 0, 100 }, /* twenty wait for a connection until their time is up */
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct policy_server s = begin(rows[i].manner);
        struct policy_client *c = policy_client_new(NULL);

        TEST_ROW("%zu", i);
        srv.hang_ups = rows[i].hang_ups;
        s.try_limit = rows[i].try_limit;
        s.timeout_ms = rows[i].manner == SILENT ? 60 : 5000;
        for (uint64_t k = 0; k < rows[i].asks; k++)
            ask(c, &s, k);
        loop_run();
        CHECK_EQ_INT(result.got, rows[i].asks);
        CHECK_EQ_INT(result.good, rows[i].good);
        CHECK_EQ_INT(result.wrong, 0);
        CHECK_EQ_INT(srv.requests, rows[i].requests);
        end(&c);
    }
}

TEST(nobody_there)
{
    struct policy_server s = begin(ANSWER);
    struct policy_client *c = policy_client_new(NULL);

    s.path = "/nonexistent/policy";
    ask(c, &s, 1);
    loop_run();
    CHECK_EQ_INT(result.good, 0);
    end(&c);
}

TEST(connections_end)
{
    static const struct {
        uint64_t idle_ms, ttl_ms, pause_ms;
        unsigned limit;
        enum manner manner;
        unsigned conns;
    } rows[] = {
        { 5000, 5000, 1, 0, ANSWER, 1 },
        { 20, 5000, 80, 0, ANSWER, 3 },
        { 5000, 20, 80, 0, ANSWER, 3 },
        { 5000, 5000, 1, 2, ANSWER, 2 },
        { 5000, 5000, 1, 1, ANSWER, 3 },
        { 5000, 5000, 20, 0, CHATTER, 3 }, /* what nobody asked for is no later answer */
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct policy_server s = begin(rows[i].manner);
        struct policy_client *c = policy_client_new(NULL);

        TEST_ROW("%zu", i);
        s.max_idle_ms = rows[i].idle_ms;
        s.max_ttl_ms = rows[i].ttl_ms;
        s.request_limit = rows[i].limit;
        for (uint64_t k = 0; k < 3; k++) {
            ask(c, &s, k);
            loop_run();
            run_for(rows[i].pause_ms);
        }
        CHECK_EQ_INT(result.good, 3);
        CHECK_EQ_INT(result.wrong, 0);
        CHECK_EQ_INT(srv.conns, rows[i].conns);
        end(&c);
    }
}

TEST(an_end_with_questions_out)
{
    struct policy_server s = begin(SILENT);
    struct policy_client *c = policy_client_new(NULL);

    for (uint64_t k = 0; k < 150; k++)
        ask(c, &s, k);
    run_for(20);
    policy_client_free(&c);
    run_for(20);
    CHECK_EQ_INT(result.got, 0);
    CHECK_EQ_INT(srv.open, 0);
    end(&c);
}

TEST_MAIN()
