/* store/snapshot_test.c - rows from a packed snapshot and what changed since are those of the index. */
#include "store/snapshot.h"
#include "store/view_test.h"

TEST(a_snapshot_and_what_changed_since_are_the_rows)
{
    struct rows *packed_rows;
    struct store_view *v;
    int64_t packed;

    setup_many();
    v = sel("INBOX");
    store_unselect(&v);
    packed = ask("SELECT modseq FROM snapshots");
    CHECK(packed > 0);
    /* It is used: this change has no MODSEQ of its own. */
    run("UPDATE messages SET flags = flags | 4 WHERE uid = 77");
    again();
    v = sel("INBOX");
    CHECK(!(flags_of(v, 77) & STORE_FLAGGED));
    store_unselect(&v);
    run("UPDATE messages SET flags = flags & ~4 WHERE uid = 77");
    for (int round = 0; round < 12 && !test_case_failures; round++) {
        TEST_ROW("round %d", round);
        again();
        v = sel("INBOX");
        for (int i = 0; i < 6; i++) {
            random_change(v);
            sync_quiet(v);
        }
        store_unselect(&v);
        again();
        v = sel("INBOX");
        packed_rows = rows_ref(v->rows);
        store_unselect(&v);
        run("DELETE FROM snapshots");
        again();
        v = sel("INBOX"); /* from the rows alone */
        check_rows_equal(packed_rows, v->rows);
        rows_unref(&packed_rows);
        store_unselect(&v);
    }
    teardown();
}

TEST(a_long_replay_packs_anew_and_a_short_one_does_not)
{
    struct store_view *v;
    int64_t first;

    setup_many();
    v = sel("INBOX");
    first = ask("SELECT modseq FROM snapshots");
    CHECK_EQ_INT(store_flags(v, 1, 500, STORE_ADD, STORE_ANSWERED, 0, false), 0);
    store_unselect(&v);
    again();
    v = sel("INBOX");
    CHECK_EQ_INT(ask("SELECT modseq FROM snapshots"), first);
    CHECK_EQ_INT(store_flags(v, 501, 1001, STORE_ADD, STORE_ANSWERED, 0, false), 0);
    store_unselect(&v);
    again();
    v = sel("INBOX");
    CHECK(ask("SELECT modseq FROM snapshots") > first);
    CHECK(flags_of(v, 1001) & STORE_ANSWERED);
    store_unselect(&v);
    teardown();
}

TEST(a_snapshot_that_is_no_good)
{
    static const struct {
        const char *name, *sql;
        bool is_remade;
    } rows[] = {
        { "damaged", "UPDATE snapshots SET rows = CAST(substr(rows, 1, 20) AS BLOB)", true },
        { "empty", "UPDATE snapshots SET rows = x''", true },
        { "of another moment", "UPDATE snapshots SET modseq = modseq - 1", true },
        { "of another mailbox: too few",
          "DELETE FROM messages WHERE uid = 9;"
          "UPDATE mailboxes SET messages = messages - 1,"
          " octets = octets - 14, crlf_octets = crlf_octets - 14",
          true },
        { "older than the log of expunges",
          "UPDATE mailboxes SET modseq = modseq + 1,"
          " pruned_modseq = modseq + 1",
          true },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct store_view *v;
        struct store_row r;
        uint32_t n = 0;

        TEST_ROW("%s", rows[i].name);
        setup_many();
        v = sel("INBOX");
        store_unselect(&v);
        CHECK_EQ_INT(ask("SELECT count(*) FROM snapshots"), 1);
        run(rows[i].sql);
        run("UPDATE messages SET flags = flags | 4 WHERE uid = 77"); /* in the rows alone */
        BUG_ON(user_lock(us, &e));
        us->db_inode = us->db_inode + 1; /* a connection anew */
        user_unlock(us);
        v = sel("INBOX");
        for (uint32_t seq = 1; store_view_row(v, seq, &r); seq++)
            n += (r.flags.sys & STORE_FLAGGED) != 0 && r.uid == 77;
        CHECK_EQ_INT(n, 1);
        CHECK_EQ_INT(exists(v), ask("SELECT messages FROM mailboxes WHERE name = 'INBOX'"));
        if (rows[i].is_remade) {
            struct rows *packed;
            struct mbox mb;
            uint64_t modseq;
            bool is_bad;

            BUG_ON(user_lock(us, &e) || mbox_load(us, v->mailbox, &mb, &e) != 1);
            CHECK_EQ_INT(snapshot_load(us, &mb, &packed, &modseq, &is_bad, &e), 1);
            user_unlock(us);
            if (packed != NULL)
                CHECK_EQ_INT(rows_count(packed), exists(v));
            rows_unref(&packed);
        }
        store_unselect(&v);
        teardown();
    }
}

TEST(after_an_unclean_stop_all_counts_as_changed)
{
    struct store_view *v;
    struct store_row r;
    uint64_t told;

    setup_many();
    index_fake_boot("one");
    again();
    v = sel("INBOX");
    told = v->modseq;
    store_unselect(&v);
    CHECK_EQ_INT(ask("SELECT count(*) FROM snapshots"), 1);
    close_store();
    index_fake_boot("two");
    open_store();
    v = sel("INBOX");
    for (uint32_t seq = 1; store_view_row(v, seq, &r); seq++)
        if (r.modseq <= told) {
            FAIL("message %u has MODSEQ %llu, told was %llu", seq, (unsigned long long)r.modseq,
                 (unsigned long long)told);
            break;
        }
    check_sums();
    store_unselect(&v);
    index_fake_boot(NULL);
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
