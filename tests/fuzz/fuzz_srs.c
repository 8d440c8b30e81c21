/* Recipients that look like rewritten senders, as strangers write them, and senders of any kind: what is made leads back, and
 * nothing leads anywhere that was not made with the secret. */
#include "auth/srs.h"
#include "tests/fuzz/fuzz.h"

static const struct srs ours = {
    .secrets = { SL_INIT("s3cret") }, .n_secrets = 1, .now_s = 1728000000, .days = 21, .hash = 27
};

/* 27 letters are not guessed. */
static void
try_stranger(struct slice in)
{
    struct buf out = { 0 };

    MUST(srs_reverse(&ours, in, &out) == SRS_OTHER);
    MUST(out.n == 0);
    buf_free(&out);
}

static void
try_sender(struct slice in)
{
    struct buf there = { 0 }, back = { 0 }, again = { 0 };
    struct slice local, domain;
    struct srs short_one = ours;
    size_t at = sl_rfind_char(in, '@');

    short_one.hash = SRS_HASH_MIN;
    if (srs_forward(&short_one, in, SL("fwd.test"), &there) != SRS_OK) {
        MUST(there.n == 0);
        return;
    }
    MUST(at != SL_NPOS);
    local = sl_head(in, at);
    domain = sl_from(in, at + 1);
    MUST(srs_is(buf_slice(&there)) && sl_has_suffix(buf_slice(&there), SL("@fwd.test")));
    MUST(srs_reverse(&short_one, buf_slice(&there), &back) == SRS_OK);
    if (sl_has_prefix(buf_slice(&there), SL("SRS0="))) {
        MUST(sl_eq(buf_slice(&back), in));
    } else { /* another forwarder's: to the first of them, once and for all */
        MUST(srs_is(local) && sl_has_prefix(buf_slice(&there), SL("SRS1=")));
        MUST(sl_has_prefix(buf_slice(&back), SL("SRS0")));
        MUST(srs_forward(&short_one, buf_slice(&there), SL("fwd.test"), &again) == SRS_OK);
        MUST(sl_has_prefix(buf_slice(&again), SL("SRS1=")));
    }
    MUST(there.n <= in.n + domain.n + 40);
    buf_free(&there);
    buf_free(&back);
    buf_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n));

    try_stranger(in);
    try_sender(in);
    fuzz_free(in);
    return 0;
}
