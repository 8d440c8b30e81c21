/* mime/text_test.c - tables: HTML as text, previews, base subjects, sort keys, message ids; and that floods cost what
 * their length costs. */
#include "mime/text.h"

#include "base/test.h"

static void
check_buf(struct buf *b, const char *want)
{
    CHECK_EQ_STR(buf_z(b), want);
    buf_free(b);
}

TEST(html_to_text)
{
    static const struct {
        const char *in, *want;
    } t[] = {
        { "plain", "plain" },
        { "<p>one</p><p>two</p>", "one\ntwo" },
        { "a<br>b<BR/>c", "a\nb\nc" },
        { "a  \r\n\t b", "a b" },
        { "<b>bo</b>ld", "bold" },
        { "<td>a</td><td>b</td>", "a b" },
        { "<style>p { x: 'y' }</style>text", "text" },
        { "<STYLE type=\"a>b\">x</style foo>text", "text" },
        { "<script>if (a < b) x(\"</p>\");</script>text", "text" },
        { "<script>never ended", "" },
        { "<head><title>t</title></head><body>b", "b" },
        { "a<!-- <p>x</p> -->b", "ab" },
        { "a<!-->b", "ab" },
        { "a<!-- never ended", "a" },
        { "<!DOCTYPE html><?xml x?>a", "a" },
        { "<a href=\"x>y\">link</a>", "link" },
        { "<a href='x>y'>link</a>", "link" },
        { "<a title=don't>link</a>", "link" },
        { "<a \"odd>link</a>", "link" },
        { "1 < 2 > 0", "1 < 2 > 0" },
        { "<", "<" },
        { "</", "</" },
        { "a<b", "a" },
        { "&lt;&amp;&gt;&quot;&apos;", "<&>\"'" },
        { "&Uuml;ber &euro;5 &hellip;", "\xc3\x9c"
                                        "ber \xe2\x82\xac"
                                        "5 \xe2\x80\xa6" },
        { "&#65;&#x42;&#X43;", "ABC" },
        { "&#150;", "\xe2\x80\x93" },
        { "&#0;&#xd800;&#1114112;&#99999999999999;", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf"
                                                     "\xbd" },
        { "&; &# &#x; &nosuch; a&copy=b", "&; &# &#x; &nosuch; a&copy=b" },
        { "a&nbsp;&nbsp;b\xc2\xa0", "a b" },
        { "x&zwnj;&nbsp;&zwnj;&nbsp;&shy;", "x\xe2\x80\x8c" },
        { "so\xc2\xad"
          "ft",
          "soft" },
        { "bad \xff octet", "bad \xef\xbf\xbd octet" },
        { "<p></p><p></p>a<p></p>", "a" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].in);
        mime_html_to_text(sl_z(t[i].in), 0, &out);
        check_buf(&out, t[i].want);
    }
}

TEST(html_stops_at_its_bound)
{
    struct buf out = { 0 };

    buf_addz(&out, "0123456789");
    mime_html_to_text(SL("<p>abc<p>def<p>ghi"), 5, &out);
    check_buf(&out, "0123456789abc\nd");
}

TEST(html_charset)
{
    static const struct {
        const char *in, *want;
    } t[] = {
        { "<meta charset=\"iso-8859-1\">", "iso-8859-1" },
        { "<meta charset=utf-8>", "utf-8" },
        { "<meta http-equiv=x content=\"text/html; charset=koi8-r\">", "koi8-r" },
        { "<p>charset is a word</p><meta CHARSET = x>", "x" },
        { "<p>nothing", "" },
        { "charset=", "" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct slice s = mime_html_charset(sl_z(t[i].in));

        TEST_ROW("%s", t[i].in);
        CHECK(sl_eqz(s, t[i].want));
    }
}

/* Characters that iconv holds back, since another may join them. */
TEST(charsets_to_the_last_character)
{
    static const struct {
        const char *charset, *in, *want;
    } t[] = { { "windows-1255", "\xe0", "\xd7\x90" },
              { "windows-1258", "ba", "ba" },
              { "tcvn5712-1", "a", "a" },
              { "iso-2022-jp", "\x1b$B$\"\x1b(B", "\xe3\x81\x82" },
              { "UTF8", "\xf4\xab\xab\xab", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
              { "utf-7", "+ImIDkQ-.", "\xe2\x89\xa2\xce\x91." } };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].charset);
        CHECK_EQ_INT(mime_to_utf8(sl_z(t[i].charset), sl_z(t[i].in), &out), 0);
        check_buf(&out, t[i].want);
    }
}

