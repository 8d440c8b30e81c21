/* session/header_split_test.c - fields out of a stream, whatever its pieces. */
#include "session/header_split.h"

#include "base/mem.h"
#include "base/test.h"

static struct buf told;

static void
on_field(void *arg, struct slice text, bool is_cut)
{
    (void)arg;
    buf_addf(&told, "[%.*s]%s", SL_ARG(text), is_cut ? "cut" : "");
}

static const struct {
    const char *name, *in;
    bool is_primary;
    const char *
        want; /* fields, then '|' and what comes before the rest, '|' and the rest; "..." where there is no end */
} rows[] = {
    { "fields", "A: b\r\nC:d\r\n\r\nE: f\r\n", true, "[A: b][C:d]|\r\n|E: f\r\n" },
    { "folded", "A: b\r\n c\r\n\td\r\n\r\n", true, "[A: b\n c\n\td]|\r\n|" },
    { "blank before the colon", "A \t: b\r\n\r\n", true, "[A: b]|\r\n|" },
    { "blank in the name", "A b: c\r\n", true, "|\r\nA b|: c\r\n" },
    { "a line that is none", "A: b\r\nhello\r\n", true, "[A: b]|\r\nhello\r|\n" },
    { "the same in a part", "A: b\r\nhello\r\n", false, "[A: b]|hello\r|\n" },
    { "mbox", "From x\r\nA: b\r\n\r\n", true, "[X-Mailbox-Line: From x][A: b]|\r\n|" },
    { "quoted mbox", ">>From x\r\n\r\n", true, "[X-Mailbox-Line: >>From x]|\r\n|" },
    { "no mbox in a part", "From x\r\n", false, "|From x|\r\n" },
    { "no mbox later", "A: b\r\nFrom x\r\n", true, "[A: b]|\r\nFrom x|\r\n" },
    { "mbox without an end", "From x\r\n", true, "[X-Mailbox-Line: From x]..." },
    { "continued at once", " a\r\n", true, "|\r\n |a\r\n" },
    { "no end", "A: b\r\n", true, "[A: b]..." },
    { "no end in a name", "A: b\r\nC", true, "[A: b]|\r\nC|" },
    { "nothing", "", true, "..." },
    { "8-bit in the name", "\xc3\xa4: b\r\n", true, "|\r\n\xc3|\xa4: b\r\n" },
    { "cut", "A: 0123456789012345678901234567890\r\nB: c\r\n\r\n", true,
      "[A: 01234567890123456]cut[B: c]|\r\n|" },
    { "cut at a line's end", "A: 012345678901234\r\n 567890\r\nB: c\r\n\r\n", true,
      "[A: 012345678901234]cut[B: c]|\r\n|" },
    { "cut before a line", "A: 0123456789012345\r\n 567890\r\nB: c\r\n\r\n", true,
      "[A: 0123456789012345]cut[B: c]|\r\n|" },
};

/* In pieces of n octets; or, first not 0, one of `first` and the rest. */
static void
split(size_t row, size_t first, size_t n)
{
    bool is_cut = strncmp(rows[row].name, "cut", 3) == 0;
    struct header_split h = { .limit = is_cut ? 20 : 1000,
                              .field = on_field,
                              .is_primary = rows[row].is_primary };
    struct slice all = sl_z(rows[row].in), some = SL("");
    struct buf rest = { 0 };
    bool is_over = false;

    buf_reset(&told);
    while (all.n > 0 && !is_over) {
        some = sl_head(all, first ? first : n);
        first = 0;
        all = sl_from(all, some.n);
        is_over = header_split_take(&h, &some, &rest);
    }
    if (!is_over)
        is_over = header_split_end(&h, &rest);
    if (is_over)
        buf_addf(&told, "|%.*s|%.*s%.*s", SL_ARG(buf_slice(&rest)), SL_ARG(some), SL_ARG(all));
    else
        buf_addz(&told, "...");
    header_split_free(&h);
    buf_free(&rest);
}

TEST(headers_in_any_pieces)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t n = strlen(rows[i].in);

        for (size_t piece = 1; piece <= n + 1; piece++) {
            TEST_ROW("%s, pieces of %zu", rows[i].name, piece);
            split(i, 0, piece);
            CHECK_EQ_STR(buf_z(&told), rows[i].want);
            TEST_ROW("%s, parted at %zu", rows[i].name, piece);
            split(i, piece, n + 1);
            CHECK_EQ_STR(buf_z(&told), rows[i].want);
        }
    }
    buf_free(&told);
}

TEST(a_nul_ends_a_line_s_text)
{
    struct header_split h = { .limit = 100, .field = on_field, .is_primary = true };
    struct slice in = SL("A: b\0c\r\n d\0\0\r\n\r\n");
    struct buf rest = { 0 };

    CHECK(header_split_take(&h, &in, &rest));
    CHECK_EQ_STR(buf_z(&told), "[A: b\n d]");
    header_split_free(&h);
    buf_free(&rest);
    buf_free(&told);
}

TEST(a_name_has_its_limit)
{
    for (size_t n = HEADER_NAME_OCTETS - 2; n < HEADER_NAME_OCTETS + 3; n++) {
        struct header_split h = { .limit = 10000, .field = on_field, .is_primary = true };
        struct buf in = { 0 }, rest = { 0 };
        struct slice s;

        for (size_t i = 0; i < n; i++)
            buf_addc(&in, 'n');
        buf_addz(&in, ":\r\n\r\n");
        s = buf_slice(&in);
        buf_reset(&told);
        TEST_ROW("%zu", n);
        CHECK(header_split_take(&h, &s, &rest));
        CHECK_EQ_INT(told.n > 0, n <= HEADER_NAME_OCTETS);
        header_split_free(&h);
        buf_free(&in);
        buf_free(&rest);
    }
    buf_free(&told);
}

TEST_MAIN()
