/* queue/qdb_test.c - the queue database: what was committed is there again, repeats are known, damage is survived. */
#include "queue/qdb_int.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/test.h"
#include "session/queue_id.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64], dir[80];

static void
make_dirs(void)
{
    struct err e = { 0 };
    char incoming[80];

    snprintf(root, sizeof root, "/tmp/qdb_test.XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/queue", root);
    snprintf(incoming, sizeof incoming, "%s/incoming", root);
    CHECK_EQ_INT(fs_mkdirs(incoming, 0700, &e), 0);
}

static void
remove_dirs(void)
{
    struct err e = { 0 };

    CHECK_EQ_INT(fs_remove_tree(root, &e), 0);
}

struct seen {
    char id[8][QUEUE_ID_TEXT_OCTETS];
    size_t n_rcpts[8];
    unsigned flags[8], attempts[8];
    int64_t due[8];
    bool is_env_ok[8];
    char body[8][32];
    size_t n;
};

static void
see(void *arg, const struct qdb_message *m)
{
    struct seen *s = arg;

    if (s->n == 8)
        return;
    snprintf(s->id[s->n], sizeof s->id[0], "%s", m->id);
    snprintf(s->body[s->n], sizeof s->body[0], "%.*s", (int)(m->body.n < 31 ? m->body.n : 31),
             m->body.n ? m->body.p : "");
    s->n_rcpts[s->n] = m->n_rcpts;
    s->is_env_ok[s->n] = m->is_env_ok;
    if (m->n_rcpts > 0) {
        s->flags[s->n] = m->rcpts[0].flags;
        s->attempts[s->n] = m->rcpts[0].attempts;
        s->due[s->n] = m->rcpts[0].due;
    }
    s->n++;
}

static int
take_due(struct qdb *q, int64_t now, size_t messages, size_t body_octets, struct seen *s)
{
    struct qdb_take t = {
        .now = now, .messages = messages, .rcpts = 100, .round = 100, .body_octets = body_octets
    };
    struct err e = { 0 };

    return qdb_take_due(q, &t, see, s, &e);
}

/* Put a message of `rcpts` recipients; its counter. */
static uint64_t
put(struct qdb *q, const char *body, uint32_t rcpts, const char *file,
    char id[QUEUE_ID_TEXT_OCTETS])
{
    struct queue_rcpt to[4] = {
        { .addr = SL("a@x") }, { .addr = SL("b@x") }, { .addr = SL("c@x") }, { .addr = SL("d@x") }
    };
    struct queue_env env = { .sender = SL("s@y"), .rcpts = to, .n_rcpts = rcpts };
    struct buf packed = { 0 };
    struct qdb_put p;
    struct err e = { 0 };
    uint64_t n = 0;

    for (size_t i = 0; i < 4; i++)
        to[i].orig = to[i].addr;
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_grant(q, 1, &n, &e), 0);
    queue_id_format(clock_unix_us(), n, qdb_db_bits(q), env.id);
    queue_env_pack(&packed, &env, clock_unix_us());
    p = (struct qdb_put){ .n = n,
                          .id = env.id,
                          .env = buf_slice(&packed),
                          .size = strlen(body),
                          .crc = enc_crc32(0, body, strlen(body)),
                          .body = file ? SL("") : sl_z(body),
                          .file = file,
                          .n_rcpts = rcpts,
                          .due = INT64_MIN };
    if (!CHECK_EQ_INT(qdb_put(q, &p, &e), 0))
        printf("%s\n", e.msg);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    memcpy(id, env.id, sizeof env.id);
    buf_free(&packed);
    return n;
}

static bool
see_next(void *arg, const struct qdb_message *m)
{
    see(arg, m);
    return true;
}

struct one_rcpt {
    int64_t due;
    uint32_t flags;
};

static void
see_rcpt(void *arg, const struct qdb_message *m)
{
    struct one_rcpt *r = arg;

    r->due = m->rcpts[0].due;
    r->flags = m->rcpts[0].flags;
}

