#include "base/utf8.h"

#include "base/mem.h"
#include "base/test.h"

TEST(tells_valid_from_invalid)
{
    static const struct {
        const char *name;
        bool is_valid;
        struct slice in;
    } rows[] = {
        { "empty", true, SL_INIT("") },
        { "ASCII", true, SL_INIT("abc\x7f") },
        { "NUL", true, SL_INIT("a\0b") },
        { "U+0080", true, SL_INIT("\xc2\x80") },
        { "U+07FF", true, SL_INIT("\xdf\xbf") },
        { "U+0800", true, SL_INIT("\xe0\xa0\x80") },
        { "U+D7FF", true, SL_INIT("\xed\x9f\xbf") },
        { "U+E000", true, SL_INIT("\xee\x80\x80") },
        { "U+FFFF", true, SL_INIT("\xef\xbf\xbf") },
        { "U+10000", true, SL_INIT("\xf0\x90\x80\x80") },
        { "U+10FFFF", true, SL_INIT("\xf4\x8f\xbf\xbf") },
        { "U+110000", false, SL_INIT("\xf4\x90\x80\x80") },
        { "five octets", false, SL_INIT("\xf8\x88\x80\x80\x80") },
        { "overlong NUL", false, SL_INIT("\xc0\x80") },
        { "overlong slash", false, SL_INIT("\xc0\xaf") },
        { "overlong U+007F", false, SL_INIT("\xc1\xbf") },
        { "overlong in three", false, SL_INIT("\xe0\x9f\xbf") },
        { "overlong in four", false, SL_INIT("\xf0\x8f\xbf\xbf") },
        { "high surrogate", false, SL_INIT("\xed\xa0\x80") },
        { "low surrogate", false, SL_INIT("\xed\xbf\xbf") },
        { "lone continuation", false, SL_INIT("a\x80") },
        { "cut in two", false, SL_INIT("a\xc2") },
        { "cut in three", false, SL_INIT("\xe2\x82") },
        { "cut in four", false, SL_INIT("\xf0\x9f\x98") },
        { "no continuation", false, SL_INIT("\xe2\x82z") },
        { "Latin-1", false, SL_INIT("caf\xe9") },
        { "0xff", false, SL_INIT("\xff") },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(utf8_is_valid(rows[i].in), rows[i].is_valid);
    }
    CHECK(utf8_is_valid((struct slice){ 0 }) && utf8_is_ascii((struct slice){ 0 }));
    CHECK(utf8_is_ascii(SL("a\x7f")) && !utf8_is_ascii(SL("a\x80")));
}

TEST(takes_what_it_adds)
{
    for (uint32_t cp = 0; cp < 0x110010; cp++) {
        struct buf b = { 0 };
        struct slice in;
        uint32_t want = (cp >= 0xd800 && cp <= 0xdfff) || cp > 0x10ffff ? 0xfffd : cp;

        utf8_add(&b, cp);
        in = buf_slice(&b);
        if (utf8_take(&in) != (int32_t)want || in.n != 0)
            FAIL("U+%04X", cp);
        buf_free(&b);
    }
}

TEST(bad_sequences_take_nothing)
{
    struct slice in = SL("\xe2\x82");

    CHECK_EQ_INT(utf8_take(&in), -1);
    CHECK_EQ_INT(in.n, 2);
    in = (struct slice){ 0 };
    CHECK_EQ_INT(utf8_take(&in), -1);
}

