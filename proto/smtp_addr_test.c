/* proto/smtp_addr_test.c */
#include "proto/smtp_addr.h"

#include "base/test.h"
#include "proto/hostname.h"
#include "proto/smtp_param.h"

static const struct {
    const char *word;
    bool is_strict;
    const char *want; /* NULL: bad */
} paths[] = {
    { "<u@d.test>", true, "u@d.test" },
    { "<>", true, "" },
    { "u@d.test", true, NULL },
    { "u@d.test", false, "u@d.test" },
    { "<<u@d.test>>", true, "u@d.test" },
    { "<@relay.test:u@d.test>", true, "u@d.test" },
    { "<@a.test,@b.test:u@d.test>", true, "u@d.test" },
    { "<@relay.test u@d.test>", true, NULL },
    { "<@d.test>", true, NULL },
    { "<u@d.test (hello)>", true, NULL },
    { "<u@d.test (hello)>", false, "u@d.test" },
    { "<a@d.test,b@d.test>", true, NULL },
    { "<a@d.test,b@d.test>", false, NULL },
    { "<se[nder@d.test>", true, NULL },
    { "<se(nd)er@d.test>", true, NULL },
    { "<se;nder@d.test>", true, NULL },
    { "<u\x1e@d.test>", true, NULL },
    { "<\"u\r3\"@d.test>", true, NULL },
    { "<u\\\x7f@d.test>", false, NULL },
    { "<\"u\t3\"@d.test>", false, NULL },
    { "<u@[192.0.2.1>", true, "u@[192.0.2.1]" },
    { "<u@[192.0.2.1]>", true, "u@[192.0.2.1]" },
    { "<\"u 3\"@d.test>", true, "u 3@d.test" },
    { "<\"\"@d.test>", true, NULL },
    { "<\"j\".d@d.test>", true, "j.d@d.test" },
    { "<\"j>d\"@d.test>", true, "j>d@d.test" },
    { "<\\u3@d.test>", true, "u3@d.test" },
    { "<a\\@b@d.test>", true, "a@b@d.test" },
    { "<u@d.test e.test>", true, NULL },
    { "<.u@d.test>", true, ".u@d.test" },
    { "<u@d@e.test>", true, "u@d@e.test" },
    { "<u>", true, "u" },
    { "<u@>", true, "u@" },
    { "<u@d.test>x", true, NULL },
};

TEST(paths_give_addresses)
{
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct arena a = { 0 };
        struct slice got = SL("");
        enum parse_rc rc;

        TEST_ROW("%s %d", paths[i].word, paths[i].is_strict);
        rc = smtp_path_parse(sl_z(paths[i].word), paths[i].is_strict, &a, &got, NULL);
        CHECK_EQ_INT(rc, paths[i].want ? PARSE_OK : PARSE_BAD);
        if (rc == PARSE_OK && paths[i].want)
            CHECK_EQ_MEM(got.p, got.n, paths[i].want, strlen(paths[i].want));
        arena_free(&a);
    }
}

static int
is_local(void *arg, struct slice domain)
{
    (void)arg;
    if (sl_ieq(domain, SL("ask.test")))
        return -1;
    return sl_ieq(domain, SL("localhost")) || sl_ieq(domain, SL("[127.0.0.1]"));
}

static const struct smtp_addr_rules rules = {
    .myorigin = SL_INIT("example.com"),
    .mydomain = SL_INIT("example.com"),
    .myhostname = SL_INIT("example.com"),
    .append_at_myorigin = true,
    .swap_bangpath = true,
    .allow_percent_hack = true,
    .resolve_dequoted_address = true,
    .is_local = is_local,
};

static const struct {
    const char *in, *want; /* NULL: bad */
    bool is_local, is_routed;
} resolves[] = {
    { "u@d.test", "u@d.test", false, false },
    { "U@D.Test.", "u@d.test", false, false },
    { "u", "u@example.com", false, false },
    { "u@localhost", "u@localhost", true, false },
    { "u%d.test@localhost", "u@d.test", false, false },
    { "u%d.test", "u@d.test", false, false },
    { "u%d.test@example.com", "u%d.test@example.com", false, true },
    { "d.test!u", "u@d.test", false, false },
    { "u@d.test@localhost", "u@d.test", false, false },
    { "u@d.test@", "u@d.test", false, false },
    { "-u@d.test", NULL, false, false },
    { "u-@d.test", "u-@d.test", false, false },
    { "u@", NULL, false, false },
    { "u@-d.test", NULL, false, false },
    { "u@d..test", NULL, false, false },
    { "u@127.0.0.1", NULL, false, false },
    { "u@[127.0.0.1]", "u@[127.0.0.1]", true, false },
    { "u@[300.0.0.1]", NULL, false, false },
    { "a b@d.test", "a b@d.test", false, false },
    { "a@b@d.test", "a@b@d.test", false, true },
    { "no_such@under_score.test", "no_such@under_score.test", false, false },
    { "j\xc3\xbcrgen@d.test", "j\xc3\xbcrgen@d.test", false, false },
    { "j\xfcrgen@d.test", NULL, false, false },
};

