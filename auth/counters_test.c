/* The anvil's counters and the cookie jar, which share a clock that the caller gives. */
#include "auth/anvil.h"
#include "auth/cookie.h"

#include "base/mem.h"
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

static struct cookie_jar *jar;

static void
make(const char *user, uint64_t now_ms, char out[COOKIE_HEX_DIGITS + 1])
{
    cookie_make(jar,
                &(struct cookie_grant){ .user = sl_z(user),
                                        .master = SL("admin"),
                                        .service = SL("imap"),
                                        .session = SL("sid/1") },
                now_ms, out);
}

/* The user, or "-" and "?" for unknown and astray; until the next call. */
static const char *
redeem(const char *cookie, const char *service, const char *session, uint64_t now_ms)
{
    static char user[64];
    struct cookie_grant g;
    struct buf mem = { 0 };

    switch (cookie_redeem(jar, sl_z(cookie), sl_z(service), sl_z(session), now_ms, &mem, &g)) {
    case COOKIE_GOOD:
        CHECK(sl_eqz(g.master, "admin"));
        CHECK(sl_eqz(g.service, "imap"));
        CHECK(sl_eqz(g.session, "sid/1"));
        snprintf(user, sizeof user, "%.*s", SL_ARG(g.user));
        break;
    case COOKIE_UNKNOWN:
        snprintf(user, sizeof user, "-");
        break;
    case COOKIE_ASTRAY:
        snprintf(user, sizeof user, "?");
        break;
    }
    buf_free(&mem);
    return user;
}

TEST(a_cookie_is_good_once_and_for_a_while)
{
    char one[COOKIE_HEX_DIGITS + 1], two[COOKIE_HEX_DIGITS + 1];

    jar = cookie_jar_new();
    make("a@example.com", 1000, one);
    make("b@example.com", 2000, two);
    CHECK_EQ_INT(strlen(one), COOKIE_HEX_DIGITS);
    CHECK(strcmp(one, two) != 0);
    CHECK_EQ_STR(redeem(one, "imap", "sid/1", 3000), "a@example.com");
    CHECK_EQ_STR(redeem(one, "imap", "sid/1", 3000), "-");
    CHECK_EQ_STR(redeem(two, "imap", "sid/1", 2000 + COOKIE_TTL_MS), "-");
    CHECK_EQ_STR(redeem("", "imap", "sid/1", 3000), "-");
    CHECK_EQ_INT(cookie_count(jar), 0);
    cookie_jar_free(&jar);
}

TEST(a_cookie_is_of_one_service_and_session)
{
    static const char *const wrong[][2] = { { "pop3", "sid/1" }, { "imap", "sid/2" },
                                            { "imap", "" },      { "", "sid/1" },
                                            { "IMAP", "sid/1" }, { "imap", "sid/1 " } };
    char cookie[COOKIE_HEX_DIGITS + 1];

    jar = cookie_jar_new();
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        TEST_ROW("%s %s", wrong[i][0], wrong[i][1]);
        make("a@example.com", 1000, cookie);
        CHECK_EQ_STR(redeem(cookie, wrong[i][0], wrong[i][1], 2000), "?");
        CHECK_EQ_STR(redeem(cookie, "imap", "sid/1", 2000), "-"); /* and void afterwards */
    }
    CHECK_EQ_INT(cookie_count(jar), 0);
    cookie_jar_free(&jar);
}

TEST(a_full_jar_drops_the_oldest)
{
    char first[COOKIE_HEX_DIGITS + 1], other[COOKIE_HEX_DIGITS + 1];

    jar = cookie_jar_new();
    make("first", 0, first);
    for (int i = 0; i < COOKIES_MAX; i++)
        make("other", 1, other);
    CHECK_EQ_INT(cookie_count(jar), COOKIES_MAX);
    CHECK_EQ_STR(redeem(first, "imap", "sid/1", 2), "-");
    CHECK_EQ_STR(redeem(other, "imap", "sid/1", 2), "other");
    cookie_jar_free(&jar);
}

TEST_MAIN()
