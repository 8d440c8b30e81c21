/* What an operator, or any user by public/queue, says of messages: words in lines. What is taken must hold ids as they were
 * said, be bounded, and be asked of any message without harm; a pattern of stars fits everything. */
#include "queue/select.h"

#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

static void
try_message(const struct select *s, struct slice in)
{
    struct qdb_rcpt rows[] = { { .i = 0, .due = 1000, .why = in, .hop = in },
                               { .i = 70000, .due = QDB_DUE_HELD, .flags = QDB_EXPIRED } };
    struct qdb_message m = { .id = "4jXj4t31RSz1dFJ1", .size = 1 << 20, .arrived_s = 1000 };

    (void)select_fits(s, &m, 0);
    m.env =
        in; /* as the database says, whole; and what is no envelope fits nothing that asks for one */
    m.is_env_ok = true;
    m.rcpts = rows;
    m.n_rcpts = COUNT_OF(rows);
    (void)select_fits(s, &m, INT64_MAX);
    (void)select_state(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), pattern = in, text;
    struct select *s = NULL;
    struct err e = { 0 };

    if (select_parse(in, &s, &e) == 0) {
        MUST(s != NULL && select_ids(s) <= SELECT_IDS_MAX);
        for (size_t i = 0; i < select_ids(s); i++) {
            uint64_t number;

            MUST(sl_find(in, sl_z(select_id(s, i, &number))) != SL_NPOS);
        }
        try_message(s, in);
        select_free(&s);
    } else {
        MUST(s == NULL && e.msg[0] != '\0');
    }
    if (!sl_take_until(&pattern, '\n', &text))
        text = in;
    MUST(select_pattern_fits(SL("*"), text) && select_pattern_fits(SL("**"), text));
    MUST(select_pattern_fits(text, text) || sl_find_char(text, '*') != SL_NPOS);
    (void)select_pattern_fits(pattern, text);
    fuzz_free(in);
    return 0;
}
