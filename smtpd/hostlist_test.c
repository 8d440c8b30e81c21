/* smtpd/hostlist_test.c - lists of clients by address or name. */
#include "smtpd/hostlist.h"

#include "base/mem.h"
#include "base/test.h"

static const char *const items[] = { "!192.0.2.7",      "192.0.2.0/24", "[2001:db8::]/32",
                                     "!no.example.org", ".example.org", "mail.example.com",
                                     "unknown" };

static const struct {
    const char *name, *ip;
    bool want;
} clients[] = {
    { "unknown", "192.0.2.1", true },
    { "unknown", "192.0.2.7", false },
    { "unknown", "198.51.100.1", false },
    { "x.test", "2001:db8::5", true },
    { "mail.example.com", "10.0.0.1", true },
    { "MAIL.example.com", "10.0.0.1", true },
    { "a.mail.example.com", "10.0.0.1", false },
    { "a.example.org", "10.0.0.1", true },
    { "no.example.org", "10.0.0.1", false },
    { "example.org", "10.0.0.1", false },
    { "mail.example.com", "192.0.2.7", false },
    { "xexample.org", "10.0.0.1", false },
};

TEST(clients)
{
    struct hostlist l;
    struct addr a;

    NEED(hostlist_init(&l, "p", (struct conf_list){ items, COUNT_OF(items) }, NULL) == 0);
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        TEST_ROW("%s[%s]", clients[i].name, clients[i].ip);
        NEED(addr_parse_ip(sl_z(clients[i].ip), 0, &a) == 0);
        CHECK_EQ_INT(hostlist_match(&l, clients[i].name, &a), clients[i].want);
    }
    a = (struct addr){ 0 }; /* XCLIENT ADDR=[UNAVAILABLE] */
    CHECK(!hostlist_match(&l, "unknown", &a));
    hostlist_free(&l);
}

TEST(what_is_no_client)
{
    static const char *const bad[] = { "hash:/etc/x", "192.0.2.0/33", "..", "!", "a b" };

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct hostlist l;
        struct err e = { 0 };

        TEST_ROW("%s", bad[i]);
        CHECK_EQ_INT(hostlist_init(&l, "p", (struct conf_list){ &bad[i], 1 }, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_CONFIG);
    }
}
TEST_MAIN()
