/* POP3's commands, and that a stuffed message ends where it should. */
#include "proto/pop3.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), text, left, top;
    unsigned choice = fuzz_choice(&in);
    struct pop3_command c = { 0 };
    struct buf out = { 0 };
    uint64_t number;
    bool at_start = true;

    text = fuzz_dup(in);
    pop3_parse(text, &c);
    MUST(c.name.n + c.args.n <= text.n && !sl_starts(c.args, ' '));
    left = c.args;
    if (pop3_take_number(&left, choice % 2, UINT32_MAX, &number) == POP3_NUMBER_OK)
        MUST(number <= UINT32_MAX && left.n < c.args.n);
    pop3_add_lang(&out, c.args);
    MUST(sl_has_suffix(buf_slice(&out), SL("\r\n")));
    buf_reset(&out);
    top = pop3_top(text, choice % 5);
    MUST(top.n <= text.n);
    left = text;
    while (left.n > 0)
        pop3_stuff(&left, &at_start, out.n + 1 + choice % 13, &out);
    pop3_end_text(at_start, &out);
    /* CRLF.CRLF at the end, and nowhere before where the text has proper line ends. */
    MUST(sl_has_suffix(buf_slice(&out), SL(".\r\n")));
    MUST(out.n == 3 || sl_has_suffix(buf_slice(&out), SL("\n.\r\n")));
    MUST(sl_find(buf_slice(&out), SL("\r\n.\r\n")) == SL_NPOS ||
         sl_find(buf_slice(&out), SL("\r\n.\r\n")) == out.n - 5);
    buf_free(&out);
    fuzz_free(text);
    return 0;
}
