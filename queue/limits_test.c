/* queue/limits_test.c - feedback, and what it makes of a destination's concurrency. */
#include "queue/limits.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

struct form_row { /* NOLINT(clang-analyzer-optin.performance.Padding): a row reads in this order */
    const char *in;
    bool is_ok;
    double number;
    int by;
};

TEST(forms_of_feedback)
{
    static const struct form_row rows[] = {
        { "1", true, 1, FEEDBACK_CONSTANT },
        { "0", true, 0, FEEDBACK_CONSTANT },
        { "0.25", true, 0.25, FEEDBACK_CONSTANT },
        { ".5", true, 0.5, FEEDBACK_CONSTANT },
        { "1/8", true, 0.125, FEEDBACK_CONSTANT },
        { "1 / 4", true, 0.25, FEEDBACK_CONSTANT },
        { "1/concurrency", true, 1, FEEDBACK_BY_CONCURRENCY },
        { "0.5 / sqrt_concurrency", true, 0.5, FEEDBACK_BY_SQRT },
        { "2", false, 0, 0 },
        { "", false, 0, 0 },
        { ".", false, 0, 0 },
        { "-1", false, 0, 0 },
        { "1/", true, 1, FEEDBACK_CONSTANT },
        { "1/0", false, 0, 0 },
        { "1/cube", false, 0, 0 },
        { "x/concurrency", false, 0, 0 },
        { "99999999999999999999", false, 0, 0 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct feedback f;

        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(feedback_parse(sl_z(rows[i].in), &f), rows[i].is_ok);
        if (rows[i].is_ok) {
            CHECK(f.number > rows[i].number - 0.001 && f.number < rows[i].number + 0.001);
            CHECK_EQ_INT(f.by, rows[i].by);
        }
    }
}

struct walk_row {
    const char *more, *less;
    unsigned initial, limit, cohorts;
    const char *steps; /* '+' worked, '-' failed */
    const char *want;  /* the concurrency after each; 'X' dead */
};

/* Every delivery that the window allows is under way. */
TEST(windows_follow_what_happens)
{
    static const struct walk_row rows[] = {
        { "1", "1", 5, 20, 1, "+++", "6 7 8" },
        { "1", "1", 5, 7, 1, "++++", "6 7 7 7" },
        { "1", "1", 2, 0, 1, "++", "3 4" },
        { "1/4", "1", 2, 20, 1, "++++++++", "2 2 2 3 3 3 3 4" },
        { "1/concurrency", "1", 2, 20, 1, "++++++", "2 3 3 3 4 4" },
        { "0", "1", 2, 20, 1, "+++", "2 2 2" },
        { "1", "1", 5, 20, 1, "----", "4 3 2 X" },
        { "1", "1", 2, 20, 1, "--", "1 X" },
        { "1", "1", 1, 20, 1, "-", "X" },
        { "1", "1", 1, 20, 3, "---", "1 1 X" },
        { "1", "1", 2, 20, 0, "-----", "1 1 1 1 1" },
        { "1", "1/4", 9, 20, 100, "------", "8 8 8 8 7 7" },
        { "1", "0", 5, 20, 0, "---", "5 5 5" },
        { "1", "1", 5, 20, 1, "--+---", "4 3 4 3 2 X" },
        { "1", "1", 5, 20, 1, "---+-", "4 3 2 3 2" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct limits l = { .concurrency = rows[i].limit,
                            .initial = rows[i].initial,
                            .failed_cohorts = rows[i].cohorts };
        struct window w;
        struct buf got = { 0 };

        TEST_ROW("row %zu", i);
        NEED(feedback_parse(sl_z(rows[i].more), &l.more));
        NEED(feedback_parse(sl_z(rows[i].less), &l.less));
        window_init(&w, &l);
        for (const char *s = rows[i].steps; *s; s++) {
            bool is_dead = false;

            if (*s == '+')
                window_worked(&w, &l, w.n);
            else
                is_dead = window_failed(&w, &l);
            buf_addf(&got, "%s", s == rows[i].steps ? "" : " ");
            if (is_dead)
                buf_addz(&got, "X");
            else
                buf_addf(&got, "%u", w.n);
        }
        CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&got);
    }
}

TEST(a_window_that_is_not_used_does_not_grow)
{
    struct limits l = { .concurrency = 20, .initial = 5, .more = { .number = 1 } };
    struct window w;

    window_init(&w, &l);
    for (int i = 0; i < 10; i++)
        window_worked(&w, &l, 1);
    CHECK_EQ_INT(w.n, 6);
}

TEST(limits_follow_the_defaults)
{
    static const char text[] =
        "myhostname = mx.example\ndefault_destination_concurrency_limit = 7\n"
        "relay_destination_concurrency_limit = 3\ninitial_destination_concurrency = 4\n"
        "default_destination_recipient_limit = 11\nlmtp_destination_recipient_limit = 12\n"
        "relay_destination_rate_delay = 2s\nsmtp_initial_destination_concurrency = 9\n"
        "default_destination_concurrency_failed_cohort_limit = 2\n"
        "default_destination_concurrency_negative_feedback = 1/8\n";
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "test", &ps);
    struct window w;

    NEED(c != NULL);
    limits_reload(c);
    CHECK_EQ_INT(limits_of(LIMITS_SMTP)->concurrency, 7);
    CHECK_EQ_INT(limits_of(LIMITS_RELAY)->concurrency, 1); /* the rate delay */
    CHECK_EQ_INT(limits_of(LIMITS_RELAY)->rate_delay_ms, 2000);
    CHECK_EQ_INT(limits_of(LIMITS_LMTP)->concurrency, 7);
    CHECK_EQ_INT(limits_of(LIMITS_SMTP)->recipients, 11);
    CHECK_EQ_INT(limits_of(LIMITS_LMTP)->recipients, 12);
    CHECK_EQ_INT(limits_of(LIMITS_LMTP)->initial, 4);
    CHECK_EQ_INT(limits_of(LIMITS_RELAY)->failed_cohorts, 2);
    CHECK(limits_of(LIMITS_SMTP)->less.number < 0.126);
    window_init(&w, limits_of(LIMITS_SMTP));
    CHECK_EQ_INT(w.n, 7); /* 9 is more than the limit */
    conf_problems_free(&ps);
    conf_unref(&c);
}

TEST_MAIN()
