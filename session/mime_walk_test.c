/* session/mime_walk_test.c - the walk through a body, whatever its pieces: what is told, and that nothing is lost. What real
 * messages look like beside Postfix is in tests/smtp-beside/mime-*.cases. */
#include "session/mime_walk.h"

#include "base/mem.h"
#include "base/test.h"

static struct buf told, again;

static void
on_line(void *arg, struct slice text, struct slice end, bool is_start, uint64_t offset)
{
    (void)arg;
    buf_addf(&told, "%s%u ", is_start ? "" : "+", (unsigned)offset);
    buf_addf(&told, text.n > 20 ? "(%zu)" : "", text.n);
    buf_adds(&told, sl_head(text, 20));
    buf_addz(&told, end.n ? "\n" : "/");
    buf_adds(&again, text);
    buf_adds(&again, end);
}

static void
on_field(void *arg, enum header_class class, struct slice text, bool is_cut)
{
    (void)arg;
    (void)is_cut;
    buf_addf(&told, "%s %.*s\n", class == HEADER_MIME ? "M" : "N", SL_ARG(text));
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            buf_addc(&again, '\r');
        buf_addc(&again, text.p[i]);
    }
    buf_addz(&again, "\r\n");
}

static void
on_error(void *arg, enum mime_error e, struct slice where)
{
    (void)arg;
    buf_addf(&told, "! %s: %.*s\n", mime_error_text(e), SL_ARG(sl_head(where, 30)));
}

static const struct mime_walk_ops ops = { on_line, on_field, on_error };

#define ALL   (MIME_ERROR_NESTING | MIME_ERROR_8BIT_HEADER | MIME_ERROR_8BIT_BODY | MIME_ERROR_DOMAIN)
#define MULTI "Content-Type: multipart/mixed; boundary=b"

