/* mime/downgrade_test.c - against tables here; tests/check/t_8bit_out.py asks Python's email, too. */
#include "mime/downgrade.h"

#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

#define CTE_QP "Content-Transfer-Encoding: quoted-printable\r\n"

static const struct {
    const char *name, *in, *want; /* want NULL: unchanged */
} rows[] = {
    { "empty", "", NULL },
    { "ascii, no MIME", "Subject: a\r\n\r\nhi\r\n", NULL },
    { "says 8bit",
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
      "8bit\r\nSubject: x\r\n\r\nd\xc3\xa9j\xc3\xa0 = x\r\n",
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nSubject: x\r\n" CTE_QP
      "\r\nd=C3=A9j=C3=A0 =3D x\r\n" },
    { "folded field, comment, upper case",
      "Content-Transfer-Encoding:\r\n (really) 8BIT\r\n\r\n\xe9\r\n", CTE_QP "\r\n=E9\r\n" },
    { "binary", "Content-Transfer-Encoding: binary\n\n\xff\n",
      "Content-Transfer-Encoding: quoted-printable\n\n=FF\n" },
    { "says 7bit: left alone", "Content-Transfer-Encoding: 7bit\r\n\r\n\xe9\r\n", NULL },
    { "says base64: left alone", "Content-Transfer-Encoding: base64\r\n\r\n4pyT\r\n", NULL },
    { "no MIME, 8-bit", "Subject: a\r\n\r\none\r\ntwo \xe9\r\nthree \r\n",
      "Subject: a\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" CTE_QP
      "\r\none\r\ntwo =E9\r\nthree=20\r\n" },
    { "a type, no version", "Content-Type: text/html; charset=utf-8\r\n\r\n\xe9\r\n",
      "Content-Type: text/html; charset=utf-8\r\nMIME-Version: 1.0\r\n" CTE_QP "\r\n=E9\r\n" },
    { "no header", "\r\n\xe9",
      "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" CTE_QP "\r\n=E9" },
    { "8-bit in a header field is left alone", "Subject: \xe9\r\n\r\nhi\r\n", NULL },
    { "multipart",
      "Content-Type: multipart/mixed; boundary=\"b;1\"\r\nContent-Transfer-Encoding: "
      "8bit\r\n\r\npre \xe9\r\n--b;1\r\n\r\nplain\r\n--b;1\r\nContent-Transfer-Encoding: "
      "8bit\r\n\r\n\xe9\r\n--b;1--\r\npost\r\n",
      "Content-Type: multipart/mixed; boundary=\"b;1\"\r\nContent-Transfer-Encoding: "
      "7bit\r\n\r\npre \xe9\r\n--b;1\r\n\r\nplain\r\n--b;1\r\n" CTE_QP
      "\r\n=E9\r\n--b;1--\r\npost\r\n" },
    { "a part that says nothing",
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: "
      "text/plain\r\n\r\n\xe9\r\n--b--\r\n",
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n" CTE_QP
      "\r\n=E9\r\n--b--\r\n" },
    { "nested, the outer ends without the inner",
      "Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: "
      "multipart/alternative; boundary=in\r\n\r\n--in\r\nContent-Transfer-Encoding: "
      "8bit\r\n\r\n\xe9\r\n--out\r\nContent-Transfer-Encoding: "
      "8bit\r\n\r\n\xe8\r\n--in\r\n--out--\r\n",
      "Content-Type: multipart/mixed; boundary=out\r\n\r\n--out\r\nContent-Type: "
      "multipart/alternative; boundary=in\r\n\r\n--in\r\n" CTE_QP "\r\n=E9\r\n--out\r\n" CTE_QP
      "\r\n=E8\r\n--in\r\n--out--\r\n" },
    { "message/rfc822",
      "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: "
      "in\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe9\r\n",
      "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: "
      "in\r\n" CTE_QP "\r\n=E9\r\n" },
    { "digest: parts are messages",
      "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nContent-Transfer-Encoding: "
      "8bit\r\n\r\n\xe9\r\n--b--\r\n",
      "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\n" CTE_QP
      "\r\n=E9\r\n--b--\r\n" },
    { "message/delivery-status is never encoded",
      "Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\nStatus: "
      "\xe9\r\n",
      "Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n\r\nStatus: "
      "\xe9\r\n" },
    { "blanks at ends of lines, tabs, controls, bare CR",
      "Content-Transfer-Encoding: 8bit\r\n\r\na \r\n\t\r\n b\x01\r\nc\rd\r\n e ",
      CTE_QP "\r\na=20\r\n=09\r\n b=01\r\nc=0Dd\r\n e=20" },
    { "the header ends in a line that is no field",
      "Content-Transfer-Encoding: 8bit\r\nno field\r\n\xe9\r\n", CTE_QP "\r\nno field\r\n=E9\r\n" },
    { "multipart, its type the last field",
      "Content-Transfer-Encoding: 8bit\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n"
      "--b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe9\r\n--b--\r\n",
      "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 7bit\r\n\r\npre\r\n"
      "--b\r\n" CTE_QP "\r\n=E9\r\n--b--\r\n" },
    { "message/rfc822, its type the last field",
      "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\nSubject: a\r\n\r\n\xe9\r\n",
      "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\nSubject: a\r\n" CTE_QP
      "\r\n=E9\r\n" },
    { "message/rfc822 in base64, which the last field says",
      "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: "
      "base64\r\n\r\nContent-Transfer-Encoding: 8bit\r\n\r\nQUJD\r\n",
      NULL },
    { "the header ends in a line that is no field, then comes 8-bit",
      "MIME-Version: 1.0\r\nno field\r\n\r\n\xe9\r\n",
      "MIME-Version: 1.0\r\n" CTE_QP "\r\nno field\r\n\r\n=E9\r\n" },
    { "a delimiter inside a header",
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n--b--\r\n", NULL },
};

static void
feed(const char *name, struct slice in, size_t step, struct slice want)
{
    struct mime_downgrade *d = mime_downgrade_new();
    struct buf out = { 0 };

    TEST_ROW("%s, %zu at a time", name, step);
    for (size_t at = 0; at < in.n; at += step)
        mime_downgrade_add(d, sl_head(sl_from(in, at), step), &out);
    mime_downgrade_end(d, &out);
    mime_downgrade_free(&d);
    if (!sl_eq(buf_slice(&out), want))
        FAIL("got '%.*s', wanted '%.*s'", SL_ARG(buf_slice(&out)), SL_ARG(want));
    buf_free(&out);
}

TEST(converts)
{
    static const size_t steps[] = { 100000, 1, 2, 7 };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t k = 0; k < COUNT_OF(steps); k++)
            feed(rows[i].name, sl_z(rows[i].in), steps[k],
                 sl_z(rows[i].want ? rows[i].want : rows[i].in));
}

