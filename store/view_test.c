/* store/view_test.c - what a view knows, however it came by it: shared with other views, told of changes one by one, asleep
 * and awake. */
#include "store/view_test.h"

/* ---- changes ---- */

TEST(what_was_silent_is_told_apart)
{
    struct store_view *a;
    struct store_changes c;

    setup_many();
    a = sel("INBOX");
    CHECK_EQ_INT(store_flags(a, 10, 11, STORE_ADD, STORE_FLAGGED, 0, true), 0);
    CHECK_EQ_INT(store_flags(a, 20, 20, STORE_ADD, STORE_FLAGGED, 0, false), 0);
    expunge(a, 5, 5);
    CHECK_EQ_INT(store_view_sync(a, true, &c, &e), 0);
    CHECK_EQ_INT(c.n_changed, 1);
    CHECK_EQ_INT(c.changed[0], 19);
    CHECK_EQ_INT(c.n_silent, 2);
    CHECK_EQ_INT(c.silent[0], 9);
    CHECK_EQ_INT(c.silent[1], 10);
    store_changes_free(&c);
    CHECK_EQ_INT(store_view_sync(a, true, &c, &e), 0);
    CHECK_EQ_INT(c.n_silent, 0);
    store_changes_free(&c);
    store_unselect(&a);
    teardown();
}

/* ---- shared rows ---- */

