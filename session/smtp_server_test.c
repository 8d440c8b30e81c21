/* session/smtp_server_test.c - the engine over a socketpair, with a toy server on it. */
#include "session/smtp_server.h"

#include "base/mem.h"
#include "base/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the toy ---- */

struct toy {
    struct smtp_sess smtp; /* first */
    struct buf body;
    bool is_last;
};
static bool is_gone;
static uint32_t line_limit = 10;
static enum conn_end gone_how;

static void
later(void *arg)
{
    struct smtp_sess *s = id_get((uint64_t)(uintptr_t)arg);

    if (s == NULL)
        return;
    smtp_reply(s, "250 waited");
    smtp_sess_done(s, true);
}

static void
run_ping(struct smtp_sess *s, const struct smtp_words *w)
{
    smtp_reply(s, "250 pong %.*s", SL_ARG(smtp_words_rest(w, 1)));
    smtp_sess_done(s, true);
}

static void
run_wait(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    loop_defer(later, (void *)(uintptr_t)s->id);
}

static void
run_fail(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(s, "500 no");
    smtp_sess_done(s, false);
}

static void
fail_later(void *arg)
{
    struct smtp_sess *s = id_get((uint64_t)(uintptr_t)arg);

    if (s)
        run_fail(s, NULL);
}

static void
run_late(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    loop_defer(fail_later, (void *)(uintptr_t)s->id);
}

static void
run_bye(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(s, "421 bye\r\nfor now");
    smtp_sess_done(s, true);
}

static void
run_data(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(s, "354 go");
    smtp_sess_start_message(s, false);
    smtp_sess_read_data(s);
}

static void
run_bdat(struct smtp_sess *s, const struct smtp_words *w)
{
    struct toy *t = (struct toy *)s;
    uint64_t n = 0;

    sl_to_u64(w->w[1].s, &n);
    t->is_last = w->n > 2;
    smtp_sess_read_chunk(s, n);
}

static void
on_line(struct smtp_sess *s, struct slice line, bool is_too_long)
{
    smtp_reply(s, "250 line%s %.*s", is_too_long ? " too long" : "", SL_ARG(line));
    smtp_sess_done(s, true);
}

static void
run_line(struct smtp_sess *s, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(s, "334 say");
    smtp_sess_read_line(s, line_limit, on_line);
}

static const struct smtp_verb verbs[] = {
    { "PING", 0, run_ping }, { "WAIT", 0, run_wait },           { "FAIL", 0, run_fail },
    { "BYE", 0, run_bye },   { "DATA", 0, run_data },           { "BDAT", 0, run_bdat },
    { "LINE", 0, run_line }, { "JUNK", SMTP_V_JUNK, run_ping }, { "LATE", 0, run_late },
};

static bool
gate(struct smtp_sess *s, const struct smtp_verb *v, const struct smtp_words *w, struct slice line)
{
    (void)w;
    (void)line;
    if (v == NULL)
        run_fail(s, NULL);
    return v != NULL;
}

static void
on_body(struct smtp_sess *s, struct slice octets)
{
    buf_adds(&((struct toy *)s)->body, octets);
}

static void
on_body_end(struct smtp_sess *s)
{
    struct toy *t = (struct toy *)s;

    smtp_reply(s, "250 got %.*s", SL_ARG(buf_slice(&t->body)));
    buf_free(&t->body);
    smtp_sess_forgive(s);
    smtp_sess_done(s, true);
}

static void
on_chunk_end(struct smtp_sess *s)
{
    if (((struct toy *)s)->is_last) {
        smtp_sess_finish_chunks(s);
        on_body_end(s);
        s->data = (struct smtp_data){ 0 };
    } else {
        smtp_reply(s, "250 more");
        smtp_sess_done(s, true);
    }
}

static size_t
backlog(struct smtp_sess *s)
{
    (void)s;
    return 0;
}

static void
on_closed(struct smtp_sess *s, enum conn_end end, const struct err *why)
{
    (void)why;
    is_gone = true;
    gone_how = end;
    buf_free(&((struct toy *)s)->body);
    smtp_sess_free(s);
    free(s);
}

/* Every refusal gets a second line, sooner or later. */
struct decor {
    uint64_t id;
    char line[100];
};