TEST(survives_a_restart)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS], first[QUEUE_ID_TEXT_OCTETS];
    struct seen s = { 0 };
    uint64_t n, first_new;
    bool gone = true;

    make_dirs();
    if (!CHECK_EQ_INT(qdb_open(dir, &q, &e), 0)) {
        printf("%s\n", e.msg);
        return;
    }
    n = put(q, "hello\r\n", 2, NULL, first);
    put(q, "second\r\n", 1, NULL, id);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_rcpt_done(q, n, 0, &e), 0);
    CHECK_EQ_INT(qdb_message_reap(q, n, &gone, &e), 0);
    CHECK(!gone);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    /* in memory: nothing is due */
    CHECK_EQ_INT(take_due(q, INT64_MAX - 1, 8, 100, &s), 0);
    CHECK_EQ_INT(s.n, 0);
    qdb_close(&q);

    NEED(qdb_open(dir, &q, &e) == 0);
    first_new = qdb_first_new_counter(q);
    CHECK(first_new > n);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(take_due(q, 1, 8, 100, &s), 0);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    NEED(s.n == 2);
    CHECK_EQ_STR(s.id[0], first);
    CHECK_EQ_STR(s.body[0], "hello\r\n");
    CHECK_EQ_INT(s.n_rcpts[0], 1);
    CHECK_EQ_STR(s.id[1], id);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_rcpt_done(q, n, 1, &e), 0);
    CHECK_EQ_INT(qdb_message_reap(q, n, &gone, &e), 0);
    CHECK(gone);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    s.n = 0;
    CHECK_EQ_INT(qdb_walk(q, 0, see_next, &s, &e), 0);
    CHECK_EQ_INT(s.n, 1);
    qdb_close(&q);
    remove_dirs();
}

/* What an operator wants of a row in each state (memory, deferred, held), and what a delivery that ends then leaves of it. */
TEST(operator)
{
    enum { MEM = 1, DEF, HELD };
    static const struct {
        const char *name;
        enum qdb_act act;
        int state;
        int64_t want_changed, want_due; /* due at 100; QDB_DUE_HELD; INT64_MIN: in memory */
        uint32_t want_flags;
        int64_t then; /* after a deferral to 900 */
    } rows[] = {
        { "flush deferred", QDB_FLUSH, DEF, 1, 100, QDB_FLUSHED, 900 },
        { "flush memory", QDB_FLUSH, MEM, 0, INT64_MIN, 0, 900 },
        { "flush held", QDB_FLUSH, HELD, 0, QDB_DUE_HELD, 0, 900 },
        { "hold deferred", QDB_HOLD, DEF, 1, QDB_DUE_HELD, QDB_BY_HAND, QDB_DUE_HELD },
        { "hold memory", QDB_HOLD, MEM, 1, INT64_MIN, QDB_BY_HAND, QDB_DUE_HELD },
        { "hold held", QDB_HOLD, HELD, 0, QDB_DUE_HELD, 0, 900 },
        { "release held", QDB_RELEASE, HELD, 1, 100, 0, 900 },
        { "release deferred", QDB_RELEASE, DEF, 0, 500, 0, 900 },
        { "requeue held", QDB_REQUEUE, HELD, 1, 100, 0, 900 },
        { "requeue deferred", QDB_REQUEUE, DEF, 1, 100, 0, 900 },
        { "requeue memory", QDB_REQUEUE, MEM, 1, INT64_MIN, 0, 900 },
        { "expire deferred", QDB_EXPIRE, DEF, 1, 100, QDB_EXPIRED, 0 },
        { "expire memory", QDB_EXPIRE, MEM, 1, INT64_MIN, QDB_EXPIRED, 0 },
        { "expire held", QDB_EXPIRE, HELD, 1, QDB_DUE_HELD, QDB_EXPIRED, 0 },
        { "bounce held", QDB_BOUNCE, HELD, 1, 100, QDB_EXPIRED, 0 },
    };

    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct qdb *q = NULL;
        struct err e = { 0 };
        char id[QUEUE_ID_TEXT_OCTETS];
        struct one_rcpt got;
        uint64_t changed = 77;
        struct qdb_defer d = { .due = 500, .attempts = 1 };

        TEST_ROW("%s", rows[k].name);
        make_dirs();
        NEED(qdb_open(dir, &q, &e) == 0);
        d.n = put(q, "x", 1, NULL, id);
        if (rows[k].state != MEM) {
            d.due = rows[k].state == DEF ? 500 : QDB_DUE_HELD;
            CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
        }
        CHECK_EQ_INT(qdb_operate(q, rows[k].act, d.n, 100, &changed, &e), 0);
        CHECK_EQ_INT(changed, rows[k].want_changed);
        NEED(qdb_get(q, d.n, false, see_rcpt, &got, &e) == 0);
        CHECK_EQ_INT(got.due, rows[k].want_due);
        CHECK_EQ_INT(got.flags, rows[k].want_flags);
        d.due = 900;
        CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
        NEED(qdb_get(q, d.n, false, see_rcpt, &got, &e) == 0);
        CHECK_EQ_INT(got.due, rows[k].then);
        CHECK_EQ_INT(got.flags & QDB_FLUSHED, 0);
        qdb_close(&q);
        remove_dirs();
    }
}

