#include "session/domlist.h"

#include "base/mem.h"
#include "base/test.h"

static const char *const names[] = { "example.com", "!no.example.org", ".example.org",
                                     "hash:/etc/x" };
static const char *const relays[] = { "example.net" };

static const struct {
    const char *domain;
    enum domlist_rc want;
} domains[] = {
    { "example.com", DOMLIST_YES },   { "EXAMPLE.COM", DOMLIST_YES },
    { "a.example.com", DOMLIST_ASK }, { "a.example.org", DOMLIST_YES },
    { "no.example.org", DOMLIST_NO }, { "example.org", DOMLIST_ASK },
};

TEST(domains)
{
    struct domlist l;

    domlist_init(&l, "mydestination", (struct conf_list){ names, COUNT_OF(names) }, false);
    for (size_t i = 0; i < COUNT_OF(domains); i++) {
        TEST_ROW("%s", domains[i].domain);
        CHECK_EQ_INT(domlist_match(&l, sl_z(domains[i].domain)), domains[i].want);
    }
    domlist_init(&l, "relay_domains", (struct conf_list){ relays, 1 }, true);
    CHECK_EQ_INT(domlist_match(&l, SL("a.example.net")), DOMLIST_YES);
    CHECK_EQ_INT(domlist_match(&l, SL("notexample.net")), DOMLIST_NO);
}

TEST_MAIN()
