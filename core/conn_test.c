/* core/conn_test.c - conns over socketpairs; the other end is driven with plain system calls. */
#include "core/conn.h"
#include "core/addr.h"
#include "core/listener.h"
#include "core/loop.h"

#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What the owner saw, as text: "[line]", "!" too long, "<n>" octets taken, "E" frame end, "C0".."C3" closed. */
struct owner {
    struct conn *c;
    int peer;
    struct buf saw;
    size_t max;
    enum line_ends ends;
    unsigned n_input, n_drain, n_deadline, n_closed, n_connect;
    enum conn_end end;
    struct err why;
    bool pause_after_line, close_on_quit, abort_in_input, detach_in_input;
    unsigned n_more; /* on_drain writes a large piece so often */
    uint64_t count;  /* octets of a literal to take before lines go on */
    int detached;
    struct buf unread;
};

static void
on_input(struct conn *c, void *arg)
{
    struct owner *o = arg;
    struct slice s;
    enum frame_rc rc;

    o->n_input++;
    if (o->abort_in_input) {
        conn_abort(c);
        return;
    }
    if (o->detach_in_input) {
        o->detached = conn_detach(c, &o->unread);
        o->c = NULL;
        return;
    }
    for (;;) {
        if (o->count > 0) {
            rc = conn_take_some(c, o->count, &s);
            if (rc != FRAME_OK)
                break;
            o->count -= s.n;
            buf_adds(&o->saw, s);
            continue;
        }
        rc = conn_take_line(c, o->max, o->ends, &s);
        if (rc == FRAME_TOO_LONG) {
            buf_addz(&o->saw, "!");
            conn_close(c);
            return;
        }
        if (rc != FRAME_OK)
            break;
        buf_addf(&o->saw, "[%.*s]", SL_ARG(s));
        if (sl_eqz(s, "quit") && o->close_on_quit) {
            conn_write(c, "bye\r\n", 5);
            conn_close(c);
            conn_close(c);
            return;
        }
        if (s.n > 4 && memcmp(s.p, "lit ", 4) == 0)
            sl_to_u64(sl_from(s, 4), &o->count);
        if (o->pause_after_line) {
            conn_pause_input(c);
            return;
        }
    }
    if (rc == FRAME_END)
        buf_addz(&o->saw, "E");
}

static void
on_drain(struct conn *c, void *arg)
{
    static char piece[70 * 1024];
    struct owner *o = arg;

    o->n_drain++;
    if (o->n_more == 0)
        return;
    o->n_more--;
    conn_write(c, piece, sizeof piece);
}

static void
on_deadline(struct conn *c, void *arg)
{
    ((struct owner *)arg)->n_deadline++;
    conn_printf(c, "timeout\r\n");
    conn_close(c);
}

static void
on_connect(struct conn *c, void *arg)
{
    ((struct owner *)arg)->n_connect++;
    conn_writes(c, SL("hello"));
    conn_close(c);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct owner *o = arg;

    (void)c;
    o->n_closed++;
    o->end = end;
    if (why)
        o->why = *why;
    o->c = NULL;
}

static const struct conn_ops ops = { .on_input = on_input,
                                     .on_drain = on_drain,
                                     .on_deadline = on_deadline,
                                     .on_connect = on_connect,
                                     .on_close = on_close };

static struct owner
owner_new(void)
{
    return (struct owner){ .max = 20, .peer = -1, .detached = -1 };
}

static void
owner_start(struct owner *o)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    loop_init();
    o->peer = fds[1];
    fcntl(o->peer, F_SETFL, O_NONBLOCK);
    o->c = conn_new(fds[0], &ops, o);
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

/* Let the loop turn for ms. */
static void
turn(uint64_t ms)
{
    struct timer t = { 0 };

    timer_start(&t, ms, stop, NULL);
    loop_run();
    timer_stop(&t);
}

static void
owner_end(struct owner *o)
{
    if (o->c)
        conn_abort(o->c);
    turn(0);
    loop_free();
    if (o->peer >= 0)
        close(o->peer);
    buf_free(&o->saw);
    buf_free(&o->unread);
}

static void
say(struct owner *o, struct slice s)
{
    if (write(o->peer, s.p, s.n) != (ssize_t)s.n)
        FAIL("write to the conn: %s", strerror(errno));
}

static size_t
hear(struct owner *o, char *out, size_t max)
{
    ssize_t n = read(o->peer, out, max);

    return n > 0 ? (size_t)n : 0;
}

