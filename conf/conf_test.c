/* conf/conf_test.c - main.cf's syntax, expansion, types, views. */
#include "conf/conf.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

/* Parse; the value of `name` as text, or the first problem. */
static const char *
value_of(const char *text, const char *name, char *out, size_t octets)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "main.cf", &ps);
    const char *v = c != NULL ? conf_user_value(c, name) : NULL;

    snprintf(out, octets, "%s", v != NULL ? v : ps.n > 0 ? ps.v[ps.n - 1].text : "(null)");
    conf_unref(&c);
    conf_problems_free(&ps);
    return out;
}

TEST(expansion)
{
    static const struct {
        const char *text, *name, *want;
    } t[] = {
        { "a = 1\n", "a", "1" },
        { "a = one\n two\n#x\n\n   three\n", "a", "one two three" },
        { "a = x\nb = $a-${a}-$(a)\n", "b", "x-x-x" },
        { "a = $$5\n", "a", "$5" },
        { "a = 1\nb = ${a?yes}${a:no}\n", "b", "yes" },
        { "a =\nb = ${a?yes}${a:no}\n", "b", "no" },
        { "a = 1\nb = ${a?{yes}:{no}}\n", "b", "yes" },
        { "a =\nb = ${a?{yes}:{no}}\n", "b", "no" },
        { "a = 3\nb = ${{$a} >= {3} ? {new} : {old}}\n", "b", "new" },
        { "a = 2\nb = ${{$a} >= {10} ? {new} : {old}}\n", "b", "old" },
        { "b = ${nothing}x\n", "b", "x" },
        { "b = a:b?c\n", "b", "a:b?c" },
        { "myhostname = mx.example.com\n", "mydomain", "example.com" },
        { "myhostname = mx.example.com\n", "smtpd_banner", "mx.example.com ESMTP Postfix" },
        { "a = $b\nb = $a\nmyorigin = $a\n", "a",
          "myorigin: unreasonable macro call nesting: \"$b\"" },
        { "myorigin = ${x\n", "a", "myorigin: '{' without '}' in \"{x\"" },
        { "# c\n  # d\na = 1 # no comment\n", "a", "1 # no comment" },
        { "a = 1\r\nb = 2\r\n", "a", "1" },
    };
    char got[512];

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        CHECK_EQ_STR(value_of(t[i].text, t[i].name, got, sizeof(got)), t[i].want);
}

TEST(myorigin_from_a_file)
{
    char path[] = "/tmp/conf_test-XXXXXX", text[200], got[512];
    int fd = mkstemp(path);

    CHECK(fd >= 0 && write(fd, " \n host.example.org \nmore\n", 26) == 26);
    snprintf(text, sizeof(text), "myorigin = %s\na = @$myorigin\n", path);
    CHECK_EQ_STR(value_of(text, "myorigin", got, sizeof(got)), "host.example.org");
    CHECK_EQ_STR(value_of(text, "a", got, sizeof(got)), "@host.example.org");
    snprintf(text, sizeof(text), "myorigin = %s\n", path);
    CHECK(ftruncate(fd, 2) == 0);
    CHECK(strstr(value_of(text, "myorigin", got, sizeof(got)), "has no name in it") != NULL);
    close(fd);
    CHECK(unlink(path) == 0);
    CHECK(strstr(value_of(text, "myorigin", got, sizeof(got)), "myorigin: ") != NULL);
}

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    (void)arg;
    if (sl_eqz(name, "reason"))
        return buf_addz(out, "$what is \x01 \xe9 bad") == 0;
    return sl_eqz(name, "empty");
}

TEST(templates)
{
    static const struct {
        const char *text, *want;
    } t[] = {
        { "554 no", "554 no" },
        { "${reason?why: $reason}$empty.", "why: $what is _ _ bad." },
        { "${empty?yes}${empty:no}", "no" },
        { "$(reason)", "$what is _ _ bad" },
        { "\x01", "\x01" }, /* the operator's own text may hold anything */
        { "$unknown", "unknown macro name \"unknown\"" },
        { "${reason", "'{' without '}' in \"{reason\"" },
    };
    bool allowed[256];
    struct conf_template tp = { .look_up = look_up, .allowed = allowed };

    conf_unescape_set("\\40$abcdehistw", allowed);
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };
        struct err e = { 0 };
        int rc = conf_expand_template(sl_z(t[i].text), &tp, &out, &e);

        TEST_ROW("%s", t[i].text);
        CHECK_EQ_STR(rc < 0 ? e.msg : buf_z(&out), t[i].want);
        buf_free(&out);
    }
}

