/* proto/smtp_header_test.c - the expected fields were written by Postfix 3.7.11 (append_dot_mydomain = yes). */
#include "proto/smtp_header.h"

#include "base/mem.h"
#include "base/test.h"

static const struct smtp_addr_rules rules = {
    .myorigin = { "example.com", 11 },
    .mydomain = { "example.com", 11 },
    .myhostname = { "example.com", 11 },
    .append_at_myorigin = true,
    .append_dot_mydomain = true,
    .swap_bangpath = true,
    .allow_percent_hack = true,
};

/* clang-format off */
static const struct {
    const char *name, *value, *want; /* want NULL: as it is */
} rows[] = {
    { "From", " user",
      "From: user@example.com" },
    { "From", " Foo Bar <user>",
      "From: Foo Bar <user@example.com>" },
    { "From", " user (Foo Bar)",
      "From: user@example.com (Foo Bar)" },
    { "From", " \"Foo, Bar\" <user>",
      "From: \"Foo, Bar\" <user@example.com>" },
    { "To", " a, b, c",
      "To: a@example.com, b@example.com, c@example.com" },
    { "To", " a,\n b,\n\tc@d",
      "To: a@example.com, b@example.com, c@d.example.com" },
    { "to", " User <a@b.c>,   x ,y",
      "to: User <a@b.c>, x@example.com, y@example.com" },
    { "Cc", " friends: a, b; , c",
      "Cc: friends: a@example.com, b@example.com;, c@example.com" },
    { "Cc", " undisclosed-recipients:;",
      NULL },
    { "Reply-To", " <u@host>, <@a,@b:u@c>",
      "Reply-To: <u@host.example.com>, <u@c.example.com>" },
    { "Sender", " u%h",
      "Sender: u@h.example.com" },
    { "Sender", " h!u",
      "Sender: u@h.example.com" },
    { "From", " \"a b\"",
      "From: \"a b\"@example.com" },
    { "From", " a b",
      "From: a@example.com, b@example.com" },
    { "From", " a b@c",
      "From: a@example.com, b@c.example.com" },
    { "From", " <>",
      NULL },
    { "From", "",
      NULL },
    { "From", " @",
      "From: \"\"" },
    { "To", " u@[1.2.3.4]",
      NULL },
    { "To", " u@host.",
      "To: u@host" },
    { "From", " =?utf-8?q?J=C3=B6?= <jo>",
      "From: =?utf-8?q?J=C3=B6?= <jo@example.com>" },
    { "From", " J\303\266rg <jo>",
      "From: J\303\266rg <jo@example.com>" },
    { "From", " j\303\266rg",
      "From: j\303\266rg@example.com" },
    { "To", " user0, user1, user2, user3, user4, user5, user6, user7, user8, user9, user10, user11, user12, user13, user14, user15, user16, user17, user18, user19",
      "To: user0@example.com, user1@example.com, user2@example.com,\nuser3@example.com, user4@example.com, user5@example.com,\nuser6@example.com, user7@example.com, user8@example.com,\nuser9@example.com, user10@example.com, user11@example.com,\nuser12@example.com, user13@example.com, user14@example.com,\nuser15@example.com, user16@example.com, user17@example.com,\nuser18@example.com, user19@example.com" },
    { "To", " User Number 0 <user0@x.test>, User Number 1 <user1@x.test>, User Number 2 <user2@x.test>, User Number 3 <user3@x.test>, User Number 4 <user4@x.test>, User Number 5 <user5@x.test>, User Number 6 <user6@x.test>, User Number 7 <user7@x.test>, User Number 8 <user8@x.test>, u",
      "To: User Number 0 <user0@x.test>, User Number 1 <user1@x.test>,\nUser Number 2 <user2@x.test>, User Number 3 <user3@x.test>,\nUser Number 4 <user4@x.test>, User Number 5 <user5@x.test>,\nUser Number 6 <user6@x.test>, User Number 7 <user7@x.test>,\nUser Number 8 <user8@x.test>, u@example.com" },
    { "To", " (comment) a (c2) , b",
      "To: a@example.com (comment) (c2), b@example.com" },
    { "To", " a;b",
      "To: a@example.com;, b@example.com" },
    { "To", " a b, c d",
      "To: a@example.com, b@example.com, c@example.com, d@example.com" },
    { "To", " a <b> c, d",
      "To: a <b@example.com>, c@example.com, d@example.com" },
    { "To", " a <b> <c>",
      "To: a <b@example.com> <c@example.com>" },
    { "To", " \"unterminated <a>, b",
      "To: \"unterminated <a>, b\"@example.com" },
    { "To", " a\\b",
      "To: ab@example.com" },
    { "To", " a(b(c)d)e",
      "To: a@example.com, e@example.com (b(c)d)" },
    { "To", " a.b.c",
      "To: a.b.c@example.com" },
    { "To", " A@LOCALHOST",
      "To: A@LOCALHOST.example.com" },
    { "To", " u@Host",
      "To: u@Host.example.com" },
    { "to", "a",
      "to: a@example.com" },
    { "To", "  \n a",
      "To: a@example.com" },
    { "To", " a@b@c",
      "To: \"a@b\"@c.example.com" },
    { "To", " a at b",
      "To: a@example.com, at@example.com, b@example.com" },
    { "To", " <a",
      "To: \"<a\"@example.com" },
    { "To", " a>",
      "To: a@example.com>" },
    { "To", " [x]",
      "To: \"[x]\"@example.com" },
    { "To", " \"a\"@b",
      "To: a@b.example.com" },
    { "To", " \"\"",
      NULL },
    { "To", " \"a\\\"b\"",
      "To: \"a\\\"b\"@example.com" },
    { "To", " a . b @ c . d",
      NULL },
    { "From", " Foo.Bar <u>",
      "From: Foo.Bar <u@example.com>" },
    { "From", " Foo <u> (c)",
      "From: Foo <u@example.com>(c)" },
    { "From", " u (c1) (c2)",
      "From: u@example.com (c1) (c2)" },
    { "From", " Foo\n Bar <u>",
      "From: Foo Bar <u@example.com>" },
    { "From", " \"Foo\n Bar\" <u>",
      "From: \"Foo  Bar\" <u@example.com>" },
    { "From", " u (c1\n c2)",
      "From: u@example.com (c1  c2)" },
    { "From", " Foo:bar <u>",
      "From: Foo@example.com:bar <u@example.com>" },
    { "From", " a@b.c, u\t",
      "From: a@b.c, u@example.com" },
    { "From", " u  ",
      "From: u@example.com" },
    { "To", " a, , b",
      "To: a@example.com, , b@example.com" },
    { "To", " ,",
      NULL },
    { "To", " a,",
      "To: a@example.com, " },
    { "To", " <a>,<b>",
      "To: <a@example.com>, <b@example.com>" },
    { "To", " Foo <a>,Bar<b>",
      "To: Foo <a@example.com>, Bar <b@example.com>" },
    { "To", " ;",
      NULL },
    { "To", " g:a@b;",
      "To: g: a@b.example.com;" },
    { "To", " g : a ;, h: b;",
      "To: g: a@example.com;, h: b@example.com;" },
    { "To", " <a@b.c> <d>",
      "To: <a@b.c> <d@example.com>" },
    { "To", " =?x?= a",
      "To: =?x?=@example.com, a@example.com" },
    { "To", " a/b=c+d",
      "To: a/b=c+d@example.com" },
    { "To", " a\177b",
      "To: \"a\177b\"@example.com" },
    { "To", " \"a\"@b.c",
      "To: a@b.c" },
    { "To", " \"u%h\"",
      "To: u%h@example.com" },
    { "To", " \"u%h\"@b.c",
      "To: u%h@b.c" },
    { "To", " x, \"a b\"@c.d",
      "To: x@example.com, \"a b\"@c.d" },
    { "To", " u@[1.2.3.4",
      NULL },
    { "To", " x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x <u>",
      "To: <u@example.com>" },
    { "To", " (c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c ) u, v",
      "To: <u@example.com>, v@example.com" },
    { "To", " \"pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp\" <u>, b",
      "To: <u@example.com>, b@example.com" },
    { "To", " (cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc) <>, u",
      "To: <>, u@example.com" },
    { "From", " a%b!c",
      "From: c@a%b.example.com" },
    { "From", " a!b@c",
      "From: a!b@c.example.com" },
    { "From", " a%b%c",
      "From: a%b@c.example.com" },
    { "From", " :a",
      "From: \":a\"@example.com" },
    { "From", " g:;,u",
      "From: g: ;, u@example.com" },
    { "To", " a (x\n y), b",
      "To: a@example.com (x  y), b@example.com" },
    { "To", " <a (x) b>",
      "To: <ab@example.com (x)>" },
    { "To", " Foo (c) <u>",
      "To: Foo (c) <u@example.com>" },
    { "To", " Foo <(c) u>",
      "To: Foo <u@example.com (c)>" },
    { "To", " a<b(c)>d",
      "To: a <b@example.com (c)>, d@example.com" },
    { "To", " |u",
      "To: |u@example.com" },
    { "To", " a..b",
      "To: \"a..b\"@example.com" },
    { "To", " .a",
      "To: \".a\"@example.com" },
    { "To", " a.",
      "To: \"a.\"@example.com" },
    { "To", " a@.",
      NULL },
    { "To", " a@b..c",
      NULL },
    { "To", " \\",
      NULL },
    { "To", " a\\",
      "To: a@example.com" },
    { "To", " (",
      NULL },
    { "To", " (a",
      NULL },
    { "To", " )",
      "To: \")\"@example.com" },
    { "To", " u)",
      "To: \"u)\"@example.com" },
    { "To", " \"a",
      "To: a@example.com" },
    { "From", " u@h (Foo), b",
      "From: u@h.example.com (Foo), b@example.com" },
    { "Cc", " a (c",
      "Cc: a@example.com (c" },
    { "To", " @b",
      "To: \"\"@b.example.com" },
    { "To", " u@",
      NULL },
    { "To", " <u@>",
      NULL },
    { "To", " <@b:u>",
      "To: <u@example.com>" },
    { "To", " <@b>",
      "To: <\"\"@b.example.com>" },
    { "To", " u@b@",
      "To: \"u@b\"@" },
    { "To", " %",
      "To: \"\"@" },
    { "To", " !",
      "To: \"\"@" },
    { "To", " a!",
      "To: \"\"@a.example.com" },
    { "To", " !a",
      "To: a@" },
    { "To", " %a",
      "To: \"\"@a.example.com" },
    { "To", " a%",
      "To: a@" },
    { "To", " u@ho st",
      "To: u@ho.example.com, st@example.com" },
    { "To", " u @ host",
      "To: u@host.example.com" },
    { "To", " u@\"ho st\"",
      "To: u@ho st.example.com" },
    { "To", " (a)(b)",
      NULL },
    { "To", " g: (c);, u",
      "To: g: (c);, u@example.com" },
    { "To", " <>, u",
      "To: <>, u@example.com" },
    { "To", " Foo <>, u",
      "To: Foo <>, u@example.com" },
    { "To", " <<u>>",
      "To: < <\"u>\"@example.com>" },
    { "To", " <u>>",
      "To: <\"u>\"@example.com>" },
    { "To", " \"\"@b",
      "To: \"\"@b.example.com" },
    { "To", " u..@b",
      "To: \"u..\"@b.example.com" },
    { "To", " userxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, b, c",
      "To: userxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx@example.com,\nb@example.com, c@example.com" },
    { "To", " a, yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
      "To: a@example.com,\nyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy@example.com" },
};
/* clang-format on */

