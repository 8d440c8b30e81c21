#include "base/buf.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/test.h"

#define CHECK_BUF(b, want_z) CHECK_EQ_STR(buf_z(b), want_z)

TEST(appends_and_consumes)
{
    struct buf b = { 0 };

    CHECK_EQ_INT(buf_slice(&b).n, 0);
    CHECK_BUF(&b, "");
    CHECK_EQ_INT(buf_adds(&b, SL("hello")), 0);
    CHECK_EQ_INT(buf_addc(&b, ' '), 0);
    CHECK_EQ_INT(buf_addz(&b, "world"), 0);
    CHECK_EQ_INT(buf_addf(&b, " %d%s", 42, "!"), 0);
    CHECK_BUF(&b, "hello world 42!");
    buf_consume(&b, 6);
    CHECK_BUF(&b, "world 42!");
    buf_truncate(&b, 99);
    buf_truncate(&b, 5);
    CHECK_BUF(&b, "world");
    CHECK_EQ_INT(buf_adds(&b, (struct slice){ 0 }), 0);
    buf_consume(&b, 5);
    CHECK_EQ_INT(b.off, 0);
    CHECK_BUF(&b, "");
    buf_addz(&b, "again");
    buf_reset(&b);
    CHECK_EQ_INT(b.n, 0);
    CHECK(b.p != NULL);
    buf_free(&b);
    CHECK(b.p == NULL && b.cap == 0);
    buf_free(&b);
}

TEST(max_refuses_and_changes_nothing)
{
    struct buf b = { .max = 10 };

    CHECK_EQ_INT(buf_addz(&b, "12345678"), 0);
    CHECK_EQ_INT(buf_addz(&b, "abc"), -1);
    CHECK_EQ_INT(buf_addf(&b, "%s", "abc"), -1);
    CHECK(buf_reserve(&b, 3) == NULL && buf_reserve(&b, SIZE_MAX) == NULL);
    CHECK_BUF(&b, "12345678");
    CHECK_EQ_INT(buf_addz(&b, "ab"), 0);
    CHECK_EQ_INT(buf_addc(&b, 'c'), -1);
    CHECK_BUF(&b, "12345678ab");
    buf_consume(&b, 4);
    CHECK_EQ_INT(buf_addz(&b, "cdef"), 0);
    CHECK_BUF(&b, "5678abcdef");
    CHECK(b.cap <= 64);
    buf_free(&b);
    CHECK_EQ_INT(b.max, 10);
}

TEST(numbers)
{
    struct buf b = { 0 };

    buf_addu(&b, 0);
    buf_addc(&b, ' ');
    buf_addu(&b, 4294967295u);
    buf_addc(&b, ' ');
    buf_addu(&b, UINT64_MAX);
    CHECK_BUF(&b, "0 4294967295 18446744073709551615");
    buf_free(&b);
}

TEST(reserves_and_commits)
{
    struct buf b = { 0 };

    for (size_t i = 0; i < 1000; i++) {
        char *at = buf_reserve(&b, 100);

        memset(at, (int)('a' + i % 26), 100);
        buf_commit(&b, 7);
    }
    CHECK_EQ_INT(b.n, 7000);
    CHECK_EQ_INT(buf_slice(&b).p[6999], 'a' + 999 % 26);
    CHECK_EQ_INT(buf_z(&b)[7000], 0);
    buf_free(&b);
}

/* A queue of octets under random adds and consumes holds what a plain array does. */
TEST(is_a_queue)
{
    enum { ROUNDS = 20000 };
    struct buf b = { .max = 3000 };
    unsigned char in = 0, want = 0;
    size_t held = 0, largest = 0;

    for (size_t i = 0; i < ROUNDS; i++) {
        unsigned char octets[200];
        size_t n = rand_below(sizeof(octets));

        for (size_t j = 0; j < n; j++)
            octets[j] = (unsigned char)(in + j);
        if (buf_add(&b, octets, n) == 0) {
            in = (unsigned char)(in + n);
            held += n;
        } else {
            CHECK(held + n > 3000);
        }
        n = rand_below(210);
        for (size_t j = 0; j < n && b.n > 0; j++) {
            if ((unsigned char)buf_slice(&b).p[0] != want++)
                FAIL("wrong octet in round %zu", i);
            buf_consume(&b, 1);
            held--;
        }
        if (b.n != held)
            FAIL("%zu octets held, want %zu", b.n, held);
        largest = b.cap > largest ? b.cap : largest;
    }
    CHECK(largest <= 3001); /* what was consumed is used again */
    buf_free(&b);
}

TEST_MAIN()
