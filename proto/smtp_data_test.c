/* proto/smtp_data_test.c */
#include "proto/smtp_data.h"

#include "base/buf.h"
#include "base/test.h"

#include <stdlib.h>
#include <time.h>

static void
collect(void *arg, struct slice s)
{
    buf_adds(arg, s);
}

static const struct {
    const char *name, *in;
    bool lf_ends;
    const char *want;
    const char *rest; /* what is left after the end of data; NULL: no end */
} endings[] = {
    { "plain", "a\r\nb\r\n.\r\nQUIT\r\n", false, "a\r\nb\r\n", "QUIT\r\n" },
    { "empty", ".\r\n", false, "", "" },
    { "stuffed", "..\r\n...a\r\n.b\r\n.\r\n", false, ".\r\n..a\r\nb\r\n", "" },
    { "bare lf ends lines", "a\nb\r\n.\r\n", false, "a\r\nb\r\n", "" },
    { "lf dot lf is no end", "a\n.\nb\r\n.\r\n", false, "a\r\nb\r\n", "" },
    { "lf dot crlf is no end", "a\n.\r\nb\r\n.\r\n", false, "a\r\nb\r\n", "" },
    { "crlf dot lf is no end", "a\r\n.\nb\r\n.\r\n", false, "a\r\nb\r\n", "" },
    { "lf dot lf, trusted", "a\n.\nMAIL", true, "a\r\n", "MAIL" },
    { "crlf dot lf, trusted", "a\r\n.\nMAIL", true, "a\r\n", "MAIL" },
    { "cr dot crlf", "a\r.\r\nb\r\n.\r\n", false, "a .\r\nb\r\n", "" },
    { "crlf dot cr", "a\r\n.\rb\r\n.\r\n", false, "a\r\n b\r\n", "" },
    { "cr cr lf", "a\r\r\n.\r\n", false, "a \r\n", "" },
    { "dot cr cr lf", ".\r\r\n.\r\n", false, " \r\n", "" },
    { "dot nul", "a\r\n.", false, "a\r\n", NULL },
    { "lf cr dot lf", "a\n\r.\n\r\n.\r\n", false, "a\r\n .\r\n\r\n", "" },
    { "dot in the line", "a.\r\n.\r\n", false, "a.\r\n", "" },
    { "no end yet", "a\r\nb", false, "a\r\nb", NULL },
    { "after a bare line a good end", "a\n\r\n.\r\n", false, "a\r\n\r\n", "" },
};

static void
check_dot(size_t i, size_t piece)
{
    struct smtp_data b = { .lf_ends = endings[i].lf_ends };
    struct buf out = { 0 };
    struct slice all = sl_z(endings[i].in), left = SL("");
    bool is_end = false;

    for (size_t at = 0; at < all.n && !is_end; at += piece) {
        struct slice in = sl_head(sl_from(all, at), piece);

        is_end = smtp_data_dot(&b, &in, collect, &out);
        left = sl_n(in.p, (size_t)(all.p + all.n - in.p));
    }
    CHECK_EQ_STR(buf_z(&out), endings[i].want);
    CHECK_EQ_INT(is_end, endings[i].rest != NULL);
    if (is_end && endings[i].rest)
        CHECK_EQ_MEM(left.p, left.n, endings[i].rest, strlen(endings[i].rest));
    buf_free(&out);
}

TEST(dots_end_and_are_unstuffed)
{
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        for (size_t piece = 1; piece <= strlen(endings[i].in); piece++) {
            TEST_ROW("%s, pieces of %zu", endings[i].name, piece);
            check_dot(i, piece);
        }
}

static const struct {
    const char *in, *want;
} chunks[] = {
    { "a\r\n.\r\nb\r\n", "a\r\n.\r\nb\r\n" },
    { "a\n.\nb", "a\r\n.\r\nb\r\n" },
    { "a\rb\r\n", "a b\r\n" },
    { "a\r", "a \r\n" },
    { "", "" },
    { "..\r\n", "..\r\n" },
};

TEST(chunks_are_lines_too)
{
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)
        for (size_t piece = 1; piece <= 12; piece++) {
            struct smtp_data b = { 0 };
            struct buf out = { 0 };
            struct slice all = sl_z(chunks[i].in);

            TEST_ROW("chunk %zu, pieces of %zu", i, piece);
            for (size_t at = 0; at < all.n; at += piece)
                smtp_data_chunk(&b, sl_head(sl_from(all, at), piece), collect, &out);
            smtp_data_finish(&b, collect, &out);
            CHECK_EQ_STR(buf_z(&out), chunks[i].want);
            buf_free(&out);
        }
}

