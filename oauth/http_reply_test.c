#include "base/test.h"
#include "oauth/http_reply.h"

#include <stdlib.h>

#define OK200 "HTTP/1.1 200 OK\r\n"

static const struct {
    const char *name, *text;
    const char *want; /* "200 body|what is behind it", or NULL: bad */
    bool until_end;   /* whole only when the connection ends */
} rows[] = {
    { "length", OK200 "Content-Length: 5\r\n\r\nhello", "200 hello|", false },
    { "length, and more", OK200 "Content-Length: 5\r\n\r\nhelloHTTP", "200 hello|HTTP", false },
    { "none", OK200 "Content-Length: 0\r\n\r\nx", "200 |x", false },
    { "case and blanks", OK200 "cONTENT-lENGTH: \t 2 \r\n\r\nhi", "200 hi|", false },
    { "twice the same", OK200 "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "200 hi|",
      false },
    { "no words", "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", "404 |", false },
    { "empty words", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", "404 |", false },
    { "1.0", "HTTP/1.0 200 OK\r\n\r\nhello", "200 hello|", true },
    { "until it closes", OK200 "\r\nhello", "200 hello|", true },
    { "nothing until it closes", OK200 "\r\n", "200 |", true },
    { "LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", "200 hi|", false },
    { "chunks",
      OK200 "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\n\r\nz",
      "200 hello world|z", false },
    { "hex", OK200 "Transfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
      "200 0123456789|", false },
    { "trailers", OK200 "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n", "200 x|",
      false },
    { "no content", "HTTP/1.1 204 No Content\r\n\r\nx", "204 |x", false },
    { "interim", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK200 "Content-Length: 1\r\n\r\nx",
      "200 x|", false },
    { "interim with a length",
      "HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n" OK200 "Content-Length: 1\r\n\r\nx", "200 x|",
      false },
    /* bad */
    { "no HTTP", "220 mail ESMTP\r\n", NULL, false },
    { "HTTP/2", "HTTP/2 200 OK\r\n\r\n", NULL, false },
    { "no status", "HTTP/1.1 OK\r\n\r\n", NULL, false },
    { "status 999", "HTTP/1.1 999 x\r\n\r\n", NULL, false },
    { "long status", "HTTP/1.1 2000 x\r\n\r\n", NULL, false },
    { "switching", "HTTP/1.1 101 x\r\n\r\n", NULL, false },
    { "empty line first", "\r\n" OK200, NULL, false },
    { "no colon", OK200 "Content\r\n\r\n", NULL, false },
    { "blank before the colon", OK200 "Content-Length : 2\r\n\r\nhi", NULL, false },
    { "folded", OK200 "X: y\r\n z\r\n\r\n", NULL, false },
    { "bare CR", OK200 "X: y\rz\r\n\r\n", NULL, false },
    { "two lengths", OK200 "Content-Length: 3\r\nContent-Length: 2\r\n\r\nhi", NULL, false },
    { "a list", OK200 "Content-Length: 2, 2\r\n\r\nhi", NULL, false },
    { "negative", OK200 "Content-Length: -2\r\n\r\nhi", NULL, false },
    { "hex length", OK200 "Content-Length: 0x2\r\n\r\nhi", NULL, false },
    { "overflow", OK200 "Content-Length: 18446744073709551618\r\n\r\nhi", NULL, false },
    { "too long", OK200 "Content-Length: 262145\r\n\r\n", NULL, false },
    { "length and chunks", OK200 "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      NULL, false },
    { "gzip, chunked", OK200 "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", NULL, false },
    { "chunked twice",
      OK200 "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL,
      false },
    { "compressed", OK200 "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", NULL, false },
    { "chunk without a size", OK200 "Transfer-Encoding: chunked\r\n\r\n\r\nx", NULL, false },
    { "chunk of letters", OK200 "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", NULL, false },
    { "chunk too long", OK200 "Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", NULL, false },
    { "digits without end", OK200 "Transfer-Encoding: chunked\r\n\r\n000000001\r\n", NULL, false },
    { "longer than it says", OK200 "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n", NULL, false },
};

/* In pieces that end at `at` and then every `step` octets; the pieces lie where a read beyond them is seen. */
static void
run(struct slice text, const char *want, bool until_end, size_t at, size_t step)
{
    struct http_reply r = { 0 };
    struct buf got = { 0 };
    struct err e = { 0 };
    enum parse_rc rc = PARSE_MORE;
    struct slice behind = { 0 };
    size_t from = 0;

    while (rc == PARSE_MORE && from < text.n) {
        size_t to = from < at ? at : from + step;
        size_t n = (to < text.n ? to : text.n) - from;
        char *piece = malloc(n);
        struct slice in = sl_n(piece, n);

        memcpy(piece, text.p + from, n);
        rc = http_reply_feed(&r, &in, &e);
        if (rc == PARSE_MORE)
            CHECK_EQ_INT(in.n, 0);
        from += n - in.n;
        behind = sl_from(text, from);
        free(piece);
    }
    if (rc == PARSE_MORE) {
        CHECK(until_end || want == NULL);
        rc = http_reply_end(&r, &e);
    } else {
        CHECK(!until_end);
    }
    CHECK_EQ_INT(rc, want ? PARSE_OK : PARSE_BAD);
    CHECK((rc == PARSE_BAD) == (e.msg[0] != '\0'));
    if (rc == PARSE_OK && want) {
        buf_addf(&got, "%u %.*s|%.*s", r.status, SL_ARG(buf_slice(&r.body)), SL_ARG(behind));
        CHECK_EQ_STR(buf_z(&got), want);
    }
    buf_free(&got);
    http_reply_free(&r);
}

TEST(replies)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice text = sl_z(rows[i].text);

        TEST_ROW("%s", rows[i].name);
        run(text, rows[i].want, rows[i].until_end, text.n, 1);
        run(text, rows[i].want, rows[i].until_end, 1, 1);
        for (size_t at = 1; at < text.n; at++)
            run(text, rows[i].want, rows[i].until_end, at, text.n);
    }
}

