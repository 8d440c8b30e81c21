/* store/expunges_test.c - the log of expunges: who was away hears of them, pruned or not. */
#include "store/view_test.h"

static void
check_vanished(struct store_view *v, uint64_t since, const struct store_uids *among,
               const struct store_uids *want)
{
    struct store_uids got;

    CHECK_EQ_INT(store_vanished(v, since, among, &got, &e), 0);
    CHECK_EQ_INT(got.n, want->n);
    for (size_t i = 0; i < got.n && i < want->n; i++) {
        CHECK_EQ_INT(got.v[i].first, want->v[i].first);
        CHECK_EQ_INT(got.v[i].last, want->v[i].last);
    }
    store_uids_free(&got);
}

TEST(who_was_away_hears_what_has_gone)
{
    struct store_view *v, *w;
    struct store_uids among, want;
    struct store_changes c;
    uint64_t m0, m1;

    setup_many();
    v = sel("INBOX");
    w = sel("INBOX");
    m0 = v->modseq;
    expunge(v, 10, 19);
    expunge(v, 2000, 2000);
    sync_quiet(v);
    m1 = v->modseq;
    expunge(v, 15, 30);
    sync_quiet(v);
    want = UIDS(10, 30, 2000, 2000);
    check_vanished(v, m0, NULL, &want);
    store_uids_free(&want);
    want = UIDS(20, 30);
    check_vanished(v, m1, NULL, &want);
    store_uids_free(&want);
    among = UIDS(1, 12, 18, 22, 1900, 3000);
    want = UIDS(10, 12, 18, 22, 2000, 2000);
    check_vanished(v, m0, &among, &want);
    store_uids_free(&want);
    want = UIDS(20, 22);
    check_vanished(v, m1, &among, &want);
    store_uids_free(&want);
    want = (struct store_uids){ 0 };
    check_vanished(v, v->modseq, NULL, &want);
    check_vanished(v, UINT64_MAX, NULL, &want);
    /* w counts them all still. */
    check_vanished(w, m0, NULL, &want);
    CHECK_EQ_INT(store_view_sync(w, false, &c, &e), 0);
    store_changes_free(&c);
    check_vanished(w, m0, NULL, &want);
    sync_quiet(w);
    want = UIDS(20, 22);
    check_vanished(w, m1, &among, &want);
    store_uids_free(&want);
    store_uids_free(&among);
    store_unselect(&v);
    store_unselect(&w);
    teardown();
}

TEST(a_pruned_log)
{
    struct store_view *v, *asleep, *awake, *late;
    struct store_uids among, want;
    struct store_changes c;
    struct mbox mb;
    char sql[400];
    uint64_t m0;

    setup_many();
    v = sel("INBOX");
    asleep = sel("INBOX");
    awake = sel("INBOX");
    late = sel("INBOX");
    m0 = v->modseq;
    expunge(v, 100, 101);
    sync_quiet(v);
    sync_quiet(late);
    store_view_sleep(asleep);
    store_view_sleep(late);
    /* asleep knows of that; of the next it does not */
    CHECK(asleep->modseq == m0);
    snprintf(sql, sizeof sql,
             "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO expunges SELECT (SELECT id FROM mailboxes WHERE name = 'INBOX'), 1, i * "
             "2 + 10000000, i * 2 + 10000000, 0 FROM n",
             EXPUNGES_KEEP);
    run(sql);
    snprintf(sql, sizeof sql, "UPDATE mailboxes SET ranges = ranges + %d WHERE name = 'INBOX'",
             EXPUNGES_KEEP);
    run(sql);
    check_sums();
    /* Nothing is older than a day but what is made up here; that goes as far as there is too much. */
    for (int i = 0; i < 3; i++) {
        BUG_ON(user_lock(us, &e) || index_begin(us, &e) ||
               mbox_load(us, v->mailbox, &mb, &e) != 1 ||
               expunges_prune(us, &mb, clock_unix_s(), &e) || mbox_save(us, &mb, &e) ||
               index_commit(us, &e));
        user_unlock(us);
    }
    check_sums();
    CHECK_EQ_INT(mb.pruned_modseq, 1);
    CHECK_EQ_INT(mb.ranges, 1);
    among = UIDS(90, 200);
    want = UIDS(100, 101);
    check_vanished(v, m0, &among, &want); /* the log has it */
    check_vanished(v, 0, &among, &want);  /* it does not, the rows do */
    /* A day later, and much more. */
    run("UPDATE expunges SET at = 1");
    snprintf(
        sql, sizeof sql,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
        " INSERT INTO expunges SELECT (SELECT id FROM mailboxes WHERE name = 'INBOX'), (SELECT "
        "modseq + 1 FROM mailboxes WHERE name = 'INBOX'), i * "
        "2 + 10000000, i * 2 + 10000000, 0 FROM n",
        EXPUNGES_KEEP);
    run(sql);
    snprintf(sql, sizeof sql,
             "UPDATE mailboxes SET modseq = modseq + 1, ranges = ranges + %d WHERE name = 'INBOX'",
             EXPUNGES_KEEP);
    run(sql);
    BUG_ON(user_lock(us, &e) || index_begin(us, &e) || mbox_load(us, v->mailbox, &mb, &e) != 1 ||
           expunges_prune(us, &mb, clock_unix_s(), &e) || mbox_save(us, &mb, &e) ||
           index_commit(us, &e));
    user_unlock(us);
    CHECK(mb.pruned_modseq > m0 && mb.pruned_modseq < mb.modseq);
    CHECK_EQ_INT(mb.ranges, EXPUNGES_KEEP);
    check_sums();
    sync_quiet(v);
    check_vanished(v, m0, &among, &want);
    store_uids_free(&want);
    store_uids_free(&among);
    /* Who sleeps cannot know any more what it had; who has rows does not need the log. */
    CHECK_EQ_INT(store_view_sync(asleep, true, &c, &e), 0);
    CHECK(c.is_invalid);
    store_changes_free(&c);
    CHECK_EQ_INT(store_view_sync(awake, true, &c, &e), 0);
    CHECK_EQ_INT(c.n_expunged, 2);
    store_changes_free(&c);
    CHECK_EQ_INT(store_view_sync(late, true, &c, &e), 0);
    CHECK(!c.is_invalid);
    CHECK_EQ_INT(exists(late), MANY - 2);
    store_changes_free(&c);
    store_unselect(&v);
    store_unselect(&asleep);
    store_unselect(&awake);
    store_unselect(&late);
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
