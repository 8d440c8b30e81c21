/* store/check_test.c - every fault that check knows, made, found and put right; rebuild, stats and purge. */
#include "store/maintain.h"
#include "store/rows.h"
#include "store/snapshot.h"

#include "store/store_test.h"

#include <sys/file.h>

static char notes[4000];

static void
on_note(void *arg, struct slice mailbox, const char *text)
{
    size_t n = strlen(notes);

    (void)arg;
    snprintf(notes + n, sizeof notes - n, "%.*s: %s\n", SL_ARG(mailbox), text);
}

static struct store_check
check(bool must_fix, bool is_full)
{
    struct store_check c = { .must_fix = must_fix,
                             .reads_files = is_full,
                             .teller = { .note = on_note } };

    notes[0] = '\0';
    if (store_check(st, SL("bob@example.org"), NULL, &c, &e))
        FAIL("check: %s", e.msg);
    return c;
}

static void
sql(const char *text)
{
    NEED(user_lock(us, &e) == 0);
    if (db_exec(us->db, text, &e))
        FAIL("%s: %s", text, e.msg);
    user_unlock(us);
}

/* The folders' mtimes are older than the clock's tick: a scan of them is conclusive. */
static void
settle(void)
{
    struct store_view *v;

    usleep(60 * 1000);
    sql("UPDATE mailboxes SET new_mtime = 0, cur_mtime = 0, suspect_ms = 0");
    v = sel("INBOX");
    store_unselect(&v);
    v = sel("Work");
    store_unselect(&v);
}

static void
fill(void)
{
    struct store_view *v;
    struct store_msg m;

    setup();
    open_store();
    v = sel("INBOX"); /* mailbox 1 */
    store_unselect(&v);
    CHECK_EQ_INT(store_create(us, SL("Work"), 0, &e), 0);
    for (int i = 0; i < 5; i++)
        CHECK(append("INBOX", "Subject: x\r\n\r\nhello\r\n", i == 0 ? STORE_SEEN : 0,
                     i == 1 ? "word" : NULL) > 0);
    CHECK(append("Work", "Subject: w\r\n\r\nhello\r\n", 0, "other") > 0);
    v = sel("INBOX");
    CHECK_EQ_INT(store_flags(v, 5, 5, STORE_ADD, STORE_DELETED, 0, false), 0);
    CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_ENVELOPE, &m, &e), 0);
    store_msg_free(&m);
    store_unselect(&v);
    settle();
}

TEST(a_good_one_is_good)
{
    struct store_check c;

    fill();
    c = check(false, true);
    CHECK_EQ_STR(notes, "");
    CHECK_EQ_INT(c.faults, 0);
    CHECK_EQ_INT(c.pending, 0);
    CHECK_EQ_INT(c.messages, 5);
    teardown();
}