TEST(rolled_back_is_not_there)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    struct seen s = { 0 };
    uint64_t a, b;

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_grant(q, 1000, &a, &e), 0);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    qdb_close(&q); /* nothing of it was used */
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_grant(q, 1, &b, &e), 0);
    qdb_rollback(q);
    CHECK(b >= a + 1000); /* granted once, never again */
    CHECK_EQ_INT(qdb_walk(q, 0, see_next, &s, &e), 0);
    CHECK_EQ_INT(s.n, 0);
    qdb_close(&q);
    remove_dirs();
}

/* smtpd is believed less than qmgr: an id that is taken, or was never given, takes nothing from its owner. */
TEST(ids_of_others_are_refused)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS], incoming[120], kept[PATH_MAX];
    struct qdb_put p = { .size = 6, .n_rcpts = 1, .due = 0 };
    struct stat st;
    int fd;

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    snprintf(incoming, sizeof incoming, "%s/incoming/aa", root);
    for (int i = 0; i < 2; i++) {
        fd = open(incoming, O_WRONLY | O_CREAT | O_EXCL, 0600);
        CHECK_EQ_INT(write(fd, i == 0 ? "mine\r\n" : "yours!", 6), 6);
        close(fd);
        if (i == 0)
            p.n = put(q, "mine\r\n", 1, incoming, id);
    }
    p.id = id;
    p.file = incoming;
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_put(q, &p, &e), -1);
    qdb_rollback(q);
    CHECK_EQ_INT(stat(incoming, &st), 0); /* not moved over the other's */
    p.n += 1000;
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_put(q, &p, &e), -1);
    qdb_rollback(q);
    /* a link to what only qmgr may read */
    unlink(incoming);
    snprintf(kept, sizeof kept, "%s/queue.db", dir);
    CHECK_EQ_INT(symlink(kept, incoming), 0);
    CHECK_EQ_INT(stat(kept, &st), 0);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_grant(q, 1, &p.n, &e), 0);
    queue_id_format(clock_unix_us(), p.n, qdb_db_bits(q), id);
    p.size = (uint64_t)st.st_size;
    CHECK_EQ_INT(qdb_put(q, &p, &e), -1);
    qdb_rollback(q);
    qdb_close(&q);
    remove_dirs();
}

TEST(new_databases_differ)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    uint32_t bits[3];

    for (size_t i = 0; i < 3; i++) {
        make_dirs();
        NEED(qdb_open(dir, &q, &e) == 0);
        bits[i] = qdb_db_bits(q);
        qdb_close(&q);
        remove_dirs();
    }
    CHECK(bits[0] != bits[1] || bits[1] != bits[2]);
}

struct part_row {
    size_t rcpts, round, least;
    const char *want; /* recipients of each message taken, of messages with four, two and one */
};

TEST(messages_come_in_parts)
{
    static const struct part_row rows[] = {
        { 100, 100, 1, "4 2 1" }, { 100, 2, 1, "2 2 2 1" }, { 3, 100, 1, "3" },
        { 5, 100, 1, "4 1" },     { 5, 100, 2, "4 2" },     { 1, 100, 4, "4" },
        { 5, 3, 1, "3 1 1" },     { 1, 2, 4, "2" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct qdb *q = NULL;
        struct err e = { 0 };
        char id[QUEUE_ID_TEXT_OCTETS];
        struct seen s = { 0 };
        struct buf got = { 0 };
        struct qdb_take t = { .now = 10,
                              .messages = 8,
                              .rcpts = rows[i].rcpts,
                              .round = rows[i].round,
                              .least = rows[i].least };

        TEST_ROW("row %zu", i);
        make_dirs();
        NEED(qdb_open(dir, &q, &e) == 0);
        put(q, "one", 4, NULL, id);
        put(q, "two", 2, NULL, id);
        put(q, "three", 1, NULL, id);
        qdb_close(&q);
        NEED(qdb_open(dir, &q, &e) == 0); /* now all are due */
        CHECK_EQ_INT(qdb_begin(q, &e), 0);
        CHECK_EQ_INT(qdb_take_due(q, &t, see, &s, &e), 0);
        CHECK_EQ_INT(qdb_commit(q, &e), 0);
        for (size_t k = 0; k < s.n; k++)
            buf_addf(&got, "%s%zu", k ? " " : "", s.n_rcpts[k]);
        CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&got);
        qdb_close(&q);
        remove_dirs();
    }
}

