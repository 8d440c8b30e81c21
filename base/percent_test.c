/* base/percent_test.c - as Dovecot 2.3 expands them. */
#include "base/percent.h"

#include "base/mem.h"
#include "base/test.h"

static const struct percent_var vars[] = { { 'u', "uid" }, { 'n', "name" }, { '\0', "long" } };

static void
value(void *arg, size_t i, struct buf *out)
{
    static const char *const texts[] = { "1234", "Anna@B \t", "" };

    (void)arg;
    buf_addz(out, texts[i]);
}

TEST(formats)
{
    static const struct {
        const char *format, *want, *fault;
    } rows[] = {
        { "", "", NULL },
        { "plain", "plain", NULL },
        { "%u", "1234", NULL },
        { "<%{uid}>", "<1234>", NULL },
        { "%08Xu", "000004d2", NULL },
        { "%02Xu", "4d2", NULL }, /* zeros do not cut */
        { "%2u", "12", NULL },
        { "%-2u", "12", NULL }, /* as Dovecot: a sign is one of an offset */
        { "%1.2u", "23", NULL },
        { "%-3.2u", "23", NULL },
        { "%1.u", "234", NULL },
        { "%0.-1u", "123", NULL },
        { "%-1.u", "4", NULL },
        { "%9.u", "", NULL },
        { "%Ru", "4321", NULL },
        { "%LTn|", "anna@b|", NULL },
        { "%TUn|", "ANNA@B|", NULL },
        { "%LX{uid}", "4d2", NULL },
        { "%Xn", "0", NULL },
        { "100%%", "100%", NULL },
        { "[%{long}]", "[]", NULL },
        { "a%", "a", "a % at its end" },
        { "a%z", "a", "a letter behind % that is none" },
        { "%Mu", "u", "a modifier that is not known here (L U X R T are)" },
        { "%{nobody}", "", "a name behind % that is none" },
        { "x%{uid", "x", "no } behind %{" },
        { "%99999u", "", "a width that is too large" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *fault = percent_check(sl_z(rows[i].format), vars, COUNT_OF(vars));
        struct buf out = { 0 };

        TEST_ROW("%zu", i);
        percent_expand(&out, sl_z(rows[i].format), vars, COUNT_OF(vars), value, NULL);
        CHECK_EQ_STR(buf_z(&out), rows[i].want);
        CHECK_EQ_STR(fault ? fault : "", rows[i].fault ? rows[i].fault : "");
        buf_free(&out);
    }
}

TEST(which_are_used)
{
    CHECK(percent_has(SL("a%08Xu"), vars, COUNT_OF(vars), 0));
    CHECK(!percent_has(SL("a%08Xu"), vars, COUNT_OF(vars), 1));
    CHECK(percent_has(SL("%{name}"), vars, COUNT_OF(vars), 1));
    CHECK(!percent_has(SL("%%u"), vars, COUNT_OF(vars), 0));
}

TEST_MAIN()
