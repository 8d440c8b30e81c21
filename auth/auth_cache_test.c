/* The cache of compared passwords, and the queue behind it. */
#include "auth/auth_cache.h"
#include "auth/hash_queue.h"
#include "base/mem.h"

#include "base/test.h"
#include "core/loop.h"

enum { HOUR_MS = 3600 * 1000 };

static const unsigned char *
key(unsigned n)
{
    static unsigned char k[AUTH_CACHE_KEY_OCTETS];

    memset(k, 0, sizeof k);
    memcpy(k, &n, sizeof n);
    return k;
}

TEST(both_kinds_have_their_time)
{
    struct auth_cache *c = auth_cache_new();

    auth_cache_set(c, 1 << 20, HOUR_MS, HOUR_MS / 2);
    auth_cache_put(c, key(1), true, 1000);
    auth_cache_put(c, key(2), false, 1000);
    CHECK_EQ_INT(auth_cache_get(c, key(3), 1000), -1);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000 + HOUR_MS - 1), 1);
    CHECK_EQ_INT(auth_cache_get(c, key(2), 1000 + HOUR_MS / 2 - 1), 0);
    CHECK_EQ_INT(auth_cache_get(c, key(2), 1000 + HOUR_MS / 2), -1);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000 + HOUR_MS), -1);
    CHECK_EQ_INT(auth_cache_count(c), 0);
    auth_cache_free(&c);
}

TEST(a_time_of_none_keeps_none)
{
    struct auth_cache *c = auth_cache_new();

    auth_cache_put(c, key(1), true, 1000); /* no size was told */
    auth_cache_set(c, 1 << 20, HOUR_MS, 0);
    auth_cache_put(c, key(2), false, 1000);
    CHECK_EQ_INT(auth_cache_count(c), 0);
    auth_cache_put(c, key(2), true, 1000);
    CHECK_EQ_INT(auth_cache_get(c, key(2), 1000), 1);
    auth_cache_set(c, 0, HOUR_MS, HOUR_MS);
    CHECK_EQ_INT(auth_cache_count(c), 0);
    auth_cache_free(&c);
}

TEST(the_longest_unused_goes)
{
    struct auth_cache *c = auth_cache_new();

    auth_cache_set(c, 3 * AUTH_CACHE_ENTRY_OCTETS + 5, HOUR_MS, HOUR_MS);
    for (unsigned i = 1; i <= 3; i++)
        auth_cache_put(c, key(i), true, 1000);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000), 1);
    auth_cache_put(c, key(4), true, 1000);
    CHECK_EQ_INT(auth_cache_count(c), 3);
    CHECK_EQ_INT(auth_cache_get(c, key(2), 1000), -1);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000), 1);
    auth_cache_put(c, key(1), false, 1000); /* it is replaced */
    CHECK_EQ_INT(auth_cache_count(c), 3);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000), 0);
    auth_cache_free(&c);
}

TEST(keys_that_begin_alike)
{
    struct auth_cache *c = auth_cache_new();
    unsigned char other[AUTH_CACHE_KEY_OCTETS];

    auth_cache_set(c, 1 << 20, HOUR_MS, HOUR_MS);
    auth_cache_put(c, key(1), true, 1000);
    memcpy(other, key(1), sizeof other);
    other[AUTH_CACHE_KEY_OCTETS - 1] = 1;
    CHECK_EQ_INT(auth_cache_get(c, other, 1000), -1);
    CHECK_EQ_INT(auth_cache_get(c, key(1), 1000), 1);
    auth_cache_free(&c);
}

/* ---- with the queue ---- */

static unsigned char told[4096]; /* ids in the order of their answers */
static int last_match;
static unsigned n_told;

static void
on_told(uint64_t id, int match, const char *why)
{
    (void)why;
    last_match = match;
    if (n_told < sizeof told)
        told[n_told++] = (unsigned char)id;
}

static struct hash_queue *
queue(uint64_t cache_octets)
{
    struct hash_queue *q = hash_queue_new();

    auth_cache_set(hash_cache(q), cache_octets, HOUR_MS, HOUR_MS);
    n_told = 0;
    return q;
}

