/* Look-ups and anvil: our clients against our servers over real sockets, and the octets themselves against a peer that speaks
 * them by hand. */
#include "auth/anvil_client.h"
#include "auth/authd_doors.h"
#include "auth/lookup_client.h"

/* ---- look-ups ---- */

static unsigned answers, wrong;

static void
on_lookup(uint64_t id, enum lookup_rc rc, struct slice value)
{
    static const struct {
        enum lookup_rc rc;
        const char *value;
    } want[] = {
        { LOOKUP_FOUND, "one" }, { LOOKUP_NOTFOUND, "" }, { LOOKUP_TEMP, "" }, { LOOKUP_FOUND, "" }
    };

    answers++;
    if (rc != want[id % 4].rc || (id % 4 < 3 && !sl_eqz(value, want[id % 4].value)) ||
        (id % 4 == 3 && value.n != 50000)) {
        wrong++;
        FAIL("question %u: rc %d, %zu octets", (unsigned)id, rc, value.n);
    }
    if (answers == 2000)
        loop_stop();
}

TEST(answers_come_in_order)
{
    static const char *const names[] = { "relay_recipient_maps", "relay_recipient_maps",
                                         "no_such_parameter", "local_recipient_maps" };
    static const char *const keys[] = { "a", "b", "c", "d" };
    struct lookup_client *l;
    struct buf conf = { 0 };

    buf_addz(&conf, "relay_recipient_maps = inline:{a=one}\nlocal_recipient_maps = static:");
    for (int i = 0; i < 50000; i++)
        buf_addc(&conf, 'x');
    buf_addc(&conf, '\n');
    start(buf_z(&conf));
    buf_free(&conf);
    answers = wrong = 0;
    l = lookup_client_new(door(2));
    for (unsigned i = 0; i < 2000; i++)
        lookup_ask(l, names[i % 4], sl_z(keys[i % 4]), on_lookup, i);
    loop_run();
    CHECK_EQ_INT(answers, 2000);
    CHECK_EQ_INT(wrong, 0);
    lookup_client_free(&l);
    stop();
}

/* ---- many lines at once ---- */

static const char many_conf[] = "header_checks = inline:{never=asked}\n"
                                "body_checks = regexp:{{if /^a/}, {/b$/ REJECT ab}, {endif}, "
                                "{!/^[a-z]/ WARN not a word}, {/c.*(d)/ REPLACE $$1-$${1}}, "
                                "{/late/ IGNORE}}\n";

#define BIG_OCTETS (3 * 1024 * 1024)

static const struct {
    const char *name;
    const char *lines[5];
    enum lookup_rc rc;
    size_t i;
    const char *value;
    size_t i2; /* a second match, and the last */
} many[] = {
    { "body_checks", { "x", "y" }, LOOKUP_NOTFOUND, 0, "", 0 },
    { "body_checks", { "x", "", "a b", "9" }, LOOKUP_FOUND, 2, "REJECT ab", 3 },
    { "body_checks", { "b b", "9", "a b" }, LOOKUP_FOUND, 1, "WARN not a word", 2 },
    { "body_checks", { "a c\nx d" }, LOOKUP_FOUND, 0, "REPLACE d-d", 0 },
    { "header_checks", { "", "a" }, LOOKUP_NOTFOUND, 0, "", 0 },
    { "no_such_parameter", { "a" }, LOOKUP_TEMP, 0, "", 0 },
    { "body_checks", { "nul", "big" }, LOOKUP_FOUND, 1, "IGNORE", 0 },
};

static void
on_many(uint64_t id, enum lookup_rc rc, size_t n_seen, const struct lookup_hit *hits, size_t n)
{
    size_t lines = 0;

    TEST_ROW("%u", (unsigned)id);
    while (lines < 5 && many[id].lines[lines])
        lines++;
    CHECK_EQ_INT(rc, many[id].rc);
    CHECK_EQ_INT(n_seen, lines);
    CHECK_EQ_INT(n, rc != LOOKUP_FOUND ? 0 : many[id].i2 ? 2 : 1);
    if (n > 0) {
        CHECK_EQ_INT(hits[0].i, many[id].i);
        CHECK_EQ_MEM(hits[0].value.p, hits[0].value.n, many[id].value, strlen(many[id].value));
    }
    if (n > 1)
        CHECK_EQ_INT(hits[1].i, many[id].i2);
    answers++;
}

static void
on_between(uint64_t id, enum lookup_rc rc, struct slice value)
{
    CHECK_EQ_INT(rc, LOOKUP_FOUND);
    CHECK(sl_eqz(value, "asked"));
    CHECK(answers == 2 * id + 1); /* in the order of the questions, whoever answers them */
    if (++answers == 2 * COUNT_OF(many))
        loop_stop();
}

