/* store/race_test.c - several processes and a foreign writer at one Maildir, killed at random: what was answered is
 * there, a UID means one message, MODSEQs and views hold. */
#include "base/test.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"
#include "store/store_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS = 3, KILL_EVERY_MS = 60, BOXES = 3, MESSAGES_AIM = 60 };
static unsigned run_ms = 2500; /* RACE_MS: for a long run */
static const char *const boxes[BOXES] = { "INBOX", "Sent", "Trash" };
static const char *const dirs[BOXES] = { "", ".Sent/", ".Trash/" };

static char base_dir[64], root[128], log_path[128];
static struct conf *conf;

enum { LOG_THERE = 1, LOG_LEAVING, LOG_SEEN, LOG_MODSEQ };
struct log_row { /* written whole by one O_APPEND write */
    uint32_t what, box, uidvalidity, uid;
    uint64_t id;
};

static void
note(int fd, uint32_t what, uint32_t box, uint32_t uidvalidity, uint32_t uid, uint64_t id)
{
    struct log_row r = { what, box, uidvalidity, uid, id };

    if (write(fd, &r, sizeof r) != sizeof r)
        abort();
}

static struct store_user *
open_user(struct store **s)
{
    struct store_user *u = NULL;
    struct err e = { 0 };

    if (store_new(conf, s, &e) || store_user_open(*s, SL("bob@example.org"), NULL, &u, &e)) {
        fprintf(stderr, "race: open: %s\n", e.msg);
        abort();
    }
    return u;
}

/* The number in the message, 0 when it is gone. */
static uint64_t
id_of(struct store_view *v, uint32_t seq)
{
    struct store_file *f;
    struct err e = { 0 };
    uint64_t id = 0;
    struct slice s;

    if (store_file_open(v, seq, &f, &e)) {
        if (e.kind != ERR_NOTFOUND) {
            fprintf(stderr, "race: open message: %s\n", e.msg);
            abort();
        }
        return 0;
    }
    s = store_file_octets(f);
    if (!sl_take_prefix(&s, SL("Subject: ")) || !sl_take_u64(&s, &id)) {
        fprintf(stderr, "race: a message is not whole\n");
        abort();
    }
    store_file_close(&f);
    return id;
}

/* ---- a worker ---- */

struct worker {
    struct store_user *u;
    struct store_view *v;
    struct store_box b;
    uint32_t box;
    int log;
};

/* A failure that is not one of the allowed ways to lose a race. */
static void
must(const char *what, int rc, const struct err *e)
{
    if (rc == 0 || e->kind == ERR_NOTFOUND || e->kind == ERR_PERM)
        return;
    fprintf(stderr, "race: %s: %s\n", what, e->msg);
    abort();
}

static void
do_append(struct worker *w)
{
    struct store_append *a;
    uint32_t uidvalidity, *uids;
    size_t n, want = 1 + rand_below(3);
    uint64_t ids[3] = { 0 };
    struct err e = { 0 };
    int rc = store_append_begin(w->u, sl_z(boxes[w->box]), &a, &e);

    for (size_t i = 0; rc == 0 && i < want; i++) {
        char text[80];
        const char *kw = rand_below(2) ? "$One" : "$Two";

        ids[i] = rand_u64() >> 1;
        snprintf(text, sizeof text, "Subject: %llu\r\n\r\nbody\r\n", (unsigned long long)ids[i]);
        rc = store_append_msg(a, 0, &kw, 1, 0, 0, &e) || store_append_octets(a, sl_z(text), &e) ? -1
                                                                                                : 0;
    }
    must("append", rc, &e);
    if (rc)
        abort();
    must("append commit", rc = store_append_commit(&a, &uidvalidity, &uids, &n, &e), &e);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        note(w->log, LOG_THERE, w->box, uidvalidity, uids[i], ids[i]);
        note(w->log, LOG_SEEN, w->box, uidvalidity, uids[i], ids[i]);
    }
    free(uids);
}

/* A few messages in a row, as UIDs; the first's sequence number. */
static uint32_t
some(struct worker *w, struct store_uids *out)
{
    struct store_row r;
    uint32_t first = 1 + rand_below(w->b.exists), n = 1 + rand_below(4);

    for (uint32_t i = first; i < first + n && store_view_row(w->v, i, &r); i++)
        store_uids_add(out, r.uid, r.uid);
    return first;
}

