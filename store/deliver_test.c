/* store/deliver_test.c */
#include "base/test.h"
#include "base/fs.h"
#include "base/mem.h"
#include "core/loop.h"
#include "store/deliver.h"
#include "store/deliver_int.h"
#include "store/maildir.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];
static struct conf *conf;
static struct deliverer *dl;
static int n_ok, n_failed, n_wanted;
static struct err last;

static void
setup(void)
{
    struct conf_problems ps = { 0 };
    struct err e;
    char text[200];

    snprintf(root, sizeof root, "%s/deliver-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    BUG_ON(mkdtemp(root) == NULL);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\n", root,
             root);
    conf = conf_parse(sl_z(text), "test", &ps);
    BUG_ON(conf == NULL || deliverer_new(conf, &dl, &e));
    n_ok = n_failed = n_wanted = 0;
    memset(&last, 0, sizeof last);
}

static void
teardown(void)
{
    deliverer_free(&dl);
    conf_unref(&conf);
    fs_remove_tree(root, NULL);
}

static void
on_done(uint64_t id, int rc, const struct err *e)
{
    (void)id;
    if (rc)
        last = *e;
    *(rc ? &n_failed : &n_ok) += 1;
    if (n_ok + n_failed == n_wanted)
        loop_stop();
}

static void
too_late(void *arg)
{
    (void)arg;
    FAIL("no answer in time");
    loop_stop();
}

static void
wait_for(int n)
{
    struct timer limit = { 0 };

    n_wanted = n;
    timer_start(&limit, 20 * 1000, too_late, NULL);
    if (n_ok + n_failed < n)
        loop_run();
    timer_stop(&limit);
}

static struct deliver_msg *
msg_of(const char *text)
{
    struct deliver_msg *m = deliver_msg_new(dl);

    deliver_msg_write(m, sl_z(text));
    return m;
}

/* Names in root/sub, sorted by nothing; the last one's path in path. */
static int
files_in(const char *sub, char path[600])
{
    char at[200];
    struct dirent *ent;
    int n = 0;
    DIR *d;

    snprintf(at, sizeof at, "%s/%s", root, sub);
    d = opendir(at);
    if (d == NULL)
        return -1;
    while ((ent = readdir(d)) != NULL) {
        if (ent->d_name[0] == '.')
            continue;
        n++;
        if (path)
            snprintf(path, 600, "%s/%s", at, ent->d_name);
    }
    closedir(d);
    return n;
}

TEST(one_copy_is_whole_and_named_for_its_sizes)
{
    struct buf content = { 0 };
    struct maildir_name name;
    struct deliver_msg *m;
    char path[600];

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m,
            &(struct deliver_rcpt){ .user = SL("bob@example.org"),
                                    .prepend = SL("Return-Path: <a@b>\r\n"),
                                    .mailbox = SL("INBOX") },
            on_done, 1);
    deliver_msg_free(&m);
    wait_for(1);
    CHECK_EQ_INT(n_ok, 1);
    CHECK_EQ_INT(files_in("example.org/bob/new", path), 1);
    CHECK_EQ_INT(files_in("example.org/bob/tmp", NULL), 0);
    CHECK_EQ_INT(fs_read_file(path, &content, NULL), 0);
    CHECK_EQ_STR(buf_z(&content), "Return-Path: <a@b>\nSubject: x\n\nbody\n");
    NEED(maildir_parse(strrchr(path, '/') + 1, &name));
    CHECK_EQ_INT(name.size, content.n);
    CHECK_EQ_INT(name.crlf, content.n + 4);
    buf_free(&content);
    teardown();
}

/* Of a Maildir that somebody made by hand, or half removed, what is absent is made. */
TEST(a_maildir_without_new)
{
    struct deliver_msg *m;
    char path[200];

    setup();
    snprintf(path, sizeof path, "%s/example.org/bob/tmp", root);
    CHECK_EQ_INT(fs_mkdirs(path, 0700, NULL), 0);
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m, &(struct deliver_rcpt){ .user = SL("bob@example.org"), .mailbox = SL("INBOX") },
            on_done, 1);
    deliver_msg_free(&m);
    wait_for(1);
    CHECK_EQ_INT(n_ok, 1);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 1);
    teardown();
}