/* Columns of messages and mailboxes made wrong behind the store's back. */
TEST(faults_of_the_index)
{
    static const struct {
        const char *name, *sql, *says;
        uint64_t faults;
    } rows[] = {
        { "sum of messages", "UPDATE mailboxes SET messages = 7 WHERE name = 'INBOX'",
          "INBOX: 1 sums differ", 1 },
        { "sum of unseen", "UPDATE mailboxes SET unseen = unseen + 1", "unseen ones", 2 },
        { "sums of octets", "UPDATE mailboxes SET octets = 0, crlf_octets = 1 WHERE name = 'Work'",
          "Work: 2 sums", 2 },
        { "sum of the log", "UPDATE mailboxes SET ranges = 9 WHERE name = 'INBOX'", "the log", 1 },
        { "no file", "UPDATE messages SET file = '1.none:2,' WHERE mailbox = 1 AND uid = 2",
          "have no file", 3 }, /* its file has no row then, and its flags are not the name's */
        { "no row", "DELETE FROM messages WHERE mailbox = 1 AND uid = 2", "are not in the index",
          5 },
        { "flags", "UPDATE messages SET flags = 4 WHERE mailbox = 1 AND uid = 2", "other flags",
          1 },
        { "flags and a sum", "UPDATE messages SET flags = 1 WHERE mailbox = 1 AND uid = 2",
          "other flags", 2 },
        { "keywords", "UPDATE messages SET kw = 0 WHERE mailbox = 1 AND uid = 2", "other flags",
          1 },
        { "a keyword without a name", "UPDATE messages SET kw = kw | (1 << 40) WHERE uid = 1",
          "keywords without a name", 2 },
        { "keywords' names", "UPDATE keywords SET name = 'another' WHERE mailbox = 1",
          "letter a is another in the index, word in the file", 1 },
        { "size on the wire", "UPDATE messages SET crlf = crlf + 1 WHERE mailbox = 1 AND uid = 1",
          "another size on the wire", 2 },
        { "UIDNEXT", "UPDATE mailboxes SET uidnext = 2 WHERE name = 'INBOX'", "not below UIDNEXT",
          3 },
        { "reserve of UIDs", "UPDATE mailboxes SET uid_reserved = 1 WHERE name = 'INBOX'",
          "reserved up to 1", 1 },
        { "MODSEQ", "UPDATE messages SET modseq = 1 << 50 WHERE mailbox = 1 AND uid = 1",
          "above HIGHESTMODSEQ", 1 },
        { "log of expunges", "UPDATE expunges SET first = 1", "messages that are there", 1 },
        { "UIDVALIDITY", "UPDATE mailboxes SET uidvalidity = 4294967000 WHERE name = 'Work'",
          "UIDVALIDITY", 1 },
        { "orphans",
          "INSERT INTO messages SELECT 99, uid, dir, file, flags, kw, modseq, size,"
          " crlf, date, tz, savedate, email, thread FROM messages WHERE mailbox = 1",
          "4 messages of mailboxes that are gone", 4 },
        { "cached forms", "INSERT INTO cache (mailbox, uid) VALUES (1, 77), (55, 1)",
          "2 cached forms", 2 },
        { "foreign ids", "INSERT INTO foreign_ids (mailbox, uid) VALUES (1, 77)", "1 ids", 1 },
        { "twins",
          "UPDATE messages SET file = (SELECT file FROM messages WHERE mailbox = 1 AND uid"
          " = 3) WHERE mailbox = 1 AND uid = 4",
          "the file of another one", 2 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_check c;

        TEST_ROW("%s", rows[i].name);
        fill();
        sql(rows[i].sql);
        c = check(false, false);
        CHECK_EQ_INT(c.faults, rows[i].faults);
        if (strstr(notes, rows[i].says) == NULL)
            FAIL("says: %s", notes);
        c = check(true, false);
        CHECK_EQ_INT(c.faults, rows[i].faults);
        CHECK_EQ_INT(c.fixed, c.faults);
        c = check(false, true);
        if (c.faults != 0)
            FAIL("left: %s", notes);
        teardown();
    }
}

/* A file that is changed in place: another message, which gets another UID. */
TEST(a_file_of_another_size)
{
    struct store_check c;
    struct store_view *v;
    char path[600];
    struct store_row r = { 0 };

    fill();
    snprintf(path, sizeof path, "%s/cur/%s", root, name_with("cur", ":2,S"));
    CHECK_EQ_INT(fs_replace_file(path, SL("Subject: x\n\nquite another one\n"), 0600, NULL), 0);
    settle();
    c = check(true, false);
    CHECK(strstr(notes, "another size than the index says: UID 1") != NULL);
    CHECK_EQ_INT(c.faults, 1);
    CHECK_EQ_INT(c.fixed, 1);
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 4);
    CHECK(store_view_row(v, 4, &r));
    CHECK_EQ_INT(r.uid, 6);
    CHECK_EQ_INT(r.flags.sys & STORE_SEEN, STORE_SEEN);
    store_unselect(&v);
    teardown();
}

