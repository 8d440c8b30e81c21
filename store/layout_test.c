/* The other forms of mail_location: folders in folders, names in UTF-8, control files and index in places of their own. */
#include "store/store_test.h"

#include <stdio.h>
#include <sys/resource.h>

static void
setup_with(const char *options)
{
    struct conf_problems ps = { 0 };
    char text[400];

    setup();
    conf_unref(&conf);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%d/%%n%s\nqueue_directory = %s\n",
             base, options, base);
    conf = conf_parse(sl_z(text), "test", &ps);
    BUG_ON(conf == NULL);
    open_store();
}

static bool
is_there(const char *below_base)
{
    char path[400];

    snprintf(path, sizeof path, "%s/%s", base, below_base);
    return access(path, F_OK) == 0;
}

/* All mailboxes but the automatic ones, in their order: "INBOX a a/b". '-': not there itself. */
static const char *
listed(void)
{
    static char out[1000];
    struct store_mailboxes l;
    size_t n = 0;

    out[0] = '\0';
    if (store_list(us, &l, &e))
        return e.msg;
    for (size_t i = 0; i < l.n; i++)
        if (!(l.v[i].attrs &
              (STORE_MB_USE_DRAFTS | STORE_MB_USE_SENT | STORE_MB_USE_TRASH | STORE_MB_USE_JUNK)))
            n += (size_t)snprintf(out + n, sizeof out - n, "%s%s%s", n ? " " : "",
                                  l.v[i].attrs & STORE_MB_NONEXISTENT ? "-" : "", l.v[i].name);
    store_mailboxes_free(&l);
    return out;
}

static uint32_t
put(const char *mailbox, const char *keyword)
{
    struct store_append *a;
    uint32_t uidvalidity = 0, *uids = NULL;
    size_t n = 0;

    if (store_append_begin(us, sl_z(mailbox), &a, &e)) {
        FAIL("%s: %s", mailbox, e.msg);
        return 0;
    }
    if (store_append_msg(a, 0, &keyword, keyword != NULL, 0, 0, &e) ||
        store_append_octets(a, SL("Subject: x\r\n\r\nhello\r\n"), &e)) {
        FAIL("%s: %s", mailbox, e.msg);
        store_append_abort(&a);
        return 0;
    }
    if (store_append_commit(&a, &uidvalidity, &uids, &n, &e))
        FAIL("%s: %s", mailbox, e.msg);
    free(uids);
    return uidvalidity;
}

/* Messages there, -1: no such mailbox. */
static int
count(const char *mailbox)
{
    struct store_status now;

    return store_status(us, sl_z(mailbox), &now, &e) ? -1 : (int)now.messages;
}

