/* proto/hostname_test.c */
#include "proto/hostname.h"

#include "base/buf.h"
#include "base/test.h"

#define UE "\303\274"

static const struct {
    const char *part; /* repeated, then the rest */
    size_t times;
    const char *rest;
    bool is_ascii_name, is_utf8_name;
} rows[] = {
    { "", 0, "mx_1.example.com", true, true },
    { "", 0, "example.com.", false, false },
    { "", 0, "a..b", false, false },
    { "", 0, "-a.b", false, false },
    { "", 0, "a-.b", false, false },
    { "", 0, "192.0.2.1", false, false },
    { "", 0, "", false, false },
    { "a", 63, ".test", true, true },
    { "a", 64, ".test", false, false },
    { "abcdefg.", 31, "1234567", true, true },
    { "abcdefg.", 31, "12345678", false, false },
    { UE, 1, "x.test", false, true },
    { UE, 40, ".test", false, true },                /* 80 octets, 46 of the A-label */
    { "\344\276\213", 30, ".test", false, true },    /* 90 octets */
    { UE, 70, ".test", false, false },               /* 140, 76 */
    { UE UE UE UE UE UE ".", 15, "t", false, true }, /* 196, 166 */
    { UE UE UE UE UE UE ".", 19, "t", false, true }, /* 248, 210 */
    { UE UE UE UE UE UE ".", 24, "t", false, false },
    { "", 0, UE "..test", false, false },
    { "", 0, "\377.test", false, false },
    { "", 0, "a\303.test", false, false },
    { "", 0, "\360\237\230\200.test", false, true }, /* an emoji: IDNA 2008 has none, UTS 46 has */
};

TEST(names)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = { 0 };

        for (size_t k = 0; k < rows[i].times; k++)
            buf_adds(&b, sl_z(rows[i].part));
        buf_adds(&b, sl_z(rows[i].rest));
        TEST_ROW("%s", buf_z(&b));
        CHECK_EQ_INT(hostname_is_valid(buf_slice(&b)), rows[i].is_ascii_name);
        CHECK_EQ_INT(hostname_is_valid_utf8(buf_slice(&b)), rows[i].is_utf8_name);
        buf_free(&b);
    }
}

TEST_MAIN()
