/* queue/bounce_test.c - reports: what they say, in every form, and that nothing of a remote host's words becomes structure. */
#include "queue/bounce.h"

#include "base/test.h"

#include <stdlib.h>

static struct bounce_templates *templates;
static struct bounce_rcpt rcpts[2];
static struct bounce_report report;

static void
fill(enum bounce_kind kind)
{
    if (templates == NULL) {
        struct conf_problems ps = { 0 };
        struct conf *c = conf_parse(SL("myhostname = mx.example\nmyorigin = origin.example\n"
                                       "delay_warning_time = 4h\n"),
                                    "main.cf", &ps);

        templates = bounce_templates_load(c, &ps);
        CHECK_EQ_INT(ps.n, 0);
        conf_unref(&c);
    }
    rcpts[0] = (struct bounce_rcpt){ .addr = SL("b@x"),
                                     .orig = SL("b@x"),
                                     .action = kind == BOUNCE_FAILURE ? "failed"
                                               : kind == BOUNCE_DELAY ? "delayed"
                                                                      : "delivered",
                                     .status = SL("5.1.1"),
                                     .why = SL("no") };
    rcpts[1] = rcpts[0];
    report = (struct bounce_report){ .kind = kind,
                                     .templates = templates,
                                     .myhostname = "mx.example",
                                     .myorigin = "origin.example",
                                     .mail_name = "Postfix",
                                     .id = "4XyZ12bbbbz9Q",
                                     .now_s = 1700000000,
                                     .to = SL("s@y"),
                                     .of = "4XyZ12abcdz9Q",
                                     .sender = SL("s@y"),
                                     .arrived_s = 1699990000,
                                     .expires_s = 1700422000,
                                     .original = SL("Subject: s\r\n\r\nbody\r\n"),
                                     .is_whole = true,
                                     .rcpts = rcpts,
                                     .n_rcpts = 1 };
}

static bool
has(struct buf *b, const char *what)
{
    return strstr(buf_z(b), what) != NULL;
}

TEST(says_who_and_why)
{
    struct buf b = { 0 };

    fill(BOUNCE_FAILURE);
    rcpts[0].orig = SL("alias@x");
    rcpts[0].why =
        SL("host mx.x[192.0.2.1]:25 said: 550 5.1.1 no such user (in reply to RCPT TO command)");
    rcpts[0].attempt_s = 1700000000;
    report.envid = SL("env-7");
    bounce_build(&report, &b);
    CHECK(has(&b, "\r\nFrom: Mail Delivery System <MAILER-DAEMON@origin.example>\r\n"));
    CHECK(has(&b, "\r\nSubject: Undelivered Mail Returned to Sender\r\nTo: s@y\r\n"));
    CHECK(has(&b, "Content-Type: multipart/report; report-type=delivery-status;"));
    CHECK(has(&b, "Content-Description: Notification\r\nContent-Type: text/plain; "
                  "charset=us-ascii\r\n\r\nThis is the mail system at host mx.example.\r\n"));
    CHECK(has(&b, "\r\n<b@x> (expanded from <alias@x>): host mx.x[192.0.2.1]:25 said: 550"));
    CHECK(has(&b, "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example"));
    CHECK(has(&b, "Original-Envelope-Id: env-7\r\n"));
    CHECK(has(&b, "X-Postfix-Queue-ID: 4XyZ12abcdz9Q\r\nX-Postfix-Sender: rfc822; s@y\r\n"));
    CHECK(has(&b, "Final-Recipient: rfc822; b@x\r\nOriginal-Recipient: rfc822;alias@x\r\n"));
    CHECK(has(&b, "Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.x\r\n"
                  "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n"));
    CHECK(has(&b, "Last-Attempt-Date: ") && !has(&b, "Will-Retry-Until"));
    CHECK(has(&b, "Content-Description: Undelivered Message\r\nContent-Type: message/rfc822\r\n"
                  "\r\nReturn-Path: <s@y>\r\nSubject: s\r\n\r\nbody\r\n"));
    CHECK(!has(&b, "8bit"));
    buf_free(&b);
}