/* A repeat in a Maildir without cur/ holds up neither itself nor those beside it. */
TEST(a_repeat_without_cur)
{
    struct deliver_rcpt r = { .user = SL("bob@example.org"),
                              .mailbox = SL("INBOX"),
                              .ident = SL("q1.1") };
    struct deliver_msg *m;
    char path[200];

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m, &r, on_done, 1);
    wait_for(1);
    snprintf(path, sizeof path, "%s/example.org/bob/cur", root);
    CHECK_EQ_INT(rmdir(path), 0);
    r.may_be_repeat = true;
    deliver(m, &r, on_done, 2);
    deliver(m, &(struct deliver_rcpt){ .user = SL("eve@example.org"), .mailbox = SL("INBOX") },
            on_done, 3);
    deliver_msg_free(&m);
    wait_for(3);
    CHECK_EQ_INT(n_ok, 3);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 1);
    teardown();
}

TEST(two_recipients_and_a_folder)
{
    struct deliver_msg *m;

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m, &(struct deliver_rcpt){ .user = SL("bob@example.org"), .mailbox = SL("INBOX") },
            on_done, 1);
    deliver(m, &(struct deliver_rcpt){ .user = SL("bob@example.org"), .mailbox = SL("INBOX") },
            on_done, 2);
    deliver(m, &(struct deliver_rcpt){ .user = SL("eve@example.org"), .mailbox = SL("Lists.x") },
            on_done, 3);
    deliver_msg_free(&m);
    wait_for(3);
    CHECK_EQ_INT(n_ok, 3);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 2);
    CHECK_EQ_INT(files_in("example.org/eve/.Lists.x/new", NULL), 1);
    teardown();
}

TEST(a_repeat_is_found_and_a_wreck_is_not)
{
    struct deliver_rcpt r = { .user = SL_INIT("bob@example.org"),
                              .mailbox = SL_INIT("INBOX"),
                              .ident = SL_INIT("4aBc.1") };
    struct deliver_msg *m;
    char path[600], moved[800];

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m, &r, on_done, 1);
    wait_for(1);
    r.may_be_repeat = true;
    deliver(m, &r, on_done, 2);
    wait_for(2);
    CHECK_EQ_INT(n_ok, 2);
    CHECK_EQ_INT(files_in("example.org/bob/new", path), 1);

    /* moved to cur with flags by its reader: still the same delivery */
    snprintf(moved, sizeof moved, "%s/example.org/bob/cur/%s:2,S", root, strrchr(path, '/') + 1);
    CHECK_EQ_INT(rename(path, moved), 0);
    deliver(m, &r, on_done, 3);
    wait_for(3);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 0);

    /* shorter than its name says: a power cut's, counts as nothing */
    CHECK_EQ_INT(truncate(moved, 3), 0);
    deliver(m, &r, on_done, 4);
    wait_for(4);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 1);

    /* another row of the same message is another copy; without the mark nothing is looked for */
    r.ident = SL("4aBc.12");
    deliver(m, &r, on_done, 5);
    wait_for(5);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 2);
    r.may_be_repeat = false;
    deliver(m, &r, on_done, 6);
    wait_for(6);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 3);
    CHECK_EQ_INT(n_failed, 0);
    deliver_msg_free(&m);
    teardown();
}

TEST(the_same_delivery_twice_at_once)
{
    struct deliver_rcpt r = { .user = SL_INIT("bob@example.org"),
                              .mailbox = SL_INIT("INBOX"),
                              .ident = SL_INIT("4aBc.1") };
    struct deliver_msg *m;

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    deliver(m, &r, on_done, 1);
    r.may_be_repeat = true;
    deliver(m, &r, on_done, 2);
    wait_for(2);
    CHECK_EQ_INT(n_ok, 1);
    CHECK_EQ_INT(n_failed, 1);
    CHECK_EQ_INT(last.kind, ERR_TEMP);
    CHECK_EQ_INT(files_in("example.org/bob/new", NULL), 1);
    deliver_msg_free(&m);
    teardown();
}

TEST(a_large_message_goes_by_a_file)
{
    struct buf content = { 0 };
    struct deliver_msg *m;
    char path[600];

    setup();
    m = deliver_msg_new(dl);
    for (int i = 0; i < 40000; i++)
        deliver_msg_write(m, SL("0123456789\r\n"));
    deliver(m,
            &(struct deliver_rcpt){
                .user = SL("bob@example.org"), .prepend = SL("X: y\r\n"), .mailbox = SL("INBOX") },
            on_done, 1);
    deliver_msg_free(&m);
    wait_for(1);
    CHECK_EQ_INT(n_ok, 1);
    CHECK_EQ_INT(files_in("example.org/bob/new", path), 1);
    CHECK_EQ_INT(fs_read_file(path, &content, NULL), 0);
    CHECK_EQ_INT(content.n, 40000 * 11 + 5);
    CHECK(sl_has_suffix(buf_slice(&content), SL("9\n0123456789\n")));
    buf_free(&content);
    teardown();
}

