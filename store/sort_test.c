/* store/sort_test.c - SORT and THREAD of messages in a mailbox: keys out of the index, ties, yields, what is not cached. */
#include "store/view_test.h"

#include "store/sort.h"
#include "store/thread.h"

/* The date of all is one; so ARRIVAL is the order of UIDs. */
static const char *const mails[] = {
    /* 1 */
    "From: Zoe <anton@x>\r\nTo: b@x\r\nSubject: Re: Apples\r\nDate: 3 Jan 2020 12:00:00 +0000\r\n"
    "Message-ID: <1@x>\r\nReferences: <3@x>\r\n\r\nlong enough to be the longest of them all\r\n",
    /* 2 */
    "From: Bob <bob@x>\r\nTo: \"An Other\" <c@x>\r\nCc: k@x\r\nSubject: =?utf-8?q?=C3=A4pfel?=\r\n"
    "Date: 2 Jan 2020 23:00:00 -0500\r\nMessage-ID: <2@x>\r\n\r\n",
    /* 3 */
    "From: carl@x\r\nSubject: apples\r\nDate: 1 Jan 2020 12:00:00 +0000\r\nMessage-ID: "
    "<3@x>\r\n\r\n",
    /* 4 */ "Subject: [list] Bananas (fwd)\r\nDate: nonsense\r\nMessage-ID: <4@x>\r\n\r\n",
    /* 5 */
    "From: ANTON@x\r\nTo: B@x\r\nSubject: bananas\r\nDate: 3 Jan 2020 12:00:00 "
    "+0000\r\nIn-Reply-To: <1@x>\r\n\r\n",
};

static bool
always(void *arg)
{
    ++*(unsigned *)arg;
    return true;
}

static const struct {
    const char *name;
    struct sort_by by[3];
    size_t n;
    const char *want;
} rows[] = {
    { "ARRIVAL: ties by number", { { SORT_ARRIVAL, false } }, 1, "1 2 3 4 5" },
    { "REVERSE ARRIVAL: ties by number too", { { SORT_ARRIVAL, true } }, 1, "1 2 3 4 5" },
    { "DATE in UTC; without one INTERNALDATE", { { SORT_DATE, false } }, 1, "3 2 1 5 4" },
    { "REVERSE DATE", { { SORT_DATE, true } }, 1, "4 1 5 2 3" },
    { "FROM: local parts, without case", { { SORT_FROM, false } }, 1, "4 1 5 2 3" },
    { "REVERSE FROM", { { SORT_FROM, true } }, 1, "3 2 1 5 4" },
    { "TO", { { SORT_TO, false } }, 1, "3 4 1 5 2" },
    { "CC", { { SORT_CC, false } }, 1, "1 3 4 5 2" },
    { "SUBJECT: base subjects", { { SORT_SUBJECT, false } }, 1, "1 3 2 4 5" },
    { "DISPLAYFROM: names, else addresses", { { SORT_DISPLAYFROM, false } }, 1, "4 5 2 3 1" },
    { "DISPLAYTO", { { SORT_DISPLAYTO, false } }, 1, "3 4 2 1 5" },
    { "SIZE, the first", { { SORT_SIZE, true } }, 1, "1 2 5 3 4" },
    { "SUBJECT, REVERSE DATE", { { SORT_SUBJECT, false }, { SORT_DATE, true } }, 2, "1 3 2 4 5" },
    { "FROM, SUBJECT, DATE",
      { { SORT_FROM, false }, { SORT_SUBJECT, true }, { SORT_DATE, false } },
      3,
      "4 5 1 2 3" },
    { "one key twice", { { SORT_TO, false }, { SORT_TO, true } }, 2, "3 4 1 5 2" },
};

static struct store_view *
five(void)
{
    open_store();
    for (size_t i = 0; i < COUNT_OF(mails); i++)
        CHECK(append("INBOX", mails[i], 0, NULL) != 0);
    return sel("INBOX");
}

static void
expect_sorted(struct store_view *v, size_t i, bool (*yield)(void *))
{
    uint32_t seqs[COUNT_OF(mails)];
    struct buf got = { 0 };
    struct store_sort *s;
    unsigned asked = 0;
    int rc;

    for (uint32_t k = 0; k < COUNT_OF(mails); k++)
        seqs[k] = k + 1;
    s = store_sort_new(v, rows[i].by, rows[i].n, seqs, COUNT_OF(mails));
    while ((rc = store_sort_run(s, yield, &asked, &e)) == 1)
        ;
    CHECK_EQ_INT(rc, 0);
    for (size_t k = 0; k < COUNT_OF(mails); k++)
        buf_addf(&got, "%s%u", k ? " " : "", (unsigned)store_sort_result(s)[k]);
    CHECK_EQ_STR(buf_z(&got), rows[i].want);
    store_sort_free(&s);
    buf_free(&got);
}

TEST(keys)
{
    struct store_view *v;

    setup();
    v = five();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        expect_sorted(v, i, i % 2 ? always : NULL);
        expect_sorted(v, i, NULL);
    }
    store_unselect(&v);
    teardown();
}