/* What other programs did a moment ago is no fault. */
/* The packed rows, of which a mailbox is opened. */
TEST(snapshots)
{
    static const struct {
        const char *name, *sql;
    } rows[] = {
        { "other flags",
          "UPDATE messages SET flags = flags | 2, file = file || 'R' WHERE uid = 2 AND"
          " mailbox = 1; UPDATE mailboxes SET cur_mtime = 0" },
        { "a message less", "DELETE FROM messages WHERE uid = 2 AND mailbox = 1" },
        { "not readable", "UPDATE snapshots SET rows = x'010203'" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_check c;
        struct store_view *v;
        struct rows_maker *m;
        struct rows *r;
        struct store_box b;

        TEST_ROW("%s", rows[i].name);
        fill();
        v = sel("INBOX");
        store_view_box(v, &b);
        m = rows_maker_new();
        for (uint32_t seq = 1; seq <= b.exists; seq++) {
            struct store_row row = { 0 };

            CHECK(store_view_row(v, seq, &row));
            rows_maker_add(m, &(struct vrow){ row.uid, row.flags.sys & ~(uint32_t)STORE_RECENT,
                                              row.flags.kw, row.modseq });
        }
        r = rows_maker_end(&m);
        NEED(user_lock(us, &e) == 0);
        CHECK_EQ_INT(snapshot_save(us, 1, b.uidvalidity, b.highestmodseq, r, &e), 0);
        user_unlock(us);
        rows_unref(&r);
        store_unselect(&v);
        c = check(false, false);
        CHECK_EQ_STR(notes, "");
        sql(rows[i].sql);
        c = check(false, false);
        if (strstr(notes, "1 snapshot differs") == NULL)
            FAIL("says: %s", notes);
        c = check(true, false);
        CHECK(c.faults > 0);
        CHECK_EQ_INT(c.fixed, c.faults);
        CHECK_EQ_INT(check(false, false).faults, 0);
        teardown();
    }
}

TEST(changes_not_yet_seen)
{
    struct store_check c;

    fill();
    foreign("cur", "5.new:2,F", "Subject: n\n\nx\n");
    c = check(true, false);
    CHECK_EQ_STR(notes, "");
    CHECK_EQ_INT(c.faults, 0);
    CHECK_EQ_INT(c.pending, 1);
    teardown();
}

/* A COPY of another process is no fault while it is under way, and is one when that process has died. */
TEST(commands_under_way)
{
    struct store_check c;
    char path[300];
    int other;

    fill();
    sql("INSERT INTO pending VALUES (99, 1, 1, 'INBOX', 'none', '9.none:2,', '', '')");
    snprintf(path, sizeof path, "%s/" INDEX_LOCK_FILE, root);
    other = open(path, O_RDWR | O_CLOEXEC);
    NEED(other >= 0 && flock(other, LOCK_SH) == 0);
    c = check(false, false);
    CHECK_EQ_STR(notes, "");
    CHECK_EQ_INT(c.faults, 0);
    close(other);
    c = check(false, false);
    CHECK_EQ_STR(notes, ": 1 messages of a command that was interrupted\n");
    CHECK_EQ_INT(c.faults, 1);
    teardown();
}

TEST(a_damaged_database)
{
    struct store_check c;
    struct store_view *v;
    char path[300];
    struct store_box was, now;
    FILE *f;

    fill();
    v = sel("INBOX");
    store_view_box(v, &was);
    store_unselect(&v);
    NEED(user_lock(us, &e) == 0);
    index_checkpoint(us, 0);
    user_unlock(us);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    f = fopen(path, "r+");
    NEED(f != NULL);
    for (long at = 4096 * 2; at < 4096 * 60; at += 4096) { /* past the schema */
        fseek(f, at, SEEK_SET);
        fwrite("garbage garbage garbage", 1, 23, f);
    }
    fclose(f);
    BUG_ON(store_new(conf, &st, &e));
    c = check(false, false);
    CHECK(c.is_damaged);
    CHECK_EQ_INT(c.faults, 1);
    c = check(true, false);
    CHECK(c.is_damaged);
    CHECK_EQ_INT(c.fixed, 1);
    CHECK_EQ_INT(store_user_open(st, SL("bob@example.org"), NULL, &us, &e), 0);
    c = check(false, true);
    CHECK_EQ_STR(notes, "");
    v = sel("INBOX");
    store_view_box(v, &now);
    CHECK_EQ_INT(now.exists, 4);
    CHECK(now.uidvalidity > was.uidvalidity);
    store_unselect(&v);
    teardown();
}

TEST(rebuilt)
{
    struct store_rebuilt sum;
    struct store_view *v, *open;
    struct store_box was, now;
    struct store_row before[4], after[4];
    struct store_changes ch;

    fill();
    open = sel("INBOX");
    store_view_box(open, &was);
    for (uint32_t i = 0; i < 4; i++)
        CHECK(store_view_row(open, i + 1, &before[i]));
    CHECK_EQ_INT(store_rebuild(st, SL("bob@example.org"), NULL, NULL, &sum, &e), 0);
    CHECK_EQ_INT(sum.messages, 5);
    v = sel("INBOX");
    store_view_box(v, &now);
    CHECK(now.uidvalidity > was.uidvalidity);
    CHECK(now.highestmodseq > was.highestmodseq);
    NEED(now.exists == 4);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(store_view_row(v, i + 1, &after[i]));
        CHECK_EQ_INT(after[i].flags.sys & ~(uint32_t)STORE_RECENT,
                     before[i].flags.sys & ~(uint32_t)STORE_RECENT);
        CHECK_EQ_INT(after[i].flags.kw, before[i].flags.kw);
    }
    CHECK_EQ_STR(store_view_keyword(v, 0), "word");
    store_unselect(&v);
    CHECK_EQ_INT(store_view_sync(open, true, &ch, &e), 0); /* who had it open hears of it */
    CHECK(ch.is_invalid);
    store_changes_free(&ch);
    store_unselect(&open);
    CHECK_EQ_INT(check(false, true).faults, 0);
    teardown();
}

