/* Some octets out of the middle of a message are those of the whole, wherever the one before was. */
#include "store/store_test.h"

#include "store/cache.h"

static void
check_range(struct store_view *v, struct slice whole, uint64_t first, uint64_t count)
{
    struct slice want = sl_head(sl_from(whole, (size_t)first), (size_t)count);
    struct store_file *f;

    CHECK_EQ_INT(store_file_range(v, 1, first, count, &f, &e), 0);
    if (!sl_eq(store_file_octets(f), want))
        FAIL("%llu.%llu: got %zu octets", (unsigned long long)first, (unsigned long long)count,
             store_file_octets(f).n);
    store_file_close(&f);
}

/* Lines of two kinds, some with CRs: a message longer than a block, or than what is kept in memory. */
static void
check_message(const char *const ends[2], size_t lines)
{
    static const uint64_t jumps[] = { 0, 1, 2, 65535, 65536, 65537, 70000, 5, 131072, 0 };
    struct buf text = { 0 };
    struct store_file *f, *all;
    struct store_view *v;
    struct slice whole;

    setup();
    open_store();
    buf_addf(&text, "X: y%s%s", ends[0], ends[1]);
    for (size_t i = 0; i < lines; i++)
        buf_addf(&text, "line %zu%s", i, ends[i % 2]);
    foreign("cur", "1.a:2,", buf_z(&text));
    v = sel("INBOX");
    CHECK_EQ_INT(store_file_open(v, 1, &all, &e), 0);
    view_drop_kept(v);
    whole = store_file_octets(all);
    for (size_t i = 0; i < COUNT_OF(jumps); i++)
        for (uint64_t n = 1; n < 100000; n *= 7)
            check_range(v, whole, jumps[i], n);
    for (uint64_t at = 0; at < whole.n + 5000; at += 4999) /* one after the other */
        check_range(v, whole, at, 4999);
    check_range(v, whole, whole.n, 10);
    check_range(v, whole, 0, STORE_RANGE_MAX_OCTETS);
    CHECK_EQ_INT(store_file_range(v, 1, UINT64_MAX, 1, &f, &e), 0);
    CHECK_EQ_INT(store_file_octets(f).n, 0);
    store_file_close(&f);
    store_file_close(&all);
    store_unselect(&v);
    buf_free(&text);
    teardown();
}

TEST(ranges)
{
    static const char *const ends[][2] = { { "\r\n", "\r\n" }, { "\n", "\n" }, { "\n", "\r\n" } };

    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        check_message(ends[i], 3);
        check_message(ends[i], 30000);
    }
}

/* The message is longer than memory holds: a piece of it costs that piece. */
TEST(a_piece_of_a_long_message)
{
    struct buf text = { 0 };
    struct store_view *v;
    struct store_file *f;
    uint64_t raw;

    setup();
    open_store();
    buf_addz(&text, "X: y\n\n");
    while (text.n < 3 * 1024 * 1024)
        buf_addz(&text, "a line of some length that is not much like others\n");
    foreign("cur", "1.a:2,", buf_z(&text));
    v = sel("INBOX");
    CHECK_EQ_INT(store_file_range(v, 1, 2000000, 4096, &f, &e), 0);
    CHECK_EQ_INT(store_file_octets(f).n, 4096);
    store_file_close(&f);
    CHECK(v->kept == NULL); /* no copy of it was made */
    raw = v->range.raw;
    CHECK(raw > 1500000);
    CHECK_EQ_INT(store_file_range(v, 1, 2004096, 4096, &f, &e), 0); /* begins there */
    CHECK(v->range.raw >= raw);
    store_file_close(&f);
    CHECK_EQ_INT(store_file_range(v, 2, 0, 4096, &f, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    store_unselect(&v);
    buf_free(&text);
    teardown();
}

int
main(int argc, char **argv)
{
    int rc;

    loop_init();
    rc = test_main(argc, argv);
    loop_free();
    return rc;
}
