/* queue/qdb_clock_test.c - the clock by which messages grow old. */
#include "queue/qdb_clock.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/test.h"

enum { S = 1000000, DAY = 24 * 60 * 60 };
static const int64_t wall = 1790000000LL * S;

TEST(time_away_counts_for_a_day_at_most)
{
    static const struct {
        int64_t saved_s, away_s, want_s;
    } rows[] = {
        { 0, 0, 1790000000 }, /* never saved */
        { 5000, 0, 5000 },
        { 5000, 30, 5030 },
        { 5000, DAY, 5000 + DAY },
        { 5000, 10 * 365 * DAY, 5000 + DAY }, /* off for long, or a clock that was set */
        { 5000, -3 * DAY, 5000 },             /* set back */
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct qdb_clock c;

        TEST_ROW("%zu", i);
        clock_fake(1000, wall);
        qdb_clock_start(&c, rows[i].saved_s * S, wall - rows[i].away_s * S);
        CHECK_EQ_INT(qdb_clock_us(&c) / S, rows[i].want_s);
    }
    clock_fake(0, 0);
}

TEST(it_goes_on_whatever_the_wall_clock_does)
{
    struct qdb_clock c;

    clock_fake(1000, wall);
    qdb_clock_start(&c, 0, 0);
    CHECK_EQ_INT(qdb_clock_wall_ahead_s(&c), 0);
    clock_fake(11000, wall + (int64_t)3650 * DAY * S);
    CHECK_EQ_INT(qdb_clock_us(&c), wall + 10 * S);
    CHECK_EQ_INT(qdb_clock_wall_ahead_s(&c), (int64_t)3650 * DAY - 10);
    clock_fake(21000, wall - (int64_t)3650 * DAY * S);
    CHECK_EQ_INT(qdb_clock_us(&c), wall + 20 * S);
    clock_fake(0, 0);
}

TEST_MAIN()
