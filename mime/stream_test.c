#include "base/test.h"
#include "mime/stream.h"

#include <stdlib.h>

#define MULTI    "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n"
#define B64_PART "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\nX-Y: z\r\n\r\n"

static const struct {
    const char *name, *message;
    uint32_t part; /* 0: the message */
    const char *want;
    size_t n; /* of want, where it has NULs */
} cases[] = {
    { "plain", "A: b\r\n\r\nbody\r\n", 1, "body\r\n", 0 },
    { "whole, nothing to do", "A: b\r\n\r\nbody\r\n", 0, "A: b\r\n\r\nbody\r\n", 0 },
    { "base64", MULTI B64_PART "aGVs\r\nbG8=\r\n--b--\r\n", 1, "hello", 0 },
    { "base64 in two runs, with blanks", MULTI B64_PART " aGVs \r\n b G8=\r\naGk=\r\n--b--\r\n", 1,
      "hellohi", 0 },
    { "a NUL", MULTI B64_PART "AGEA\r\n--b--\r\n", 1, "\0a\0", 3 },
    { "quoted-printable",
      "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db  \r\nsoft=\r\nend= \t\r\n"
      "=\r\n\r\nlast \t",
      1, "a=b\r\nsoftend\r\nlast", 0 },
    { "unix line ends", "Content-Transfer-Encoding: quoted-printable\n\na \nb=\nc\n", 1, "a\nbc\n",
      0 },
    { "whole, headers made true", MULTI B64_PART "aGk=\r\n--b--\r\nepi\r\n", 0,
      MULTI "Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\nX-Y: z\r\n\r\n"
            "hi\r\n--b--\r\nepi\r\n",
      0 },
    { "a message in a part",
      MULTI "Content-Type: message/rfc822\r\n\r\nContent-Transfer-Encoding: base64\r\n\r\naGk=\r\n"
            "--b--\r\n",
      1, "Content-Transfer-Encoding: binary\r\n\r\nhi", 0 },
    { "unknown", "Content-Transfer-Encoding: x-rot13\r\n\r\nuryyb\r\n", 1, NULL, 0 },
    { "unknown somewhere in it",
      MULTI "Content-Transfer-Encoding: x-rot13\r\n\r\nuryyb\r\n--b--\r\n", 0, NULL, 0 },
};

static void
read_all(struct mime_stream *s, struct buf *out)
{
    while (mime_stream_next(s, out))
        ;
}

TEST(parts_and_messages)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct arena mem = { 0 };
        struct buf got = { 0 };
        struct mime_stream s;
        const struct mime_part *root = mime_parse(sl_z(cases[i].message), &mem);
        const struct mime_part *p = cases[i].part ? mime_find_part(root, &cases[i].part, 1) : root;
        size_t n = cases[i].n ? cases[i].n : cases[i].want ? strlen(cases[i].want) : 0;
        int rc = p ? mime_stream_open(&s, p, cases[i].part == 0) : -2;

        if (rc != (cases[i].want ? 0 : -1))
            FAIL("%s: %d", cases[i].name, rc);
        for (int again = 0; rc == 0 && again < 2; again++) {
            buf_reset(&got);
            read_all(&s, &got);
            if (!CHECK_EQ_MEM(buf_slice(&got).p, got.n, cases[i].want, n))
                FAIL("%s", cases[i].name);
            mime_stream_rewind(&s);
        }
        if (rc != -2)
            mime_stream_free(&s);
        buf_free(&got);
        arena_free(&mem);
    }
}

/* Longer than a piece: what is cut comes out as if it had not been. */
TEST(pieces)
{
    static const char *const lines[] = { "aGVsbG8gd29ybGQs\r\n", "bG9uZyBhbmQg=3D=\r\n", "=41 x",
                                         "    " };

    for (int how = 0; how < 4; how++) {
        struct buf message = { 0 }, got = { 0 }, want = { 0 };
        struct arena mem = { 0 };
        struct mime_part *root;
        struct mime_stream s;
        size_t pieces = 0;

        buf_addf(&message, "Content-Transfer-Encoding: %s\r\n\r\n",
                 how == 0 ? "base64" : "quoted-printable");
        for (int i = 0; i < 40000; i++)
            buf_addz(&message, lines[how]);
        buf_addz(&message, "eA==");
        root = mime_parse(buf_slice(&message), &mem);
        CHECK_EQ_INT(mime_stream_open(&s, root, false), 0);
        while (mime_stream_next(&s, &got))
            pieces++;
        CHECK(pieces > 1);
        mime_decode_body(root, &want);
        CHECK(sl_eq(buf_slice(&got), buf_slice(&want)));
        mime_stream_free(&s);
        buf_free(&message);
        buf_free(&got);
        buf_free(&want);
        arena_free(&mem);
    }
}

TEST_MAIN()
