#include "base/deflate.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/test.h"

#include <stdlib.h>

static void
check_text(const struct buf *got, struct slice want)
{
    struct slice s = buf_slice(got);

    CHECK_EQ_MEM(s.p, s.n, want.p, want.n);
}

/* inflate what is in *in, room octets at a time, until it asks for more */
static enum inflate_rc
inflate_all(struct inflater *i, struct slice in, size_t room, struct buf *plain)
{
    bool has_more = true;
    enum inflate_rc rc = INFLATE_OK;

    while ((in.n > 0 || has_more) && rc == INFLATE_OK)
        rc = inflater_run(i, &in, room, plain, &has_more);
    return rc;
}

static void
say(struct deflater *d, struct inflater *i, struct slice text)
{
    struct buf raw = { 0 }, plain = { 0 };

    deflater_add(d, text, false, &raw);
    CHECK_EQ_INT(inflate_all(i, buf_slice(&raw), SIZE_MAX, &plain), INFLATE_OK);
    check_text(&plain, text);
    buf_free(&raw);
    buf_free(&plain);
}

TEST(what_is_flushed_can_be_read)
{
    struct deflater *d = deflater_new(6);
    struct inflater *i = inflater_new();

    say(d, i, SL("a NOOP\r\n"));
    say(d, i, SL("b NOOP\r\n"));
    say(d, i, SL("* OK Still here\r\n"));
    deflater_free(&d);
    inflater_free(&i);
    CHECK(d == NULL && i == NULL);
    deflater_free(&d);
    inflater_free(&i);
    CHECK_EQ_INT(deflater_octets(NULL) + inflater_octets(NULL), 0);
}

/* RFC 4978 §4's stream as any zlib makes it: split at each octet it is the same. */
TEST(octets_come_one_by_one)
{
    struct deflater *d = deflater_new(9);
    struct inflater *i = inflater_new();
    struct buf raw = { 0 }, plain = { 0 };
    struct slice text = SL("a FETCH 1:* (FLAGS UID)\r\na FETCH 1:* (FLAGS UID)\r\n");

    deflater_add(d, text, false, &raw);
    for (size_t at = 0; at < raw.n; at++)
        CHECK_EQ_INT(inflate_all(i, sl_head(sl_from(buf_slice(&raw), at), 1), 3, &plain),
                     INFLATE_OK);
    check_text(&plain, text);
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&raw);
    buf_free(&plain);
}

TEST(both_rest_and_go_on)
{
    struct deflater *d = deflater_new(6);
    struct inflater *i = inflater_new();
    struct buf raw = { 0 }, plain = { 0 };
    struct slice text = SL("a FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)\r\n");
    size_t awake;

    say(d, i, text);
    awake = inflater_octets(i) + deflater_octets(d);
    CHECK(awake > 256 * 1024);
    CHECK(awake < 320 * 1024); /* nothing is beyond the mappings */
    deflater_free(&d); /* the side that writes forgets; the one that reads keeps what came */
    inflater_rest(i);
    CHECK(inflater_octets(i) < 512);
    inflater_rest(i);
    d = deflater_new(6);
    say(d, i, text);
    CHECK(inflater_octets(i) > 40 * 1024);
    /* Now the peer goes on in its old stream, and refers to what came before the rest. */
    inflater_rest(i);
    deflater_add(d, text, false, &raw);
    CHECK(raw.n < text.n / 3);
    CHECK_EQ_INT(inflate_all(i, buf_slice(&raw), SIZE_MAX, &plain), INFLATE_OK);
    check_text(&plain, text);
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&raw);
    buf_free(&plain);
}

TEST(no_rest_inside_a_block)
{
    struct deflater *d = deflater_new(6);
    struct inflater *i = inflater_new();
    struct buf raw = { 0 }, plain = { 0 };
    struct slice text = SL("one two three four five six seven eight nine ten\r\n");

    deflater_add(d, text, false, &raw);
    for (size_t cut = 1; cut < raw.n; cut++) {
        inflater_free(&i);
        i = inflater_new();
        buf_reset(&plain);
        TEST_ROW("cut at %zu", cut);
        CHECK_EQ_INT(inflate_all(i, sl_head(buf_slice(&raw), cut), SIZE_MAX, &plain), INFLATE_OK);
        inflater_rest(i);
        CHECK_EQ_INT(inflate_all(i, sl_from(buf_slice(&raw), cut), SIZE_MAX, &plain), INFLATE_OK);
        check_text(&plain, text);
    }
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&raw);
    buf_free(&plain);
}

/* The window of a peer that sent more than it holds: the most that a resting side keeps. */
TEST(resting_memory_is_bounded)
{
    struct deflater *d = deflater_new(1);
    struct inflater *i = inflater_new();
    struct buf noise = { 0 };

    rand_octets(buf_reserve(&noise, 100000), 100000);
    buf_commit(&noise, 100000);
    say(d, i, buf_slice(&noise));
    inflater_rest(i);
    CHECK(inflater_octets(i) <= 33 * 1024);
    say(d, i, buf_slice(&noise));
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&noise);
}

TEST(a_bomb_comes_in_pieces)
{
    struct deflater *d = deflater_new(9);
    struct inflater *i = inflater_new();
    struct buf raw = { 0 }, plain = { 0 };
    char *zeros = mem_zalloc(8 * 1024 * 1024);
    struct slice in;
    size_t sum = 0;
    bool has_more = true;

    deflater_add(d, sl_n(zeros, 8 * 1024 * 1024), false, &raw);
    CHECK(raw.n < 10000);
    in = buf_slice(&raw);
    while (in.n > 0 || has_more) {
        buf_reset(&plain);
        NEED(inflater_run(i, &in, 1000, &plain, &has_more) == INFLATE_OK);
        NEED(plain.n <= 1000);
        sum += plain.n;
    }
    CHECK_EQ_INT(sum, 8 * 1024 * 1024);
    free(zeros);
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&raw);
    buf_free(&plain);
}

TEST(streams_end_and_go_wrong)
{
    struct deflater *d = deflater_new(6);
    struct inflater *i = inflater_new();
    struct buf raw = { 0 }, plain = { 0 };
    struct slice in;
    bool has_more;

    deflater_add(d, SL("bye\r\n"), true, &raw);
    buf_addz(&raw, "a LOGIN");
    in = buf_slice(&raw);
    CHECK_EQ_INT(inflater_run(i, &in, SIZE_MAX, &plain, &has_more), INFLATE_END);
    CHECK(sl_eqz(in, "a LOGIN"));
    CHECK_EQ_STR(buf_z(&plain), "bye\r\n");
    inflater_rest(i);
    CHECK_EQ_INT(inflater_run(i, &in, SIZE_MAX, &plain, &has_more), INFLATE_END);
    CHECK_EQ_INT(in.n, 7);

    inflater_free(&i);
    i = inflater_new();
    CHECK_EQ_INT(inflate_all(i, SL("\x07 a NOOP\r\n"), SIZE_MAX, &plain), INFLATE_BAD);
    deflater_free(&d);
    inflater_free(&i);
    buf_free(&raw);
    buf_free(&plain);
}

TEST_MAIN()
