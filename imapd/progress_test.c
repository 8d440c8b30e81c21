/* imapd/progress_test.c - what a client that waits is told, and when: RFC 9585 §4. */
#include "imapd/cmd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/test.h"

enum { PAST_MS = 20 * 1000 };

TEST(what_is_told)
{
    static const struct {
        const char *tag, *doing;
        unsigned done, goal;
        const char *want;
    } rows[] = {
        { "a1", "Searched", 250, 1000,
          "* OK [INPROGRESS (\"a1\" 250 1000)] Searched 25% of the mailbox, ETA 1:00\r\n" },
        { "a1", NULL, 7, 0, "* OK [INPROGRESS (\"a1\" 7 NIL)] Processed 7 item(s)\r\n" },
        { "", NULL, 0, 9, "* OK [INPROGRESS (NIL 0 9)] Processed 0% of the mailbox, ETA 0:00\r\n" },
        /* The goal is reached by the tagged reply alone. */
        { "b", NULL, 9, 9,
          "* OK [INPROGRESS (\"b\" 8 9)] Processed 99% of the mailbox, ETA 0:00\r\n" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t now_ms = clock_mono_ms();
        struct imap_cmd c = { .tag = sl_z(rows[i].tag),
                              .doing = rows[i].doing,
                              .begun_ms = now_ms - PAST_MS,
                              .told_ms = now_ms - PAST_MS };

        TEST_ROW("%zu", i);
        CHECK(imap_progress(&c, rows[i].done, rows[i].goal));
        CHECK_EQ_STR(buf_z(&c.out), rows[i].want);
        buf_free(&c.out);
    }
}

TEST(not_too_often)
{
    struct imap_cmd c = { .tag = SL("a") };

    CHECK(!imap_progress(&c, 1, 10)); /* it has just begun */
    c.told_ms -= PAST_MS;
    CHECK(imap_progress(&c, 2, 10));
    buf_reset(&c.out);
    CHECK(!imap_progress(&c, 3, 10));
    CHECK_EQ_INT(c.out.n, 0);
    buf_free(&c.out);
}

TEST_MAIN()
