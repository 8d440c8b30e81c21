/* store/disk_test.c - what happens on disk beside us: foreign writers, interruptions, a lost index, an old server. */
#include "store/store_test.h"

TEST(foreign_writers)
{
    struct store_view *v;
    struct store_changes c;
    char from[600], to[600];

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    v = sel("INBOX");

    foreign("new", "1800000000.M1P1.other", "Subject: x\n\nfrom outside\n");
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    CHECK(c.exists_changed && c.recent_changed);
    CHECK_EQ_INT(exists(v), 2);
    CHECK_EQ_INT(flags_of(v, 2), STORE_RECENT);
    store_changes_free(&c);
    CHECK_EQ_INT(count_files("new"), 0); /* taken */

    /* a rename gives flags and a keyword without a name */
    snprintf(from, sizeof from, "%s/cur/%s", root, name_with("cur", "1800000000"));
    snprintf(to, sizeof to, "%s/cur/1800000000.M1P1.other:2,FSb", root);
    CHECK_EQ_INT(rename(from, to), 0);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    NEED(c.n_changed == 1);
    CHECK_EQ_INT(c.changed[0], 2);
    CHECK(c.keywords_changed);
    CHECK_EQ_STR(store_view_keyword(v, 1), "unknown-1");
    CHECK_EQ_INT(flags_of(v, 2), STORE_RECENT | STORE_FLAGGED | STORE_SEEN);
    store_changes_free(&c);

    /* renamed again, and we change flags before we know */
    snprintf(from, sizeof from, "%s/cur/1800000000.M1P1.other:2,F", root);
    CHECK_EQ_INT(rename(to, from), 0);
    CHECK_EQ_INT(store_flags(v, 2, 2, STORE_ADD, STORE_ANSWERED, 0, false), 0);
    CHECK(strstr(name_with("cur", "1800000000"), ":2,FR") != NULL);
    sync_quiet(v);
    CHECK_EQ_INT(flags_of(v, 2), STORE_RECENT | STORE_FLAGGED | STORE_ANSWERED);

    /* renamed before we read it */
    snprintf(from, sizeof from, "%s/cur/%s", root, name_with("cur", "1800000000"));
    snprintf(to, sizeof to, "%s/cur/1800000000.M1P1.other:2,", root);
    CHECK_EQ_INT(rename(from, to), 0);
    struct store_file *f;
    CHECK_EQ_INT(store_file_open(v, 2, &f, &e), 0);
    store_file_close(&f);

    /* removed */
    CHECK_EQ_INT(unlink(to), 0);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    NEED(c.n_expunged == 1);
    CHECK_EQ_INT(c.expunged[0], 2);
    store_changes_free(&c);

    /* a wreck is nothing; whole, it is a message */
    foreign("new", "1800000001.M1P1.other,S=10", "short");
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 1);
    foreign("new", "1800000001.M1P1.other,S=10", "long\nenoug");
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 2);
    struct store_msg m;
    CHECK_EQ_INT(store_fetch(v, 2, STORE_GET_SIZE, &m, &e), 0);
    CHECK_EQ_INT(m.size_octets, 11); /* no W=: counted with CRLF */
    store_msg_free(&m);
    store_unselect(&v);
    teardown();
}

TEST(two_files_of_one_base_name_are_two_messages)
{
    struct store_view *v;

    setup();
    open_store();
    foreign("cur", "1800000000.M1P1.other:2,S", "one\n");
    foreign("cur", "1800000000.M1P1.other:2,F", "two\n");
    v = sel("INBOX");
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 2);
    CHECK_EQ_INT(count_files("cur"), 2);
    store_unselect(&v);
    teardown();
}

/* What a kill between the steps of a COPY, APPEND or MOVE leaves, is undone by whoever comes next: nobody was told that it had
 * happened. */
static void
leave_record(const char *to, const char *tmp, const char *file, const char *from,
             const char *src_file)
{
    int64_t id;
    char sql[2000];

    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(mbox_find(us, sl_z(to), &id, &e), 0);
    snprintf(sql, sizeof sql,
             "INSERT INTO pending VALUES (NULL, 1, %lld, '%s', '%s', '%s', '%s', '%s')",
             (long long)id, to, tmp, file, from, src_file);
    CHECK_EQ_INT(db_exec(us->db, sql, &e), 0);
    user_unlock(us);
    close_store();
    open_store();
}