TEST(escapes_of_a_set)
{
    static const struct {
        const char *text;
        unsigned char in, out;
    } t[] = {
        { "\\t", '\t', 't' },  { "\\40", ' ', '4' }, { "\\0401", '1', '0' },
        { "\\\\", '\\', 'x' }, { "a\\", '\\', 'b' }, { "\\x", 'x', '\\' },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        bool set[256];

        TEST_ROW("%s", t[i].text);
        conf_unescape_set(t[i].text, set);
        CHECK(set[t[i].in]);
        CHECK(!set[t[i].out]);
    }
}

TEST(sizes_with_units)
{
    static const struct {
        const char *text;
        int64_t want; /* -1: it is none */
    } t[] = {
        { "10M", 10485760 }, { "10 MB", 10485760 }, { "1GiB", 1073741824 }, { "2048", 2048 },
        { "2k", 2048 },      { "5B", 5 },           { "10X", -1 },          { "10Mx", -1 },
        { "5Bib", -1 },      { "M", -1 },           { "99999999999T", -1 }, { "2G", -1 },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct conf_problems ps = { 0 };
        struct buf text = { 0 };
        struct conf *c;

        TEST_ROW("%s", t[i].text);
        buf_addf(&text, "auth_cache_size = %s\n", t[i].text);
        c = conf_parse(buf_slice(&text), "main.cf", &ps);
        CHECK((c == NULL) == (t[i].want < 0));
        if (c)
            CHECK_EQ_INT(c->auth_cache_size, t[i].want);
        conf_unref(&c);
        conf_problems_free(&ps);
        buf_free(&text);
    }
}

/* Each name stands for two of the next, and the last for nothing: 2^60 expansions, which end early. */
TEST(expansion_is_bounded)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct conf *c;

    buf_addz(&text, "myorigin = $a0\n");
    for (int i = 0; i < 60; i++)
        buf_addf(&text, "a%d = $a%d$a%d\n", i, i + 1, i + 1);
    buf_addz(&text, "a60 =\n");
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    CHECK(c == NULL && ps.errors >= 1);
    conf_unref(&c);
    conf_problems_free(&ps);
    buf_free(&text);
}

/* All problems at once, each with its line. */
TEST(problems)
{
    static const char text[] = "biff = maybe\n"
                               "no equals sign\n"
                               "smtpd_timeout = 30x\n"
                               "smtpd_recipient_limit = 0\n"
                               "invalid_hostname_reject_code = 5xx\n"
                               "smtpd_use_tls = maybe\n"
                               "submission_recipient_limit = many\n"
                               "  continued\n"
                               "frobnicate = 1\n";
    static const struct {
        unsigned line;
        bool is_error;
    } want[] = { { 2, true }, { 3, true }, { 4, true }, { 5, true }, { 6, true }, { 9, false } };
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "main.cf", &ps);

    CHECK(c == NULL);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        bool found = false;

        for (size_t k = 0; k < ps.n; k++)
            found = found || (ps.v[k].line == want[i].line && ps.v[k].is_error == want[i].is_error);
        if (!found)
            fprintf(stderr, "no problem told for line %u\n", want[i].line);
        CHECK(found);
    }
    CHECK_EQ_INT(ps.errors, 5);
    conf_problems_free(&ps);
}

TEST(types)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(
        SL("smtpd_timeout = 2m\nminimal_backoff_time = 180\n"
           "mynetworks = 127.0.0.0/8 [::1]/128,10.0.0.0/8\n"
           "smtpd_helo_restrictions =\n   check_helo_access { inline:{a=b, c=d} x },\n  permit\n"),
        "main.cf", &ps);

    CHECK(c != NULL);
    if (c == NULL)
        return;
    CHECK_EQ_INT(c->smtpd_timeout, 120000);
    CHECK_EQ_INT(c->minimal_backoff_time, 180000);
    CHECK_EQ_INT(c->mynetworks.n, 3);
    CHECK_EQ_STR(c->mynetworks.v[1], "[::1]/128");
    CHECK_EQ_INT(c->smtpd_helo_restrictions.n, 3);
    CHECK_EQ_STR(c->smtpd_helo_restrictions.v[1], "{ inline:{a=b, c=d} x }");
    CHECK_EQ_INT(conf_line_of(c, "mynetworks"), 3);
    CHECK_EQ_INT(conf_line_of(c, "mydestination"), 0);
    conf_unref(&c);
    conf_problems_free(&ps);
}

TEST(views)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL("smtpd_timeout = 30s\nsmtpd_client_restrictions = permit\n"
                                   "submissions_timeout = 60s\nsubmission_helo_required = yes\n"),
                                "main.cf", &ps);
    struct conf *s = conf_for_service(c, "submission"), *t = conf_for_service(c, "submissions");

    CHECK_EQ_INT(ps.n, 0);
    CHECK_EQ_INT(s->smtpd_timeout, 30000);
    CHECK_EQ_INT(t->smtpd_timeout, 60000);
    CHECK(s->smtpd_helo_required && !t->smtpd_helo_required && !c->smtpd_helo_required);
    CHECK_EQ_STR(s->smtpd_tls_security_level, "encrypt");
    CHECK_EQ_STR(c->smtpd_tls_security_level, "");
    CHECK(t->smtpd_tls_wrappermode && !s->smtpd_tls_wrappermode);
    CHECK_EQ_INT(s->smtpd_client_restrictions.n, 2);
    CHECK_EQ_STR(s->smtpd_client_restrictions.v[0], "permit_sasl_authenticated");
    conf_unref(&s);
    conf_unref(&t);
    conf_unref(&c);
    conf_problems_free(&ps);
}

