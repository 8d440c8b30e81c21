#include "base/enc.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/test.h"

typedef int codec(struct buf *, struct slice);

static const struct row {
    const char *name;
    codec *encode, *decode;
    struct slice raw, text;
} good[] = {
    { "RFC 4648 §10 0", enc_b64, enc_b64_decode, SL_INIT(""), SL_INIT("") },
    { "RFC 4648 §10 1", enc_b64, enc_b64_decode, SL_INIT("f"), SL_INIT("Zg==") },
    { "RFC 4648 §10 2", enc_b64, enc_b64_decode, SL_INIT("fo"), SL_INIT("Zm8=") },
    { "RFC 4648 §10 3", enc_b64, enc_b64_decode, SL_INIT("foo"), SL_INIT("Zm9v") },
    { "RFC 4648 §10 4", enc_b64, enc_b64_decode, SL_INIT("foob"), SL_INIT("Zm9vYg==") },
    { "RFC 4648 §10 6", enc_b64, enc_b64_decode, SL_INIT("foobar"), SL_INIT("Zm9vYmFy") },
    { "RFC 4616 §4", enc_b64, enc_b64_decode, SL_INIT("\0tim\0tanstaaftanstaaf"),
      SL_INIT("AHRpbQB0YW5zdGFhZnRhbnN0YWFm") },
    { "all bits", enc_b64, enc_b64_decode, SL_INIT("\xff\xff\xfe"), SL_INIT("///+") },
    { "hex", enc_hex, enc_hex_decode, SL_INIT("\0\x0f\xa5\xff"), SL_INIT("000fa5ff") },
    { "hex empty", enc_hex, enc_hex_decode, SL_INIT(""), SL_INIT("") },
    { "xtext plain", enc_xtext, enc_xtext_decode, SL_INIT("a@b.example"), SL_INIT("a@b.example") },
    { "xtext", enc_xtext, enc_xtext_decode, SL_INIT("a+b=c d\xc3\x7f"),
      SL_INIT("a+2Bb+3Dc+20d+C3+7F") },
};

TEST(both_ways)
{
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", good[i].name);
        buf_addz(&b, "x");
        CHECK_EQ_INT(good[i].encode(&b, good[i].text.n ? good[i].raw : (struct slice){ 0 }), 0);
        CHECK_EQ_MEM(b.p + 1, b.n - 1, good[i].text.p, good[i].text.n);
        buf_reset(&b);
        CHECK_EQ_INT(good[i].decode(&b, good[i].text), 0);
        CHECK_EQ_MEM(buf_slice(&b).p, b.n, good[i].raw.p, good[i].raw.n);
        buf_free(&b);
    }
}

TEST(bad_text_is_refused)
{
    static const struct {
        const char *name;
        codec *decode;
        struct slice text;
    } rows[] = {
        { "no padding", enc_b64_decode, SL_INIT("Zg") },
        { "half the padding", enc_b64_decode, SL_INIT("Zg=") },
        { "padding only", enc_b64_decode, SL_INIT("====") },
        { "three of padding", enc_b64_decode, SL_INIT("Z===") },
        { "padding inside", enc_b64_decode, SL_INIT("Zg==Zg==") },
        { "padding within a group", enc_b64_decode, SL_INIT("Z=g=") },
        { "white space", enc_b64_decode, SL_INIT("Zm9v\r\nYm") },
        { "trailing line end", enc_b64_decode, SL_INIT("Zm9v\r\n") },
        { "URL alphabet", enc_b64_decode, SL_INIT("__-_") },
        { "NUL", enc_b64_decode, SL_INIT("Zm9\0") },
        { "bits left over, one pad", enc_b64_decode, SL_INIT("Zm9=") },
        { "bits left over, two pads", enc_b64_decode, SL_INIT("Zh==") },
        { "8 bit", enc_b64_decode, SL_INIT("Zm9\xff") },
        { "odd", enc_hex_decode, SL_INIT("abc") },
        { "no hex", enc_hex_decode, SL_INIT("ag") },
        { "no hex in front", enc_hex_decode, SL_INIT("g0") },
        { "cut", enc_xtext_decode, SL_INIT("a+") },
        { "cut in the middle", enc_xtext_decode, SL_INIT("a+2") },
        { "no hex", enc_xtext_decode, SL_INIT("a+2G") },
        { "space", enc_xtext_decode, SL_INIT("a b") },
        { "equals", enc_xtext_decode, SL_INIT("a=b") },
        { "8 bit", enc_xtext_decode, SL_INIT("a\xc3") },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].name);
        buf_addz(&b, "kept");
        CHECK_EQ_INT(rows[i].decode(&b, rows[i].text), -1);
        CHECK_EQ_STR(buf_z(&b), "kept");
        buf_free(&b);
        CHECK_EQ_INT(rows[i].decode(&b, rows[i].text), -1);
        CHECK(b.p == NULL); /* nothing that a caller would have to free */
    }
}

