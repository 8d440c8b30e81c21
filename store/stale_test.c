/* store/stale_test.c - commands that meet what others left or made meanwhile: records of killed ones before a DELETE or RENAME,
 * another index in the place of the one that a view was read from. */
#include "store/store_test.h"

/* A MOVE of one message by a process that was killed: its file is in `to`, the record says where it was. This process has
 * looked for records before. */
static void
leave_move(const char *from_dir, const char *from, const char *to_dir, const char *to)
{
    char src[300], was[600], is[600], sql[1000];
    int64_t id;

    snprintf(src, sizeof src, "%s", name_with(from_dir, ",S="));
    snprintf(was, sizeof was, "%s/%s/%s", root, from_dir, src);
    snprintf(is, sizeof is, "%s/%s/1750.M1P1.x,S=3,W=4:2,", root, to_dir);
    CHECK_EQ_INT(rename(was, is), 0);
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(mbox_find(us, sl_z(to), &id, &e), 0);
    snprintf(sql, sizeof sql,
             "INSERT INTO pending VALUES (NULL, 1, %lld, '%s', '', '1750.M1P1.x,S=3,W=4:2,', '%s', "
             "'%s')",
             (long long)id, to, from, src);
    CHECK_EQ_INT(db_exec(us->db, sql, &e), 0);
    user_unlock(us);
}

static void
check_one(const char *mailbox)
{
    struct store_view *v = sel(mailbox);
    struct store_row r = { 0 };

    NEED(v != NULL);
    CHECK_EQ_INT(exists(v), 1);
    store_view_row(v, 1, &r);
    CHECK_EQ_INT(r.uid, 1); /* the MOVE never happened */
    store_unselect(&v);
}

TEST(a_delete_of_where_a_killed_move_was_going_loses_no_mail)
{
    setup();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("A"), 0, &e), 0);
    CHECK_EQ_INT(append("INBOX", "x\r\n", 0, NULL), 1);
    leave_move("cur", "INBOX", ".A/cur", "A");
    CHECK_EQ_INT(store_delete(us, SL("A"), &e), 0);
    check_one("INBOX");
    teardown();
}

TEST(a_rename_finds_a_killed_move_undone)
{
    static const struct {
        const char *from, *to, *then; /* renamed; where the message is after */
    } rows[] = { { "A", "C", "C" }, { "B", "C", "A" } };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("of %s", rows[i].from);
        setup();
        open_store();
        CHECK_EQ_INT(store_create(us, SL("A"), 0, &e), 0);
        CHECK_EQ_INT(store_create(us, SL("B"), 0, &e), 0);
        CHECK_EQ_INT(append("A", "x\r\n", 0, NULL), 1);
        leave_move(".A/cur", "A", ".B/cur", "B");
        CHECK_EQ_INT(store_rename(us, sl_z(rows[i].from), sl_z(rows[i].to), &e), 0);
        check_one(rows[i].then);
        CHECK_EQ_INT(count_files(".B/cur") + count_files(".C/cur"), i == 0);
        teardown();
    }
}

/* So many mailboxes get a row before INBOX does: as many as had one in the old index. */
static void
make_rows(int64_t n)
{
    int64_t id;
    char name[20];

    for (int64_t i = 0; i < n; i++) {
        snprintf(name, sizeof name, "Row%d", (int)i);
        CHECK_EQ_INT(store_create(us, sl_z(name), 0, &e), 0);
        NEED(user_lock(us, &e) == 0);
        CHECK_EQ_INT(mbox_find(us, sl_z(name), &id, &e), 0);
        user_unlock(us);
    }
}

static int
take_one(struct store_view *v, int how)
{
    struct store_uids one = { 0 };
    struct store_copied done = { 0 };
    struct store_file *f = NULL;
    int rc;

    store_uids_add(&one, 3, 3);
    if (how == 0)
        rc = store_file_open(v, 1, &f, &e);
    else
        rc = store_copy(v, &one, SL("Sent"), how == 2, &done, &e);
    store_file_close(&f);
    store_copied_free(&done);
    store_uids_free(&one);
    return rc;
}

