/* The argument of check_policy_service: servers, options, and what is refused. */
#include "smtpd/policy_arg.h"

#include "base/mem.h"
#include "base/test.h"

TEST(servers)
{
    static const struct {
        const char *arg, *name, *path, *host;
        unsigned port;
    } rows[] = {
        { "unix:private/policy", "private/policy", "/q/private/policy", NULL, 0 },
        { "unix:/run/x", "/run/x", "/run/x", NULL, 0 },
        { "local:x", "x", "/q/x", NULL, 0 },
        { "inet:127.0.0.1:10023", "127.0.0.1:10023", NULL, "127.0.0.1", 10023 },
        { "inet:policy.example.com:1", "policy.example.com:1", NULL, "policy.example.com", 1 },
        { "inet:[2001:db8::1]:65535", "[2001:db8::1]:65535", NULL, "2001:db8::1", 65535 },
        { "inet:10023", "10023", NULL, "localhost", 10023 },
        { "{inet:[::1]:7}", "[::1]:7", NULL, "::1", 7 },
        { "{ unix:a, timeout=3s }", "a", "/q/a", NULL, 0 },
    };
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL("queue_directory = /q\n"), "main.cf", &ps);

    NEED(c != NULL);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena mem = { 0 };
        struct policy_arg a;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].arg);
        if (policy_arg_parse(rows[i].arg, c, &mem, &a, &e)) {
            FAIL("%s", e.msg);
        } else {
            CHECK_EQ_STR(a.server.name, rows[i].name);
            if (rows[i].path)
                CHECK_EQ_STR(a.server.path, rows[i].path);
            else
                CHECK_EQ_STR(a.server.host, rows[i].host);
            CHECK_EQ_INT(a.server.port, rows[i].port);
        }
        arena_free(&mem);
    }
    conf_unref(&c);
    conf_problems_free(&ps);
}

TEST(options)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL("smtpd_policy_service_policy_context = general\n"
                                   "smtpd_policy_service_timeout = 7s\n"),
                                "main.cf", &ps);
    struct arena mem = { 0 };
    struct policy_arg a;

    NEED(c != NULL);
    CHECK_EQ_INT(policy_arg_parse("{ inet:h:1, max_idle=1m max_ttl=2h,retry_delay = 2, "
                                  "request_limit=3, try_limit=4 }",
                                  c, &mem, &a, NULL),
                 -1); /* blanks around '=' need braces */
    NEED(
        policy_arg_parse("{ inet:h:1, max_idle=1m max_ttl=2h,{ retry_delay = 2 }, request_limit=3, "
                         "try_limit=4, { default_action = 450 4.7.1 Later, please } }",
                         c, &mem, &a, NULL) == 0);
    CHECK_EQ_INT(a.server.timeout_ms, 7000);
    CHECK_EQ_INT(a.server.max_idle_ms, 60000);
    CHECK_EQ_INT(a.server.max_ttl_ms, 7200000);
    CHECK_EQ_INT(a.server.retry_delay_ms, 2000);
    CHECK_EQ_INT(a.server.request_limit, 3);
    CHECK_EQ_INT(a.server.try_limit, 4);
    CHECK(sl_eqz(a.default_action, "450 4.7.1 Later, please"));
    CHECK(sl_eqz(a.context, "general"));
    NEED(policy_arg_parse("inet:h:1", c, &mem, &a, NULL) == 0);
    CHECK(sl_eqz(a.default_action, "451 4.3.5 Server configuration problem"));
    CHECK_EQ_INT(a.server.try_limit, 2);
    arena_free(&mem);
    conf_unref(&c);
    conf_problems_free(&ps);
}

TEST(what_is_refused)
{
    static const char *const rows[] = {
        "",
        "private/policy",
        "unix:",
        "tcp:127.0.0.1:1",
        "inet:127.0.0.1",
        "inet:127.0.0.1:0",
        "inet:127.0.0.1:65536",
        "inet:127.0.0.1:smtp",
        "inet:::1:25",
        "inet:a b:25",
        "{ }",
        "{ inet:127.0.0.1:1",
        "{ inet:127.0.0.1:1, timeout }",
        "{ inet:127.0.0.1:1, timeout=0 }",
        "{ inet:127.0.0.1:1, timeout=1y }",
        "{ inet:127.0.0.1:1, try_limit=0 }",
        "{ inet:127.0.0.1:1, try_limit=-1 }",
        "{ inet:127.0.0.1:1, colour=red }",
        "{ timeout=3s, inet:127.0.0.1:1 }",
        ("unix:/"
         "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678"
         "9"
         "0123456789"
         "0123456789"),
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { 0 };

        TEST_ROW("%s", rows[i]);
        CHECK_EQ_INT(policy_arg_check(rows[i], &e), -1);
        CHECK_EQ_INT(e.kind, ERR_CONFIG);
        CHECK(e.msg[0] != '\0');
    }
}

TEST_MAIN()
