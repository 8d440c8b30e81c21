/* What failures cost: delays, places, waiting, and who is left in peace. */
#include "auth/penalty.h"

#include "base/buf.h"
#include "base/test.h"

enum { BASE_MS = 700 };

static struct addr addrs[256];

static struct penalty_who
who(const char *ip, const char *user)
{
    static unsigned at;
    struct addr *a = &addrs[at++ % 256];

    if (addr_parse_ip(sl_z(ip), 0, a) < 0)
        a->len = 0;
    return (struct penalty_who){ .remote = a, .user = sl_z(user) };
}

static struct penalty *
fresh(void)
{
    struct penalty *p = penalty_new();

    penalty_set_delay(p, BASE_MS);
    return p;
}

static uint64_t
fail(struct penalty *p, const char *ip, const char *user, const char *password, uint64_t now_ms)
{
    struct penalty_who w = who(ip, user);

    return penalty_failed(p, &w, sl_z(password), now_ms);
}

static struct penalty_verdict
ask(struct penalty *p, const char *ip, const char *user, uint64_t now_ms)
{
    struct penalty_who w = who(ip, user);

    return penalty_ask(p, &w, now_ms);
}

static uint64_t
delay(struct penalty *p, const char *ip, const char *user, uint64_t now_ms)
{
    struct penalty_who w = who(ip, user);

    return penalty_delay_ms(p, &w, now_ms);
}

static void
succeed(struct penalty *p, const char *ip, const char *user, uint64_t now_ms)
{
    struct penalty_who w = who(ip, user);

    penalty_succeeded(p, &w, now_ms);
}

TEST(failures_double_the_delay_up_to_a_bound)
{
    static const uint64_t want[] = { BASE_MS,     2 * BASE_MS, 4 * BASE_MS,
                                     8 * BASE_MS, 8 * BASE_MS, 8 * BASE_MS };
    struct penalty *p = fresh();
    char password[16];

    for (unsigned i = 0; i < sizeof want / sizeof *want; i++) {
        snprintf(password, sizeof password, "guess %u", i);
        CHECK_EQ_INT(fail(p, "192.0.2.1", "u@example.com", password, 1000), want[i]);
    }
    penalty_free(&p);
}

TEST(whom_a_failure_counts_against)
{
    static const struct {
        const char *ip, *user;
        uint64_t want;
    } t[] = {
        { "192.0.2.1", "u@example.com", 2 * BASE_MS },       /* the same */
        { "192.0.2.200", "other@example.com", 2 * BASE_MS }, /* its network */
        { "203.0.113.9", "u@example.com", 2 * BASE_MS },     /* the user, from anywhere */
        { "203.0.113.9", "other@example.com", BASE_MS },
        { "192.0.3.1", "other@example.com", BASE_MS },
        { "2001:db8::1", "other@example.com", BASE_MS },
    };
    struct penalty *p = fresh();

    fail(p, "192.0.2.1", "u@example.com", "x", 1000);
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        TEST_ROW("%s %s", t[i].ip, t[i].user);
        CHECK_EQ_INT(delay(p, t[i].ip, t[i].user, 1000), t[i].want);
    }
    penalty_free(&p);
}

TEST(an_ipv6_network_is_one)
{
    struct penalty *p = fresh();

    fail(p, "2001:db8:1:100::1", "u", "x", 1000);
    CHECK_EQ_INT(delay(p, "2001:db8:1:1ff::2", "v", 1000), 2 * BASE_MS);
    CHECK_EQ_INT(delay(p, "2001:db8:1:200::1", "v", 1000), BASE_MS);
    penalty_free(&p);
}

/* 127.0.0.1 is everybody behind a webmail. */
TEST(webmail_is_counted_by_user)
{
    struct penalty *p = fresh();
    struct penalty_who a = who("127.0.0.1", "a"), b = who("127.0.0.1", "b");

    a.is_by_user = b.is_by_user = true;
    for (unsigned i = 0; i < 2 * PENALTY_PLACES; i++)
        penalty_failed(p, &a, sl_n("abcdefghijklmnopqrstuvwxyz" + i, 1), 1000);
    CHECK_EQ_INT(penalty_delay_ms(p, &a, 1000), 8 * BASE_MS);
    CHECK_EQ_INT(penalty_ask(p, &a, 1000).rank, PENALTY_SUSPECT);
    CHECK(penalty_ask(p, &a, 1000).wait_ms > 0);
    CHECK_EQ_INT(penalty_delay_ms(p, &b, 1000), BASE_MS);
    CHECK_EQ_INT(penalty_ask(p, &b, 1000).rank, PENALTY_CLEAN);
    CHECK_EQ_INT(penalty_ask(p, &b, 1000).wait_ms, 0);
    penalty_free(&p);
}

TEST(one_old_password_is_no_attack)
{
    struct penalty *p = fresh();

    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "last year's", 1000 + i * 10000), BASE_MS);
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "another", 1000000),
                 BASE_MS); /* the first is forgotten */
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "a third", 1000000), 2 * BASE_MS);
    CHECK_EQ_INT(fail(p, "192.0.2.1", "v", "a third", 1000000), 4 * BASE_MS); /* of another user */
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "", 1000000), 8 * BASE_MS); /* nothing to tell it by */
    penalty_free(&p);
}