/* The message with UID 3 is another one in the new index: whoever asks by the old one's UID does not get that. */
TEST(another_index_under_a_view)
{
    static const char *const how[] = { "read", "COPY", "MOVE" };

    for (int i = 0; i < 3; i++) {
        struct store_view *v, *w;
        char path[300];

        TEST_ROW("%s", how[i]);
        setup();
        open_store();
        for (int k = 0; k < 5; k++)
            append("INBOX", "x\r\n", k < 2 ? STORE_DELETED : 0, NULL);
        v = sel("INBOX");
        CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
        sync_quiet(v);
        CHECK_EQ_INT(store_view_seq(v, 3), 1);
        snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
        CHECK_EQ_INT(unlink(path), 0);
        make_rows(v->mailbox - 1);
        w = sel("INBOX"); /* UIDs 1 to 3 */
        CHECK_EQ_INT(exists(w), 3);
        CHECK(take_one(v, i) != 0);
        CHECK_EQ_INT(count_files(".Sent/cur"), 0);
        CHECK_EQ_INT(count_files("cur"), 3);
        store_unselect(&w);
        store_unselect(&v);
        teardown();
    }
}

/* In the middle of a scan both the folder and the index go: an error, and nothing is locked after. */
TEST(neither_folder_nor_index_after_a_scan)
{
    char path[300], lock[300], cur[300];
    struct mbox mb;
    int64_t id;

    setup();
    open_store();
    append("Sent", "x\r\n", 0, NULL);
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    snprintf(lock, sizeof lock, "%s/" INDEX_LOCK_FILE, root);
    snprintf(cur, sizeof cur, "%s/.Sent/cur", root);
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(mbox_find(us, SL("Sent"), &id, &e), 0);
    CHECK_EQ_INT(mbox_load(us, id, &mb, &e), 1);
    CHECK_EQ_INT(unlink(path), 0);
    CHECK_EQ_INT(unlink(lock), 0);
    CHECK_EQ_INT(mkdir(lock, 0700), 0);
    CHECK_EQ_INT(fs_remove_tree(cur, &e), 0);
    CHECK_EQ_INT(fs_replace_file(cur, SL("no folder"), 0600, &e), 0);
    CHECK_EQ_INT(mbox_scan(us, SL("Sent"), &mb, true, true, &e), -1);
    CHECK(strstr(e.msg, "/cur") != NULL);
    CHECK(us->db == NULL);
    user_unlock(us);
    rmdir(lock);
    teardown();
}

/* Gives every message in Sent a flag as soon as it is there. */
static void *
flag_at_once(void *arg)
{
    char path[300], to[600];
    struct dirent *ent;

    snprintf(path, sizeof path, "%s/.Sent/cur", root);
    while (!atomic_load((atomic_bool *)arg)) {
        DIR *d = opendir(path);

        while (d != NULL && (ent = readdir(d)) != NULL) {
            snprintf(to, sizeof to, "%sF", ent->d_name);
            if (strstr(ent->d_name, ":2,") != NULL && !strchr(ent->d_name, 'F'))
                renameat(dirfd(d), ent->d_name, dirfd(d), to);
        }
        if (d != NULL)
            closedir(d);
    }
    return NULL;
}

TEST(a_copy_that_fails_is_undone_whatever_its_files_are_called_by_now)
{
    enum { N = 800 };
    static atomic_bool must_end;
    struct store_uids all = { 0 };
    struct store_copied done;
    struct store_view *v;
    char name[60], path[600];
    pthread_t other;

    setup();
    open_store();
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%d.a:2,", 1700000000 + i);
        foreign("cur", name, "x\n");
    }
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), N);
    snprintf(path, sizeof path, "%s/cur/%s", root, name); /* the last is gone */
    CHECK_EQ_INT(unlink(path), 0);
    store_uids_add(&all, 1, N);
    NEED(pthread_create(&other, NULL, flag_at_once, &must_end) == 0);
    CHECK_EQ_INT(store_copy(v, &all, SL("Sent"), false, &done, &e), -1);
    store_unselect(&v);
    v = sel("Sent");
    CHECK_EQ_INT(exists(v), 0);
    atomic_store(&must_end, true);
    pthread_join(other, NULL);
    CHECK_EQ_INT(count_files("cur"), N - 1);
    store_unselect(&v);
    store_uids_free(&all);
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