/* Each is told by its own mark, whatever came before it on this thread. */
TEST(byte_order_marks)
{
    static const struct {
        const char *charset;
        struct slice octets;
    } t[] = {
        { "utf-16", { "\xfe\xff\0x\0y", 6 } },
        { "utf-16", { "\xff\xfex\0y\0", 6 } },
        { "UTF-16", { "\xfe\xff\0x\0y", 6 } },
        { "utf-32", { "\0\0\xfe\xff\0\0\0x\0\0\0y", 12 } },
        { "utf-32", { "\xff\xfe\0\0x\0\0\0y\0\0\0", 12 } },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%zu", i);
        CHECK_EQ_INT(mime_to_utf8(sl_z(t[i].charset), t[i].octets, &out), 0);
        CHECK_EQ_STR(buf_z(&out), "xy");
        buf_free(&out);
    }
}

#define ALTERNATIVE(plain, html)                                                                   \
    "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n" plain                     \
    "\r\n--b\r\nContent-Type: text/html\r\n\r\n" html "\r\n--b--\r\n"

TEST(preview)
{
    static const struct {
        const char *in, *want;
    } t[] = {
        { "Subject: x\r\n\r\nHello\r\n  there,\tyou.\r\n", "Hello there, you." },
        { "\r\n", "" },
        { "Subject: no body at all", "" },
        { "\r\n> quoted\r\nanswer\r\n> more\r\n", "answer" },
        { "\r\n> only\r\n> quoted\r\n", "> only > quoted" },
        { "\r\ntext\r\n-- \r\nsignature\r\n", "text" },
        { "Content-Type: text/html\r\n\r\n<style>x</style><p>Hi &amp; bye<p>z", "Hi & bye z" },
        { "Content-Type: text/html\r\n\r\n<meta charset=iso-8859-1>caf\xe9", "caf\xc3\xa9" },
        { "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
          "quoted-printable\r\n\r\ncaf=E9 =\r\nbar\r\n",
          "caf\xc3\xa9 bar" },
        { "Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8=\r\n", "Hello" },
        { ALTERNATIVE("plain", "<p>html"), "plain" },
        { ALTERNATIVE("  ", "<p>html"), "html" },
        { "Content-Type: image/png\r\n\r\nxx", "" },
        { "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: "
          "attachment\r\n\r\nfile\r\n--b\r\n\r\nbody\r\n--b--\r\n",
          "body" },
        { "\r\nnul\0octet", "nul" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct arena mem = { 0 };
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].in);
        mime_preview(mime_parse(sl_z(t[i].in), &mem), &out);
        check_buf(&out, t[i].want);
        arena_free(&mem);
    }
}