/* Keywords beyond the letters are in the index alone: a rebuild of a good one keeps them. */
TEST(rebuilt_with_many_keywords)
{
    struct store_rebuilt sum;
    struct store_view *v;
    struct store_row r = { 0 };
    char word[20];
    uint64_t kw = 0;

    fill();
    v = sel("INBOX");
    for (int i = 0; i < 40; i++) {
        snprintf(word, sizeof word, "kw%d", i);
        CHECK_EQ_INT(store_keyword(v, sl_z(word), true, &e), i + 1);
    }
    kw = UINT64_C(1) << 35 | 1;
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_SET, 0, kw, false), 0);
    store_unselect(&v);
    CHECK_EQ_INT(store_rebuild(st, SL("bob@example.org"), NULL, NULL, &sum, &e), 0);
    v = sel("INBOX");
    CHECK(store_view_row(v, 1, &r));
    CHECK_EQ_INT(r.flags.kw, kw);
    CHECK_EQ_STR(store_view_keyword(v, 35), "kw34");
    store_unselect(&v);
    teardown();
}

TEST(stats_and_purge)
{
    struct store_stats s;
    struct store_purged p;
    char path[300];
    int fd;

    fill();
    CHECK_EQ_INT(store_stats(us, &s, &e), 0);
    NEED(s.n >= 2);
    CHECK_EQ_STR(s.v[0].name, "INBOX");
    CHECK_EQ_INT(s.v[0].messages, 4);
    CHECK_EQ_INT(s.v[0].unseen, 3);
    CHECK_EQ_INT(s.v[0].cached, 1);
    CHECK_EQ_INT(s.v[0].expunges, 1);
    CHECK_EQ_INT(s.v[0].keywords, 1);
    CHECK(s.index_octets > 4096);
    store_stats_free(&s);

    snprintf(path, sizeof path, "%s/" INDEX_FILE ".damaged", root);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0);
    close(fd);
    sql("INSERT INTO cache (mailbox, uid) VALUES (1, 77)");
    CHECK_EQ_INT(store_purge(us,
                             STORE_PURGE_EXPUNGES | STORE_PURGE_CACHE | STORE_PURGE_TMP |
                                 STORE_PURGE_DAMAGED | STORE_PURGE_VACUUM,
                             &p, &e),
                 0);
    CHECK_EQ_INT(p.expunges, 0); /* of today */
    CHECK_EQ_INT(p.cached, 1);
    CHECK_EQ_INT(p.damaged_files, 1);
    sql("UPDATE expunges SET at = at - 100000");
    CHECK_EQ_INT(store_purge(us, STORE_PURGE_EXPUNGES | STORE_PURGE_ALL_CACHE, &p, &e), 0);
    CHECK_EQ_INT(p.expunges, 1);
    CHECK_EQ_INT(check(false, true).faults, 0);
    CHECK_EQ_INT(store_stats(us, &s, &e), 0);
    CHECK_EQ_INT(s.v[0].cached, 0);
    CHECK_EQ_INT(s.v[0].expunges, 0);
    store_stats_free(&s);
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
