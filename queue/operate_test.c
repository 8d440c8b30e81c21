/* queue/operate_test.c - steps of a listing and of a change: each message once, however small the pages are. */
#include "queue/operate.h"

#include "base/enc.h"
#include "base/test.h"
#include "queue/qdb_int.h"
#include "session/queue_id.h"

#include <stdlib.h>

enum { MESSAGES = 40, RCPTS = 30, ARRIVED_S = 1000000 };

static char dir[64], ids[MESSAGES][QUEUE_ID_TEXT_OCTETS];

static struct qdb *
filled(void)
{
    struct qdb *q = NULL;
    struct err e = { 0 };

    snprintf(dir, sizeof dir, "/tmp/operate-test-XXXXXX");
    if (!CHECK(mkdtemp(dir) != NULL && qdb_open(dir, &q, &e) == 0))
        return NULL;
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct queue_rcpt to[RCPTS];
        struct queue_env env = { .rcpts = to, .n_rcpts = i % 7 == 3 ? RCPTS : 1 };
        struct buf packed = { 0 };
        char sender[32], rcpt[RCPTS][64];
        uint64_t n = 0;
        struct qdb_put put;

        (void)qdb_grant(q, 1, &n, &e);
        queue_id_format(ARRIVED_S * 1000000LL, n, qdb_db_bits(q), ids[i]);
        memcpy(env.id, ids[i], strlen(ids[i]) + 1);
        snprintf(sender, sizeof sender, "s%u@%s.test", i, i % 2 ? "odd" : "even");
        env.sender = sl_z(sender);
        memset(to, 0, sizeof to);
        for (unsigned k = 0; k < env.n_rcpts; k++) {
            snprintf(rcpt[k], sizeof rcpt[k], "r%u-%u@rcpt.test", i, k);
            to[k].addr = to[k].orig = sl_z(rcpt[k]);
        }
        queue_env_pack(&packed, &env, ARRIVED_S * 1000000LL);
        put = (struct qdb_put){ .n = n,
                                .id = env.id,
                                .env = buf_slice(&packed),
                                .size = 4,
                                .crc = enc_crc32(0, "x\r\n\n", 4),
                                .body = SL("x\r\n\n"),
                                .n_rcpts = (uint32_t)env.n_rcpts,
                                .due = ARRIVED_S };
        if (qdb_put(q, &put, &e) != 0)
            printf("put: %s\n", e.msg);
        buf_free(&packed);
    }
    return q;
}

static void
removed(struct qdb **q)
{
    char cmd[100];

    qdb_close(q);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    if (system(cmd) != 0)
        printf("%s failed\n", cmd);
}

/* Every page of a question, one after the other. */
static int
ask(struct qdb *q, const char *verb, const char *words, size_t page, struct buf *out,
    unsigned *pages, uint64_t *changed)
{
    uint64_t after = 0;
    bool more = true;
    struct err e = { 0 };

    *pages = 0;
    while (more) {
        struct operate o;
        int rc = operate_begin(&o, sl_z(verb), sl_z(words), after, page, &e);

        if (rc == 0)
            rc = operate_run(&o, q, &e);
        if (*pages == 0 && rc == 0 && o.verb != OP_CONTENT)
            buf_addc(out, '\n'); /* so that each line has one before it */
        if (rc == 0 && *pages % 3 == 1 && !operate_changes(o.verb)) /* as after a rollback */
            rc = operate_run(&o, q, &e);
        buf_adds(out, buf_slice(&o.text));
        *changed += o.n_messages;
        more = o.more;
        after = o.next;
        operate_free(&o);
        if (rc != 0 || ++*pages > 10000)
            return -1;
    }
    return 0;
}

static size_t
count(struct slice text, const char *what)
{
    size_t n = 0, at;

    while ((at = sl_find(text, sl_z(what))) != SL_NPOS) {
        n++;
        text = sl_from(text, at + 1);
    }
    return n;
}

