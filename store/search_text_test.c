/* store/search_text_test.c - a text in one message: charsets, encodings, HTML, line ends. */
#include "store/search_text.h"

#include "base/mem.h"
#include "base/test.h"

#define HEAD    "Subject: s\n"
#define TYPE(t) "MIME-Version: 1.0\nContent-Type: " t "\n"
#define ENC(e)  "Content-Transfer-Encoding: " e "\n"

/* clang-format off */
static const struct {
    const char *name, *message, *needle;
    bool in_body, in_text;
} rows[] = {
    { "plain", HEAD "\nHello World\n", "lO wOR", true, true },
    { "not there", HEAD "\nHello World\n", "hello  world", false, false },
    { "field name", HEAD "\nx\n", "subject: s", false, true },
    { "field written without a blank", "Subject:s\n\nx\n", "subject: s", false, true },
    { "field, folded", "Subject: a\n b\n\nx\n", "a b", false, true },
    { "field, encoded", "Subject: =?utf-8?q?=C3=A9t=C3=A9?=\n\nx\n", "\xC3\x89T\xC3\x89", false, true },
    { "field, raw UTF-8", "Subject: \xC3\xA9t\xC3\xA9\n\nx\n", "\xC3\x89T\xC3\x89", false, true },
    { "what begins like an encoded word", "Subject: a=?b\n\nx\n", "a=?B", false, true },
    { "line end, LF in the file", HEAD "\none\ntwo\n", "ONE\r\ntwo", true, true },
    { "line end, CRLF in the file", HEAD "\r\none\r\ntwo\r\n", "one\ntwo", true, true },
    { "line end that is not there", HEAD "\none two\n", "one\r\ntwo", false, false },
    { "8bit without a charset", HEAD "\ncaf\xC3\xA9\n", "CAF\xC3\x89", true, true },
    { "the letter below the accent", HEAD "\ncaf\xC3\xA9\n", "cafe", true, true },
    { "accents are not taken off", HEAD "\nr\xC3\xA9sum\xC3\xA9\n", "resume", false, false },
    { "full width needle, ASCII text", HEAD "\nabc\n", "\xEF\xBC\xA1\xEF\xBC\xA2", true, true },
    { "Latin-1, all ASCII", HEAD TYPE("text/plain; charset=iso-8859-1") "\nabc\n", "BC", true, true },
    { "Latin-1", HEAD TYPE("text/plain; charset=iso-8859-1") "\n\xFC" "ber\n", "\xC3\x9C" "BER", true, true },
    { "KOI8-R, base64", HEAD TYPE("text/plain; charset=koi8-r") ENC("base64") "\n8NLJ18XU\n",
      "\xD0\x9F\xD0\xA0\xD0\x98\xD0\x92\xD0\x95\xD0\xA2", true, true },
    { "UTF-16: ASCII octets are none", HEAD TYPE("text/plain; charset=utf-16be") ENC("base64") "\nAGEAYgBj\n", "abc", true, true },
    { "UTF-16: what its octets look like", HEAD TYPE("text/plain; charset=utf-16be") ENC("base64") "\nYWJjZA==\n", "abcd", false, false },
    { "ISO-2022-JP", HEAD TYPE("text/plain; charset=iso-2022-jp") "\n\033$BF|K\\\033(B\n", "\xE6\x97\xA5\xE6\x9C\xAC", true, true },
    { "ISO-2022-JP: what its octets look like", HEAD TYPE("text/plain; charset=iso-2022-jp") "\n\033$BF|K\\\033(B\n", "F|K", false, false },
    { "charset nobody knows", HEAD TYPE("text/plain; charset=x-none") "\nabc\n", "ABC", true, true },
    { "quoted-printable, soft line end", HEAD TYPE("text/plain") ENC("quoted-printable") "\none=\ntwo\n", "onetwo", true, true },
    { "quoted-printable is not its octets", HEAD TYPE("text/plain") ENC("quoted-printable") "\na=3Db\n", "3Db", false, false },
    { "base64 is not its octets", HEAD TYPE("text/plain") ENC("base64") "\nYWJj\n", "YWJj", false, false },
    { "HTML: a word with a tag in it", HEAD TYPE("text/html") "\n<p>w<b>or</b>d</p>\n", "WORD", true, true },
    { "HTML: character references", HEAD TYPE("text/html") "\nf&uuml;r &#x3c;b&gt;\n", "f\xC3\xBCr <b>", true, true },
    { "HTML: attributes", HEAD TYPE("text/html") "\n<a href=\"secret\">x</a>\n", "secret", false, false },
    { "HTML: comments", HEAD TYPE("text/html") "\n<!-- secret -->x\n", "secret", false, false },
    { "a binary part", HEAD TYPE("application/pdf; name=\"report.pdf\"") "\nsecret\n", "secret", false, false },
    { "its name", HEAD TYPE("application/pdf; name=\"report.pdf\"") "\nsecret\n", "report", false, true },
    { "parts", HEAD TYPE("multipart/mixed; boundary=b") "\npre\n--b\n\none\n--b\n" TYPE("text/x-y") "\ntwo\n--b--\npost\n", "two", true, true },
    { "before the parts", HEAD TYPE("multipart/mixed; boundary=b") "\npre\n--b\n\none\n--b--\npost\n", "pre", false, false },
    { "headers of parts", HEAD TYPE("multipart/mixed; boundary=b") "\n--b\nContent-Description: secret\n\none\n--b--\n", "secret", false, true },
    { "an attached message's header", HEAD TYPE("message/rfc822") "\nSubject: inner\n\nbody\n", "inner", true, true },
    { "an attached message's text", HEAD TYPE("message/rfc822") "\nSubject: inner\n\nbody\n", "body", true, true },
    { "no body", HEAD, "x", false, false },
    { "empty message", "", "x", false, false },
    { "empty needle", "", "", true, true },
};
/* clang-format on */

