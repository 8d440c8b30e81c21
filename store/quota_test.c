/* store/quota_test.c - usage equals the sum of the files: after everything that changes it, at each point where a crash
 * may cut, and with quota.db damaged, gone, locked or old. */
#include "store/quota_test.h"

static void
copy_all(const char *from, const char *to, bool is_move, int want)
{
    struct store_view *v = sel(from);
    struct store_uids all = { 0 };
    struct store_copied done;

    store_uids_add(&all, 1, UINT32_MAX);
    CHECK_EQ_INT(store_copy(v, &all, sl_z(to), is_move, &done, &e), want);
    store_copied_free(&done);
    store_uids_free(&all);
    store_unselect(&v);
}

static void
expunge_first(const char *mailbox, uint32_t n)
{
    struct store_view *v = sel(mailbox);
    struct store_row r = { 0 };

    for (uint32_t i = 1; i <= n && store_view_row(v, i, &r); i++)
        store_flags(v, r.uid, r.uid, STORE_ADD, STORE_DELETED, 0, true);
    CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
    store_unselect(&v);
}

#define RULES                                                                                      \
    "quota = count:User quota\nquota_rule = *:storage=1G\nquota_rule2 = SPAM:ignore\n"             \
    "quota_warning =\n"

TEST(everything_that_changes_usage)
{
    setup_quota(RULES);
    start();
    check_usage("nothing", ".SPAM");
    CHECK(deliver_to("INBOX", 100));
    check_usage("delivered", ".SPAM");
    wait_marks();
    scan("INBOX");
    check_usage("delivered and scanned", ".SPAM");
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 0);
    CHECK(deliver_to("Lists", 200));
    CHECK(deliver_to("SPAM", 5000));
    check_usage("delivered into folders", ".SPAM");
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    CHECK(append("SPAM", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    check_usage("appended", ".SPAM");
    copy_all("INBOX", "Lists", false, 0);
    check_usage("copied", ".SPAM");
    copy_all("Lists", "SPAM", true, 0);
    check_usage("moved into what is ignored", ".SPAM");
    copy_all("SPAM", "Lists", true, 0);
    check_usage("and back", ".SPAM");
    expunge_first("Lists", 2);
    check_usage("expunged", ".SPAM");
    CHECK(deliver_to("Lists", 10));
    CHECK_EQ_INT(store_rename(us, SL("Lists"), SL("SPAM2"), &e), 0);
    check_usage("renamed", ".SPAM");
    CHECK_EQ_INT(store_rename(us, SL("SPAM"), SL("Ham"), &e), 0);
    check_usage("renamed out of what is ignored", NULL);
    CHECK_EQ_INT(store_rename(us, SL("Ham"), SL("SPAM"), &e), 0);
    check_usage("and back", ".SPAM");
    wait_marks();
    CHECK_EQ_INT(store_delete(us, SL("SPAM2"), &e), 0);
    check_usage("deleted", ".SPAM");
    foreign("cur", "1700000000.M1P1.host:2,S", "Subject: foreign\n\nx\n");
    scan("INBOX");
    check_usage("a foreign file", ".SPAM");
    CHECK_EQ_INT(store_rename(us, SL("INBOX"), SL("Old"), &e), 0);
    check_usage("INBOX renamed", ".SPAM");
    CHECK_EQ_INT(query("SELECT octets FROM domains"),
                 query("SELECT sum(octets + open_octets) FROM users"));
    CHECK_EQ_INT(query("SELECT messages FROM domains"),
                 query("SELECT sum(messages + open_messages) FROM users"));
    end();
}

TEST(a_user_who_was_never_counted_is_counted_first)
{
    struct quota_usage u;

    /* mail from before there was quota */
    setup_quota("");
    start();
    CHECK(deliver_to("INBOX", 100));
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    CHECK(deliver_to("Lists", 100));
    CHECK_EQ_INT(quota_usage(st, SL(USER), NULL, &u, &e), 0);
    CHECK_EQ_INT(u.octets, 0); /* off */
    finish();
    conf_unref(&conf);
    {
        struct conf_problems ps = { 0 };
        struct buf text = { 0 };

        buf_addf(&text, "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\n" RULES, base,
                 base);
        conf = conf_parse(buf_slice(&text), "test", &ps);
        BUG_ON(conf == NULL);
        buf_free(&text);
    }
    start();
    CHECK(deliver_to("INBOX", 10)); /* by the delivery itself */
    CHECK_EQ_INT(query("SELECT is_counted FROM users"), 1);
    check_usage("counted by a delivery", ".SPAM");
    CHECK_EQ_INT(sum_of_files(NULL).messages, 4);
    end();
}

TEST(nobody_has_mail_where_there_is_no_maildir)
{
    struct quota_usage u;

    setup_quota(RULES);
    BUG_ON(store_new(conf, &st, &e));
    CHECK_EQ_INT(quota_usage(st, SL("eve@example.org"), NULL, &u, &e), 0);
    CHECK_EQ_INT(u.octets, 0);
    CHECK_EQ_INT(u.limit.octets, 1024 * 1024 * 1024);
    CHECK(access(base, F_OK) == 0);
    store_free(&st);
    turn(1);
    conf_unref(&conf);
    fs_remove_tree(base, NULL);
}

/* ---- limits ---- */

TEST(who_is_over_gets_nothing_and_nothing_is_left)
{
    struct store_append *a;
    uint32_t uidvalidity, *uids;
    size_t n;

    setup_quota("quota = maildir:User quota\nquota_rule = *:bytes=1000\nquota_rule2 = "
                "Trash:bytes=+500\nquota_grace = 100\nquota_exceeded_message = Full\n");
    start();
    CHECK(deliver_to("INBOX", 900));
    CHECK_EQ_INT(append("INBOX",
                        "Subject: a\r\n\r\n0123456789012345678901234567890123456789"
                        "0123456789012345678901234567890123456789\r\n",
                        0, NULL),
                 0);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_STR(e.msg, "Full");
    CHECK_EQ_INT(count_files("tmp"), 0);
    check_usage("refused", NULL);
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);

    /* all of an APPEND or none */
    CHECK_EQ_INT(store_append_begin(us, SL("INBOX"), &a, &e), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ_INT(store_append_msg(a, 0, NULL, 0, 0, 0, &e), 0);
        CHECK_EQ_INT(
            store_append_octets(
                a, SL("Subject: a\r\n\r\n0123456789012345678901234567890123456789\r\n"), &e),
            0);
    }
    CHECK_EQ_INT(store_append_commit(&a, &uidvalidity, &uids, &n, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(count_files("tmp"), 0);
    CHECK_EQ_INT(store_append_begin(us, SL("INBOX"), &a, &e), 0);
    CHECK_EQ_INT(store_append_expect(a, 5000, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    store_append_abort(&a);

    /* COPY adds, MOVE does not; Trash may have more */
    CHECK_EQ_INT(store_create(us, SL("Box"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("Trash"), 0, &e), 0);
    copy_all("INBOX", "Box", false, -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(count_files(".Box/tmp"), 0);
    CHECK_EQ_INT(count_files(".Box/cur"), 0);
    copy_all("INBOX", "Box", true, 0);
    CHECK_EQ_INT(count_files(".Box/cur"), 2);
    CHECK(append("Trash",
                 "Subject: a\r\n\r\n0123456789012345678901234567890123456789"
                 "0123456789012345678901234567890123456789\r\n",
                 0, NULL) > 0);
    check_usage("moved", NULL);

    /* now he is full */
    CHECK(!deliver_to("INBOX", 1));
    CHECK_EQ_INT(last.kind, ERR_LIMIT);
    CHECK_EQ_STR(last.msg, "Full");
    CHECK_EQ_INT(count_files("new"), 0);
    CHECK_EQ_INT(count_files("tmp"), 0);
    CHECK(deliver_as((struct deliver_rcpt){ .mailbox = SL("INBOX"), .ignores_quota = true }, 1));
    check_usage("the warning came through", NULL);
    expunge_first("Box", 2);
    CHECK(deliver_to("INBOX", 1));
    check_usage("room again", NULL);
    end();
}

TEST(a_domain_is_a_pool)
{
    struct store_user *eve;
    struct quota_usage u;

    setup_quota("quota = count:User quota\nquota_domain_rule = *:bytes=1000\nquota_grace = 0\n");
    start();
    CHECK(deliver_to("INBOX", 600));
    CHECK(!deliver_as((struct deliver_rcpt){ .user = SL("eve@example.org") }, 600));
    CHECK_EQ_INT(last.kind, ERR_LIMIT);
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@example.org") }, 100));
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@other.example") }, 600));
    CHECK_EQ_INT(quota_usage(st, SL("eve@example.org"), NULL, &u, &e), 0);
    CHECK_EQ_INT(u.domain_messages, 2);
    CHECK_EQ_INT(u.domain_octets, sum_of_files(NULL).octets + u.octets);
    CHECK_EQ_INT(store_user_open(st, SL("eve@example.org"), NULL, &eve, &e), 0);
    store_user_close(&eve);
    CHECK_EQ_INT(quota_forget(st, SL(USER), &e), 0);
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@example.org") }, 600));
    end();
}

TEST(rules_of_userdb_hold)
{
    struct store_userdb small = { .quota = SL_INIT("quota_rule=*:bytes=100\n") },
                        bad = { .quota = SL_INIT("quota_rule=*:bytes=lots\n") };
    struct quota_ask ask = { .user = SL_INIT(USER), .db = &small, .octets = 101, .messages = 1 };

    setup_quota(RULES);
    start();
    CHECK(!deliver_as((struct deliver_rcpt){ .mailbox = SL("INBOX"), .db = small }, 200));
    CHECK_EQ_INT(last.kind, ERR_LIMIT);
    CHECK_EQ_INT(quota_check(st, &ask, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    ask.octets = 100;
    CHECK_EQ_INT(quota_check(st, &ask, &e), 0);
    ask.octets = 5000;
    ask.mailbox = SL("SPAM");
    CHECK_EQ_INT(quota_check(st, &ask, &e), 0);
    /* wrong ones let nothing in, and nothing bounces */
    CHECK(!deliver_as((struct deliver_rcpt){ .mailbox = SL("INBOX"), .db = bad }, 1));
    CHECK_EQ_INT(last.kind, ERR_TEMP);
    ask.db = &bad;
    CHECK_EQ_INT(quota_check(st, &ask, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    /* another set of ignored mailboxes: other sums */
    CHECK(deliver_to("SPAM", 300));
    {
        struct store_userdb all = { .quota = SL_INIT("quota_rule2=Else:ignore\n") };
        struct quota_usage u;

        CHECK_EQ_INT(quota_usage(st, SL(USER), &all, &u, &e), 0);
        CHECK_EQ_INT(u.messages, 1);
    }
    check_usage("by the file's rules again", ".SPAM");
    end();
}

TEST(a_repeat_is_not_charged_twice)
{
    struct deliver_rcpt r = { .mailbox = SL_INIT("INBOX"), .ident = SL_INIT("4aBc.1") };

    setup_quota(RULES);
    start();
    CHECK(deliver_as(r, 100));
    r.may_be_repeat = true;
    CHECK(deliver_as(r, 100));
    check_usage("repeated", NULL);
    CHECK_EQ_INT(sum_of_files(NULL).messages, 1);
    scan("INBOX");
    CHECK(deliver_as(r, 100));
    check_usage("repeated after a scan", NULL);
    end();
}

TEST(domains_are_without_case)
{
    struct quota_usage u;

    setup_quota(RULES "\nquota_domain_rule = A.example:bytes=1000\n");
    start();
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@A.example") }, 100));
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("bob@a.Example") }, 100));
    CHECK_EQ_INT(quota_usage(st, SL("eve@A.example"), NULL, &u, &e), 0);
    CHECK_EQ_INT(u.messages, 1);
    CHECK_EQ_INT(u.domain_messages, 2);
    end();
}

/* His files went with their folder, by another program: counting finds nothing, not what was there. */
TEST(a_maildir_that_is_gone)
{
    struct quota_usage u;

    setup_quota(RULES);
    start();
    CHECK(deliver_to("INBOX", 100));
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    finish();
    CHECK_EQ_INT(fs_remove_tree(root, NULL), 0);
    BUG_ON(store_new(conf, &st, &e));
    CHECK_EQ_INT(quota_recount(st, SL(USER), NULL, NULL, NULL, &u, &e), 0);
    CHECK_EQ_INT(u.octets, 0);
    CHECK_EQ_INT(u.messages, 0);
    CHECK_EQ_INT(u.domain_messages, 0);
    store_free(&st);
    turn(1);
    conf_unref(&conf);
    fs_remove_tree(base, NULL);
}

/* Marks are written late: the number of a row that a scan has taken meanwhile must not be another's by then. */
TEST(numbers_of_deliveries_are_used_once)
{
    struct quota_delivery d = {
        .base = SL_INIT("1.a"), .dir = SL_INIT("/d"), .file = SL_INIT("new/1.a"), .octets = 1
    };
    int64_t last_id = 0;

    setup_quota(RULES);
    start();
    for (int i = 0; i < 3; i++) {
        BUG_ON(quota_begin(st->quota, true, &e) || quota_delivery_add(st->quota, &d, &e) ||
               quota_delivery_drop(st->quota, d.id, &e) || quota_end(st->quota, true, 0, &e));
        CHECK(d.id > last_id);
        last_id = d.id;
        if (i == 1) {
            char path[160];

            snprintf(path, sizeof path, "%s/quota.db", base);
            unlink(path);
        }
    }
    end();
}

static void
append_as(struct store_user *u)
{
    struct store_user *was = us;

    us = u;
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    us = was;
}

/* mail= of userdb may give two users one Maildir: what one's session has met is charged to the other once, too. */
TEST(two_users_of_one_maildir)
{
    struct store_userdb db = { 0 };
    struct store_user *other;
    struct store_view *v;
    struct quota_usage u;
    struct total t;
    char mail[200];

    setup_quota(RULES);
    start();
    snprintf(mail, sizeof mail, "maildir:%s", root);
    db.mail = sl_z(mail);
    CHECK(deliver_to("INBOX", 100));
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    BUG_ON(store_user_open(st, SL("eve@example.org"), &db, &other, &e));
    CHECK_EQ_INT(store_select(other, SL("INBOX"), 0, &v, &e), 0);
    store_unselect(&v);
    append_as(other);
    append_as(us);
    check_usage("bob's", NULL);
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@example.org"), .db = db }, 100));
    wait_marks();
    scan("INBOX");
    append_as(other);
    CHECK_EQ_INT(quota_usage(st, SL("eve@example.org"), &db, &u, &e), 0);
    t = sum_of_files(NULL);
    CHECK_EQ_INT(u.messages, t.messages);
    store_user_close(&other);
    end();
}

/* ---- cuts ---- */

static void
copy_file(const char *from, const char *to)
{
    struct buf b = { 0 };
    struct err why = { 0 };

    unlink(to);
    if (fs_read_file(from, &b, &why) == 0 && fs_replace_file(to, buf_slice(&b), 0600, &why))
        FAIL("%s", why.msg);
    buf_free(&b);
}

/* A database as it is now, aside; and as it was then, back: what a crash, or a power cut, may leave. Both while it is
 * closed, or no writer is at it. */
static void
save_db(const char *path)
{
    static const char *const parts[] = { "", "-wal" };

    for (int i = 0; i < 2; i++) {
        char from[300], to[320];

        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s.saved", from);
        copy_file(from, to);
    }
}

static void
restore_db(const char *path)
{
    static const char *const parts[] = { "", "-wal", "-shm" };

    for (int i = 0; i < 3; i++) {
        char from[320], to[300];

        snprintf(to, sizeof to, "%s%s", path, parts[i]);
        snprintf(from, sizeof from, "%s.saved", to);
        unlink(to);
        if (access(from, F_OK) == 0)
            copy_file(from, to);
    }
}

static char quota_path[128], index_path[200];

static void
paths(void)
{
    snprintf(quota_path, sizeof quota_path, "%s/quota.db", base);
    snprintf(index_path, sizeof index_path, "%s/" INDEX_FILE, root);
}

static void
op_append(void)
{
    CHECK(append("INBOX", "Subject: more\r\n\r\nb\r\n", 0, NULL) > 0);
}
static void
op_expunge(void)
{
    expunge_first("INBOX", 1);
}
static void
op_scan(void)
{
    scan("INBOX");
}
static void
op_move_out(void)
{
    copy_all("INBOX", "SPAM", true, 0);
}
static void
op_copy(void)
{
    copy_all("INBOX", "Box", false, 0);
}
static void
op_delete(void)
{
    CHECK_EQ_INT(store_delete(us, SL("Box"), &e), 0);
}
static void
op_rename(void)
{
    CHECK_EQ_INT(store_rename(us, SL("Box"), SL("Box2"), &e), 0);
}
static void
op_deliver(void)
{
    CHECK(deliver_to("INBOX", 77));
    wait_marks();
}
static void
op_deliver_scan(void)
{
    op_deliver();
    scan("INBOX");
}

static const struct {
    const char *name;
    void (*run)(void);
} ops[] = {
    { "append", op_append },
    { "expunge", op_expunge },
    { "scan", op_scan },
    { "move to an ignored one", op_move_out },
    { "copy", op_copy },
    { "delete", op_delete },
    { "rename", op_rename },
    { "deliver", op_deliver },
    { "deliver, scan", op_deliver_scan },
};

static void
some_mail(void)
{
    CHECK_EQ_INT(store_create(us, SL("Box"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("SPAM"), 0, &e), 0);
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    CHECK(append("Box", "Subject: a\r\n\r\nlonger\r\n", 0, NULL) > 0);
    CHECK(deliver_to("INBOX", 100));
    CHECK(deliver_to("Box", 50));
    wait_marks();
    check_usage("at first", ".SPAM");
}

/* Killed after the index's commit and before quota.db's; or the cut took quota.db's last transactions. */
TEST(quota_db_is_older_than_the_index)
{
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        setup_quota(RULES);
        paths();
        TEST_ROW("%s", ops[i].name);
        start();
        some_mail();
        save_db(quota_path);
        ops[i].run();
        finish();
        restore_db(quota_path);
        start();
        if (ops[i].run ==
            op_deliver) /* rows are on disk before the file has its name: not so here */
            quota_recount(st, SL(USER), NULL, NULL, NULL, NULL, &e);
        scan_all();
        check_usage("opened again", ".SPAM");
        end();
    }
}

/* The cut took the index's last transactions, and quota.db has them. */
TEST(the_index_is_older_than_quota_db)
{
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        setup_quota(RULES);
        paths();
        TEST_ROW("%s", ops[i].name);
        start();
        some_mail();
        close_store(); /* the index is closed: whole in its file and log */
        save_db(index_path);
        open_store();
        ops[i].run();
        finish();
        restore_db(index_path);
        index_fake_boot("after the cut");
        start();
        scan_all();
        wait_marks();
        check_usage("opened again", ".SPAM");
        end();
        index_fake_boot(NULL);
    }
}

/* A deliverer that was killed: its rows are there, and are nobody's who lives. */
TEST(rows_of_a_dead_deliverer)
{
    setup_quota(RULES);
    start();
    CHECK(deliver_to("INBOX", 100));
    CHECK(deliver_to("INBOX", 200));
    CHECK(deliver_to("INBOX", 300));
    CHECK(deliver_as((struct deliver_rcpt){ .mailbox = SL("INBOX"), .flags = STORE_SEEN }, 400));
    wait_marks();
    /* before the rename; after it; after it, and met by a reader */
    exec("UPDATE deliveries SET is_done = 0, owner = 12345");
    {
        char path[600];

        snprintf(path, sizeof path, "%s/new/%s", root, name_with("new", ",S=112,"));
        CHECK_EQ_INT(unlink(path), 0);
    }
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 4);
    finish();
    start();
    check_usage("settled", NULL);
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries WHERE is_done = 1"), 3);
    scan("INBOX");
    check_usage("scanned", NULL);
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 0);

    /* those of the living are left alone */
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    exec("UPDATE deliveries SET is_done = 0");
    {
        struct deliverer *other;

        CHECK_EQ_INT(deliverer_new(conf, &other, &e), 0);
        CHECK_EQ_INT(query("SELECT count(*) FROM deliveries WHERE is_done = 0"), 1);
        deliverer_free(&other);
    }
    /* and a scan takes a row whose file it meets, marked or not */
    scan("INBOX");
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 0);
    check_usage("met before it was marked", NULL);
    end();
}

TEST(what_vanishes_before_a_scan_meets_it)
{
    char path[600];

    setup_quota(RULES);
    start();
    CHECK(deliver_to("INBOX", 100));
    CHECK(deliver_to("INBOX", 200));
    wait_marks();
    snprintf(path, sizeof path, "%s/new/%s", root, name_with("new", ",S=112,"));
    CHECK_EQ_INT(unlink(path), 0);
    scan("INBOX");
    check_usage("unlinked by another program", NULL);
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 0);
    end();
}

static void
count_open(const char *what, int64_t want)
{
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), want);
    check_usage(what, NULL);
}

