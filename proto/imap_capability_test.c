#include "proto/imap_capability.h"

#include "base/mem.h"
#include "base/test.h"
#include "proto/imap_id.h"

TEST(settings_change_a_list)
{
    static const struct {
        const char *list, *setting, *want;
    } rows[] = {
        { "A B C", "", "A B C" },
        { "A B C", "+D", "A B C D" },
        { "A B C", "-B", "A C" },
        { "A B C", "-b +LITERAL- -LITERAL+", "A C LITERAL-" },
        { "A LITERAL+ C", "-LITERAL+ +LITERAL-", "A C LITERAL-" },
        { "A B C", "X Y", "X Y" },
        { "A B C", "X Y +Z -X", "Y Z" },
        { "A B C", "+a", "B C a" },
        { "A B C", "-NONE", "A B C" },
        { "A", "-A", "" },
        { "", "+THREAD=REFS", "THREAD=REFS" },
        { "A", " + - ", "A" },
        { "A B", "+C]D -B +\"E +F\x7f +\xc3\xa4 +G", "A G" },
        { "A B", "(C)", "A B" },
    };
    struct slice bad;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf list = { 0 };

        TEST_ROW("%s: %s", rows[i].list, rows[i].setting);
        buf_addz(&list, rows[i].list);
        imap_capability_apply(&list, sl_z(rows[i].setting));
        CHECK_EQ_STR(buf_z(&list), rows[i].want);
        buf_free(&list);
    }
    CHECK(imap_capability_ok(SL(""), &bad));
    CHECK(imap_capability_ok(SL("+LITERAL- -LITERAL+ THREAD=REFS"), &bad));
    CHECK(!imap_capability_ok(SL("A +B] C"), &bad));
    CHECK(sl_eqz(bad, "+B]"));
    CHECK(imap_capability_has(SL("A LITERAL+ C"), "literal+"));
    CHECK(!imap_capability_has(SL("A LITERAL+ C"), "LITERAL"));
}

TEST(clients_by_what_they_say)
{
    static const struct {
        const char *id, *rules, *want;
    } rows[] = {
        { "(\"name\" \"Outlook\")", "name=outlook* -QRESYNC", "-QRESYNC" },
        { "(\"name\" \"Microsoft Outlook 16\")", "name=\"microsoft out*\" -A +B; name=*6 -C",
          "-A +B -C" },
        { "(\"name\" \"x\")", "name=outlook -A", "" },
        { "(\"name\" \"x\" \"version\" \"12\")", "name=x version=1? -THREAD=REFS", "-THREAD=REFS" },
        { "(\"name\" \"x\" \"version\" \"22\")", "name=x version=1? -A", "" },
        { "(\"name\" NIL)", "name=* +A", "+A" },
        { "NIL", "name=* +A", "" },
        { "(\"vendor\" \"a;b\")", "vendor=\"a;b\" +A; vendor=a* -B", "+A -B" },
        { "(\"name\" \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\")", "name=*a*a*a*a*a*a*a*a*c +A", "" },
        { "(\"name\" \"x\")", "+A", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena mem = { 0 };
        struct imap_id id;
        struct slice in = sl_z(rows[i].id);
        struct buf setting = { 0 };
        struct err e;

        TEST_ROW("%s: %s", rows[i].id, rows[i].rules);
        CHECK_EQ_INT(imap_take_id(&in, &mem, &id, &e), PARSE_OK);
        imap_capability_by_id(sl_z(rows[i].rules), &id, &setting);
        CHECK_EQ_STR(buf_z(&setting), rows[i].want);
        buf_free(&setting);
        arena_free(&mem);
    }
}

TEST(rules_are_checked)
{
    static const struct {
        const char *rules, *bad; /* NULL: right */
    } rows[] = {
        { "", NULL },           { "name=a -B", NULL },
        { "name=a -B;", NULL }, { "name=\"a b\" vendor=c -B +D=E; version=* +F", NULL },
        { "name=a", "name=a" }, { "-B", "-B" },
        { "name=a -B x", "x" }, { "name=\"a -B", "name=\"a -B" },
        { "=a -B", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice bad = { 0 };

        TEST_ROW("%s", rows[i].rules);
        CHECK_EQ_INT(imap_capability_rules_ok(sl_z(rows[i].rules), &bad), rows[i].bad == NULL);
        if (rows[i].bad)
            CHECK(sl_eqz(bad, rows[i].bad));
    }
}

TEST(answers_and_log_lines)
{
    struct buf out = { 0 };
    struct arena mem = { 0 };
    struct imap_id id;
    struct slice in = SL("(\"name\" \"a\x01\x7f b\" \"Version\" NIL \"os\" \"c\")");
    struct err e;

    imap_id_add_answer(&out, SL("name *"));
    CHECK_EQ_STR(buf_z(&out), "(\"name\" \"Postern\")");
    buf_reset(&out);
    imap_id_add_answer(&out, SL("name Mail, version * support-url http://a/"));
    CHECK_EQ_STR(buf_z(&out), "(\"name\" \"Mail\" \"version\" NIL \"support-url\" \"http://a/\")");
    buf_reset(&out);
    imap_id_add_answer(&out, SL(""));
    CHECK_EQ_STR(buf_z(&out), "NIL");
    buf_reset(&out);
    CHECK_EQ_INT(imap_take_id(&in, &mem, &id, &e), PARSE_OK);
    imap_id_add_log(&out, &id, SL("*"));
    CHECK_EQ_STR(buf_z(&out), "name=a?? b, Version=NIL, os=c");
    buf_reset(&out);
    imap_id_add_log(&out, &id, SL("os version"));
    CHECK_EQ_STR(buf_z(&out), "Version=NIL, os=c");
    buf_reset(&out);
    imap_id_add_log(&out, &id, SL("vendor"));
    CHECK_EQ_INT(out.n, 0);
    buf_free(&out);
    arena_free(&mem);
}

TEST_MAIN()