/* ---- framing ---- */

static const struct {
    const char *name, *input;
    enum line_ends ends;
    const char *want;
} frames[] = {
    { "lines", "a\r\nbc\r\n\r\n", LINE_CRLF, "[a][bc][]E" },
    { "unfinished", "a\r\nbc", LINE_CRLF, "[a]E" },
    { "bare LF is no end", "a\nb\r\n", LINE_CRLF, "[a\nb]E" },
    { "bare LF ends too", "a\nb\r\nc\n", LINE_LF_TOO, "[a][b][c]E" },
    { "bare CR stays", "a\rb\r\r\n", LINE_LF_TOO, "[a\rb\r]E" },
    { "as long as may be", "01234567890123456789\r\nx\r\n", LINE_CRLF,
      "[01234567890123456789][x]E" },
    { "one more", "012345678901234567890\r\nx\r\n", LINE_CRLF, "!" },
    { "endless", "0123456789012345678901234567890", LINE_CRLF, "!" },
    { "literal", "lit 7\r\na\r\nb\n\r\nx\r\n", LINE_CRLF, "[lit 7]a\r\nb\n\r\n[x]E" },
    { "literal cut short", "lit 7\r\nabc", LINE_CRLF, "[lit 7]abcE" },
    { "nothing", "", LINE_CRLF, "E" },
};

/* Feed input cut at the given place (0: whole), or octet by octet (-1), then EOF. */
static void
check_frames(size_t row, int cut)
{
    struct owner o = owner_new();
    struct slice in = sl_z(frames[row].input);

    TEST_ROW("%s cut at %d", frames[row].name, cut);
    o.ends = frames[row].ends;
    owner_start(&o);
    for (size_t i = 0; cut < 0 && i < in.n && o.n_closed == 0; i++) {
        say(&o, sl_n(in.p + i, 1));
        turn(0);
        turn(0);
    }
    if (cut > 0) {
        say(&o, sl_head(in, (size_t)cut));
        turn(0);
        turn(0);
    }
    if (cut >= 0 && o.n_closed == 0 && (size_t)cut < in.n)
        say(&o, sl_from(in, (size_t)cut));
    shutdown(o.peer, SHUT_WR);
    for (int i = 0; i < 400 && o.n_closed == 0; i++) /* a busy machine takes its time */
        turn(5);
    CHECK_EQ_STR(buf_z(&o.saw), frames[row].want);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, strchr(frames[row].want, '!') ? CONN_END_OWN : CONN_END_PEER);
    owner_end(&o);
}

TEST(frames_are_the_same_however_cut)
{
    for (size_t i = 0; i < COUNT_OF(frames); i++)
        for (int cut = -1; cut < (int)strlen(frames[i].input); cut++)
            check_frames(i, cut);
}

TEST(skips_a_line_that_is_too_long)
{
    struct owner o = owner_new();
    struct slice s;

    owner_start(&o);
    conn_pause_input(o.c);
    say(&o, SL("0123456789012345678901234567890"));
    turn(2);
    CHECK_EQ_INT(conn_take_line(o.c, 10, LINE_CRLF, &s), FRAME_TOO_LONG);
    CHECK_EQ_INT(conn_skip_line(o.c), FRAME_MORE);
    say(&o, SL("more\r\nnext\r\n"));
    turn(2);
    CHECK_EQ_INT(conn_skip_line(o.c), FRAME_OK);
    CHECK_EQ_INT(conn_take_line(o.c, 10, LINE_CRLF, &s), FRAME_OK);
    CHECK_EQ_MEM(s.p, s.n, "next", 4);
    owner_end(&o);
}

TEST(a_line_longer_than_the_buffer_bound_still_comes)
{
    struct owner o = owner_new();

    o.max = 500;
    owner_start(&o);
    conn_set_in_max(o.c, 64);
    for (int i = 0; i < 100; i++)
        say(&o, SL("abcd"));
    say(&o, SL("\r\n"));
    turn(10);
    CHECK_EQ_INT(o.saw.n, 402);
    owner_end(&o);
}

/* ---- pausing ---- */

