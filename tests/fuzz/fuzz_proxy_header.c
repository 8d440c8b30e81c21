/* The PROXY header: the answer does not depend on how the octets came, is given as soon as it is certain, and no wait is
 * longer than the longest header. */
#include "proto/proxy_header.h"
#include "tests/fuzz/fuzz.h"

static enum parse_rc
parse(struct slice in, struct proxy_header *h, size_t *used)
{
    struct slice copy = fuzz_dup(in);
    struct err e = { 0 };
    enum parse_rc rc = proxy_header_parse(copy, h, used, &e);

    MUST((rc == PARSE_BAD) == (e.kind == ERR_CLIENT));
    fuzz_free(copy);
    return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    struct proxy_header whole, part;
    size_t used = 0, part_used = 0, k = 0;
    enum parse_rc rc = parse(in, &whole, &used), early;

    MUST(rc != PARSE_MORE || n < PROXY_HEADER_OCTETS);
    if (rc == PARSE_OK) {
        MUST(used >= 8 && used <= n && used <= PROXY_HEADER_OCTETS);
        MUST(whole.kind <= PROXY_IPV6);
    }
    do {
        early = parse(sl_head(in, k), &part, &part_used);
        k++;
    } while (early == PARSE_MORE && k <= n);
    MUST(early == rc);
    if (rc == PARSE_OK) {
        MUST(k - 1 == used && part_used == used);
        MUST(memcmp(&whole, &part, sizeof(whole)) == 0);
    }
    return 0;
}