static void
remove_new(const char *at)
{
    char path[600];

    snprintf(path, sizeof path, "%s/%s/%s", root, at, name_with(at, ",S="));
    CHECK_EQ_INT(unlink(path), 0);
}

/* The last word of a scan, that a row's file is gone, was lost by a kill, or the row was marked done after it: the folder
 * gives no reason for another scan. */
TEST(rows_that_no_scan_comes_for)
{
    setup_quota(RULES);
    start();
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    exec("UPDATE deliveries SET is_done = 0");
    remove_new("new");
    usleep(50 * 1000); /* the folder's time proves something */
    scan("INBOX");
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 1);
    exec("UPDATE deliveries SET is_done = 1");
    close_store();
    open_store();
    scan("INBOX");
    count_open("opened again", 0);

    /* and by who has it open for long */
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    exec("UPDATE deliveries SET is_done = 0");
    remove_new("new");
    usleep(50 * 1000);
    scan("INBOX");
    exec("UPDATE deliveries SET is_done = 1");
    us->charge.look_ms = 0;
    scan("INBOX");
    count_open("looked", 0);
    end();
}

/* A row is marked after its mailbox was deleted; or before it was renamed, and quota.db was not told. */
TEST(rows_whose_folders_are_gone)
{
    setup_quota(RULES);
    start();
    CHECK(deliver_to("Lists", 100));
    wait_marks();
    exec("UPDATE deliveries SET is_done = 0");
    CHECK_EQ_INT(store_delete(us, SL("Lists"), &e), 0);
    count_open("deleted before it was marked", 0);

    CHECK(deliver_to("Lists", 100));
    wait_marks();
    exec("UPDATE deliveries SET dir = replace(dir, 'Lists', 'Before')");
    scan("Lists");
    count_open("renamed and met", 0);
    CHECK(deliver_to("Lists", 100));
    wait_marks();
    exec("UPDATE deliveries SET dir = replace(dir, 'Lists', 'Before')");
    close_store();
    open_store();
    scan("Lists");
    count_open("renamed", 0);
    end();
}