TEST(views_in_the_same_state_share_all)
{
    struct store_view *a, *b;
    struct rows *was;

    setup_many();
    a = sel("INBOX");
    b = sel("INBOX");
    CHECK_EQ_INT(exists(a), MANY);
    CHECK(a->rows == b->rows);
    was = rows_ref(a->rows);
    CHECK_EQ_INT(store_flags(a, 1500, 1500, STORE_ADD, STORE_FLAGGED, 0, false), 0);
    sync_quiet(a);
    CHECK(a->rows != b->rows);
    CHECK_EQ_INT(flags_of(b, 1500), STORE_SEEN); /* not told yet */
    CHECK_EQ_INT(rows_shared_chunks(a->rows, b->rows), rows_chunks(b->rows) - 1);
    sync_quiet(b);
    CHECK(a->rows == b->rows);
    CHECK_EQ_INT(rows_shared_chunks(a->rows, was), rows_chunks(was) - 1);
    rows_unref(&was);
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

TEST(what_is_gone_and_not_told_is_one_views_alone)
{
    struct store_view *a, *b;
    struct store_changes c;

    setup_many();
    a = sel("INBOX");
    b = sel("INBOX");
    expunge(a, 1100, 1199);
    for (int i = 0; i < 2; i++) { /* twice: it does not get used to it */
        CHECK_EQ_INT(store_view_sync(b, false, &c, &e), 0);
        CHECK_EQ_INT(c.n_expunged, 0);
        CHECK_EQ_INT(exists(b), MANY);
        CHECK(view_gone_at(b, 1099));
        CHECK(!view_gone_at(b, 1098));
        CHECK_EQ_INT(b->gone.n, 1);
        store_changes_free(&c);
        sync_quiet(a);
        CHECK_EQ_INT(exists(a), MANY - 100);
        CHECK(rows_shared_chunks(a->rows, b->rows) >= 2); /* those without any */
        CHECK_EQ_INT(store_flags(a, 5, 5, i ? STORE_ADD : STORE_REMOVE, STORE_SEEN, 0, false), 0);
    }
    CHECK_EQ_INT(store_view_sync(b, true, &c, &e), 0);
    CHECK_EQ_INT(c.n_expunged, 100);
    CHECK_EQ_INT(c.expunged[0], 1199);
    CHECK_EQ_INT(c.expunged[99], 1100);
    CHECK_EQ_INT(c.vanished[99], 1100);
    store_changes_free(&c);
    sync_quiet(a);
    CHECK(a->rows == b->rows);
    CHECK_EQ_INT(ask("SELECT count(*) FROM expunges"), 1);
    check_sums();
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

TEST(a_change_names_what_it_missed)
{
    struct store_flag_change ch = { .op = STORE_ADD, .flags = { STORE_DRAFT, 0 } };
    struct store_uids u = { 0 }, missing = { 0 };
    struct store_copied done;
    struct store_view *a, *b;
    struct store_changes c;
    struct store_flags was = { STORE_SEEN | STORE_DRAFT, 5 };

    setup_many();
    a = sel("INBOX");
    b = sel("INBOX");
    expunge(a, 20, 29);
    store_uids_add(&u, 15, 24);
    ch.missing = &missing;
    for (int i = 0; i < 2; i++) { /* before the view knows, and after */
        CHECK_EQ_INT(store_change_flags(b, &u, &ch, NULL, &e), 0);
        NEED(missing.n == 1);
        CHECK_EQ_INT(missing.v[0].first, 20);
        CHECK_EQ_INT(missing.v[0].last, 24);
        store_uids_free(&missing);
        CHECK_EQ_INT(store_copy(b, &u, SL("Sent"), false, &done, &e), -1);
        CHECK(err_is_stale(&e));
        CHECK_EQ_INT(store_view_is_gone(b, 20), i > 0);
        CHECK_EQ_INT(store_view_sync(b, false, &c, &e), 0);
        CHECK(c.has_held);
        store_changes_free(&c);
    }
    CHECK(!store_view_is_gone(b, 19));
    CHECK_EQ_INT(store_view_sync(b, true, &c, &e), 0);
    CHECK(!c.has_held);
    store_changes_free(&c);
    CHECK_EQ_INT(store_change_flags(b, &u, &ch, NULL, &e), 0);
    CHECK_EQ_INT(missing.n, 0);
    ch.flags = (struct store_flags){ STORE_SEEN | STORE_RECENT, 6 };
    CHECK_EQ_INT(store_flags_after(was, &ch).sys, STORE_SEEN | STORE_DRAFT);
    CHECK_EQ_INT(store_flags_after(was, &ch).kw, 7);
    ch.op = STORE_REMOVE;
    CHECK_EQ_INT(store_flags_after(was, &ch).sys, STORE_DRAFT);
    CHECK_EQ_INT(store_flags_after(was, &ch).kw, 1);
    ch.op = STORE_SET;
    CHECK_EQ_INT(store_flags_after(was, &ch).sys, STORE_SEEN);
    CHECK_EQ_INT(store_flags_after(was, &ch).kw, 6);
    store_uids_free(&u);
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

/* RFC 7162 §3.1.12 */
TEST(a_condition_holds_while_others_change_other_flags)
{
    struct store_flag_change ch = { .op = STORE_ADD,
                                    .flags = { STORE_SEEN, 0 },
                                    .has_unchangedsince = true };
    struct store_uids u = { 0 }, modified = { 0 };
    struct store_view *a, *b;
    struct store_row r;

    setup_many();
    a = sel("INBOX");
    CHECK_EQ_INT(store_flags(a, 7, 8, STORE_SET, 0, 0, false), 0);
    b = sel("INBOX");
    store_view_row(b, 7, &r);
    ch.unchangedsince = r.modseq;
    store_uids_add(&u, 7, 8);
    CHECK_EQ_INT(store_flags(a, 7, 7, STORE_ADD, STORE_ANSWERED, 0, false), 0);
    CHECK_EQ_INT(store_flags(a, 8, 8, STORE_ADD, STORE_SEEN, 0, false), 0);
    CHECK_EQ_INT(store_change_flags(b, &u, &ch, &modified, &e), 0);
    CHECK(!store_uids_has(&modified, 7));
    CHECK(store_uids_has(&modified, 8));
    sync_quiet(b); /* and once it was told, the old MODSEQ is not enough */
    store_uids_free(&modified);
    ch.flags.sys = STORE_DRAFT;
    CHECK_EQ_INT(store_change_flags(b, &u, &ch, &modified, &e), 0);
    CHECK_EQ_INT(store_uids_count(&modified), 2);
    store_uids_free(&modified);
    store_uids_free(&u);
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

/* What a view missed is no flag that it was told of, though it sees it. */
TEST(a_condition_does_not_hold_over_what_a_sleep_missed)
{
    struct store_flag_change ch = { .op = STORE_REMOVE,
                                    .flags = { STORE_FLAGGED, 0 },
                                    .has_unchangedsince = true };
    struct store_uids u = { 0 }, modified = { 0 };
    struct store_view *a, *b;
    struct store_row r;

    setup_many();
    a = sel("INBOX");
    b = sel("INBOX");
    store_view_row(b, 7, &r);
    ch.unchangedsince = b->modseq;
    store_view_sleep(b);
    CHECK_EQ_INT(store_flags(a, 7, 7, STORE_ADD, STORE_FLAGGED, 0, false), 0);
    CHECK_EQ_INT(store_view_wake(b, &e), 0);
    store_uids_add(&u, 6, 8);
    CHECK_EQ_INT(store_change_flags(b, &u, &ch, &modified, &e), 0);
    CHECK_EQ_INT(store_uids_count(&modified), 1);
    CHECK(store_uids_has(&modified, 7));
    CHECK(store_view_row(b, 7, &r)); /* a MODSEQ that may be told: never 0 */
    CHECK_EQ_INT(r.modseq, ch.unchangedsince);
    store_uids_free(&modified);
    store_uids_free(&u);
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

TEST(asleep_nothing_is_held)
{
    struct store_view *a, *b;

    setup_many();
    a = sel("INBOX");
    b = sel("INBOX");
    store_view_sleep(a);
    CHECK(a->rows == NULL && a->shared == NULL);
    CHECK_EQ_INT(exists(a), MANY);
    CHECK_EQ_INT(store_view_wake(a, &e), 0);
    CHECK(a->rows == b->rows); /* not made anew */
    store_view_sleep(a);
    store_view_sleep(b);
    CHECK(!list_is_empty(&us->shared)); /* as long as the database is open */
    BUG_ON(user_lock(us, &e));
    index_close(us);
    user_unlock(us);
    CHECK(list_is_empty(&us->shared));
    CHECK_EQ_INT(store_view_wake(a, &e), 0);
    BUG_ON(user_lock(us, &e));
    index_close(us);
    user_unlock(us);
    CHECK(!list_is_empty(&us->shared)); /* a view uses them */
    store_view_sleep(a);
    CHECK(list_is_empty(&us->shared));
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

/* Reading rows takes no lock, whoever syncs meanwhile; SAN=thread looks at it. */
static void *
reader(void *arg)
{
    struct store_view *v = arg;
    size_t *bad = mem_zalloc(sizeof *bad);

    for (int i = 0; i < 300; i++) {
        struct store_changes c;
        struct err why = { 0 };
        struct store_row r;
        uint32_t last = 0;

        *bad += store_view_sync(v, i % 3 != 0, &c, &why) != 0;
        store_changes_free(&c);
        for (uint32_t seq = 1; store_view_row(v, seq, &r); seq += 7, last = r.uid)
            *bad += r.uid <= last;
        if (i % 20 == 0)
            store_view_sleep(v);
    }
    return bad;
}

TEST(sessions_on_several_threads)
{
    struct store_view *v, *w[2];
    pthread_t threads[2];

    setup_many();
    v = sel("INBOX");
    for (int i = 0; i < 2; i++) {
        w[i] = sel("INBOX");
        BUG_ON(pthread_create(&threads[i], NULL, reader, w[i]));
    }
    for (uint32_t i = 1; i < 100; i++) {
        store_flags(v, i * 20, i * 20 + 3, STORE_ADD, STORE_SEEN, 0, false);
        expunge(v, i * 20, i * 20);
        sync_quiet(v);
    }
    for (int i = 0; i < 2; i++) {
        void *bad;

        pthread_join(threads[i], &bad);
        CHECK_EQ_INT(*(size_t *)bad, 0);
        free(bad);
        sync_quiet(w[i]);
        CHECK(w[i]->rows == v->rows);
        store_unselect(&w[i]);
    }
    CHECK_EQ_INT(exists(v), MANY - 99);
    store_unselect(&v);
    teardown();
}

/* Rows of another index are not the view's, whatever their numbers: the index may be deleted at any time, and another one is
 * made under a view that is open. */
TEST(an_index_made_anew_under_an_open_view)
{
    struct store_view *v, *asleep, *other;
    struct store_uids all = UIDS(1, UINT32_MAX);
    struct store_changes c;
    struct store_copied done = { 0 };
    struct store_msg m;
    struct store_file *f;
    char path[300];

    setup();
    fill(10);
    open_store();
    v = sel("INBOX");
    asleep = sel("INBOX");
    expunge(v, 1, 3);
    sync_quiet(v);
    sync_quiet(asleep);
    store_view_sleep(asleep);
    CHECK_EQ_INT(store_create(us, SL("Copy"), 0, &e), 0);
    for (int i = 0; i < 3; i++) {
        static const char *const parts[] = { INDEX_FILE, INDEX_FILE "-wal", INDEX_FILE "-shm" };

        snprintf(path, sizeof path, "%s/%s", root, parts[i]);
        unlink(path);
    }
    other = sel("INBOX"); /* the file that was UID 7 is UID 4, and 7 another */
    CHECK_EQ_INT(exists(other), 7);
    CHECK(store_view_row(v, 4, &(struct store_row){ 0 }));
    memset(&e, 0, sizeof e);
    CHECK_EQ_INT(store_fetch(v, 4, STORE_GET_SIZE | STORE_GET_IDS, &m, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_file_open(v, 4, &f, &e), -1);
    store_copy(v, &all, SL("Copy"), false, &done, &e);
    CHECK_EQ_INT(done.n, 0);
    store_copied_free(&done);
    CHECK_EQ_INT(store_flags(v, 1, UINT32_MAX, STORE_ADD, STORE_DRAFT, 0, false), -1);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    CHECK(c.is_invalid);
    store_changes_free(&c);
    CHECK_EQ_INT(store_view_sync(asleep, true, &c, &e), 0);
    CHECK(c.is_invalid);
    store_changes_free(&c);
    sync_quiet(other);
    CHECK_EQ_INT(exists(other), 7);
    store_uids_free(&all);
    store_unselect(&v);
    store_unselect(&asleep);
    store_unselect(&other);
    teardown();
}

/* Once it is known that the rows cannot be made again, they cannot: also when nothing is left to disagree. */
TEST(who_cannot_be_woken_never_is)
{
    struct store_view *v, *asleep;
    struct store_changes c;

    setup();
    fill(5);
    open_store();
    v = sel("INBOX");
    asleep = sel("INBOX");
    store_view_sleep(asleep);
    expunge(v, 1, 5);
    run("DELETE FROM expunges");
    run("UPDATE mailboxes SET pruned_modseq = modseq, ranges = 0 WHERE name = 'INBOX'");
    memset(&e, 0, sizeof e);
    CHECK_EQ_INT(store_view_wake(asleep, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_view_wake(asleep, &e), -1);
    CHECK_EQ_INT(store_view_sync(asleep, true, &c, &e), 0);
    CHECK(c.is_invalid); /* the client has counted five, and was never told of their end */
    store_changes_free(&c);
    store_unselect(&v);
    store_unselect(&asleep);
    teardown();
}

/* ---- told of each change ---- */

/* What a client knows that believes what it is told. */
struct client {
    struct store_view *v;
    uint32_t uid[4000], sys[4000];
    uint32_t n;
};

static void
client_look(struct client *c, uint32_t seq)
{
    struct store_row r = { 0 };

    CHECK(store_view_row(c->v, seq, &r));
    c->uid[seq - 1] = r.uid;
    c->sys[seq - 1] = r.flags.sys & ~(uint32_t)STORE_RECENT;
}

static void
client_start(struct client *c)
{
    c->v = sel("INBOX");
    c->n = exists(c->v);
    for (uint32_t seq = 1; seq <= c->n; seq++)
        client_look(c, seq);
}

static void
client_sync(struct client *c, bool allow_expunge)
{
    struct store_changes ch;

    if (store_view_sync(c->v, allow_expunge, &ch, &e)) {
        FAIL("sync: %s", e.msg);
        return;
    }
    CHECK(!ch.is_invalid && !ch.is_gone);
    for (size_t i = 0; i < ch.n_expunged; i++) {
        uint32_t seq = ch.expunged[i];

        CHECK(seq >= 1 && seq <= c->n && c->uid[seq - 1] == ch.vanished[i]);
        memmove(&c->uid[seq - 1], &c->uid[seq], (c->n - seq) * sizeof c->uid[0]);
        memmove(&c->sys[seq - 1], &c->sys[seq], (c->n - seq) * sizeof c->sys[0]);
        c->n--;
    }
    CHECK(exists(c->v) == c->n || ch.exists_changed);
    while (c->n < exists(c->v))
        client_look(c, ++c->n);
    for (size_t i = 0; i < ch.n_changed; i++) {
        CHECK(i == 0 || ch.changed[i] > ch.changed[i - 1]);
        client_look(c, ch.changed[i]);
    }
    store_changes_free(&ch);
    /* Flags of what is gone and untold are forgotten in sleep. */
    for (uint32_t seq = 1; seq <= c->n; seq++) {
        struct store_row r = { 0 };

        store_view_row(c->v, seq, &r);
        if (c->uid[seq - 1] != r.uid ||
            (c->sys[seq - 1] != (r.flags.sys & ~(uint32_t)STORE_RECENT) &&
             !view_gone_at(c->v, seq - 1))) {
            FAIL("message %u: known as UID %u, flags %x; is UID %u, flags %x", seq, c->uid[seq - 1],
                 c->sys[seq - 1], r.uid, r.flags.sys);
            break;
        }
    }
}

TEST(told_of_changes_is_as_looking_anew)
{
    struct client *c = mem_zalloc(3 * sizeof *c);
    struct store_view *other, *fresh;

    setup();
    fill(600);
    open_store();
    other = sel("INBOX");
    for (int i = 0; i < 3; i++)
        client_start(&c[i]);
    for (int round = 0; round < 150 && !test_case_failures; round++) {
        TEST_ROW("round %d", round);
        for (uint32_t i = rand_below(4); i > 0; i--)
            random_change(other);
        for (int i = 0; i < 3; i++) {
            if (rand_below(4) == 0)
                store_view_sleep(c[i].v); /* in turn: not while something gone is untold */
            if (rand_below(3) == 0) {
                CHECK_EQ_INT(store_view_wake(c[i].v, &e), 0);
                CHECK_EQ_INT(exists(c[i].v), c[i].n);
            }
            if (i == 0 || rand_below(2))
                client_sync(&c[i], i == 0 || rand_below(2));
        }
        if (rand_below(2))
            sync_quiet(other);
        if (rand_below(10) == 0) {
            BUG_ON(user_lock(us, &e));
            index_close(us);
            user_unlock(us);
        }
        check_sums();
    }
    for (int i = 0; i < 3; i++) {
        client_sync(&c[i], true);
        fresh = sel("INBOX");
        client_sync(&c[i], true); /* the fresh one may have found files */
        check_equal(c[i].v, fresh);
        store_unselect(&fresh);
        store_unselect(&c[i].v);
    }
    store_unselect(&other);
    free(c);
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