TEST(paused_input_waits_and_is_bounded)
{
    struct owner o = owner_new();
    char big[4096];
    size_t sent = 0;

    memset(big, 'x', sizeof big);
    o.pause_after_line = true;
    owner_start(&o);
    conn_set_in_max(o.c, 8192);
    say(&o, SL("one\r\ntwo\r\n"));
    turn(2);
    CHECK_EQ_STR(buf_z(&o.saw), "[one]");
    CHECK(conn_has_input(o.c));
    for (ssize_t n; (n = write(o.peer, big, sizeof big)) > 0;) {
        sent += (size_t)n;
        turn(1);
    }
    CHECK(sent > 8192);
    CHECK(conn_input(o.c).n <= 8192);
    o.max = sizeof big;
    conn_resume_input(o.c);
    CHECK_EQ_INT(o.n_input, 1); /* never from inside resume */
    turn(2);
    CHECK_EQ_STR(buf_z(&o.saw), "[one][two]");
    owner_end(&o);
}

TEST(end_of_input_waits_for_a_paused_owner)
{
    struct owner o = owner_new();

    o.pause_after_line = true;
    owner_start(&o);
    say(&o, SL("one\r\ntwo\r\n"));
    shutdown(o.peer, SHUT_WR);
    turn(2);
    CHECK_EQ_INT(o.n_closed, 0);
    conn_resume_input(o.c);
    turn(2);
    CHECK_EQ_STR(buf_z(&o.saw), "[one][two]");
    CHECK_EQ_INT(o.n_closed, 0);
    conn_writes(o.c, SL("answer"));
    conn_resume_input(o.c);
    turn(2);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, CONN_END_PEER);
    CHECK_EQ_INT(hear(&o, (char[16]){ 0 }, 16), 6);
    owner_end(&o);
}

/* ---- output ---- */

TEST(output_leaves_at_the_end_of_the_turn)
{
    struct owner o = owner_new();
    char got[64] = "";

    owner_start(&o);
    conn_printf(o.c, "%d ", 250);
    conn_writes(o.c, SL("ok\r\n"));
    CHECK_EQ_INT(hear(&o, got, sizeof got), 0);
    conn_uncork(o.c);
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "250 ok\r\n", 8);
    conn_writes(o.c, SL("later\r\n"));
    turn(1);
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "later\r\n", 7);
    owner_end(&o);
}

TEST(back_pressure_and_drain)
{
    struct owner o = owner_new();
    size_t written = 0, heard = 0, n;
    static char chunk[32 * 1024], got[64 * 1024];

    memset(chunk, 'y', sizeof chunk);
    owner_start(&o);
    while (!conn_is_out_full(o.c)) {
        conn_write(o.c, chunk, sizeof chunk);
        written += sizeof chunk;
        if (written > 64 * 1024 * 1024) {
            FAIL("never full");
            break;
        }
    }
    turn(1);
    CHECK_EQ_INT(o.n_drain, 0);
    for (int i = 0; i < 1000 && heard < written; i++) {
        while ((n = hear(&o, got, sizeof got)) > 0) {
            CHECK(got[0] == 'y' && got[n - 1] == 'y');
            heard += n;
        }
        turn(0);
    }
    CHECK_EQ_INT(heard, written);
    CHECK_EQ_INT(o.n_drain, 1);
    CHECK_EQ_INT(conn_out_pending(o.c), 0);
    owner_end(&o);
}

/* What is written in on_drain and taken at once is told of too: the owner waits for it. */
TEST(drain_after_drain)
{
    struct owner o = owner_new();

    owner_start(&o);
    conn_set_out_marks(o.c, 1000, 100);
    o.n_more = 2;
    on_drain(o.c, &o);
    for (int i = 0; i < 10; i++)
        turn(1);
    CHECK_EQ_INT(o.n_more, 0);
    CHECK_EQ_INT(o.n_drain, 3);
    CHECK_EQ_INT(conn_out_pending(o.c), 0);
    owner_end(&o);
}

/* Of what is written before it nothing is lost, however slow the peer is; what comes from there is still heard. */
TEST(the_end_of_output_is_not_that_of_input)
{
    struct owner o = owner_new();
    size_t written = 0, heard = 0;
    static char chunk[32 * 1024], got[64 * 1024];
    ssize_t n = -1;

    owner_start(&o);
    while (!conn_is_out_full(o.c)) {
        conn_write(o.c, chunk, sizeof chunk);
        written += sizeof chunk;
    }
    conn_end_output(o.c);
    CHECK(conn_out_pending(o.c) > 0);
    conn_write(o.c, "not this", 8);
    for (int i = 0; i < 1000 && n != 0; i++) {
        while ((n = read(o.peer, got, sizeof got)) > 0)
            heard += (size_t)n;
        turn(0);
    }
    CHECK_EQ_INT(n, 0);
    CHECK_EQ_INT(heard, written);
    CHECK(o.c != NULL);
    say(&o, SL("heard\r\n"));
    for (int i = 0; i < 1000 && o.saw.n == 0; i++)
        turn(1);
    CHECK_EQ_MEM(buf_z(&o.saw), o.saw.n, "[heard]", 7);
    owner_end(&o);

    o = owner_new(); /* the same with nothing to wait for */
    owner_start(&o);
    conn_end_output(o.c);
    CHECK_EQ_INT(read(o.peer, got, sizeof got), 0);
    owner_end(&o);
}