TEST(addresses_resolve)
{
    for (size_t i = 0; i < sizeof resolves / sizeof *resolves; i++) {
        struct arena a = { 0 };
        struct smtp_resolved got;
        enum smtp_resolve_rc rc;

        TEST_ROW("%s", resolves[i].in);
        rc = smtp_addr_resolve(&rules, sl_z(resolves[i].in), &a, &got);
        CHECK_EQ_INT(rc, resolves[i].want ? SMTP_RESOLVE_OK : SMTP_RESOLVE_BAD);
        if (rc == SMTP_RESOLVE_OK && resolves[i].want) {
            CHECK_EQ_MEM(got.addr.p, got.addr.n, resolves[i].want, strlen(resolves[i].want));
            CHECK_EQ_INT(got.is_local, resolves[i].is_local);
            CHECK_EQ_INT(got.is_routed, resolves[i].is_routed);
        }
        arena_free(&a);
    }
}

TEST(unknown_domains_are_asked_for)
{
    struct arena a = { 0 };
    struct smtp_resolved got;

    CHECK_EQ_INT(smtp_addr_resolve(&rules, SL("u@ask.test"), &a, &got), SMTP_RESOLVE_ASK);
    CHECK_EQ_MEM(got.ask.p, got.ask.n, "ask.test", 8);
    arena_free(&a);
}

static const struct {
    const char *in, *want;
} quotes[] = { { "u@d", "u@d" },
               { "u 3@d", "\"u 3\"@d" },
               { "a@b@d", "\"a@b\"@d" },
               { "a\"b", "\"a\\\"b\"" },
               { ".u@d", "\".u\"@d" },
               { "a..b@d", "\"a..b\"@d" },
               { "", "" } };

TEST(quoting)
{
    for (size_t i = 0; i < sizeof quotes / sizeof *quotes; i++) {
        struct arena a = { 0 };
        struct slice got = smtp_addr_quote(sl_z(quotes[i].in), &a);

        TEST_ROW("%s", quotes[i].in);
        CHECK_EQ_MEM(got.p, got.n, quotes[i].want, strlen(quotes[i].want));
        arena_free(&a);
    }
}

static const struct {
    const char *name;
    bool is_name, is_literal;
} hosts[] = {
    { "a.test", true, false },
    { "a_b.test", true, false },
    { "-a.test", false, false },
    { "a-.test", false, false },
    { "a..test", false, false },
    { ".a", false, false },
    { "a.", false, false },
    { "", false, false },
    { "12345", false, false },
    { "1.2.3.4", false, true },
    { "1.a", true, false },
    { "a%b", false, false },
    { "IPv6:2001:db8::1", false, true },
    { "2001:db8::1", false, false },
    { "IPv6:::", false, true },
    { "IPv6:1:2:3:4:5:6:7:8", false, true },
    { "IPv6:1:2:3:4:5:6:7", false, false },
    { "IPv6:::1.2.3.4", false, true },
    { "IPv6:1::2::3", false, false },
    { "IPv6:1:", false, false },
    { "999.1.1.1", false, false },
    { "192.0.2", false, false },
    { "0.0.0.0", false, true },
    { "0.0.0.1", false, false },
};

TEST(host_names)
{
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        TEST_ROW("%s", hosts[i].name);
        CHECK_EQ_INT(hostname_is_valid(sl_z(hosts[i].name)), hosts[i].is_name);
        CHECK_EQ_INT(hostname_is_literal_addr(sl_z(hosts[i].name)), hosts[i].is_literal);
    }
}

static const struct {
    const char *line, *want; /* words joined with '|' */
} lines[] = {
    { "MAIL FROM:<a@b> SIZE=1", "MAIL|FROM:|<a@b>|SIZE=1" },
    { "  mail from: <a@b>", "mail|from:|<a@b>" },
    { "RCPT TO :<a>", "RCPT|TO|:<a>" },
    { "RCPT TO:<\"a b\"@c>x  y", "RCPT|TO:|<\"a b\"@c>x|y" },
    { "EHLO\ta", "EHLO|a" },
    { "", "" },
    { "RCPT TO:<a b", "RCPT|TO:|<a b!" },
};

