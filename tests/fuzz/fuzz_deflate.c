/* The inflating side of COMPRESS: any octets. In pieces, with little room and rests between, it must say what it says of the
 * whole; and what was compressed comes back. */
#include "base/deflate.h"
#include "tests/fuzz/fuzz.h"

enum { MOST_OCTETS = 1024 * 1024 };

/* Give in to i, piece octets at a time, room at a time; stops at MOST_OCTETS. */
static enum inflate_rc
take_apart(struct slice in, size_t piece, size_t room, bool rests, struct buf *plain)
{
    struct inflater *i = inflater_new();
    enum inflate_rc rc = INFLATE_OK;
    bool has_more = false;

    while (rc == INFLATE_OK && (in.n > 0 || has_more) && plain->n < MOST_OCTETS) {
        struct slice some = sl_head(in, piece);
        size_t was = some.n, before = plain->n;

        rc = inflater_run(i, &some, room, plain, &has_more);
        MUST(plain->n - before <= room);
        MUST(rc != INFLATE_OK || some.n == 0 || plain->n - before == room);
        in = sl_from(in, was - some.n);
        if (rests && !has_more)
            inflater_rest(i);
    }
    MUST(inflater_octets(i) < 64 * 1024);
    inflater_free(&i);
    return rc;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    fuzz_quiet();
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), copy;
    unsigned piece = fuzz_choice(&in), room = fuzz_choice(&in);
    struct buf whole = { 0 }, parts = { 0 }, raw = { 0 };
    enum inflate_rc rc, again;
    struct deflater *d;

    copy = fuzz_dup(in);
    rc = take_apart(copy, SIZE_MAX, 256 * 1024, false, &whole);
    again = take_apart(copy, piece % 16 + 1, room + 1, piece & 16, &parts);
    if (whole.n < MOST_OCTETS && parts.n < MOST_OCTETS) {
        MUST(rc == again);
        MUST(rc == INFLATE_BAD || sl_eq(buf_slice(&whole), buf_slice(&parts)));
    }
    buf_reset(&parts);
    d = deflater_new((int)(room % DEFLATE_LEVEL_MAX) + 1);
    deflater_add(d, sl_head(copy, copy.n / 2), false, &raw);
    if (piece & 32) { /* a rest: a new one goes on */
        deflater_free(&d);
        d = deflater_new(1);
    }
    deflater_add(d, sl_from(copy, copy.n / 2), piece & 64, &raw);
    rc = take_apart(buf_slice(&raw), piece % 16 + 1, room + 1, piece & 16, &parts);
    MUST(rc == (piece & 64 ? INFLATE_END : INFLATE_OK));
    MUST(parts.n >= MOST_OCTETS || sl_eq(buf_slice(&parts), copy));
    deflater_free(&d);
    fuzz_free(copy);
    buf_free(&whole);
    buf_free(&parts);
    buf_free(&raw);
    return 0;
}