static void
look(const char *message, struct search_key *keys, size_t n)
{
    struct search_scratch s = { 0 };
    struct arena mem = { 0 };
    struct slice m = sl_z(message);

    search_header_keys(&s, mime_header_of(m), keys, n);
    search_body_keys(&s, mime_parse(m, &mem), keys, n);
    search_scratch_free(&s);
    arena_free(&mem);
}

TEST(messages)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena mem = { 0 };
        struct search_key body = { 0 }, text = { .in_headers = true };

        TEST_ROW("%s", rows[i].name);
        needle_init(&body.needle, sl_z(rows[i].needle), &mem);
        text.needle = body.needle;
        look(rows[i].message, &body, 1);
        look(rows[i].message, &text, 1);
        CHECK_EQ_INT(body.is_found, rows[i].in_body);
        CHECK_EQ_INT(text.is_found, rows[i].in_text);
        arena_free(&mem);
    }
}

/* All needles in each message: none is in another's way. */
TEST(many_keys)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct search_key keys[2 * COUNT_OF(rows)] = { 0 };
        struct arena mem = { 0 };

        TEST_ROW("%s", rows[i].name);
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            needle_init(&keys[k].needle, sl_z(rows[k / 2].needle), &mem);
            keys[k].in_headers = k % 2;
        }
        look(rows[i].message, keys, COUNT_OF(keys));
        CHECK_EQ_INT(keys[2 * i].is_found, rows[i].in_body);
        CHECK_EQ_INT(keys[2 * i + 1].is_found, rows[i].in_text);
        for (size_t k = 0; k < COUNT_OF(keys); k++) {
            struct search_key alone = { .needle = keys[k].needle,
                                        .in_headers = keys[k].in_headers };

            look(rows[i].message, &alone, 1);
            CHECK_EQ_INT(keys[k].is_found, alone.is_found);
        }
        arena_free(&mem);
    }
}

TEST(fields)
{
    static const struct {
        const char *header, *name, *needle;
        bool want;
    } fields[] = {
        { "To: a@b\nto: c@d\n\n", "TO", "C@D", true },
        { "To: a@b\nto: c@d\n\n", "TO", "to:", false },
        { "To: <a (who)@ (where) b>\n\n", "to", "a@b", true },
        { "To: \"x\\.y\"@b\n\n", "to", "x.y@b", true },
        { "To: \"J. Doe\" <a@b>\n\n", "to", "j. doe <a@b>", true },
        { "To: <a (who)@ (where) b>\n\n", "to", "who", true },
        { "Subject: <a (who)@ (where) b>\n\n", "subject", "a@b", false },
        { "X: 1\n\n", "Y", "", false },
        { "X:\n\n", "x", "", true },
        { "X: two\n  lines\n\n", "x", "two  lines", true },
        { "X: =?iso-8859-1?q?M=FCller?= x\n\n", "x", "M\xC3\xBCLLER X", true },
    };

    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct search_scratch s = { 0 };
        struct arena mem = { 0 };
        struct needle n;

        TEST_ROW("%zu", i);
        needle_init(&n, sl_z(fields[i].needle), &mem);
        CHECK_EQ_INT(search_field_has(&s, sl_z(fields[i].header), sl_z(fields[i].name), &n),
                     fields[i].want);
        search_scratch_free(&s);
        arena_free(&mem);
    }
}

TEST_MAIN()