TEST(folders_in_folders)
{
    setup_with(":LAYOUT=fs");
    CHECK_EQ_INT(store_separator(us), '/');
    CHECK_EQ_INT(store_create(us, SL("a"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("a/b/c"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("INBOX/below"), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("x.y"), 0, &e), 0);
    CHECK_EQ_STR(listed(), "INBOX INBOX/below a -a/b a/b/c x.y");
    CHECK(is_there("example.org/bob/a/b/c/cur") && !is_there("example.org/bob/a/b/cur"));
    CHECK(is_there("example.org/bob/INBOX/below/new") && is_there("example.org/bob/x.y/cur"));
    CHECK(!is_there("example.org/bob/a/maildirfolder"));
    put("a", "$Forwarded");
    put("a/b/c", NULL);
    put("INBOX", NULL);
    CHECK_EQ_INT(count("a"), 1);
    CHECK_EQ_INT(count("a/b"), -1);
    CHECK(is_there("example.org/bob/a/dovecot-keywords"));

    /* One that has others below it: they stay. */
    CHECK_EQ_INT(store_delete(us, SL("a"), &e), 0);
    CHECK_EQ_STR(listed(), "INBOX INBOX/below -a -a/b a/b/c x.y");
    CHECK(!is_there("example.org/bob/a/cur") && !is_there("example.org/bob/a/dovecot-keywords"));
    CHECK_EQ_INT(count("a"), -1);
    CHECK_EQ_INT(count("a/b/c"), 1);
    CHECK_EQ_INT(store_create(us, SL("a"), 0, &e), 0);
    CHECK_EQ_INT(count("a"), 0);

    /* A rename takes along what is below, also where a level above has to be made. */
    CHECK_EQ_INT(store_rename(us, SL("a"), SL("fresh/place"), &e), 0);
    CHECK_EQ_STR(listed(),
                 "INBOX INBOX/below -fresh fresh/place -fresh/place/b fresh/place/b/c x.y");
    CHECK_EQ_INT(count("fresh/place/b/c"), 1);
    CHECK_EQ_INT(store_rename(us, SL("x.y"), SL("fresh/place"), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_EXISTS);
    CHECK_EQ_INT(store_rename(us, SL("x.y"), SL("fresh"), &e), -1); /* a folder with others in it */
    CHECK_EQ_INT(e.kind, ERR_EXISTS);
    CHECK_EQ_STR(listed(),
                 "INBOX INBOX/below -fresh fresh/place -fresh/place/b fresh/place/b/c x.y");
    CHECK_EQ_INT(store_rename(us, SL("INBOX"), SL("old/inbox"), &e), 0);
    CHECK_EQ_INT(count("INBOX"), 0);
    CHECK_EQ_INT(count("old/inbox"), 1);
    teardown();
}

TEST(names_that_are_parts_of_a_maildir)
{
    static const char *const bad[] = {
        "cur",         "a/new",           "tmp/x", "..",   "a/../b",           ".",
        "~bob",        "subscriptions",   "/a",    "a//b", "postern-index.db", "a/dovecot-uidlist",
        "maildirsize", "..postern-gone.1"
    };

    setup_with(":LAYOUT=fs");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        TEST_ROW("%s", bad[i]);
        CHECK_EQ_INT(store_create(us, sl_z(bad[i]), 0, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_CLIENT);
    }
    CHECK_EQ_STR(listed(), "INBOX");
    teardown();
}

/* A link that leads back up would be walked for ever. */
TEST(links_among_folders)
{
    char from[300], to[300];

    setup_with(":LAYOUT=fs");
    CHECK_EQ_INT(store_create(us, SL("a"), 0, &e), 0);
    snprintf(from, sizeof from, "%s/a/up", root);
    CHECK_EQ_INT(symlink("..", from), 0);
    snprintf(from, sizeof from, "%s/elsewhere", base);
    CHECK_EQ_INT(mkdir(from, 0700), 0);
    snprintf(to, sizeof to, "%s/elsewhere/cur", base);
    CHECK_EQ_INT(mkdir(to, 0700), 0);
    snprintf(to, sizeof to, "%s/linked", root);
    CHECK_EQ_INT(symlink(from, to), 0);
    CHECK_EQ_STR(listed(), "INBOX a a/up linked");
    teardown();
}

TEST(names_in_utf8)
{
    static const char *const options[] = { ":UTF-8", ":UTF-8:LAYOUT=fs", "", ":LAYOUT=fs" };
    static const char *const folder[] = { "example.org/bob/.Entw\303\274rfe & mehr",
                                          "example.org/bob/Entw\303\274rfe & mehr",
                                          "example.org/bob/.Entw&APw-rfe &- mehr",
                                          "example.org/bob/Entw&APw-rfe &- mehr" };

    for (size_t i = 0; i < COUNT_OF(options); i++) {
        struct buf text = { 0 };
        char path[300];

        TEST_ROW("%s", options[i]);
        setup_with(options[i]);
        CHECK_EQ_INT(store_create(us, SL("Entw\303\274rfe & mehr"), 0, &e), 0);
        CHECK(is_there(folder[i]));
        CHECK_EQ_INT(store_subscribe(us, SL("Entw\303\274rfe & mehr"), true, &e), 0);
        snprintf(path, sizeof path, "%s/subscriptions", root);
        CHECK_EQ_INT(fs_read_file(path, &text, &e), 0);
        CHECK(sl_find(buf_slice(&text), sl_z(strrchr(folder[i], 'E'))) != SL_NPOS);
        CHECK_EQ_STR(listed(), "INBOX Entw\303\274rfe & mehr");
        buf_free(&text);
        teardown();
    }
}

/* INBOX has no case as the first level alone (RFC 3501 §5.1). */
TEST(inbox_at_lower_levels)
{
    static const char *const names[] = { "a/inbox", "a/INBOX", "inBox/inbox", "a/Inbox/x" };
    static const char *const want[] = { "INBOX INBOX/inbox a a/INBOX a/Inbox a/Inbox/x a/inbox",
                                        "INBOX INBOX.inbox -a a.INBOX -a.Inbox a.Inbox.x a.inbox" };

    for (int i = 0; i < 2; i++) {
        struct store_status s;

        TEST_ROW("%s", i ? "Maildir++" : "LAYOUT=fs");
        setup_with(i ? "" : ":LAYOUT=fs");
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            char name[40];

            snprintf(name, sizeof name, "%s", names[k]);
            for (char *at = name; *at; at++)
                if (*at == '/' && i)
                    *at = '.';
            CHECK_EQ_INT(store_create(us, sl_z(name), 0, &e), 0);
            CHECK_EQ_INT(store_create(us, sl_z(name), 0, &e), -1);
            CHECK(put(name, NULL) != 0);
        }
        if (i == 0) {
            foreign_mkdirs("inbox"); /* nobody can name it */
            foreign_mkdirs("Inbox/y");
            CHECK_EQ_INT(store_create(us, SL("a"), 0, &e), 0);
            CHECK_EQ_INT(store_create(us, SL("a/Inbox"), 0, &e), 0);
        } else {
            foreign_mkdirs(".inbox");
            foreign_mkdirs(".Inbox.y");
        }
        CHECK_EQ_STR(listed(), want[i]);
        CHECK_EQ_INT(store_delete(us, i ? SL("a.inbox") : SL("a/inbox"), &e), 0);
        CHECK_EQ_INT(store_status(us, i ? SL("a.INBOX") : SL("a/INBOX"), &s, &e), 0);
        CHECK_EQ_INT(s.messages, 1);
        teardown();
    }
}

/* A folder out of sight is deleted, whether or not its last file can be removed now: a NO would say that the mail is there. */
TEST(a_delete_that_cannot_remove_all)
{
    for (int i = 0; i < 2; i++) {
        struct rlimit was, low;
        char path[1000];
        int n, fd;

        TEST_ROW("%s", i ? "Maildir++" : "LAYOUT=fs");
        setup_with(i ? "" : ":LAYOUT=fs");
        CHECK_EQ_INT(store_create(us, SL("Gone"), 0, &e), 0);
        CHECK(put("Gone", NULL) != 0);
        n = snprintf(path, sizeof path, "%s/%s/cur", root, i ? ".Gone" : "Gone");
        for (int k = 0; k < 100; k++) /* deeper than there are file descriptors */
            n += snprintf(path + n, sizeof path - (size_t)n, "/d");
        BUG_ON(fs_mkdirs(path, 0700, &e));
        BUG_ON((fd = dup(0)) < 0 || close(fd) || getrlimit(RLIMIT_NOFILE, &was));
        low = was;
        low.rlim_cur = (rlim_t)fd + 30;
        BUG_ON(setrlimit(RLIMIT_NOFILE, &low));
        memset(&e, 0, sizeof e);
        CHECK_EQ_INT(store_delete(us, SL("Gone"), &e), 0);
        BUG_ON(setrlimit(RLIMIT_NOFILE, &was));
        CHECK_EQ_STR(listed(), "INBOX");
        CHECK_EQ_INT(store_create(us, SL("Gone"), 0, &e), 0);
        CHECK(put("Gone", NULL) != 0);
        close_store();
        open_store(); /* what is left goes */
        snprintf(path, sizeof path,
                 "test -z \"$(find %s -name '" NAMES_GONE_PREFIX "*' -print -quit)\"", root);
        CHECK_EQ_INT(system(path), 0);
        CHECK_EQ_STR(listed(), "INBOX Gone");
        teardown();
    }
}

/* Its folder cannot be listed, and nothing else is lost: no memory (SAN=address), no mail. */
TEST(subscriptions_that_are_too_long)
{
    struct store_mailboxes l;
    char path[300];

    setup_with("");
    snprintf(path, sizeof path, "%s/subscriptions", root);
    BUG_ON(truncate(path, 5 * 1024 * 1024));
    CHECK_EQ_INT(store_list(us, &l, &e), -1);
    CHECK_EQ_INT(store_subscribe(us, SL("x"), true, &e), -1);
    CHECK(put("INBOX", NULL) != 0);
    teardown();
}

/* None is added to what nobody could read again. */
TEST(subscriptions_stay_readable)
{
    enum { FULL_OCTETS = 4 * 1024 * 1024, NAME_OCTETS = 128 };
    struct store_mailboxes l;
    char path[300];
    FILE *f;

    setup_with("");
    snprintf(path, sizeof path, "%s/subscriptions", root);
    f = fopen(path, "w");
    BUG_ON(f == NULL);
    fputs("V\t2\n\n", f);
    for (int i = 0; i < FULL_OCTETS / NAME_OCTETS - 1; i++)
        fprintf(f, "%0*d\n", NAME_OCTETS - 1, i);
    BUG_ON(fclose(f));
    CHECK_EQ_INT(store_subscribe(us, SL("x"), true, &e), 0);
    for (int i = 0; i < 2; i++) {
        char name[NAME_OCTETS];

        snprintf(name, sizeof name, "y%0*d", NAME_OCTETS - 12, i);
        CHECK_EQ_INT(store_subscribe(us, sl_z(name), true, &e), i == 0 ? 0 : -1);
    }
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(store_list(us, &l, &e), 0);
    store_mailboxes_free(&l);
    CHECK_EQ_INT(store_subscribe(us, SL("x"), false, &e), 0);
    teardown();
}

TEST(control_and_index_in_their_own_places)
{
    static const char *const layouts[] = { "", ":LAYOUT=fs" };
    static const char *const inbox[] = { "ctl/bob/.INBOX/dovecot-keywords",
                                         "ctl/bob/INBOX/dovecot-keywords" };
    static const char *const sub[] = { "ctl/bob/.Lists", "ctl/bob/Lists" };
    static const char *const renamed[] = { "ctl/bob/.Other/dovecot-keywords",
                                           "ctl/bob/Other/dovecot-keywords" };

    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        char options[300];
        uint32_t uidvalidity;

        TEST_ROW("%s", layouts[i]);
        setup(); /* for base's pattern */
        conf_unref(&conf);
        fs_remove_tree(base, NULL);
        {
            struct conf_problems ps = { 0 };
            char text[700];

            BUG_ON(mkdir(base, 0700));
            snprintf(options, sizeof options, ":CONTROL=%s/ctl/%%n:INDEX=%s/idx/%%n%s", base, base,
                     layouts[i]);
            snprintf(text, sizeof text,
                     "mail_location = maildir:%s/%%d/%%n%s\nqueue_directory = %s\n", base, options,
                     base);
            conf = conf_parse(sl_z(text), "test", &ps);
            BUG_ON(conf == NULL);
        }
        open_store();
        CHECK_EQ_INT(store_create(us, SL("Lists"), 0, &e), 0);
        uidvalidity = put("INBOX", "$Work");
        put("Lists", "$Home");
        CHECK_EQ_INT(store_subscribe(us, SL("Lists"), true, &e), 0);
        CHECK(is_there("idx/bob/postern-index.db") &&
              !is_there("example.org/bob/postern-index.db"));
        CHECK(is_there("ctl/bob/subscriptions") && !is_there("example.org/bob/subscriptions"));
        CHECK(is_there("ctl/bob/postern-uidvalidity"));
        CHECK(is_there(inbox[i]) && is_there(sub[i]));
        CHECK_EQ_INT(store_rename(us, SL("Lists"), SL("Other"), &e), 0);
        CHECK(is_there(renamed[i]) && !is_there(sub[i]));
        CHECK_EQ_INT(store_delete(us, SL("Other"), &e), 0);
        CHECK(!is_there(renamed[i]));

        /* The index alone is lost: keywords are as they were, UIDVALIDITY is larger. */
        close_store();
        turn(1);
        {
            char path[200];

            snprintf(path, sizeof path, "%s/idx", base);
            fs_remove_tree(path, NULL);
        }
        open_store();
        {
            struct store_view *v;
            struct store_box b;

            CHECK_EQ_INT(store_select(us, SL("INBOX"), false, &v, &e), 0);
            store_view_box(v, &b);
            CHECK(b.exists == 1 && b.uidvalidity > uidvalidity);
            CHECK_EQ_STR(store_view_keyword(v, 0), "$Work");
            store_unselect(&v);
        }
        teardown();
    }
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
