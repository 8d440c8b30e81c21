/* store/quota_race_test.c - several processes at one user, killed at any moment: a deliverer, two sessions, and another
 * program. When all are gone and everything was scanned, usage is the sum of the files. */
#include "store/quota_test.h"

#include "base/rand.h"

#include <signal.h>
#include <sys/wait.h>

enum { ROLES = 4, KILLS = 14, LIVES_MS = 60, MESSAGES_MAX = 400 };

static unsigned seed;

static unsigned
roll(unsigned n)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % n;
}

static const char *const boxes[] = { "INBOX", "Lists", "SPAM" };

static const char *
any_box(void)
{
    return boxes[roll(COUNT_OF(boxes))];
}

/* ---- what each does until it is killed ---- */

static void
deliver_some(void)
{
    static unsigned n;
    char ident[40];

    if (sum_of_files(NULL).messages > MESSAGES_MAX)
        usleep(5000);
    snprintf(ident, sizeof ident, "%ld.%u", (long)getpid(), n / 2); /* each a second time */
    deliver_as((struct deliver_rcpt){ .mailbox = sl_z(any_box()),
                                      .ident = sl_z(ident),
                                      .flags = roll(4) ? 0 : STORE_SEEN,
                                      .may_be_repeat = n++ % 2 },
               roll(3000));
}

static void
change_some(void)
{
    struct store_copied done = { 0 };
    struct store_uids some = { 0 };
    struct store_view *v;
    struct store_row r;

    if (store_select(us, sl_z(any_box()), false, &v, &e))
        return;
    for (int i = 0; i < 5 && exists(v) > 0; i++)
        if (store_view_row(v, 1 + roll(exists(v)), &r))
            store_uids_add(&some, r.uid, r.uid);
    switch (roll(4)) {
    case 0:
        append(any_box(), "Subject: a\r\n\r\nof another length\r\n", roll(2), NULL);
        break;
    case 1:
        if (exists(v) < MESSAGES_MAX)
            store_copy(v, &some, sl_z(any_box()), false, &done, &e);
        break;
    case 2:
        store_copy(v, &some, sl_z(any_box()), true, &done, &e);
        break;
    default:
        for (size_t i = 0; i < some.n; i++)
            store_flags(v, some.v[i].first, some.v[i].last, STORE_ADD, STORE_DELETED, 0, true);
        store_expunge(v, NULL, &e);
    }
    store_copied_free(&done);
    store_uids_free(&some);
    store_unselect(&v);
}

static void
meddle_some(void)
{
    static unsigned n;
    char name[80], path[600];

    snprintf(name, sizeof name, "17%08u.M%uP%ld.elsewhere", n, n, (long)getpid());
    n++;
    foreign(roll(2) ? "cur" : ".Lists/cur", name, "Subject: foreign\n\nbody\n");
    if (roll(2)) {
        snprintf(path, sizeof path, "%s/new/%s", root, name_with("new", "M"));
        unlink(path);
    }
    usleep(3000);
}

/* A process of its own, with a loop of its own. Never returns. */
static void
live(int role)
{
    loop_init();
    seed = (unsigned)getpid() * 7919u;
    if (role == 0)
        BUG_ON(deliverer_new(conf, &dl, &e));
    else if (role != 3)
        open_store();
    for (;;)
        role == 0 ? deliver_some() : role == 3 ? meddle_some() : change_some();
}

static pid_t
spawn(int role)
{
    pid_t p = fork();

    if (p == 0)
        live(role);
    BUG_ON(p < 0);
    return p;
}

TEST(usage_is_the_sum_of_the_files_whoever_dies)
{
    pid_t pids[ROLES];
    struct total t;

    setup_quota("quota = count:User quota\nquota_rule = *:storage=300k\nquota_rule2 = SPAM:ignore\n"
                "quota_warning =\n");
    foreign_mkdirs(".Lists");
    foreign_mkdirs(".SPAM");
    foreign_mkdirs("");
    for (int i = 0; i < ROLES; i++)
        pids[i] = spawn(i);
    seed = 4711;
    for (int i = 0; i < KILLS; i++) {
        int who = i % ROLES;

        usleep((20 + roll(LIVES_MS)) * 1000);
        kill(pids[who], SIGKILL);
        waitpid(pids[who], NULL, 0);
        pids[who] = spawn(who);
    }
    for (int i = 0; i < ROLES; i++) {
        int status;

        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            FAIL("process %d ended by itself: %d", i, status);
    }
    loop_init();
    start();
    scan_all();
    wait_marks();
    scan_all();
    t = sum_of_files(".SPAM");
    CHECK(t.messages > 10);
    check_usage("after all", ".SPAM");
    CHECK_EQ_INT(query("SELECT count(*) FROM deliveries"), 0);
    CHECK_EQ_INT(query("SELECT octets FROM domains"), t.octets);
    end();
    loop_free();
}

TEST_MAIN()
