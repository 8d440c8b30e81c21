/* Header fields in UTF-8 become ASCII, others stay, and what came of it is not changed again. */
#include "base/utf8.h"
#include "mime/ascii_header.h"
#include "mime/mime.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice header = fuzz_dup(sl_n((const char *)data, n)), left;
    struct buf out = { 0 }, again = { 0 };
    struct mime_field f;

    if (!mime_ascii_header(header, &out)) {
        MUST(out.n == 0);
    } else {
        left = buf_slice(&out);
        while (mime_next_field(&left, &f))
            MUST(utf8_is_ascii(f.whole) || !utf8_is_valid(f.whole) || !utf8_is_ascii(f.name));
        MUST(!mime_ascii_header(buf_slice(&out), &again));
    }
    buf_free(&out);
    buf_free(&again);
    fuzz_free(header);
    return 0;
}