TEST(mailbox_names_both_ways)
{
    static const struct {
        const char *name, *utf8, *mutf7;
    } rows[] = {
        { "empty", "", "" },
        { "ASCII", "INBOX/Drafts ~x", "INBOX/Drafts ~x" },
        { "ampersand", "A&B & C", "A&-B &- C" },
        { "RFC 3501 §5.1.3", "~peter/mail/\u53f0\u5317/\u65e5\u672c\u8a9e",
          "~peter/mail/&U,BTFw-/&ZeVnLIqe-" },
        { "umlaut", "Entw\u00fcrfe", "Entw&APw-rfe" },
        { "at the end", "\u0635", "&BjU-" },
        { "two units", "\u00e9\u00e8", "&AOkA6A-" },
        { "three units", "\u00e9\u00e8\u00ea", "&AOkA6ADq-" },
        { "pair", "\U0001f600", "&2D3eAA-" },
        { "pair among others", "x\u00e9\U0001f600\u00e9y", "x&AOnYPd4AAOk-y" },
        { "ampersand after a run", "\u263a&", "&Jjo-&-" },
        { "ampersand before a run", "&\u263a", "&-&Jjo-" },
        { "hyphens", "-\u263a-", "-&Jjo--" },
        { "controls", "a\tb\x7f", "a&AAk-b&AH8-" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(utf8_to_mutf7(&b, sl_z(rows[i].utf8)), 0);
        CHECK_EQ_STR(buf_z(&b), rows[i].mutf7);
        buf_reset(&b);
        CHECK_EQ_INT(utf8_from_mutf7(&b, sl_z(rows[i].mutf7)), 0);
        CHECK_EQ_STR(buf_z(&b), rows[i].utf8);
        buf_reset(&b);
        b.max = strlen(rows[i].mutf7);
        CHECK_EQ_INT(utf8_to_mutf7(&b, sl_z(rows[i].utf8)), 0);
        buf_free(&b);
    }
}

TEST(bad_mailbox_names_are_refused)
{
    static const struct {
        const char *name;
        struct slice in;
    } rows[] = {
        { "no end", SL_INIT("a&") },
        { "run without an end", SL_INIT("&U,BTFw") },
        { "no base64", SL_INIT("&U.BT-") },
        { "slash of plain base64", SL_INIT("&U/BTFw-") },
        { "padding", SL_INIT("&Jjo=-") },
        { "too short", SL_INIT("&A-") },
        { "half a unit", SL_INIT("&AOkA-") },
        { "left-over bits", SL_INIT("&AOl-") },
        { "digit too many", SL_INIT("&AOkA6AA-") },
        { "printable in a run", SL_INIT("&AGE-") },
        { "ampersand in a run", SL_INIT("&ACY-") },
        { "null shift", SL_INIT("&Jjo-&Jjo-") },
        { "loose high surrogate", SL_INIT("&2D0-") },
        { "loose low surrogate", SL_INIT("&3gA-") },
        { "high and no low", SL_INIT("&2D0AYQ-") },
        { "8 bit", SL_INIT("caf\xc3\xa9") },
        { "control", SL_INIT("a\tb") },
        { "NUL", SL_INIT("a\0b") },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        TEST_ROW("%s", rows[i].name);
        buf_addz(&b, "kept");
        CHECK_EQ_INT(utf8_from_mutf7(&b, rows[i].in), -1);
        CHECK_EQ_STR(buf_z(&b), "kept");
        buf_free(&b);
    }
}

TEST(bad_utf8_has_no_mailbox_name)
{
    struct buf b = { 0 };

    buf_addz(&b, "kept");
    CHECK_EQ_INT(utf8_to_mutf7(&b, SL("a\xc3")), -1);
    CHECK_EQ_INT(utf8_to_mutf7(&b, SL("\u00e9\xff")), -1);
    CHECK_EQ_INT(utf8_to_mutf7(&b, SL("\xed\xa0\x80")), -1);
    CHECK_EQ_STR(buf_z(&b), "kept");
    b.max = 6;
    CHECK_EQ_INT(utf8_to_mutf7(&b, SL("\u00e9")), -1);
    CHECK_EQ_INT(utf8_from_mutf7(&b, SL("abc")), -1);
    CHECK_EQ_STR(buf_z(&b), "kept");
    buf_free(&b);
}

TEST_MAIN()
