/* A file of maildrop/, and what sendmail(1) makes of its input and of a header's recipients. */
#include "proto/drop.h"
#include "proto/smtp_header.h"
#include "tests/fuzz/fuzz.h"

static void
on_address(void *arg, struct slice internal)
{
    size_t *n = arg;

    *n += internal.n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), at = in, octets;
    struct arena mem = { 0 };
    struct drop_seen seen = { 0 };
    struct buf again = { 0 };
    struct err e = { 0 };
    enum drop_kind kind;
    size_t octets_found = 0, whole;

    if (drop_take_magic(&at, &e) == PARSE_OK) {
        buf_addz(&again, DROP_MAGIC);
        for (whole = at.n; drop_take(&at, &kind, &octets, &e) == PARSE_OK; whole = at.n) {
            MUST(at.n < whole);
            drop_add(&again, kind, octets);
            if (drop_check(&seen, kind, octets, &e) != PARSE_OK)
                break;
        }
        MUST(!seen.is_over || seen.n_rcpts > 0);
    }
    smtp_header_addresses(in, 10240, &mem, on_address, &octets_found);
    MUST(octets_found <= 2 * in.n);
    arena_free(&mem);
    buf_free(&again);
    fuzz_free(in);
    return 0;
}
