#include "base/rand.h"

#include "base/test.h"

TEST(below_covers_its_range)
{
    unsigned seen[7] = { 0 };

    for (int i = 0; i < 7000; i++) {
        uint32_t v = rand_below(7);

        NEED(v < 7);
        seen[v]++;
    }
    for (int i = 0; i < 7; i++)
        CHECK(seen[i] > 500); /* 1000 wanted; out by chance once in 10^60 */
    CHECK_EQ_INT(rand_below(1), 0);
    (void)rand_below(UINT32_MAX);
}

TEST(hex_has_digits_and_an_end)
{
    char out[34];

    memset(out, 'x', sizeof(out));
    rand_hex(out, 32);
    CHECK_EQ_INT(strspn(out, "0123456789abcdef"), 32);
    CHECK_EQ_INT(out[32], 0);
    CHECK_EQ_INT(out[33], 'x');
    rand_hex(out, 0);
    CHECK_EQ_STR(out, "");
}

TEST(differs)
{
    CHECK(rand_u64() != rand_u64());
    rand_octets(NULL, 0);
}

TEST_MAIN()
