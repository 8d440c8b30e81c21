/* Per-account limits: windows, the first limit that is exceeded, telling once a day, and what a restart remembers. */
#include "auth/account_rate.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct conf *
limits(const char *text)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "main.cf", &ps);

    conf_problems_free(&ps);
    return c;
}

static struct account_rate *
counters(const char *path, const char *text)
{
    struct account_rate *a = account_rate_new(path);
    struct conf *c = limits(text);

    account_rate_set_limits(a, c);
    conf_unref(&c);
    return a;
}

#define SMALL                                                                                      \
    "submission_account_message_limit_hour = 3\nsubmission_account_message_limit_day = 5\n"        \
    "submission_account_recipient_limit_hour = 10\nsubmission_account_recipient_limit_day = 0\n"

TEST(the_first_limit_exceeded_is_named)
{
    static const struct {
        int64_t at;
        uint64_t rcpts;
        const char *limit; /* NULL: none */
        uint64_t max, count;
        bool tell;
    } rows[] = {
        { 1000, 1, NULL, 0, 0, false },
        { 1001, 1, NULL, 0, 0, false },
        { 4599, 1, NULL, 0, 0, false },
        { 4599, 1, "message_limit_hour", 3, 4, true },
        { 4600, 1, NULL, 0, 0, false }, /* the next hour: the fifth of the day */
        { 4601, 1, "message_limit_day", 5, 6, false },
        { 87400, 11, "recipient_limit_hour", 10, 11, false }, /* told 82801 s ago */
        { 91000, 100, NULL, 0, 0, false },                    /* see the name below */
        { 91001, 1, "message_limit_hour", 3, 4, true },
    };
    struct account_rate *a = counters(":memory:", SMALL);
    struct account_verdict v;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%zu", i);
        if (rows[i].at == 91000) { /* another account has counts of its own; the first goes on */
            CHECK(account_rate_count(a, SL("b@x"), 1, 91000, &v) && v.limit == NULL);
            for (int k = 0; k < 3; k++)
                CHECK(account_rate_count(a, SL("A@x"), 1, 91000, &v) && v.limit == NULL);
            continue;
        }
        CHECK(account_rate_count(a, SL("a@x"), rows[i].rcpts, rows[i].at, &v));
        CHECK_EQ_INT(v.limit != NULL, rows[i].limit != NULL);
        if (v.limit && rows[i].limit) {
            CHECK_EQ_STR(v.limit, rows[i].limit);
            CHECK_EQ_INT(v.max, rows[i].max);
            CHECK_EQ_INT(v.count, rows[i].count);
        }
        CHECK_EQ_INT(v.tell, rows[i].tell);
    }
    account_rate_free(&a);
}

TEST(a_restart_remembers)
{
    char path[] = "/tmp/account_rate_test.XXXXXX", extra[64];
    int fd = mkstemp(path);
    struct account_rate *a;
    struct account_verdict v;

    NEED(fd >= 0);
    close(fd);
    a = counters(path, SMALL);
    for (int i = 0; i < 4; i++)
        CHECK(account_rate_count(a, SL("a@x"), 2, 1000000, &v));
    CHECK(v.limit != NULL && v.tell);
    CHECK(account_rate_count(a, SL("b@x"), 2, 1000000, &v) && v.limit == NULL);
    account_rate_free(&a);
    a = counters(path, SMALL);
    CHECK_EQ_INT(account_rate_size(a), 2);
    CHECK(account_rate_count(a, SL("a@x"), 1, 1000010, &v));
    CHECK(v.limit != NULL && !v.tell);
    CHECK_EQ_INT(v.count, 5);
    account_rate_free(&a);
    unlink(path);
    for (size_t i = 0; i < 2; i++) {
        snprintf(extra, sizeof extra, "%s%s", path, i ? "-wal" : "-shm");
        unlink(extra);
    }
}

TEST(a_clock_set_back_begins_anew)
{
    struct account_rate *a = counters(":memory:", SMALL);
    struct account_verdict v;

    for (int i = 0; i < 4; i++)
        CHECK(account_rate_count(a, SL("a@x"), 1, 1000000, &v));
    CHECK(v.limit != NULL);
    CHECK(account_rate_count(a, SL("a@x"), 1, 900000, &v) && v.limit == NULL);
    account_rate_free(&a);
}

TEST(the_table_is_bounded)
{
    struct account_rate *a = counters("/nonexistent/x.db", SMALL); /* in memory, with a warning */
    struct account_verdict v;
    char name[32];

    for (unsigned i = 0; i < ACCOUNT_RATE_MAX; i++) {
        int n = snprintf(name, sizeof name, "u%u@x", i);

        if (!account_rate_count(a, sl_n(name, (size_t)n), 1, 1000, &v))
            FAIL("full at %u", i);
    }
    CHECK(!account_rate_count(a, SL("more@x"), 1, 1000, &v));
    CHECK(account_rate_count(a, SL("u7@x"), 1, 1000, &v)); /* who is in it still counts */
    account_rate_free(&a);
}

int
main(int argc, char **argv)
{
    loop_init();
    return test_main(argc, argv);
}