static void
do_flags(struct worker *w)
{
    struct store_uids u = { 0 };
    struct store_flag_change ch = { .op = (enum store_op)rand_below(3),
                                    .is_silent = rand_below(2) };
    struct err e = { 0 };

    ch.flags.sys = rand_below(32) & ~(uint32_t)STORE_DELETED;
    ch.flags.kw = rand_below(4);
    some(w, &u);
    must("flags", store_change_flags(w->v, &u, &ch, NULL, &e), &e);
    store_uids_free(&u);
}

static void
do_expunge(struct worker *w)
{
    struct store_uids u = { 0 };
    struct store_flag_change ch = { .op = STORE_ADD, .flags = { STORE_DELETED, 0 } };
    struct err e = { 0 };
    uint32_t first = some(w, &u);

    for (uint32_t i = 0; i < store_uids_count(&u); i++) {
        uint64_t id = id_of(w->v, first + i);

        if (id != 0)
            note(w->log, LOG_LEAVING, w->box, 0, 0, id);
    }
    must("mark", store_change_flags(w->v, &u, &ch, NULL, &e), &e);
    must("expunge", store_expunge(w->v, &u, &e), &e);
    store_uids_free(&u);
}

static void
do_copy(struct worker *w, bool is_move)
{
    struct store_uids u = { 0 };
    struct store_copied done;
    struct err e = { 0 };
    uint32_t to = rand_below(BOXES);

    some(w, &u);
    if (!is_move || to != w->box)
        must(is_move ? "move" : "copy", store_copy(w->v, &u, sl_z(boxes[to]), is_move, &done, &e),
             &e);
    if (e.kind == ERR_NONE && (!is_move || to != w->box)) {
        for (size_t i = 1; i < done.n; i++)
            if (done.from[i] <= done.from[i - 1] || done.to[i] <= done.to[i - 1])
                abort();
        store_copied_free(&done);
    }
    store_uids_free(&u);
}

static void
do_sync(struct worker *w)
{
    struct store_changes c;
    struct err e = { 0 };
    uint64_t was = w->b.highestmodseq;
    struct store_row a, b;

    must("sync", store_view_sync(w->v, rand_below(2), &c, &e), &e);
    if (c.is_gone || c.is_invalid)
        abort();
    store_changes_free(&c);
    store_view_box(w->v, &w->b);
    if (w->b.highestmodseq < was)
        abort();
    for (uint32_t i = 2; i <= w->b.exists; i++)
        if (!store_view_row(w->v, i - 1, &a) || !store_view_row(w->v, i, &b) || a.uid >= b.uid)
            abort();
}

static void
do_look(struct worker *w)
{
    uint32_t seq = 1 + rand_below(w->b.exists);
    struct store_row r;
    uint64_t id = id_of(w->v, seq);

    if (id != 0 && store_view_row(w->v, seq, &r))
        note(w->log, LOG_SEEN, w->box, w->b.uidvalidity, r.uid, id);
}

static void
work(void)
{
    struct store *s;
    struct worker w = { 0 };
    struct err e = { 0 };

    w.u = open_user(&s);
    w.log = open(log_path, O_WRONLY | O_APPEND);
    for (;;) {
        w.box = rand_below(BOXES);
        must("select", store_select(w.u, sl_z(boxes[w.box]), false, &w.v, &e), &e);
        store_view_box(w.v, &w.b);
        note(w.log, LOG_MODSEQ, w.box, w.b.uidvalidity, w.b.uidnext, w.b.highestmodseq);
        for (int i = 0; i < 20; i++) {
            uint32_t dice = rand_below(10);

            if (w.b.exists == 0 || (dice < 2 && w.b.exists < MESSAGES_AIM))
                do_append(&w);
            else if (dice < 4)
                do_flags(&w);
            else if (dice < 6 && w.b.exists > MESSAGES_AIM / 2)
                do_expunge(&w);
            else if (dice == 6)
                do_copy(&w, false);
            else if (dice == 7)
                do_copy(&w, true);
            else
                do_look(&w);
            do_sync(&w);
        }
        store_unselect(&w.v);
    }
}

/* ---- another program ---- */

