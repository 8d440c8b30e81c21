/* store/user_watch_test.c - what is heard of a user's mailboxes: of this process's doing, of other processes', of foreign
 * programs'. */
#include "store/store_test.h"

#include <stdio.h>

enum { WAIT_MS = 5000, QUIET_MS = 100 }; /* the first generous: a loaded machine is no failure */

/* Events as they came: "R Newer<New 7;", a letter of NOTIFY_KINDS, and by whom. */
static struct buf heard;

static void
on_event(void *arg, const struct store_event *ev)
{
    buf_addf(&heard, "%s%c %.*s%s%.*s %d;", arg == NULL ? "" : (const char *)arg,
             ev->kind == STORE_EVENT_LOST ? '!' : NOTIFY_KINDS[ev->kind], SL_ARG(ev->mailbox),
             ev->more.n > 0 ? "<" : "", SL_ARG(ev->more), (int)ev->by);
    loop_stop();
}

static bool
hears(const char *what)
{
    for (int i = 0; i < WAIT_MS / 10 && strstr(buf_z(&heard), what) == NULL; i++)
        turn(10);
    return strstr(buf_z(&heard), what) != NULL;
}

static void
forget(void)
{
    turn(QUIET_MS);
    buf_reset(&heard);
}

static struct store_user_watch *
begin(const char *layout)
{
    struct conf_problems ps = { 0 };
    char text[300];

    setup();
    conf_unref(&conf);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%d/%%n%s\nqueue_directory = %s\n",
             base, layout, base);
    conf = conf_parse(sl_z(text), "test", &ps);
    BUG_ON(conf == NULL);
    open_store();
    forget();
    return store_user_watch(us, on_event, NULL);
}

static void
end(struct store_user_watch **w)
{
    store_user_unwatch(w);
    store_act_as(0);
    turn(1);
    teardown();
    buf_free(&heard);
}

TEST(what_this_process_does_is_heard_with_who_did_it)
{
    struct store_user_watch *w = begin("");

    store_act_as(7);
    CHECK_EQ_INT(store_create(us, SL("Work"), 0, &e), 0);
    CHECK(hears("C Work 7;"));
    CHECK_EQ_INT(store_create(us, SL("Work.Sub"), 0, &e), 0);
    store_act_as(8);
    CHECK_EQ_INT(store_rename(us, SL("Work"), SL("Play"), &e), 0);
    CHECK(hears("R Play<Work 8;"));
    CHECK(hears("R Play.Sub<Work.Sub 8;"));
    store_act_as(0);
    CHECK(append("Play", "x\r\n", 0, NULL) > 0);
    CHECK(hears("- Play 0;"));
    CHECK_EQ_INT(store_subscribe(us, SL("Play"), true, &e), 0);
    CHECK(hears("S Play 0;"));
    CHECK_EQ_INT(store_subscribe(us, SL("Play"), false, &e), 0);
    CHECK(hears("U Play 0;"));
    CHECK_EQ_INT(store_delete(us, SL("Play"), &e), 0);
    CHECK(hears("D Play 0;"));
    user_tell_event(us, STORE_EVENT_METADATA, SL(""), SL("/shared/comment"));
    CHECK(hears("M </shared/comment 0;"));
    CHECK(strchr(buf_z(&heard), '!') == NULL);
    end(&w);
}

TEST(what_other_processes_say_is_heard)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        { "them\tbob@example.org\tINBOX\n", "- INBOX 0;" },
        { "them\tbob@example.org\tA\tC\n", "C A 0;" },
        { "them\tbob@example.org\tA\tD\n", "D A 0;" },
        { "them\tbob@example.org\tB\tRA\n", "R B<A 0;" },
        { "them\tbob@example.org\tB\tS\n", "S B 0;" },
        { "them\tbob@example.org\tB\tU\n", "U B 0;" },
        { "them\tbob@example.org\t\tM/shared/x\n", "M </shared/x 0;" },
        { "them\t*\t*\n", "!  0;" },
        { "them\tann@example.org\tINBOX\n", "" }, /* somebody else's */
        { "them\tbob@example.org\tA\tZ\n", "" },  /* of a later version */
        { "them\tbob@example.org\tA\t\n", "- A 0;" },
    };
    struct store_user_watch *w = begin("");

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].line);
        buf_reset(&heard);
        store_notified(st, sl_z(rows[i].line));
        CHECK_EQ_STR(buf_z(&heard), rows[i].want);
    }
    end(&w);
}