TEST(a_peer_that_takes_nothing_is_given_up)
{
    struct owner o = owner_new();
    static char chunk[1024 * 1024];

    owner_start(&o);
    conn_set_write_timeout(o.c, 20);
    conn_write(o.c, chunk, sizeof chunk);
    turn(5);
    CHECK_EQ_INT(o.n_closed, 0);
    turn(60);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, CONN_END_TIMEOUT);
    owner_end(&o);
}

/* Full of input that nobody takes, full of output, and reset: the error does not go away by waiting. */
TEST(a_reset_is_noticed_when_nothing_moves)
{
    struct owner o = owner_new();
    static char chunk[1024 * 1024];

    o.pause_after_line = true;
    owner_start(&o);
    conn_set_in_max(o.c, 8192);
    say(&o, SL("one\r\n"));
    turn(2);
    say(&o, sl_n(chunk, 16384));
    conn_write(o.c, chunk, sizeof chunk);
    turn(5);
    CHECK_EQ_INT(conn_input(o.c).n, 8192);
    CHECK_EQ_INT(o.n_closed, 0);
    close(o.peer); /* with the conn's output unread: a reset */
    o.peer = -1;
    turn(20);
    CHECK_EQ_INT(o.n_closed, 1);
    owner_end(&o);
}

/* ---- ending ---- */

TEST(close_flushes_once)
{
    struct owner o = owner_new();
    char got[64] = "";

    o.close_on_quit = true;
    owner_start(&o);
    say(&o, SL("quit\r\nignored\r\n"));
    turn(2);
    CHECK_EQ_STR(buf_z(&o.saw), "[quit]");
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, CONN_END_OWN);
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "bye\r\n", 5);
    owner_end(&o);
}

TEST(abort_in_a_callback_closes_later)
{
    struct owner o = owner_new();

    o.abort_in_input = true;
    owner_start(&o);
    say(&o, SL("x\r\n"));
    turn(2);
    CHECK_EQ_INT(o.n_input, 1);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, CONN_END_OWN);
    owner_end(&o);
    o = owner_new();
    owner_start(&o);
    conn_abort(o.c);
    conn_abort(o.c);
    conn_close(o.c);
    conn_writes(o.c, SL("void"));
    CHECK_EQ_INT(o.n_closed, 0);
    turn(2);
    CHECK_EQ_INT(o.n_closed, 1);
    owner_end(&o);
}

TEST(deadline)
{
    struct owner o = owner_new();
    char got[64] = "";

    owner_start(&o);
    conn_set_deadline(o.c, 5);
    conn_set_deadline(o.c, 15);
    turn(8);
    CHECK_EQ_INT(o.n_deadline, 0);
    turn(15);
    CHECK_EQ_INT(o.n_deadline, 1);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "timeout\r\n", 9);
    owner_end(&o);
}

TEST(a_peer_that_goes_away_is_noticed)
{
    struct owner o = owner_new();

    owner_start(&o);
    close(o.peer);
    o.peer = -1;
    conn_writes(o.c, SL("into the void"));
    turn(5);
    CHECK_EQ_INT(o.n_closed, 1);
    CHECK_EQ_INT(o.end, CONN_END_PEER);
    owner_end(&o);
}

/* ---- giving away ---- */

TEST(detach_gives_descriptor_and_unread_input)
{
    struct owner o = owner_new();
    char got[8] = "";

    o.detach_in_input = true;
    owner_start(&o);
    conn_writes(o.c, SL("out"));
    say(&o, SL("in\r\n"));
    turn(3);
    CHECK_EQ_INT(o.n_closed, 0);
    CHECK(o.detached >= 0);
    CHECK_EQ_STR(buf_z(&o.unread), "in\r\n");
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "out", 3);
    /* and back into a conn, as the next process does */
    o.detach_in_input = false;
    o.c = conn_new(o.detached, &ops, &o);
    conn_unread(o.c, buf_slice(&o.unread));
    turn(3);
    CHECK_EQ_STR(buf_z(&o.saw), "[in]");
    owner_end(&o);
}

