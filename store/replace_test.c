/* store/replace_test.c - one message in place of another: in the same mailbox and from one to another, within the quota, when
 * either is gone, and killed at any moment. */
#include "store/quota_test.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

static int
replace(struct store_view *v, uint32_t uid, const char *mailbox, const char *text, uint32_t *got)
{
    struct store_append *a;
    uint32_t uidvalidity, *uids = NULL;
    size_t n = 0;
    int rc;

    *got = 0;
    if (store_append_begin(us, sl_z(mailbox), &a, &e))
        return -1;
    if (store_append_replace(a, v, uid, &e) || store_append_expect(a, strlen(text), &e) ||
        store_append_msg(a, STORE_DRAFT, NULL, 0, 0, 0, &e) ||
        store_append_octets(a, sl_z(text), &e) || store_append_end(a, &e)) {
        store_append_abort(&a);
        return -1;
    }
    rc = store_append_commit(&a, &uidvalidity, &uids, &n, &e);
    if (rc == 0 && n == 1)
        *got = uids[0];
    free(uids);
    return rc;
}

static int
count_pending(void)
{
    int64_t n = -1;

    BUG_ON(user_lock(us, &e));
    CHECK_EQ_INT(index_number(us, "SELECT count(*) FROM pending", &n, &e), 0);
    user_unlock(us);
    return (int)n;
}