TEST(an_interrupted_append_never_happened)
{
    struct store_view *v;
    char from[600], to[600];

    setup();
    open_store();
    v = sel("Sent"); /* the rows are there */
    store_unselect(&v);
    for (int moved = 0; moved <= 2; moved++) {
        TEST_ROW("%d of 2 renamed", moved);
        for (int i = 0; i < 2; i++) {
            snprintf(from, sizeof from, "%s/.Sent/tmp/t%d", root, i);
            CHECK_EQ_INT(fs_replace_file(from, SL("one\n"), 0600, &e), 0);
            snprintf(to, sizeof to, "%s/.Sent/cur/170%d.M1P1.x,S=4,W=5:2,S", root, i);
            if (i < moved)
                CHECK_EQ_INT(rename(from, to), 0);
        }
        leave_record("Sent", "t0/t1", "1700.M1P1.x,S=4,W=5:2,S/1701.M1P1.x,S=4,W=5:2,S", "", "");
        v = sel("Sent");
        CHECK_EQ_INT(exists(v), 0);
        CHECK_EQ_INT(count_files(".Sent/tmp"), 0);
        CHECK_EQ_INT(count_files(".Sent/cur"), 0);
        store_unselect(&v);
    }
    teardown();
}

TEST(an_interrupted_copy_never_happened)
{
    struct store_view *v;
    char src[300], from[600], to[600];

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    v = sel("INBOX");
    store_unselect(&v);
    snprintf(src, sizeof src, "%s", name_with("cur", ",S="));
    snprintf(from, sizeof from, "%s/cur/%s", root, src);
    /* a foreign program has given it a flag already */
    snprintf(to, sizeof to, "%s/.Sent/cur/1700.M1P1.x,S=4,W=5:2,F", root);
    CHECK_EQ_INT(link(from, to), 0);
    leave_record("Sent", "", "1700.M1P1.x,S=4,W=5:2,/1701.M1P1.x,S=4,W=5:2,", "", src);
    v = sel("Sent");
    CHECK_EQ_INT(exists(v), 0);
    store_unselect(&v);
    CHECK_EQ_INT(count_files(".Sent/cur"), 0);
    CHECK_EQ_INT(count_files("cur"), 1);
    teardown();
}

TEST(an_interrupted_move_never_happened)
{
    struct store_view *v;
    char src[2][300], from[600], to[600], files[700];
    struct store_row r = { 0 };

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    v = sel("INBOX");
    store_unselect(&v);
    snprintf(src[0], sizeof src[0], "%s", name_with("cur", ",S="));
    snprintf(src[1], sizeof src[1], "1600.M1P1.y,S=4:2,");
    snprintf(from, sizeof from, "%s/cur/%s", root, src[0]);
    snprintf(to, sizeof to, "%s/.Trash/cur/1750.M1P1.x,S=4,W=5:2,", root);
    CHECK_EQ_INT(rename(from, to), 0);
    snprintf(files, sizeof files, "%s/%s", src[0], src[1]);
    leave_record("Trash", "", "1750.M1P1.x,S=4,W=5:2,/1751.M1P1.x,S=4,W=5:2,", "INBOX", files);
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 1);
    CHECK(store_view_row(v, 1, &r));
    CHECK_EQ_INT(r.uid, 1); /* nobody has looked meanwhile */
    CHECK_EQ_STR(name_with("cur", ",S="), src[0]);
    store_unselect(&v);
    v = sel("Trash");
    CHECK_EQ_INT(exists(v), 0);
    store_unselect(&v);

    /* It had happened, but for a source on another file system. */
    leave_record("Trash", "", "", "INBOX", src[0]);
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 0);
    store_unselect(&v);
    teardown();
}