/* RFC 7515 §2, its appendix C. */
TEST(base64url)
{
    static const struct {
        const char *text;
        struct slice want; /* p NULL: none */
    } rows[] = {
        { "", SL_INIT("") },
        { "A-z_4ME", SL_INIT("\3\354\377\340\301") },
        { "Zg", SL_INIT("f") },
        { "Zm8", SL_INIT("fo") },
        { "Zm9v", SL_INIT("foo") },
        { "___-", SL_INIT("\xff\xff\xfe") },
        { "Z", { 0 } },
        { "Zm9vY", { 0 } },
        { "Zg==", { 0 } },
        { "Zh", { 0 } }, /* bits that mean nothing */
        { "Zm9", { 0 } },
        { "///+", { 0 } },
        { "Zm9v\n", { 0 } },
        { "Zm 9v", { 0 } },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(enc_b64url_decode(&b, sl_z(rows[i].text)), rows[i].want.p ? 0 : -1);
        CHECK_EQ_MEM(b.n ? buf_slice(&b).p : "", b.n, rows[i].want.n ? rows[i].want.p : "",
                     rows[i].want.n);
        buf_free(&b);
    }
}

TEST(decoders_take_either_case_of_hex)
{
    struct buf b = { 0 };

    CHECK_EQ_INT(enc_hex_decode(&b, SL("aAbB")), 0);
    CHECK_EQ_INT(enc_xtext_decode(&b, SL("+2b")), 0);
    CHECK_EQ_STR(buf_z(&b), "\xaa\xbb+");
    buf_free(&b);
}

TEST(max_holds)
{
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct buf b = { .max = 4 + good[i].text.n - 1 };

        if (good[i].text.n == 0)
            continue;
        TEST_ROW("%s", good[i].name);
        buf_addz(&b, "kept");
        CHECK_EQ_INT(good[i].encode(&b, good[i].raw), -1);
        CHECK_EQ_STR(buf_z(&b), "kept");
        b.max = 4 + good[i].raw.n - 1;
        CHECK_EQ_INT(good[i].decode(&b, good[i].text), -1);
        CHECK_EQ_STR(buf_z(&b), "kept");
        b.max = 4 + good[i].raw.n; /* no more than it needs */
        CHECK_EQ_INT(good[i].decode(&b, good[i].text), 0);
        buf_free(&b);
    }
}

TEST(random_octets_come_back)
{
    static codec *const codecs[][2] = {
        { enc_b64, enc_b64_decode },
        { enc_hex, enc_hex_decode },
        { enc_xtext, enc_xtext_decode },
    };

    for (size_t i = 0; i < 600; i++) {
        char raw[100];
        struct slice in = sl_n(raw, rand_below(sizeof(raw)));
        struct buf text = { 0 }, back = { 0 };

        rand_octets(raw, sizeof(raw));
        CHECK_EQ_INT(codecs[i % 3][0](&text, in), 0);
        CHECK_EQ_INT(codecs[i % 3][1](&back, buf_slice(&text)), 0);
        CHECK_EQ_MEM(buf_slice(&back).p, back.n, in.p, in.n);
        buf_free(&text);
        buf_free(&back);
    }
}

TEST(crc32_runs)
{
    CHECK_EQ_INT(enc_crc32(0, "123456789", 9), 0xcbf43926);
    CHECK_EQ_INT(enc_crc32(enc_crc32(0, "1234", 4), "56789", 5), 0xcbf43926);
    CHECK_EQ_INT(enc_crc32(7, NULL, 0), 7);
}

TEST_MAIN()
