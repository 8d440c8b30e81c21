/* IMAP's tokens, sets, flags and FETCH items. */
#include "base/test.h"
#include "proto/imap.h"

#include "base/mem.h"

static struct arena mem = { .cap = 1 << 20 };

enum token { ATOM, STRING, ASTRING, LIST_MAILBOX, NSTRING, TAG };

TEST(tokens)
{
    static const struct {
        const char *name;
        enum token token;
        const char *in, *want; /* want NULL: BAD; "NIL!": NIL */
        size_t rest;           /* octets left, on BAD all */
    } rows[] = {
        { "atom", ATOM, "FETCH 1", "FETCH", 2 },
        { "atom ends at a brace", ATOM, "a{3}", "a", 3 },
        { "atom: no quote", ATOM, "\"a\"", NULL, 3 },
        { "atom: no ]", ATOM, "]", NULL, 1 },
        { "atom: backslash is none", ATOM, "\\Seen", NULL, 5 },
        { "astring may have ]", ASTRING, "a]b c", "a]b", 2 },
        { "astring: no wildcard", ASTRING, "a*b", "a", 2 },
        { "astring: empty", ASTRING, "", NULL, 0 },
        { "list-mailbox", LIST_MAILBOX, "a.%* x", "a.%*", 2 },
        { "quoted", STRING, "\"a b\" c", "a b", 2 },
        { "quoted, empty", STRING, "\"\"", "", 0 },
        { "quoted escapes", STRING, "\"a\\\"b\\\\c\"", "a\"b\\c", 0 },
        { "quoted: other escape", STRING, "\"a\\n\"", NULL, 5 },
        { "quoted: no end", STRING, "\"abc", NULL, 4 },
        { "quoted: escape at the end", STRING, "\"abc\\", NULL, 5 },
        { "literal", STRING, "{3}\r\na\"c d", "a\"c", 2 },
        { "literal+", STRING, "{3+}\r\nabc", "abc", 0 },
        { "literal, empty", STRING, "{0}\r\n", "", 0 },
        { "literal beyond the end", STRING, "{4}\r\nabc", NULL, 8 },
        { "literal without number", STRING, "{}\r\n", NULL, 4 },
        { "literal: huge number", STRING, "{99999999999999999999}\r\n", NULL, 24 },
        { "nstring NIL", NSTRING, "nil)", "NIL!", 1 },
        { "nstring: NILS is no string", NSTRING, "NILS", NULL, 4 },
        { "nstring: \"NIL\"", NSTRING, "\"NIL\"", "NIL", 0 },
        { "tag", TAG, "a.1 x", "a.1", 2 },
        { "tag: no +", TAG, "a+1 x", NULL, 5 },
        { "tag alone", TAG, "a", "a", 0 },
        { "tag: empty", TAG, " x", NULL, 2 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].in), out = { 0 };
        struct err e = { 0 };
        enum parse_rc rc = PARSE_BAD;

        TEST_ROW("%s", rows[i].name);
        switch (rows[i].token) {
        case ATOM:
            rc = imap_take_atom(&in, &out, &e);
            break;
        case STRING:
            rc = imap_take_string(&in, &mem, &out, &e);
            break;
        case ASTRING:
            rc = imap_take_astring(&in, &mem, &out, &e);
            break;
        case LIST_MAILBOX:
            rc = imap_take_list_mailbox(&in, &mem, &out, &e);
            break;
        case NSTRING:
            rc = imap_take_nstring(&in, &mem, &out, &e);
            break;
        case TAG:
            rc = imap_take_tag(&in, &out, &e);
            break;
        }
        CHECK_EQ_INT(rc, rows[i].want ? PARSE_OK : PARSE_BAD);
        CHECK_EQ_INT(in.n, rows[i].rest);
        if (!rows[i].want)
            CHECK_EQ_INT(e.kind, ERR_CLIENT);
        else if (strcmp(rows[i].want, "NIL!") == 0)
            CHECK(out.p == NULL);
        else
            CHECK_EQ_MEM(out.p, out.n, rows[i].want, strlen(rows[i].want));
    }
    arena_free(&mem);
}

