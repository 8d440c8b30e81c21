/* smtpd/domlist_test.c - lists of domains and networks, and what `postern check` finds in restriction lists. */
#include "smtpd/domlist.h"

#include "base/mem.h"
#include "base/test.h"
#include "smtpd/restrict.h"

#include <stdlib.h>

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

static const char *const nets[] = { "!127.0.0.9", "127.0.0.0/8", "[::ffff:10.0.0.0]/104",
                                    "[::1]/128", "192.0.2.7" };
static const struct {
    const char *ip;
    bool want;
} hosts[] = {
    { "127.0.0.1", true }, { "127.0.0.9", false }, { "10.1.2.3", true },   { "::1", true },
    { "::2", false },      { "192.0.2.7", true },  { "192.0.2.8", false }, { "2001:db8::1", false },
};

TEST(networks)
{
    struct netlist l;
    struct err e = { 0 };
    const char *bad[] = { "127.0.0.0/33" };

    NEED(netlist_init(&l, "mynetworks", (struct conf_list){ nets, COUNT_OF(nets) }, &e) == 0);
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        struct addr a;

        TEST_ROW("%s", hosts[i].ip);
        CHECK(addr_parse_ip(sl_z(hosts[i].ip), 0, &a) == 0);
        CHECK_EQ_INT(netlist_match(&l, &a), hosts[i].want);
    }
    netlist_free(&l);
    CHECK(netlist_init(&l, "mynetworks", (struct conf_list){ bad, 1 }, &e) == -1 &&
          e.kind == ERR_CONFIG);
}

static const struct {
    const char *text;
    size_t errors;
} confs[] = {
    { "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination", 0 },
    { "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destinations",
      2 }, /* and nothing stops relaying */
    { "smtpd_recipient_restrictions = permit_mynetworks", 1 },
    { "smtpd_relay_restrictions = reject\nsmtpd_helo_restrictions = nonsense", 1 },
    { "myhostname = a.b", 0 }, /* the default is safe */
};

TEST(restriction_lists_are_checked)
{
    for (size_t i = 0; i < COUNT_OF(confs); i++) {
        struct conf_problems parse = { 0 }, ps = { 0 };
        struct conf *c = conf_parse(sl_z(confs[i].text), "main.cf", &parse);

        TEST_ROW("%s", confs[i].text);
        NEED(c != NULL);
        restrict_check_conf(c, NULL, &ps);
        CHECK_EQ_INT(ps.errors, confs[i].errors);
        conf_problems_free(&ps);
        conf_problems_free(&parse);
        conf_unref(&c);
    }
}

TEST_MAIN()