TEST(a_new_owner_hears_what_the_old_one_left)
{
    struct owner o = owner_new(), p = owner_new();

    o.pause_after_line = true;
    owner_start(&o);
    say(&o, SL("a\r\nb\r\n"));
    turn(2);
    conn_set_ops(o.c, &ops, &p);
    p.c = o.c;
    CHECK(conn_arg(o.c) == &p);
    turn(2);
    CHECK_EQ_STR(buf_z(&p.saw), ""); /* still paused */
    conn_resume_input(p.c);
    turn(2);
    CHECK_EQ_STR(buf_z(&p.saw), "[b]");
    buf_free(&p.saw);
    owner_end(&o);
}

/* ---- connecting ---- */

static void
on_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    struct owner *o = arg;
    char text[ADDR_TEXT_OCTETS];

    (void)l;
    CHECK(addr_is_loopback(peer));
    if (addr_family(peer) == AF_INET)
        CHECK_EQ_STR(addr_ip_text(peer, text), "127.0.0.1");
    o->peer = fd;
}

TEST(connects_and_accepts)
{
    struct owner client = owner_new(), server = owner_new();
    struct addr a, self;
    struct err e = { 0 };
    struct listener *l;
    char got[8] = "";
    int fd;

    loop_init();
    NEED(addr_parse_ip(SL("127.0.0.1"), 0, &a) == 0);
    fd = listener_bind(&a, SOCK_STREAM, 0, &e);
    NEED(fd >= 0);
    NEED(addr_of_self(fd, &self) == 0);
    CHECK_EQ_INT(listener_bind(&self, SOCK_STREAM, 0, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CONFIG);
    CHECK_EQ_INT(e.sys, EADDRINUSE);
    l = listener_new(fd, on_accept, &server);
    client.c = conn_connect(&self.u.sa, self.len, NULL, 0, &ops, &client);
    turn(20);
    CHECK_EQ_INT(client.n_connect, 1);
    CHECK_EQ_INT(client.n_closed, 1);
    CHECK_EQ_INT(client.end, CONN_END_OWN);
    CHECK_EQ_MEM(got, hear(&server, got, sizeof got), "hello", 5);
    listener_free(&l);
    turn(1);
    client.c = conn_connect(&self.u.sa, self.len, NULL, 0, &ops, &client);
    turn(20);
    CHECK_EQ_INT(client.n_closed, 2);
    CHECK_EQ_INT(client.end, CONN_END_ERROR);
    CHECK_EQ_INT(client.why.sys, ECONNREFUSED);
    client.c = conn_connect_unix("/nonexistent/socket", &ops, &client);
    turn(2);
    CHECK_EQ_INT(client.n_closed, 3);
    CHECK_EQ_INT(client.why.sys, ENOENT);
    owner_end(&server);
}

/* The last reply must arrive although the client goes on sending: RFC 1122 4.2.2.13's half-closed trap. */
TEST(the_last_reply_survives_a_talkative_client)
{
    struct owner o = owner_new();
    struct addr a, self;
    struct err e = { 0 };
    char got[64] = "";
    int l, s;

    loop_init();
    NEED(addr_parse_ip(SL("127.0.0.1"), 0, &a) == 0);
    l = listener_bind(&a, SOCK_STREAM, 0, &e);
    NEED(l >= 0 && addr_of_self(l, &self) == 0);
    o.peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    NEED(connect(o.peer, &self.u.sa, self.len) == 0);
    fcntl(l, F_SETFL, 0);
    s = accept(l, NULL, NULL);
    NEED(s >= 0);
    o.close_on_quit = true;
    o.c = conn_new(s, &ops, &o);
    conn_set_in_max(o.c, 64);
    say(&o, SL("quit\r\n"));
    for (int i = 0; i < 100; i++)
        say(&o, SL("more and more and more and more and more\r\n"));
    turn(10);
    CHECK_EQ_INT(o.n_closed, 1);
    say(&o, SL("still talking\r\n"));
    turn(10);
    fcntl(o.peer, F_SETFL, O_NONBLOCK);
    CHECK_EQ_MEM(got, hear(&o, got, sizeof got), "bye\r\n", 5);
    close(o.peer);
    o.peer = -1;
    turn(10);
    close(l);
    owner_end(&o);
}

TEST_MAIN()