TEST(parked_is_not_tried)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS];
    struct seen s = { 0 };
    struct qdb_defer d = { .due = 50, .attempts = 3, .status = SL("4.1.1"), .why = SL("w") };

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    d.n = put(q, "x", 1, NULL, id);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
    d = (struct qdb_defer){ .n = d.n, .due = 70, .flags = QDB_REPEAT };
    CHECK_EQ_INT(qdb_rcpt_park(q, &d, &e), 0);
    CHECK_EQ_INT(take_due(q, 69, 8, 0, &s), 0);
    CHECK_EQ_INT(s.n, 0);
    CHECK_EQ_INT(take_due(q, 70, 8, 0, &s), 0);
    NEED(s.n == 1);
    CHECK_EQ_INT(s.attempts[0], 3); /* as it was */
    CHECK_EQ_INT(s.flags[0], QDB_REPEAT);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    qdb_close(&q);
    remove_dirs();
}

TEST(deferral_hold_release)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS];
    struct seen s = { 0 };
    uint64_t changed;
    int64_t due;
    struct qdb_defer d = { .due = 5000,
                           .attempts = 1,
                           .flags = QDB_REPEAT,
                           .status = SL("4.4.1"),
                           .why = SL("no answer") };

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    d.n = put(q, "x", 1, NULL, id);
    CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
    CHECK_EQ_INT(qdb_next_due(q, &due, &e), 0);
    CHECK_EQ_INT(due, 5000);
    CHECK_EQ_INT(take_due(q, 4999, 8, 0, &s), 0);
    CHECK_EQ_INT(s.n, 0);
    CHECK_EQ_INT(qdb_hold(q, d.n, &changed, &e), 0);
    CHECK_EQ_INT(qdb_next_due(q, &due, &e), 0);
    CHECK(due == INT64_MAX);
    CHECK_EQ_INT(qdb_operate(q, QDB_FLUSH, d.n, 1, &changed, &e), 0);
    CHECK_EQ_INT(changed, 0); /* flush leaves what is held */
    CHECK_EQ_INT(qdb_operate(q, QDB_RELEASE, d.n, 1, &changed, &e), 0);
    CHECK_EQ_INT(changed, 1);
    CHECK_EQ_INT(take_due(q, 10, 8, 0, &s), 0);
    NEED(s.n == 1);
    CHECK_EQ_INT(s.flags[0], QDB_REPEAT);
    CHECK_EQ_STR(s.body[0], ""); /* not asked for */
    qdb_close(&q);
    remove_dirs();
}

/* A delivery whose report is owed stays in memory, is due after a crash, and is still delivered; what nobody takes is on hold
 * whatever an operator has asked for, and counted. */
