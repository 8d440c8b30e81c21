/* proto/policy_test.c - replies of policy servers, whole and at every cut. */
#include "proto/policy.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

TEST(replies)
{
    static const struct {
        const char *text;
        enum parse_rc want;
        const char *action, *rest;
    } rows[] = {
        { "action=DUNNO\n\n", PARSE_OK, "DUNNO", "" },
        { "action=REJECT not now\n\nmore", PARSE_OK, "REJECT not now", "more" },
        { "action=reject a=b\r\n\r\n", PARSE_OK, "reject a=b", "" },
        { "x=y\naction= 450 4.2.0 Greylisted \nz=1\n\n", PARSE_OK, "450 4.2.0 Greylisted", "" },
        { "action=first\naction=second\n\n", PARSE_OK, "first", "" },
        { "no equals sign\naction=OK\n\n", PARSE_OK, "OK", "" },
        { "action=\n\n", PARSE_OK, "", "" },
        { "actions=OK\nACTION=OK\n\n", PARSE_BAD, "", "" },
        { "action = OK\n\n", PARSE_BAD, "", "" },
        { "\naction=OK\n\n", PARSE_BAD, "", "" },
        { "\n", PARSE_BAD, "", "" },
        { "garbage\n\n", PARSE_BAD, "", "" },
        { "", PARSE_MORE, "", "" },
        { "action=OK\n", PARSE_MORE, "", "" },
        { "action=OK", PARSE_MORE, "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].text), action = { 0 };
        struct err e = { 0 };

        TEST_ROW("%zu: %s", i, rows[i].text);
        CHECK_EQ_INT(policy_take_reply(&in, &action, &e), rows[i].want);
        if (rows[i].want == PARSE_OK) {
            CHECK(sl_eqz(action, rows[i].action));
            CHECK(sl_eqz(in, rows[i].rest));
            for (size_t n = 0; n < strlen(rows[i].text) - strlen(rows[i].rest); n++) {
                in = sl_n(rows[i].text, n);
                CHECK_EQ_INT(policy_take_reply(&in, &action, NULL), PARSE_MORE);
            }
        } else {
            CHECK(sl_eqz(in, rows[i].text));
            CHECK_EQ_INT(e.msg[0] != '\0', rows[i].want == PARSE_BAD);
        }
    }
}

TEST(a_reply_has_a_limit)
{
    struct buf b = { 0 };
    struct slice in, action;

    buf_addz(&b, "action=REJECT ");
    while (b.n < POLICY_REPLY_OCTETS - 2)
        buf_addc(&b, 'x');
    buf_addz(&b, "\n\n");
    in = buf_slice(&b);
    CHECK_EQ_INT(policy_take_reply(&in, &action, NULL), PARSE_OK);
    CHECK_EQ_INT(action.n, POLICY_REPLY_OCTETS - 2 - strlen("action="));
    buf_truncate(&b, POLICY_REPLY_OCTETS - 2);
    buf_addz(&b, "x\n\n"); /* one octet more */
    in = buf_slice(&b);
    CHECK_EQ_INT(policy_take_reply(&in, &action, NULL), PARSE_BAD);
    buf_reset(&b);
    while (b.n < POLICY_REPLY_OCTETS)
        buf_addz(&b, "a=b\n"); /* no end in sight */
    in = buf_slice(&b);
    CHECK_EQ_INT(policy_take_reply(&in, &action, NULL), PARSE_BAD);
    buf_free(&b);
}

TEST(requests)
{
    struct buf b = { 0 };

    policy_add(&b, "request", SL("smtpd_access_policy"));
    policy_add(&b, "helo_name", SL("a\nb=c"));
    policy_add(&b, "sender", sl_n(NULL, 0));
    policy_add_number(&b, "size", 12345678901);
    policy_end(&b);
    CHECK(sl_eqz(buf_slice(&b),
                 "request=smtpd_access_policy\nhelo_name=a?b=c\nsender=\nsize=12345678901\n\n"));
    buf_free(&b);
}

TEST(requests_taken)
{
    static const struct {
        const char *text;
        enum parse_rc want;
        const char *recipient, *size, *rest;
    } rows[] = {
        { "request=x\nrecipient=a@b\nsize=12\n\n", PARSE_OK, "a@b", "12", "" },
        { "recipient=a=b@c\r\n\r\nmore", PARSE_OK, "a=b@c", "", "more" },
        { "recipient=first\nrecipient=second\nsize=\n\n", PARSE_OK, "first", "", "" },
        { "size=1\n", PARSE_MORE, "", "", "" },
        { "\n", PARSE_BAD, "", "", "" },
        { "GET / HTTP/1.1\n\n", PARSE_BAD, "", "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].text), request;
        struct err e = { 0 };

        TEST_ROW("%zu: %s", i, rows[i].text);
        CHECK_EQ_INT(policy_take_request(&in, &request, &e), rows[i].want);
        if (rows[i].want == PARSE_OK) {
            CHECK(sl_eqz(in, rows[i].rest));
            CHECK(sl_eqz(policy_attr(request, "recipient"), rows[i].recipient));
            CHECK(sl_eqz(policy_attr(request, "size"), rows[i].size));
            CHECK(sl_eqz(policy_attr(request, "ecipient"), ""));
        } else {
            CHECK(sl_eqz(in, rows[i].text));
            CHECK_EQ_INT(e.msg[0] != '\0', rows[i].want == PARSE_BAD);
        }
    }
}

TEST(a_request_has_a_limit)
{
    struct buf b = { 0 };
    struct slice in, request;

    while (b.n < POLICY_REQUEST_OCTETS)
        buf_addz(&b, "a=b\n");
    in = buf_slice(&b);
    CHECK_EQ_INT(policy_take_request(&in, &request, NULL), PARSE_BAD);
    buf_free(&b);
}

TEST_MAIN()