TEST(addresses_are_completed)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena a = { 0 };
        struct buf out = { 0 };
        size_t n;
        bool changed = smtp_header_rewrite(&rules, sl_z(rows[i].name), sl_z(rows[i].value), 10240,
                                           &a, &out, &n);

        TEST_ROW("%s:%s", rows[i].name, rows[i].value);
        CHECK_EQ_INT(changed, rows[i].want != NULL);
        if (changed && rows[i].want)
            CHECK_EQ_STR(buf_z(&out), rows[i].want);
        buf_free(&out);
        arena_free(&a);
    }
}

/* Every address gets this one in its place. */
TEST(addresses_are_replaced)
{
    static const struct {
        const char *value, *by, *want;
    } replaced[] = {
        { "a@b", "c@d", "To: c@d" },
        { "Some One <a@b> (x)", "c@d", "To: Some One <c@d>(x)" },
        { "a@b, (x) e, <>", "c@d", "To: c@d, c@d (x), <>" },
        { "a@b,\n\tf: e;, g", "u 1@d", "To: \"u 1\"@d, f: \"u 1\"@d;, \"u 1\"@d" },
        { "a", "", "To: \"\"" },
        { "undisclosed-recipients:;", "c@d", "To: undisclosed-recipients: ;" },
    };

    for (size_t i = 0; i < COUNT_OF(replaced); i++) {
        struct arena a = { 0 };
        struct buf out = { 0 };
        struct smtp_header h;
        size_t n_stripped;

        TEST_ROW("%s", replaced[i].value);
        CHECK(smtp_header_read(NULL, sl_z(replaced[i].value), 10240, &a, &h));
        CHECK(!h.is_changed);
        for (size_t k = 0; k < h.n; k++)
            *h.addrs[k] = sl_z(replaced[i].by);
        smtp_header_write(&h, SL("To"), &out, &n_stripped);
        CHECK_EQ_STR(buf_z(&out), replaced[i].want);
        buf_free(&out);
        arena_free(&a);
    }
}

