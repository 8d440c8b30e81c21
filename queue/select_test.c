/* queue/select_test.c - the grammar of selections, and which messages fit. */
#include "queue/select.h"

#include "base/test.h"
#include "session/queue_id.h"

enum { NOW = 1000000, MIB = 1024 * 1024 };

TEST(patterns)
{
    static const struct {
        const char *pattern, *text;
        bool want;
    } rows[] = {
        { "", "", true },
        { "", "a", false },
        { "*", "", true },
        { "*", "anything", true },
        { "a@b.example", "A@B.Example", true },
        { "*@b.example", "a@b.example", true },
        { "*@b.example", "a@sub.b.example", false },
        { "a*", "abc", true },
        { "a*", "ba", false },
        { "*b*", "abc", true },
        { "a*c", "abbbc", true },
        { "a*c", "abbbd", false },
        { "*a*a*", "banana", true },
        { "*ana", "banana", true },
        { "**x**", "axb", true },
        { "*ab", "aab", true },
        { "a?", "ab", false }, /* only * is special */
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s / %s", rows[i].pattern, rows[i].text);
        CHECK_EQ_INT(select_pattern_fits(sl_z(rows[i].pattern), sl_z(rows[i].text)), rows[i].want);
    }
}

TEST(many_stars_take_no_time)
{
    char text[2000];

    memset(text, 'a', sizeof text);
    CHECK(!select_pattern_fits(SL("*a*a*a*a*a*a*a*a*a*a*b"), sl_n(text, sizeof text)));
}

TEST(what_is_refused)
{
    static const struct {
        const char *words, *why; /* a part of it */
    } rows[] = {
        { "", "which messages" },
        { "\n\n", "which messages" },
        { "nonsense", "neither a queue id nor a condition" },
        { "all", "neither" },
        { "sender", "neither" },
        { "sender<3", "compare by = or !=" },
        { "age=3d", "compare by < or >" },
        { "age>", "a time is" },
        { "age>3y", "a time is" },
        { "age>d", "a time is" },
        { "age>3dd", "a time is" },
        { "age>99999999999999999999", "a time is" },
        { "age>18446744073709551615w", "a time is" },
        { "size>1X", "a size is" },
        { "size>-1", "a size is" },
        { "state=parked", "a state is" },
        { "colour=red", "neither" },
        { "../../etc/passwd", "neither" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct select *s = NULL;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].words);
        CHECK_EQ_INT(select_parse(sl_z(rows[i].words), &s, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_CLIENT);
        CHECK(strstr(e.msg, rows[i].why) != NULL);
        CHECK(s == NULL);
    }
}

TEST(too_much_is_refused)
{
    struct buf words = { 0 };
    struct select *s = NULL;
    struct err e = { 0 };

    for (int i = 0; i <= SELECT_WORDS_MAX; i++)
        buf_addz(&words, "to=x\n");
    CHECK_EQ_INT(select_parse(buf_slice(&words), &s, &e), -1);
    buf_reset(&words);
    for (uint64_t i = 0; i <= SELECT_IDS_MAX; i++) {
        char id[QUEUE_ID_TEXT_OCTETS];

        queue_id_format(1000000, i + 1, 7, id);
        buf_addf(&words, "%s\n", id);
    }
    CHECK_EQ_INT(select_parse(buf_slice(&words), &s, &e), -1);
    buf_free(&words);
}

TEST(ids)
{
    char a[QUEUE_ID_TEXT_OCTETS], b[QUEUE_ID_TEXT_OCTETS], words[100];
    struct select *s = NULL;
    struct err e = { 0 };
    uint64_t n = 0;

    queue_id_format(1000000, 5, 7, a);
    queue_id_format(1000000, 3, 7, b);
    snprintf(words, sizeof words, "%s\nsender=*\n%s", a, b);
    NEED(select_parse(sl_z(words), &s, &e) == 0);
    CHECK_EQ_INT(select_ids(s), 2);
    CHECK_EQ_STR(select_id(s, 0, &n), a);
    CHECK_EQ_INT(n, 5);
    CHECK_EQ_STR(select_id(s, 1, &n), b);
    CHECK_EQ_INT(n, 3);
    select_free(&s);
    snprintf(words, sizeof words, "ALL\n%s", a);
    CHECK_EQ_INT(select_parse(sl_z(words), &s, &e), -1); /* which? */
}

/* The message that all rows are about: 2 MiB, a day old, three recipients of which the second is left for the mailbox of a
 * list, deferred, and the third is on hold; the first has been delivered. */