static int
check_one(struct hash_queue *q, const struct hash_ask *a)
{
    unsigned before = n_told;

    last_match = -2;
    if (!hash_submit(q, a, on_told, 1))
        return -3;
    CHECK_EQ_INT(n_told, before); /* never from inside the call */
    loop_run();
    return last_match;
}

static struct hash_ask
question(const char *user, const char *stored, const char *password)
{
    return (struct hash_ask){ .source = SL("192.0.2.0/24"),
                              .user = sl_z(user),
                              .stored = sl_z(stored),
                              .password = sl_z(password),
                              .default_scheme = "PLAIN" };
}

/* Whatever of a question is another makes it another question. */
TEST(what_is_known_again)
{
    struct hash_ask a = question("u", "secret", "secret"), b;
    struct hash_queue *q;

    loop_init();
    q = queue(1 << 20);
    CHECK_EQ_INT(check_one(q, &a), 1);
    CHECK_EQ_INT(check_one(q, &a), 1);
    CHECK_EQ_INT(hash_count(q), 1);
    b = question("u", "changed", "secret"); /* the password was changed */
    CHECK_EQ_INT(check_one(q, &b), 0);
    CHECK_EQ_INT(check_one(q, &b), 0);
    CHECK_EQ_INT(hash_count(q), 2);
    b = question("u", "changed", "changed");
    CHECK_EQ_INT(check_one(q, &b), 1);
    b = question("v", "secret", "secret");
    CHECK_EQ_INT(check_one(q, &b), 1);
    CHECK_EQ_INT(hash_count(q), 4);
    b = question("us", "ecret", "secret"); /* the same letters, cut elsewhere */
    CHECK_EQ_INT(check_one(q, &b), 0);
    b = a;
    b.is_dummy = true;
    CHECK_EQ_INT(check_one(q, &b), 0);
    CHECK_EQ_INT(check_one(q, &b), 0);
    b = a;
    b.default_scheme = "SHA512-CRYPT";
    CHECK_EQ_INT(check_one(q, &b), 0);
    CHECK_EQ_INT(hash_count(q), 7);
    b.default_scheme = "NO-SUCH-SCHEME"; /* trouble is not kept */
    CHECK_EQ_INT(check_one(q, &b), -1);
    CHECK_EQ_INT(check_one(q, &b), -1);
    CHECK_EQ_INT(hash_count(q), 9);
    hash_queue_free(&q);
    loop_free();
}

TEST(without_a_cache_all_is_hashed)
{
    struct hash_ask a = question("u", "secret", "secret");
    struct hash_queue *q;

    loop_init();
    q = queue(0);
    CHECK_EQ_INT(check_one(q, &a), 1);
    CHECK_EQ_INT(check_one(q, &a), 1);
    CHECK_EQ_INT(hash_count(q), 2);
    hash_queue_free(&q);
    loop_free();
}

/* Many networks with failures have filled their places; one without comes in, and before them; who is known, first. */
TEST(ranks_take_turns)
{
    struct hash_ask a = question("", "{SHA512-CRYPT}$6$x$", "x");
    struct hash_queue *q;
    char source[32], user[32];
    unsigned suspects = 0, at_clean = 0, at_known = 0;

    loop_init();
    q = queue(0);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(source, sizeof source, "10.0.%u.0/24", i / 10);
        snprintf(user, sizeof user, "user%u", i);
        a.source = sl_z(source);
        a.user = sl_z(user);
        a.rank = PENALTY_SUSPECT;
        suspects += hash_submit(q, &a, on_told, 1);
    }
    CHECK_EQ_INT(suspects, 4 * HASH_SUSPECT_PER_SOURCE_MAX);
    a.source = SL("10.9.9.0/24");
    a.user = SL("user0"); /* one that is under attack */
    a.rank = PENALTY_CLEAN;
    CHECK(hash_submit(q, &a, on_told, 2));
    a.rank = PENALTY_KNOWN;
    a.password = SL("y");
    CHECK(hash_submit(q, &a, on_told, 3));
    loop_run();
    CHECK_EQ_INT(n_told, suspects + 2);
    for (unsigned i = 0; i < n_told; i++) {
        at_clean = told[i] == 2 ? i : at_clean;
        at_known = told[i] == 3 ? i : at_known;
    }
    /* Those that had begun are before them: at most the threads. */
    CHECK(at_known < at_clean || at_clean < 8);
    CHECK(at_clean < 8 + 2);
    hash_queue_free(&q);
    loop_free();
}