static char placed[100];

static void
on_place(uint64_t id, const char *mailbox)
{
    (void)id;
    snprintf(placed, sizeof placed, "%s", mailbox);
}

TEST(flags_and_keywords_are_in_the_name)
{
    static const char *const keywords[] = { "$Forwarded", "no (atom)", "Work" };
    static const struct {
        uint32_t flags;
        size_t n_keywords;
        const char *sub, *end;
    } rows[] = {
        { 0, 0, "new", "" },
        { STORE_SEEN, 0, "cur", ":2,S" },
        { STORE_SEEN | STORE_FLAGGED | STORE_DRAFT, 0, "cur", ":2,DFS" },
        { 0, 1, "cur", ":2,a" },
        { STORE_ANSWERED, 3, "cur", ":2,Rab" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct deliver_msg *m;
        char path[600] = "", sub[80];

        TEST_ROW("%zu", i);
        setup();
        m = msg_of("Subject: x\r\n\r\nbody\r\n");
        deliver(m,
                &(struct deliver_rcpt){ .user = SL("bob@example.org"),
                                        .mailbox = SL("Lists"),
                                        .flags = rows[i].flags,
                                        .keywords = keywords,
                                        .n_keywords = rows[i].n_keywords },
                on_done, 1);
        deliver_msg_free(&m);
        wait_for(1);
        CHECK_EQ_INT(n_ok, 1);
        snprintf(sub, sizeof sub, "example.org/bob/.Lists/%s", rows[i].sub);
        CHECK_EQ_INT(files_in(sub, path), 1);
        CHECK(sl_has_suffix(sl_z(path), sl_z(rows[i].end)));
        CHECK((strchr(path, ':') != NULL) == (rows[i].end[0] != '\0'));
        if (rows[i].n_keywords == 3) {
            struct buf b = { 0 };

            snprintf(path, sizeof path, "%s/example.org/bob/.Lists/dovecot-keywords", root);
            CHECK_EQ_INT(fs_read_file(path, &b, NULL), 0);
            CHECK_EQ_STR(buf_z(&b), "0 $Forwarded\n1 Work\n");
            buf_free(&b);
        }
        teardown();
    }
}

TEST(folders_are_made_as_asked)
{
    static const struct {
        const char *mailbox;
        bool no_create, or_inbox, must_subscribe;
        const char *sub, *placed;
        bool is_subscribed;
    } rows[] = {
        { "Lists.a", false, false, false, "example.org/bob/.Lists.a/new", "Lists.a", false },
        { "Lists.a", false, false, true, "example.org/bob/.Lists.a/new", "Lists.a", true },
        { "Lists.a", true, false, true, "example.org/bob/new", "INBOX", false },
        { "Entwürfe", false, false, false, "example.org/bob/.Entw&APw-rfe/new", "Entwürfe", false },
        { "a..b", false, true, true, "example.org/bob/new", "INBOX", false },
        { "inbox", true, false, true, "example.org/bob/new", "INBOX", false },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct deliver_msg *m;
        struct buf b = { 0 };
        char path[600];

        TEST_ROW("%zu %s", i, rows[i].mailbox);
        setup();
        m = msg_of("Subject: x\r\n\r\nbody\r\n");
        deliver(m,
                &(struct deliver_rcpt){ .user = SL("bob@example.org"),
                                        .mailbox = sl_z(rows[i].mailbox),
                                        .no_create = rows[i].no_create,
                                        .or_inbox = rows[i].or_inbox,
                                        .must_subscribe = rows[i].must_subscribe,
                                        .on_place = on_place },
                on_done, 1);
        deliver_msg_free(&m);
        wait_for(1);
        CHECK_EQ_INT(n_ok, 1);
        CHECK_EQ_STR(placed, rows[i].placed);
        CHECK_EQ_INT(files_in(rows[i].sub, NULL), 1);
        snprintf(path, sizeof path, "%s/example.org/bob/subscriptions", root);
        CHECK_EQ_INT(fs_read_file(path, &b, NULL) == 0 && strstr(buf_z(&b), "Lists") != NULL,
                     rows[i].is_subscribed);
        buf_free(&b);
        teardown();
    }
}

static ino_t
inode_of(const char *sub)
{
    char path[600] = "";
    struct stat st;

    CHECK_EQ_INT(files_in(sub, path), 1);
    return stat(path, &st) ? 0 : st.st_ino;
}

TEST(equal_copies_are_one_file)
{
    struct deliver_msg *m;

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    for (int i = 0; i < 12; i++) {
        char user[40];

        snprintf(user, sizeof user, "u%d@example.org", i);
        deliver(m,
                &(struct deliver_rcpt){ .user = sl_z(user),
                                        .prepend = i < 10 ? SL("X: same\r\n") : SL("X: other\r\n"),
                                        .mailbox = SL("INBOX") },
                on_done, 1);
    }
    deliver_msg_free(&m);
    wait_for(12);
    CHECK_EQ_INT(n_ok, 12);
    for (int i = 1; i < 12; i++) {
        char sub[60];

        TEST_ROW("%d", i);
        snprintf(sub, sizeof sub, "example.org/u%d/new", i);
        CHECK_EQ_INT(inode_of(sub) == inode_of("example.org/u0/new"), i < 10);
    }
    CHECK_EQ_INT(files_in("example.org/u5/tmp", NULL), 0);
    teardown();
}

TEST(bad_names_are_told_by_the_callback)
{
    struct deliver_msg *m;

    setup();
    m = msg_of("x\r\n");
    deliver(m, &(struct deliver_rcpt){ .user = SL("../bob@example.org"), .mailbox = SL("INBOX") },
            on_done, 1);
    CHECK_EQ_INT(n_failed, 0);
    wait_for(1);
    CHECK_EQ_INT(last.kind, ERR_PERM);
    deliver(m, &(struct deliver_rcpt){ .user = SL("bob@example.org"), .mailbox = SL("a..b") },
            on_done, 1);
    wait_for(2);
    CHECK_EQ_INT(last.kind, ERR_CLIENT);
    CHECK_EQ_INT(n_failed, 2);
    deliver_msg_free(&m);
    teardown();
}

TEST(a_folder_that_cannot_be_made_is_temporary)
{
    struct deliver_msg *m;
    char path[200];

    setup();
    snprintf(path, sizeof path, "%s/example.org", root);
    CHECK_EQ_INT(fs_replace_file(path, SL("in the way"), 0600, NULL), 0);
    m = msg_of("x\r\n");
    deliver(m, &(struct deliver_rcpt){ .user = SL("bob@example.org"), .mailbox = SL("INBOX") },
            on_done, 1);
    wait_for(1);
    CHECK_EQ_INT(n_failed, 1);
    CHECK_EQ_INT(last.kind, ERR_TEMP);
    deliver_msg_free(&m);
    teardown();
}

TEST(many_at_once)
{
    enum { MANY = 300 };
    struct deliver_msg *m;
    int n = 0;

    setup();
    m = msg_of("Subject: x\r\n\r\nbody\r\n");
    for (int i = 0; i < MANY; i++) {
        char user[40];

        snprintf(user, sizeof user, "u%d@example.org", i % 7);
        deliver(m, &(struct deliver_rcpt){ .user = sl_z(user), .mailbox = SL("INBOX") }, on_done,
                1);
    }
    deliver_msg_free(&m);
    wait_for(MANY);
    CHECK_EQ_INT(n_ok, MANY);
    for (int i = 0; i < 7; i++) {
        char sub[60];

        snprintf(sub, sizeof sub, "example.org/u%d/new", i);
        n += files_in(sub, NULL);
    }
    CHECK_EQ_INT(n, MANY);
    teardown();
}

TEST(the_cheaper_sync_is_chosen_and_tried_again)
{
    struct pace p;
    uint64_t now_ms = 1000;

    pace_init(&p, SYNC_EACH);
    for (int i = 0; i < 12; i++) {
        enum sync_how how = pace_choose(&p, now_ms);

        CHECK_EQ_INT(how, i < 8 ? SYNC_EACH : SYNC_FS);
        pace_note(&p, how, how == SYNC_EACH ? 900 : 300);
    }
    CHECK_EQ_INT(pace_choose(&p, now_ms), SYNC_FS);
    /* within the minute no other trial; after it one, which loses */
    for (int i = 0; i < 20; i++) {
        CHECK_EQ_INT(pace_choose(&p, now_ms), SYNC_FS);
        pace_note(&p, SYNC_FS, 300);
    }
    now_ms += 61 * 1000;
    for (int i = 0; i < 4; i++) {
        CHECK_EQ_INT(pace_choose(&p, now_ms), SYNC_EACH);
        pace_note(&p, SYNC_EACH, 900);
    }
    CHECK_EQ_INT(pace_choose(&p, now_ms), SYNC_FS);
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
