/* queue/verify_rules_test.c */
#include "queue/verify_rules.h"

#include "base/test.h"

static const struct verify_times times = { 700, 3100, 30, 300 };

TEST(judged)
{
    static const struct {
        const char *name;
        enum verify_status status; /* VERIFY_TODO: there is no row */
        int64_t probed_ago_s, updated_ago_s;
        enum verify_status want;
        bool needs_probe, has_expired;
    } rows[] = {
        { "unknown", VERIFY_TODO, 0, 0, VERIFY_TODO, true, false },
        { "good and new", VERIFY_OK, 90000, 700, VERIFY_OK, false, false },
        { "good, to be refreshed", VERIFY_OK, 90000, 701, VERIFY_OK, true, false },
        { "good, being refreshed", VERIFY_OK, 5, 701, VERIFY_OK, false, false },
        { "good, the refresh was lost", VERIFY_OK, 1001, 3000, VERIFY_OK, true, false },
        { "good, expired", VERIFY_OK, 90000, 3101, VERIFY_TODO, true, true },
        { "good, expired, being refreshed", VERIFY_OK, 5, 3101, VERIFY_OK, false, false },
        { "bad and new", VERIFY_BOUNCE, 90000, 30, VERIFY_BOUNCE, false, false },
        { "bad, to be refreshed", VERIFY_BOUNCE, 90000, 31, VERIFY_BOUNCE, true, false },
        { "bad, expired", VERIFY_BOUNCE, 90000, 301, VERIFY_TODO, true, true },
        { "put off and new", VERIFY_DEFER, 90000, 1, VERIFY_DEFER, false, false },
        { "put off, to be refreshed", VERIFY_DEFER, 90000, 31, VERIFY_DEFER, true, false },
    };
    const int64_t now = 1000000;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verify_row row = { .status = rows[i].status,
                                  .probed_s = now - rows[i].probed_ago_s,
                                  .updated_s = now - rows[i].updated_ago_s };
        struct verify_judged j =
            verify_judge(rows[i].status == VERIFY_TODO ? NULL : &row, now, &times);

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(j.status, rows[i].want);
        CHECK_EQ_INT(j.needs_probe, rows[i].needs_probe);
        CHECK_EQ_INT(j.has_expired, rows[i].has_expired);
    }
}

TEST(replaced)
{
    static const struct {
        enum verify_status known; /* VERIFY_TODO: there is no row */
        enum verify_status outcome;
        bool keeps_failures, want;
    } rows[] = {
        { VERIFY_TODO, VERIFY_OK, true, true },       { VERIFY_TODO, VERIFY_BOUNCE, true, true },
        { VERIFY_TODO, VERIFY_DEFER, true, true },    { VERIFY_TODO, VERIFY_OK, false, true },
        { VERIFY_TODO, VERIFY_BOUNCE, false, false }, { VERIFY_OK, VERIFY_BOUNCE, true, false },
        { VERIFY_OK, VERIFY_DEFER, true, false },     { VERIFY_OK, VERIFY_OK, true, true },
        { VERIFY_BOUNCE, VERIFY_OK, true, true },     { VERIFY_BOUNCE, VERIFY_DEFER, true, true },
        { VERIFY_DEFER, VERIFY_BOUNCE, true, true },  { VERIFY_DEFER, VERIFY_BOUNCE, false, false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verify_row row = { .status = rows[i].known };

        TEST_ROW("%zu", i);
        CHECK_EQ_INT(verify_replaces(rows[i].known == VERIFY_TODO ? NULL : &row, rows[i].outcome,
                                     rows[i].keeps_failures),
                     rows[i].want);
    }
}

TEST_MAIN()
