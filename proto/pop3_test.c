/* proto/pop3_test.c - command lines, dot-stuffing at each split, TOP. */
#include "proto/pop3.h"

#include "base/mem.h"
#include "base/test.h"

TEST(command_lines)
{
    static const struct {
        const char *line, *name, *args;
    } rows[] = {
        { "STAT", "STAT", "" },
        { "top 1 10", "top", "1 10" },
        { "RETR   1 ", "RETR", "1 " },
        { "USER a b c", "USER", "a b c" },
        { "", "", "" },
        { "  x", "", "x" },
        { "RETR\t1", "RETR\t1", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct pop3_command c;

        TEST_ROW("%s", rows[i].line);
        pop3_parse(sl_z(rows[i].line), &c);
        CHECK_EQ_MEM(c.name.p, c.name.n, rows[i].name, strlen(rows[i].name));
        CHECK_EQ_MEM(c.args.p, c.args.n, rows[i].args, strlen(rows[i].args));
    }
}

TEST(numbers)
{
    static const struct {
        const char *args;
        bool has_more;
        enum pop3_number want;
        uint64_t number;
        const char *left;
    } rows[] = {
        { "1", false, POP3_NUMBER_OK, 1, "" },
        { "0012", false, POP3_NUMBER_OK, 12, "" },
        { "1 ", false, POP3_NUMBER_NOISE, 0, " " },
        { "1 2", false, POP3_NUMBER_NOISE, 0, " 2" },
        { "1 2", true, POP3_NUMBER_OK, 1, "2" },
        { "1   2", true, POP3_NUMBER_OK, 1, "2" },
        { "1", true, POP3_NUMBER_NOISE, 0, "" },
        { "1x", false, POP3_NUMBER_NOISE, 0, "x" },
        { "x1", false, POP3_NUMBER_NONE, 0, "x1" },
        { "-1", false, POP3_NUMBER_NONE, 0, "-1" },
        { "", false, POP3_NUMBER_NONE, 0, "" },
        { "4294967295", false, POP3_NUMBER_OK, 4294967295, "" },
        { "4294967296", false, POP3_NUMBER_TOO_LARGE, 0, "" },
        { "99999999999999999999", false, POP3_NUMBER_TOO_LARGE, 0, "99999999999999999999" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice args = sl_z(rows[i].args);
        uint64_t n = 0;

        TEST_ROW("%s", rows[i].args);
        CHECK_EQ_INT(pop3_take_number(&args, rows[i].has_more, UINT32_MAX, &n), rows[i].want);
        if (rows[i].want == POP3_NUMBER_OK)
            CHECK_EQ_INT(n, rows[i].number);
        CHECK_EQ_MEM(args.p, args.n, rows[i].left, strlen(rows[i].left));
    }
}

TEST(languages)
{
    static const struct {
        const char *args, *want;
    } rows[] = {
        { "",
          "+OK Language listing follows:\r\ni-default Default language\r\nen English\r\n.\r\n" },
        { "*", "+OK i-default " },
        { "i-default", "+OK i-default " },
        { "EN", "+OK en " },
        { "en-GB-oed ", "+OK en " },
        { "e", "-ERR " },
        { "english", "-ERR " },
        { "de-en", "-ERR " },
        { "-", "-ERR " },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i].args);
        pop3_add_lang(&out, sl_z(rows[i].args));
        CHECK(sl_has_prefix(buf_slice(&out), sl_z(rows[i].want)));
        CHECK(sl_has_suffix(buf_slice(&out), SL("\r\n")));
        buf_free(&out);
    }
}

TEST(capabilities)
{
    struct buf out = { 0 };

    pop3_add_capa(&out, &(struct pop3_capa){ .expire = "" });
    CHECK(sl_find(buf_slice(&out), SL("EXPIRE")) == SL_NPOS);
    CHECK(sl_find(buf_slice(&out), SL("LOGIN-DELAY")) == SL_NPOS);
    CHECK(sl_find(buf_slice(&out), SL("\r\nUTF8 USER\r\nLANG\r\n")) != SL_NPOS);
    buf_reset(&out);
    pop3_add_capa(&out, &(struct pop3_capa){ .expire = "NEVER", .login_delay_s = 90 });
    CHECK(sl_has_suffix(buf_slice(&out),
                        SL("\r\nLOGIN-DELAY 90\r\nEXPIRE NEVER\r\nIMPLEMENTATION Postern\r\n")));
    buf_free(&out);
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