TEST(many_lines_are_one_question)
{
    struct lookup_client *l;
    struct buf big = { 0 };

    /* longer than what a conn buffers, a NUL before what matches */
    for (size_t i = 0; i < BIG_OCTETS; i++)
        buf_addc(&big, i % 1000 == 1 ? '\0' : 'x');
    buf_addz(&big, "late");
    start(many_conf);
    answers = 0;
    l = lookup_client_new(door(2));
    for (size_t k = 0; k < COUNT_OF(many); k++) {
        struct slice lines[5];
        size_t n = 0;

        for (; n < 5 && many[k].lines[n]; n++)
            lines[n] = strcmp(many[k].lines[n], "big") ? sl_z(many[k].lines[n]) : buf_slice(&big);
        lookup_ask_lines(l, many[k].name, lines, n, on_many, k);
        lookup_ask(l, "header_checks", SL("never"), on_between, k);
    }
    loop_run();
    CHECK_EQ_INT(answers, 2 * COUNT_OF(many));
    buf_free(&big);
    lookup_client_free(&l);
    stop();
}

TEST(socketmap_octets)
{
    static const struct {
        const char *name;
        struct slice in;
        const char *want;
    } rows[] = {
        { "found", SL_INIT("22:relay_recipient_maps a,"), "6:OK one," },
        { "key with a space", SL_INIT("24:relay_recipient_maps b c,"), "6:OK two," },
        { "two at once", SL_INIT("22:relay_recipient_maps a,22:relay_recipient_maps z,"),
          "6:OK one,9:NOTFOUND ," },
        { "temporary", SL_INIT("22:local_recipient_maps a,"), "13:TEMP fail:why," },
        { "no such name", SL_INIT("7:nosuch x,"), NULL },
        { "unknown", SL_INIT("8:nosuch x,"), "36:PERM main.cf has no parameter nosuch," },
        { "no space", SL_INIT("6:nosuch,"), "28:PERM a request is \"name key\"," },
        { "length is no number", SL_INIT("x:nosuch x,"), NULL },
        { "too long", SL_INIT("99999:x"), NULL },
        { "no end of the length", SL_INIT("1111111111"), NULL },
        { "no comma", SL_INIT("1:ab"), NULL },
    };

    start(
        "relay_recipient_maps = inline:{a=one, { b c = two }}\nlocal_recipient_maps = fail:why\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        say(2, rows[i].in, rows[i].want, rows[i].in.n);
        say(2, rows[i].in, rows[i].want, 1);
    }
    stop();
}

TEST(anvil_octets)
{
    start("");
    say(3,
        SL("request=connect\nident=smtp:1.2.3.4\n\nrequest=connect\nident=smtp:1.2.3.4\n\n"
           "request=recipient\nident=smtp:1.2.3.4\n\nrequest=disconnect\nident=smtp:1.2.3.4\n\n"
           "request=lookup\nident=smtp:1.2.3.4\n\nrequest=dance\nident=x\n\n"),
        "protocol=anvil\n\nstatus=0\ncount=1\nrate=1\n\nstatus=0\ncount=2\nrate=2\n\nstatus="
        "0\nrate=1\n\nstatus=0\n\n"
        "status=0\ncount=1\nrate=2\nmail=0\nrcpt=1\nnewtls=0\nauth=0\n\nstatus=-1\n\n",
        7);
    /* That peer is gone, and its connection with it. */
    say(3, SL("request=lookup\nident=smtp:1.2.3.4\n\n"),
        "protocol=anvil\n\nstatus=0\ncount=0\nrate=2\nmail=0\nrcpt=1\nnewtls=0\nauth=0\n\n", 100);
    stop();
}

static struct anvil_result counted;

static void
on_count(uint64_t id, const struct anvil_result *r)
{
    (void)id;
    counted = *r;
    loop_stop();
}

TEST(anvil_client_counts)
{
    struct anvil_client *a;

    start("");
    a = anvil_client_new(door(3));
    anvil_ask(a, ANVIL_CONNECT, SL("smtp:1.2.3.4"), NULL, 0);
    anvil_ask(a, ANVIL_AUTH, SL("smtp:1.2.3.4"), NULL, 0);
    anvil_ask(a, ANVIL_CONNECT, SL("smtp:1.2.3.4"), on_count, 0);
    loop_run();
    CHECK(counted.is_ok);
    CHECK_EQ_INT(counted.count, 2);
    CHECK_EQ_INT(counted.rate, 2);
    anvil_ask(a, ANVIL_LOOKUP, SL("smtp:1.2.3.4"), on_count, 0);
    loop_run();
    CHECK_EQ_INT(counted.auths, 1);
    anvil_client_free(&a);
    stop();
}

TEST_MAIN()