static void
outsider(void)
{
    int log = open(log_path, O_WRONLY | O_APPEND);

    for (;;) {
        uint32_t box = rand_below(BOXES);
        char name[200], from[400], to[400], dir[200], text[80];
        uint64_t id = rand_u64() >> 1;
        struct dirent *ent;
        DIR *d;

        if (rand_below(4) == 0) {
            snprintf(text, sizeof text, "Subject: %llu\n\nbody\n", (unsigned long long)id);
            snprintf(name, sizeof name, "%lld.M%06uP%d.outside", (long long)clock_unix_s(),
                     rand_below(1000000), getpid());
            snprintf(from, sizeof from, "%s/%stmp/%s", root, dirs[box], name);
            snprintf(to, sizeof to, "%s/%snew/%s", root, dirs[box], name);
            if (fs_replace_file(from, sl_z(text), 0600, NULL) == 0 && rename(from, to) == 0)
                note(log, LOG_THERE, box, 0, 0, id);
        }
        snprintf(dir, sizeof dir, "%s/%scur", root, dirs[box]);
        d = opendir(dir);
        while (d && (ent = readdir(d)) != NULL) {
            struct slice s = sl_z(ent->d_name);

            if (ent->d_name[0] == '.' || rand_below(20) != 0)
                continue;
            snprintf(from, sizeof from, "%s/%.180s", dir, ent->d_name);
            snprintf(to, sizeof to, "%s/%.*s:2,%s", dir, SL_ARG(sl_head(s, sl_find_char(s, ':'))),
                     rand_below(2) ? "S" : "Fa");
            (void)!rename(from, to);
        }
        if (d)
            closedir(d);
        usleep(2000 + rand_below(3000));
    }
}

static pid_t
start(void (*fn)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    return pid;
}

/* ---- what must hold ---- */

static int
count_files(uint32_t box)
{
    static const char *const parts[] = { "new", "cur" };
    int n = 0;

    for (int i = 0; i < 2; i++) {
        char path[200];
        struct dirent *ent;
        DIR *d;

        snprintf(path, sizeof path, "%s/%s%s", root, dirs[box], parts[i]);
        d = opendir(path);
        while (d && (ent = readdir(d)) != NULL)
            n += ent->d_name[0] != '.';
        if (d)
            closedir(d);
    }
    return n;
}

static void
check_log(struct map *there, size_t *n_there, size_t *n_seen)
{
    struct buf text = { 0 };
    struct map *meaning = map_new(), *leaving = map_new();
    size_t n;

    NEED(fs_read_file(log_path, &text, NULL) == 0);
    n = text.n / sizeof(struct log_row);
    for (size_t i = 0; i < n; i++) {
        struct log_row r;

        memcpy(&r, text.p + i * sizeof r, sizeof r);
        if (r.what == LOG_LEAVING)
            map_set_u64(leaving, r.id, meaning);
    }
    for (size_t i = 0; i < n; i++) {
        struct log_row r;
        char key[60];

        memcpy(&r, text.p + i * sizeof r, sizeof r);
        snprintf(key, sizeof key, "%u %u %u", r.box, r.uidvalidity, r.uid);
        if (r.what == LOG_SEEN) {
            void *was = map_set(meaning, sl_z(key), (void *)(uintptr_t)r.id);

            ++*n_seen;
            if (was != NULL && was != (void *)(uintptr_t)r.id)
                FAIL("UID %s meant two messages", key);
        }
        if (r.what == LOG_THERE) {
            ++*n_there;
            if (map_get_u64(there, r.id) == NULL && map_get_u64(leaving, r.id) == NULL)
                FAIL("message %llu was answered OK and is gone", (unsigned long long)r.id);
        }
    }
    map_free(&meaning, NULL);
    map_free(&leaving, NULL);
    buf_free(&text);
}