static const struct {
    const char *name, *fields[3], *body, *want;
    unsigned errors;
    bool is_off;
} rows[] = {
    { "text", { "Subject: x" }, "\r\na\r\n\r\nb\r\n", "0 \n1 a\n3 \n4 b\n", 0, false },
    { "no empty line", { NULL }, "\r\na", "0 \n1 a/", 0, false },
    { "parts",
      { MULTI },
      "\r\npre\r\n--b\r\nA: 1\r\n 2\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\npost\r\n",
      "0 \n1 pre\n5 --b\nM A: 1\n 2\n0 \n1 x\n3 --b\n0 \n1 y\n3 --b--\n0 post\n",
      0,
      false },
    { "a part without a header's end",
      { MULTI },
      "\r\n--b\r\nA: 1\r\n--b\r\nB: 2\r\nno\r\nC: 3\r\n",
      "0 \n1 --b\nM A: 1\n0 --b\nM B: 2\n0 no\n3 C: 3\n",
      0,
      false },
    { "quoted boundary",
      { "Content-Type: multipart/x (c);\n boundary = \"a \\\" b\"" },
      "\r\n--a \" b tail\r\nA: 1\r\n\r\n",
      "0 \n1 --a \" b tail\nM A: 1\n0 \n",
      0,
      false },
    { "an empty boundary",
      { "Content-Type: multipart/x; boundary=\"\"" },
      "\r\n--x\r\nA: 1\r\n\r\n-\r\n",
      "0 \n1 --x\nM A: 1\n0 \n1 -\n",
      0,
      false },
    { "a boundary that should be quoted",
      { "Content-Type: multipart/x; boundary=b@c" },
      "\r\n--b\r\nA: 1\r\n\r\n--b@c\r\nB: 1\r\n",
      "0 \n1 --b\nM A: 1\n0 \n1 --b@c\nM B: 1\n",
      0,
      false },
    { "message",
      { "content-type: MESSAGE/RFC822" },
      "\r\nA: 1\r\n\r\nB: 2\r\n",
      "0 \nN A: 1\n0 \n1 B: 2\n",
      0,
      false },
    { "messages in messages",
      { "Content-Type: message/rfc822" },
      "\r\n" MULTI "\r\n\r\n--b\r\nContent-Type: message/global\r\n\r\nS: i\r\n\r\nx\r\n--b--\r\n",
      "0 \nN " MULTI "\n0 \n1 --b\nM Content-Type: message/global\n0 \nN S: i\n0 \n1 x\n3 --b--\n",
      0,
      false },
    { "a piece of a message",
      { "Content-Type: message/partial" },
      "\r\nA: 1\r\n",
      "0 \n1 A: 1\n",
      0,
      false },
    { "digest",
      { "Content-Type: multipart/digest; boundary=d" },
      "\r\n--d\r\n\r\nA: 1\r\n\r\nx\r\n--d--\r\n",
      "0 \n1 --d\n0 \nN A: 1\n0 \n1 x\n3 --d--\n",
      0,
      false },
    { "off", { MULTI }, "\r\n--b\r\nA: 1\r\n", "0 \n1 --b\n5 A: 1\n", ALL, true },
    { "8-bit",
      { "S: \xe4" },
      "\r\n\xe4\r\n\xe4\r\n",
      "! improper use of 8-bit data in message header: S: \xe4\n0 \n! improper use of 8-bit data "
      "in message body: \xe4\n"
      "1 \xe4\n3 \xe4\n",
      ALL,
      false },
    { "8-bit that was said",
      { "Content-Transfer-Encoding: 8bit" },
      "\r\n\xe4\r\n",
      "0 \n1 \xe4\n",
      ALL,
      false },
    { "encoded parts",
      { MULTI, "Content-Transfer-Encoding: BASE64 (c)" },
      "\r\n--b\r\n",
      "! invalid message/* or multipart/* encoding domain: base64\n0 \n1 --b\n",
      ALL,
      false },
    { "nesting",
      { MULTI, MULTI, MULTI },
      "\r\n",
      "! MIME nesting exceeds safety limit: Content-Type: multipart/mixed;\n0 \n",
      ALL,
      false },
    { "long boundary",
      { "Content-Type: multipart/x; boundary=12345678901234567890" },
      "\r\n--123456789012xx\r\nA: 1\r\n",
      "0 \n1 --123456789012xx\nM A: 1\n",
      0,
      false },
};

static void
walk(size_t row, size_t first, size_t piece)
{
    struct mime_walk_conf c = { .field_limit = 1000,
                                .nesting_limit = 0, /* and one more; only "nesting" has three */
                                .boundary_limit = 12,
                                .is_off = rows[row].is_off,
                                .errors = rows[row].errors };
    struct mime_walk *w;
    struct slice in = sl_z(rows[row].body);

    if (strcmp(rows[row].name, "nesting") != 0)
        c.nesting_limit = 5;
    w = mime_walk_new(&c, &ops, NULL);
    buf_reset(&told);
    buf_reset(&again);
    for (size_t i = 0; i < 3 && rows[row].fields[i]; i++)
        mime_walk_field(w, sl_z(rows[row].fields[i]));
    mime_walk_begin(w);
    while (in.n > 0) {
        struct slice some = sl_head(in, first ? first : piece);

        in = sl_from(in, some.n);
        first = 0;
        while (some.n > 0)
            mime_walk_take(w, &some);
    }
    mime_walk_end(w);
    mime_walk_free(&w);
}

TEST(bodies_in_any_pieces)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t n = strlen(rows[i].body);

        for (size_t piece = 1; piece <= n; piece++)
            for (int way = 0; way < 2; way++) {
                TEST_ROW("%s, %s %zu", rows[i].name, way ? "parted at" : "pieces of", piece);
                walk(i, way ? piece : 0, way ? n : piece);
                CHECK_EQ_STR(buf_z(&told), rows[i].want);
                CHECK_EQ_STR(buf_z(&again), rows[i].body);
            }
    }
    buf_free(&told);
    buf_free(&again);
}

