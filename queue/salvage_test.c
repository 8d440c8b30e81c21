/* queue/salvage_test.c - a queue of a hundred messages, spoilt in every place there is: what stands on other pages comes back
 * as it was, what was removed does not. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "queue/pages.h"
#include "session/queue_id.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MESSAGES = 100, RCPTS_MAX = 4, PAGE_OCTETS = 4096, LONG_OCTETS = 50000, ROUNDS = 60 };

static char root[64];

static size_t
body_octets(uint64_t n)
{
    return n % 7 == 0 ? LONG_OCTETS : 100 + (size_t)n * 37 % 5000;
}

static char
body_char(uint64_t n, size_t i)
{
    return (char)('a' + (n * 31 + i) % 26);
}

static bool
is_removed(uint64_t n)
{
    return n % 10 == 3;
}

static uint32_t
rcpts_of(uint64_t n)
{
    return 1 + (uint32_t)(n % RCPTS_MAX);
}

/* What becomes of a recipient before the damage. */
static enum { SERVED, HELD, DEFERRED, IN_MEMORY } fate(uint64_t n, uint32_t i)
{
    if (n % 11 == 5)
        return HELD;
    if (i == 1)
        return SERVED;
    return (n + i) % 2 ? DEFERRED : IN_MEMORY;
}

static void
put(struct qdb *q, uint64_t want)
{
    struct queue_rcpt to[RCPTS_MAX] = {
        { .addr = SL("a@x") }, { .addr = SL("b@x") }, { .addr = SL("c@x") }, { .addr = SL("d@x") }
    };
    struct queue_env env = { .sender = SL("s@y"), .rcpts = to, .n_rcpts = rcpts_of(want) };
    struct buf packed = { 0 }, body = { 0 };
    struct err e = { 0 };
    struct qdb_put p;
    uint64_t n;

    for (size_t i = 0; i < RCPTS_MAX; i++)
        to[i].orig = to[i].addr;
    for (size_t i = 0; i < body_octets(want); i++)
        buf_addc(&body, body_char(want, i));
    CHECK_EQ_INT(qdb_grant(q, 1, &n, &e), 0);
    CHECK_EQ_INT(n, want);
    queue_id_format(clock_unix_us(), n, qdb_db_bits(q), env.id);
    queue_env_pack(&packed, &env, 77);
    p = (struct qdb_put){ .n = n,
                          .id = env.id,
                          .env = buf_slice(&packed),
                          .size = body.n,
                          .crc = enc_crc32(0, buf_slice(&body).p, body.n),
                          .body = buf_slice(&body),
                          .n_rcpts = (uint32_t)env.n_rcpts,
                          .due = INT64_MIN };
    CHECK_EQ_INT(qdb_put(q, &p, &e), 0);
    buf_free(&packed);
    buf_free(&body);
}

static void
settle(struct qdb *q, uint64_t n)
{
    struct err e = { 0 };
    bool gone;

    for (uint32_t i = 0; i < rcpts_of(n); i++) {
        struct qdb_defer d = { .n = n,
                               .i = i,
                               .due = fate(n, i) == HELD ? QDB_DUE_HELD : 5000 + (int64_t)n,
                               .attempts = 3,
                               .status = SL("4.4.1"),
                               .why = SL("connect to x: refused"),
                               .hop = SL("mx.x") };

        if (is_removed(n) || fate(n, i) == SERVED)
            CHECK_EQ_INT(qdb_rcpt_done(q, n, i, &e), 0);
        else if (fate(n, i) != IN_MEMORY)
            CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
    }
    CHECK_EQ_INT(qdb_message_reap(q, n, &gone, &e), 0);
    CHECK(gone == is_removed(n) || rcpts_of(n) == 2);
}

/* Nobody is left: all of two, where the second was served, is the first alone. */
static bool
is_there(uint64_t n)
{
    return !is_removed(n);
}

