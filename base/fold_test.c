/* base/fold_test.c */
#include "base/fold.h"

#include "base/mem.h"
#include "base/test.h"

TEST(texts)
{
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "", "" },
        { "Hello, WORLD 123", "hello, world 123" },
        { "\xC3\x84rger \xC3\x96L \xC3\x9C", "\xC3\xA4rger \xC3\xB6l \xC3\xBC" },
        { "\xC3\x97", "\xC3\x97" }, /* the multiplication sign among the capitals */
        { "stra\xC3\x9F"
          "e",
          "stra\xC3\x9F"
          "e" },                        /* sharp s folds to two letters: simple folding leaves it */
        { "\xE1\xBA\x9E", "\xC3\x9F" }, /* its capital is one letter */
        { "\xC5\xBD\xC5\xBE \xC4\xB0", "\xC5\xBE\xC5\xBE \xC4\xB0" }, /* every second one */
        { "\xCE\xA3\xCE\xAF\xCF\x82", "\xCF\x83\xCE\xAF\xCF\x83" },   /* both small sigmas */
        { "\xD0\x9F\xD0\xA0\xD0\x98\xD0\x92\xD0\x95\xD0\xA2",
          "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82" },
        { "\xF0\x90\x90\x80", "\xF0\x90\x90\xA8" }, /* Deseret */
        { "A\xFF\xC3Z", "a\xFF\xC3z" },             /* no UTF-8 */
        { "\xE6\x97\xA5\xE6\x9C\xAC", "\xE6\x97\xA5\xE6\x9C\xAC" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%zu", i);
        fold_text(&b, sl_z(rows[i].in));
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
    }
}

TEST(folding_twice_changes_nothing)
{
    unsigned changed = 0;

    for (uint32_t cp = 0; cp < 0x20000; cp++) {
        uint32_t f = fold_char(cp);

        changed += f != cp;
        if (fold_char(f) != f)
            FAIL("U+%04X folds to U+%04X, which folds to U+%04X", cp, f, fold_char(f));
    }
    CHECK(changed > 1300 && changed < 1600);
}

TEST_MAIN()
