/* proto/alias_item_test.c - values of aliases as they stand in files; what they mean is what a real Postfix makes of them. */
#include "base/test.h"
#include "proto/alias_item.h"

#include "base/buf.h"

static const struct {
    const char *in;
    const char *
        want; /* items: "a:", "\:" (as it is), "|:", "/:", "i:", and the text; ";" after each; "BAD" */
} rows[] = {
    { "", "" },
    { " , \t,\n", "" },
    { "joe", "a:joe;" },
    { "joe,bob@x.test, al", "a:joe;a:bob@x.test;a:al;" },
    { "joe bob", "a:joe;a:bob;" },
    { "joe\nbob # x", "a:joe;a:bob;a:#;a:x;" },
    { "\\joe", "\\:joe;" },
    { "\\joe, bob", "\\:joe;a:bob;" },
    { "\\", "BAD" },
    { "Joe User <joe@x.test>, bob", "a:joe@x.test;a:bob;" },
    { "\"Joe, User\" <joe@x.test>", "a:joe@x.test;" },
    { "<joe@x.test> <bob@x.test>", "a:joe@x.test;a:bob@x.test;" },
    { "al@x.test <joe@x.test>", "a:al@x.test;a:joe@x.test;" },
    { "joe (the (first) one), bob", "a:joe;a:bob;" },
    { "joe (the", "a:joe;BAD" },
    { "<joe", "BAD" },
    { "<>", "BAD" },
    { "\"joe smith\"@x.test, bob", "a:\"joe smith\"@x.test;a:bob;" },
    { "\"joe", "BAD" },
    { "|/bin/cmd", "|:/bin/cmd;" },
    { "| /bin/cmd", "BAD" },
    { "|/bin/cmd arg", "|:/bin/cmd;a:arg;" }, /* as Postfix: quotes are needed */
    { "\"|/bin/cmd a b\", joe", "|:/bin/cmd a b;a:joe;" },
    { "\"| /bin/cmd a\"", "|:/bin/cmd a;" },
    { "|\"/bin/cmd a b\"", "|:/bin/cmd a b;" },
    { "\"|/bin/cmd \\\"a b\\\" c\"", "|:/bin/cmd \"a b\" c;" },
    { "\"|cat >/tmp/x; (exit 3) <y\"", "|:cat >/tmp/x; (exit 3) <y;" },
    { "|cat>/tmp/x(1)<y, joe", "|:cat>/tmp/x(1)<y;a:joe;" },
    { "\"|a\tb\"", "|:a b;" },
    { "\"|a\001b\"", "BAD" },
    { "\"|\"", "BAD" },
    { "/var/mail/x", "/:/var/mail/x;" },
    { "/var/mail/x/ , joe", "/:/var/mail/x/;a:joe;" },
    { "\"/var/mail/a b\"", "/:/var/mail/a b;" },
    { ":include:/etc/list", "i:/etc/list;" },
    { ":INCLUDE:/etc/list, joe", "i:/etc/list;a:joe;" },
    { "\":include:/etc/my list\"", "i:/etc/my list;" },
    { ":include:list", "i:list;" },
    { ":include:", "BAD" },
    { ":other:x", "a::other:x;" },
};

TEST(items_of_a_value)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice in = sl_z(rows[i].in);
        struct arena mem = { .cap = 100000 };
        struct buf got = { 0 };
        struct alias_item a;
        enum alias_rc rc;

        TEST_ROW("%s", rows[i].in);
        while ((rc = alias_item_take(&in, &mem, &a)) == ALIAS_ITEM)
            buf_addf(&got, "%c:%.*s;", a.as_is ? '\\' : "a|/i"[a.kind], SL_ARG(a.text));
        if (rc == ALIAS_BAD)
            buf_addz(&got, "BAD");
        CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&got);
        arena_free(&mem);
    }
}

TEST(targets_have_an_end)
{
    char text[ALIAS_TARGET_OCTETS_MAX + 2];
    struct arena mem = { .cap = 100000 };
    struct alias_item a;

    memset(text, 'x', sizeof text);
    text[0] = '|';
    for (size_t n = sizeof text - 2; n <= sizeof text; n++) {
        struct slice in = sl_n(text, n);

        CHECK(alias_item_take(&in, &mem, &a) ==
              (n <= ALIAS_TARGET_OCTETS_MAX + 1 ? ALIAS_ITEM : ALIAS_BAD));
    }
    arena_free(&mem);
}

TEST_MAIN()