static void
copy_file(const char *from_dir, const char *to_dir, const char *name)
{
    char path[PATH_MAX];
    struct buf b = { 0 };
    struct err e = { 0 };

    snprintf(path, sizeof path, "%s/%s", from_dir, name);
    if (fs_read_file(path, &b, &e) == 0) {
        snprintf(path, sizeof path, "%s/%s", to_dir, name);
        CHECK_EQ_INT(fs_replace_file(path, buf_slice(&b), 0600, &e), 0);
    }
    buf_free(&b);
}

/* As after a kill -9: half of it is in the log. */
static void
make_queue(void)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char live[80], killed[80];

    snprintf(root, sizeof root, "/tmp/salvage_test.XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    snprintf(live, sizeof live, "%s/live", root);
    snprintf(killed, sizeof killed, "%s/killed", root);
    CHECK_EQ_INT(fs_mkdirs(killed, 0700, &e), 0);
    NEED(qdb_open(live, &q, &e) == 0);
    for (uint64_t n = 1; n <= MESSAGES; n++) {
        CHECK_EQ_INT(qdb_begin(q, &e), 0);
        put(q, n);
        CHECK_EQ_INT(qdb_commit(q, &e), 0);
        if (n > 5) {
            CHECK_EQ_INT(qdb_begin(q, &e), 0);
            settle(q, n - 5);
            CHECK_EQ_INT(qdb_commit(q, &e), 0);
        }
        if (n == MESSAGES / 2)
            CHECK_EQ_INT(qdb_checkpoint(q, true, &e), 0);
    }
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    for (uint64_t n = MESSAGES - 4; n <= MESSAGES; n++)
        settle(q, n);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    copy_file(live, killed, "queue.db");
    copy_file(live, killed, "queue.db-wal");
    qdb_close(&q);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
}

struct seen {
    bool is_there[MESSAGES + 1];
    unsigned n, n_wrong;
};

static void
see(void *arg, const struct qdb_message *m)
{
    struct seen *s = arg;
    bool is_good =
        m->n >= 1 && m->n <= MESSAGES && is_there(m->n) && m->body.n == body_octets(m->n);

    for (size_t i = 0; is_good && i < m->body.n; i++)
        is_good = m->body.p[i] == body_char(m->n, i);
    if (!is_good || s->is_there[m->n]) {
        s->n_wrong++;
        return;
    }
    s->is_there[m->n] = true;
    s->n++;
}

/* All the rows of its recipients are as they were. */
static bool
has_state(const struct qdb_message *m)
{
    size_t k = 0;

    for (uint32_t i = 0; i < rcpts_of(m->n); i++) {
        int64_t due = fate(m->n, i) == HELD       ? QDB_DUE_HELD
                      : fate(m->n, i) == DEFERRED ? 5000 + (int64_t)m->n
                                                  : 0;

        if (fate(m->n, i) == SERVED)
            continue;
        if (k == m->n_rcpts || m->rcpts[k].i != i || m->rcpts[k].due != due ||
            (due > 0 && (m->rcpts[k].attempts != 3 || !sl_eqz(m->rcpts[k].status, "4.4.1") ||
                         !sl_eqz(m->rcpts[k].why, "connect to x: refused") ||
                         !sl_eqz(m->rcpts[k].hop, "mx.x"))))
            return false;
        k++;
    }
    return k == m->n_rcpts;
}

static void
see_state(void *arg, const struct qdb_message *m)
{
    see(arg, m);
    CHECK(has_state(m));
}

static const char *
spoil_dir(void)
{
    static char to[80];
    char from[80];
    struct err e = { 0 };

    snprintf(from, sizeof from, "%s/killed", root);
    snprintf(to, sizeof to, "%s/spoilt", root);
    fs_remove_tree(to, &e);
    CHECK_EQ_INT(fs_mkdirs(to, 0700, &e), 0);
    copy_file(from, to, "queue.db");
    copy_file(from, to, "queue.db-wal");
    return to;
}

