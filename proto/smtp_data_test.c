/* proto/smtp_data_test.c */
#include "proto/smtp_data.h"

#include "base/buf.h"
#include "base/test.h"

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
} dots[] = {
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
    struct smtp_data b = { .lf_ends = dots[i].lf_ends };
    struct buf out = { 0 };
    struct slice all = sl_z(dots[i].in), left = SL("");
    bool is_end = false;

    for (size_t at = 0; at < all.n && !is_end; at += piece) {
        struct slice in = sl_head(sl_from(all, at), piece);

        is_end = smtp_data_dot(&b, &in, collect, &out);
        left = sl_n(in.p, (size_t)(all.p + all.n - in.p));
    }
    CHECK_EQ_STR(buf_z(&out), dots[i].want);
    CHECK_EQ_INT(is_end, dots[i].rest != NULL);
    if (is_end && dots[i].rest)
        CHECK_EQ_MEM(left.p, left.n, dots[i].rest, strlen(dots[i].rest));
    buf_free(&out);
}

TEST(dots_end_and_are_unstuffed)
{
    for (size_t i = 0; i < sizeof dots / sizeof *dots; i++)
        for (size_t piece = 1; piece <= strlen(dots[i].in); piece++) {
            TEST_ROW("%s, pieces of %zu", dots[i].name, piece);
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

TEST_MAIN()
