/* smtpd/restrict_names_test.c - what `postern check` finds in restriction lists. */
#include "smtpd/restrict.h"

#include "base/mem.h"
#include "base/test.h"

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
