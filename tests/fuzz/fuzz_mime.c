/* Whole messages: the tree, what IMAP tells of it (which must be IMAP), decoding. */
#include "mime/mime.h"
#include "proto/imap.h"
#include "tests/fuzz/fuzz.h"

/* Lists, strings, NIL and numbers, as deep as the message's parts allow. */
static void
must_be_imap(struct slice in, size_t depth_max)
{
    struct arena mem = { 0 };
    size_t depth = 0;

    while (in.n > 0) {
        struct slice s;
        uint64_t number;
        struct err e;

        if (sl_take_char(&in, '(')) {
            MUST(++depth <= depth_max);
        } else if (sl_take_char(&in, ')')) {
            MUST(depth-- > 0);
        } else if (sl_take_char(&in, ' ')) {
            MUST(in.n > 0 && in.p[0] != ')' && in.p[0] != ' ');
        } else if (imap_take_nstring(&in, &mem, &s, &e) != PARSE_OK) {
            MUST(imap_take_number(&in, UINT64_MAX, &number, &e) == PARSE_OK);
        }
    }
    MUST(depth == 0);
    arena_free(&mem);
}

static void
walk(const struct mime_part *p, struct slice message, unsigned depth)
{
    struct buf out = { 0 };

    MUST(depth <= MIME_DEPTH_MAX);
    MUST(p->header.n == 0 ||
         (p->header.p >= message.p && p->header.p + p->header.n <= message.p + message.n));
    MUST(p->body.n == 0 ||
         (p->body.p >= message.p && p->body.p + p->body.n <= message.p + message.n));
    mime_decode_body(p, &out);
    buf_reset(&out);
    mime_decode_text(p, &out);
    buf_free(&out);
    for (size_t i = 0; i < p->n_kids; i++)
        walk(&p->kids[i], message, depth + 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), message;
    uint32_t number[2] = { 1 + (n > 0 ? data[0] % 3 : 0), 1 };
    struct arena mem = { 0 };
    struct buf out = { 0 };
    struct mime_part *root;

    message = fuzz_dup(in);
    root = mime_parse(message, &mem);
    walk(root, message, 0);
    mime_find_part(root, number, 2);
    mime_bodystructure(root, true, &out);
    must_be_imap(buf_slice(&out), 10 * MIME_DEPTH_MAX);
    buf_reset(&out);
    mime_bodystructure(root, false, &out);
    must_be_imap(buf_slice(&out), 10 * MIME_DEPTH_MAX);
    buf_reset(&out);
    mime_envelope(root->header, &out);
    must_be_imap(buf_slice(&out), 4);
    buf_free(&out);
    arena_free(&mem);
    fuzz_free(message);
    return 0;
}
