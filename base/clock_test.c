#include "base/clock.h"

#include "base/test.h"

TEST(runs)
{
    uint64_t before = clock_mono_ms();

    CHECK(before > 0);
    CHECK(clock_mono_ms() >= before);
    CHECK(clock_unix_s() > 1600000000);
    CHECK(clock_unix_us() / 1000000 - clock_unix_s() <= 1);
}

TEST(stands_where_a_test_puts_it)
{
    clock_fake(5, 1700000000999999);
    CHECK_EQ_INT(clock_mono_ms(), 5);
    CHECK_EQ_INT(clock_unix_us(), 1700000000999999);
    CHECK_EQ_INT(clock_unix_s(), 1700000000);
    clock_fake(0, -1);
    CHECK_EQ_INT(clock_mono_ms(), 0);
    CHECK_EQ_INT(clock_unix_s(), -1); /* seconds are floored */
    clock_fake(0, 0);
    CHECK(clock_unix_s() > 1600000000);
}

TEST_MAIN()
