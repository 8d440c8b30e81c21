/* core/conn_deflate_test.c - compression under a conn; the other end of the socketpair is this test's own streams. */
#include "core/conn.h"
#include "core/loop.h"

#include "base/deflate.h"
#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    struct conn *c;
    int peer;
    struct deflater *out;
    struct inflater *in;
    struct buf lines; /* "[line]", "C" closed */
    uint64_t octets;
    size_t most_buffered;
    bool is_stopped, takes_all; /* neither: lines */
    enum conn_end end;
    struct err why;
    unsigned n_closed;
} t;

static void
on_input(struct conn *c, void *arg)
{
    struct slice in = conn_input(c), line;

    (void)arg;
    t.most_buffered = in.n > t.most_buffered ? in.n : t.most_buffered;
    if (t.is_stopped)
        return;
    if (t.takes_all) {
        t.octets += in.n;
        conn_consume(c, in.n);
        return;
    }
    while (conn_take_line(c, 1000, LINE_CRLF, &line) == FRAME_OK) {
        buf_addf(&t.lines, "[%.*s]", SL_ARG(line));
        if (sl_eqz(line, "compress")) {
            conn_writes(c, SL("ok\r\n"));
            conn_start_deflate(c, 6);
        }
    }
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c;
    (void)arg;
    t.n_closed++;
    t.end = end;
    if (why)
        t.why = *why;
    t.c = NULL;
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void
turn(uint64_t ms)
{
    struct timer timer = { 0 };

    timer_start(&timer, ms, stop, NULL);
    loop_run();
    timer_stop(&timer);
}

static void
begin(void)
{
    int fds[2], size = 1024 * 1024;

    memset(&t, 0, sizeof t);
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0);
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    t.peer = fds[1];
    loop_init();
    t.c = conn_new(fds[0], &ops, NULL);
    t.out = deflater_new(6);
    t.in = inflater_new();
}

static void
end(void)
{
    if (t.c)
        conn_abort(t.c);
    turn(0);
    loop_free();
    close(t.peer);
    deflater_free(&t.out);
    inflater_free(&t.in);
    buf_free(&t.lines);
}

static void
say_raw(struct slice s)
{
    if (write(t.peer, s.p, s.n) != (ssize_t)s.n)
        FAIL("write to the conn: %s", strerror(errno));
}

static void
say(struct slice plain)
{
    struct buf raw = { 0 };

    deflater_add(t.out, plain, false, &raw);
    say_raw(buf_slice(&raw));
    buf_free(&raw);
}

/* What the conn has said, after the loop had time; compressed or in clear. */
static void
hear(struct buf *plain, bool is_compressed)
{
    char octets[4096];
    bool has_more;

    for (int i = 0; i < 400 && plain->n == 0; i++) {
        ssize_t n;

        turn(2);
        n = read(t.peer, octets, sizeof octets);
        if (n > 0 && is_compressed) {
            struct slice in = sl_n(octets, (size_t)n);

            CHECK(inflater_run(t.in, &in, SIZE_MAX, plain, &has_more) != INFLATE_BAD);
        } else if (n > 0) {
            buf_add(plain, octets, (size_t)n);
        }
    }
}

static void
check_heard(const char *want, bool is_compressed)
{
    struct buf plain = { 0 };

    hear(&plain, is_compressed);
    CHECK_EQ_STR(buf_z(&plain), want);
    buf_free(&plain);
}

TEST(what_was_said_before_is_in_clear)
{
    begin();
    say_raw(SL("compress\r\n"));
    check_heard("ok\r\n", false);
    CHECK(conn_is_deflated(t.c));
    say(SL("one\r\ntwo\r\n"));
    conn_writes(t.c, SL("here\r\n"));
    conn_writes(t.c, SL("too\r\n"));
    check_heard("here\r\ntoo\r\n", true);
    CHECK_EQ_STR(buf_z(&t.lines), "[compress][one][two]");
    end();
}

/* A client that does not wait: what stands behind its command is compressed already. */
TEST(input_behind_the_command)
{
    struct buf raw = { 0 };

    begin();
    buf_addz(&raw, "compress\r\n");
    deflater_add(t.out, SL("one\r\n"), false, &raw);
    say_raw(buf_slice(&raw));
    check_heard("ok\r\n", false);
    turn(5);
    CHECK_EQ_STR(buf_z(&t.lines), "[compress][one]");
    say(SL("two\r\n"));
    for (int i = 0; i < 400 && !strstr(buf_z(&t.lines), "two"); i++)
        turn(2);
    CHECK_EQ_STR(buf_z(&t.lines), "[compress][one][two]");
    buf_free(&raw);
    end();
}

TEST(what_is_no_deflate_ends_the_conn)
{
    begin();
    conn_start_deflate(t.c, 6);
    say_raw(SL("\x07 NOOP\r\n"));
    for (int i = 0; i < 400 && t.n_closed == 0; i++)
        turn(2);
    CHECK_EQ_INT(t.n_closed, 1);
    CHECK_EQ_INT(t.end, CONN_END_ERROR);
    CHECK_EQ_INT(t.why.kind, ERR_CLIENT);
    end();
}

