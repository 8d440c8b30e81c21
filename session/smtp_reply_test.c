/* session/smtp_reply_test.c - replies and bodies of the client side. */
#include "session/smtp_reply.h"

#include "base/test.h"
#include "session/smtp_body.h"

TEST(replies)
{
    static const struct {
        const char *lines; /* LF between */
        enum parse_rc want;
        unsigned code;
        const char *dsn, *text;
    } rows[] = {
        { "250 2.1.0 Ok", PARSE_OK, 250, "2.1.0", "250 2.1.0 Ok" },
        { "250", PARSE_OK, 250, "2.0.0", "250" },
        { "250-mx\n250-SIZE 10\n250 HELP", PARSE_OK, 250, "2.0.0", "250-mx 250-SIZE 10 250 HELP" },
        { "550 5.1.1 no", PARSE_OK, 550, "5.1.1", "550 5.1.1 no" },
        { "550 4.1.1 class differs", PARSE_OK, 550, "5.0.0", "550 4.1.1 class differs" },
        { "452 4.2.22.1 no", PARSE_OK, 452, "4.0.0", "452 4.2.22.1 no" },
        { "250-2.0.0 a\n550 b", PARSE_OK, 550, "5.0.0", "250-2.0.0 a 550 b" },
        { "554 \x01\x1b[31m", PARSE_OK, 554, "5.0.0", "554 ??[31m" },
        { "250-more", PARSE_MORE, 0, NULL, NULL },
        { "HTTP/1.1 400", PARSE_BAD, 0, NULL, NULL },
        { "", PARSE_BAD, 0, NULL, NULL },
        { "25", PARSE_BAD, 0, NULL, NULL },
        { "250x", PARSE_BAD, 0, NULL, NULL },
        { "150 preliminary", PARSE_BAD, 0, NULL, NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_reply r = { 0 };
        struct slice in = sl_z(rows[i].lines), line;
        enum parse_rc rc = PARSE_MORE;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].lines);
        do {
            if (!sl_take_until(&in, '\n', &line)) {
                line = in;
                in.n = 0;
            }
            rc = smtp_reply_take(&r, line, &e);
        } while (rc == PARSE_MORE && in.n > 0);
        CHECK_EQ_INT(rc, rows[i].want);
        if (rc == PARSE_OK) {
            struct buf out = { 0 };

            CHECK_EQ_INT(r.code, rows[i].code);
            CHECK_EQ_STR(r.dsn, rows[i].dsn);
            smtp_reply_one_line(&r, &out);
            CHECK_EQ_STR(buf_z(&out), rows[i].text);
            buf_free(&out);
        }
        smtp_reply_free(&r);
    }
}

TEST(endless_reply_is_refused)
{
    struct smtp_reply r = { 0 };
    enum parse_rc rc = PARSE_MORE;
    struct err e = { 0 };
    int n = 0;

    while (rc == PARSE_MORE && n++ < 100000)
        rc = smtp_reply_take(&r, SL("250-and so on and on and on and on and on and on"), &e);
    CHECK_EQ_INT(rc, PARSE_BAD);
    CHECK(r.text.n <= SMTP_REPLY_TEXT_OCTETS);
    smtp_reply_free(&r);
}

TEST(bodies)
{
    static const struct {
        const char *in, *want;
        size_t line_max;
    } rows[] = {
        { "", ".\r\n", 998 },
        { "a\r\n", "a\r\n.\r\n", 998 },
        { "a", "a\r\n.\r\n", 998 },
        { ".\r\n..x\r\n", "..\r\n...x\r\n.\r\n", 998 },
        { "a\nb\n", "a\r\nb\r\n.\r\n", 998 },
        { "a\rb\r\n", "a b\r\n.\r\n", 998 },
        { "a\r\r\n", "a \r\n.\r\n", 998 },
        { "x\r\n.\rq", "x\r\n.. q\r\n.\r\n", 998 },
        { "x\n.\n", "x\r\n..\r\n.\r\n", 998 },
        { "a\r", "a \r\n.\r\n", 998 },
        { "abcdefgh\r\n", "abcd\r\n efg\r\n h\r\n.\r\n", 4 },
        { "abc\r\n", "ab\r\n c\r\n.\r\n", 2 },
        { "abc\r\n", "ab\r\n c\r\n.\r\n", 1 }, /* a continuation has a blank and something */
        { "abcd\r\n.bc", "abcd\r\n..bc\r\n.\r\n", 4 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice in = sl_z(rows[i].in);

        /* whole, and split at each octet: the same */
        for (size_t cut = 0; cut <= in.n; cut++) {
            struct smtp_body b = { .line_max = rows[i].line_max };
            struct buf out = { 0 };

            TEST_ROW("%zu cut %zu", i, cut);
            smtp_body_add(&b, sl_head(in, cut), &out);
            smtp_body_add(&b, sl_from(in, cut), &out);
            smtp_body_end(&b, &out);
            CHECK_EQ_STR(buf_z(&out), rows[i].want);
            buf_free(&out);
        }
    }
}

TEST_MAIN()
