/* 8-bit mail for hosts without 8BITMIME: any message, in any pieces, gives the same; what is encoded is ASCII in short lines. */
#include "mime/downgrade.h"
#include "tests/fuzz/fuzz.h"

static void
convert(struct slice in, size_t step, struct buf *out)
{
    struct mime_downgrade *d = mime_downgrade_new();

    while (in.n > 0) {
        mime_downgrade_add(d, sl_head(in, step), out);
        in = sl_from(in, step);
    }
    mime_downgrade_end(d, out);
    mime_downgrade_free(&d);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    size_t step = 1 + fuzz_choice(&in) % 40;
    struct buf whole = { 0 }, pieces = { 0 };

    convert(in, in.n + 1, &whole);
    convert(in, step, &pieces);
    MUST(sl_eq(buf_slice(&whole), buf_slice(&pieces)));
    MUST(whole.n <= 4 * in.n + 200 * (in.n / 8 + 1));
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