static void
decorate_now(void *arg)
{
    struct decor *d = arg;
    struct smtp_sess *s = id_get(d->id);
    char lines[300];

    snprintf(lines, sizeof lines, "%.3s-%s\r\n%.3s call us", d->line, d->line + 4, d->line);
    if (s)
        smtp_reply_decorated(s, sl_z(lines));
    free(d);
}

static void
decorate(struct smtp_sess *s, struct slice reply)
{
    static unsigned n;
    struct decor *d = MEM_NEW(struct decor);

    d->id = s->id;
    snprintf(d->line, sizeof d->line, "%.*s", SL_ARG(reply));
    if (n++ % 2)
        loop_defer(decorate_now, d);
    else
        decorate_now(d);
}

static const struct smtp_server_def def = {
    .verbs = verbs,
    .n_verbs = COUNT_OF(verbs),
    .gate = gate,
    .body = on_body,
    .body_end = on_body_end,
    .chunk_end = on_chunk_end,
    .backlog = backlog,
    .secured = on_body_end,
    .closed = on_closed,
    .decorate = decorate,
    .bad_utf8 = "500 utf8",
    .bad_syntax = "500 syntax",
    .timeout = { "421 ", " timeout" },
    .too_many_errors = { "421 ", " errors" },
    .shutting_down = { "421 ", " down" },
};

/* ---- the other end ---- */

struct client {
    int fd;
    struct slice left;
    size_t piece;
    struct buf got;
    struct timer timer;
    bool keeps_open;
    bool is_over;
};

static void
client_turn(void *arg)
{
    struct client *c = arg;
    struct slice now = sl_head(c->left, c->piece);
    char mem[4096];
    ssize_t n;

    if (now.n) {
        n = send(c->fd, now.p, now.n, MSG_NOSIGNAL);
        c->left = sl_from(c->left, n < 0 ? c->left.n : (size_t)n);
        if (c->left.n == 0 && !c->keeps_open)
            shutdown(c->fd, SHUT_WR);
    }
    while ((n = read(c->fd, mem, sizeof(mem))) > 0)
        buf_add(&c->got, mem, (size_t)n);
    if (n == 0)
        c->is_over = true;
    if (c->is_over && is_gone)
        loop_stop();
    else
        timer_start(&c->timer, 1, client_turn, c);
}

static const struct smtp_server_limits limits = { .myhostname = "host",
                                                  .line_octets = 40,
                                                  .soft_errors = 3,
                                                  .hard_errors = 5,
                                                  .junk_commands = 4,
                                                  .error_sleep_ms = 5,
                                                  .timeout_ms = 60,
                                                  .starttls_timeout_ms = 60 };
static const struct smtp_server_limits *use_limits = &limits;

/* What the server says to `input`, sent in pieces; CRLF shown as '|'. */
static char *
talk(const char *input, size_t piece, bool keeps_open)
{
    struct client c = { .left = sl_z(input), .piece = piece, .keeps_open = keeps_open };
    struct toy *t = MEM_NEW(struct toy);
    char *out;
    size_t n = 0;
    int fds[2];

    is_gone = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        abort();
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    c.fd = fds[0];
    smtp_sess_open(&t->smtp, &def, use_limits, fds[1]);
    smtp_reply(&t->smtp, "220 hi");
    smtp_sess_done(&t->smtp, true);
    timer_start(&c.timer, 0, client_turn, &c);
    loop_run();
    close(fds[0]);
    out = mem_zalloc(c.got.n + 1);
    for (size_t i = 0; i < c.got.n; i++)
        if (buf_slice(&c.got).p[i] != '\r')
            out[n++] = buf_slice(&c.got).p[i] == '\n' ? '|' : buf_slice(&c.got).p[i];
    buf_free(&c.got);
    return out;
}