static void
overwrite(const char *dir, const char *name, off_t at, size_t n, int octet)
{
    char path[PATH_MAX], *what = mem_alloc(n);
    int fd;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    memset(what, octet, n);
    fd = open(path, O_WRONLY);
    CHECK(pwrite(fd, what, n, at) == (ssize_t)n);
    close(fd);
    free(what);
}

static off_t
size_of(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static unsigned
expected(void)
{
    unsigned n = 0;

    for (uint64_t k = 1; k <= MESSAGES; k++)
        n += is_there(k);
    return n;
}

static void
open_and_see(const char *dir, qdb_fn *fn, struct seen *s)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    uint64_t first;

    memset(s, 0, sizeof *s);
    if (!CHECK_EQ_INT(qdb_open(dir, &q, &e), 0)) {
        printf("%s\n", e.msg);
        return;
    }
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_grant(q, 1, &first, &e), 0);
    CHECK(first > MESSAGES); /* no counter is used twice */
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    for (uint64_t n = 1; n <= MESSAGES; n++)
        if (qdb_get(q, n, true, fn, s, &e) != 0)
            CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    qdb_close(&q);
}

TEST(nothing_is_lost_with_the_header_or_a_root)
{
    static const struct {
        const char *name;
        off_t at;
        size_t n;
        bool is_set_aside;
    } rows[] = {
        { "queue.db", 0, 1, false }, /* nothing: see below */
        { "queue.db", 0, 100, true }, { "queue.db", 0, PAGE_OCTETS, true },
        { "queue.db", 16, 8, true },  { "queue.db", 100, 12, true },
    };
    struct seen s;

    make_queue();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *dir = spoil_dir();
        char log[PATH_MAX];

        TEST_ROW("%zu", i);
        if (i > 0) { /* the log has page 1, too: it has to go into the file first */
            struct qdb *q = NULL;
            struct err e = { 0 };

            NEED(qdb_open_readonly(dir, &q, &e) == 0);
            CHECK_EQ_INT(qdb_checkpoint(q, true, &e), 0);
            qdb_close(&q);
            snprintf(log, sizeof log, "%s/queue.db-wal", dir);
            unlink(log);
            overwrite(dir, rows[i].name, rows[i].at, rows[i].n, 0x5a);
        }
        open_and_see(dir, see_state, &s);
        CHECK_EQ_INT(s.n_wrong, 0);
        CHECK_EQ_INT(s.n, expected());
    }
}

/* One page after the other: what is lost stood on it. A row has one page of its own and those of a long content. */
TEST(a_spoilt_page_costs_what_was_on_it)
{
    unsigned most = 0, n_spoilt = 0;
    off_t pages;
    struct seen s;

    pages = size_of(spoil_dir(), "queue.db") / PAGE_OCTETS;
    CHECK(pages > 50);
    for (off_t k = 0; k < pages; k++) {
        const char *dir = spoil_dir();

        TEST_ROW("page %lld", (long long)k + 1);
        overwrite(dir, "queue.db", k * PAGE_OCTETS, PAGE_OCTETS, (int)(k * 7 + 1));
        open_and_see(dir, see, &s);
        CHECK_EQ_INT(s.n_wrong, 0);
        if (expected() - s.n > most)
            most = expected() - s.n;
        n_spoilt += s.n < expected();
    }
    printf("%lld pages spoilt in turn: %u of them cost messages, at most %u of %u\n",
           (long long)pages, n_spoilt, most, expected());
    CHECK(most <= 20);
}

TEST(a_spoilt_frame_of_the_log_costs_what_was_in_it)
{
    const off_t frame = PAGE_OCTETS + 24;
    char path[PATH_MAX];
    struct seen s;
    off_t frames = (size_of(spoil_dir(), "queue.db-wal") - 32) / frame;

    CHECK(frames > 100);
    for (off_t k = -1; k < frames; k += 5) {
        const char *dir = spoil_dir();
        uint64_t bad = 0;
        struct err e = { 0 };

        TEST_ROW("frame %lld", (long long)k);
        if (k < 0) /* its header */
            overwrite(dir, "queue.db-wal", 0, 16, 0);
        else
            overwrite(dir, "queue.db-wal", 32 + k * frame + 24, PAGE_OCTETS, 0x5a);
        memset(&s, 0, sizeof s);
        snprintf(path, sizeof path, "%s/queue.db", dir);
        CHECK_EQ_INT(qdb_salvage(path, see, &s, &bad, &e), 0);
        CHECK(s.n + 12 >= expected());
        if (k < frames - 20) { /* SQLite alone would lose all that comes after it */
            open_and_see(dir, see, &s);
            CHECK(s.n + 12 >= expected());
        }
    }
}