TEST(a_listing_has_each_message_and_recipient_once)
{
    static const size_t pages[] = { 1, 60, 200, 1000, 5000, 1 << 20 };
    struct qdb *q = filled();

    for (size_t k = 0; q && k < sizeof pages / sizeof *pages; k++) {
        struct buf out = { 0 };
        uint64_t changed = 0;
        unsigned n;

        TEST_ROW("pages of %zu", pages[k]);
        CHECK_EQ_INT(ask(q, "list", "ALL", pages[k], &out, &n, &changed), 0);
        CHECK_EQ_INT(count(buf_slice(&out), "\nM\t"), MESSAGES);
        for (unsigned i = 0; i < MESSAGES; i++) {
            char what[64];

            CHECK_EQ_INT(count(buf_slice(&out), ids[i]), 1);
            for (unsigned r = 0; r < (i % 7 == 3 ? RCPTS : 1); r++) {
                snprintf(what, sizeof what, "\tr%u-%u@rcpt.test\tr", i, r);
                CHECK_EQ_INT(count(buf_slice(&out), what), 1);
            }
        }
        if (pages[k] < 1000)
            CHECK(n > 10);
        buf_free(&out);
    }
    removed(&q);
}

TEST(ids_that_are_named)
{
    struct qdb *q = filled();
    char words[300], foreign[QUEUE_ID_TEXT_OCTETS];
    struct buf out = { 0 };
    uint64_t changed = 0;
    unsigned n;

    queue_id_format(ARRIVED_S * 1000000LL, 99999, 1, foreign);
    snprintf(words, sizeof words, "%s\n%s\n%s\n%s", ids[10], foreign, ids[3], ids[24]);
    for (size_t page = 1; q && page < 10000; page *= 100) {
        TEST_ROW("pages of %zu", page);
        buf_reset(&out);
        CHECK_EQ_INT(ask(q, "list", words, page, &out, &n, &changed), 0);
        CHECK_EQ_INT(count(buf_slice(&out), "\nM\t"), 3);
        CHECK_EQ_INT(count(buf_slice(&out), "\nX\t"), 1);
        CHECK_EQ_INT(count(buf_slice(&out), foreign), 1);
        CHECK_EQ_INT(count(buf_slice(&out), "\nR\t"), 3 * RCPTS);
    }
    /* ... and that must fit besides */
    snprintf(words, sizeof words, "%s\n%s\nsender=*@odd.test", ids[10], ids[3]);
    buf_reset(&out);
    CHECK_EQ_INT(ask(q, "hold", words, 1000, &out, &n, &changed), 0);
    CHECK_EQ_INT(changed, 1);
    CHECK_EQ_INT(count(buf_slice(&out), ids[3]), 1);
    CHECK_EQ_INT(count(buf_slice(&out), ids[10]), 0);
    buf_free(&out);
    removed(&q);
}

TEST(changes)
{
    static const struct {
        const char *verb, *words;
        uint64_t want;
    } rows[] = {
        { "hold", "sender=*@odd.test", MESSAGES / 2 },
        { "hold", "ALL", MESSAGES / 2 }, /* those are held already */
        { "release", "sender=s1@*", 1 },
        { "flush", "ALL", 1 }, /* nothing else waits for its time */
        { "expire", "state=hold", MESSAGES - 1 },
        { "expire", "state=hold", 0 },
        { "bounce", "sender=s2@*", 1 },
        { "requeue", "to=r3-*@rcpt.test", 1 },
        { "delete", "sender=*@even.test", MESSAGES / 2 },
        { "delete", "age<1h\nsize<5", MESSAGES / 2 },
        { "delete", "ALL", 0 },
    };
    struct qdb *q = filled();

    for (size_t k = 0; q && k < sizeof rows / sizeof *rows; k++) {
        struct buf out = { 0 };
        uint64_t changed = 0;
        unsigned n;

        TEST_ROW("%s %s", rows[k].verb, rows[k].words);
        CHECK_EQ_INT(ask(q, rows[k].verb, rows[k].words, 1000, &out, &n, &changed), 0);
        CHECK_EQ_INT(changed, rows[k].want);
        buf_free(&out);
    }
    removed(&q);
}

TEST(content_and_envelope)
{
    struct qdb *q = filled();
    struct buf out = { 0 };
    uint64_t changed = 0;
    unsigned n;

    CHECK_EQ_INT(ask(q, "content", ids[0], 1, &out, &n, &changed), 0);
    CHECK_EQ_INT(n, 4); /* an octet a page */
    CHECK(sl_eq(buf_slice(&out), SL("x\r\n\n")));
    buf_reset(&out);
    CHECK_EQ_INT(ask(q, "envelope", ids[0], 10, &out, &n, &changed), 0);
    CHECK(count(buf_slice(&out), "s0@even.test") == 1);
    CHECK_EQ_INT(ask(q, "content", "ALL", 1, &out, &n, &changed), -1);
    CHECK_EQ_INT(ask(q, "dance", "ALL", 1, &out, &n, &changed), -1);
    buf_free(&out);
    removed(&q);
}

TEST_MAIN()