/* A COPY or MOVE that is answered NO leaves nothing in the destination, now or later, and takes nothing from the source. */
TEST(a_copy_that_fails_on_its_way_never_happened)
{
    for (int is_move = 0; is_move < 2; is_move++) {
        struct store_view *v, *w;
        struct store_uids u = { 0 };
        struct store_copied done;
        struct db_stmt *s;
        char path[600];

        TEST_ROW(is_move ? "MOVE" : "COPY");
        setup();
        open_store();
        for (int i = 0; i < 5; i++)
            append("INBOX", "x\r\n", 0, NULL);
        append("INBOX", "the fourth of six is gone\r\n", 0, NULL);
        v = sel("INBOX");
        snprintf(path, sizeof path, "%s/cur/%s", root, name_with("cur", ",S=26"));
        CHECK_EQ_INT(unlink(path), 0);
        store_uids_add(&u, 1, 6);
        CHECK_EQ_INT(store_copy(v, &u, SL("Sent"), is_move, &done, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_PERM);
        store_uids_free(&u);
        CHECK_EQ_INT(count_files(".Sent/cur"), 0);
        CHECK_EQ_INT(count_files("cur"), 5);
        NEED(user_lock(us, &e) == 0);
        CHECK_EQ_INT(db_prepare(us->db, "SELECT 1 FROM pending", &s, &e), 0);
        CHECK_EQ_INT(db_step(s, &e), 0);
        user_unlock(us);
        w = sel("Sent");
        CHECK_EQ_INT(exists(w), 0);
        store_unselect(&w);
        sync_quiet(v);
        CHECK_EQ_INT(exists(v), 5);
        CHECK_EQ_INT(store_view_seq(v, 5), 5); /* under their UIDs */
        store_unselect(&v);
        teardown();
    }
}

/* UIDs that left together are one range of the log, whatever their number. */
TEST(an_expunge_of_many_is_few_rows)
{
    struct store_view *v;
    struct store_uids u = { 0 };
    struct store_copied done;
    struct db_stmt *s;

    setup();
    open_store();
    for (int i = 1; i <= 60; i++) {
        char name[40];

        snprintf(name, sizeof name, "%d.M1P1.x:2,%s", i, i == 20 ? "" : "T");
        foreign("cur", name, "x\n");
    }
    v = sel("INBOX");
    CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 1);
    store_uids_add(&u, 20, 20);
    CHECK_EQ_INT(store_copy(v, &u, SL("Sent"), true, &done, &e), 0);
    store_copied_free(&done);
    store_uids_free(&u);
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(db_prepare(us->db, "SELECT count(*), sum(last - first + 1) FROM expunges", &s, &e),
                 0);
    CHECK_EQ_INT(db_step(s, &e), 1);
    CHECK_EQ_INT(db_int(s, 0), 3); /* 1:19, 21:60; and 20, later */
    CHECK_EQ_INT(db_int(s, 1), 60);
    db_reset(s);
    user_unlock(us);
    store_unselect(&v);
    teardown();
}

TEST(the_index_is_deleted_and_rebuilt)
{
    struct store_view *v;
    struct store_box before, after;
    struct store_msg m;
    struct store_row r;
    char path[300];

    setup();
    open_store();
    append("INBOX", "one\r\ntwo\r\n", STORE_SEEN | STORE_FLAGGED, "$Label");
    append("INBOX", "two\r\n", 0, "$Other");
    v = sel("INBOX");
    store_view_box(v, &before);
    store_unselect(&v);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    CHECK_EQ_INT(unlink(path), 0);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &after);
    CHECK(after.uidvalidity > before.uidvalidity);
    CHECK_EQ_INT(after.exists, 2);
    CHECK_EQ_INT(after.recent, 0);
    CHECK_EQ_INT(flags_of(v, 1), STORE_SEEN | STORE_FLAGGED);
    store_view_row(v, 2, &r);
    CHECK_EQ_STR(store_view_keyword(v, 0), "$Label");
    CHECK_EQ_STR(store_view_keyword(v, 1), "$Other");
    CHECK_EQ_INT(r.flags.kw, 2);
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_SIZE | STORE_GET_DATE, &m, &e), 0);
    CHECK_EQ_INT(m.size_octets, 10);
    CHECK_EQ_INT(m.internaldate_unix_s, 1700000000);
    store_msg_free(&m);

    /* under an open view: it is told to end */
    struct store_changes c;
    CHECK_EQ_INT(unlink(path), 0);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    CHECK(c.is_invalid);
    store_changes_free(&c);
    store_unselect(&v);
    teardown();
}

TEST(a_damaged_index_is_set_aside)
{
    struct store_view *v;
    char path[300];

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    CHECK_EQ_INT(fs_replace_file(path, SL("this is no database, and never was one"), 0600, &e), 0);
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 1);
    store_unselect(&v);
    teardown();
}

/* Pages that go bad under an open index: whoever meets them hears of a server's trouble, and the next finds all mail again. */
TEST(damage_found_on_the_way_is_mended)
{
    struct store_view *v = NULL;
    struct store_box was, now;
    char path[300], *junk;
    struct stat at;
    int fd;

    setup();
    open_store();
    for (int i = 0; i < 600; i++) {
        char name[80];

        snprintf(name, sizeof name, "%d.M1P1.a-name-that-takes-some-room-in-the-index.x:2,", i + 1);
        foreign("cur", name, "x\n");
    }
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 600);
    store_view_box(v, &was);
    store_unselect(&v);
    close_store();
    open_store();
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(db_checkpoint(us->db, true, &e), 0);
    user_unlock(us);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    NEED(stat(path, &at) == 0);
    fd = open(path, O_WRONLY);
    junk = mem_zalloc((size_t)at.st_size);
    memset(junk, 0x5a, (size_t)at.st_size);
    CHECK(pwrite(fd, junk, (size_t)at.st_size / 2, at.st_size / 2) == at.st_size / 2);
    close(fd);
    free(junk);
    open_store();
    foreign("cur", "9999.M1P1.x:2,", "x\n"); /* the scan looks at every row */
    if (store_select(us, SL("INBOX"), false, &v, &e) == 0)
        FAIL("opened, damaged as it is");
    else
        CHECK_EQ_INT(e.kind, ERR_TEMP);
    v = sel("INBOX");
    NEED(v != NULL);
    CHECK_EQ_INT(exists(v), 601);
    store_view_box(v, &now);
    CHECK(now.uidvalidity > was.uidvalidity);
    store_unselect(&v);
    teardown();
}

