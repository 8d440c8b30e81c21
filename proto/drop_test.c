#include "base/test.h"
#include "proto/drop.h"
#include "proto/smtp_param.h"

/* Read all of text; "" when it is a whole message, "more", or the complaint. */
static const char *
read_all(struct slice in, struct drop_seen *seen, struct err *e)
{
    enum drop_kind kind;
    struct slice octets;
    enum parse_rc rc;

    *seen = (struct drop_seen){ 0 };
    rc = drop_take_magic(&in, e);
    while (rc == PARSE_OK && !(seen->is_over && in.n == 0)) {
        rc = drop_take(&in, &kind, &octets, e);
        if (rc == PARSE_OK)
            rc = drop_check(seen, kind, octets, e);
    }
    return rc == PARSE_OK ? "" : rc == PARSE_MORE ? "more" : e->msg;
}

TEST(reads_what_it_writes)
{
    struct buf b = { 0 };
    struct drop_seen seen;
    struct err e = { 0 };

    buf_addz(&b, DROP_MAGIC);
    drop_add(&b, DROP_SENDER, SL(""));
    drop_add(&b, DROP_NOTIFY, SL("success,delay"));
    drop_add(&b, DROP_CONTENT, SL("Subject: a\r\n\r\nX0:\n\r\n"));
    drop_add(&b, DROP_RECIPIENT, SL("a b@example.com"));
    drop_add(&b, DROP_RECIPIENT, SL("root"));
    drop_add(&b, DROP_END, SL(""));
    CHECK_EQ_STR(read_all(buf_slice(&b), &seen, &e), "");
    CHECK_EQ_INT(seen.n_rcpts, 2);
    CHECK_EQ_INT(seen.content_octets, 20);
    for (size_t n = 0; n < b.n; n++) { /* cut anywhere it is not whole, and nothing worse */
        TEST_ROW("%zu octets", n);
        CHECK_EQ_STR(read_all(sl_head(buf_slice(&b), n), &seen, &e), "more");
    }
    buf_free(&b);
}

TEST(refuses)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "more" },
        { "From: a\n", "not a dropped message" },
        { DROP_MAGIC "R1:a\n", "the sender is not first" },
        { DROP_MAGIC "S1:a\nS1:a\n", "two senders" },
        { DROP_MAGIC "S1:a\nX0:\n", "no recipients" },
        { DROP_MAGIC "S1:a\nR1:b\nX0:\nC1:b\n", "a record behind the end" },
        { DROP_MAGIC "S1:a\nR0:\n", "a bad value in a record of kind R" },
        { DROP_MAGIC "S3:a\nb\n", "a bad value in a record of kind S" },
        { DROP_MAGIC "S1:a\nN4:some\n", "a bad value in a record of kind N" },
        { DROP_MAGIC "S1:a\nN13:never,success\n", "a bad value in a record of kind N" },
        { DROP_MAGIC "S1:a\nT4:full\n", "a bad value in a record of kind T" },
        { DROP_MAGIC "S1:a\nT4:FULL\nT4:FULL\n", "two records where one may be" },
        { DROP_MAGIC "S1:a\nZ0:\n", "a record of unknown kind" },
        { DROP_MAGIC "S1:a\nC70000:", "a record of bad length" },
        { DROP_MAGIC "S1:a\nC-1:", "a record of bad length" },
        { DROP_MAGIC "S1:a\nC000000000000000000000000", "a record without a length" },
        { DROP_MAGIC "S1:ab\n", "a record that does not end where it says" },
        { DROP_MAGIC "s1:a\n", "no record where one should be" },
    };
    struct drop_seen seen;
    struct err e = { 0 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_STR(read_all(sl_z(rows[i].text), &seen, &e), rows[i].why);
    }
}

TEST(addresses)
{
    static const struct {
        const char *internal;
        bool is_good;
    } rows[] = {
        { "a@b.example", true },
        { "root", true },
        { "a b@b.example", true },
        { "a,b@b.example", true },
        { "(a)@b.example", true },
        { "a@b@c.example", true },
        { "\"@b.example", true },
        { "a..b@b.example", true },
        { "x@[127.0.0.1]", true },
        { "x@[IPv6:::1]", true },
        { "!path!user", true },
        { "\xc3\xa4@b.example", true },
        { "", false },
        { "@", false },
        { "@b.example", false },
        { "x@", false },
        { "x@b> NOTIFY=NEVER", false },
        { "x@b> ORCPT=rfc822;y", false },
        { "x@b c", false },
        { "x@b<c", false },
        { "x@b,c", false },
        { "x@b;c", false },
        { "x@b(c)", false },
        { "\xff@b.example", false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].internal);
        CHECK_EQ_INT(drop_is_address(sl_z(rows[i].internal)), rows[i].is_good);
    }
}

TEST(bounds_the_envelope)
{
    struct drop_seen seen = { 0 };
    struct err e = { 0 };
    char local[1001] = "";
    size_t n = 0;

    CHECK(drop_check(&seen, DROP_SENDER, SL("a"), &e) == PARSE_OK);
    while (drop_check(&seen, DROP_RECIPIENT, SL("user@example.com"), &e) == PARSE_OK && n < 1000000)
        n++;
    CHECK_EQ_INT(n, DROP_RCPTS_MAX);
    CHECK_EQ_STR(e.msg, "more than 9000 recipients");
    memset(local, 'x', sizeof local - 1);
    seen = (struct drop_seen){ 0 };
    CHECK(drop_check(&seen, DROP_SENDER, SL("a"), &e) == PARSE_OK);
    for (n = 0; drop_check(&seen, DROP_RECIPIENT, sl_z(local), &e) == PARSE_OK; n++)
        ;
    CHECK(n > 1000 && n < 3000);
    CHECK_EQ_STR(e.msg, "more than 2097152 octets of envelope");
}

TEST(notify)
{
    static const struct {
        const char *text;
        int bits;
    } rows[] = {
        { "never", SMTP_NOTIFY_NEVER },
        { "Failure", SMTP_NOTIFY_FAILURE },
        { "failure,delay", SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY },
        { "failure, success", SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_SUCCESS },
        { "never,delay", -1 },
        { "", -1 },
        { "fail", -1 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(drop_notify_bits(sl_z(rows[i].text)), rows[i].bits);
    }
}

TEST_MAIN()