TEST(hosts_and_their_words)
{
    static const struct {
        const char *why, *host, *said;
    } rows[] = {
        { "host a.b[192.0.2.1]:25 said: 550 no (in reply to MAIL FROM command)", "a.b", "550 no" },
        { "host [192.0.2.1]:25 said: 550 no", "[192.0.2.1]:25", "550 no" },
        { "delivery via mx.x[192.0.2.1]:25: 250 2.0.0 Ok: queued as 7", "mx.x",
          "250 2.0.0 Ok: queued as 7" },
        { "delivery via mx.x[private/dovecot-lmtp]: 250 2.0.0 ok", "mx.x", "250 2.0.0 ok" },
        { "connect to a.b[192.0.2.1]:25: Connection refused", NULL, NULL },
        { "host unknown", NULL, NULL },
        { "alias expanded", NULL, NULL },
        { "", NULL, NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice host = SL(""), said = SL("");
        bool is = bounce_split_said(sl_z(rows[i].why), &host, &said);

        TEST_ROW("%s", rows[i].why);
        CHECK_EQ_INT(is, rows[i].host != NULL);
        if (is) {
            CHECK(sl_eqz(host, rows[i].host));
            CHECK(sl_eqz(said, rows[i].said));
        }
    }
}

/* What is attached. */
TEST(the_original)
{
    static const struct {
        const char *what;
        enum bounce_kind kind;
        bool wants_header_only, is_whole, is_utf8, has_body;
        const char *original, *type;
    } rows[] = {
        { "RET=HDRS", BOUNCE_FAILURE, true, true, false, false, "Subject: s\r\n\r\nbody\r\n",
          "Undelivered Message Headers\r\nContent-Type: text/rfc822-headers\r\n\r\nReturn-Path: "
          "<s@y>\r\nSubject" },
        { "whole", BOUNCE_FAILURE, false, true, false, true, "Subject: s\r\n\r\nbody\r\n",
          "Undelivered Message\r\nContent-Type: message/rfc822\r\n\r\nReturn-Path: "
          "<s@y>\r\nSubject" },
        { "longer than bounce_size_limit", BOUNCE_FAILURE, false, false, false, false,
          "Subject: s\r\n\r\nbody\r\n", "Headers\r\nContent-Type: text/rfc822-headers\r\n" },
        { "bare LF", BOUNCE_FAILURE, true, true, false, false, "Subject: s\n\nbody\n",
          "text/rfc822-headers" },
        { "no header", BOUNCE_FAILURE, true, true, false, false, "\r\nbody\r\n",
          "text/rfc822-headers" },
        { "8bit", BOUNCE_FAILURE, false, true, false, true, "Subject: s\r\n\r\nbody \xc3\xa4\r\n",
          "message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n" },
        { "8bit in the body alone", BOUNCE_FAILURE, true, true, false, false,
          "Subject: s\r\n\r\nbody \xc3\xa4\r\n", "text/rfc822-headers\r\n\r\n" },
        { "SMTPUTF8", BOUNCE_FAILURE, false, true, true, true, "Subject: s\r\n\r\nbody\r\n",
          "Content-Type: message/global\r\n\r\n" },
        { "SMTPUTF8, RET=HDRS", BOUNCE_FAILURE, true, true, true, false,
          "Subject: \xc3\xa4\r\n\r\nbody\r\n",
          "message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n" },
        { "delay", BOUNCE_DELAY, false, true, false, false, "Subject: s\r\n\r\nbody\r\n",
          "Content-Description: Undelivered Message Headers\r\nContent-Type: text/rfc822-headers" },
        { "success", BOUNCE_SUCCESS, false, true, false, false, "Subject: s\r\n\r\nbody\r\n",
          "Content-Description: Message Headers\r\nContent-Type: text/rfc822-headers" },
        { "no end of line", BOUNCE_FAILURE, false, true, false, true, "Subject: s\r\n\r\nbody",
          "\r\n\r\nbody\r\n\r\n--" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].what);
        fill(rows[i].kind);
        report.wants_header_only = rows[i].wants_header_only;
        report.is_whole = rows[i].is_whole;
        report.is_utf8 = rows[i].is_utf8;
        report.original = sl_z(rows[i].original);
        bounce_build(&report, &b);
        CHECK_EQ_INT(has(&b, "\nbody"), rows[i].has_body);
        CHECK(has(&b, rows[i].type));
        CHECK_EQ_INT(has(&b, "message/global-delivery-status"), rows[i].is_utf8);
        CHECK_EQ_INT(has(&b, "Content-Transfer-Encoding: 8bit"), bounce_is_8bit(buf_slice(&b)));
        buf_free(&b);
    }
}

