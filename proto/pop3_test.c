/* proto/pop3_test.c - command lines, dot-stuffing at each split, TOP. */
#include "proto/pop3.h"

#include "base/mem.h"
#include "base/test.h"

TEST(command_lines)
{
    static const struct {
        const char *line;
        bool want;
        const char *name, *a, *b;
        size_t n_args;
    } rows[] = {
        { "STAT", true, "STAT", "", "", 0 },
        { "top 1 10", true, "top", "1", "10", 2 },
        { "RETR  1 ", true, "RETR", "1", "", 1 },
        { "a b c d", true, "a", "b", "c", 3 },
        { "", false, "", "", "", 0 },
        { "   ", false, "", "", "", 0 },
        { "RETR\t1", false, "", "", "", 0 },
        { "RETR 1\xff", false, "", "", "", 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pop3_command c;

        TEST_ROW("%s", rows[i].line);
        CHECK_EQ_INT(pop3_parse(sl_z(rows[i].line), &c), rows[i].want);
        if (!rows[i].want)
            continue;
        CHECK(sl_eqz(c.name, rows[i].name) && sl_eqz(c.args[0], rows[i].a) &&
              sl_eqz(c.args[1], rows[i].b));
        CHECK_EQ_INT(c.n_args, rows[i].n_args);
    }
}

TEST(dots_are_doubled_however_it_is_cut)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "", ".\r\n" },
        { "a\r\n", "a\r\n.\r\n" },
        { "a", "a\r\n.\r\n" },
        { ".\r\n", "..\r\n.\r\n" },
        { "..a\r\n.b\r\nc.\r\n", "...a\r\n..b\r\nc.\r\n.\r\n" },
        { "a\r\n\r\n.\r\nb\r\n.", "a\r\n\r\n..\r\nb\r\n..\r\n.\r\n" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t max = 1; max < 30; max++) {
            struct slice in = sl_z(rows[i].text);
            struct buf all = { 0 }, piece = { 0 };
            bool at_start = true;

            TEST_ROW("%zu by %zu", i, max);
            while (in.n > 0) {
                pop3_stuff(&in, &at_start, max, &piece);
                CHECK(piece.n > 0 && piece.n <= max + 1);
                buf_adds(&all, buf_slice(&piece));
                buf_reset(&piece);
            }
            pop3_end_text(at_start, &all);
            CHECK_EQ_STR(buf_z(&all), rows[i].want);
            buf_free(&all);
            buf_free(&piece);
        }
}

TEST(top)
{
    static const struct {
        const char *text;
        unsigned lines;
        const char *want;
    } rows[] = {
        { "A: b\r\n\r\n1\r\n2\r\n", 0, "A: b\r\n\r\n" },
        { "A: b\r\n\r\n1\r\n2\r\n", 1, "A: b\r\n\r\n1\r\n" },
        { "A: b\r\n\r\n1\r\n2\r\n", 9, "A: b\r\n\r\n1\r\n2\r\n" },
        { "A: b\r\n\r\n1\r\n2", 2, "A: b\r\n\r\n1\r\n2" },
        { "A: b\r\n", 5, "A: b\r\n" },
        { "\r\nbody\r\n", 0, "\r\n" },
        { "", 3, "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice got = pop3_top(sl_z(rows[i].text), rows[i].lines);

        TEST_ROW("%zu", i);
        CHECK_EQ_MEM(got.p, got.n, rows[i].want, strlen(rows[i].want));
    }
}

TEST_MAIN()