static void
expect_threads(struct store_view *v, enum thread_kind kind, const uint32_t *seqs, size_t n,
               const char *want)
{
    struct store_thread *t = store_thread_new(v, kind, seqs, n);
    const struct thread_node *node;
    struct buf got = { 0 };
    unsigned asked = 0;
    uint32_t top;
    int rc;

    while ((rc = store_thread_run(t, always, &asked, &e)) == 1)
        ;
    CHECK_EQ_INT(rc, 0);
    CHECK(asked > 0);
    node = store_thread_result(t, &top);
    for (; top != THREAD_NONE; top = node[top].next) { /* two levels are enough here */
        buf_addf(&got, "(%u", (unsigned)node[top].seq);
        for (uint32_t kid = node[top].first_kid; kid != THREAD_NONE; kid = node[kid].next)
            buf_addf(&got, " %u%s", (unsigned)node[kid].seq, node[kid].first_kid ? "+" : "");
        buf_addc(&got, ')');
    }
    CHECK_EQ_STR(buf_z(&got), want);
    store_thread_free(&t);
    buf_free(&got);
}

TEST(threads)
{
    static const uint32_t all[] = { 1, 2, 3, 4, 5 }, some[] = { 1, 4, 5 };
    struct store_view *v;

    setup();
    v = five();
    expect_threads(v, THREAD_REFERENCES, all, 5, "(3 1+)(2)(4)");
    expect_threads(v, THREAD_REFS, all, 5, "(2)(3 1+)(4)");
    expect_threads(v, THREAD_ORDEREDSUBJECT, all, 5, "(3 1)(2)(5 4)");
    expect_threads(v, THREAD_REFERENCES, some, 3, "(1 5)(4)");
    expect_threads(v, THREAD_REFERENCES, all, 0, "");
    store_unselect(&v);
    teardown();
}

/* A message that is gone, and not yet told to be, still has its number: it is somewhere. */
TEST(expunged_meanwhile)
{
    static const uint32_t all[] = { 1, 2, 3, 4, 5 };
    static const struct sort_by by = { SORT_SUBJECT, false };
    struct store_uids two = { 0 };
    struct store_view *v, *other;
    struct store_thread *t;
    const struct thread_node *node;
    struct store_sort *s;
    uint32_t sum = 0, top;

    setup();
    v = five();
    other = sel("INBOX");
    store_uids_add(&two, 2, 2);
    NEED(store_flags(other, 2, 2, STORE_ADD, STORE_DELETED, 0, true) == 0);
    NEED(store_expunge(other, &two, &e) == 0);
    s = store_sort_new(v, &by, 1, all, 5);
    CHECK_EQ_INT(store_sort_run(s, NULL, NULL, &e), 0);
    for (int i = 0; i < 5; i++)
        sum |= 1u << store_sort_result(s)[i];
    CHECK_EQ_INT(sum, 62);
    store_sort_free(&s);
    t = store_thread_new(v, THREAD_REFERENCES, all, 5);
    CHECK_EQ_INT(store_thread_run(t, NULL, NULL, &e), 0);
    node = store_thread_result(t, &top);
    sum = 0;
    for (; top != THREAD_NONE; top = node[top].next)
        sum += node[top].seq == 2;
    CHECK_EQ_INT(sum, 1);
    store_thread_free(&t);
    store_uids_free(&two);
    store_unselect(&other);
    store_unselect(&v);
    teardown();
}

/* The same order in v, which may have kept one, as in a view that has not; every step-th message. */
static void
expect_same_order(struct store_view *v, const struct sort_by *by, uint32_t step)
{
    struct store_view *fresh = sel("INBOX");
    uint32_t seqs[MANY + 1];
    struct store_sort *s[2];
    size_t n = 0;

    sync_quiet(v);
    for (uint32_t seq = step; seq <= exists(v); seq += step)
        seqs[n++] = seq;
    s[0] = store_sort_new(v, by, 1, seqs, n);
    s[1] = store_sort_new(fresh, by, 1, seqs, n);
    for (int i = 0; i < 2; i++)
        CHECK_EQ_INT(store_sort_run(s[i], NULL, NULL, &e), 0);
    CHECK(memcmp(store_sort_result(s[0]), store_sort_result(s[1]), n * sizeof(seqs[0])) == 0);
    store_sort_free(&s[0]);
    store_sort_free(&s[1]);
    store_unselect(&fresh);
}

TEST(an_order_that_is_kept)
{
    static const struct sort_by down = { SORT_ARRIVAL, true }, up = { SORT_ARRIVAL, false };
    struct store_view *v;
    struct sort_order *kept;

    setup_many();
    v = sel("INBOX");
    run("UPDATE messages SET date = uid * 7919 % 3001");
    expect_same_order(v, &down, 1);
    kept = v->order;
    CHECK(kept != NULL);
    expect_same_order(v, &down, 2);
    CHECK(v->order == kept); /* it was enough */
    expect_same_order(v, &up, 1);
    CHECK(v->order != NULL);
    kept = v->order;
    expunge(v, 100, 200);
    expect_same_order(v, &up, 1);
    CHECK(v->order == kept);
    CHECK(append("INBOX", "Subject: new\r\n\r\n", 0, NULL) != 0);
    expect_same_order(v, &up, 1); /* not enough: made again */
    store_view_sleep(v);
    CHECK(v->order == NULL);
    CHECK_EQ_INT(store_view_wake(v, &e), 0);
    expect_same_order(v, &up, 1);
    store_unselect(&v);
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
