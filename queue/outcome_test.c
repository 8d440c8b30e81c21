/* queue/outcome_test.c - times as they stand in the log's delay= and delays=. Wants: Postfix's, as its log had them or its
 * rule (two significant digits, no zeros at the end) makes them. */
#include "queue/qmgr_int.h"

#include "base/test.h"

struct qmgr qm; /* what the log line would be made of */

const char *
qmgr_ident(const char *what)
{
    return what;
}

TEST(seconds)
{
    static const struct {
        int64_t us;
        const char *want;
    } t[] = {
        { -5, "0" },          { 0, "0" },
        { 4999, "0" },        { 5000, "0.01" },
        { 12300, "0.01" },    { 70000, "0.07" },
        { 100000, "0.1" },    { 104999, "0.1" },
        { 123456, "0.12" },   { 994999, "0.99" },
        { 995000, "1" },      { 1000000, "1" },
        { 1049999, "1" },     { 1050000, "1.1" },
        { 2540000, "2.5" },   { 9949999, "9.9" },
        { 9950000, "10" },    { 10400000, "10" },
        { 10500000, "11" },   { 99500000, "100" },
        { 100000000, "100" }, { 86400000000LL, "86400" },
    };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char out[OUTCOME_SECONDS_OCTETS];

        TEST_ROW("%lld us", (long long)t[i].us);
        CHECK_EQ_STR(outcome_seconds(t[i].us, out), t[i].want);
    }
}

TEST_MAIN()