TEST(lines_are_cut_into_words)
{
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct smtp_words w;
        char got[200] = "";

        TEST_ROW("%s", lines[i].line);
        smtp_words_split(sl_z(lines[i].line), &w);
        for (size_t k = 0; k < w.n; k++)
            snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s%s", k ? "|" : "",
                     SL_ARG(w.w[k].s), w.w[k].is_open ? "!" : "");
        CHECK_EQ_STR(got, lines[i].want);
    }
}

static const struct {
    const char *line;
    bool is_rcpt;
    const char *want; /* the refusal, NULL: good */
} params[] = {
    { "SIZE=100 BODY=8bitmime", false, NULL },
    { "SIZE", false, "555 5.5.4 Unsupported option: SIZE" },
    { "SIZE=", false, "501 5.5.4 Bad message size syntax" },
    { "SIZE=10k", false, "501 5.5.4 Bad message size syntax" },
    { "SIZE=99999999999999999999", false,
      "552 5.3.4 Message size exceeds file system imposed limit" },
    { "RET=FULL RET=HDRS", false, "501 5.5.4 Bad RET parameter syntax" },
    { "ENVID=a+2Bb", false, NULL },
    { "ENVID=a+ZZb", false, "501 5.5.4 Bad ENVID parameter syntax" },
    { "ENVID=a+0Ab", false, "501 5.5.4 Bad ENVID parameter syntax" },
    { "ENVID=a=b", false, NULL },
    { "ENVID=a+2", false, "501 5.5.4 Bad ENVID parameter syntax" },
    { "ENVID=j\xc3\xbc", false, "501 5.5.4 Bad ENVID parameter syntax" },
    { "ENVID=", false, "501 5.5.4 Bad ENVID parameter syntax" },
    { "SMTPUTF8=YES", false, "555 5.5.4 Unsupported option: SMTPUTF8=YES" },
    { "BODY=BINARYMIME", false, "555 5.5.4 Unsupported option: BODY=BINARYMIME" },
    { "NOTIFY=FAILURE,,DELAY", true, NULL },
    { "NOTIFY=NEVER,SUCCESS", true, "501 5.5.4 Error: Bad NOTIFY parameter syntax" },
    { "NOTIFY=DELAY,delay", true, NULL },
    { "NOTIFY=", true, "501 5.5.4 Error: Bad NOTIFY parameter syntax" },
    { "NOTIFY=ALWAYS", true, "501 5.5.4 Error: Bad NOTIFY parameter syntax" },
    { "NOTIFY=DELAY NOTIFY=DELAY", true, "501 5.5.4 Error: Bad NOTIFY parameter syntax" },
    { "ORCPT=rfc822;a+2Bb@c", true, NULL },
    { "ORCPT=rfc822;", true, NULL },
    { "ORCPT=rfc822;j\xc3\xbc@c", true, NULL },
    { "ORCPT=rfc822;a+00b", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=rfc\x1e"
      "822;a",
      true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=;a", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=u28", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=rfc822;a+ZZ", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=utf-8;u\\x{E4}@c", true, NULL },
    { "ORCPT=utf-8;u\\x{D800}@c", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=utf-8;a+b=c\\d\\x{5}", true, NULL },
    { "ORCPT=utf-8;\\x{110000}", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=utf-8;\\x{}", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "ORCPT=utf-8;\\x{E4", true, "501 5.5.4 Error: Bad ORCPT parameter syntax" },
    { "FOO=bar", true, "555 5.5.4 Unsupported option: FOO=bar" },
};

TEST(parameters)
{
    for (size_t i = 0; i < sizeof params / sizeof *params; i++) {
        struct arena a = { 0 };
        struct smtp_words w;
        struct smtp_mail_params m;
        struct smtp_rcpt_params r;
        unsigned offers = SMTP_OFFER_UTF8 | SMTP_OFFER_DSN | SMTP_OFFER_AUTH;
        const char *got;

        TEST_ROW("%s", params[i].line);
        smtp_words_split(sl_z(params[i].line), &w);
        got = params[i].is_rcpt ? smtp_rcpt_params(&w, 0, offers, &a, &r)
                                : smtp_mail_params(&w, 0, offers, &a, &m);
        CHECK_EQ_STR(got, params[i].want);
        arena_free(&a);
    }
}

TEST_MAIN()
