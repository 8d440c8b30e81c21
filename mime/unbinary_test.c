/* mime/unbinary_test.c - tables of messages and what becomes of them, whole and cut at every octet; and that decoding gives
 * back what was there. */
#include "mime/unbinary.h"

#include "base/test.h"
#include "mime/mime.h"

#include <stdlib.h>

/* clang-format off */
#define LIT(z) { z, sizeof(z) - 1 }
/* clang-format on */

static void
convert(struct slice in, size_t cut, struct buf *out)
{
    struct mime_unbinary *u = mime_unbinary_new();

    for (size_t at = 0; at < in.n; at += cut)
        mime_unbinary_add(u, sl_head(sl_from(in, at), cut), out);
    mime_unbinary_end(u, out);
    mime_unbinary_free(&u);
}

TEST(forms)
{
    static const struct {
        struct slice in;
        const char *want;
    } t[] = {
        { LIT("Subject: x\r\n\r\nbody\r\n"), "Subject: x\r\n\r\nbody\r\n" },
        { LIT(""), "" },
        { LIT("no header end"), "no header end" },
        { LIT("Content-Transfer-Encoding: 8bit\r\n\r\na\r\n"),
          "Content-Transfer-Encoding: 8bit\r\n\r\na\r\n" },
        { LIT("A: b\r\nContent-Transfer-Encoding: binary\r\nC: d\r\n\r\na\0b"),
          "A: b\r\nContent-Transfer-Encoding: base64\r\nC: d\r\n\r\nYQBi\r\n" },
        { LIT("content-transfer-encoding:\r\n BINARY (c)\r\n\r\na\r\n"),
          "Content-Transfer-Encoding: base64\r\n\r\nYQ0K\r\n" },
        { LIT("Content-Transfer-Encoding: binary\n\na\n\r"),
          "Content-Transfer-Encoding: base64\n\nYQoN\r\n" },
        { LIT("Content-Transfer-Encoding: binary\r\n\r\n"),
          "Content-Transfer-Encoding: base64\r\n\r\n" },
        /* the line end before a delimiter is the delimiter's */
        { LIT("Content-Transfer-Encoding: binary\r\nContent-Type: multipart/mixed; "
              "boundary=b\r\n\r\n"
              "pre\r\n--b\r\nContent-Transfer-Encoding: "
              "binary\r\n\r\n\0\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\nepi\r\n"),
          "Content-Transfer-Encoding: 8bit\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
          "pre\r\n--b\r\nContent-Transfer-Encoding: "
          "base64\r\n\r\nAA0K\r\n--b\r\n\r\ntext\r\n--b--\r\nepi\r\n" },
        { LIT("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: "
              "binary\r\n\r\n--b--"),
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: "
          "base64\r\n\r\n--b--" },
        /* CR before LF, but no line end of the delimiter's */
        { LIT("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: "
              "binary\n\nab\r\r\n--b--\n"),
          "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: "
          "base64\n\nYWIN\r\n--b--\n" },
        /* a part that is all header */
        { LIT("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: "
              "binary\r\n--b--\r\n"),
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: "
          "base64\r\n--b--\r\n" },
        /* a message inside, and what is in that */
        { LIT("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
              "Subject: in\r\nContent-Transfer-Encoding: binary\r\n\r\n\1"),
          "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
          "Subject: in\r\nContent-Transfer-Encoding: base64\r\n\r\nAQ==\r\n" },
        { LIT("Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n"
              "Content-Transfer-Encoding: binary\r\n\r\n\1\r\n--b--\r\n"),
          "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: in\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\nAQ==\r\n--b--\r\n" },
        /* an outer delimiter ends inner parts */
        { LIT("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: "
              "multipart/mixed; boundary=i\r\n\r\n"
              "--i\r\nContent-Transfer-Encoding: "
              "binary\r\n\r\nx\r\n--o\r\n\r\n--i\r\n\r\nContent-Transfer-Encoding: "
              "binary\r\n\r\ny\r\n--o--\r\n"),
          "Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: multipart/mixed; "
          "boundary=i\r\n\r\n"
          "--i\r\nContent-Transfer-Encoding: "
          "base64\r\n\r\neA==\r\n--o\r\n\r\n--i\r\n\r\nContent-Transfer-Encoding: "
          "binary\r\n\r\ny\r\n--o--\r\n" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
        for (size_t cut = 1; cut <= t[i].in.n + 1; cut++) {
            struct buf got = { 0 };

            convert(t[i].in, cut, &got);
            CHECK_EQ_STR(buf_z(&got), t[i].want);
            buf_free(&got);
        }
}

/* Random bodies, of lines of all lengths, between delimiters: what the tree of the result decodes to is what was there. */
TEST(decoding_gives_it_back)
{
    srand(7);
    for (int round = 0; round < 200; round++) {
        struct buf in = { 0 }, out = { 0 }, bodies[3] = { { 0 } };
        struct arena mem = { 0 };
        const struct mime_part *root;
        size_t cut = 1 + (size_t)rand() % 5000;

        buf_addz(&in, "Content-Type: multipart/mixed; boundary=\"-x\"\r\n\r\n");
        for (int k = 0; k < 3; k++) {
            static const char alphabet[] = "\r\n-x\0a";
            size_t n = (size_t)rand() % (round % 2 ? 40 : 6000);

            for (size_t i = 0; i < n; i++)
                buf_addc(&bodies[k],
                         rand() % 50 == 0 || n < 40 ? alphabet[rand() % 6] : (char)rand());
            if (sl_find(buf_slice(&bodies[k]), SL("---x")) != SL_NPOS)
                buf_reset(&bodies[k]);
            buf_addz(&in, "---x\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\n");
            buf_adds(&in, buf_slice(&bodies[k]));
            buf_addz(&in, "\r\n");
        }
        buf_addz(&in, "---x--\r\n");
        convert(buf_slice(&in), cut, &out);
        CHECK(sl_find_char(buf_slice(&out), '\0') == SL_NPOS);
        root = mime_parse(buf_slice(&out), &mem);
        CHECK_EQ_INT(root->n_kids, 3);
        for (size_t k = 0; k < 3 && k < root->n_kids; k++) {
            struct buf got = { 0 };

            mime_decode_body(&root->kids[k], &got);
            CHECK(sl_eq(buf_slice(&got), buf_slice(&bodies[k])));
            buf_free(&got);
        }
        arena_free(&mem);
        buf_free(&in);
        buf_free(&out);
        for (int k = 0; k < 3; k++)
            buf_free(&bodies[k]);
    }
}

/* A header without end, and a line without end, hold no more than a bound. */
TEST(bounds)
{
    struct mime_unbinary *u = mime_unbinary_new();
    struct buf out = { 0 }, block = { 0 };
    size_t in = 0, got = 0;

    for (int i = 0; i < 1000; i++)
        buf_addz(&block, "X-A: b\r\n");
    for (int i = 0; i < 100; i++) {
        mime_unbinary_add(u, buf_slice(&block), &out);
        in += block.n;
        got += out.n;
        buf_reset(&out);
        CHECK(in - got <= 256 * 1024 + block.n + 1024);
    }
    mime_unbinary_end(u, &out);
    CHECK_EQ_INT(got + out.n, in);
    mime_unbinary_free(&u);
    buf_free(&out);
    buf_free(&block);
}

TEST_MAIN()