/* RFC 6533 §3: in the UTF-8 form as they are, in the other as \x{HEX}. */
TEST(addresses_beyond_ascii)
{
    static const struct {
        const char *addr, *orcpt;
        bool is_utf8;
        const char *want;
    } rows[] = {
        { "b@x", "rfc822;b@x", false,
          "Final-Recipient: rfc822; b@x\r\nOriginal-Recipient: rfc822;b@x\r\n" },
        { "b@x", "rfc822;b@x", true,
          "Final-Recipient: rfc822; b@x\r\nOriginal-Recipient: rfc822;b@x\r\n" },
        { "\xc3\xa4@x", "", true,
          "Final-Recipient: utf-8; \xc3\xa4@x\r\nOriginal-Recipient: utf-8;\xc3\xa4@x\r\n" },
        { "\xc3\xa4@x", "", false,
          "Final-Recipient: utf-8; \\x{E4}@x\r\nOriginal-Recipient: utf-8;\\x{E4}@x\r\n" },
        { "b@x", "utf-8;\xe2\x82\xac\\@x", false, "Original-Recipient: utf-8;\\x{20AC}\\x{5C}@x" },
        { "b@x", "utf-8;\xf0\x9f\x98\x80@x", false, "Original-Recipient: utf-8;\\x{1F600}@x" },
        { "b@x", "utf-8;\xff\xc3@x", false, "Original-Recipient: utf-8;??@x" },
        { "b@x", "rfc822;\xc3\xa4@x", true, "Original-Recipient: utf-8;\xc3\xa4@x\r\n" },
        { "a b@x", "", false, "Final-Recipient: rfc822; \"a b\"@x\r\n" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = { 0 };

        TEST_ROW("%zu", i);
        fill(BOUNCE_FAILURE);
        rcpts[0].addr = rcpts[0].orig = sl_z(rows[i].addr);
        rcpts[0].orcpt = sl_z(rows[i].orcpt);
        report.is_utf8 = rows[i].is_utf8;
        bounce_build(&report, &b);
        CHECK(has(&b, rows[i].want));
        buf_free(&b);
    }
}

TEST(a_delay)
{
    struct buf b = { 0 };

    fill(BOUNCE_DELAY);
    bounce_build(&report, &b);
    CHECK(has(&b, "Subject: Delayed Mail (still being retried)\r\n"));
    CHECK(has(&b, "For 4 hour(s) ") && has(&b, "\r\n5 day(s) old."));
    CHECK(has(&b, "Action: delayed\r\n") && has(&b, "Will-Retry-Until: "));
    buf_free(&b);
}

TEST(copies_for_postmaster)
{
    struct buf b = { 0 };

    fill(BOUNCE_FAILURE);
    report.is_copy = true;
    report.wants_header_only = true;
    report.to = SL("postmaster@origin.example");
    bounce_build(&report, &b);
    CHECK(has(&b, "Subject: Postmaster Copy: Undelivered Mail\r\nTo: postmaster@origin.example"));
    CHECK(!has(&b, "mail system at host") && has(&b, "<b@x>: no\r\n") && !has(&b, "\nbody"));
    CHECK(has(&b, "X-Postfix-Sender: rfc822; s@y\r\n"));
    CHECK(has(&b, "Auto-Submitted: auto-generated\r\n"));
    buf_free(&b);
    report.sender = SL("");
    bounce_build(&report, &b);
    CHECK(has(&b, "X-Postfix-Sender: rfc822; MAILER-DAEMON@origin.example\r\n"));
    buf_free(&b);
}

TEST(hostile_words_stay_words)
{
    struct buf b = { 0 };
    char word[5000];

    memset(word, 'w', sizeof word);
    fill(BOUNCE_FAILURE);
    report.n_rcpts = 2;
    rcpts[0].why = SL("host evil[192.0.2.6]:25 said: 550 x\r\n\r\n--4XyZ12bbbbz9Q\r\nBcc: v@z\n"
                      "\x1b[2J (in reply to DATA command)");
    rcpts[1].why = sl_n(word, sizeof word);
    rcpts[1].status = SL("5.7.1\r\nBcc:v");
    bounce_build(&report, &b);
    CHECK(!has(&b, "\nBcc:"));
    CHECK(!has(&b, "\x1b"));
    for (struct slice in = buf_slice(&b), line; sl_take_until(&in, '\n', &line);)
        CHECK(sl_ends(line, '\r') && line.n < 998);
    buf_free(&b);
    bounce_templates_unref(&templates);
}

TEST_MAIN()
