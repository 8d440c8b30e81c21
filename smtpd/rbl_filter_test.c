/* smtpd/rbl_filter_test.c - patterns of answers, answers that are none, resolvers that get such. */
#include "smtpd/rbl_conf.h"
#include "smtpd/rbl_filter.h"

#include "base/test.h"

#include <arpa/inet.h>

TEST(patterns)
{
    static const struct {
        const char *arg, *zone, *yes, *no; /* zone NULL: refused */
    } t[] = {
        { "bl.test", "bl.test", "127.0.0.2", NULL },
        { "bl.test=127.0.0.2", "bl.test", "127.0.0.2", "127.0.0.3" },
        { "bl.test=127.0.0.[2..11]", "bl.test", "127.0.0.11", "127.0.0.12" },
        { "bl.test=127.0.0.[2..11]", "bl.test", "127.0.0.2", "127.0.0.1" },
        { "bl.test=127.0.[0;3].[4;8..9;255]", "bl.test", "127.0.3.9", "127.0.1.9" },
        { "bl.test=127.0.[0;3].[4;8..9;255]", "bl.test", "127.0.0.255", "127.0.0.7" },
        { "bl.test=[127].[0..255].0.[0]", "bl.test", "127.77.0.0", "128.77.0.0" },
        { "bl.test=", NULL, NULL, NULL },
        { "bl.test=127.0.0", NULL, NULL, NULL },
        { "bl.test=127.0.0.2.3", NULL, NULL, NULL },
        { "bl.test=127.0.0.256", NULL, NULL, NULL },
        { "bl.test=127.0.0.[]", NULL, NULL, NULL },
        { "bl.test=127.0.0.[2", NULL, NULL, NULL },
        { "bl.test=127.0.0.[2,3]", NULL, NULL, NULL },
        { "bl.test=127.0.0.[3..2]", NULL, NULL, NULL },
        { "bl.test=127.0.[0.2]", NULL, NULL, NULL },
        { "bl.test=127.0.0.2[3]", NULL, NULL, NULL },
        { "bl..test", NULL, NULL, NULL },
        { "=127.0.0.2", NULL, NULL, NULL },
        { "", NULL, NULL, NULL },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct rbl_filter f;
        struct slice zone;
        struct err e = { 0 };
        uint8_t ip[4];
        int rc = rbl_filter_parse(sl_z(t[i].arg), &zone, &f, &e);

        TEST_ROW("%s", t[i].arg);
        CHECK_EQ_INT(rc, t[i].zone ? 0 : -1);
        if (rc < 0) {
            CHECK(e.msg[0] != '\0');
            continue;
        }
        CHECK_EQ_MEM(zone.p, zone.n, t[i].zone, strlen(t[i].zone));
        if (t[i].yes && inet_pton(AF_INET, t[i].yes, ip) == 1)
            CHECK(rbl_filter_match(&f, ip));
        if (t[i].no && inet_pton(AF_INET, t[i].no, ip) == 1)
            CHECK(!rbl_filter_match(&f, ip));
    }
}

TEST(answers_that_are_none)
{
    static const struct {
        uint8_t ip[4];
        bool is_error;
    } t[] = {
        { { 127, 0, 0, 2 }, false },       { { 127, 0, 0, 1 }, false },
        { { 127, 255, 254, 255 }, false }, { { 127, 255, 255, 254 }, true },
        { { 127, 255, 255, 0 }, true },    { { 192, 0, 2, 1 }, true },
        { { 0, 0, 0, 0 }, true },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        TEST_ROW("%zu", i);
        CHECK_EQ_INT(rbl_answer_error(t[i].ip) != NULL, t[i].is_error);
    }
}

TEST(public_resolvers)
{
    static const struct {
        const char *text, *want; /* NULL: none */
    } t[] = {
        { "nameserver 127.0.0.1\nnameserver 8.8.8.8\n", "8.8.8.8" },
        { "search x\r\nnameserver\t2606:4700:4700::1111 # c\n", "2606:4700:4700::1111" },
        { "# nameserver 8.8.8.8\nnameserver 192.168.1.1\n", NULL },
        { "nameserver 9.9.9.10", "9.9.9.10" },
        { "nameserver\n", NULL },
        { "nameserver ::1\noptions 1.1.1.1\n", NULL },
        { "", NULL },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct slice got = { 0 };
        bool has_one = rbl_public_resolver(sl_z(t[i].text), &got);

        TEST_ROW("%s", t[i].text);
        CHECK_EQ_INT(has_one, t[i].want != NULL);
        if (has_one && t[i].want)
            CHECK_EQ_MEM(got.p, got.n, t[i].want, strlen(t[i].want));
    }
}

TEST_MAIN()