TEST(what_is_owed_is_kept)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS];
    struct seen s = { 0 };
    uint64_t changed, nobody = 9;
    bool gone;
    struct qdb_defer d = { .due = INT64_MIN,
                           .flags = QDB_SENT | QDB_RELAYED,
                           .status = SL("2.0.0"),
                           .why = SL("delivery via a: 250 Ok") };

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    d.n = put(q, "x", 1, NULL, id);
    CHECK_EQ_INT(qdb_rcpt_set(q, &d, &e), 0);
    CHECK_EQ_INT(take_due(q, INT64_MAX - 1, 8, 0, &s), 0);
    CHECK_EQ_INT(s.n, 0);
    qdb_close(&q);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(take_due(q, 10, 8, 0, &s), 0);
    NEED(s.n == 1);
    CHECK_EQ_INT(s.flags[0] & (QDB_SENT | QDB_RELAYED), QDB_SENT | QDB_RELAYED);
    CHECK_EQ_INT(qdb_count_nobody(q, &nobody, &e), 0);
    CHECK_EQ_INT(nobody, 0);
    CHECK_EQ_INT(qdb_operate(q, QDB_EXPIRE, d.n, 1, &changed, &e), 0);
    d.due = QDB_DUE_HELD;
    d.flags = QDB_NOBODY;
    CHECK_EQ_INT(qdb_rcpt_set(q, &d, &e), 0);
    CHECK_EQ_INT(qdb_count_nobody(q, &nobody, &e), 0);
    CHECK_EQ_INT(nobody, 1);
    s.n = 0;
    CHECK_EQ_INT(take_due(q, INT64_MAX - 1, 8, 0, &s), 0);
    CHECK_EQ_INT(s.n, 0);
    CHECK_EQ_INT(qdb_rcpt_done(q, d.n, 0, &e), 0);
    CHECK_EQ_INT(qdb_message_reap(q, d.n, &gone, &e), 0);
    CHECK(gone);
    CHECK_EQ_INT(qdb_message_reap(q, d.n, &gone, &e), 0);
    CHECK(!gone); /* once */
    qdb_close(&q);
    remove_dirs();
}

TEST(files_move_in_and_orphans_go)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS], from[120], path[200], orphan[QUEUE_ID_TEXT_OCTETS];
    int fd;

    make_dirs();
    snprintf(from, sizeof from, "%s/incoming/abc", root);
    fd = open(from, O_WRONLY | O_CREAT, 0600);
    CHECK(write(fd, "content", 7) == 7);
    close(fd);
    NEED(qdb_open(dir, &q, &e) == 0);
    put(q, "content", 1, from, id);
    CHECK(access(from, F_OK) != 0);
    CHECK(access(qdb_file_path(q, id, path, sizeof path), F_OK) == 0);
    queue_id_format(1, 77, qdb_db_bits(q), orphan);
    fd = open(qdb_file_path(q, orphan, path, sizeof path), O_WRONLY | O_CREAT, 0600);
    close(fd);
    qdb_close(&q);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK(access(path, F_OK) != 0);
    CHECK(access(qdb_file_path(q, id, path, sizeof path), F_OK) == 0);
    qdb_close(&q);
    remove_dirs();
}

/* Overwrite `what` wherever it stands in the database with something as long. */
static unsigned
damage(const char *what)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    char path[120];
    unsigned hits = 0;
    int fd;

    snprintf(path, sizeof path, "%s/queue.db", dir);
    CHECK_EQ_INT(fs_read_file(path, &b, &e), 0);
    fd = open(path, O_WRONLY);
    for (size_t i = 0; i + strlen(what) <= b.n; i++) {
        if (memcmp(buf_slice(&b).p + i, what, strlen(what)) == 0) {
            hits++;
            CHECK(pwrite(fd, "#", 1, (off_t)i) == 1);
        }
    }
    close(fd);
    buf_free(&b);
    return hits;
}

TEST(salvage_takes_what_is_whole)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[3][QUEUE_ID_TEXT_OCTETS], path[120];
    struct seen s = { 0 };
    uint64_t bad = 0;

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    put(q, "the first body", 2, NULL, id[0]);
    put(q, "the spoilt body", 1, NULL, id[1]);
    put(q, "the third body", 1, NULL, id[2]);
    CHECK_EQ_INT(qdb_checkpoint(q, true, &e), 0);
    qdb_close(&q);
    CHECK(damage("the spoilt body") > 0);
    snprintf(path, sizeof path, "%s/queue.db", dir);
    CHECK_EQ_INT(qdb_salvage(path, see, &s, &bad, &e), 0);
    CHECK_EQ_INT(bad, 1);
    NEED(s.n == 2);
    CHECK_EQ_STR(s.id[0], id[0]);
    CHECK_EQ_STR(s.id[1], id[2]);
    remove_dirs();
}

