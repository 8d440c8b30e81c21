/* smtpd/rbl_reply_test.c - replies that templates make: codes, enhanced codes by what is refused, values of the session;
 * names that lists are asked for. */
#include "smtpd/attr.h"
#include "smtpd/rbl.h"

#include "base/test.h"

TEST(replies)
{
    static const struct {
        const char *reply, *reply_class;
        int64_t code; /* -1: no reply */
        const char *esc, *text;
    } t[] = {
        { "554 Service unavailable; x", CLASS_TEXT_CLIENT, 554, "4.7.1", "Service unavailable; x" },
        { "550 5.7.9 no", CLASS_TEXT_CLIENT, 550, "5.7.9", "no" },
        { "550 5.1.2 no", CLASS_TEXT_CLIENT, 550, "5.0.0", "no" },
        { "550 5.1.2 no", CLASS_TEXT_SENDER, 550, "5.1.8", "no" },
        { "550 5.1.8 no", CLASS_TEXT_RECIPIENT, 550, "5.1.2", "no" },
        { "450 4.7.1", CLASS_TEXT_CLIENT, 450, "4.7.1", "Service unavailable" },
        { "450 ", CLASS_TEXT_CLIENT, 450, "4.7.1", "Service unavailable" },
        { "450 5.7 x", CLASS_TEXT_CLIENT, 450, "4.7.1", "5.7 x" },
        { "450", CLASS_TEXT_CLIENT, -1, NULL, NULL },
        { "250 2.0.0 Ok", CLASS_TEXT_CLIENT, -1, NULL, NULL },
        { "5545 x", CLASS_TEXT_CLIENT, -1, NULL, NULL },
        { "no", CLASS_TEXT_CLIENT, -1, NULL, NULL },
        { "", CLASS_TEXT_CLIENT, -1, NULL, NULL },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        char esc[ACCESS_ESC_OCTETS];
        struct slice text;
        int64_t code = -1;
        int rc = rbl_split_reply(sl_z(t[i].reply), t[i].reply_class, &code, esc, &text);

        TEST_ROW("%s, %s", t[i].reply, t[i].reply_class);
        CHECK_EQ_INT(rc, t[i].code < 0 ? -1 : 0);
        CHECK_EQ_INT(code, t[i].code);
        if (rc < 0)
            continue;
        CHECK_EQ_STR(esc, t[i].esc);
        CHECK_EQ_MEM(text.p, text.n, t[i].text, strlen(t[i].text));
    }
}

TEST(attributes)
{
    static const struct {
        const char *name, *want; /* NULL: there is none */
        bool is_null_sender;
    } t[] = {
        { "client", "mx.remote.test[192.0.2.7]", false },
        { "client_address", "192.0.2.7", false },
        { "client_name", "mx.remote.test", false },
        { "client_port", "4711", false },
        { "reverse_client_name", "rev.remote.test", false },
        { "helo_name", "helo.remote.test", false },
        { "sender", "a@b@c.test", false },
        { "sender_name", "a@b", false },
        { "sender_domain", "c.test", false },
        { "sender", "<>", true },
        { "sender_name", "<>", true },
        { "sender_domain", "", true },
        { "recipient", "", false },
        { "recipient_domain", "", false },
        { "sender_size", NULL, false },
        { "myhostname", NULL, false },
        { "", NULL, false },
    };
    struct smtpd_sess s = { .name = (char *)(uintptr_t) "mx.remote.test",
                            .reverse_name = (char *)(uintptr_t) "rev.remote.test",
                            .namaddr = (char *)(uintptr_t) "mx.remote.test[192.0.2.7]",
                            .port = 4711 };

    addr_parse_ip(SL("192.0.2.7"), 4711, &s.peer);
    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct restrict_subject about = { .helo = "helo.remote.test",
                                          .sender =
                                              t[i].is_null_sender ? SL("") : SL("a@b@c.test") };
        struct buf out = { 0 };
        bool is_there = smtpd_attr(&s, &about, sl_z(t[i].name), &out);

        TEST_ROW("%s", t[i].name);
        CHECK_EQ_INT(is_there, t[i].want != NULL);
        if (t[i].want)
            CHECK_EQ_STR(out.n > 0 ? buf_z(&out) : "", t[i].want);
        buf_free(&out);
    }
}

TEST(names)
{
    static const struct {
        const char *what, *want; /* NULL: nothing to ask */
    } t[] = {
        { "mx.remote.test", "mx.remote.test.rhs.test" },
        { "who@Remote.test", "Remote.test.rhs.test" },
        { "odd@name@c.test", "c.test.rhs.test" },
        { "user", "user.rhs.test" },
        { "who@b\xc3\xbc"
          "cher.test",
          "xn--bcher-kva.test.rhs.test" },
        { "who@\xc3.test", NULL },
        { "user@", NULL },
        { "user@[192.0.2.1]", NULL },
        { "[192.0.2.1]", NULL },
        { "192.0.2.1", NULL },
        { "a.b.4711", NULL },
        { "4711", NULL },
        { "a..b", NULL },
        { "a b", NULL },
        { "", NULL },
    };
    char long_name[300], name[DNS_NAME_OCTETS];
    struct addr a;

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        bool has_one = rbl_name_of_domain(sl_z(t[i].what), SL("rhs.test"), name);

        TEST_ROW("%s", t[i].what);
        CHECK_EQ_INT(has_one, t[i].want != NULL);
        if (has_one && t[i].want)
            CHECK_EQ_STR(name, t[i].want);
    }
    for (size_t i = 0; i < sizeof(long_name); i++)
        long_name[i] = i % 50 == 49 ? '.' : 'x';
    TEST_ROW("a name too long");
    CHECK(rbl_name_of_domain(sl_n(long_name, 240), SL("rhs.test"), name));
    CHECK(!rbl_name_of_domain(sl_n(long_name, 248), SL("rhs.test"), name));
    TEST_ROW("IPv6");
    addr_parse_ip(SL("2001:db8::1"), 0, &a);
    CHECK(rbl_name_of_addr(&a, SL("bl.test"), name));
    CHECK_EQ_STR(name, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.test");
}

TEST_MAIN()