/* Each ends in the middle: no response. */
TEST(cut_short)
{
    static const char *const texts[] = {
        OK200 "Content-Length: 5\r\n\r\nhello",
        OK200 "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t n = 1; n < strlen(texts[i]); n++) {
            struct http_reply r = { 0 };
            struct slice in = sl_n(texts[i], n);

            TEST_ROW("%zu of %zu", n, i);
            CHECK_EQ_INT(http_reply_feed(&r, &in, NULL), PARSE_MORE);
            CHECK_EQ_INT(http_reply_end(&r, NULL), PARSE_BAD);
            http_reply_free(&r);
        }
}

static enum parse_rc
feed_many(const char *first, const char *piece, size_t most)
{
    struct http_reply r = { 0 };
    struct slice in = sl_z(first);
    enum parse_rc rc = http_reply_feed(&r, &in, NULL);

    for (size_t n = 0; rc == PARSE_MORE && n < most; n += strlen(piece)) {
        in = sl_z(piece);
        rc = http_reply_feed(&r, &in, NULL);
    }
    http_reply_free(&r);
    return rc;
}

TEST(bounds)
{
    CHECK_EQ_INT(feed_many("", "x", HTTP_LINE_OCTETS + 1), PARSE_BAD);
    CHECK_EQ_INT(feed_many(OK200, "X: y\r\n", HTTP_HEAD_OCTETS + 10), PARSE_BAD);
    CHECK_EQ_INT(feed_many(OK200 "\r\n", "0123456789abcdef", HTTP_BODY_OCTETS), PARSE_MORE);
    CHECK_EQ_INT(feed_many(OK200 "\r\n", "0123456789abcdef", HTTP_BODY_OCTETS + 16), PARSE_BAD);
    CHECK_EQ_INT(feed_many(OK200 "Transfer-Encoding: chunked\r\n\r\n", "10\r\n0123456789abcdef\r\n",
                           2 * HTTP_BODY_OCTETS),
                 PARSE_BAD);
    CHECK_EQ_INT(feed_many("", "HTTP/1.1 100 Continue\r\n\r\n", 9 * 25), PARSE_BAD);
}

TEST_MAIN()