/* 16 MiB out of 16 KiB: never more than in_max is there at once, and all of it comes, also when the peer has gone. */
TEST(a_bomb_is_taken_apart_by_pieces)
{
    char *zeros = mem_zalloc(16 * 1024 * 1024);

    begin();
    conn_start_deflate(t.c, 6);
    conn_set_in_max(t.c, 10000);
    t.takes_all = true;
    say(sl_n(zeros, 16 * 1024 * 1024));
    shutdown(t.peer, SHUT_WR);
    for (int i = 0; i < 4000 && t.n_closed == 0; i++)
        turn(5);
    CHECK_EQ_INT(t.octets, 16 * 1024 * 1024);
    CHECK(t.most_buffered <= 10000);
    CHECK_EQ_INT(t.end, CONN_END_PEER);
    free(zeros);
    end();
}

TEST(an_owner_that_takes_nothing)
{
    char *zeros = mem_zalloc(16 * 1024 * 1024);

    begin();
    conn_start_deflate(t.c, 6);
    t.is_stopped = true;
    say(sl_n(zeros, 16 * 1024 * 1024));
    turn(20);
    CHECK(conn_input(t.c).n <= CONN_IN_MAX);
    CHECK(conn_deflate_octets(t.c) < 128 * 1024);
    free(zeros);
    end();
}

/* The figure of the design: what compression costs a session that says nothing. Window: what the client has sent. */
TEST(memory_of_an_idle_conn)
{
    struct buf plain = { 0 };
    size_t awake;

    begin();
    conn_start_deflate(t.c, 6);
    for (int i = 0; i < 40; i++) {
        char line[80];

        snprintf(line, sizeof line, "a%d UID FETCH %d:%d (UID FLAGS BODY.PEEK[HEADER])\r\n", i,
                 i * 37, i * 91);
        say(sl_z(line));
        conn_writes(t.c, SL("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"));
    }
    hear(&plain, true);
    awake = conn_deflate_octets(t.c);
    CHECK(awake > 256 * 1024);
    turn(CONN_DEFLATE_REST_MS + 200);
    CHECK(conn_deflate_octets(t.c) < 4096);
    printf("deflate: %zu octets in use, %zu idle\n", awake, conn_deflate_octets(t.c));
    /* and both go on */
    say(SL("b NOOP\r\n"));
    conn_writes(t.c, SL("b OK\r\n"));
    buf_reset(&plain);
    hear(&plain, true);
    CHECK_EQ_STR(buf_z(&plain), "b OK\r\n");
    CHECK(strstr(buf_z(&t.lines), "[b NOOP]") != NULL);
    buf_free(&plain);
    end();
}

/* RFC 8437 §4.1: both streams end, and go on in clear. */
TEST(ends_and_goes_on_in_clear)
{
    struct buf raw = { 0 };

    begin();
    conn_start_deflate(t.c, 6);
    deflater_add(t.out, SL("leave\r\n"), true, &raw);
    buf_addz(&raw, "clear\r\n");
    conn_pause_input(t.c);
    say_raw(buf_slice(&raw));
    turn(5);
    CHECK_EQ_INT(conn_end_deflate(t.c, SL("x\r\n"), &raw), -1);
    CHECK_EQ_INT(conn_input(t.c).n, 7);
    conn_consume(t.c, 7);
    buf_reset(&raw);
    CHECK_EQ_INT(conn_end_deflate(t.c, SL("gone\r\n"), &raw), 0);
    CHECK(!conn_is_deflated(t.c));
    conn_writes(t.c, buf_slice(&raw));
    check_heard("gone\r\n", true);
    conn_resume_input(t.c);
    conn_writes(t.c, SL("in clear\r\n"));
    check_heard("in clear\r\n", false);
    CHECK_EQ_STR(buf_z(&t.lines), "[clear]");
    say_raw(SL("more\r\n"));
    for (int i = 0; i < 400 && !strstr(buf_z(&t.lines), "more"); i++)
        turn(2);
    CHECK_EQ_STR(buf_z(&t.lines), "[clear][more]");
    buf_free(&raw);
    end();
}

/* What was said can be read before the octet that ends its block has come: that one is not in clear. */
TEST(the_end_of_the_stream_comes_later)
{
    struct buf raw = { 0 }, reply = { 0 };

    begin();
    conn_start_deflate(t.c, 6);
    deflater_add(t.out, SL("leave\r\n"), true, &raw);
    conn_pause_input(t.c);
    say_raw(sl_head(buf_slice(&raw), raw.n - 1));
    turn(5);
    CHECK_EQ_INT(conn_input(t.c).n, 7);
    conn_consume(t.c, 7);
    CHECK_EQ_INT(conn_end_deflate(t.c, SL("gone\r\n"), &reply), -1);
    say_raw(sl_from(buf_slice(&raw), raw.n - 1));
    turn(5);
    CHECK_EQ_INT(conn_end_deflate(t.c, SL("gone\r\n"), &reply), 0);
    CHECK_EQ_INT(conn_input(t.c).n, 0);
    buf_free(&raw);
    buf_free(&reply);
    end();
}

TEST_MAIN()
