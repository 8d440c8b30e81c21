/* conf/foreign_test.c - what is said of names that are no parameters of ours. */
#include "base/test.h"
#include "conf/conf.h"

#include <string.h>

static void
expect(const char *text, size_t n, const char *const *want)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "main.cf", &ps);

    CHECK(c != NULL);
    CHECK_EQ_INT(ps.n, n);
    for (size_t i = 0; i < ps.n && i < n; i++) {
        CHECK(!ps.v[i].is_error);
        CHECK(strstr(ps.v[i].text, want[i]) == ps.v[i].text);
    }
    conf_unref(&c);
    conf_problems_free(&ps);
}

TEST(one_warning_for_a_group)
{
    expect("smtpd_milters = inet:x:1\nsmtpd_banner = $myhostname\nmilter_protocol = 6\n", 1,
           (const char *[]){ "smtpd_milters, milter_protocol (line 3): milters are not" });
    expect("postscreen_greet_action = enforce\npostscreen_dnsbl_sites = a.example\n", 1,
           (const char *[]){
               "postscreen_greet_action, postscreen_dnsbl_sites (line 2): there is no" });
    expect("relocated_maps = regexp:/x\n", 1, (const char *[]){ "relocated_maps: not supported" });
}

TEST(what_another_name_uses_is_told_too)
{
    expect("smtpd_milters = inet:127.0.0.1:1\nnon_smtpd_milters = $smtpd_milters\n", 1,
           (const char *[]){ "smtpd_milters, non_smtpd_milters (line 2): milters are not" });
}

TEST(what_does_nothing_is_not_told)
{
    expect("smtpd_milters =\nsoft_bounce = no\ndelay_warning_time = 0h\n", 0, NULL);
    expect("soft_bounce = yes\n", 1, (const char *[]){ "soft_bounce: not supported" });
    expect("max_use = 100\nin_flow_delay = 1s\n", 0, NULL); /* CONF_NOOP */
}

TEST(names_of_services)
{
    expect("policyd-spf_time_limit = 3600\n", 1,
           (const char *[]){ "policyd-spf_time_limit: master.cf is not read" });
    expect("smtp-amavis_destination_concurrency_limit = 2\n", 1,
           (const char *[]){
               "smtp-amavis_destination_concurrency_limit: there is no such transport" });
}

TEST(the_rest)
{
    expect("smtpd_bannner = x\nmua_client_restrictions = reject\n", 2,
           (const char *[]){ "unused parameter: smtpd_bannner: Postern has none",
                             "unused parameter: mua_client_restrictions: nothing" });
    expect("mua_client_restrictions = reject\n"
           "submission_client_restrictions = $mua_client_restrictions\n",
           0, NULL);
}

TEST_MAIN()
