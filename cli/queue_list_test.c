/* cli/queue_list_test.c - the listing in Postfix's forms. What is wanted was printed by Postfix 3.7.11 for such a queue
 * (enable_long_queue_ids = yes, TZ=UTC). */
#include "cli/queue_list.h"

#include "base/test.h"

#include <stdlib.h>
#include <time.h>

#define LINE_M "M\t4jXj4t31RSz1dFJ1\t"
#define TIME   "\t1795383246\t"

static const struct {
    const char *name, *lines, *mailq, *json;
} rows[] = {
    { "nothing", "", "Mail queue is empty\n", "" },
    { "deferred",
      LINE_M
      "deferred\t279" TIME "a@sender.test\t\t\t\t10\n"
      "R\t0\tdeferred\t1795383300\t1\t4.3.0\td@defer.test\td@defer.test\tdeferred transport\t\t\t\n"
      "R\t1\tdeferred\t1795383300\t1\t4.3.0\tl@long.test\tl@long.test\tmail transport "
      "unavailable\t\t\t\n"
      "R\t2\tdeferred\t1795383300\t1\t4.3.0\ts@short.test\ts@short.test\tmail transport "
      "unavailable\t\t\t\n",
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
      "4jXj4t31RSz1dFJ1       279 Sun Nov 22 21:34:06 a@sender.test\n"
      "                                                          (deferred transport)\n"
      "                                               d@defer.test\n"
      "                                                  (mail transport unavailable)\n"
      "                                               l@long.test\n"
      "                                               s@short.test\n"
      "\n"
      "-- 0 Kbytes in 1 Request.\n",
      "{\"queue_name\": \"deferred\", \"queue_id\": \"4jXj4t31RSz1dFJ1\", \"arrival_time\": "
      "1795383246, "
      "\"message_size\": 279, \"forced_expire\": false, \"sender\": \"a@sender.test\", "
      "\"recipients\": "
      "[{\"address\": \"d@defer.test\", \"delay_reason\": \"deferred transport\"}, {\"address\": "
      "\"l@long.test\", \"delay_reason\": \"mail transport unavailable\"}, {\"address\": "
      "\"s@short.test\", \"delay_reason\": \"mail transport unavailable\"}]}\n" },
    { "hold, to be returned, no sender, quotes",
      LINE_M "hold\t1200319" TIME "\t\t\te\t10\n"
             "R\t0\thold\t0\t1\t4.4.1\th h@short.test\th h@short.test\tlost \"it\"\t\tre\t\n",
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
      "4jXj4t31RSz1dFJ1!#  1200319 Sun Nov 22 21:34:06 MAILER-DAEMON\n"
      "                                                                   (lost \"it\")\n"
      "                                               \"h h\"@short.test\n"
      "\n"
      "-- 1172 Kbytes in 1 Request.\n",
      "{\"queue_name\": \"hold\", \"queue_id\": \"4jXj4t31RSz1dFJ1\", \"arrival_time\": "
      "1795383246, "
      "\"message_size\": 1200319, \"forced_expire\": true, \"sender\": \"MAILER-DAEMON\", "
      "\"recipients\": [{\"address\": \"\\\"h h\\\"@short.test\", \"delay_reason\": \"lost "
      "\\\"it\\\"\"}]}\n" },
    { "active, twice; a damaged one",
      LINE_M "active\t1024" TIME "a@b\t\t\t\t0\n"
             "R\t0\tactive\t0\t0\t\tx@y\tx@y\t\t\t\t\n" LINE_M "damaged\t1024" TIME "\t\t\t\t0\n",
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
      "4jXj4t31RSz1dFJ1*     1024 Sun Nov 22 21:34:06 a@b\n"
      "                                               x@y\n"
      "\n"
      "4jXj4t31RSz1dFJ1!     1024 Sun Nov 22 21:34:06 MAILER-DAEMON\n"
      "\n"
      "-- 2 Kbytes in 2 Requests.\n",
      "{\"queue_name\": \"active\", \"queue_id\": \"4jXj4t31RSz1dFJ1\", \"arrival_time\": "
      "1795383246, "
      "\"message_size\": 1024, \"forced_expire\": false, \"sender\": \"a@b\", \"recipients\": "
      "[{\"address\": \"x@y\"}]}\n"
      "{\"queue_name\": \"hold\", \"queue_id\": \"4jXj4t31RSz1dFJ1\", \"arrival_time\": "
      "1795383246, "
      "\"message_size\": 1024, \"forced_expire\": false, \"sender\": \"MAILER-DAEMON\", "
      "\"recipients\": []}\n" },
    { "a reason that is longer than a line",
      LINE_M "deferred\t1" TIME "a@b\t\t\t\t0\n"
             "R\t0\tdeferred\t1\t1\t4.0.0\tx@y\tx@y\t"
             "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345"
             "\t\t\t\n",
      "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n"
      "4jXj4t31RSz1dFJ1         1 Sun Nov 22 21:34:06 a@b\n"
      "(1234567890123456789012345678901234567890123456789012345678901234567890123456789012345)\n"
      "                                               x@y\n"
      "\n"
      "-- 0 Kbytes in 1 Request.\n",
      NULL },
};

static void
compare(const struct queue_list_ops *ops, const char *lines, const char *want)
{
    char *text = NULL;
    size_t n = 0;
    struct queue_list_out out = { .to = open_memstream(&text, &n) };
    struct queue_list_state st = { 0 };

    queue_list_parse(sl_z(lines), &st, ops, &out);
    if (st.in_message)
        ops->end(&out);
    if (ops == &queue_list_mailq)
        queue_list_mailq_end(&out);
    fclose(out.to);
    CHECK_EQ_STR(text, want);
    free(text);
    queue_list_out_free(&out);
}

TEST(as_postfix_prints_it)
{
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].name);
        compare(&queue_list_mailq, rows[i].lines, rows[i].mailq);
        if (rows[i].json)
            compare(&queue_list_json, rows[i].lines, rows[i].json);
    }
}

TEST_MAIN()
