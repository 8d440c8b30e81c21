#include "base/map.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/test.h"

static int values[4096];

TEST(sets_gets_deletes)
{
    struct map *m = map_new();

    CHECK(map_get(m, SL("a")) == NULL && map_del(m, SL("a")) == NULL);
    CHECK(map_set(m, SL("a"), &values[0]) == NULL);
    CHECK(map_set(m, SL("A"), &values[1]) == NULL);
    CHECK(map_set(m, SL(""), &values[2]) == NULL);
    CHECK(map_set(m, SL("a\0b"), &values[3]) == NULL);
    CHECK(map_set(m, SL("a long key that lies in memory of its own"), &values[4]) == NULL);
    CHECK_EQ_INT(map_count(m), 5);
    CHECK(map_get(m, SL("a")) == &values[0]);
    CHECK(map_get(m, SL("A")) == &values[1]);
    CHECK(map_get(m, (struct slice){ 0 }) == &values[2]);
    CHECK(map_get(m, SL("a\0b")) == &values[3]);
    CHECK(map_get(m, SL("a long key that lies in memory of its own")) == &values[4]);
    CHECK(map_set(m, SL("a"), &values[9]) == &values[0]);
    CHECK(map_del(m, SL("a")) == &values[9]);
    CHECK(map_get(m, SL("a")) == NULL);
    CHECK(map_del(m, SL("a long key that lies in memory of its own")) == &values[4]);
    CHECK_EQ_INT(map_count(m), 3);
    map_free(&m, NULL);
    CHECK(m == NULL);
    map_free(&m, NULL);
}

TEST(keys_are_copied)
{
    struct map *m = map_new();
    char key[] = "a key of more than sixteen octets", small[] = "small";

    map_set(m, sl_z(key), &values[0]);
    map_set(m, sl_z(small), &values[1]);
    key[0] = small[0] = 'X';
    CHECK(map_get(m, SL("a key of more than sixteen octets")) == &values[0]);
    CHECK(map_get(m, SL("small")) == &values[1]);
    map_free(&m, NULL);
}

TEST(icase_folds_ascii)
{
    struct map *m = map_new_icase();

    map_set(m, SL("Content-Transfer-Encoding"), &values[0]);
    CHECK(map_get(m, SL("content-transfer-encodinG")) == &values[0]);
    CHECK(map_set(m, SL("CONTENT-TRANSFER-ENCODING"), &values[1]) == &values[0]);
    CHECK_EQ_INT(map_count(m), 1);
    CHECK(map_set(m, SL("\xc3\x84"), &values[2]) == NULL);
    CHECK(map_get(m, SL("\xc3\xa4")) == NULL);
    map_free(&m, NULL);
}

static size_t n_freed;

static void
count_freed(void *value)
{
    (void)value;
    n_freed++;
}

/* Random sets and deletes against an array. */
TEST(agrees_with_an_array)
{
    enum { KEYS = 512, ROUNDS = 200000 };
    struct map *m = map_new();
    void *want[KEYS] = { 0 };
    size_t n = 0;

    for (size_t i = 0; i < ROUNDS; i++) {
        uint64_t key = rand_below(KEYS);
        void *value = &values[rand_below(COUNT_OF(values))];
        void *got;

        if (rand_below(2) == 0) {
            got = map_set_u64(m, key, value);
            n += want[key] == NULL;
        } else {
            value = NULL;
            got = map_del_u64(m, key);
            n -= want[key] != NULL;
        }
        if (got != want[key])
            FAIL("key %d in round %zu", (int)key, i);
        want[key] = value;
        if (map_count(m) != n)
            FAIL("count in round %zu", i);
    }
    for (size_t i = 0; i < KEYS; i++)
        CHECK(map_get_u64(m, i) == want[i]);
    n_freed = 0;
    map_free(&m, count_freed);
    CHECK_EQ_INT(n_freed, n);
}

TEST(iterates_once_over_each)
{
    enum { KEYS = 1000 };
    struct map *m = map_new();
    unsigned char seen[KEYS] = { 0 };
    size_t it = 0, n = 0;
    uint64_t key;
    void *value;

    CHECK(!map_next_u64(m, &it, &key, &value));
    for (size_t i = 0; i < KEYS; i++)
        map_set_u64(m, i, &values[i]);
    for (it = 0; map_next_u64(m, &it, &key, &value); n++) {
        NEED(key < KEYS);
        CHECK(value == &values[key]);
        seen[key]++;
    }
    CHECK_EQ_INT(n, KEYS);
    for (size_t i = 0; i < KEYS; i++)
        CHECK_EQ_INT(seen[i], 1);
    CHECK(!map_next_u64(m, &it, &key, &value));
    map_free(&m, NULL);
}

TEST(entries_may_go_while_iterating)
{
    enum { KEYS = 1000 };

    for (uint64_t keep_each = 1; keep_each < 5; keep_each++) {
        struct map *m = map_new();
        size_t it, n = 0, left = 0;
        struct slice key;
        void *value;

        for (int i = 0; i < KEYS; i++) {
            char name[64];

            snprintf(name, sizeof(name), "%d%s", i, i % 2 ? " with some more than sixteen" : "");
            map_set(m, sl_z(name), &values[i]);
        }
        for (it = 0; map_next(m, &it, &key, &value); n++) {
            if (keep_each == 1 || (value != NULL && ((int *)value - values) % (int)keep_each != 0))
                CHECK(map_del(m, key) == value);
            else
                left++;
        }
        CHECK_EQ_INT(n, KEYS);
        CHECK_EQ_INT(map_count(m), left);
        for (it = 0, n = 0; map_next(m, &it, &key, &value); n++)
            CHECK(map_get(m, key) == value);
        CHECK_EQ_INT(n, left);
        map_free(&m, NULL);
    }
}

TEST_MAIN()
