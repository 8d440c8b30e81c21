/* What another server answers. */
#include "session/smtp_reply.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), rest = in, line;
    struct smtp_reply r = { 0 };
    struct buf flat = { 0 };

    while (sl_take_until(&rest, '\n', &line)) {
        struct err e = { 0 };
        enum parse_rc rc = smtp_reply_take(&r, line, &e);

        MUST(r.text.n <= SMTP_REPLY_TEXT_OCTETS && r.n_lines <= SMTP_REPLY_LINES_MAX);
        if (rc == PARSE_MORE)
            continue;
        if (rc == PARSE_OK)
            MUST(r.code >= 200 && r.code <= 599 && memchr(r.dsn, '\0', sizeof r.dsn) != NULL);
        smtp_reply_one_line(&r, &flat);
        smtp_reply_reset(&r);
    }
    smtp_reply_free(&r);
    buf_free(&flat);
    fuzz_free(in);
    return 0;
}
