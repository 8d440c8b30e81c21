#include "base/arena.h"

#include "base/test.h"

TEST(allocates_zeroed_and_aligned)
{
    struct arena a = { 0 };

    for (int round = 0; round < 3; round++) {
        for (size_t n = 0; n < 3000; n += 37) {
            unsigned char *p = arena_alloc(&a, n);

            NEED(p != NULL);
            CHECK_EQ_INT((uintptr_t)p % _Alignof(max_align_t), 0);
            for (size_t i = 0; i < n; i++)
                NEED(p[i] == 0);
            memset(p, 0xee, n);
        }
        arena_reset(&a);
        CHECK_EQ_INT(a.used, 0);
    }
    arena_free(&a);
    CHECK(a.head == NULL);
    arena_free(&a);
    arena_reset(&a);
}

TEST(blocks_do_not_overlap)
{
    enum { N = 300 };
    struct arena a = { 0 };
    char *p[N];

    for (size_t i = 0; i < N; i++) {
        p[i] = arena_alloc(&a, i * 97 + 1);
        memset(p[i], (int)(i & 0x7f), i * 97 + 1);
    }
    for (size_t i = 0; i < N; i++) {
        CHECK_EQ_INT(p[i][0], i & 0x7f);
        CHECK_EQ_INT(p[i][i * 97], i & 0x7f);
    }
    arena_free(&a);
}

TEST(cap_refuses)
{
    struct arena a = { .cap = 256 };
    struct slice s;

    CHECK(arena_alloc(&a, 257) == NULL);
    CHECK(arena_alloc(&a, 200) != NULL);
    CHECK(arena_alloc(&a, 100) == NULL);
    s = arena_dup(&a, sl_n("0123456789012345678901234567890123456789012345678901234567890123", 64));
    CHECK(s.p == NULL && s.n == 0);
    CHECK(arena_printf(&a, "%0100d", 1) == NULL);
    CHECK(arena_alloc(&a, 16) != NULL);
    arena_reset(&a);
    CHECK(arena_alloc(&a, 256) != NULL);
    CHECK(arena_alloc(&a, 1) == NULL);
    arena_free(&a);
}

TEST(copies_strings)
{
    struct arena a = { 0 };
    struct slice s = arena_dup(&a, sl_n("a\0bc", 3));

    CHECK_EQ_MEM(s.p, s.n + 1, "a\0b", 4);
    s = arena_dup(&a, (struct slice){ 0 });
    CHECK(s.p != NULL && s.n == 0 && s.p[0] == '\0');
    CHECK_EQ_STR(arena_dupz(&a, sl_n("abcdef", 3)), "abc");
    CHECK_EQ_STR(arena_printf(&a, "%s-%d", "x", 7), "x-7");
    arena_free(&a);
}

TEST_MAIN()
