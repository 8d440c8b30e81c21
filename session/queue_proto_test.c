/* session/queue_proto_test.c - envelopes on the wire and in queue.db. */
#include "session/queue_proto.h"

#include "base/mem.h"
#include "base/test.h"
#include "session/queue_id.h"

static void
fill(struct queue_env *env, struct queue_rcpt to[2])
{
    to[0] = (struct queue_rcpt){ .addr = SL("a@x"), .orig = SL("b@y"), .notify = NOTIFY_FAILURE };
    to[1] = (struct queue_rcpt){ .addr = SL("c@x"), .orig = SL("c@x"), .orcpt = SL("rfc822;c@z") };
    *env = (struct queue_env){ .sender = SL("s@y"),
                               .rcpts = to,
                               .n_rcpts = 2,
                               .ret = RET_HDRS,
                               .is_utf8 = true,
                               .protocol = SL("ESMTP") };
    queue_id_format(1732290000123456, 7, 5, env->id);
}

TEST(envelopes_come_back)
{
    static const char *const holds[] = { "", "triggered HOLD action", "\t" };

    for (size_t i = 0; i < COUNT_OF(holds); i++) {
        struct queue_rcpt to[2];
        struct queue_env env, got;
        struct buf b = { 0 };
        struct arena a = { 0 };
        int64_t us = 0;
        struct err e = { 0 };

        TEST_ROW("%zu", i);
        fill(&env, to);
        env.hold = sl_z(holds[i]);
        queue_env_pack(&b, &env, 123);
        NEED(queue_env_unpack(buf_slice(&b), &a, &got, &us, &e) == 0);
        CHECK_EQ_INT(us, 123);
        CHECK(sl_eqz(got.hold, holds[i]));
        CHECK(sl_eqz(got.sender, "s@y") && got.n_rcpts == 2 && got.is_utf8 && !got.is_8bit);
        CHECK(sl_eqz(got.rcpts[0].orig, "b@y") && sl_eqz(got.rcpts[1].orig, "c@x"));
        CHECK(sl_eqz(got.rcpts[1].orcpt, "rfc822;c@z"));
        for (size_t n = 0; n < b.n; n++) /* cut short: refused */
            CHECK(queue_env_unpack(sl_head(buf_slice(&b), n), &a, &got, &us, &e) != 0);
        buf_addc(&b, 'x');
        CHECK(queue_env_unpack(buf_slice(&b), &a, &got, &us, &e) != 0);
        buf_free(&b);
        arena_free(&a);
    }
}

TEST(what_only_some_recipients_have_comes_back)
{
    struct queue_rcpt to[2];
    struct queue_env env, got;
    struct buf b = { 0 };
    struct arena a = { 0 };
    int64_t us = 0;
    struct err e = { 0 };

    fill(&env, to);
    env.hold = SL("why");
    to[1].kind = RCPT_COMMAND;
    to[1].target = SL("/bin/true a b");
    to[1].is_forwarded = to[1].has_sender = true;
    to[1].sender = SL("owner-list@x");
    to[1].alias = SL("list@x");
    to[0].kind = RCPT_REFUSED;
    to[0].target = SL("5.4.6 loop");
    queue_env_pack(&b, &env, 1);
    NEED(queue_env_unpack(buf_slice(&b), &a, &got, &us, &e) == 0);
    CHECK(got.rcpts[0].kind == RCPT_REFUSED && !got.rcpts[0].is_forwarded &&
          !got.rcpts[0].has_sender && sl_eqz(got.rcpts[0].target, "5.4.6 loop") &&
          got.rcpts[0].alias.n == 0 && sl_eqz(got.rcpts[1].alias, "list@x"));
    CHECK(got.rcpts[1].kind == RCPT_COMMAND && got.rcpts[1].is_forwarded &&
          got.rcpts[1].has_sender && sl_eqz(got.rcpts[1].sender, "owner-list@x") &&
          sl_eqz(got.rcpts[1].target, "/bin/true a b"));
    CHECK(sl_eqz(got.hold, "why"));
    for (size_t n = 0; n < b.n; n++)
        CHECK(queue_env_unpack(sl_head(buf_slice(&b), n), &a, &got, &us, &e) != 0);
    buf_free(&b);
    arena_free(&a);
}

/* What stands in queues from before there was a hold: version 1, flags 1 or less than 4, and nothing behind. */
TEST(an_older_envelope_opens)
{
    struct queue_env env, got;
    struct queue_rcpt to[2];
    struct buf now = { 0 }, old = { 0 };
    struct arena a = { 0 };
    int64_t us;
    struct err e = { 0 };

    fill(&env, to);
    queue_env_pack(&now, &env, 1);
    wire_add_u8(&old, 1);
    wire_add_u8(&old, 2);
    wire_add_u8(&old, RET_HDRS);
    wire_add_u64(&old, 1);
    wire_add_str(&old, sl_z(env.id));
    wire_add_str(&old, env.sender);
    for (int i = 0; i < 5; i++)
        wire_add_str(&old, SL(""));
    wire_add_str(&old, SL("ESMTP"));
    wire_add_u32(&old, 2);
    wire_add_str(&old, SL("a@x"));
    wire_add_str(&old, SL("b@y"));
    wire_add_str(&old, SL(""));
    wire_add_u8(&old, NOTIFY_FAILURE);
    wire_add_str(&old, SL("c@x"));
    wire_add_str(&old, SL(""));
    wire_add_str(&old, SL("rfc822;c@z"));
    wire_add_u8(&old, 0);
    CHECK(sl_eq(buf_slice(&old), buf_slice(&now))); /* still written so */
    CHECK_EQ_INT(queue_env_unpack(buf_slice(&old), &a, &got, &us, &e), 0);
    CHECK(got.hold.n == 0);
    buf_free(&old);
    buf_free(&now);
    arena_free(&a);
}

TEST_MAIN()
