/* store/index_test.c - what the index keeps of a mailbox, the versions it comes in, and one that is made anew. */
#include "store/view_test.h"

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

/* A scan soon after a change is not conclusive: let it be long ago. */
static void
backdate(const char *sub, time_t to)
{
    const struct timespec long_ago[2] = { { to, 0 }, { to, 0 } };
    static const char *const parts[] = { "cur", "new" };
    char path[300];

    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", root, sub, parts[i]);
        CHECK_EQ_INT(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    }
}

/* Of many at once: those that are as they were. What differs is for store_status(), which then knows it. */
TEST(status_of_what_is_unchanged)
{
    static const char *const names[] = { "INBOX", "a", "nowhere", "b" };
    struct store_status s[4], one;
    bool is_known[4];

    setup();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("a"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("b"), 0, &e), 0);
    CHECK_EQ_INT(append("a", "Subject: a\r\n\r\nb\r\n", 0, NULL), 1);
    backdate(".", 1700000000);
    backdate(".a", 1700000000);
    backdate(".b", 1700000000);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ_INT(store_status(us, sl_z(names[i]), &one, &e), i == 2 ? -1 : 0);
    CHECK_EQ_INT(store_status_unchanged(us, names, 4, s, is_known, &e), 0);
    CHECK(is_known[0] && is_known[1] && !is_known[2] && is_known[3]);
    CHECK_EQ_INT(s[1].messages, 1);
    CHECK_EQ_INT(s[1].uidnext, 2);
    CHECK_EQ_INT(s[3].messages, 0);
    foreign(".b/new", "1800000001.M1P2.y", "Subject: n\n\nz\n");
    CHECK_EQ_INT(store_status_unchanged(us, names, 4, s, is_known, &e), 0);
    CHECK(is_known[1] && !is_known[3]);
    backdate(".b", 1700000001);
    CHECK_EQ_INT(store_status(us, SL("b"), &one, &e), 0);
    CHECK_EQ_INT(one.messages, 1);
    CHECK_EQ_INT(store_status_unchanged(us, names, 4, s, is_known, &e), 0);
    CHECK(is_known[3]);
    CHECK_EQ_INT(s[3].messages, 1);
    teardown();
}

/* UIDs end: what comes after the last one gets none of those that were given. */
TEST(uids_that_are_used_up)
{
    struct store_box was, now;
    struct store_view *v;

    setup();
    fill(3);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &was);
    store_unselect(&v);
    run("UPDATE mailboxes SET uidnext = 4294967294, uid_reserved = 4294967294,"
        " recent_from = 4294967294 WHERE name = 'INBOX'"); /* as from an old server's list */
    for (uint32_t i = 0; i < 4; i++)
        CHECK_EQ_INT(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL), 1 + i);
    v = sel("INBOX");
    store_view_box(v, &now);
    CHECK_EQ_INT(now.exists, 7);
    CHECK_EQ_INT(now.uidnext, 8);
    CHECK(now.uidvalidity > was.uidvalidity);
    check_sums();
    store_unselect(&v);
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

/* Two processes meet the same damage: the second one does not take away what the first has made meanwhile. */
TEST(a_damaged_index_is_set_aside_once)
{
    struct store *st2;
    struct store_user *us2;
    struct store_view *v = NULL;
    struct db_stmt *s;
    char path[300], *junk;
    struct stat at, made;
    int fd, rc;

    setup();
    fill(600);
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    BUG_ON(user_lock(us, &e) || db_checkpoint(us->db, true, &e));
    user_unlock(us);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    BUG_ON(stat(path, &at) || (fd = open(path, O_WRONLY)) < 0);
    junk = mem_zalloc((size_t)at.st_size);
    memset(junk, 0x5a, (size_t)at.st_size);
    BUG_ON(pwrite(fd, junk, (size_t)at.st_size / 2, at.st_size / 2) != at.st_size / 2);
    close(fd);
    free(junk);
    open_store();
    BUG_ON(store_new(conf, &st2, &e) ||
           store_user_open(st2, SL("bob@example.org"), NULL, &us2, &e) || user_lock(us2, &e));
    BUG_ON(db_prepare(us2->db, "SELECT file FROM messages WHERE flags >= 0 AND file > ''", &s, &e));
    while ((rc = db_step(s, &e)) == 1)
        ;
    CHECK_EQ_INT(rc, -1);
    CHECK(db_is_damaged(us2->db));
    foreign("cur", "9999.M1P1.x:2,", "x\n"); /* the scan looks at every row */
    CHECK_EQ_INT(store_select(us, SL("INBOX"), false, &v, &e), -1);
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 601);
    BUG_ON(stat(path, &made));
    CHECK(made.st_ino != at.st_ino);
    user_unlock(us2);
    CHECK(stat(path, &at) == 0 && at.st_ino == made.st_ino);
    sync_quiet(v);
    store_unselect(&v);
    store_user_close(&us2);
    store_free(&st2);
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