/* No line of more than 76, whatever the input's; soft breaks only. */
TEST(breaks_long_lines)
{
    struct buf in = { 0 }, out = { 0 }, back = { 0 };
    struct mime_downgrade *d = mime_downgrade_new();
    struct slice rest, line;

    buf_addz(&in, "Content-Transfer-Encoding: 8bit\r\n\r\n");
    for (unsigned i = 0; i < 20000; i++)
        buf_addc(&in, (char)(i % 251 < 9                          ? ' '
                             : i % 251 == '\n' || i % 251 == '\r' ? 'x'
                                                                  : i % 251));
    buf_addz(&in, "\r\n.\r\n");
    for (size_t at = 0; at < in.n; at += 5000)
        mime_downgrade_add(d, sl_head(sl_from(buf_slice(&in), at), 5000), &out);
    mime_downgrade_end(d, &out);
    mime_downgrade_free(&d);
    rest = buf_slice(&out);
    while (sl_take_until(&rest, '\n', &line)) {
        if (line.n > 77)
            FAIL("a line of %zu octets", line.n);
        for (size_t i = 0; i < line.n; i++)
            if ((unsigned char)line.p[i] >= 0x80)
                FAIL("octet %02x", (unsigned char)line.p[i]);
        if (sl_has_prefix(line, SL("Content-")) || line.n == 1)
            continue;
        for (size_t i = 0; i + 1 < line.n; i++) {
            if (line.p[i] == '=' && i + 2 < line.n) {
                char hex[3] = { line.p[i + 1], line.p[i + 2], 0 };

                buf_addc(&back, (char)strtoul(hex, NULL, 16));
                i += 2;
            } else if (line.p[i] != '=') {
                buf_addc(&back, line.p[i]);
            }
        }
    }
    CHECK_EQ_INT(back.n, 20001);
    CHECK(memcmp(buf_slice(&back).p, buf_slice(&in).p + in.n - 20005, 20000) == 0);
    buf_free(&in);
    buf_free(&out);
    buf_free(&back);
}

/* Neither a field, nor a line, nor what says nothing, nor nesting makes it hold more than it may. */
TEST(is_bounded)
{
    static const char *const begins[] = { "X: ", "Subject: a\r\n\r\n", "", "Content-Type: " };

    for (size_t i = 0; i < COUNT_OF(begins); i++) {
        struct mime_downgrade *d = mime_downgrade_new();
        struct buf out = { 0 };
        size_t in = strlen(begins[i]);

        TEST_ROW("%s", begins[i]);
        mime_downgrade_add(d, sl_z(begins[i]), &out);
        for (unsigned k = 0; k < 1000; k++) {
            char piece[1000];

            memset(piece, 'a', sizeof piece);
            if (k % 7 == 0 && i == 1)
                piece[999] = '\n';
            mime_downgrade_add(d, sl_n(piece, sizeof piece), &out);
            in += sizeof piece;
            if (in - out.n > 80 * 1024)
                FAIL("holds %zu octets", in - out.n);
        }
        mime_downgrade_end(d, &out);
        CHECK_EQ_INT(out.n, in);
        mime_downgrade_free(&d);
        buf_free(&out);
    }
    {
        struct mime_downgrade *d = mime_downgrade_new();
        struct buf in = { 0 }, out = { 0 };

        for (unsigned k = 0; k < 300; k++)
            buf_addf(&in, "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n", k, k);
        mime_downgrade_add(d, buf_slice(&in), &out);
        mime_downgrade_end(d, &out);
        CHECK(sl_eq(buf_slice(&in), buf_slice(&out)));
        mime_downgrade_free(&d);
        buf_free(&in);
        buf_free(&out);
    }
}

TEST_MAIN()