TEST(folders_of_foreign_programs_are_heard_of)
{
    static const struct {
        const char *layout, *a, *b, *a_name, *b_name;
    } rows[] = {
        { "", ".New", ".Newer", "New", "Newer" },
        { "", ".Entw&APw-rfe", ".A.B", "Entw\303\274rfe", "A.B" },
        { ":LAYOUT=fs", "New", "Newer", "New", "Newer" },
        { ":LAYOUT=fs", "Sent/Sub", "Sent/Other", "Sent/Sub", "Sent/Other" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct store_user_watch *w = begin(rows[i].layout);
        char a[300], b[300], want[200];

        TEST_ROW("%s %s", rows[i].layout, rows[i].a);
        store_user_follow(w, SL("Sent"));
        snprintf(a, sizeof a, "%s/%s", root, rows[i].a);
        snprintf(b, sizeof b, "%s/%s", root, rows[i].b);
        foreign_mkdirs(rows[i].a);
        snprintf(want, sizeof want, "C %s 0;", rows[i].a_name);
        CHECK(hears(want));
        CHECK_EQ_INT(rename(a, b), 0);
        snprintf(want, sizeof want, "R %s<%s 0;", rows[i].b_name, rows[i].a_name);
        CHECK(hears(want));
        forget();
        CHECK_EQ_INT(fs_remove_tree(b, NULL), 0);
        snprintf(want, sizeof want, "D %s 0;", rows[i].b_name);
        CHECK(hears(want));
        /* out of the user's mail, and in again */
        foreign_mkdirs(rows[i].a);
        forget();
        snprintf(b, sizeof b, "%s/elsewhere", base);
        CHECK_EQ_INT(rename(a, b), 0);
        snprintf(want, sizeof want, "D %s 0;", rows[i].a_name);
        CHECK(hears(want));
        CHECK_EQ_INT(rename(b, a), 0);
        snprintf(want, sizeof want, "C %s 0;", rows[i].a_name);
        CHECK(hears(want));
        end(&w);
    }
}

TEST(a_mailbox_that_is_followed_is_heard_of_when_foreign_programs_write)
{
    struct store_user_watch *w = begin(""), *other;

    other = store_user_watch(us, on_event, "other: ");
    foreign(".Sent/new", "10.x", "x\n");
    turn(QUIET_MS);
    CHECK(strstr(buf_z(&heard), "Sent") == NULL);
    store_user_follow(w, SL("Sent"));
    store_user_follow(w, SL("Sent"));
    foreign(".Sent/cur", "11.x:2,", "x\n");
    CHECK(hears("- Sent 0;"));
    CHECK(hears("other: - Sent 0;")); /* he knows whose mailboxes he asked for */
    forget();
    foreign("new", "12.x", "x\n");
    turn(QUIET_MS);
    CHECK_EQ_STR(buf_z(&heard), "");
    store_user_unfollow(w, SL("INBOX")); /* never was */
    store_user_unfollow(w, SL("Sent"));
    foreign(".Sent/cur", "13.x:2,", "x\n");
    turn(QUIET_MS);
    CHECK_EQ_STR(buf_z(&heard), "");
    store_user_follow(w, SL("Sent"));
    store_user_follow(other, SL("Sent"));
    store_user_unwatch(&w);
    foreign(".Sent/cur", "14.x:2,", "x\n");
    CHECK(hears("other: - Sent 0;"));
    end(&other);
}

/* A view of the same mailbox, and one who follows it, share its folders: what the one leaves the other keeps. */
TEST(views_and_followers_of_one_mailbox_do_not_disturb_each_other)
{
    for (int i = 0; i < 2; i++) {
        struct store_user_watch *w = begin("");
        struct store_view *v = sel("INBOX");
        char from[300], to[300];

        TEST_ROW(i == 0 ? "the view goes first" : "the follower goes first");
        store_user_follow(w, SL("INBOX"));
        store_view_watch(v, stop, NULL);
        turn(QUIET_MS);
        sync_quiet(v);
        if (i == 0) {
            store_view_watch(v, NULL, NULL);
            forget();
            foreign("new", "10.x", "x\n");
            CHECK(hears("- INBOX 0;"));
            /* the root is INBOX, too: folders in it are no messages */
            forget();
            foreign_mkdirs(".New");
            CHECK(hears("C New 0;"));
            CHECK(strstr(buf_z(&heard), "INBOX") == NULL);
        } else {
            store_user_unwatch(&w);
            snprintf(from, sizeof from, "%s/cur", root);
            snprintf(to, sizeof to, "%s/away", root);
            foreign("new", "10.x", "x\n");
            for (int k = 0; k < WAIT_MS / 10 && !atomic_load(&v->is_told); k++)
                turn(10);
            CHECK(atomic_load(&v->is_told));
            store_view_watch(v, NULL, NULL);
        }
        store_unselect(&v);
        end(&w);
    }
}

TEST(beyond_the_limit_of_watches_what_is_followed_is_polled)
{
    struct store_user_watch *w;

    watcher_fake_limit(2, 50); /* one is the root's */
    w = begin("");
    store_user_follow(w, SL("Sent"));
    store_user_follow(w, SL("Trash"));
    forget();
    CHECK(hears("- Trash 0;"));
    CHECK(hears("- Sent 0;"));
    watcher_fake_limit(SIZE_MAX, 50);
    turn(150); /* by now there is room */
    watcher_fake_limit(SIZE_MAX, 3600 * 1000);
    turn(150);
    forget();
    foreign(".Trash/new", "10.x", "x\n");
    CHECK(hears("- Trash 0;"));
    watcher_fake_limit(SIZE_MAX, 30 * 1000);
    end(&w);
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