TEST(literal_at_the_end_of_a_line)
{
    static const struct {
        const char *in;
        bool want, is_sync;
        uint64_t octets;
        size_t at;
    } rows[] = {
        { "a LOGIN {11}", true, true, 11, 8 },
        { "a LOGIN {11+}", true, false, 11, 8 },
        { "a APPEND x ~{5}", true, true, 5, 11 },
        { "a LOGIN {}", false, false, 0, 0 },
        { "a LOGIN {11-}", false, false, 0, 0 },
        { "a LOGIN {11} ", false, false, 0, 0 },
        { "a LOGIN {1x}", false, false, 0, 0 },
        { "{18446744073709551616}", false, false, 0, 0 },
        { "{18446744073709551615}", true, true, UINT64_MAX, 0 },
        { "}", false, false, 0, 0 },
        { "", false, false, 0, 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t octets = 0;
        bool is_sync = false;
        size_t at = 0;

        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(imap_line_literal(sl_z(rows[i].in), &octets, &is_sync, &at), rows[i].want);
        if (!rows[i].want)
            continue;
        CHECK_EQ_INT(octets, rows[i].octets);
        CHECK_EQ_INT(is_sync, rows[i].is_sync);
        CHECK_EQ_INT(at, rows[i].at);
    }
    CHECK(imap_line_ends_quoted(SL("a \"b {3}")));
    CHECK(!imap_line_ends_quoted(SL("a \"b\" {3}")));
    CHECK(imap_line_ends_quoted(SL("a \"b\\\" {3}")));
    CHECK(!imap_line_ends_quoted(SL("a \"b\\\\\" {3}")));
}

TEST(sets)
{
    static const struct {
        const char *in, *want; /* NULL: BAD */
        size_t rest;
    } rows[] = {
        { "1", "1:1", 0 },
        { "1:*", "1:0", 0 },
        { "*", "0:0", 0 },
        { "*:4", "0:4", 0 },
        { "4:2,7 x", "4:2,7:7", 2 },
        { "1,3:5,*)", "1:1,3:5,0:0", 1 },
        { "4294967295", "4294967295:4294967295", 0 },
        { "4294967296", NULL, 10 },
        { "0", NULL, 1 },
        { "1,", NULL, 2 },
        { ",1", NULL, 2 },
        { "1:", NULL, 2 },
        { "1:2:3", NULL, 5 },
        { "1a", NULL, 2 },
        { "", NULL, 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].in);
        struct imap_set set;
        struct buf b = { 0 };
        struct err e = { 0 };
        enum parse_rc rc = imap_take_set(&in, &mem, &set, &e);

        TEST_ROW("%s", rows[i].in);
        CHECK_EQ_INT(rc, rows[i].want ? PARSE_OK : PARSE_BAD);
        CHECK_EQ_INT(in.n, rows[i].rest);
        for (size_t k = 0; rc == PARSE_OK && k < set.n; k++)
            buf_addf(&b, "%s%u:%u", k ? "," : "", set.v[k].first, set.v[k].last);
        if (rc == PARSE_OK && rows[i].want)
            CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
    }
    arena_free(&mem);
}

