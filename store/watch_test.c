/* store/watch_test.c - who is told when: inotify that lost events or has no room, folders that go away, workers whose
 * queue of datagrams is full. */
#include "store/store_test.h"

#include "store/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

enum { WAIT_MS = 5000 }; /* generous: a loaded machine is no failure */

static void
count_call(void *arg)
{
    ++*(int *)arg;
    loop_stop();
}

/* Until the counter is above was, or the time is up. */
static bool
told(const int *calls, int was)
{
    for (int i = 0; i < WAIT_MS / 10 && *calls <= was; i++)
        turn(10);
    return *calls > was;
}

/* A view that is watched and up to date. */
static struct store_view *
watched(const char *mailbox, int *calls)
{
    struct store_view *v = sel(mailbox);

    store_view_watch(v, count_call, calls);
    turn(20); /* the first call comes in any case */
    sync_quiet(v);
    return v;
}

static void
unwatch(struct store_view **v)
{
    store_view_watch(*v, NULL, NULL);
    store_unselect(v);
}

static long
queue_max(void)
{
    struct buf b = { 0 };
    long n = 16384;

    if (fs_read_file("/proc/sys/fs/inotify/max_queued_events", &b, NULL) == 0)
        n = atol(buf_z(&b));
    buf_free(&b);
    return n;
}

TEST(when_events_are_lost_everybody_looks)
{
    struct store_view *a, *b;
    int calls_a = 0, calls_b = 0, was;
    char x[300], y[300];

    setup();
    open_store();
    foreign("cur", "10.x:2,", "x\n");
    a = watched("INBOX", &calls_a);
    b = watched("Sent", &calls_b);
    turn(50);
    sync_quiet(a);
    sync_quiet(b);
    was = calls_b;
    snprintf(x, sizeof x, "%s/cur/10.x:2,", root);
    snprintf(y, sizeof y, "%s/cur/10.x:2,S", root);
    NEED(queue_max() <= 100 * 1000);
    for (long i = 0; i < queue_max(); i++) /* two events each */
        CHECK_EQ_INT(i % 2 == 0 ? rename(x, y) : rename(y, x), 0);
    foreign(".Sent/new", "11.y", "y\n"); /* nobody hears of this one by itself */
    CHECK(told(&calls_b, was));
    sync_quiet(b);
    CHECK_EQ_INT(exists(b), 1);
    unwatch(&a);
    unwatch(&b);
    teardown();
}

TEST(beyond_the_limit_of_watches_mailboxes_are_polled_until_there_is_room)
{
    struct store_view *a, *b;
    int calls_a = 0, calls_b = 0, was;

    setup();
    open_store();
    watcher_fake_limit(3, 50);
    a = watched("INBOX", &calls_a);
    b = watched("Sent", &calls_b);
    was = calls_b;
    foreign(".Sent/new", "10.x", "x\n");
    CHECK(told(&calls_b, was));
    sync_quiet(b);
    CHECK_EQ_INT(exists(b), 1);

    watcher_fake_limit(SIZE_MAX, 3600 * 1000); /* the next look is the last one */
    turn(150);
    sync_quiet(b);
    turn(20);
    sync_quiet(b);
    was = calls_b;
    foreign(".Sent/new", "11.y", "y\n");
    CHECK(told(&calls_b, was));
    watcher_fake_limit(SIZE_MAX, 30 * 1000);
    unwatch(&a);
    unwatch(&b);
    teardown();
}

TEST(a_folder_that_goes_away_is_told)
{
    for (int i = 0; i < 2; i++) {
        struct store_changes c;
        struct store_view *v;
        int calls = 0, was;
        char dir[200], to[200];

        TEST_ROW(i == 0 ? "renamed" : "removed");
        setup();
        open_store();
        v = watched("Sent", &calls);
        was = calls;
        snprintf(dir, sizeof dir, "%s/.Sent", root);
        snprintf(to, sizeof to, "%s/.Old", root);
        CHECK_EQ_INT(i == 0 ? rename(dir, to) : fs_remove_tree(dir, NULL), 0);
        CHECK(told(&calls, was));
        CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
        CHECK(c.is_gone);
        store_changes_free(&c);
        unwatch(&v);
        teardown();
    }
}

TEST(two_names_of_one_folder_are_both_told)
{
    struct store_user *other = NULL;
    struct store_view *a, *b = NULL;
    int calls_a = 0, calls_b = 0, was_a, was_b;
    char mail[300];

    setup();
    open_store();
    snprintf(mail, sizeof mail, "maildir:%s", root);
    NEED(store_user_open(st, SL("alias@example.org"), &(struct store_userdb){ .mail = sl_z(mail) },
                         &other, &e) == 0);
    a = watched("INBOX", &calls_a);
    NEED(store_select(other, SL("INBOX"), false, &b, &e) == 0);
    store_view_watch(b, count_call, &calls_b);
    turn(20);
    sync_quiet(a);
    sync_quiet(b);
    was_a = calls_a;
    was_b = calls_b;
    foreign("new", "10.x", "x\n");
    CHECK(told(&calls_a, was_a));
    CHECK(told(&calls_b, was_b));
    unwatch(&a);
    unwatch(&b);
    store_user_close(&other);
    teardown();
}

/* ---- datagrams ---- */

enum { LINES = 20000 };

/* Takes what is there; the bits of the users told of, or everybody's. */
static void
drain(int fd, bool *is_told)
{
    char msg[NOTIFY_DATAGRAM_MAX];
    struct notify_line line;
    struct slice s;
    ssize_t n;

    while ((n = recv(fd, msg, sizeof msg, MSG_DONTWAIT)) > 0)
        for (s = sl_n(msg, (size_t)n); notifier_take(&s, &line);) {
            uint64_t i;

            if (sl_eqz(line.user, NOTIFY_ALL))
                memset(is_told, true, LINES);
            else if (sl_take_u64(&line.user, &i) && i < LINES)
                is_told[i] = true;
        }
}

TEST(a_worker_with_a_full_queue_is_told_later)
{
    static const int counts[] = { 40, 600, LINES }; /* more than the kernel keeps; than we keep */
    struct sockaddr_un at = { .sun_family = AF_UNIX };

    for (size_t k = 0; k < COUNT_OF(counts); k++) {
        bool *is_told = mem_zalloc(LINES);
        struct notifier *n;
        char dir[200];
        int fd, missing = 0;

        TEST_ROW("%d", counts[k]);
        setup();
        open_store();
        snprintf(dir, sizeof dir, "%s/private", base);
        fs_mkdirs(dir, 0700, NULL);
        snprintf(at.sun_path, sizeof at.sun_path, "%.60s/private/imapd-notify-0", base);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        NEED(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
        n = notifier_new(conf);
        for (int i = 0; i < counts[k]; i++) {
            struct buf b = { 0 };
            char user[20];

            snprintf(user, sizeof user, "%d", i);
            notifier_add(n, &b, sl_z(user), SL("INBOX"));
            notifier_send(n, &b);
            buf_free(&b);
        }
        for (int i = 0; i < WAIT_MS / 10; i++) {
            drain(fd, is_told);
            missing = 0;
            for (int j = 0; j < counts[k]; j++)
                missing += !is_told[j];
            if (missing == 0)
                break;
            turn(10);
        }
        CHECK_EQ_INT(missing, 0);
        notifier_free(&n);
        close(fd);
        free(is_told);
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