/* A long body is decoded from its front on, as far as it takes: what is told is that of the whole. */
TEST(preview_of_a_long_body)
{
    static const struct { /* the filling many times, then much of the text */
        const char *head, *fill, *text;
        size_t n;
        const char *want;
    } t[] = {
        { "", "> quoted line\r\n", "answer ", 500, "answer answer " },
        { "", "   \r\n", "\xc3\xa9t\xc3\xa9 ", 3000, "\xc3\xa9t\xc3\xa9 \xc3\xa9" },
        { "", "> quoted\r\nshort\r\n-- \r\n", "signature\r\n", 100, "short" },
        { "Content-Type: text/html; charset=utf-8\r\n", "<p class=\"long and longer\"></p>",
          "seen ", 500, "seen seen" },
        { "Content-Type: text/html; charset=utf-8\r\n", "<!-- not seen -->", "<b>seen</b> ", 5000,
          "seen seen" },
        { "Content-Type: text/html\r\n", "<!-- not seen -->", "caf\xc3\xa9 ", 500,
          "caf\xc3\xa9 caf" },
        { "Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; "
          "charset=utf-8\r\n",
          "=20=20=\r\n", "=C3=A9", 2000, "\xc3\xa9\xc3\xa9" },
        { "Content-Transfer-Encoding: base64\r\n", "ICAg", "YWJj", 1000, "abcabc" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf in = { 0 }, out = { 0 };
        struct arena mem = { 0 };

        TEST_ROW("%s%s", t[i].head, t[i].fill);
        buf_addz(&in, t[i].head);
        buf_addz(&in, "\r\n");
        for (size_t k = 0; k < t[i].n; k++)
            buf_addz(&in, t[i].fill);
        for (size_t k = 0; k < 5000; k++)
            buf_addz(&in, t[i].text);
        mime_preview(mime_parse(buf_slice(&in), &mem), &out);
        CHECK(sl_has_prefix(buf_slice(&out), sl_z(t[i].want)));
        buf_free(&in);
        buf_free(&out);
        arena_free(&mem);
    }
}

/* Wherever the front of a body ends, no trace of that is told. */
TEST(preview_of_a_front)
{
    for (int n = 0; n < 400; n++) {
        struct buf in = { 0 }, out = { 0 };
        struct arena mem = { 0 };

        TEST_ROW("%d blanks before", n);
        buf_addz(&in, "Content-Transfer-Encoding: quoted-printable\r\n"
                      "Content-Type: text/plain; charset=utf-8\r\n\r\n");
        for (int k = 0; k < n; k++)
            buf_addc(&in, ' ');
        for (int k = 0; k < 300; k++)
            buf_addz(&in, "=C3=A9");
        buf_addz(&in, "\r\n");
        mime_preview(mime_parse(buf_slice(&in), &mem), &out);
        CHECK_EQ_INT(out.n, 2 * MIME_PREVIEW_CHARS);
        CHECK_EQ_INT(sl_find(buf_slice(&out), SL("=")), SL_NPOS);
        CHECK_EQ_INT(sl_find(buf_slice(&out), SL("\xef\xbf\xbd")), SL_NPOS);
        buf_free(&in);
        buf_free(&out);
        arena_free(&mem);
    }
}

TEST(preview_is_bounded)
{
    struct buf in = { 0 }, out = { 0 };
    struct arena mem = { 0 };

    buf_addz(&in, "\r\n");
    for (int i = 0; i < 1000; i++)
        buf_addz(&in, "\xc3\xa9 ");
    mime_preview(mime_parse(buf_slice(&in), &mem), &out);
    CHECK_EQ_INT(out.n, 100 * 2 + 99); /* 199 characters: a blank that would be the last is none */
    buf_free(&in);
    buf_free(&out);
    arena_free(&mem);
}

TEST(base_subject)
{
    static const struct {
        const char *in, *want;
        bool is_reply;
    } t[] = {
        { "hello", "hello", false },
        { "Re: hello", "hello", true },
        { "RE:hello", "hello", true },
        { "re : hello", "hello", true },
        { "Fwd: hello", "hello", true },
        { "FW: hello", "hello", true },
        { "Re: Fwd: re: hello", "hello", true },
        { "Re[2]: hello", "hello", true },
        { "Re [2] : hello", "hello", true },
        { "[list] hello", "hello", false },
        { "[list] Re: hello", "hello", true },
        { "Re: [list] hello", "hello", true },
        { "[a] [b] Re: [c] hello", "hello", true },
        { "Re[2]: Fwd: [blob] hello (fwd)", "hello", true },
        { "hello (fwd)", "hello", true },
        { "hello (FWD) (fwd)  ", "hello", true },
        { "(fwd)", "", true },
        { "[Fwd: hello]", "hello", true },
        { "[Fwd: Re: [x] hello (fwd)]", "hello", true },
        { "[fwd: [fwd: hello]]", "hello", true },
        { "Re: [Fwd: hello] (fwd)", "hello", true },
        { "[only]", "[only]", false },
        { "[a][b]", "[b]", false },
        { "Re: [only]", "[only]", true },
        { "[a] [b] ", "[b]", false },
        { "[unended hello", "[unended hello", false },
        { "[ne[st]ed] x", "[ne[st]ed] x", false },
        { "Re:", "", true },
        { "Re: Re:", "", true },
        { "", "", false },
        { "   ", "", false },
        { "Reply: hello", "Reply: hello", false },
        { "a  b\t c", "a b c", false },
        { "folded\r\n subject", "folded subject", false },
        { "=?utf-8?Q?Re=3A?= =?utf-8?Q?_caf=C3=A9?=", "caf\xc3\xa9", true },
        { "=?iso-8859-1?Q?Re:_=5Bl=5D_caf=E9?=", "caf\xc3\xa9", true },
        { "Re: =?utf-8?B?UmU6IGhlbGxv?=", "hello", true },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].in);
        CHECK_EQ_INT(mime_base_subject(sl_z(t[i].in), &out), t[i].is_reply);
        check_buf(&out, t[i].want);
    }
    CHECK(!mime_base_subject(sl_n(NULL, 0), &(struct buf){ 0 }));
}

