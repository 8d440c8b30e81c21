/* Binary parts as base64: the same whichever way the octets come, and the same message after decoding. */
#include "mime/mime.h"
#include "mime/unbinary.h"
#include "tests/fuzz/fuzz.h"

static void
convert(struct slice in, size_t cut, struct buf *out)
{
    struct mime_unbinary *u = mime_unbinary_new();

    for (; in.n > 0; in = sl_from(in, cut))
        mime_unbinary_add(u, sl_head(in, cut), out);
    mime_unbinary_end(u, out);
    mime_unbinary_free(&u);
}

static struct slice
without_end(struct slice s)
{
    while (sl_ends(s, '\n') || sl_ends(s, '\r'))
        s.n--;
    return s;
}

static void
must_be_same(const struct mime_part *a, const struct mime_part *b)
{
    struct buf was = { 0 }, is = { 0 };

    MUST(a->n_kids == b->n_kids && a->is_multipart == b->is_multipart);
    for (size_t i = 0; i < a->n_kids; i++)
        must_be_same(&a->kids[i], &b->kids[i]);
    if (a->n_kids > 0 || !sl_ieqz(a->encoding, "binary"))
        return;
    mime_decode_body(a, &was);
    mime_decode_body(b, &is);
    /* Where delimiters are missing at the end, the tree takes a line end off for each level. */
    MUST(a->is_multipart || sl_eq(without_end(buf_slice(&was)), without_end(buf_slice(&is))));
    buf_free(&was);
    buf_free(&is);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    size_t cut = fuzz_choice(&in) + 1;
    struct buf whole = { 0 }, pieces = { 0 };
    struct arena mem = { 0 };

    convert(in, in.n + 1, &whole);
    convert(in, cut, &pieces);
    MUST(sl_eq(buf_slice(&whole), buf_slice(&pieces)));
    if (in.n < 64 * 1024)
        must_be_same(mime_parse(in, &mem), mime_parse(buf_slice(&whole), &mem));
    arena_free(&mem);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
