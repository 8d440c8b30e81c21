/* LIST's patterns and SEARCH's dates. */
#include "base/test.h"
#include "imapd/search.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

static bool
list_match(struct slice pattern, struct slice name)
{
    struct arena mem = { 0 };
    bool is = imap_pattern_match(imap_pattern_new(&mem, pattern, '.'), name);

    arena_free(&mem);
    return is;
}

TEST(list_patterns)
{
    static const struct {
        const char *pattern, *name;
        bool want;
    } rows[] = {
        { "*", "INBOX", true },
        { "*", "a.b.c", true },
        { "%", "a", true },
        { "%", "a.b", false },
        { "%.%", "a.b", true },
        { "%.%", "a.b.c", false },
        { "a.%", "a.b", true },
        { "a.%", "a", false },
        { "a%", "a.b", false },
        { "a*", "a.b", true },
        { "a*c", "a.b.c", true },
        { "a*c", "a.b.cd", false },
        { "*b*", "a.b.c", true },
        { "%b%", "abc", true },
        { "%b%", "a.b.c", false },
        { "inbox", "INBOX", true },
        { "inbox.%", "INBOX.a", true },
        { "*nbox*", "INBOX.a", true },
        { "inbox.A", "INBOX.a", false },

        { "iN%", "INBOX", true },
        { "inbox", "inboxes", false },
        { "Foo", "foo", false },
        { "", "", true },
        { "", "a", false },
        { "a", "", false },
        { "%", "", true },
        { "**%%", "a.b", true },
        { "%*", "a.b", true },
        { "a.b", "a.b", true },
        { "a.*.d", "a.b.c.d", true },
        { "a.%.d", "a.b.c.d", false },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s on %s", rows[i].pattern, rows[i].name);
        CHECK_EQ_INT(list_match(sl_z(rows[i].pattern), sl_z(rows[i].name)), rows[i].want);
    }
}

/* What would take a backtracking matcher years. */
TEST(a_hostile_pattern_costs_little)
{
    char pattern[1001], name[1001];
    uint64_t began = clock_mono_ms();

    for (size_t i = 0; i < 1000; i++) {
        pattern[i] = i % 2 ? 'a' : '*';
        name[i] = 'a';
    }
    name[999] = 'b';
    CHECK(!list_match(sl_n(pattern, 1000), sl_n(name, 1000)));
    CHECK(clock_mono_ms() - began < 1000);
}

TEST(a_pattern_beyond_the_bound_matches_nothing)
{
    char *pattern = mem_alloc(100000);

    memset(pattern, '*', 100000);
    CHECK(!list_match(sl_n(pattern, 100000), SL("a")));
    CHECK(list_match(sl_n(pattern, 2000), SL("a")));
    memset(pattern, 'a', 2000);
    for (size_t i = 60; i < 70; i++) { /* wildcards around the end of a word of the sets */
        struct slice long_pattern = sl_n(pattern, 130);

        pattern[i] = '%';
        CHECK(list_match(long_pattern, sl_n(pattern + 200, 130)));
        CHECK(list_match(long_pattern, sl_n(pattern + 200, 129)));
        CHECK(!list_match(long_pattern, sl_n(pattern + 200, 128)));
        pattern[i] = 'a';
    }
    free(pattern);
}

TEST(search_dates)
{
    static const struct {
        const char *in;
        int64_t want; /* -1: none */
        size_t rest;
    } rows[] = {
        { "1-Jan-1970", 0, 0 },
        { "\"1-Jan-1970\" x", 0, 2 },
        { "02-jan-1970", 1, 0 },
        { "31-DEC-1999", 10956, 0 },
        { "29-Feb-2000", 11016, 0 },
        { " 1-Jan-1970", 0, 0 },
        { "0-Jan-1970", -1, 10 },
        { "32-Jan-1970", -1, 11 },
        { "1-Foo-1970", -1, 10 },
        { "1-Jan-70", -1, 8 },
        { "\"1-Jan-1970", -1, 11 },
        { "1 Jan 1970", -1, 10 },
        { "", -1, 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].in);
        int64_t day = -1;

        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(search_take_date(&in, &day), rows[i].want >= 0);
        CHECK_EQ_INT(in.n, rows[i].rest);
        if (rows[i].want >= 0)
            CHECK_EQ_INT(day, rows[i].want);
    }
}

TEST(rows_are_found)
{
    CHECK(imap_row_find(SL("fetch"), false) != NULL);
    CHECK(imap_row_find(SL("FETCH"), true) == imap_row_find(SL("Fetch"), false));
    CHECK(imap_row_find(SL("EXPUNGE"), true) != imap_row_find(SL("EXPUNGE"), false));
    CHECK(imap_row_find(SL("NOOP"), true) == NULL);
    CHECK(imap_row_find(SL("LOGIN"), false) == NULL);
    CHECK(imap_row_find(SL(""), false) == NULL);
}

TEST_MAIN()