TEST(sort_keys)
{
    static const struct {
        const char *in, *mailbox, *name;
    } t[] = {
        { "Fred <a@b.c>", "a", "Fred" },
        { "a@b.c", "a", "a@b.c" },
        { "a@b.c (Fred F)", "a", "Fred F" },
        { "=?utf-8?Q?Andr=C3=A9?= <a@b>, c@d", "a", "Andr\xc3\xa9" },
        { "\"Last, First\" <a@b>", "a", "Last, First" },
        { "team: a@b, c@d;", "team", "team" },
        { " , , x@y", "x", "x@y" },
        { "", "", "" },
        { "<a@b>", "a", "a@b" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].in);
        mime_sort_mailbox(sl_z(t[i].in), &out);
        check_buf(&out, t[i].mailbox);
        mime_sort_name(sl_z(t[i].in), &out);
        check_buf(&out, t[i].name);
    }
}

TEST(message_ids)
{
    static const struct {
        const char *in, *want;
    } t[] = {
        { " <a@b>", "a@b|" },
        { "<a@b><c@d>\r\n <e@f>", "a@b|c@d|e@f|" },
        { "message of today <a@b> from x", "a@b|" },
        { "<a\r\n @b>", "a@b|" },
        { "<a@b", "" },
        { "<<a@b>", "a@b|" },
        { "<> <x>", "x|" },
        { "none", "" },
        { "", "" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct slice in = sl_z(t[i].in);
        struct buf id = { 0 }, all = { 0 };

        TEST_ROW("%s", t[i].in);
        while (mime_next_message_id(&in, &id)) {
            buf_adds(&all, buf_slice(&id));
            buf_addc(&all, '|');
        }
        check_buf(&all, t[i].want);
        buf_free(&id);
    }
}

TEST(a_message_id_has_a_bound)
{
    struct buf in = { 0 }, id = { 0 };
    struct slice at;

    buf_addc(&in, '<');
    for (int i = 0; i < 5000; i++)
        buf_addc(&in, 'x');
    buf_addz(&in, "> <a@b>");
    at = buf_slice(&in);
    CHECK(mime_next_message_id(&at, &id));
    CHECK_EQ_STR(buf_z(&id), "a@b");
    buf_free(&in);
    buf_free(&id);
}

TEST_MAIN()
