/* The anvil's counters and the cookie jar, which share a clock that the caller gives. */
#include "auth/anvil.h"
#include "auth/cookie.h"

#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>

TEST(rates_begin_anew_after_a_unit)
{
    struct anvil *a = anvil_new(60000);
    struct anvil_counts n;

    CHECK(anvil_count(a, SL("smtp:1.2.3.4"), ANVIL_EV_CONNECT, 1000, &n));
    CHECK(anvil_count(a, SL("smtp:1.2.3.4"), ANVIL_EV_CONNECT, 2000, &n));
    CHECK_EQ_INT(n.connections, 2);
    CHECK_EQ_INT(n.rates[ANVIL_EV_CONNECT], 2);
    anvil_disconnect(a, SL("smtp:1.2.3.4"));
    anvil_peek(a, SL("smtp:1.2.3.4"), 61000, &n);
    CHECK_EQ_INT(n.connections, 1);
    CHECK_EQ_INT(n.rates[ANVIL_EV_CONNECT], 2);
    CHECK(anvil_count(a, SL("smtp:1.2.3.4"), ANVIL_EV_MESSAGE, 61001, &n));
    CHECK_EQ_INT(n.connections, 1);
    CHECK_EQ_INT(n.rates[ANVIL_EV_CONNECT], 0);
    CHECK_EQ_INT(n.rates[ANVIL_EV_MESSAGE], 1);
    anvil_peek(a, SL("smtp:9.9.9.9"), 61001, &n);
    CHECK_EQ_INT(n.connections, 0);
    anvil_free(&a);
}

TEST(a_sweep_forgets_the_idle_only)
{
    struct anvil *a = anvil_new(1000);
    struct anvil_counts n;

    anvil_count(a, SL("gone"), ANVIL_EV_AUTH, 0, &n);
    anvil_count(a, SL("here"), ANVIL_EV_CONNECT, 0, &n);
    anvil_count(a, SL("late"), ANVIL_EV_AUTH, 900, &n);
    anvil_sweep(a, 1500);
    CHECK_EQ_INT(anvil_size(a), 2);
    anvil_disconnect(a, SL("here"));
    anvil_sweep(a, 3000);
    CHECK_EQ_INT(anvil_size(a), 0);
    anvil_disconnect(a, SL("here")); /* of nobody: nothing */
    anvil_free(&a);
}

TEST(the_table_is_bounded)
{
    struct anvil *a = anvil_new(60000);
    struct anvil_counts n;
    char ident[32];

    for (unsigned i = 0; i < ANVIL_ENTRIES_MAX; i++) {
        int len = snprintf(ident, sizeof ident, "smtp:%u", i);

        if (!anvil_count(a, sl_n(ident, (size_t)len), ANVIL_EV_CONNECT, 0, &n))
            FAIL("full at %u", i);
    }
    CHECK(!anvil_count(a, SL("one more"), ANVIL_EV_AUTH, 0, &n));
    CHECK(anvil_count(a, SL("smtp:5"), ANVIL_EV_AUTH, 0, &n)); /* who is in stays in */
    anvil_free(&a);
}

/* Whoever has a great many addresses takes the limits from nobody. */
TEST(a_full_table_forgets_who_did_little)
{
    struct anvil *a = anvil_new(60000);
    struct anvil_counts n;
    char ident[32];

    anvil_count(a, SL("connected"), ANVIL_EV_CONNECT, 0, &n);
    for (int i = 0; i < 100; i++)
        anvil_count(a, SL("guesser"), ANVIL_EV_AUTH, 0, &n);
    for (unsigned i = 0; i < 2 * ANVIL_ENTRIES_MAX; i++) {
        int len = snprintf(ident, sizeof ident, "smtp:%u", i);

        if (!anvil_count(a, sl_n(ident, (size_t)len), ANVIL_EV_AUTH, 1, &n))
            FAIL("not counted: %u", i);
    }
    CHECK_EQ_INT(anvil_size(a), ANVIL_ENTRIES_MAX);
    anvil_peek(a, SL("connected"), 1, &n);
    CHECK_EQ_INT(n.connections, 1);
    anvil_peek(a, SL("guesser"), 1, &n);
    CHECK_EQ_INT(n.rates[ANVIL_EV_AUTH], 100);
    anvil_free(&a);
}

TEST(a_cookie_is_good_once_and_for_a_while)
{
    struct cookie_jar *j = cookie_jar_new();
    char one[COOKIE_HEX_DIGITS + 1], two[COOKIE_HEX_DIGITS + 1];
    char *user;

    cookie_make(j, SL("a@example.com"), 1000, one);
    cookie_make(j, SL("b@example.com"), 2000, two);
    CHECK_EQ_INT(strlen(one), COOKIE_HEX_DIGITS);
    CHECK(strcmp(one, two) != 0);
    user = cookie_redeem(j, sl_z(one), 3000);
    CHECK_EQ_STR(user, "a@example.com");
    free(user);
    CHECK(cookie_redeem(j, sl_z(one), 3000) == NULL);
    CHECK(cookie_redeem(j, sl_z(two), 2000 + COOKIE_TTL_MS) == NULL);
    CHECK(cookie_redeem(j, SL(""), 3000) == NULL);
    CHECK_EQ_INT(cookie_count(j), 0);
    cookie_jar_free(&j);
}

TEST(a_full_jar_drops_the_oldest)
{
    struct cookie_jar *j = cookie_jar_new();
    char first[COOKIE_HEX_DIGITS + 1], other[COOKIE_HEX_DIGITS + 1];
    char *user;

    cookie_make(j, SL("first"), 0, first);
    for (int i = 0; i < COOKIES_MAX; i++)
        cookie_make(j, SL("other"), 1, other);
    CHECK_EQ_INT(cookie_count(j), COOKIES_MAX);
    CHECK(cookie_redeem(j, sl_z(first), 2) == NULL);
    user = cookie_redeem(j, sl_z(other), 2);
    CHECK_EQ_STR(user, "other");
    free(user);
    cookie_jar_free(&j);
}

TEST_MAIN()
