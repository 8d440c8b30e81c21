/* proto/xattr_test.c - attributes of XCLIENT and XFORWARD. The replies are Postfix's. */
#include "proto/xattr.h"

#include "base/mem.h"
#include "base/test.h"

#define X63      "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"
#define TOO_LONG X63 "aa" X63 "a" X63 "a" X63 "a"

static const struct {
    enum xattr_cmd cmd;
    const char *word;
    const char *reply; /* or NULL, and: */
    enum xattr attr;
    enum xattr_status status;
    const char *value;
} rows[] = {
    { XATTR_XCLIENT, "NAME=mail.example.com", NULL, XATTR_NAME, XATTR_GIVEN, "mail.example.com" },
    { XATTR_XCLIENT, "name=a.example", NULL, XATTR_NAME, XATTR_GIVEN, "a.example" },
    { XATTR_XCLIENT, "NAME=[unavailable]", NULL, XATTR_NAME, XATTR_UNAVAILABLE, "" },
    { XATTR_XCLIENT, "NAME=[TEMPUNAVAIL]", NULL, XATTR_NAME, XATTR_TEMPUNAVAIL, "" },
    { XATTR_XCLIENT, "NAME=+5BTEMPUNAVAIL+5d", NULL, XATTR_NAME, XATTR_TEMPUNAVAIL, "" },
    { XATTR_XCLIENT, "NAME=-x", "501 5.5.4 Bad NAME syntax: -x", 0, 0, NULL },
    { XATTR_XCLIENT, "NAME=192.0.2.1", "501 5.5.4 Bad NAME syntax: 192.0.2.1", 0, 0, NULL },
    { XATTR_XCLIENT, "REVERSE_NAME=r.example", NULL, XATTR_REVERSE_NAME, XATTR_GIVEN, "r.example" },
    { XATTR_XCLIENT, "REVERSE_NAME=(", "501 5.5.4 Bad REVERSE_NAME syntax: (", 0, 0, NULL },
    { XATTR_XFORWARD, "REVERSE_NAME=r.example",
      "501 5.5.4 Bad XFORWARD attribute name: REVERSE_NAME", 0, 0, NULL },
    { XATTR_XCLIENT, "ADDR=192.0.2.1", NULL, XATTR_ADDR, XATTR_GIVEN, "192.0.2.1" },
    { XATTR_XCLIENT, "ADDR=IPV6:2001:db8::1", NULL, XATTR_ADDR, XATTR_GIVEN, "2001:db8::1" },
    { XATTR_XCLIENT, "ADDR=2001:db8::1", "501 5.5.4 Bad ADDR syntax: 2001:db8::1", 0, 0, NULL },
    { XATTR_XCLIENT, "ADDR=IPv6:192.0.2.1", "501 5.5.4 Bad ADDR syntax: IPv6:192.0.2.1", 0, 0,
      NULL },
    { XATTR_XCLIENT, "ADDR=1<2", "501 5.5.4 Bad ADDR syntax: 1?2", 0, 0, NULL },
    { XATTR_XCLIENT, "ADDR=[UNAVAILABLE]", NULL, XATTR_ADDR, XATTR_UNAVAILABLE, "" },
    { XATTR_XCLIENT, "ADDR=[TEMPUNAVAIL]", "501 5.5.4 Bad ADDR syntax: [TEMPUNAVAIL]", 0, 0, NULL },
    { XATTR_XCLIENT, "PORT=25", NULL, XATTR_PORT, XATTR_GIVEN, "25" },
    { XATTR_XCLIENT, "PORT=123456", "501 5.5.4 Bad PORT syntax: 123456", 0, 0, NULL },
    { XATTR_XCLIENT, "PORT=-1", "501 5.5.4 Bad PORT syntax: -1", 0, 0, NULL },
    { XATTR_XCLIENT, "DESTPORT=smtp", "501 5.5.4 Bad DESTPORT syntax: smtp", 0, 0, NULL },
    { XATTR_XCLIENT, "DESTADDR=192.0.2.9", NULL, XATTR_DESTADDR, XATTR_GIVEN, "192.0.2.9" },
    { XATTR_XCLIENT, "PROTO=esmtp", NULL, XATTR_PROTO, XATTR_GIVEN, "esmtp" },
    { XATTR_XCLIENT, "PROTO=HTTP", "501 5.5.4 Bad PROTO syntax: HTTP", 0, 0, NULL },
    { XATTR_XCLIENT, "PROTO=[UNAVAILABLE]", "501 5.5.4 Bad PROTO syntax: [UNAVAILABLE]", 0, 0,
      NULL },
    { XATTR_XFORWARD, "PROTO=HTTP", NULL, XATTR_PROTO, XATTR_GIVEN, "HTTP" },
    { XATTR_XFORWARD, "PROTO=" X63 "xx", "501 5.5.4 Bad PROTO syntax: " X63 "xx", 0, 0, NULL },
    { XATTR_XCLIENT, "HELO=a+20b+0d+0A<x>", NULL, XATTR_HELO, XATTR_GIVEN, "a?b???x?" },
    { XATTR_XCLIENT, "HELO=a+2", NULL, XATTR_HELO, XATTR_GIVEN,
      "a+2" }, /* no xtext: as it stands */
    { XATTR_XCLIENT, "HELO=a=b", NULL, XATTR_HELO, XATTR_GIVEN, "a=b" },
    { XATTR_XCLIENT, "HELO=a+00b", NULL, XATTR_HELO, XATTR_GIVEN, "a?b" },
    { XATTR_XCLIENT, "HELO=\xff", NULL, XATTR_HELO, XATTR_GIVEN, "?" },
    { XATTR_XCLIENT, "LOGIN=u+40example.com", NULL, XATTR_LOGIN, XATTR_GIVEN, "u@example.com" },
    { XATTR_XCLIENT, "LOGIN=[UNAVAILABLE]", NULL, XATTR_LOGIN, XATTR_UNAVAILABLE, "" },
    { XATTR_XFORWARD, "LOGIN=u", "501 5.5.4 Bad XFORWARD attribute name: LOGIN", 0, 0, NULL },
    { XATTR_XFORWARD, "IDENT=4ABC", NULL, XATTR_IDENT, XATTR_GIVEN, "4ABC" },
    { XATTR_XCLIENT, "IDENT=4ABC", "501 5.5.4 Bad XCLIENT attribute name: IDENT", 0, 0, NULL },
    { XATTR_XFORWARD, "SOURCE=local", NULL, XATTR_SOURCE, XATTR_GIVEN, "local" },
    { XATTR_XFORWARD, "SOURCE=x", "501 5.5.4 Bad SOURCE syntax: x", 0, 0, NULL },
    { XATTR_XFORWARD, "SOURCE=[unavailable]", NULL, XATTR_SOURCE, XATTR_UNAVAILABLE, "" },
    { XATTR_XFORWARD, "NAME=a;b", "501 5.5.4 Bad NAME syntax: a?b", 0, 0, NULL },
    { XATTR_XFORWARD, "NAME=[TEMPUNAVAIL]", "501 5.5.4 Bad NAME syntax: [TEMPUNAVAIL]", 0, 0,
      NULL },
    { XATTR_XCLIENT, "NAME", "501 5.5.4 Error: attribute=value expected", 0, 0, NULL },
    { XATTR_XCLIENT, "NAME=", "501 5.5.4 Error: attribute=value expected", 0, 0, NULL },
    { XATTR_XCLIENT, "=x", "501 5.5.4 Bad XCLIENT attribute name: ", 0, 0, NULL },
    { XATTR_XCLIENT, "FOO=x", "501 5.5.4 Bad XCLIENT attribute name: FOO", 0, 0, NULL },
    { XATTR_XCLIENT, "HELO=" TOO_LONG, "501 5.5.4 Error: attribute value too long", 0, 0, NULL },
    { XATTR_XCLIENT, "FOO=" TOO_LONG, "501 5.5.4 Error: attribute value too long", 0, 0, NULL },
};

TEST(words)
{
    struct arena a = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct xattr_value v = { 0 };
        const char *reply = xattr_parse(rows[i].cmd, sl_z(rows[i].word), &a, &v);

        TEST_ROW("%.60s", rows[i].word);
        CHECK_EQ_STR(reply ? reply : "", rows[i].reply ? rows[i].reply : "");
        if (reply == NULL && rows[i].reply == NULL) {
            CHECK_EQ_INT(v.attr, rows[i].attr);
            CHECK_EQ_INT(v.status, rows[i].status);
            CHECK(sl_eqz(v.value, rows[i].value));
        }
    }
    arena_free(&a);
}

TEST(full_arena_is_a_temporary_failure)
{
    struct arena a = { .cap = 1 };
    struct xattr_value v;
    const char *reply = xattr_parse(XATTR_XCLIENT, SL("NAME=a.example.com"), &a, &v);

    NEED(reply != NULL);
    CHECK(strncmp(reply, "451 ", 4) == 0);
    arena_free(&a);
}
TEST_MAIN()