TEST(no_damage_is_too_much)
{
    uint32_t seed = 1;

    for (unsigned round = 0; round < ROUNDS; round++) {
        const char *dir = spoil_dir(), *name = round % 3 ? "queue.db" : "queue.db-wal";
        off_t size = size_of(dir, name);
        struct seen s;

        TEST_ROW("round %u", round);
        for (unsigned k = 0; k < 1 + round * 4; k++) {
            seed = seed * 1664525U + 1013904223U;
            overwrite(dir, name, (off_t)(seed >> 4) % (size - 8), 1 + seed % 8, (int)(seed >> 16));
        }
        open_and_see(dir, see, &s);
    }
}

/* A power cut may tear the last transaction: nobody was told that it was done. */
TEST(a_torn_end_is_no_damage)
{
    const off_t frame = PAGE_OCTETS + 24;
    const char *dir = spoil_dir();
    off_t frames = (size_of(dir, "queue.db-wal") - 32) / frame;
    struct seen s;
    DIR *d;
    struct dirent *de;

    overwrite(dir, "queue.db-wal", 32 + (frames - 2) * frame + 24, PAGE_OCTETS, 0x5a);
    open_and_see(dir, see, &s);
    CHECK(s.n + s.n_wrong >= expected()); /* what was to be removed with it is there still */
    d = opendir(dir);
    while ((de = readdir(d)) != NULL)
        CHECK(strstr(de->d_name, "damaged") == NULL);
    closedir(d);
}

static void
count_row(void *arg, const struct pages_row *row)
{
    (void)row;
    ++*(size_t *)arg;
}

/* A log without its header, whose first frame cannot be checked: it says that there are as many pages as a number can. */
TEST(a_wrong_length_is_not_gone_through)
{
    const char *dir = spoil_dir();
    char path[PATH_MAX];
    struct pages *p;
    struct err e = { 0 };
    size_t rows = 0;

    overwrite(dir, "queue.db-wal", 0, 16, 0);
    overwrite(dir, "queue.db-wal", 32 + 4, 4, 0xff);
    snprintf(path, sizeof path, "%s/queue.db-wal", dir);
    CHECK_EQ_INT(truncate(path, 32 + 24 + PAGE_OCTETS), 0);
    snprintf(path, sizeof path, "%s/queue.db", dir);
    NEED(pages_open(path, &p, &e) == 0);
    CHECK_EQ_INT(pages_count(p), UINT32_MAX);
    pages_scan(p, count_row, &rows);
    CHECK(pages_unreadable(p) > UINT32_MAX - 100000U);
    pages_close(&p);
}

/* A crash while the new database takes the old one's place. */
TEST(a_salvage_that_was_cut_short_is_finished)
{
    const char *dir = spoil_dir();
    char from[PATH_MAX], to[PATH_MAX];
    struct qdb *q = NULL;
    struct err e = { 0 };
    struct seen s;

    NEED(qdb_open(dir, &q, &e) == 0);
    qdb_close(&q);
    snprintf(from, sizeof from, "%s/queue.db", dir);
    snprintf(to, sizeof to, "%s/queue.db.salvaged", dir);
    CHECK_EQ_INT(rename(from, to), 0);
    open_and_see(dir, see, &s);
    CHECK_EQ_INT(s.n, expected());
    CHECK(access(to, F_OK) != 0);
    CHECK_EQ_INT(fs_remove_tree(root, &e), 0);
}

TEST_MAIN()
