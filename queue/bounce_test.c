/* queue/bounce_test.c - reports: who hears, what they say, that nothing of a remote host's words becomes structure. */
#include "queue/qmgr_int.h"

#include "base/test.h"

static struct queue_rcpt envelope[3];
static struct qrcpt rcpts[3];
static struct qmsg msg;
static struct conf conf;

static void
fill(const char *sender)
{
    memset(&msg, 0, sizeof msg);
    memset(rcpts, 0, sizeof rcpts);
    memset(envelope, 0, sizeof envelope);
    conf.myhostname = "mx.example";
    conf.mail_name = "Postfix";
    msg.env.sender = sl_z(sender);
    msg.env.rcpts = envelope;
    msg.env.n_rcpts = msg.n_rcpts = 3;
    memcpy(msg.env.id, "4XyZ12abcdz9Q", 14);
    msg.rcpts = rcpts;
    for (size_t i = 0; i < 3; i++) {
        static const char *const addrs[] = { "a@x", "b@x", "c@x" };

        envelope[i].addr = envelope[i].orig = sl_z(addrs[i]);
        rcpts[i].m = &msg;
        rcpts[i].r = &envelope[i];
        rcpts[i].addr = envelope[i].addr;
        rcpts[i].state = RS_SENT;
    }
}

static char why[600];

static void
fail_rcpt(size_t i, const char *dsn, const char *text)
{
    rcpts[i].state = RS_FAILED;
    snprintf(rcpts[i].dsn, sizeof rcpts[i].dsn, "%s", dsn);
    snprintf(why, sizeof why, "%s", text);
    rcpts[i].why = why;
}

TEST(who_hears)
{
    static const struct {
        const char *sender;
        unsigned notify;
        bool want;
    } rows[] = {
        { "s@y", 0, true },
        { "", 0, false },
        { "s@y", NOTIFY_NEVER, false },
        { "s@y", NOTIFY_FAILURE, true },
        { "s@y", NOTIFY_SUCCESS | NOTIFY_DELAY, false },
        { "", NOTIFY_FAILURE, false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%zu", i);
        fill(rows[i].sender);
        envelope[0].notify = rows[i].notify;
        CHECK_EQ_INT(bounce_wants(&rcpts[0]), rows[i].want);
    }
}

static bool
has(struct buf *b, const char *what)
{
    return strstr(buf_z(b), what) != NULL;
}

TEST(says_who_and_why)
{
    struct buf b = { 0 };

    fill("s@y");
    envelope[1].orig = SL("alias@x");
    msg.env.envid = SL("env-7");
    fail_rcpt(1, "5.1.1",
              "host mx.x[192.0.2.1]:25 said: 550 5.1.1 no such user (in reply to RCPT TO command)");
    bounce_build(&msg, &conf, "4XyZ12bbbbz9Q", 1700000000, SL("Subject: s\r\n\r\nbody\r\n"), true,
                 &b);
    CHECK(has(&b, "To: s@y\r\n"));
    CHECK(has(&b, "Content-Type: multipart/report; report-type=delivery-status;"));
    CHECK(has(&b, "Final-Recipient: rfc822; b@x\r\n"));
    CHECK(has(&b, "Original-Recipient: rfc822;alias@x\r\n"));
    CHECK(has(&b, "Original-Envelope-Id: env-7\r\n"));
    CHECK(has(&b, "Action: failed\r\nStatus: 5.1.1\r\n"));
    CHECK(has(&b, "Remote-MTA: dns; mx.x\r\n"));
    CHECK(has(&b, "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    CHECK(has(&b, "Content-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\nbody\r\n"));
    CHECK(!has(&b, "a@x") && !has(&b, "c@x")); /* delivered */
    buf_free(&b);
}

TEST(headers_alone)
{
    static const struct {
        unsigned ret;
        bool is_whole, has_body;
        const char *original;
    } rows[] = {
        { RET_HDRS, true, false, "Subject: s\r\n\r\nbody\r\n" },
        { RET_FULL, true, true, "Subject: s\r\n\r\nbody\r\n" },
        /* longer than bounce_size_limit */
        { RET_FULL, false, false, "Subject: s\r\n\r\nbody\r\n" },
        { RET_HDRS, true, false, "Subject: s\n\nbody\n" },
        { RET_HDRS, true, false, "\r\nbody\r\n" },
        { RET_NONE, true, true, "Subject: s\r\n\r\nbody\r\n" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = { 0 };

        TEST_ROW("%zu", i);
        fill("s@y");
        msg.env.ret = rows[i].ret;
        fail_rcpt(0, "5.0.0", "no");
        bounce_build(&msg, &conf, "4XyZ12bbbbz9Q", 1700000000, sl_z(rows[i].original),
                     rows[i].is_whole, &b);
        CHECK_EQ_INT(has(&b, "\nbody"), rows[i].has_body);
        CHECK_EQ_INT(has(&b, "text/rfc822-headers"), !rows[i].has_body);
        buf_free(&b);
    }
}

TEST(hostile_words_stay_words)
{
    struct buf b = { 0 };

    fill("s@y");
    fail_rcpt(0, "5.0.0",
              "host evil[192.0.2.6]:25 said: 550 x\r\n\r\n--4XyZ12bbbbz9Q\r\nBcc: v@z\n\x1b[2J (in "
              "reply to "
              "DATA command)");
    bounce_build(&msg, &conf, "4XyZ12bbbbz9Q", 1700000000, SL("Subject: s\r\n\r\n"), true, &b);
    CHECK(!has(&b, "\nBcc:"));
    CHECK(!has(&b, "\x1b"));
    for (struct slice in = buf_slice(&b), line; sl_take_until(&in, '\n', &line);)
        CHECK(sl_ends(line, '\r') && line.n < 998);
    buf_free(&b);
}

TEST_MAIN()