/* With a hold: kept by a restart, kept when a damaged database is read row by row. */
TEST(what_is_on_hold_stays_on_hold)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char id[3][QUEUE_ID_TEXT_OCTETS], path[120];
    struct seen s = { 0 };
    uint64_t n, changed;
    int64_t due;

    make_dirs();
    NEED(qdb_open(dir, &q, &e) == 0);
    n = put(q, "kept back", 2, NULL, id[0]);
    put(q, "the spoilt body", 1, NULL, id[1]);
    put(q, "goes on", 1, NULL, id[2]);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_hold(q, n, &changed, &e), 0);
    CHECK_EQ_INT(changed, 2);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    CHECK_EQ_INT(qdb_checkpoint(q, true, &e), 0);
    qdb_close(&q);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(qdb_next_due(q, &due, &e), 0);
    CHECK_EQ_INT(due, 0);
    CHECK_EQ_INT(take_due(q, INT64_MAX - 1, 8, 100, &s), 0);
    CHECK_EQ_INT(s.n, 2);
    qdb_close(&q);
    /* salvage into a new one */
    CHECK(damage("the spoilt body") > 0);
    snprintf(path, sizeof path, "%s/queue.db", dir);
    snprintf(dir, sizeof dir, "%s/new", root);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(qdb_salvage_into(q, path, &e), 0);
    s.n = 0;
    CHECK_EQ_INT(take_due(q, INT64_MAX - 1, 8, 100, &s), 0);
    CHECK_EQ_INT(s.n, 1);
    CHECK_EQ_STR(s.id[0], id[2]);
    s.n = 0;
    CHECK_EQ_INT(qdb_walk(q, 0, see_next, &s, &e), 0);
    NEED(s.n == 2);
    CHECK_EQ_STR(s.id[0], id[0]);
    CHECK_EQ_INT(s.n_rcpts[0], 2);
    CHECK(s.due[0] == QDB_DUE_HELD);
    qdb_close(&q);
    remove_dirs();
}

/* The wall clock is set back by years while qmgr is down: what waited for a minute does not wait for years. */
TEST(a_clock_that_was_set_keeps_turns)
{
    const int64_t wall_us = 1790000000LL * 1000000;
    struct qdb *q = NULL;
    struct err e = { 0 };
    struct seen s = { 0 };
    char id[QUEUE_ID_TEXT_OCTETS];
    struct qdb_defer d = { .due = 1790000060 };
    int64_t due;

    make_dirs();
    clock_fake(5000, wall_us);
    NEED(qdb_open(dir, &q, &e) == 0);
    d.n = put(q, "waits", 1, NULL, id);
    CHECK_EQ_INT(qdb_begin(q, &e), 0);
    CHECK_EQ_INT(qdb_rcpt_defer(q, &d, &e), 0);
    CHECK_EQ_INT(qdb_commit(q, &e), 0);
    qdb_close(&q);
    clock_fake(5000, wall_us - 1000000000LL * 1000000);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(qdb_next_due(q, &due, &e), 0);
    CHECK_EQ_INT(due, 790000060);
    CHECK_EQ_INT(qdb_clock_us(qdb_clock(q)), wall_us);
    qdb_close(&q);
    /* years ahead: due, and not older than a day */
    clock_fake(5000, wall_us + 1000000000LL * 1000000);
    NEED(qdb_open(dir, &q, &e) == 0);
    CHECK_EQ_INT(take_due(q, clock_unix_s(), 8, 100, &s), 0);
    CHECK_EQ_INT(s.n, 1);
    CHECK_EQ_INT(qdb_clock_us(qdb_clock(q)), wall_us + (int64_t)QDB_CLOCK_AWAY_MAX_S * 1000000);
    qdb_close(&q);
    clock_fake(0, 0);
    remove_dirs();
}

TEST(a_database_that_is_none_is_set_aside)
{
    struct qdb *q = NULL;
    struct err e = { 0 };
    char path[120];
    struct dirent *de;
    bool has_aside = false;
    DIR *d;
    int fd;

    make_dirs();
    CHECK_EQ_INT(fs_mkdirs(dir, 0700, &e), 0);
    snprintf(path, sizeof path, "%s/queue.db", dir);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 1000; i++)
        CHECK(write(fd, "this is no database ", 20) == 20);
    close(fd);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    if (!CHECK_EQ_INT(qdb_open(dir, &q, &e), 0)) {
        printf("%s\n", e.msg);
        return;
    }
    d = opendir(dir);
    while ((de = readdir(d)) != NULL)
        has_aside = has_aside || strstr(de->d_name, "damaged");
    closedir(d);
    CHECK(has_aside);
    qdb_close(&q);
    remove_dirs();
}

TEST_MAIN()
