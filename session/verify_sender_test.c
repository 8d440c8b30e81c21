/* session/verify_sender_test.c */
#include "session/verify_sender.h"

#include "base/mem.h"
#include "base/test.h"

static struct conf *
conf_with(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf b = { 0 };
    struct conf *c;

    buf_addf(&b, "myhostname = mx.example.com\nmyorigin = example.com\n%s", lines);
    c = conf_parse(buf_slice(&b), "test", &ps);
    buf_free(&b);
    conf_problems_free(&ps);
    return c;
}

TEST(addresses)
{
    static const struct {
        const char *lines;
        int64_t at_s;
        const char *want;
    } rows[] = {
        { "", 5, "double-bounce@example.com" },
        { "double_bounce_sender = db\n", 5, "db@example.com" },
        { "address_verify_sender =\n", 5, "" },
        { "address_verify_sender = <>\n", 5, "" },
        { "address_verify_sender = probe@other.example\n", 5, "probe@other.example" },
        { "address_verify_sender = probe\naddress_verify_sender_ttl = 10s\n", 5,
          "probe0@example.com" },
        { "address_verify_sender = probe\naddress_verify_sender_ttl = 10s\n", 319,
          "probe10@example.com" }, /* 31 in base 31 */
        { "address_verify_sender = p@x\naddress_verify_sender_ttl = 1s\n", 30, "pZ@x" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf *c = conf_with(rows[i].lines);
        struct buf b = { 0 };

        TEST_ROW("%zu", i);
        NEED(c != NULL);
        verify_sender_make(c, rows[i].at_s, &b);
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        CHECK(verify_sender_is(c, buf_slice(&b), rows[i].at_s));
        buf_free(&b);
        conf_unref(&c);
    }
}

TEST(recognised)
{
    static const char fixed[] = "", null[] = "address_verify_sender =\n",
                      ttl[] = "address_verify_sender_ttl = 10s\n";
    static const struct {
        const char *lines, *addr;
        int64_t at_s;
        bool want;
    } rows[] = {
        { fixed, "double-bounce@example.com", 0, true },
        { fixed, "Double-Bounce@EXAMPLE.com", 0, true },
        { fixed, "double-bounce@mx.example.com", 0, false },
        { fixed, "double-bounce0@example.com", 0, false },
        { fixed, "double-bounce", 0, false },
        { fixed, "", 0, false },
        { null, "", 0, true },
        { null, "double-bounce@example.com", 0, false },
        { ttl, "double-bounce@example.com", 0, false },
        { ttl, "double-bounce1@example.com", 5, true }, /* the next */
        { ttl, "double-bounce1@example.com", 15, true },
        { ttl, "double-bounce1@example.com", 25, true }, /* the last */
        { ttl, "double-bounce1@example.com", 35, false },
        { ttl, "double-bounce1x@example.com", 15, false },
        { ttl, "double-bounce11111111111111111111111@example.com", 15, false },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf *c = conf_with(rows[i].lines);
        struct buf b = { 0 };

        TEST_ROW("%zu %s", i, rows[i].addr);
        NEED(c != NULL);
        CHECK_EQ_INT(verify_sender_is(c, sl_z(rows[i].addr), rows[i].at_s), rows[i].want);
        verify_sender_plain(c, &b);
        CHECK_EQ_STR(buf_z(&b), rows[i].lines == null ? "" : "double-bounce@example.com");
        buf_free(&b);
        conf_unref(&c);
    }
}

TEST_MAIN()