TEST(flags)
{
    static const struct {
        const char *in;
        bool is_bare;
        uint32_t sys;
        const char *keywords; /* NULL: BAD */
        size_t rest;
    } rows[] = {
        { "(\\Seen)", false, IMAP_SEEN, "", 0 },
        { "(\\sEEN \\Draft $Forwarded Junk) x", false, IMAP_SEEN | IMAP_DRAFT, "$Forwarded,Junk",
          2 },
        { "()", false, 0, "", 0 },
        { "\\Answered \\Flagged", true, IMAP_ANSWERED | IMAP_FLAGGED, "", 0 },
        { "\\Deleted", true, IMAP_DELETED, "", 0 },
        { "\\Deleted", false, 0, NULL, 8 },
        { "(\\Recent)", false, 0, NULL, 8 },
        { "(\\Bogus)", false, 0, NULL, 7 },
        { "(\\Seen", false, 0, NULL, 0 },
        { "(\\Seen )", false, 0, NULL, 1 },
        { "", true, 0, NULL, 0 },
        { "(a \"b\")", false, 0, NULL, 4 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].in);
        struct imap_flags f;
        struct buf b = { 0 };
        struct err e = { 0 };
        enum parse_rc rc = imap_take_flags(&in, rows[i].is_bare, &mem, &f, &e);

        TEST_ROW("%s", rows[i].in);
        if (!CHECK_EQ_INT(rc, rows[i].keywords ? PARSE_OK : PARSE_BAD))
            continue;
        if (rc == PARSE_OK) {
            CHECK_EQ_INT(in.n, rows[i].rest);
            CHECK_EQ_INT(f.sys, rows[i].sys);
            for (size_t k = 0; k < f.n_keywords; k++)
                buf_addf(&b, "%s%.*s", k ? "," : "", SL_ARG(f.keywords[k]));
            CHECK_EQ_STR(buf_z(&b), rows[i].keywords);
        }
        buf_free(&b);
    }
    arena_free(&mem);
}

