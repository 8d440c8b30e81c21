/* session/domlist_test.c - lists of domains, and what `postern check` finds in restriction lists. */
#include "session/domlist.h"

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
