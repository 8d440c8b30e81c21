/* Content off the wire: what comes out is canonical and does not depend on how the octets came in pieces. */
#include "proto/smtp_data.h"
#include "tests/fuzz/fuzz.h"

static void
to_buf(void *arg, struct slice octets)
{
    buf_adds(arg, octets);
}

/* Feed in pieces of `step` octets (0: all at once). */
static bool
dot(struct slice in, bool lf_ends, size_t step, struct buf *out, size_t *left)
{
    struct smtp_data b = { .lf_ends = lf_ends };
    bool is_over = false;

    while (in.n > 0 && !is_over) {
        struct slice piece = fuzz_dup(sl_head(in, step > 0 ? step : in.n)), at = piece;

        is_over = smtp_data_dot(&b, &at, to_buf, out);
        MUST(is_over || at.n == 0);
        in = sl_from(in, piece.n - at.n);
        fuzz_free(piece);
    }
    *left = in.n;
    return is_over;
}

static void
chunks(struct slice in, size_t step, struct buf *out)
{
    struct smtp_data b = { 0 };

    while (in.n > 0) {
        struct slice piece = fuzz_dup(sl_head(in, step > 0 ? step : in.n));

        smtp_data_chunk(&b, piece, to_buf, out);
        in = sl_from(in, piece.n);
        fuzz_free(piece);
    }
    smtp_data_finish(&b, to_buf, out);
}

static void
must_be_canonical(struct slice s, bool is_whole)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\n')
            MUST(i > 0 && s.p[i - 1] == '\r');
        if (s.p[i] == '\r')
            MUST(i + 1 < s.n ? s.p[i + 1] == '\n' : !is_whole);
    }
    if (is_whole && s.n > 0)
        MUST(sl_ends(s, '\n'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    struct buf whole = { 0 }, pieces = { 0 };
    size_t left[2];
    bool over[2];

    over[0] = dot(in, choice & 1, 0, &whole, &left[0]);
    over[1] = dot(in, choice & 1, 1 + choice / 2 % 7, &pieces, &left[1]);
    MUST(over[0] == over[1] && left[0] == left[1]);
    MUST(sl_eq(buf_slice(&whole), buf_slice(&pieces)));
    must_be_canonical(buf_slice(&whole), over[0]);
    buf_reset(&whole);
    buf_reset(&pieces);
    chunks(in, 0, &whole);
    chunks(in, 1 + choice / 2 % 7, &pieces);
    MUST(sl_eq(buf_slice(&whole), buf_slice(&pieces)));
    must_be_canonical(buf_slice(&whole), true);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