static const struct {
    const char *name, *in, *want;
} rows[] = {
    { "one after another", "PING a\r\nping b c\r\n", "220 hi|250 pong a|250 pong b c|" },
    { "LF ends a command too", "PING a\nPING b\n", "220 hi|250 pong a|250 pong b|" },
    { "waiting keeps the order", "WAIT\r\nPING a\r\nWAIT\r\nPING b\r\n",
      "220 hi|250 waited|250 pong a|250 waited|250 pong b|" },
    { "an empty line", "\r\nPING a\r\n", "220 hi|500 syntax|250 pong a|" },
    { "no UTF-8", "PING \xff\r\nPING a\r\n", "220 hi|500 utf8|250 pong a|" },
    { "errors end it", "X\r\nX\r\nX\r\nX\r\nX\r\nPING a\r\n",
      "220 hi|500 no|500 no|500 no|500 no|500 no|421 host errors|" },
    { "a message forgives", "X\r\nX\r\nX\r\nDATA\r\n.\r\nX\r\nX\r\nPING a\r\n",
      "220 hi|500 no|500 no|500 no|354 go|250 got |500 no|500 no|250 pong a|" },
    { "junk",
      "JUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nJUNK\r\nPING\r\n",
      "220 hi|250 pong |250 pong |250 pong |250 pong |250 pong |250 pong |250 pong |250 pong |250 "
      "pong |250 pong |421 host errors|" },
    { "an over-long line is cut", "PING 0123456789012345678901234567890123456789\r\nPING a\r\n",
      "220 hi|250 pong 01234567890123456789012345678901234|250 pong a|" },
    { "data", "DATA\r\na\r\n..b\r\n.\r\nPING a\r\n", "220 hi|354 go|250 got a  .b  |250 pong a|" },
    { "chunks", "BDAT 3\r\na\r\nBDAT 0\r\nBDAT 2 LAST\r\n.bPING a\r\n",
      "220 hi|250 more|250 more|250 got a  .b  |250 pong a|" },
    { "an empty last chunk", "BDAT 0 LAST\r\nPING a\r\n", "220 hi|250 got |250 pong a|" },
    { "a line of its own", "LINE\r\nPING a\r\nPING b\r\n",
      "220 hi|334 say|250 line PING a|250 pong b|" },
    { "a line too long", "LINE\r\n01234567890123456789\r\nPING b\r\n",
      "220 hi|334 say|250 line too long |250 pong b|" },
    { "421 closes, and is one line", "BYE\r\nPING a\r\n", "220 hi|421 bye  for now|" },
    { "gone in a message", "DATA\r\na\r\n", "220 hi|354 go|" },
    { "gone in a command", "PING a\r\nPIN", "220 hi|250 pong a|" },
};

TEST(dialogues_in_any_pieces)
{
    static const size_t pieces[] = { 1, 2, 7, 10000 };

    loop_init();
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t k = 0; k < COUNT_OF(pieces); k++) {
            char *got;

            TEST_ROW("%s, pieces of %zu", rows[i].name, pieces[k]);
            got = talk(rows[i].in, pieces[k], false);
            CHECK_EQ_STR(got, rows[i].want);
            free(got);
        }
}

TEST(a_silent_client_is_told)
{
    char *got = talk("PING a\r\nPI", 100, true);

    CHECK_EQ_STR(got, "220 hi|250 pong a|421 host timeout|");
    CHECK_EQ_INT(gone_how, CONN_END_OWN);
    free(got);
}

/* What is said while a refusal is worked on waits for it; so does what ends the session. */
TEST(refusals_are_decorated)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        { "PING a\r\nX\r\nPING b\r\n", "220 hi|250 pong a|500-no|500 call us|250 pong b|" },
        { "X\r\nX\r\nX\r\nX\r\nX\r\nPING\r\n",
          "220 hi|500-no|500 call us|500-no|500 call us|500-no|500 call us|500-no|500 call us|"
          "500-no|500 call us|421-host errors|421 call us|" },
        { "BYE\r\nPING\r\n", "220 hi|421-bye  for now|421 call us|" },
    };
    struct smtp_server_limits l = limits;

    l.decorates = true;
    use_limits = &l;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (size_t piece = 1; piece < 200; piece += 198) {
            char *got = talk(cases[i].in, piece, false), *again = talk(cases[i].in, piece, false);

            CHECK_EQ_STR(got, cases[i].want);
            CHECK_EQ_STR(again, cases[i].want);
            free(got);
            free(again);
        }
    use_limits = &limits;
}

/* Past the soft limit each refusal is held back; what the client has sent ahead is worked on all the same. */
TEST(refusals_that_come_late_do_not_stop_a_session)
{
    static const char in[] = "LATE\r\nLATE\r\nLATE\r\nLATE\r\nPING a\r\nBYE\r\n";
    struct smtp_server_limits l = limits;

    use_limits = &l;
    for (int i = 0; i < 3; i++) {
        char *got;

        l.decorates = i > 0; /* at once, or later: the toy takes turns */
        got = talk(in, 1000, true);
        CHECK_EQ_STR(got, i == 0
                              ? "220 hi|500 no|500 no|500 no|500 no|250 pong a|421 bye  for now|"
                              : "220 hi|500-no|500 call us|500-no|500 call us|500-no|500 call us|"
                                "500-no|500 call us|250 pong a|421-bye  for now|421 call us|");
        free(got);
    }
    use_limits = &limits;
}