TEST(bare_lf_is_noticed)
{
    struct smtp_data b = { 0 };
    struct buf out = { 0 };
    struct slice in = SL("a\r\nb\r\n.\r\n"), bad = SL("a\nb\r\n.\r\n");

    CHECK(smtp_data_dot(&b, &in, collect, &out) && !b.has_bare_lf);
    b = (struct smtp_data){ 0 };
    CHECK(smtp_data_dot(&b, &bad, collect, &out) && b.has_bare_lf);
    buf_free(&out);
}

/* What the whole input means, said another way than smtp_data.c does: line by line. Returns how much was taken. */
static size_t
model(struct slice in, bool dots, bool lf_ends, struct buf *out, bool *is_end, bool *has_bare)
{
    size_t at = 0;
    bool was_bare = false;

    *is_end = *has_bare = false;
    while (at < in.n) {
        struct slice rest = sl_from(in, at), line;
        size_t lf = sl_find_char(rest, '\n');
        bool has_lf = lf != SL_NPOS, is_bare;

        if (!has_lf && dots)
            return at; /* what may come is not known: the caller feeds whole lines */
        line = sl_head(rest, has_lf ? lf : rest.n);
        at += line.n + has_lf;
        is_bare = has_lf && !sl_ends(line, '\r');
        line.n -= has_lf && !is_bare;
        *has_bare = *has_bare || is_bare;
        if (dots && sl_eq(line, SL("."))) {
            if (lf_ends || !(is_bare || was_bare)) {
                *is_end = true;
                return at;
            }
        } else {
            line = sl_from(line, dots && sl_starts(line, '.'));
            for (size_t i = 0; i < line.n; i++)
                buf_addc(out, line.p[i] == '\r' ? ' ' : line.p[i]);
            buf_adds(out, SL("\r\n"));
        }
        was_bare = is_bare;
    }
    return at;
}

static void
check_soup(struct slice in, bool dots, bool lf_ends, size_t piece)
{
    struct smtp_data b = { .lf_ends = lf_ends };
    struct buf want = { 0 }, got = { 0 };
    bool wants_end, wants_bare, is_end = false;
    size_t taken = model(in, dots, lf_ends, &want, &wants_end, &wants_bare), at = 0;

    while (at < in.n && !is_end) {
        struct slice some = sl_head(sl_from(in, at), piece ? piece : 1 + (size_t)rand() % 4);
        struct slice left = some;

        if (dots) {
            is_end = smtp_data_dot(&b, &left, collect, &got);
        } else {
            smtp_data_chunk(&b, some, collect, &got);
            left.n = 0;
        }
        at += some.n - left.n;
    }
    if (!dots)
        smtp_data_finish(&b, collect, &got);
    CHECK_EQ_INT(is_end, wants_end);
    CHECK_EQ_INT(at, taken);
    CHECK_EQ_INT(b.has_bare_lf, wants_bare);
    CHECK_EQ_MEM(buf_slice(&got).p, got.n, buf_slice(&want).p, want.n);
    buf_free(&want);
    buf_free(&got);
}

TEST(every_octet_soup_means_the_same_in_any_pieces)
{
    static const char octets[] = "a..\r\r\n\n\0"; /* and the NUL */
    char soup[24];

    srand(1);
    for (size_t round = 0; round < 30000; round++) {
        size_t n = 1 + (size_t)rand() % (sizeof(soup) - 1);
        bool dots = round % 2, lf_ends = round % 8 >= 6;

        for (size_t i = 0; i < n; i++)
            soup[i] = octets[(size_t)rand() % (sizeof(octets) - 1)];
        if (dots)
            soup[n - 1] = '\n';
        TEST_ROW("round %zu", round);
        check_soup(sl_n(soup, n), dots, lf_ends, 0);
        check_soup(sl_n(soup, n), dots, lf_ends, 1);
        check_soup(sl_n(soup, n), dots, lf_ends, sizeof(soup));
    }
}

static void
count(void *arg, struct slice s)
{
    *(size_t *)arg += s.n;
}

/* Milliseconds where it is linear, half a minute where every CR looks through all that is left. */
TEST(bare_ends_of_lines_cost_no_more_than_others)
{
    enum { OCTETS = 4 * 1024 * 1024, MAX_CPU_S = 5 };
    static const char *const patterns[] = { "a\r", "a\n", "\r", "\n.\n", "\r\n.a" };
    char *text = malloc(OCTETS);

    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
        struct smtp_data b = { 0 };
        struct slice in = { text, OCTETS };
        size_t n = strlen(patterns[k]), made = 0;
        clock_t from;

        TEST_ROW("pattern %zu", k);
        for (size_t i = 0; i < OCTETS; i++)
            text[i] = patterns[k][i % n];
        from = clock();
        CHECK(!smtp_data_dot(&b, &in, count, &made) && in.n == 0);
        CHECK(made > 0);
        CHECK((clock() - from) / CLOCKS_PER_SEC < MAX_CPU_S);
    }
    free(text);
}

TEST_MAIN()
