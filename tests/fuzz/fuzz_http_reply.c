/* An HTTP server's answer: whole and octet by octet it must be the same. */
#include "oauth/http_reply.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice all = fuzz_dup(sl_n((const char *)data, n)), rest = all;
    struct http_reply whole = { 0 }, slow = { 0 };
    struct err e = { 0 }, e2 = { 0 };
    enum parse_rc rc = http_reply_feed(&whole, &rest, &e), rc2 = PARSE_MORE;
    size_t at = 0;

    while (rc2 == PARSE_MORE && at < all.n) {
        struct slice one = sl_n(all.p + at, 1);

        rc2 = http_reply_feed(&slow, &one, &e2);
        at += 1 - one.n;
        MUST(rc2 != PARSE_MORE || one.n == 0);
    }
    MUST(rc == rc2);
    MUST((rc == PARSE_BAD) == (e.msg[0] != '\0'));
    MUST(whole.body.n <= HTTP_BODY_OCTETS && whole.head_octets <= HTTP_HEAD_OCTETS + n);
    if (rc == PARSE_OK) {
        MUST(all.n - rest.n == at);
        MUST(whole.status >= 200 && whole.status <= 599 && whole.status == slow.status);
        MUST(sl_eq(buf_slice(&whole.body), buf_slice(&slow.body)));
    } else if (rc == PARSE_MORE) {
        MUST(rest.n == 0);
        MUST(http_reply_end(&whole, &e) == http_reply_end(&slow, &e2));
    }
    http_reply_free(&whole);
    http_reply_free(&slow);
    fuzz_free(all);
    return 0;
}