static void
join(void *arg, struct slice internal)
{
    buf_addf(arg, "%s%.*s", ((struct buf *)arg)->n ? "|" : "", SL_ARG(internal));
}

TEST(addresses_are_found)
{
    static const struct {
        const char *value, *want;
    } found[] = {
        { "a@example.com", "a@example.com" },
        { "root", "root" },
        { "a, b@c ,\n\td", "a|b@c|d" },
        { "Some One <a@b>, \"X, Y\" <c@d>", "a@b|c@d" },
        { "a@b (comment, with comma), c", "a@b|c" },
        { "\"a b\"@c", "a b@c" },
        { "\"o'neil, x\" <\"q\\\"r\"@c>", "q\"r@c" },
        { "friends: a@b, c@d;, e", "a@b|c@d|e" },
        { "undisclosed-recipients:;", "" },
        { "<>", "" },
        { "", "" },
        { "   ", "" },
        { "a@[192.0.2.1]", "a@[192.0.2.1]" },
        { "a@b c@d", "a@b|c@d" },
    };

    for (size_t i = 0; i < COUNT_OF(found); i++) {
        struct arena a = { 0 };
        struct buf out = { 0 };

        TEST_ROW("%s", found[i].value);
        CHECK(smtp_header_addresses(sl_z(found[i].value), 10240, &a, join, &out));
        CHECK_EQ_STR(buf_z(&out), found[i].want);
        buf_free(&out);
        arena_free(&a);
    }
}

TEST_MAIN()