static struct qdb_message
message(struct buf *env)
{
    static const struct queue_rcpt rcpts[] = {
        { .addr = SL_INIT("gone@first.example"), .orig = SL_INIT("gone@first.example") },
        { .addr = SL_INIT("Member@second.example"),
          .orig = SL_INIT("list@lists.example"),
          .has_sender = true,
          .sender = SL_INIT("owner-list@lists.example") },
        { .addr = SL_INIT("held@third.example"), .orig = SL_INIT("held@third.example") },
    };
    static const struct qdb_rcpt rows[] = {
        { .i = 1,
          .due = NOW + 60,
          .attempts = 2,
          .why = SL_INIT("connect to mx.second.example[192.0.2.1]:25: Connection timed out"),
          .hop = SL_INIT("[relay.example]:587") },
        { .i = 2, .due = QDB_DUE_HELD, .flags = QDB_BY_HAND },
    };
    struct queue_env e = { .sender = SL("Boss@Sender.example"),
                           .rcpts = rcpts,
                           .n_rcpts = 3,
                           .sasl_user = SL("boss"),
                           .hold = SL("looks odd") };

    queue_id_format((NOW - 86400) * 1000000LL, 9, 7, e.id);
    queue_env_pack(env, &e, (NOW - 86400) * 1000000LL);
    return (struct qdb_message){ .n = 9,
                                 .arrived_s = NOW - 86400,
                                 .size = 2 * MIB,
                                 .env = buf_slice(env),
                                 .is_env_ok = true,
                                 .rcpts = rows,
                                 .n_rcpts = 2 };
}

TEST(what_fits)
{
    static const struct {
        const char *words;
        bool want;
    } rows[] = {
        { "ALL", true },
        { "sender=boss@sender.example", true },
        { "from=*@sender.example", true },
        { "sender=*@other.example", false },
        { "sender!=*@other.example", true },
        { "sender!=*@sender.example", false },
        { "sender=owner-list@*", true }, /* one recipient's own */
        { "sender=<>", false },
        { "sender!=<>", true },
        { "to=member@second.example", true },
        { "recipient=list@lists.example", true }, /* what it was before */
        { "to=gone@*", false },                   /* that is done */
        { "to!=gone@*", true },
        { "to!=held@*", false },
        { "dest=second.example", true },
        { "dest=third.example", true },
        { "dest=first.example", false },
        { "destination=*.example", true },
        { "dest=[relay.example]:587", true },
        { "dest=[relay.example]*", true },
        { "dest=relay.example", false },
        { "reason=*timed out*", true },
        { "reason=looks odd", true },
        { "reason=*refused*", false },
        { "account=boss", true },
        { "account=b*s", true },
        { "account=other", false },
        { "state=deferred", true }, /* the most urgent of its recipients */
        { "state=hold", false },
        { "state!=hold", true },
        { "state=active", false },
        { "state=expired", false },
        { "state=Deferred", true },
        { "age>23h", true },
        { "age>1d", false }, /* exactly a day */
        { "age<1d", false },
        { "age<86401", true },
        { "age>1w", false },
        { "age<1w", true },
        { "size>1M", true },
        { "size>2M", false },
        { "size>2047k", true },
        { "size<3M", true },
        { "size<1G", true },
        { "size>2097151", true },
        { "sender=boss@*\nage>2h\nsize>1M\nstate=deferred\nto=*@second.example", true },
        { "sender=boss@*\nage>2h\nsize>1M\nstate=deferred\nto=*@other.example", false },
        { "ALL\nstate=hold", false },
    };
    struct buf env = { 0 };
    struct qdb_message m = message(&env);

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct select *s = NULL;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].words);
        NEED(select_parse(sl_z(rows[i].words), &s, &e) == 0);
        CHECK_EQ_INT(select_fits(s, &m, NOW), rows[i].want);
        select_free(&s);
    }
    buf_free(&env);
}

TEST(a_damaged_envelope_fits_by_size_age_and_state)
{
    struct qdb_message m = { .n = 1, .arrived_s = NOW - 10, .size = 100 };
    static const struct {
        const char *words;
        bool want;
    } rows[] = { { "ALL", true },       { "size<200", true },   { "state=hold", true },
                 { "sender=*", false }, { "sender!=x", false }, { "to=*", false } };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct select *s = NULL;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].words);
        NEED(select_parse(sl_z(rows[i].words), &s, &e) == 0);
        CHECK_EQ_INT(select_fits(s, &m, NOW), rows[i].want);
        select_free(&s);
    }
}

TEST(null_sender)
{
    static const struct queue_rcpt to = { .addr = SL_INIT("a@b"), .orig = SL_INIT("a@b") };
    static const struct qdb_rcpt row = { .due = INT64_MIN };
    static const struct {
        const char *words;
        bool want;
    } rows[] = {
        { "sender=<>", true },    { "sender=", true },     { "sender=MAILER-DAEMON", true },
        { "sender=*", true },     { "sender=*@b", false }, { "sender!=<>", false },
        { "state=active", true }, { "account=*", false }
    };
    struct queue_env env = { .rcpts = &to, .n_rcpts = 1 };
    struct buf packed = { 0 };
    struct qdb_message m = { .n = 1, .is_env_ok = true, .rcpts = &row, .n_rcpts = 1 };

    queue_id_format(1000000, 1, 7, env.id);
    queue_env_pack(&packed, &env, 1000000);
    m.env = buf_slice(&packed);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct select *s = NULL;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].words);
        NEED(select_parse(sl_z(rows[i].words), &s, &e) == 0);
        CHECK_EQ_INT(select_fits(s, &m, NOW), rows[i].want);
        select_free(&s);
    }
    buf_free(&packed);
}

TEST_MAIN()