/* line_length_limit and smtpd_sasl_response_limit may be as much as a command's memory is otherwise. */
TEST(a_line_of_the_largest_limit)
{
    enum { MOST = 1024 * 1024 };
    static const char *const verbs_before[] = { "PING ", "LINE\r\n" };
    struct smtp_server_limits l = limits;

    l.line_octets = MOST;
    l.timeout_ms = 5000;
    use_limits = &l;
    line_limit = MOST;
    for (size_t i = 0; i < 2 * COUNT_OF(verbs_before); i++) {
        struct buf in = { 0 };
        char *got;

        buf_addz(&in, verbs_before[i / 2]);
        while (in.n < MOST - i % 2 * 500) /* the line has room, what is made of it has none */
            buf_addc(&in, 'x');
        buf_addz(&in, "\r\nPING b\r\n");
        got = talk(buf_z(&in), 65536, false);
        CHECK(strstr(got, "xxxxxxxx|250 pong b|") != NULL);
        free(got);
        buf_free(&in);
    }
    line_limit = 10;
    use_limits = &limits;
}

/* An octet a millisecond, or less often where the machine is busy. */
TEST(a_slow_client_is_cut_off_where_the_limit_is_for_whole_requests)
{
    static const struct {
        const char *name;
        bool is_per_request, is_content, want_cut;
        uint64_t rate;
    } cases[] = {
        { "a limit for each read", false, false, false, 500 },
        { "a limit for the command", true, false, true, 500 },
        { "content, quick enough", true, true, false, 20 },
        { "content, too slow", true, true, true, 1000 * 1000 },
        { "content, a limit for each read", false, true, false, 1000 * 1000 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct smtp_server_limits l = limits;
        struct buf in = { 0 };
        char *got;

        l.is_per_request = cases[i].is_per_request;
        l.min_data_rate = cases[i].rate;
        l.timeout_ms = 200;
        l.line_octets = 400;
        use_limits = &l;
        buf_addz(&in, cases[i].is_content ? "DATA\r\n" : "PING ");
        for (int k = 0; k < 390; k++)
            buf_addc(&in, 'x');
        buf_addz(&in, cases[i].is_content ? "\r\n.\r\n" : "\r\n");
        got = talk(buf_z(&in), 1, false);
        if ((strstr(got, "421 host timeout") != NULL) != cases[i].want_cut)
            FAIL("%s: %.60s", cases[i].name, got);
        free(got);
        buf_free(&in);
    }
    use_limits = &limits;
}

TEST(arguments_that_are_secret_are_not_shown)
{
    static const struct smtp_verb table[] = { { "AUTH", SMTP_V_SECRET, run_ping },
                                              { "PING", 0, run_ping } };
    static const struct smtp_server_def d = { .verbs = table, .n_verbs = COUNT_OF(table) };
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "AUTH PLAIN secret", "AUTH" },
        { "auth PLAIN secret\r\nPING\r\n", "auth" },
        { "PING a\r\n\r\n  AUTH\tPLAIN secret\r\n", "PING a\r\n\r\n  AUTH" },
        { "PING AUTH\nAUTHOR x\n", "PING AUTH\nAUTHOR x\n" },
        { "AUTH", "AUTH" },
        { "AUTH\v\fPLAIN\vsecret", "AUTH" },
        { "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct slice got = smtp_shown(&d, sl_z(cases[i].text));

        CHECK_EQ_MEM(got.p, got.n, cases[i].want, strlen(cases[i].want));
    }
}

TEST(counts_are_written_as_a_disconnect_line_has_them)
{
    struct toy t = { .smtp = { .def = &def, .n_commands = 5, .n_good = 3 } };
    struct buf b = { 0 };

    t.smtp.seen[0].all = t.smtp.seen[0].good = 3;
    t.smtp.seen[SMTP_VERBS_MAX].all = 2;
    smtp_sess_stats(&t.smtp, &b);
    CHECK_EQ_STR(buf_z(&b), "ping=3 unknown=0/2 commands=3/5");
    buf_free(&b);
    loop_free();
}

TEST_MAIN()