TEST(a_power_cut_skips_the_reserved_numbers)
{
    struct store_view *v;
    struct store_box before, after;
    struct store_row r;
    uint32_t uid;

    setup();
    index_fake_boot("boot-one");
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    v = sel("INBOX");
    store_view_box(v, &before);
    store_unselect(&v);
    close_store();
    index_fake_boot("boot-two");
    open_store();
    v = sel("INBOX");
    store_view_box(v, &after);
    CHECK_EQ_INT(after.uidvalidity, before.uidvalidity);
    CHECK_EQ_INT(after.exists, 1);
    CHECK(after.uidnext > before.uidnext + 100);
    CHECK(after.highestmodseq > before.highestmodseq + 100);
    store_view_row(v, 1, &r);
    CHECK_EQ_INT(r.uid, 1);
    CHECK(r.modseq > before.highestmodseq); /* counts as changed */
    uid = append("INBOX", "two\r\n", 0, NULL);
    CHECK_EQ_INT(uid, after.uidnext);
    store_unselect(&v);
    index_fake_boot(NULL);
    teardown();
}

TEST(dovecots_maildir_is_taken_over)
{
    static const char list[] = "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n"
                               "25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394\n"
                               "25017 W2481 P5 :1276533073.M242911P3632.kurkku,S=15\n"
                               "25021 :1276533999.M1P1.kurkku\n";
    struct store_view *v;
    struct store_box b;
    struct store_row r;
    struct store_mailboxes l;
    char big[1356];

    setup();
    foreign_mkdirs("");
    foreign_mkdirs(".Entw&APw-rfe");
    foreign("", "dovecot-uidlist", list);
    foreign("", "dovecot-keywords", "0 $Forwarded\n1 NonJunk\n");
    foreign("", "subscriptions", "V\t2\n\nEntw&APw-rfe\nLists\tgone\n");
    memset(big, 'x', sizeof big);
    big[1355] = '\0';
    foreign("cur", "1276528487.M364837P9451.kurkku,S=1355,W=1394:2,RSa", big);
    foreign("cur", "1276533073.M242911P3632.kurkku,S=15:2,b", "0123456789abcde");
    foreign("new", "1276533999.M1P1.kurkku", "new\n");
    foreign("new", "1276534000.M1P1.kurkku", "newer\n");
    open_store();
    v = sel("INBOX");
    NEED(v != NULL);
    store_view_box(v, &b);
    CHECK_EQ_INT(b.uidvalidity, 1275660208);
    CHECK_EQ_INT(b.uidnext, 25023);
    CHECK_EQ_INT(b.exists, 4);
    CHECK_EQ_INT(b.recent, 2);
    store_view_row(v, 1, &r);
    CHECK_EQ_INT(r.uid, 25006);
    CHECK_EQ_INT(r.flags.sys, STORE_SEEN | STORE_ANSWERED);
    CHECK_EQ_INT(r.flags.kw, 1);
    store_view_row(v, 2, &r);
    CHECK_EQ_INT(r.uid, 25017);
    CHECK_EQ_INT(r.flags.kw, 2);
    store_view_row(v, 4, &r);
    CHECK_EQ_INT(r.uid, 25022);
    CHECK_EQ_STR(store_view_keyword(v, 0), "$Forwarded");
    store_unselect(&v);
    CHECK_EQ_INT(store_list(us, &l, &e), 0);
    int found = 0;
    for (size_t i = 0; i < l.n; i++) {
        if (strcmp(l.v[i].name, "Entw\xc3\xbcrfe") == 0)
            found += l.v[i].attrs == STORE_MB_SUBSCRIBED;
        if (strcmp(l.v[i].name, "Lists.gone") == 0)
            found += l.v[i].attrs == (STORE_MB_SUBSCRIBED | STORE_MB_NONEXISTENT);
    }
    CHECK_EQ_INT(found, 2);
    store_mailboxes_free(&l);

    /* once: a rebuilt index does not take the list again */
    char path[300];
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    unlink(path);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK(b.uidvalidity > 1275660208);
    CHECK_EQ_INT(b.exists, 4);
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
