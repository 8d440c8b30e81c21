/* cli/quota_units_test.c - sizes read and written. */
#include "cli/quota_units.h"

#include "base/mem.h"
#include "base/test.h"

TEST(sizes)
{
    static const struct {
        const char *text;
        int64_t want; /* -1: none */
        const char *back;
    } rows[] = {
        { "0", 0, "0" },
        { "123", 123, "123" },
        { "123B", 123, "123" },
        { "100K", 102400, "100K" },
        { "1G", 1073741824, "1G" },
        { "1g", 1073741824, "1G" },
        { "1GB", 1073741824, "1G" },
        { "1.5G", 1610612736, "1.5G" },
        { "0.5K", 512, "512" },
        { "2T", INT64_C(2199023255552), "2T" },
        { "1023.5M", 1073217536, "1024M" },
        { "", -1, "" },
        { "G", -1, "" },
        { "-1G", -1, "" },
        { "1.G", -1, "" },
        { "1.5", -1, "" },
        { "1GiB", -1, "" },
        { "1 G", -1, "" },
        { "9000000T", -1, "" },
        { "9223372036854775807", -1, "" },
        { "99999999999999999999", -1, "" },
    };
    char back[QUOTA_SIZE_TEXT];

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t got = -1;

        TEST_ROW("\"%s\"", rows[i].text);
        CHECK_EQ_INT(quota_parse_size(sl_z(rows[i].text), &got), rows[i].want >= 0);
        CHECK_EQ_INT(got, rows[i].want);
        if (got >= 0)
            CHECK_EQ_STR(quota_size_text(got, back), rows[i].back);
    }
}

TEST_MAIN()
