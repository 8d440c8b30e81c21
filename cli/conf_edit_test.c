#include "base/mem.h"
#include "base/test.h"
#include "cli/conf_edit.h"

#define FILE_TEXT                                                                                  \
    "# head\n"                                                                                     \
    "a = 1\n"                                                                                      \
    "b = one\n"                                                                                    \
    "  two\n"                                                                                      \
    "# inside\n"                                                                                   \
    "\n"                                                                                           \
    "\tthree\n"                                                                                    \
    "a_b = x\n"                                                                                    \
    "c=3"

TEST(edits)
{
    static const struct { /* NOLINT(clang-analyzer-optin.performance.Padding) */
        enum conf_edit_mode mode;
        const char *text, *name, *value, *want;
        unsigned found;
    } rows[] = {
        { CONF_EDIT_SET, FILE_TEXT, "a", "2",
          "# head\na = 2\nb = one\n  two\n# inside\n\n\tthree\na_b = x\nc=3", 1 },
        { CONF_EDIT_SET, FILE_TEXT, "b", "none",
          "# head\na = 1\nb = none\n# inside\n\na_b = x\nc=3", 1 },
        { CONF_EDIT_SET, FILE_TEXT, "c", "",
          "# head\na = 1\nb = one\n  two\n# inside\n\n\tthree\na_b = x\nc = \n", 1 },
        { CONF_EDIT_SET, FILE_TEXT, "d", "$a, $b",
          "# head\na = 1\nb = one\n  two\n# inside\n\n\tthree\na_b = x\nc=3\nd = $a, $b\n", 0 },
        { CONF_EDIT_REMOVE, FILE_TEXT, "b", NULL, "# head\na = 1\n# inside\n\na_b = x\nc=3", 1 },
        { CONF_EDIT_COMMENT, FILE_TEXT, "b", NULL,
          "# head\na = 1\n#b = one\n#  two\n# inside\n\n#\tthree\na_b = x\nc=3", 1 },
        { CONF_EDIT_REMOVE, FILE_TEXT, "nosuch", NULL, FILE_TEXT, 0 },
        { CONF_EDIT_SET, "", "a", "1", "a = 1\n", 0 },
        { CONF_EDIT_SET, "a = 1\nb = 2\na = 3\n", "a", "9", "a = 9\nb = 2\na = 9\n", 2 },
        { CONF_EDIT_SET, "#a = 1\n", "a", "9", "#a = 1\na = 9\n", 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf_edit edit = { .name = rows[i].name, .value = rows[i].value };
        struct buf out = { 0 };

        TEST_ROW("%zu: %s", i, rows[i].name);
        conf_edit_text(sl_z(rows[i].text), &edit, 1, rows[i].mode, &out);
        CHECK_EQ_STR(buf_z(&out), rows[i].want);
        CHECK_EQ_INT(edit.found, rows[i].found);
        buf_free(&out);
    }
}

TEST(folds)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        { "a = b c", "a = b c" },
        { "name = 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890 x",
          "name = 1234567890 1234567890 1234567890 1234567890 1234567890 1234567890\n"
          "    1234567890 x" },
        { "a = ", "a =" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf out = { 0 };

        conf_fold(sl_z(rows[i].line), &out);
        CHECK_EQ_STR(buf_z(&out), rows[i].want);
        buf_free(&out);
    }
}

TEST_MAIN()
