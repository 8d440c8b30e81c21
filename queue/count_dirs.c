/* queue/count_dirs.c - how many messages wait, for programs that count files: munin's postfix_mailqueue and many a script look
 * into $queue_directory/active, deferred and hold, where Postfix has a file for each message. Our queue is a database. So that
 * what they count is true, to a minute, each of the folders gets as many names as there are messages: hard links to an empty
 * file, which take no inode. Nothing reads them. What others have in these folders is not touched. */
#include "queue/qmgr_int.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EVERY_MS = 60 * 1000, FIRST_MS = 1000, COUNT_MAX = 100 * 1000 };

static const char *const names[QDB_STATES] = {
    [QDB_ACTIVE] = "active", [QDB_DEFERRED] = "deferred", [QDB_HELD] = "hold"
};
static const char prefix[] = "counted-";

static struct {
    struct wop op;
    struct work_job job;
    struct timer timer;
    bool is_under_way;
    uint64_t commits; /* of the last time */
    char *dir;        /* $queue_directory */
    uint64_t wanted[QDB_STATES], there[QDB_STATES];
    bool is_known; /* `there` is */
} counts;

/* ---- on the pool ---- */

/* The highest number that is there; what came before it is taken to be there, too. */
static uint64_t
look(int dir)
{
    int fd = dup(dir);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    uint64_t n = 0, v;
    struct dirent *de;

    if (d == NULL && fd >= 0)
        close(fd);
    while (d && (de = readdir(d)) != NULL) {
        struct slice s = sl_z(de->d_name);

        if (sl_take_prefix(&s, sl_z(prefix)) && sl_to_u64(s, &v) && v > n && v <= COUNT_MAX)
            n = v;
    }
    if (d)
        closedir(d);
    return n;
}

static void
name_of(uint64_t i, char out[32])
{
    snprintf(out, 32, "%s%06llu", prefix, (unsigned long long)i);
}

/* A name more: one more link to the file before, or where that has as many as it may have, a new file. */
static int
add(int dir, uint64_t i)
{
    char name[32], before[32];
    int fd;

    name_of(i, name);
    name_of(i - 1, before);
    if (i > 1 && linkat(dir, before, dir, name, 0) == 0)
        return 0;
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static void
adjust(size_t k)
{
    char path[PATH_MAX], name[32];
    uint64_t want = counts.wanted[k] < COUNT_MAX ? counts.wanted[k] : COUNT_MAX;
    int dir;

    snprintf(path, sizeof path, "%s/%s", counts.dir, names[k]);
    if (want > 0 && mkdir(path, 0755) != 0 && errno != EEXIST)
        return;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return;
    (void)fchmod(dir, 0755); /* whatever the umask: how many is no secret */
    if (!counts.is_known)
        counts.there[k] = look(dir);
    while (counts.there[k] < want && add(dir, counts.there[k] + 1) == 0)
        counts.there[k]++;
    for (; counts.there[k] > want; counts.there[k]--) {
        name_of(counts.there[k], name);
        unlinkat(dir, name, 0);
    }
    close(dir);
}

static enum work_rc
job_run(struct work_job *j)
{
    (void)j;
    for (size_t k = 0; k < QDB_STATES; k++)
        adjust(k);
    counts.is_known = true;
    return WORK_DONE;
}

/* ---- on the loop ---- */

static void
job_done(struct work_job *j)
{
    (void)j;
    counts.is_under_way = false;
}

static int
op_run(struct wop *op, struct qdb *q, struct err *e)
{
    (void)op;
    return qdb_count_states(q, COUNT_MAX, counts.wanted, e); /* more would hold up the writer */
}

static void
adjust_later(void)
{
    counts.job = (struct work_job){ .run = job_run, .done = job_done };
    work_submit(qm.files, &counts.job);
}

static void
op_done(struct wop *op, int rc, const struct err *e)
{
    (void)op, (void)e;
    counts.commits = writer_commits(qm.writer);
    if (rc == 0)
        adjust_later();
    else
        counts.is_under_way = false;
}

static void
count(void *arg)
{
    (void)arg;
    timer_start(&counts.timer, EVERY_MS, count, NULL);
    if (counts.is_under_way || qm.is_draining)
        return;
    if (!qm.conf->queue_count_files) { /* what an earlier time has left goes */
        if (!counts.is_known) {
            counts.is_under_way = true;
            memset(counts.wanted, 0, sizeof counts.wanted);
            adjust_later();
        }
        return;
    }
    if (counts.is_known && counts.commits + 1 >= writer_commits(qm.writer))
        return; /* nothing was written but the count's own turn */
    counts.is_under_way = true;
    counts.op = (struct wop){ .kind = WOP_READ, .run = op_run, .done = op_done };
    writer_submit(qm.writer, &counts.op);
}

void
count_dirs_init(void)
{
    counts.dir = mem_dupz(qm.conf->queue_directory);
    timer_start(&counts.timer, FIRST_MS, count, NULL);
}

void
count_dirs_reload(void)
{
    if (!counts.is_under_way)
        counts.is_known = false;
    timer_start(&counts.timer, FIRST_MS, count, NULL);
}
