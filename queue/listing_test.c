/* queue/listing_test.c - what strangers put into envelopes and replies does nothing to an operator's terminal. */
#include "queue/listing.h"

#include "base/mem.h"
#include "base/test.h"

static const struct {
    const char *name, *in, *out;
} rows[] = {
    { "empty", "", "\t" },
    { "plain", "a@b.test", "\ta@b.test" },
    { "C0 and DEL", "a\x1b[2J\tb\nc\x7f", "\ta?[2J?b?c?" },
    { "UTF-8", "jos\xc3\xa9@b\xc3\xbc\xe2\x82\xac.test",
      "\tjos\xc3\xa9@b\xc3\xbc\xe2\x82\xac.test" },
    { "C1 as a character",
      "a\xc2\x9b"
      "2Jb\xc2\xa0",
      "\ta??2Jb\xc2\xa0" },
    { "C1 as an octet",
      "a\x9b"
      "2J\x90\xe9",
      "\ta?2J?\xe9" },
    { "cut short", "a\xe2\x82", "\ta\xe2?" },
};

TEST(fields_hold_no_controls)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i].name);
        listing_add_field(&out, sl_z(rows[i].in));
        CHECK_EQ_STR(buf_z(&out), rows[i].out);
        buf_free(&out);
    }
}

TEST_MAIN()
