#include "base/slice.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

#define CHECK_SL(got, want_z) CHECK_EQ_MEM((got).n ? (got).p : "", (got).n, want_z, strlen(want_z))

static const struct slice none; /* NULL, 0: what a zeroed struct holds */

TEST(compares)
{
    static const struct {
        const char *name;
        struct slice a, b;
        int cmp, icmp;
    } rows[] = {
        { "both empty", SL_INIT(""), SL_INIT(""), 0, 0 },
        { "NULL and empty", { NULL, 0 }, SL_INIT(""), 0, 0 },
        { "NULL and one", { NULL, 0 }, SL_INIT("a"), -1, -1 },
        { "same", SL_INIT("abc"), SL_INIT("abc"), 0, 0 },
        { "prefix first", SL_INIT("ab"), SL_INIT("abc"), -1, -1 },
        { "order before length", SL_INIT("b"), SL_INIT("abc"), 1, 1 },
        { "case", SL_INIT("Alpha"), SL_INIT("alPHA"), -1, 0 },
        { "case and order", SL_INIT("a"), SL_INIT("B"), 1, -1 },
        { "octets are unsigned", SL_INIT("\xff"), SL_INIT("a"), 1, 1 },
        { "beside the letters", SL_INIT("[@"), SL_INIT("{`"), -1, -1 },
        { "no folding beyond ASCII", SL_INIT("\xc4"), SL_INIT("\xe4"), -1, -1 },
        { "NUL counts", SL_INIT("a\0b"), SL_INIT("a\0c"), -1, -1 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice a = rows[i].a, b = rows[i].b;
        int cmp = sl_cmp(a, b), icmp = sl_icmp(a, b);

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT((cmp > 0) - (cmp < 0), rows[i].cmp);
        CHECK_EQ_INT((icmp > 0) - (icmp < 0), rows[i].icmp);
        CHECK_EQ_INT(sl_eq(a, b), rows[i].cmp == 0);
        CHECK_EQ_INT(sl_ieq(a, b), rows[i].icmp == 0);
        if (rows[i].cmp == 0)
            CHECK(sl_hash(a) == sl_hash(b));
        else
            CHECK(sl_hash(a) != sl_hash(b));
        if (rows[i].icmp == 0)
            CHECK(sl_ihash(a) == sl_ihash(b));
        else
            CHECK(sl_ihash(a) != sl_ihash(b));
    }
}

/* The fold of eight octets at once against the fold of one, for every octet at every place. */
TEST(ihash_folds_as_icmp_does)
{
    for (int c = 0; c < 256; c++) {
        for (size_t at = 0; at < 17; at++) {
            char a[17], b[17];

            memset(a, '\xff', sizeof(a));
            memset(b, '\xff', sizeof(b));
            a[at] = (char)c;
            b[at] = (char)(c ^ 0x20);
            TEST_ROW("octet %02x at %zu", (unsigned)c, at);
            CHECK((sl_ihash(sl_n(a, 17)) == sl_ihash(sl_n(b, 17))) ==
                  sl_ieq(sl_n(a, 17), sl_n(b, 17)));
        }
    }
}

TEST(hash_tells_lengths_apart)
{
    static const char zeros[32];

    for (size_t i = 0; i < sizeof(zeros); i++) {
        for (size_t j = 0; j < i; j++)
            CHECK(sl_hash(sl_n(zeros, i)) != sl_hash(sl_n(zeros, j)));
    }
}

TEST(cuts)
{
    CHECK_SL(sl_from(SL("abc"), 0), "abc");
    CHECK_SL(sl_from(SL("abc"), 1), "bc");
    CHECK_SL(sl_from(SL("abc"), 3), "");
    CHECK_SL(sl_from(SL("abc"), 99), "");
    CHECK(sl_from(none, 5).p == NULL);
    CHECK_SL(sl_head(SL("abc"), 2), "ab");
    CHECK_SL(sl_head(SL("abc"), 99), "abc");
    CHECK_EQ_INT(sl_z(NULL).n, 0);
    CHECK_SL(sl_trim(SL(" \t\r\nx y\r\n")), "x y");
    CHECK_SL(sl_trim(SL(" \t")), "");
    CHECK_SL(sl_trim(none), "");
}

TEST(looks_at_ends)
{
    CHECK(sl_starts(SL("abc"), 'a') && !sl_starts(SL("abc"), 'b') && !sl_starts(none, 'a'));
    CHECK(sl_ends(SL("abc"), 'c') && !sl_ends(SL("abc"), 'b') && !sl_ends(none, 'a'));
    CHECK(sl_has_prefix(SL("abc"), SL("ab")) && !sl_has_prefix(SL("abc"), SL("AB")));
    CHECK(sl_has_iprefix(SL("abc"), SL("AB")) && !sl_has_iprefix(SL("a"), SL("ab")));
    CHECK(sl_has_suffix(SL("abc"), SL("bc")) && !sl_has_suffix(SL("abc"), SL("BC")));
    CHECK(sl_has_isuffix(SL("abc"), SL("BC")) && !sl_has_isuffix(SL("c"), SL("bc")));
    CHECK(sl_has_prefix(none, none) && sl_has_isuffix(SL("x"), none));
}

TEST(finds)
{
    static const struct {
        struct slice in, what;
        size_t find, ifind;
    } rows[] = {
        { SL_INIT("hello"), SL_INIT("l"), 2, 2 },
        { SL_INIT("hello"), SL_INIT("LO"), SL_NPOS, 3 },
        { SL_INIT("hello"), SL_INIT(""), 0, 0 },
        { SL_INIT(""), SL_INIT(""), 0, 0 },
        { SL_INIT(""), SL_INIT("x"), SL_NPOS, SL_NPOS },
        { SL_INIT("lo"), SL_INIT("hello"), SL_NPOS, SL_NPOS },
        { SL_INIT("a\0b"), SL_INIT("\0b"), 1, 1 },
        { SL_INIT("aab"), SL_INIT("ab"), 1, 1 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%zu", i);
        CHECK_EQ_INT(sl_find(rows[i].in, rows[i].what), rows[i].find);
        CHECK_EQ_INT(sl_ifind(rows[i].in, rows[i].what), rows[i].ifind);
    }
    CHECK_EQ_INT(sl_find_char(SL("a.b.c"), '.'), 1);
    CHECK_EQ_INT(sl_rfind_char(SL("a.b.c"), '.'), 3);
    CHECK_EQ_INT(sl_find_char(SL("a\xff"), '\xff'), 1);
    CHECK(sl_find_char(none, 'x') == SL_NPOS && sl_rfind_char(none, 'x') == SL_NPOS);
}

TEST(takes)
{
    struct slice in = SL("MAIL from:<a> b"), out;

    CHECK(!sl_take_prefix(&in, SL("mail")) && in.n == 15);
    CHECK(sl_take_iprefix(&in, SL("mail")));
    CHECK(!sl_take_char(&in, 'f') && sl_take_char(&in, ' '));
    CHECK(sl_take_prefix(&in, SL("from:")));
    CHECK(!sl_take_until(&in, '!', &out));
    CHECK(sl_take_until(&in, '>', &out));
    CHECK_SL(out, "<a");
    CHECK_SL(in, " b");
    CHECK(sl_take_word(&in, " ", &out));
    CHECK_SL(out, "b");
    CHECK(!sl_take_word(&in, " ", &out) && !sl_take_char(&in, 'b'));
    in = SL(" ,\t, ");
    CHECK(!sl_take_word(&in, " ,\t", &out));
    CHECK_EQ_INT(in.n, 5); /* failure takes nothing */
    in = SL("a\0b c");
    CHECK(sl_take_word(&in, " ", &out));
    CHECK_EQ_INT(out.n, 3);
    in = none;
    CHECK(!sl_take_until(&in, 'x', &out) && !sl_take_word(&in, " ", &out));
}

TEST(reads_numbers)
{
    static const struct {
        const char *in;
        bool is_u64, is_u32;
        uint64_t want;
    } rows[] = {
        { "0", true, true, 0 },
        { "007", true, true, 7 },
        { "4294967295", true, true, 4294967295u },
        { "4294967296", true, false, 4294967296u },
        { "18446744073709551615", true, false, UINT64_MAX },
        { "18446744073709551616", false, false, 0 },
        { "99999999999999999999", false, false, 0 },
        { "", false, false, 0 },
        { "-1", false, false, 0 },
        { "+1", false, false, 0 },
        { " 1", false, false, 0 },
        { "1 ", false, false, 0 },
        { "0x1", false, false, 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t v64 = 42;
        uint32_t v32 = 42;

        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(sl_to_u64(sl_z(rows[i].in), &v64), rows[i].is_u64);
        CHECK_EQ_INT(v64, rows[i].is_u64 ? rows[i].want : 42);
        CHECK_EQ_INT(sl_to_u32(sl_z(rows[i].in), &v32), rows[i].is_u32);
        CHECK_EQ_INT(v32, rows[i].is_u32 ? rows[i].want : 42);
    }
    struct slice in = SL("12ab");
    uint64_t v;
    CHECK(sl_take_u64(&in, &v) && v == 12);
    CHECK_SL(in, "ab");
    CHECK(!sl_take_u64(&in, &v) && in.n == 2);
}

TEST(dupz_terminates)
{
    char *z = sl_dupz(sl_n("abcdef", 3));

    CHECK_EQ_STR(z, "abc");
    free(z);
    z = sl_dupz(none);
    CHECK_EQ_STR(z, "");
    free(z);
}

TEST(lines_end_with_either_end_or_the_text)
{
    struct slice in = SL("a\r\n\nb\r"), line;

    CHECK(sl_take_line(&in, &line) && sl_eqz(line, "a"));
    CHECK(sl_take_line(&in, &line) && line.n == 0);
    CHECK(sl_take_line(&in, &line) && sl_eqz(line, "b"));
    CHECK(!sl_take_line(&in, &line));
}

TEST_MAIN()