/* Every default of the table is itself a good value. */
TEST(defaults)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL(""), "main.cf", &ps);

    for (size_t i = 0; i < ps.n; i++)
        fprintf(stderr, "%s\n", ps.v[i].text);
    CHECK_EQ_INT(ps.n, 0);
    CHECK(c != NULL);
    conf_unref(&c);
    conf_problems_free(&ps);
}

TEST(stress)
{
    static const struct {
        const char *text;
        int64_t calm_ms, stressed_ms,
            submission_ms; /* the last: of the submission listener under stress */
    } cases[] = {
        { "smtpd_timeout = 30s\n", 30000, 30000, 30000 },
        { "", 300000, 10000, 10000 },
        { "smtpd_timeout = ${stress?{5}:{60}}s\n", 60000, 5000, 5000 },
        { "submission_timeout = ${stress?{7}:{70}}s\n", 300000, 10000, 7000 },
        { "stress = yes\nsmtpd_timeout = ${stress?{5}:{60}}s\n", 5000, 5000, 5000 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct conf_problems ps = { 0 };
        struct conf *c = conf_parse(sl_z(cases[i].text), "main.cf", &ps), *s, *sub;

        NEED(c != NULL);
        s = conf_for_stress(c, NULL);
        sub = conf_for_stress(c, "submission");
        if (c->smtpd_timeout != cases[i].calm_ms || s->smtpd_timeout != cases[i].stressed_ms ||
            sub->smtpd_timeout != cases[i].submission_ms)
            FAIL("%s: %lld %lld %lld", cases[i].text, (long long)c->smtpd_timeout,
                 (long long)s->smtpd_timeout, (long long)sub->smtpd_timeout);
        if (cases[i].text[0] == '\0') {
            CHECK_EQ_INT(c->smtpd_hard_error_limit, 20);
            CHECK_EQ_INT(s->smtpd_hard_error_limit, 1);
            CHECK_EQ_INT(s->smtpd_junk_command_limit, 1);
            CHECK(!c->smtpd_per_request_deadline && s->smtpd_per_request_deadline);
        }
        conf_unref(&c);
        conf_unref(&s);
        conf_unref(&sub);
        conf_problems_free(&ps);
    }
}

/* What is wrong only under stress is found when the file is read, not when the server is busy. */
TEST(errors_under_stress)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL("\nsmtpd_timeout = ${stress?{soon}:{60s}}\n"), "main.cf", &ps);

    CHECK(c == NULL);
    CHECK_EQ_INT(ps.errors, 1);
    CHECK_EQ_INT(ps.v[0].line, 2);
    conf_problems_free(&ps);
}

TEST(words_in_lists)
{
    static const char *const items[] = { "NoAnonymous", "all" };
    struct conf_list l = { .v = items, .n = COUNT_OF(items) };

    CHECK(conf_list_has(l, "noanonymous"));
    CHECK(conf_list_has(l, "ALL"));
    CHECK(!conf_list_has(l, "al"));
    CHECK(!conf_list_has((struct conf_list){ 0 }, "all"));
}

TEST(compatibility_levels)
{
    static const struct {
        const char *level, *digest;
        int64_t value; /* -1: refused */
    } cases[] = { { "0", "md5", 0 },      { "2", "md5", 2 },      { "3", "md5", 3 },
                  { "3.6", "sha256", 4 }, { "3.5.9", "md5", 4 },  { "3.10", "sha256", 4 },
                  { "4", "sha256", 4 },   { "9999", NULL, 9999 }, { "3.x", NULL, -1 },
                  { "new", NULL, -1 },    { "3.6 4", NULL, -1 } };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct conf_problems ps = { 0 };
        struct conf *c;
        char text[80];

        snprintf(text, sizeof text, "compatibility_level = %s\n", cases[i].level);
        c = conf_parse(sl_z(text), "main.cf", &ps);
        if ((c ? c->compatibility_level : -1) != cases[i].value)
            FAIL("%s: %s", text, ps.n ? ps.v[0].text : "taken");
        if (c && cases[i].digest)
            CHECK_EQ_STR(c->smtpd_tls_fingerprint_digest, cases[i].digest);
        conf_unref(&c);
        conf_problems_free(&ps);
    }
}

TEST_MAIN()
