/* session/words_test.c - lists of words: names, patterns, tables. */
#include "session/words.h"

#include "base/mem.h"
#include "base/test.h"

static const struct {
    const char *items[4];
    const char *word;
    int want; /* enum words_rc, or -1: the list is refused */
} rows[] = {
    { { "CONNECT", "GET" }, "get", WORDS_YES },
    { { "CONNECT", "GET" }, "GETS", WORDS_NO },
    { { NULL }, "GET", WORDS_NO },
    { { "!GET", "regexp:{{/^g/ x}}" }, "GET", WORDS_NO },
    { { "!GET", "regexp:{{/^g/ x}}" }, "GOT", WORDS_YES },
    { { "regexp:{{/^[^A-Z]/ Bogus}}" }, "\x16\x03\x01", WORDS_YES },
    { { "regexp:{{/^[^A-Z]/ Bogus}}" }, "123", WORDS_YES },
    { { "regexp:{{/^[^A-Z]/ Bogus}}" }, "ehlo", WORDS_NO },
    { { "regexp:{{/^[^A-Z]/i Bogus}}" }, "ehlo", WORDS_YES },
    { { "regexp:{{/^a{2}$/ x}, {!/^.{1,3}$/ y}}" }, "aa", WORDS_YES },
    { { "regexp:{{/^a{2}$/ x}, {!/^.{1,3}$/ y}}" }, "ab", WORDS_NO },
    { { "regexp:{{/^a{2}$/ x}, {!/^.{1,3}$/ y}}" }, "abcd", WORDS_YES },
    { { "GET", "hash:/etc/words", "POST" }, "GET", WORDS_YES },
    { { "GET", "hash:/etc/words", "POST" }, "POST", WORDS_ASK },
    { { "!hash:/etc/words", "POST" }, "POST", WORDS_ASK_NOT },
    { { "regexp:{{/^[^A-Z/ Bogus}}" }, "x", -1 },
    { { "regexp:{{/^x Bogus}}" }, "x", -1 },
    { { "regexp:{/^x/ Bogus}" }, "x", -1 },
    { { "!external", "static:rest" }, "PLAIN", WORDS_YES },
    { { "!external", "static:rest" }, "EXTERNAL", WORDS_NO },
    { { "pcre:{{/^x/ Bogus}}" }, "x", -1 },
};

TEST(words)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf_list l = { .v = rows[i].items };
        struct words *w;
        struct err e = { 0 };
        const char *table = NULL;
        size_t at = 0;

        TEST_ROW("%s: %s", rows[i].items[0] ? rows[i].items[0] : "", rows[i].word);
        while (l.n < 4 && rows[i].items[l.n])
            l.n++;
        if (words_init(&w, "smtpd_forbidden_commands", l, &e)) {
            CHECK_EQ_INT(-1, rows[i].want);
            CHECK(strstr(e.msg, "smtpd_forbidden_commands: ") == e.msg);
            CHECK(w == NULL);
            continue;
        }
        CHECK_EQ_INT(words_match(w, sl_z(rows[i].word), &at, &table), rows[i].want);
        if (rows[i].want == WORDS_ASK ||
            rows[i].want == WORDS_ASK_NOT) { /* it is not in the table */
            CHECK_EQ_STR(table, "hash:/etc/words");
            at++;
            CHECK_EQ_INT(words_match(w, sl_z(rows[i].word), &at, &table), WORDS_YES);
        }
        words_free(&w);
    }
}

TEST_MAIN()
