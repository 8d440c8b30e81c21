/* Envelopes and puts of the queue: they are read from the database too, which may be damaged. */
#include "session/queue_id.h"
#include "session/queue_proto.h"
#include "tests/fuzz/fuzz.h"

static void
try_env(struct slice in)
{
    struct arena mem = { 0 };
    struct queue_env env = { 0 }, again = { 0 };
    struct buf packed = { 0 }, twice = { 0 };
    int64_t when, when_again;
    struct err e = { 0 };

    if (queue_env_unpack(in, &mem, &env, &when, &e) == 0) {
        queue_env_pack(&packed, &env, when);
        MUST(queue_env_unpack(buf_slice(&packed), &mem, &again, &when_again, &e) == 0 &&
             when == when_again);
        queue_env_pack(&twice, &again, when_again);
        MUST(sl_eq(buf_slice(&packed), buf_slice(&twice)));
    }
    buf_free(&packed);
    buf_free(&twice);
    arena_free(&mem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n));
    struct queue_wire_put put = { 0 };
    struct err e = { 0 };

    try_env(in);
    if (queue_put_unpack(in, &put, &e) == 0)
        try_env(put.env);
    fuzz_free(in);
    return 0;
}
