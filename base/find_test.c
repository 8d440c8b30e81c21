/* base/find_test.c - against looking at every place. */
#include "base/find.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

static size_t
plainly(struct slice hay, struct slice needle, bool is_icase)
{
    for (size_t i = 0; i + needle.n <= hay.n; i++) {
        struct slice at = sl_n(hay.p + i, needle.n);

        if (is_icase ? sl_ieq(at, needle) : sl_eq(at, needle))
            return i;
    }
    return SL_NPOS;
}

TEST(texts)
{
    static const struct {
        const char *hay, *needle;
        bool is_icase;
        size_t want;
    } rows[] = {
        { "", "", false, 0 },
        { "", "a", true, SL_NPOS },
        { "abc", "", true, 0 },
        { "abc", "abcd", true, SL_NPOS },
        { "xabC", "ABc", true, 1 },
        { "xabC", "ABc", false, SL_NPOS },
        { "the quick brown fox jumps over the lazy dog", "LAZY DOG", true, 35 },
        { "the quick brown fox jumps over the lazy dog", "lazy dog", false, 35 },
        { "0123456789012345678901234567890123456789@", "`", true, SL_NPOS }, /* '@' with bit 5 */
        { "0123456789012345678901234567890123456789[", "{", true, SL_NPOS },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "ab", true, 38 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct find f;

        TEST_ROW("%zu", i);
        find_init(&f, sl_z(rows[i].needle), rows[i].is_icase);
        CHECK_EQ_INT(find_in(&f, sl_z(rows[i].hay)), rows[i].want);
    }
}

/* Few letters, so that nearly everything nearly matches; exact allocations, so that a sanitizer sees a step too far. */
TEST(same_as_looking_everywhere)
{
    unsigned seed = 1, hits = 0;

    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)rand_r(&seed) % 90, k = 1 + (size_t)rand_r(&seed) % 5;
        char *hay = mem_alloc(n + 1), *needle = mem_alloc(k);
        bool is_icase = rand_r(&seed) & 1;
        struct slice h = sl_n(hay, n), w = sl_n(needle, k);
        size_t want, ascii = 0;
        struct find f;

        hay = mem_realloc(hay, n > 0 ? n : 1);
        h.p = hay;
        for (size_t i = 0; i < n; i++)
            hay[i] = "aAbB \xC3"[(size_t)rand_r(&seed) % 6];
        for (size_t i = 0; i < k; i++)
            needle[i] = "aAbB \xC3"[(size_t)rand_r(&seed) % 6];
        find_init(&f, w, is_icase);
        want = plainly(h, w, is_icase);
        hits += want != SL_NPOS;
        CHECK_EQ_INT(find_in(&f, h), want);
        want = 0;
        for (size_t i = 0; i < n; i++)
            want += hay[i] == 'a';
        CHECK_EQ_INT(find_count(h, 'a'), want);
        while (ascii < n && (unsigned char)hay[ascii] < 0x80)
            ascii++;
        CHECK_EQ_INT(find_ascii(h), ascii);
        free(hay);
        free(needle);
    }
    CHECK(hits > 5000 && hits < 19000);
}

/* Nearly everywhere it nearly is: quickly all the same (this would take hours), and found where it is at last. */
TEST(nearly_everywhere)
{
    size_t n = 8 * 1024 * 1024, k = 512 * 1024;
    char *hay = mem_alloc(n), *needle = mem_alloc(k);
    struct find f;

    for (int is_icase = 0; is_icase < 2; is_icase++) {
        memset(hay, is_icase ? 'q' : 'Q', n);
        memset(needle, 'Q', k);
        needle[k / 2] = 'E';
        find_init(&f, sl_n(needle, k), is_icase);
        CHECK_EQ_INT(find_in(&f, sl_n(hay, n)), SL_NPOS);
        hay[n - k / 2] = 'E';
        CHECK_EQ_INT(find_in(&f, sl_n(hay, n)), n - k);
        CHECK_EQ_INT(find_in(&f, sl_n(hay, n - 1)), SL_NPOS);
    }
    for (size_t i = 0; i < n; i++) /* borders within the needle */
        hay[i] = "QXQXQ"[i % 5];
    for (size_t i = 0; i < k; i++)
        needle[i] = "QXQXQ"[i % 5];
    needle[k - 1] = 'Z';
    find_init(&f, sl_n(needle, k), false);
    CHECK_EQ_INT(find_in(&f, sl_n(hay, n)), SL_NPOS);
    hay[n - n % 5 - 5 + k % 5 - 1] = 'Z';
    CHECK_EQ_INT(find_in(&f, sl_n(hay, n)), n - n % 5 - 5 + k % 5 - k);
    free(hay);
    free(needle);
}

TEST(counts_of_long_texts)
{
    size_t n = 100001;
    char *s = mem_alloc(n);

    memset(s, '\n', n);
    CHECK_EQ_INT(find_count(sl_n(s, n), '\n'), n);
    CHECK_EQ_INT(find_count(sl_n(s, n), 'x'), 0);
    CHECK_EQ_INT(find_ascii(sl_n(s, n)), n);
    free(s);
}

TEST_MAIN()