/* Those with failures are passed, but not for ever. */
TEST(suspects_have_a_turn_among_many)
{
    struct hash_ask a = question("", "{SHA512-CRYPT}$6$x$", "x");
    struct hash_queue *q;
    char source[32], user[32];
    unsigned at = 0, n = 0;

    loop_init();
    q = queue(0);
    for (unsigned i = 0; i < 200; i++) {
        snprintf(source, sizeof source, "10.0.%u.0/24", i);
        snprintf(user, sizeof user, "user%u", i);
        a.source = sl_z(source);
        a.user = sl_z(user);
        a.rank = i == 10 ? PENALTY_SUSPECT : PENALTY_CLEAN;
        n += hash_submit(q, &a, on_told, i == 10 ? 2 : 1);
    }
    CHECK_EQ_INT(n, 200);
    loop_run();
    CHECK_EQ_INT(n_told, n);
    while (at < n && told[at] != 2)
        at++;
    CHECK(at < 100);
    hash_queue_free(&q);
    loop_free();
}

static size_t
flood(struct hash_queue *q, struct hash_ask *a, unsigned networks, unsigned of_each)
{
    char source[32], password[32];
    size_t n = 0;

    for (unsigned i = 0; i < networks * of_each; i++) {
        snprintf(source, sizeof source, "10.%u.%u.0/24", i % networks / 256, i % networks % 256);
        snprintf(password, sizeof password, "x%u", i);
        a->source = sl_z(source);
        a->password = sl_z(password);
        n += hash_submit(q, a, on_told, 1);
    }
    return n;
}

/* All guess one user's password: who comes from elsewhere with the right one, and those of other ranks, are not turned away
 * for it. */
TEST(many_networks_at_one_user_leave_room)
{
    static const struct {
        enum penalty_rank rank;
        unsigned networks, of_each;
        size_t most;
    } floods[] = {
        { PENALTY_CLEAN, 400, HASH_PER_SOURCE_MAX, HASH_WAITING_MAX - 1 },
        { PENALTY_SUSPECT, 500, HASH_SUSPECT_PER_SOURCE_MAX, HASH_SUSPECT_WAITING_MAX - 1 },
    };

    for (size_t i = 0; i < COUNT_OF(floods); i++) {
        struct hash_ask a = question("u", "no", "");
        struct hash_queue *q;
        size_t n;

        loop_init();
        q = queue(0);
        a.rank = floods[i].rank;
        n = flood(q, &a, floods[i].networks, floods[i].of_each);
        CHECK(n >= floods[i].networks);
        CHECK(n <= floods[i].most);
        CHECK_EQ_INT(hash_waiting(q), n);
        a.source = SL("192.0.2.0/24");
        a.password = SL("no");
        CHECK(hash_submit(q, &a, on_told, 2));
        CHECK(!hash_submit(q,
                           &(struct hash_ask){ .rank = a.rank,
                                               .source = a.source,
                                               .user = a.user,
                                               .stored = a.stored,
                                               .password = SL("other"),
                                               .default_scheme = "PLAIN" },
                           on_told, 3));
        for (enum penalty_rank r = PENALTY_KNOWN; r < PENALTY_RANKS; r++) {
            a.rank = r;
            a.source = SL("198.51.100.0/24");
            a.password = r == PENALTY_KNOWN ? SL("k") : r == PENALTY_CLEAN ? SL("c") : SL("s");
            CHECK(hash_submit(q, &a, on_told, 4));
        }
        hash_queue_free(&q);
        loop_free();
    }
}

/* Even so many networks that all places of theirs are taken keep nobody out whom these know. */
TEST(ranks_have_places_of_their_own)
{
    struct hash_ask a = question("u", "no", "");
    struct hash_queue *q;

    loop_init();
    q = queue(0);
    a.rank = PENALTY_CLEAN;
    CHECK_EQ_INT(flood(q, &a, HASH_WAITING_MAX + 10, 1), HASH_WAITING_MAX);
    a.rank = PENALTY_KNOWN;
    a.source = SL("192.0.2.0/24");
    a.password = SL("no");
    CHECK(hash_submit(q, &a, on_told, 2));
    hash_queue_free(&q);
    loop_free();
}

TEST_MAIN()
