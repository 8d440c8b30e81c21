/* What a policy server answers: one reply after another off the front, whole and grown octet by octet. */
#include "proto/policy.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), rest = in, action;
    struct buf request = { 0 };

    for (;;) {
        struct slice before = rest, head, again;
        struct err e = { 0 };
        enum parse_rc rc = policy_take_reply(&rest, &action, &e);

        if (rc != PARSE_OK) {
            MUST(rest.p == before.p && rest.n == before.n);
            MUST((rc == PARSE_BAD) == (e.msg[0] != '\0'));
            MUST(rc == PARSE_BAD || before.n < POLICY_REPLY_OCTETS);
            break;
        }
        MUST(rest.n < before.n && before.n - rest.n <= POLICY_REPLY_OCTETS);
        MUST(memchr(action.n ? action.p : "", '\n', action.n) == NULL);
        head = sl_head(before, before.n - rest.n - 1); /* without its last octet it is no reply */
        again = head;
        MUST(policy_take_reply(&again, &action, NULL) == PARSE_MORE && again.n == head.n);
    }
    policy_add(&request, "sender", in);
    MUST(request.n == in.n + strlen("sender=\n"));
    policy_end(&request);
    buf_free(&request);
    fuzz_free(in);
    return 0;
}
