/* base/fold_test.c */
#include "base/fold.h"

#include "base/mem.h"
#include "base/test.h"
#include "base/utf8.h"

TEST(texts)
{
    static const struct {
        const char *why, *in, *want;
    } rows[] = {
        { "empty", "", "" },
        { "ASCII", "Hello, WORLD 123 @[`{", "HELLO, WORLD 123 @[`{" },
        { "RFC 5051's example: U+01C4", "\xC7\x84", "DZ\xCC\x8C" },
        { "umlauts", "\xC3\x84rger \xC3\xB6L", "A\xCC\x88RGER O\xCC\x88L" },
        { "already decomposed", "o\xCC\x88", "O\xCC\x88" },
        { "multiplication sign", "\xC3\x97", "\xC3\x97" },
        { "sharp s has no titlecase",
          "stra\xC3\x9F"
          "e",
          "STRA\xC3\x9F"
          "E" },
        { "ligature fi", "\xEF\xAC\x81", "FI" },
        { "full width", "\xEF\xBC\xA1\xEF\xBD\x82", "AB" },
        { "superscript two", "m\xC2\xB2", "M2" },
        { "Greek with final sigma", "\xCE\xA3\xCE\xAF\xCF\x82",
          "\xCE\xA3\xCE\x99\xCC\x81\xCE\xA3" },
        { "Cyrillic", "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82",
          "\xD0\x9F\xD0\xA0\xD0\x98\xD0\x92\xD0\x95\xD0\xA2" },
        { "short i", "\xD0\xB9", "\xD0\x98\xCC\x86" },
        { "Deseret", "\xF0\x90\x90\xA8", "\xF0\x90\x90\x80" },
        { "Han stays", "\xE6\x97\xA5\xE6\x9C\xAC", "\xE6\x97\xA5\xE6\x9C\xAC" },
        { "Han compatibility", "\xEF\xA4\x80", "\xE8\xB1\x88" },
        { "the last one", "\xF0\xAF\xA8\x9D", "\xF0\xAA\x98\x80" },
        { "Hangul GAG", "\xEA\xB0\x81", "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8" },
        { "Hangul without a final", "\xEA\xB0\x80", "\xE1\x84\x80\xE1\x85\xA1" },
        { "Hangul, last", "\xED\x9E\xA3", "\xE1\x84\x92\xE1\x85\xB5\xE1\x87\x82" },
        { "emoji", "\xF0\x9F\x98\x80", "\xF0\x9F\x98\x80" },
        { "no UTF-8", "a\xFF\xC3Z", "A\xFF\xC3Z" },
        { "eighteen at once", "\xEF\xB7\xBA",
          "\xD8\xB5\xD9\x84\xD9\x89 \xD8\xA7\xD9\x84\xD9\x84\xD9\x87 "
          "\xD8\xB9\xD9\x84\xD9\x8A\xD9\x87 \xD9\x88\xD8\xB3\xD9\x84\xD9\x85" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].why);
        fold_text(&b, sl_z(rows[i].in));
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
    }
}

TEST(folding_twice_changes_nothing)
{
    struct buf once = { 0 }, twice = { 0 }, in = { 0 };
    unsigned changed = 0;

    for (uint32_t cp = 1; cp < 0x30000; cp++) {
        buf_reset(&in);
        buf_reset(&once);
        buf_reset(&twice);
        utf8_add(&in, cp);
        fold_text(&once, buf_slice(&in));
        fold_text(&twice, buf_slice(&once));
        changed += !sl_eq(buf_slice(&in), buf_slice(&once));
        if (!sl_eq(buf_slice(&once), buf_slice(&twice)))
            FAIL("U+%04X folds to what folds to something else", (unsigned)cp);
    }
    CHECK_EQ_INT(changed, 6733 + 11172); /* of Unicode 14; Hangul */
    buf_free(&in);
    buf_free(&once);
    buf_free(&twice);
}

TEST_MAIN()
