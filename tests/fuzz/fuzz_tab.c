/* Fields of Dovecot's auth protocols. */
#include "auth/tab.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), rest = in, field, value;
    struct buf out = { 0 }, back = { 0 };

    while (tab_take(&rest, &field)) {
        tab_is_pair(field, "user", &value);
        buf_reset(&out);
        tab_unescape(&out, field);
        MUST(out.n <= field.n);
    }
    buf_reset(&out);
    tab_add(&out, in);
    rest = buf_slice(&out);
    MUST(tab_take(&rest, &field) && field.n == 0 && tab_take(&rest, &field) && rest.p == NULL);
    MUST(sl_find_char(field, '\n') == SL_NPOS);
    tab_unescape(&back, field);
    MUST(sl_eq(buf_slice(&back), in));
    buf_free(&out);
    buf_free(&back);
    fuzz_free(in);
    return 0;
}