TEST(fetch_items)
{
    static const struct {
        const char *in, *want; /* labels; '-' before one: does not set \Seen. NULL: BAD */
    } rows[] = {
        { "ALL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE" },
        { "fast", "FLAGS INTERNALDATE RFC822.SIZE" },
        { "FULL", "FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY" },
        { "(uid flags)", "UID FLAGS" },
        { "(FLAGS FLAGS)", "FLAGS" },
        { "BODY", "BODY" },
        { "BODYSTRUCTURE", "BODYSTRUCTURE" },
        { "(RFC822 RFC822.HEADER RFC822.TEXT RFC822.SIZE)",
          "RFC822 -RFC822.HEADER RFC822.TEXT RFC822.SIZE" },
        { "BODY[]", "BODY[]" },
        { "body.peek[text]", "-BODY[TEXT]" },
        { "BODY[1.2.3]", "BODY[1.2.3]" },
        { "BODY[1.MIME]", "BODY[1.MIME]" },
        { "BODY[1.2.HEADER]", "BODY[1.2.HEADER]" },
        { "BODY.PEEK[HEADER.FIELDS (Subject \"From\")]", "-BODY[HEADER.FIELDS (SUBJECT FROM)]" },
        { "BODY[3.HEADER.FIELDS.NOT (to)]<10.20>", "BODY[3.HEADER.FIELDS.NOT (TO)]<10>" },
        { "(BODY[]<0.100> BODY[]<0.200>)", "BODY[]<0> BODY[]<0>" },
        { "(BODY.PEEK[] BODY[])", "BODY[]" },
        { "BODY[HEADER.FIELDS ({4}\r\nDate)]", "BODY[HEADER.FIELDS (DATE)]" },
        { "PREVIEW", "PREVIEW" },
        { "(PREVIEW (LAZY) UID)", "PREVIEW UID" },
        { "preview (lazy)", "PREVIEW" },
        { "(EMAILID THREADID)", "EMAILID THREADID" },
        { "PREVIEW (EAGER)", NULL },
        { "()", NULL },
        { "(FLAGS", NULL },
        { "(FLAGS )", NULL },
        { "(ALL)", NULL },
        { "FLAGSX", NULL },
        { "BODY[0]", NULL },
        { "BODY[1.]", NULL },
        { "BODY[MIME]", NULL },
        { "BODY[1", NULL },
        { "BODY[HEADER.FIELDS]", NULL },
        { "BODY[HEADER.FIELDS ()]", NULL },
        { "BODY[]<0>", NULL },
        { "BODY[]<0.0>", NULL },
        { "BODY[]<1.", NULL },
        { "BODY[HEADERX]", NULL },
        { "BODY.PEEK", NULL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice in = sl_z(rows[i].in);
        struct imap_fetch_items items;
        struct buf b = { 0 };
        struct err e = { 0 };
        enum parse_rc rc = imap_take_fetch_items(&in, &mem, &items, &e);

        TEST_ROW("%s", rows[i].in);
        if (rc == PARSE_OK)
            rc = imap_take_end(&in, &e);
        if (CHECK_EQ_INT(rc, rows[i].want ? PARSE_OK : PARSE_BAD) && rc == PARSE_OK) {
            for (size_t k = 0; k < items.n; k++)
                buf_addf(&b, "%s%s%.*s", k ? " " : "", items.v[k].is_peek ? "-" : "",
                         SL_ARG(items.v[k].label));
            CHECK_EQ_STR(buf_z(&b), rows[i].want);
        }
        buf_free(&b);
    }
    arena_free(&mem);
}

TEST(uid_is_added_once)
{
    struct slice in = SL("(FLAGS UID)"), in2 = SL("FLAGS");
    struct imap_fetch_items items;

    NEED(imap_take_fetch_items(&in, &mem, &items, NULL) == PARSE_OK);
    NEED(imap_fetch_want_uid(&items, &mem) == 0);
    CHECK_EQ_INT(items.n, 2);
    NEED(imap_take_fetch_items(&in2, &mem, &items, NULL) == PARSE_OK);
    NEED(imap_fetch_want_uid(&items, &mem) == 0);
    CHECK_EQ_INT(items.n, 2);
    CHECK_EQ_INT(items.v[0].kind, IMAP_FETCH_UID);
    arena_free(&mem);
}

TEST(a_full_arena_is_bad_input)
{
    struct arena small = { .cap = 64 };
    struct slice in = SL("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19");
    struct imap_set set;
    struct imap_fetch_items items;
    struct err e = { 0 };

    CHECK_EQ_INT(imap_take_set(&in, &small, &set, &e), PARSE_BAD);
    in = SL("(UID FLAGS BODY[HEADER.FIELDS (A B C D E F G H I J K)])");
    CHECK_EQ_INT(imap_take_fetch_items(&in, &small, &items, &e), PARSE_BAD);
    arena_free(&small);
}

TEST(writing)
{
    static const struct {
        const char *in, *nstring, *astring;
    } rows[] = {
        { "INBOX", "\"INBOX\"", "INBOX" },
        { "a b", "\"a b\"", "\"a b\"" },
        { "", "\"\"", "\"\"" },
        { "NIL", "\"NIL\"", "\"NIL\"" },
        { "a\"\\b", "\"a\\\"\\\\b\"", "\"a\\\"\\\\b\"" },
        { "a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb" },
        { "\xc3\xa9", "{2}\r\n\xc3\xa9", "{2}\r\n\xc3\xa9" },
        { "&AOk-.x", "\"&AOk-.x\"", "&AOk-.x" },
        { "a(b", "\"a(b\"", "\"a(b\"" },
    };
    static const uint32_t numbers[] = { 1, 2, 3, 5, 7, 8, UINT32_MAX };
    struct buf b = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].in);
        buf_reset(&b);
        imap_add_nstring(&b, sl_z(rows[i].in));
        CHECK_EQ_STR(buf_z(&b), rows[i].nstring);
        buf_reset(&b);
        imap_add_astring(&b, sl_z(rows[i].in));
        CHECK_EQ_STR(buf_z(&b), rows[i].astring);
    }
    TEST_ROW("others");
    buf_reset(&b);
    imap_add_nstring(&b, sl_n(NULL, 0));
    CHECK_EQ_STR(buf_z(&b), "NIL");
    buf_reset(&b);
    imap_add_text(&b, SL("a\r\nb\x7f"));
    CHECK_EQ_STR(buf_z(&b), "a??b?");
    buf_reset(&b);
    imap_add_number_set(&b, numbers, COUNT_OF(numbers));
    CHECK_EQ_STR(buf_z(&b), "1:3,5,7:8,4294967295");
    buf_free(&b);
}

TEST_MAIN()