/* Lines about as long as a piece, the delimiter behind each. */
TEST(long_lines_come_in_pieces)
{
    for (size_t len = MIME_WALK_PIECE_OCTETS - 3; len < MIME_WALK_PIECE_OCTETS + 4; len++)
        for (size_t piece = 1; piece < 5000; piece = piece * 7 + 1) {
            struct mime_walk_conf c = { .field_limit = 100,
                                        .nesting_limit = 5,
                                        .boundary_limit = 9 };
            struct mime_walk *w = mime_walk_new(&c, &ops, NULL);
            struct buf in = { 0 };
            size_t pieces;

            TEST_ROW("%zu octets, pieces of %zu", len, piece);
            buf_addz(&in, "\r\n");
            for (size_t k = 0; k < 2; k++) {
                for (size_t i = 0; i < len; i++)
                    buf_addc(&in, '-');
                buf_addz(&in, "\r\n--b\r\nA: 1\r\n\r\n");
            }
            buf_reset(&told);
            buf_reset(&again);
            mime_walk_field(w, SL(MULTI));
            mime_walk_begin(w);
            for (size_t at = 0; at < in.n; at += piece) {
                struct slice some = sl_head(sl_from(buf_slice(&in), at), piece);

                while (some.n > 0)
                    mime_walk_take(w, &some);
            }
            mime_walk_end(w);
            CHECK_EQ_MEM(again.p, again.n, in.p, in.n);
            pieces = 0;
            for (size_t i = 0; i < told.n; i++)
                pieces += buf_slice(&told).p[i] == '/';
            CHECK_EQ_INT(pieces, len > MIME_WALK_PIECE_OCTETS ? 2 : 0);
            CHECK(sl_find(buf_slice(&told), SL("M A: 1")) != SL_NPOS);
            mime_walk_free(&w);
            buf_free(&in);
        }
    buf_free(&told);
    buf_free(&again);
}

/* A delimiter with so much behind it that its line comes in pieces: what follows belongs to the line. */
TEST(a_delimiter_may_be_a_long_line)
{
    for (size_t len = MIME_WALK_PIECE_OCTETS - 4; len < 3 * MIME_WALK_PIECE_OCTETS;
         len += 1 + len / 7)
        for (int is_last = 0; is_last < 2; is_last++)
            for (size_t piece = 1; piece < 9000; piece = piece * 7 + 1) {
                struct mime_walk_conf c = { .field_limit = 100,
                                            .nesting_limit = 5,
                                            .boundary_limit = 9 };
                struct mime_walk *w = mime_walk_new(&c, &ops, NULL);
                struct buf in = { 0 };

                TEST_ROW("%zu octets, pieces of %zu%s", len, piece, is_last ? ", last" : "");
                buf_addz(&in, is_last ? "\r\n--b--" : "\r\n--b");
                for (size_t i = 0; i < len; i++)
                    buf_addc(&in, i % 10 ? 'x' : ':');
                buf_addz(&in, "\r\nA: 1\r\n B\r\n\r\nC: 2\r\n");
                buf_reset(&told);
                buf_reset(&again);
                mime_walk_field(w, SL(MULTI));
                mime_walk_begin(w);
                for (size_t at = 0; at < in.n; at += piece) {
                    struct slice some = sl_head(sl_from(buf_slice(&in), at), piece);

                    while (some.n > 0)
                        mime_walk_take(w, &some);
                }
                mime_walk_end(w);
                CHECK_EQ_MEM(again.p, again.n, in.p, in.n);
                CHECK((sl_find(buf_slice(&told), SL("M A: 1\n B\n")) != SL_NPOS) == !is_last);
                mime_walk_free(&w);
                buf_free(&in);
            }
    buf_free(&told);
    buf_free(&again);
}

TEST_MAIN()