TEST(forgotten_in_time)
{
    static const struct {
        uint64_t after_ms, want;
    } t[] = {
        { 15 * BASE_MS - 1, 8 * BASE_MS }, { 15 * BASE_MS, 8 * BASE_MS },
        { 30 * BASE_MS, 4 * BASE_MS },     { 45 * BASE_MS, 2 * BASE_MS },
        { 60 * BASE_MS, BASE_MS },         { 10000000, BASE_MS },
    };
    char password[2] = "a";

    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        struct penalty *p = fresh();

        TEST_ROW("%llu", (unsigned long long)t[i].after_ms);
        for (; password[0] < 'e'; password[0]++)
            fail(p, "192.0.2.1", "u", password, 5000);
        password[0] = 'a';
        CHECK_EQ_INT(delay(p, "192.0.2.1", "u", 5000 + t[i].after_ms), t[i].want);
        penalty_free(&p);
    }
}

/* However long it went on. */
TEST(forgotten_after_an_attack)
{
    struct penalty *p = fresh();
    char password[16];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(password, sizeof password, "%u", i);
        fail(p, "192.0.2.1", "u", password, 1000);
    }
    CHECK_EQ_INT(delay(p, "192.0.2.1", "u", 1000 + PENALTY_SCORE_MAX * 30000), BASE_MS);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "v", 1000 + PENALTY_SCORE_MAX * 30000).rank, PENALTY_CLEAN);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "v", 1000 + PENALTY_SCORE_MAX * 30000).wait_ms, 0);
    penalty_free(&p);
}

/* Whatever an attacker does, nobody waits longer than the bound, and others not at all. */
TEST(places_and_waiting)
{
    struct penalty *p = fresh();
    struct penalty_who w = who("192.0.2.9", "w");
    char password[16];

    for (unsigned i = 0; i < PENALTY_PLACES; i++) {
        TEST_ROW("%u", i);
        CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).wait_ms, 0);
        snprintf(password, sizeof password, "%u", i);
        CHECK(fail(p, "192.0.2.1", "u", password, 1000) >= BASE_MS);
    }
    /* All places are taken, the first until 1000 + BASE_MS. */
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).wait_ms, BASE_MS);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1200).wait_ms, 500);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 3000).wait_ms, 0);
    CHECK_EQ_INT(ask(p, "198.51.100.1", "u", 1000).wait_ms, 0); /* the user, from elsewhere */
    CHECK_EQ_INT(ask(p, "198.51.100.1", "u", 1000).rank, PENALTY_CLEAN);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(password, sizeof password, "more %u", i);
        /* it has waited: it is not held for the longest time as well */
        uint64_t late = fail(p, "192.0.2.1", "u", password, 1001 + i);

        CHECK(late == BASE_MS || late == 8 * BASE_MS);
        CHECK(ask(p, "192.0.2.1", "u", 1001 + i).wait_ms <= PENALTY_WAIT_MAX_MS);
    }
    CHECK(!ask(p, "192.0.2.1", "u", 1500).is_refused);
    for (unsigned i = 0; i < PENALTY_WAITING_MAX; i++)
        penalty_waits(p, &w, 1);
    CHECK(ask(p, "192.0.2.1", "u", 1500).is_refused);
    penalty_waits(p, &w, -1);
    CHECK(!ask(p, "192.0.2.1", "u", 1500).is_refused);
    penalty_free(&p);
}

TEST(who_has_been_here_before_waits_for_nothing)
{
    struct penalty *p = fresh();
    char password[16];

    succeed(p, "192.0.2.1", "u", 500);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(password, sizeof password, "%u", i);
        fail(p, "192.0.2.7", "v", password, 1000);
    }
    CHECK_EQ_INT(ask(p, "192.0.2.1", "v", 1000).rank, PENALTY_SUSPECT);
    CHECK(ask(p, "192.0.2.1", "v", 1000).wait_ms > 0);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).rank, PENALTY_KNOWN);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).wait_ms, 0);
    /* ... unless the neighbours guess this user's password; and then where he was before, himself */
    for (unsigned i = 0; i < PENALTY_KNOWN_FAILURES; i++) {
        CHECK_EQ_INT(ask(p, "192.0.2.2", "u", 1000).rank, PENALTY_KNOWN);
        snprintf(password, sizeof password, "u %u", i);
        fail(p, "192.0.2.7", "u", password, 1000);
    }
    CHECK_EQ_INT(ask(p, "192.0.2.2", "u", 1000).rank, PENALTY_SUSPECT);
    CHECK(ask(p, "192.0.2.2", "u", 1000).wait_ms <= PENALTY_WAIT_MAX_MS);
    CHECK_EQ_INT(ask(p, "192.0.2.7", "u", 1000).rank, PENALTY_SUSPECT);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).rank, PENALTY_KNOWN);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).wait_ms, 0);
    for (unsigned i = 0; i < PENALTY_KNOWN_FAILURES; i++) {
        snprintf(password, sizeof password, "u! %u", i);
        fail(p, "192.0.2.1", "u", password, 1000);
    }
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).rank, PENALTY_SUSPECT);
    /* it is forgotten, and the log-in stays known */
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000 + 10 * 30000).rank, PENALTY_KNOWN);
    penalty_free(&p);
}

