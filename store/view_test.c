/* store/view_test.c - what a view knows, however it came by it: shared with other views, from a packed snapshot and what
 * changed since, told of changes one by one, asleep and awake. And the sums of a mailbox, the log of expunges, and an
 * index of an older version. */
#include "base/rand.h"
#include "store/shared.h"
#include "store/snapshot.h"
#include "store/store_test.h"

enum { MANY = 3000 };

/* ---- the index by hand ---- */

static int64_t
ask(const char *sql)
{
    struct db_stmt *s;
    int64_t v = INT64_MIN;

    if (user_lock(us, &e)) {
        FAIL("%s", e.msg);
        return v;
    }
    if (db_prepare_once(us->db, sl_z(sql), &s, NULL, &e) || db_step(s, &e) < 0)
        FAIL("%s: %s", sql, e.msg);
    else if (db_columns(s) > 0)
        v = db_int(s, 0);
    db_stmt_free(&s);
    user_unlock(us);
    return v;
}

static void
run(const char *sql)
{
    if (user_lock(us, &e)) {
        FAIL("%s", e.msg);
        return;
    }
    if (db_exec(us->db, sql, &e))
        FAIL("%s: %s", sql, e.msg);
    user_unlock(us);
}

static void
check_sums(void)
{
    static const struct {
        const char *name, *sql;
    } rows[] = {
        { "messages", "count(*) FROM messages WHERE mailbox = mailboxes.id" },
        { "unseen", "count(*) FROM messages WHERE mailbox = mailboxes.id AND flags & 1 = 0" },
        { "deleted", "count(*) FROM messages WHERE mailbox = mailboxes.id AND flags & 8 = 8" },
        { "octets", "coalesce(sum(size), 0) FROM messages WHERE mailbox = mailboxes.id" },
        { "crlf_octets",
          "coalesce(sum(max(crlf, size)), 0) FROM messages WHERE mailbox = mailboxes.id" },
        { "recent", "count(*) FROM messages WHERE mailbox = mailboxes.id AND uid >= recent_from" },
        { "ranges", "count(*) FROM expunges WHERE mailbox = mailboxes.id" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char sql[300];

        snprintf(sql, sizeof sql, "SELECT count(*) FROM mailboxes WHERE %s <> (SELECT %s)",
                 rows[i].name, rows[i].sql);
        if (ask(sql) != 0)
            FAIL("the sum %s is wrong", rows[i].name);
    }
}

/* ---- a mailbox with many messages ---- */

static void
fill(unsigned n)
{
    foreign_mkdirs("");
    for (unsigned i = 0; i < n; i++) {
        char path[400];
        int fd;

        snprintf(path, sizeof path, "%s/cur/%u.M%uP1.x:2,%s", root, 1700000000 + i, i,
                 i % 2 ? "S" : "");
        fd = open(path, O_CREAT | O_WRONLY, 0600);
        BUG_ON(fd < 0 || write(fd, "Subject: x\n\ny\n", 14) != 14);
        close(fd);
    }
}

static void
setup_many(void)
{
    setup();
    fill(MANY);
    open_store();
}

static void
again(void)
{
    close_store();
    open_store();
}

static void
expunge(struct store_view *v, uint32_t first, uint32_t last)
{
    struct store_uids u = { 0 };

    store_flags(v, first, last, STORE_ADD, STORE_DELETED, 0, true);
    store_uids_add(&u, first, last);
    if (store_expunge(v, &u, &e))
        FAIL("expunge: %s", e.msg);
    store_uids_free(&u);
}

static bool
row_eq(const struct store_row *a, const struct store_row *b)
{
    return a->uid == b->uid && ((a->flags.sys ^ b->flags.sys) & ~(uint32_t)STORE_RECENT) == 0 &&
           a->flags.kw == b->flags.kw && a->modseq == b->modseq;
}

/* Both know the same, but for \Recent. */
static void
check_equal(const struct store_view *a, const struct store_view *b)
{
    struct store_box x, y;
    struct store_row r, q;

    store_view_box(a, &x);
    store_view_box(b, &y);
    CHECK_EQ_INT(x.exists, y.exists);
    CHECK_EQ_INT(x.uidnext, y.uidnext);
    CHECK_EQ_INT(x.highestmodseq, y.highestmodseq);
    CHECK_EQ_INT(x.first_unseen_seq, y.first_unseen_seq);
    for (uint32_t i = 1; store_view_row(a, i, &r) && store_view_row(b, i, &q); i++)
        if (!row_eq(&r, &q)) {
            FAIL("rows %u differ: UID %u, %u; flags %x, %x; MODSEQ %llu, %llu", i, r.uid, q.uid,
                 r.flags.sys, q.flags.sys, (unsigned long long)r.modseq,
                 (unsigned long long)q.modseq);
            return;
        }
}

static void
check_rows_equal(const struct rows *a, const struct rows *b)
{
    CHECK_EQ_INT(rows_count(a), rows_count(b));
    for (size_t i = 0; i < rows_count(a) && i < rows_count(b); i++) {
        struct vrow x = rows_at(a, i), y = rows_at(b, i);

        if (x.uid != y.uid || x.sys != y.sys || x.kw != y.kw || x.modseq != y.modseq) {
            FAIL("rows %zu differ: UID %u, %u", i, x.uid, y.uid);
            return;
        }
    }
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

static void
random_change(struct store_view *v)
{
    uint32_t n = exists(v), first = 1 + rand_below(n + 5), many = 1 + rand_below(20);
    char name[80];

    switch (rand_below(5)) {
    case 0:
        expunge(v, first, first + many);
        break;
    case 1:
        for (uint32_t i = 0; i < many; i++) {
            snprintf(name, sizeof name, "%u.M%uP2.y", 1800000000 + rand_below(1000000),
                     rand_below(1000000));
            foreign("new", name, "Subject: n\n\nz\n");
        }
        break;
    case 2:
        append("INBOX", "Subject: a\r\n\r\nb\r\n", rand_below(2), NULL);
        break;
    default: /* not FLAGGED: other tests have it lie */
        store_flags(v, first, first + rand_below(2) * many, (enum store_op)rand_below(3),
                    rand_below(2) ? STORE_SEEN : STORE_ANSWERED, rand_below(2), false);
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

/* ---- snapshots ---- */

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

/* ---- the log of expunges ---- */

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

static struct store_uids
uids(const uint32_t *bounds, size_t n)
{
    struct store_uids u = { 0 };

    for (size_t i = 0; i + 1 < n; i += 2)
        store_uids_add(&u, bounds[i], bounds[i + 1]);
    return u;
}
#define UIDS(...) uids((const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

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

/* ---- sums ---- */

TEST(status_is_exact)
{
    struct store_view *v;
    struct store_uids some = UIDS(2, 5);
    struct store_copied done;
    struct store_status s;

    setup();
    fill(20);
    open_store();
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0); /* nobody has opened it */
    CHECK_EQ_INT(s.messages, 20);
    CHECK_EQ_INT(s.unseen, 10);
    CHECK_EQ_INT(s.recent, 0);
    foreign("new", "1800000001.M1P2.y", "Subject: n\n\nz\n");
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 21);
    CHECK_EQ_INT(s.unseen, 11);
    CHECK_EQ_INT(s.recent, 1);
    check_sums();
    CHECK_EQ_INT(store_create(us, SL("Copy"), 0, &e), 0);
    v = sel("INBOX");
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
    CHECK_EQ_INT(s.recent, 0);
    CHECK_EQ_INT(store_copy(v, &some, SL("Copy"), false, &done, &e), 0);
    store_copied_free(&done);
    check_sums();
    CHECK_EQ_INT(store_copy(v, &some, SL("Copy"), true, &done, &e), 0);
    store_copied_free(&done);
    check_sums();
    CHECK_EQ_INT(store_status(us, SL("Copy"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 8);
    CHECK_EQ_INT(s.unseen, 4);
    CHECK_EQ_INT(s.recent, 8);
    store_flags(v, 6, 9, STORE_ADD, STORE_DELETED | STORE_SEEN, 0, false);
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
    CHECK_EQ_INT(s.deleted, 4);
    check_sums();
    CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
    store_unselect(&v);
    CHECK_EQ_INT(append("Copy", "Subject: a\r\n\r\nb\r\n", STORE_SEEN, NULL), 9);
    check_sums();
    CHECK_EQ_INT(store_rename(us, SL("INBOX"), SL("Moved"), &e), 0);
    check_sums();
    CHECK_EQ_INT(store_status(us, SL("Moved"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 13);
    store_uids_free(&some);
    teardown();
}

/* ---- versions of the index ---- */

/* What version 1 of the index was made by. */
static const char version_1[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE mailboxes (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
    " uidvalidity INTEGER NOT NULL, uidnext INTEGER NOT NULL, uid_reserved INTEGER NOT NULL,"
    " recent_from INTEGER NOT NULL, modseq INTEGER NOT NULL, modseq_reserved INTEGER NOT NULL,"
    " floor INTEGER NOT NULL DEFAULT 0, new_mtime INTEGER NOT NULL DEFAULT 0, cur_mtime INTEGER "
    "NOT NULL DEFAULT 0, suspect_ms INTEGER NOT NULL DEFAULT 0, scan_ms INTEGER NOT NULL DEFAULT "
    "0, scan_cost_ms INTEGER NOT NULL DEFAULT 0, special_use INTEGER NOT NULL DEFAULT 0, object_id "
    "TEXT NOT NULL, pruned_modseq INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE messages (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, dir INTEGER NOT NULL, "
    "file TEXT NOT NULL, flags INTEGER NOT NULL, kw INTEGER NOT NULL, modseq INTEGER NOT NULL, "
    "size INTEGER NOT NULL, crlf INTEGER NOT NULL, date INTEGER NOT NULL, tz INTEGER NOT NULL, "
    "savedate INTEGER NOT NULL, email INTEGER NOT NULL, thread INTEGER NOT NULL, PRIMARY KEY "
    "(mailbox, uid)) WITHOUT ROWID;"
    "CREATE INDEX messages_modseq ON messages (mailbox, modseq);"
    "CREATE INDEX messages_new ON messages (mailbox, uid) WHERE dir = 0;"
    "CREATE INDEX messages_unseen ON messages (mailbox, uid) WHERE flags & 1 = 0;"
    "CREATE INDEX messages_deleted ON messages (mailbox, uid) WHERE flags & 8 = 8;"
    "CREATE TABLE cache (mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, envelope TEXT, "
    "bodystructure TEXT, body TEXT, PRIMARY KEY (mailbox, uid)) WITHOUT ROWID;"
    "CREATE TABLE keywords (mailbox INTEGER NOT NULL, at INTEGER NOT NULL, name TEXT NOT NULL,"
    " PRIMARY KEY (mailbox, at)) WITHOUT ROWID;"
    "CREATE TABLE expunges (mailbox INTEGER NOT NULL, modseq INTEGER NOT NULL, first INTEGER NOT "
    "NULL, last INTEGER NOT NULL, PRIMARY KEY (mailbox, modseq, first)) WITHOUT ROWID;"
    "CREATE TABLE pending (id INTEGER PRIMARY KEY, op INTEGER NOT NULL, mailbox INTEGER NOT NULL, "
    "name TEXT NOT NULL, tmp TEXT NOT NULL, file TEXT NOT NULL, src TEXT NOT NULL, src_file TEXT "
    "NOT NULL);"
    "INSERT INTO mailboxes (name, uidvalidity, uidnext, uid_reserved, recent_from, modseq,"
    " modseq_reserved, object_id) VALUES ('INBOX', 1234, 8, 520, 6, 9, 1000, 'abc');"
    "INSERT INTO expunges VALUES (1, 8, 3, 4);"
    "INSERT INTO messages VALUES (1, 1, 1, '1700000000.M0P1.x:2,', 0, 0, 2, 14, -1, 1, 0, 1, 11, "
    "11), (1, 2, 1, '1700000001.M1P1.x:2,S', 1, 0, 3, 14, 16, 1, 0, 1, 12, 12), (1, 5, 1, "
    "'1700000002.M2P1.x:2,', 0, 0, 4, 14, 17, 1, 0, 1, 13, 13), (1, 7, 1, "
    "'1700000003.M3P1.x:2,S', 1, 0, 9, 14, 17, 1, 0, 1, 14, 14);"
    "INSERT INTO cache VALUES (1, 1, '(\"old\")', '(\"old\")', '(\"old\")');";

static void
make_index(const char *sql, int version)
{
    char path[200];
    struct db *d;

    fs_mkdirs(root, 0700, NULL);
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    if (db_open(path, DB_CREATE | DB_WAL, 0, &d, &e) || db_exec(d, sql, &e) ||
        db_set_schema_version(d, version, &e))
        FAIL("%s", e.msg);
    db_close(&d);
}

TEST(an_index_of_version_1_is_upgraded_in_place)
{
    static const uint32_t uid[] = { 1, 2, 5, 7 };
    struct store_status s;
    struct store_view *v;
    struct store_row r;

    setup();
    fill(4);
    make_index(version_1, 1);
    open_store();
    check_sums();
    CHECK_EQ_INT(ask("SELECT messages * 1000 + unseen * 100 + recent * 10 + ranges FROM mailboxes"
                     " WHERE name = 'INBOX'"),
                 4000 + 200 + 10 + 2); /* nobody knows of which boot it was: a block is skipped */
    CHECK_EQ_INT(ask("SELECT octets * 1000 + crlf_octets FROM mailboxes WHERE name = 'INBOX'"),
                 56 * 1000 + 14 + 16 + 17 + 17);
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 4);
    CHECK_EQ_INT(s.unseen, 2);
    CHECK_EQ_INT(s.uidvalidity, 1234);
    v = sel("INBOX");
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(store_view_row(v, i + 1, &r));
        CHECK_EQ_INT(r.uid, uid[i]);
    }
    CHECK_EQ_INT(exists(v), 4);
    store_unselect(&v);
    teardown();
}

TEST(an_index_of_a_newer_version_is_left_alone)
{
    struct store_user *u;
    struct db *d;
    char path[200];
    int version;

    setup();
    fill(4);
    make_index("CREATE TABLE later (x); INSERT INTO later VALUES (1);", INDEX_SCHEMA + 1);
    memset(&e, 0, sizeof e);
    BUG_ON(store_new(conf, &st, &e));
    CHECK_EQ_INT(store_user_open(st, SL("bob@example.org"), NULL, &u, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    store_free(&st);
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    BUG_ON(db_open(path, 0, 0, &d, &e) || db_schema_version(d, &version, &e));
    CHECK_EQ_INT(version, INDEX_SCHEMA + 1);
    CHECK_EQ_INT(db_exec(d, "INSERT INTO later VALUES (2)", &e), 0);
    db_close(&d);
    turn(1);
    conf_unref(&conf);
    fs_remove_tree(base, NULL);
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