TEST(in_its_own_mailbox_and_in_another)
{
    struct store_view *v, *w;
    struct store_row r = { 0 };
    struct store_status s;
    uint32_t uid;

    setup();
    open_store();
    append("Drafts", "keep\r\n", 0, NULL);
    append("Drafts", "old\r\n", 0, NULL);
    v = sel("Drafts");
    CHECK_EQ_INT(replace(v, 2, "Drafts", "newer\r\n", &uid), 0);
    CHECK_EQ_INT(uid, 3);
    CHECK_EQ_INT(count_pending(), 0);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 2);
    CHECK(store_view_row(v, 2, &r));
    CHECK_EQ_INT(r.uid, 3);
    CHECK_EQ_INT(r.flags.sys & STORE_DRAFT, STORE_DRAFT);
    CHECK_EQ_INT(count_files(".Drafts/cur"), 2);
    CHECK_EQ_INT(count_files(".Drafts/tmp"), 0);

    CHECK_EQ_INT(replace(v, 3, "Sent", "sent\r\n", &uid), 0);
    CHECK_EQ_INT(uid, 1);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 1);
    w = sel("Sent");
    CHECK_EQ_INT(exists(w), 1);
    store_unselect(&w);
    CHECK_EQ_INT(store_status(us, SL("Drafts"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 1);
    CHECK_EQ_INT(s.size_octets, 6);
    CHECK_EQ_INT(count_files(".Drafts/cur"), 1);
    store_unselect(&v);

    close_store();
    open_store();
    v = sel("Drafts");
    CHECK_EQ_INT(exists(v), 1);
    store_unselect(&v);
    teardown();
}

TEST(what_is_gone_is_not_replaced)
{
    struct store_view *v, *ro;
    struct store_append *a;
    char path[600];
    uint32_t uid;

    setup();
    open_store();
    append("Drafts", "old\r\n", 0, NULL);
    v = sel("Drafts");
    CHECK_EQ_INT(replace(v, 7, "Drafts", "x\r\n", &uid), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    BUG_ON(store_select(us, SL("Drafts"), true, &ro, &e));
    CHECK_EQ_INT(replace(ro, 1, "Drafts", "x\r\n", &uid), -1);
    CHECK_EQ_INT(e.kind, ERR_PERM);
    store_unselect(&ro);

    /* another program took it away while the new one came */
    NEED(store_append_begin(us, SL("Sent"), &a, &e) == 0);
    CHECK_EQ_INT(store_append_replace(a, v, 1, &e), 0);
    CHECK_EQ_INT(store_append_msg(a, 0, NULL, 0, 0, 0, &e), 0);
    snprintf(path, sizeof path, "%s/.Drafts/cur/%s", root, name_with(".Drafts/cur", ",S="));
    CHECK_EQ_INT(unlink(path), 0);
    {
        uint32_t validity, *uids;
        size_t n;

        CHECK_EQ_INT(store_append_commit(&a, &validity, &uids, &n, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    }
    CHECK_EQ_INT(count_files(".Sent/cur"), 0);
    CHECK_EQ_INT(count_files(".Sent/tmp"), 0);
    CHECK_EQ_INT(count_pending(), 0);
    store_unselect(&v);
    teardown();
}

TEST(another_program_gave_it_another_name)
{
    struct store_view *v;
    char from[600], to[700];
    uint32_t uid;

    setup();
    open_store();
    append("Drafts", "old\r\n", 0, NULL);
    v = sel("Drafts");
    snprintf(from, sizeof from, "%s/.Drafts/cur/%s", root, name_with(".Drafts/cur", ",S="));
    snprintf(to, sizeof to, "%sF", from);
    CHECK_EQ_INT(rename(from, to), 0);
    CHECK_EQ_INT(replace(v, 1, "Drafts", "new\r\n", &uid), 0);
    CHECK_EQ_INT(uid, 2);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 1);
    CHECK_EQ_INT(count_files(".Drafts/cur"), 1);
    store_unselect(&v);
    teardown();
}

/* The room of the one that goes is there for the one that comes, not more. */
TEST(within_the_quota)
{
    static char text[3000];
    struct store_view *v;
    uint32_t uid;

    setup_quota("quota = maildir:User quota\nquota_rule = *:bytes=5000:messages=2\n");
    start();
    memset(text, 'x', sizeof text - 1);
    text[100] = '\n';
    CHECK(append("INBOX", text, 0, NULL) != 0);
    CHECK(append("INBOX", "other\r\n", 0, NULL) != 0);
    CHECK_EQ_INT(append("INBOX", text, 0, NULL), 0);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    v = sel("INBOX");
    CHECK_EQ_INT(replace(v, 2, "INBOX", text, &uid), -1); /* takes the place of a small one */
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(count_files("tmp"), 0);
    CHECK_EQ_INT(replace(v, 1, "INBOX", text, &uid), 0); /* of one as large */
    CHECK_EQ_INT(uid, 3);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 2);
    CHECK_EQ_INT(replace(v, 3, "INBOX", "small\r\n", &uid), 0);
    sync_quiet(v);
    CHECK_EQ_INT(append("INBOX", "a third\r\n", 0, NULL), 0); /* messages=2 */
    store_unselect(&v);
    end();
}

/* A record as a kill leaves it: first with the new file placed, then with the old one still there. */
TEST(an_interrupted_replacement)
{
    struct store_view *v;
    char sql[1000], old[300];
    int64_t id;

    setup();
    open_store();
    append("Drafts", "old\r\n", 0, NULL);
    v = sel("Drafts");
    store_unselect(&v);
    snprintf(old, sizeof old, "%s", name_with(".Drafts/cur", ",S="));
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(mbox_find(us, SL("Drafts"), &id, &e), 0);
    foreign(".Drafts/cur", "1750.M1P1.x,S=4,W=5:2,", "new\n");
    snprintf(sql, sizeof sql,
             "INSERT INTO pending VALUES (NULL, 1, %lld, 'Drafts', 't0', '1750.M1P1.x,S=4,W=5:2,', "
             "'', '')",
             (long long)id);
    CHECK_EQ_INT(db_exec(us->db, sql, &e), 0);
    user_unlock(us);
    close_store();
    open_store();
    v = sel("Drafts");
    CHECK_EQ_INT(exists(v), 1);
    CHECK_EQ_STR(name_with(".Drafts/cur", ",S="), old);
    store_unselect(&v);

    /* the rows are as after the commit, but for the file; a scan meanwhile takes it for nothing new */
    NEED(user_lock(us, &e) == 0);
    snprintf(sql, sizeof sql,
             "INSERT INTO pending VALUES (NULL, 1, %lld, 'Drafts', '', '', 'Drafts', '%s');"
             "DELETE FROM messages WHERE mailbox = %lld",
             (long long)id, old, (long long)id);
    CHECK_EQ_INT(db_exec(us->db, sql, &e), 0);
    {
        struct map *names;

        CHECK_EQ_INT(record_names(us, id, &names, &e), 0);
        CHECK(names != NULL && map_get(names, sl_head(sl_z(old), strcspn(old, ":"))) != NULL);
        map_free(&names, NULL);
    }
    user_unlock(us);
    close_store();
    open_store();
    v = sel("Drafts");
    CHECK_EQ_INT(exists(v), 0);
    CHECK_EQ_INT(count_files(".Drafts/cur"), 0);
    CHECK_EQ_INT(count_pending(), 0);
    store_unselect(&v);
    teardown();
}

/* ---- killed at any moment ---- */

static void
keep_replacing(int fd, uint32_t number)
{
    struct store_view *v;
    uint32_t uid;

    open_store();
    v = sel("Drafts");
    for (;; number++) {
        struct store_row r = { 0 };
        char text[64];

        sync_quiet(v);
        snprintf(text, sizeof text, "Subject: %u\r\n\r\n", number);
        if (!store_view_row(v, 1, &r) || replace(v, r.uid, "Drafts", text, &uid))
            _exit(1);
        if (write(fd, &number, sizeof number) != sizeof number)
            _exit(2);
    }
}

static uint32_t
number_there(struct store_view *v)
{
    struct store_file *f;
    uint64_t n = 0;
    struct slice s;

    if (store_file_open(v, 1, &f, &e)) {
        FAIL("%s", e.msg);
        return 0;
    }
    s = store_file_octets(f);
    CHECK(sl_take_prefix(&s, SL("Subject: ")) && sl_take_u64(&s, &n));
    store_file_close(&f);
    return (uint32_t)n;
}

TEST(killed_at_any_moment_there_is_one_message)
{
    uint32_t highest = 1, told, there;

    srand(11);
    setup();
    open_store();
    append("Drafts", "Subject: 1\r\n\r\n", 0, NULL);
    for (int round = 0; round < 60; round++) {
        struct timespec wait = { .tv_nsec = 3000000 + rand() % 15000000 };
        struct store_view *v;
        int fds[2], status;
        pid_t pid;

        close_store();
        BUG_ON(pipe(fds));
        pid = fork();
        if (pid == 0) {
            close(fds[0]);
            keep_replacing(fds[1], highest + 1);
        }
        close(fds[1]);
        nanosleep(&wait, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        CHECK(WIFSIGNALED(status));
        while (read(fds[0], &told, sizeof told) == sizeof told)
            highest = told;
        close(fds[0]);
        open_store();
        v = sel("Drafts");
        CHECK_EQ_INT(exists(v), 1);
        there = number_there(v);
        CHECK(there == highest || there == highest + 1);
        highest = there;
        store_unselect(&v);
        CHECK_EQ_INT(count_files(".Drafts/cur"), 1);
        CHECK_EQ_INT(count_pending(), 0);
    }
    CHECK(highest > 30);
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
