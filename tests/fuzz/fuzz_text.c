/* base/: UTF-8, modified UTF-7, base64, hex, xtext; what is written must be read as it was. */
#include "base/enc.h"
#include "base/utf8.h"
#include "tests/fuzz/fuzz.h"

typedef int convert(struct buf *out, struct slice in);

static void
must_come_back(convert *to, convert *from, struct slice s)
{
    struct buf there = { 0 }, back = { 0 };

    MUST(to(&there, s) == 0 && from(&back, buf_slice(&there)) == 0);
    MUST(sl_eq(buf_slice(&back), s));
    buf_free(&there);
    buf_free(&back);
}

/* A decoder that refuses leaves out alone. */
static void
decode(convert *from, struct slice s)
{
    struct buf out = { 0 };

    if (from(&out, s) < 0)
        MUST(out.p == NULL);
    buf_free(&out);
    buf_addz(&out, "x");
    if (from(&out, s) < 0)
        MUST(sl_eqz(buf_slice(&out), "x"));
    buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n)), at = in;
    struct buf name = { 0 };
    bool is_valid = true;
    int32_t cp;

    must_come_back(enc_b64, enc_b64_decode, in);
    must_come_back(enc_hex, enc_hex_decode, in);
    must_come_back(enc_xtext, enc_xtext_decode, in);
    decode(enc_b64_decode, in);
    decode(enc_hex_decode, in);
    decode(enc_xtext_decode, in);
    decode(utf8_from_mutf7, in);
    decode(utf8_to_mutf7, in);
    while (at.n > 0 && (cp = utf8_take(&at)) >= 0)
        MUST(cp <= 0x10ffff && !(cp >= 0xd800 && cp <= 0xdfff));
    is_valid = at.n == 0;
    MUST(utf8_is_valid(in) == is_valid);
    if (utf8_from_mutf7(&name, in) == 0) {
        MUST(utf8_is_valid(buf_slice(&name)));
        must_come_back(utf8_to_mutf7, utf8_from_mutf7, buf_slice(&name));
    }
    buf_free(&name);
    fuzz_free(in);
    return 0;
}
