/* Header fields, encoded words, addresses, dates, charsets. */
#include "base/utf8.h"
#include "mime/mime.h"
#include "tests/fuzz/fuzz.h"

static void
try_dates(struct slice s)
{
    char text[MIME_DATE_OCTETS];
    int64_t t, again;
    int16_t tz, tz_again;

    if (mime_parse_date(s, &t, &tz)) {
        mime_format_date(t, tz, text);
        MUST(mime_parse_date(sl_z(text), &again, &tz_again) && again == t && tz_again == tz);
    }
    if (mime_parse_imap_date(s, &t, &tz)) {
        mime_format_imap_date(t, tz, text);
        MUST(mime_parse_imap_date(sl_z(text), &again, &tz_again) && again == t && tz_again == tz);
        mime_day_of_time(t, tz);
    }
}

static void
try_value(struct slice value)
{
    struct arena mem = { 0 };
    struct buf out = { 0 };
    size_t count = 0;

    mime_unfold(value, &out);
    MUST(sl_find_char(buf_slice(&out), '\n') == SL_NPOS);
    buf_reset(&out);
    mime_decode_words(value, &out);
    MUST(utf8_is_valid(buf_slice(&out)));
    mime_addresses(value, &mem, &count);
    MUST(count <= MIME_ADDRESSES_MAX + 1);
    try_dates(value);
    buf_free(&out);
    arena_free(&mem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), header = mime_header_of(in),
                 rest = header, charset;
    struct mime_field f;
    struct buf out = { 0 };

    while (mime_next_field(&rest, &f)) {
        MUST(f.name.n > 0 && f.whole.n <= header.n);
        try_value(f.value);
    }
    try_value(in);
    rest = in;
    if (sl_take_until(&rest, '\n', &charset) && mime_to_utf8(charset, rest, &out) == 0)
        MUST(utf8_is_valid(buf_slice(&out)));
    buf_reset(&out);
    mime_envelope(header, &out);
    buf_free(&out);
    fuzz_free(in);
    return 0;
}