static void
check_box(struct store_user *u, struct store_view *old, uint32_t box, struct map *there)
{
    struct store_view *v;
    struct store_box a, b;
    struct store_changes c;
    struct err e = { 0 };

    TEST_ROW("%s", boxes[box]);
    NEED(store_view_sync(old, true, &c, &e) == 0);
    store_changes_free(&c);
    NEED(store_select(u, sl_z(boxes[box]), false, &v, &e) == 0);
    NEED(store_view_sync(old, true, &c, &e) == 0);
    store_changes_free(&c);
    store_view_box(old, &a);
    store_view_box(v, &b);
    CHECK_EQ_INT(a.exists, b.exists);
    CHECK_EQ_INT(a.highestmodseq, b.highestmodseq);
    CHECK_EQ_INT(b.exists, count_files(box));
    for (uint32_t i = 1; i <= b.exists && i <= a.exists; i++) {
        struct store_row x, y;

        store_view_row(old, i, &x);
        store_view_row(v, i, &y);
        if (x.uid != y.uid || ((x.flags.sys ^ y.flags.sys) & ~(uint32_t)STORE_RECENT) ||
            x.flags.kw != y.flags.kw || x.modseq != y.modseq)
            FAIL("message %u: by changes %u %x %llx %llu, fresh %u %x %llx %llu", i, x.uid,
                 x.flags.sys, (unsigned long long)x.flags.kw, (unsigned long long)x.modseq, y.uid,
                 y.flags.sys, (unsigned long long)y.flags.kw, (unsigned long long)y.modseq);
        map_set_u64(there, id_of(v, i), u);
    }
    store_unselect(&v);
}

TEST(processes_and_kills)
{
    struct conf_problems ps = { 0 };
    char text[300];
    struct store *s;
    struct store_user *u;
    struct store_view *old[BOXES];
    struct map *there = map_new();
    size_t n_there = 0, n_seen = 0, kills = 0;
    pid_t pids[WORKERS + 1];
    const char *long_run = getenv("RACE_MS");
    uint64_t end_ms;
    struct err e = { 0 };

    snprintf(base_dir, sizeof base_dir, "%s/race-XXXXXX",
             access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    BUG_ON(mkdtemp(base_dir) == NULL);
    snprintf(root, sizeof root, "%s/bob", base_dir);
    snprintf(log_path, sizeof log_path, "%s/log", base_dir);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%n\nqueue_directory = %s\n", base_dir,
             base_dir);
    conf = conf_parse(sl_z(text), "test", &ps);
    close(open(log_path, O_CREAT | O_WRONLY, 0600));
    /* The views of this process live on changes alone. Children never touch the handles they inherit. */
    for (int i = 0; i < WORKERS; i++)
        pids[i] = start(work);
    usleep(100 * 1000);
    pids[WORKERS] = start(outsider);
    u = open_user(&s);
    for (uint32_t i = 0; i < BOXES; i++)
        NEED(store_select(u, sl_z(boxes[i]), false, &old[i], &e) == 0);
    if (long_run)
        run_ms = (unsigned)strtoul(long_run, NULL, 10);
    end_ms = clock_mono_ms() + run_ms;
    while (clock_mono_ms() < end_ms) {
        uint32_t k = rand_below(WORKERS);
        struct store_changes c;
        int status;

        usleep(KILL_EVERY_MS * 1000);
        kill(pids[k], SIGKILL);
        waitpid(pids[k], &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            FAIL("a worker ended by itself, status %x", status);
        kills++;
        if (store_view_sync(old[k % BOXES], rand_below(2), &c, &e) || c.is_invalid)
            FAIL("sync: %s", e.msg);
        store_changes_free(&c);
        if (rand_below(2))
            store_view_sleep(old[k % BOXES]);
        pids[k] = start(work);
    }
    for (int i = 0; i <= WORKERS; i++) {
        int status;

        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
            FAIL("a worker ended by itself, status %x", status);
    }
    usleep(50 * 1000); /* past the clock's tick, so that a scan is conclusive */
    for (uint32_t i = 0; i < BOXES; i++)
        check_box(u, old[i], i, there);
    TEST_ROW("log");
    check_log(there, &n_there, &n_seen);
    if (long_run)
        printf("%zu messages, %zu looks, %zu kills\n", n_there, n_seen, kills);
    CHECK(n_there > 20 && n_seen > 20 && kills > 5);
    for (uint32_t i = 0; i < BOXES; i++)
        store_unselect(&old[i]);
    store_user_close(&u);
    store_free(&s);
    map_free(&there, NULL);
    conf_unref(&conf);
    fs_remove_tree(base_dir, NULL);
}

TEST_MAIN()