/* Whoever deleted a mailbox was killed before the index knew; or another program did. Nobody selects it again. */
TEST(a_folder_that_is_gone)
{
    for (int is_open = 0; is_open < 2; is_open++) {
        char path[600];

        setup_quota(RULES);
        TEST_ROW("%d", is_open);
        start();
        op_append();
        CHECK_EQ_INT(store_create(us, SL("Lists"), 0, &e), 0);
        CHECK(append("Lists", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
        CHECK(deliver_to("Lists", 100));
        wait_marks();
        snprintf(path, sizeof path, "%s/.Lists", root);
        if (is_open) {
            fs_remove_tree(path, NULL);
            us->charge.look_ms = us->charge.look_boxes_ms = 0;
        } else {
            close_store();
            fs_remove_tree(path, NULL);
            open_store();
        }
        scan("INBOX");
        count_open("a folder is gone", 0);
        end();
    }
}

/* A process that was killed when its scan had met a file and its row was still there: the sums that another then writes
 * have that message, so the row must go with them, too. */
TEST(sums_of_another_who_was_killed)
{
    struct store_user *other;
    int64_t was;

    setup_quota(RULES);
    start();
    CHECK(append("INBOX", "Subject: a\r\n\r\nb\r\n", 0, NULL) > 0);
    CHECK(deliver_to("INBOX", 100));
    wait_marks();
    was = query("SELECT seq FROM users");
    exec("CREATE TABLE kept AS SELECT * FROM deliveries");
    scan("INBOX");
    CHECK_EQ_INT(query("SELECT seq FROM users"), was + 1);
    /* as quota.db was before; and its next writer brings no sums of his own, but marks of rows */
    exec("INSERT INTO deliveries SELECT * FROM kept");
    exec("UPDATE users SET seq = seq - 1, octets = octets - open_octets, messages = messages - 1");
    CHECK_EQ_INT(query("SELECT messages + open_messages FROM users"), 2);
    other = us;
    CHECK_EQ_INT(user_lock(other, &e), 0);
    CHECK_EQ_INT(index_begin(other, &e), 0);
    quota_scan_seen(other, &(struct quota_charge){ .seen = &was, .n_seen = 1 });
    CHECK_EQ_INT(index_commit(other, &e), 0);
    user_unlock(other);
    count_open("sums of another", 0);
    end();
}

/* The cut took the index's last transaction, and what comes instead makes the same number of something else. */
TEST(numbers_of_an_index_that_fell_behind_do_not_come_again)
{
    int64_t was;

    setup_quota(RULES);
    paths();
    start();
    op_append();
    op_append();
    close_store();
    save_db(index_path);
    open_store();
    was = query("SELECT seq FROM users");
    op_append();
    CHECK_EQ_INT(query("SELECT seq FROM users"), was + 1);
    finish();
    restore_db(index_path);
    index_fake_boot("after the cut");
    start();
    scan_all();
    CHECK(query("SELECT seq FROM users") > was + 1000);
    check_usage("after the cut", NULL);
    end();
    index_fake_boot(NULL);
}

/* ---- quota.db itself ---- */

TEST(a_damaged_or_missing_database_is_made_again)
{
    for (int how = 0; how < 3; how++) {
        char log[160];

        setup_quota(RULES);
        paths();
        snprintf(log, sizeof log, "%s-wal", quota_path);
        TEST_ROW("%d", how);
        start();
        some_mail();
        if (how == 0) {
            unlink(quota_path); /* under everybody */
            unlink(log);
        } else {
            finish();
            fs_replace_file(quota_path,
                            how == 1 ? SL("no database at all, but long enough to be looked at, "
                                          "as SQLite wants a header of a hundred octets of a file "
                                          "before it says anything")
                                     : SL("SQLite format 3"),
                            0600, NULL);
            unlink(log);
            start();
        }
        check_usage("made again", ".SPAM");
        CHECK(deliver_to("INBOX", 10));
        op_append();
        check_usage("and goes on", ".SPAM");
        end();
    }
}

TEST(a_locked_database_is_temporary_and_expunge_works)
{
    struct db *other;
    struct total was;

    setup_quota(RULES);
    paths();
    start();
    some_mail();
    BUG_ON(db_open(quota_path, 0, 0, &other, &e) || db_begin(other, &e));
    was = sum_of_files(NULL);
    CHECK(!deliver_to("INBOX", 10));
    CHECK_EQ_INT(last.kind, ERR_TEMP);
    CHECK_EQ_INT(sum_of_files(NULL).messages, was.messages);
    CHECK_EQ_INT(count_files("tmp"), 0);
    expunge_first("INBOX", 1);
    CHECK_EQ_INT(sum_of_files(NULL).messages, was.messages - 1);
    db_rollback(other);
    db_close(&other);
    /* written with the next change */
    op_append();
    check_usage("later", ".SPAM");
    CHECK(deliver_to("INBOX", 10));
    end();
}

TEST(two_stores_at_once)
{
    struct store *st2;
    struct store_user *us1, *us2;

    setup_quota(RULES);
    start();
    some_mail();
    BUG_ON(store_new(conf, &st2, &e) || store_user_open(st2, SL(USER), NULL, &us2, &e));
    us1 = us;
    for (int i = 0; i < 10; i++) {
        us = i % 2 ? us2 : us1;
        op_append();
        check_usage("after one's append", ".SPAM");
        us = i % 2 ? us1 : us2;
        if (i % 3 == 0)
            expunge_first("INBOX", 1);
        check_usage("after the other's expunge", ".SPAM");
        CHECK(deliver_to("INBOX", 10));
    }
    us = us1;
    store_user_close(&us2);
    store_free(&st2);
    end();
}

TEST(quota_turned_off_and_on_again)
{
    static const char on[] = RULES;

    setup_quota(RULES);
    paths();
    start();
    some_mail();
    finish();
    for (int i = 0; i < 2; i++) {
        struct conf_problems ps = { 0 };
        struct buf text = { 0 };

        conf_unref(&conf);
        buf_addf(&text, "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\n%s", base, base,
                 i == 0 ? "" : on);
        conf = conf_parse(buf_slice(&text), "test", &ps);
        BUG_ON(conf == NULL);
        buf_free(&text);
        start();
        CHECK(deliver_to("INBOX", 10));
        op_append();
        if (i == 1)
            check_usage("on again", ".SPAM");
        if (i == 0)
            finish();
    }
    end();
}

/* ---- what is beside it ---- */

static void
read_maildirsize(struct buf *out)
{
    char path[200];

    snprintf(path, sizeof path, "%s/maildirsize", root);
    buf_reset(out);
    if (fs_read_file(path, out, &e))
        FAIL("%s", e.msg);
}

static struct total
sum_of_maildirsize(struct slice text)
{
    struct total t = { 0 };
    struct slice line;

    sl_take_line(&text, &line);
    while (sl_take_line(&text, &line)) {
        long long octets = 0, messages = 0;
        char *copy = sl_dupz(line);

        CHECK_EQ_INT(sscanf(copy, "%lld %lld", &octets, &messages), 2);
        t.octets += octets;
        t.messages += messages;
        free(copy);
    }
    return t;
}

TEST(maildirsize_is_kept_for_others)
{
    struct buf b = { 0 };
    struct total t, files;

    setup_quota("quota = maildir:User quota\nquota_rule = *:storage=1M:messages=5000\n");
    start();
    op_append();
    op_deliver();
    op_expunge();
    read_maildirsize(&b);
    CHECK(sl_has_prefix(buf_slice(&b), SL("1048576S,5000C\n")));
    t = sum_of_maildirsize(buf_slice(&b));
    files = sum_of_files(NULL);
    CHECK_EQ_INT(t.octets, files.octets);
    CHECK_EQ_INT(t.messages, files.messages);
    /* nonsense in it is nothing to us, and gone when it is written anew */
    {
        char path[200];

        snprintf(path, sizeof path, "%s/maildirsize", root);
        CHECK_EQ_INT(fs_replace_file(path, SL("7S\n99999999 1\n"), 0600, &e), 0);
    }
    check_usage("not by maildirsize", NULL);
    op_append();
    read_maildirsize(&b);
    t = sum_of_maildirsize(buf_slice(&b));
    files = sum_of_files(NULL);
    CHECK_EQ_INT(t.octets, files.octets);
    CHECK_EQ_INT(t.messages, files.messages);
    for (int i = 0; i < 600; i++)
        op_append();
    read_maildirsize(&b);
    CHECK(b.n < 5200);
    t = sum_of_maildirsize(buf_slice(&b));
    CHECK_EQ_INT(t.messages, sum_of_files(NULL).messages);
    buf_free(&b);
    end();
}

struct heard {
    int n;
    struct quota_usage was, now;
    const char *command;
};

static void
on_change(void *arg, const struct quota_change *c)
{
    struct heard *h = arg;
    const struct quota_warning *w = quota_warning_due(c->rules, &c->was, &c->now);

    h->n++;
    h->was = c->was;
    h->now = c->now;
    h->command = w == NULL ? NULL : "due";
}

TEST(changes_are_told)
{
    struct heard h = { 0 };

    setup_quota("quota = count:User quota\nquota_rule = *:bytes=1000\nquota_warning = storage=50% "
                "x\nquota_warning2 = -storage=50% y\n");
    start();
    quota_on_change(st, on_change, &h);
    quota_on_change(deliverer_store(dl), on_change, &h);
    op_append();
    CHECK_EQ_INT(h.n, 1);
    CHECK_EQ_INT(h.was.messages, 0);
    CHECK_EQ_INT(h.now.messages, 1);
    CHECK(h.command == NULL);
    CHECK(deliver_to("INBOX", 600));
    CHECK_EQ_INT(h.n, 2);
    CHECK_EQ_INT(h.now.messages, 2);
    CHECK(h.command != NULL);
    wait_marks();
    scan("INBOX"); /* out of one sum into the other: nothing to tell */
    CHECK_EQ_INT(h.n, 2);
    expunge_first("INBOX", 2);
    CHECK_EQ_INT(h.now.octets, 0);
    CHECK(h.command != NULL);
    end();
}

static bool
note_user(void *arg, struct slice user, const struct quota_usage *usage, bool is_counted)
{
    buf_addf(arg, "%.*s %lld %d;", SL_ARG(user), (long long)usage->messages, is_counted);
    return true;
}

static void
note_mailbox(void *arg, struct slice mailbox)
{
    buf_addf(arg, "%.*s;", SL_ARG(mailbox));
}

TEST(everybody_is_listed_and_counting_tells_where_it_is)
{
    struct buf b = { 0 };

    setup_quota(RULES);
    start();
    some_mail();
    CHECK(deliver_as((struct deliver_rcpt){ .user = SL("eve@a.example") }, 1));
    CHECK_EQ_INT(quota_each(st, SL(""), note_user, &b, &e), 0);
    CHECK_EQ_STR(buf_z(&b), "eve@a.example 1 1;bob@example.org 4 1;");
    buf_reset(&b);
    CHECK_EQ_INT(quota_each(st, SL("example.org"), note_user, &b, &e), 0);
    CHECK_EQ_STR(buf_z(&b), "bob@example.org 4 1;");
    buf_reset(&b);
    CHECK_EQ_INT(quota_recount(st, SL(USER), NULL, note_mailbox, &b, NULL, &e), 0);
    CHECK(strstr(buf_z(&b), "INBOX;") != NULL && strstr(buf_z(&b), "Box;") != NULL);
    buf_free(&b);
    end();
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