/* In IPv6 a host has many addresses. */
TEST(a_host_is_known_in_a_network_that_guesses)
{
    struct penalty *p = fresh();
    char password[16];

    succeed(p, "2001:db8:0:1::1", "u", 500);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(password, sizeof password, "%u", i);
        fail(p, "2001:db8:0:2::1", "u", password, 1000);
    }
    CHECK_EQ_INT(ask(p, "2001:db8:0:1:2:3:4:5", "u", 1000).rank, PENALTY_KNOWN);
    CHECK_EQ_INT(ask(p, "2001:db8:0:3::1", "u", 1000).rank, PENALTY_SUSPECT);
    penalty_free(&p);
}

/* Who mistyped has paid when the right one came; who guesses others' passwords has not. */
TEST(success_takes_ones_own_failures_back)
{
    struct penalty *p = fresh();

    fail(p, "192.0.2.1", "u", "a", 1000);
    fail(p, "192.0.2.1", "u", "b", 1000);
    succeed(p, "192.0.2.1", "u", 1000);
    CHECK_EQ_INT(delay(p, "192.0.2.1", "u", 1000), BASE_MS);
    CHECK_EQ_INT(ask(p, "192.0.2.1", "x", 1000).rank, PENALTY_CLEAN);
    fail(p, "192.0.2.1", "v", "a", 1000);
    fail(p, "192.0.2.1", "v", "b", 1000);
    succeed(p, "192.0.2.1", "u", 1000);
    CHECK_EQ_INT(delay(p, "192.0.2.1", "u", 1000), 4 * BASE_MS);
    CHECK_EQ_INT(delay(p, "203.0.113.1", "v", 1000), 4 * BASE_MS);
    penalty_free(&p);
}

TEST(no_delay_at_all)
{
    struct penalty *p = fresh();
    char password[16];

    penalty_set_delay(p, 0);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(password, sizeof password, "%u", i);
        CHECK_EQ_INT(fail(p, "192.0.2.1", "u", password, 1000), 0);
        CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).wait_ms, 0);
    }
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000).rank, PENALTY_SUSPECT); /* for the hashes' turns */
    CHECK_EQ_INT(ask(p, "192.0.2.1", "u", 1000 + PENALTY_SCORE_MAX * PENALTY_FORGET_MS).rank,
                 PENALTY_CLEAN);
    penalty_free(&p);
}

/* A delay of a minute is not doubled. */
TEST(long_delays)
{
    struct penalty *p = fresh();

    penalty_set_delay(p, 60000);
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "a", 1000), 60000);
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "b", 1000), 60000);
    penalty_set_delay(p, 4000);
    CHECK_EQ_INT(fail(p, "192.0.2.1", "u", "c", 1000), PENALTY_LATE_MAX_MS);
    penalty_free(&p);
}

TEST(the_tables_are_bounded)
{
    struct penalty *p = fresh();
    char ip[64], user[32];

    succeed(p, "198.51.100.1", "mine", 1000);
    for (unsigned i = 0; i < PENALTY_RECORDS_MAX + 1000; i++) {
        snprintf(ip, sizeof ip, "10.%u.%u.1", i / 256 % 256, i % 256);
        snprintf(user, sizeof user, "u%u", i);
        fail(p, ip, user, "x", 1000);
    }
    CHECK(penalty_size(p) <= 4 * PENALTY_RECORDS_MAX + 2);
    CHECK_EQ_INT(delay(p, ip, "nobody", 1000),
                 2 * BASE_MS); /* the last is there, the first is not */
    CHECK_EQ_INT(delay(p, "10.0.0.1", "nobody", 1000), BASE_MS);
    CHECK_EQ_INT(ask(p, "198.51.100.1", "mine", 1000).rank, PENALTY_KNOWN);
    penalty_free(&p);
}

TEST(names_of_any_length)
{
    struct penalty *p = fresh();
    struct buf name = { 0 };
    struct penalty_who w = who("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "");

    for (unsigned i = 0; i < 100; i++)
        buf_addz(&name, "0123456789");
    w.user = buf_slice(&name);
    CHECK_EQ_INT(penalty_failed(p, &w, SL("x"), 1000), BASE_MS);
    CHECK_EQ_INT(penalty_failed(p, &w, SL("y"), 1000), 2 * BASE_MS);
    w.is_by_user = true;
    CHECK_EQ_INT(penalty_failed(p, &w, SL("z"), 1000), 4 * BASE_MS);
    w.user = sl_n(NULL, 0);
    CHECK_EQ_INT(penalty_failed(p, &w, SL("z"), 1000), BASE_MS);
    penalty_free(&p);
    buf_free(&name);
}

TEST_MAIN()
