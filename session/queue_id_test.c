/* session/queue_id_test.c */
#include "session/queue_id.h"

#include "base/test.h"

TEST(round_trip)
{
    static const struct {
        int64_t us;
        uint64_t counter;
        uint32_t bits;
    } rows[] = {
        { 0, 0, 0 },
        { 1732290000123456, 1, 0xfffff },
        { 1732290000999999, (1ULL << 42) - 1, 0x12345 },
        { 4102444800000001, 51, 51 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char id[QUEUE_ID_TEXT_OCTETS];
        int64_t us;
        uint64_t counter;
        uint32_t bits;

        TEST_ROW("%zu", i);
        queue_id_format(rows[i].us, rows[i].counter, rows[i].bits, id);
        NEED(queue_id_parse(sl_z(id), &us, &counter, &bits));
        CHECK_EQ_INT(us, rows[i].us);
        CHECK_EQ_INT(counter, rows[i].counter);
        CHECK_EQ_INT(bits, rows[i].bits);
        for (const char *p = id; *p; p++)
            CHECK(sl_is_alnum_char(*p));
        CHECK(strlen(id) >= 12 && strlen(id) < QUEUE_ID_TEXT_OCTETS);
    }
}

TEST(counters_and_databases_differ)
{
    char a[QUEUE_ID_TEXT_OCTETS], b[QUEUE_ID_TEXT_OCTETS];

    queue_id_format(1732290000123456, 7, 9, a);
    queue_id_format(1732290000123456, 8, 9, b);
    CHECK(strcmp(a, b) != 0);
    queue_id_format(1732290000123456, 7, 10, b);
    CHECK(strcmp(a, b) != 0);
    queue_id_format(1732290000123457, 7, 9, b);
    CHECK(strcmp(a, b) != 0);
}

TEST(refuses_what_is_no_id)
{
    static const char *const bad[] = { "",
                                       "z",
                                       "ABC",
                                       "0123456789",
                                       "0123456789z",
                                       "BCDFGH0000zA",
                                       "BCDFGH0000z!",
                                       "A1CDFGHJKLzB",
                                       "DROP TABLE",
                                       "BCDFGHBCDFGHBCDFGHBCDFGHBCDFGHBCzBBB" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TEST_ROW("%s", bad[i]);
        CHECK(!queue_id_parse(sl_z(bad[i]), NULL, NULL, NULL));
    }
}

TEST_MAIN()
