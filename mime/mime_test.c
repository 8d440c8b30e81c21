/* mime/mime_test.c - tables of headers, addresses, dates, structures. */
#include "mime/mime.h"

#include "base/test.h"

#include <time.h>

static void
check_buf(struct buf *b, const char *want)
{
    CHECK_EQ_STR(buf_z(b), want);
    buf_free(b);
}

TEST(decodes_words)
{
    static const struct {
        const char *in, *want;
    } t[] = {
        { " plain text\r\n", "plain text" },
        { "folded\r\n line", "folded line" },
        { "=?utf-8?Q?gr=C3=BC=C3=9Fe?=", "gr\xc3\xbc\xc3\x9f"
                                         "e" },
        { "=?ISO-8859-1?Q?a_b=E9?=", "a b\xc3\xa9" },
        { "=?utf-8?B?w6k=?= =?utf-8?B?w6g=?=", "\xc3\xa9\xc3\xa8" },
        { "=?utf-8?B?w6k=?=\r\n =?utf-8?B?w6g=?= x", "\xc3\xa9\xc3\xa8 x" },
        { "a =?utf-8?q?b?= c", "a b c" },
        { "=?nonsense?q?b?=", "=?nonsense?q?b?=" },
        { "=?utf-8?x?b?= = =?", "=?utf-8?x?b?= = =?" },
        { "=?utf-8*de?Q?a?=", "a" },
        { "raw \xff octet", "raw \xef\xbf\xbd octet" },
        { "=?utf-8?Q?unfinished", "=?utf-8?Q?unfinished" },
        { "=?utf-8?Q?un?finished?=", "=?utf-8?Q?un?finished?=" },
        { "=?utf-8?Q?really?"
          "?= =?utf-8?Q?"
          "?=x",
          "really?x" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", t[i].in);
        mime_decode_words(sl_z(t[i].in), &out);
        check_buf(&out, t[i].want);
    }
}

TEST(reads_addresses)
{
    static const struct {
        const char *in, *want; /* as the ENVELOPE of a From field */
    } t[] = {
        { "a@b.c", "((NIL NIL \"a\" \"b.c\"))" },
        { "A B <a@b>", "((\"A B\" NIL \"a\" \"b\"))" },
        { "\"A, \\\"B\\\"\" <a@b>, c@d",
          "((\"A, \\\"B\\\"\" NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))" },
        { "a@b (A Comment)", "((\"A Comment\" NIL \"a\" \"b\"))" },
        { "<@x,@y:a@b>", "((NIL \"@x,@y\" \"a\" \"b\"))" },
        { "team: a@b, C <c@d>;",
          "((NIL NIL \"team\" NIL)(NIL NIL \"a\" \"b\")(\"C\" NIL \"c\" \"d\")(NIL NIL NIL NIL))" },
        { "undisclosed-recipients:;",
          "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))" },
        { "a . b @ c . d", "((NIL NIL \"a.b\" \"c.d\"))" },
        { "\"quoted local\"@x", "((NIL NIL \"quoted local\" \"x\"))" },
        { "x@[192.0.2.1]", "((NIL NIL \"x\" \"[192.0.2.1]\"))" },
        { "", "NIL" },
        { ",,", "NIL" },
        { "bare", "((NIL NIL \"bare\" \"MISSING_DOMAIN\"))" },
        { "a@b,\r\n\tc@d", "((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\"))" },
        { "(((((", "NIL" },
        { "<", "((NIL NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))" },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct buf header = { 0 }, out = { 0 }, want = { 0 };

        TEST_ROW("%s", t[i].in);
        buf_addf(&header, "Cc: %s\r\n\r\n", t[i].in);
        mime_envelope(buf_slice(&header), &out);
        buf_addf(&want, "(NIL NIL NIL NIL NIL NIL %s NIL NIL NIL)", t[i].want);
        check_buf(&out, buf_z(&want));
        buf_free(&want);
        buf_free(&header);
    }
}

TEST(tells_the_envelope)
{
    struct buf out = { 0 };

    mime_envelope(SL("Date: Sun, 22 Nov 2026 15:04:00 +0000\r\nSubject: =?utf-8?q?x?= "
                     "\"q\"\r\nFrom: a@b\r\nTO: c@d\r\nTo: e@f\r\n"
                     "Message-ID: <1@x>\r\nSubject: second\r\n\r\nFrom: not@header\r\n"),
                  &out);
    check_buf(&out, "(\"Sun, 22 Nov 2026 15:04:00 +0000\" \"=?utf-8?q?x?= \\\"q\\\"\" ((NIL NIL "
                    "\"a\" \"b\")) ((NIL NIL \"a\" \"b\"))"
                    " ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" \"d\")(NIL NIL \"e\" \"f\")) NIL NIL "
                    "NIL \"<1@x>\")");
}

TEST(reads_dates)
{
    static const struct {
        const char *in;
        int64_t unix_s;
        int tz;
        bool is_good;
    } t[] = {
        { "Thu, 01 Jan 1970 00:00:00 +0000", 0, 0, true },
        { "Sun, 22 Nov 2026 15:04:00 +0100", 1795356240, 60, true },
        { "22 Nov 26 14:04 GMT", 1795356240, 0, true },
        { "Sun, 22 Nov 2026 09:04:00 -0500 (EST)", 1795356240, -300, true },
        { "Sun (comment), 22 Nov 2026 09:04:00 EST", 1795356240, -300, true },
        { "29 Feb 2024 00:00:00 +0000", 1709164800, 0, true },
        { "29 Feb 2023 00:00:00 +0000", 0, 0, false },
        { "31 Dec 1969 23:59:59 +0000", -1, 0, true },
        { "tomorrow", 0, 0, false },
        { "", 0, 0, false },
        { "22 Nov 2026 25:00:00 +0000", 0, 0, false },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        int64_t got = 0;
        int16_t tz = 0;

        TEST_ROW("%s", t[i].in);
        CHECK_EQ_INT(mime_parse_date(sl_z(t[i].in), &got, &tz), t[i].is_good);
        if (t[i].is_good) {
            CHECK_EQ_INT(got, t[i].unix_s);
            CHECK_EQ_INT(tz, t[i].tz);
        }
    }
}

TEST(writes_dates)
{
    char out[MIME_DATE_OCTETS];
    int64_t back;
    int16_t tz;

    CHECK_EQ_STR(mime_format_date(1795356240, 60, out), "Sun, 22 Nov 2026 15:04:00 +0100");
    CHECK_EQ_STR(mime_format_imap_date(1795356240, -330, out), "22-Nov-2026 08:34:00 -0530");
    CHECK(mime_parse_imap_date(sl_z(out), &back, &tz));
    CHECK_EQ_INT(back, 1795356240);
    CHECK_EQ_INT(tz, -330);
    CHECK(mime_parse_imap_date(SL(" 1-Jan-1970 00:00:00 +0000"), &back, &tz));
    CHECK_EQ_INT(back, 0);
    CHECK(!mime_parse_imap_date(SL("1-Jan-1970 00:00:00 +0000"), &back, &tz));
    CHECK(!mime_parse_imap_date(SL("99-Jan-1970 00:00:00 +0000"), &back, &tz));
    CHECK_EQ_INT(mime_day_of_time(-1, 0), -1);
    CHECK_EQ_INT(mime_day_of_time(86399, 1), 1);
}

static const char mixed[] =
    "Content-Type: multipart/mixed; boundary=\"b 1\"\r\n\r\n"
    "preamble\r\n--b 1\r\n\r\nplain\r\n"
    "--b 1\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: in\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n"
    "--b2\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
    "base64\r\n\r\nw6k=\r\n"
    "--b2\r\nContent-Type: text/html\r\n\r\n<p>\r\n--b2--\r\n"
    "\r\n--b 1\r\nContent-Type: image/png; name=\"x.png\"\r\nContent-Disposition: attachment; "
    "filename=x.png\r\n"
    "Content-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b 1--\r\nepilogue\r\n";

TEST(tells_the_structure)
{
    struct arena mem = { 0 };
    struct buf out = { 0 };

    mime_bodystructure(mime_parse(SL("\r\nhello\r\n"), &mem), false, &out);
    check_buf(&out, "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 7 1)");
    mime_bodystructure(mime_parse(sl_z(mixed), &mem), true, &out);
    check_buf(
        &out,
        "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 5 0 NIL NIL NIL NIL)"
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 201 (NIL \"in\" NIL NIL NIL NIL NIL NIL NIL "
        "NIL) "
        "((\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"base64\" 4 0 NIL NIL NIL NIL)"
        "(\"text\" \"html\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0 NIL NIL NIL NIL)"
        " \"alternative\" (\"boundary\" \"b2\") NIL NIL NIL) 13 NIL NIL NIL NIL)"
        "(\"image\" \"png\" (\"name\" \"x.png\") NIL NIL \"base64\" 4 NIL (\"attachment\" "
        "(\"filename\" \"x.png\")) NIL NIL)"
        " \"mixed\" (\"boundary\" \"b 1\") NIL NIL NIL)");
    arena_free(&mem);
}

TEST(finds_parts)
{
    static const struct {
        uint32_t n[3];
        size_t len;
        const char *body; /* NULL: no such part */
    } t[] = {
        { { 1 }, 1, "plain" }, { { 2, 1 }, 2, "w6k=" }, { { 2, 2 }, 2, "<p>" },
        { { 3 }, 1, "AAAA" },  { { 4 }, 1, NULL },      { { 0 }, 1, NULL },
        { { 1, 1 }, 2, NULL }, { { 2, 3 }, 2, NULL },   { { 2, 1, 1 }, 3, NULL },
    };
    struct arena mem = { 0 };
    struct mime_part *root = mime_parse(sl_z(mixed), &mem), *single = mime_parse(SL("\r\nx"), &mem);
    uint32_t one = 1, two = 2;

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        const struct mime_part *p = mime_find_part(root, t[i].n, t[i].len);

        TEST_ROW("%u.%u", t[i].n[0], t[i].n[1]);
        CHECK_EQ_INT(p != NULL, t[i].body != NULL);
        if (p != NULL && t[i].body != NULL)
            CHECK(sl_eqz(p->body, t[i].body));
    }
    CHECK(mime_find_part(single, &one, 1) == single);
    CHECK(mime_find_part(single, &two, 1) == NULL);
    arena_free(&mem);
}

TEST(decodes_bodies)
{
    struct buf out = { 0 };
    struct arena mem = { 0 };

    mime_decode_qp(SL("a=3D=\r\nb=C3=A9 =\nz= x=4"), false, &out);
    check_buf(&out, "a=b\xc3\xa9 z= x=4");
    mime_decode_b64(SL("aGVs\r\nbG8=\r\n!"), &out);
    check_buf(&out, "hello");
    mime_decode_text(
        mime_parse(SL("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: "
                      "quoted-printable\r\n\r\n=E9"),
                   &mem),
        &out);
    check_buf(&out, "\xc3\xa9");
    arena_free(&mem);
}

/* Hostile mail ends, within bounds. */
TEST(survives_hostile_mail)
{
    struct arena mem = { 0 };
    struct buf m = { 0 }, out = { 0 };
    struct mime_part *root;

    for (int i = 0; i < 300; i++)
        buf_addf(&m, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i);
    root = mime_parse(buf_slice(&m), &mem);
    mime_bodystructure(root, true, &out);
    CHECK(buf_slice(&out).n > 0);
    buf_free(&m);
    buf_free(&out);
    buf_addz(&m, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 3 * MIME_PARTS_MAX; i++)
        buf_addz(&m, "--b\r\n\r\n");
    root = mime_parse(buf_slice(&m), &mem);
    CHECK(root->n_kids <= MIME_PARTS_MAX);
    buf_free(&m);
    for (int i = 0; i < 100; i++)
        buf_addz(&m, "Content-Type: message/rfc822\r\n\r\n");
    for (int i = 0; i < 400; i++)
        buf_addz(&m, "Content-Type: message/rfc822\r\n\r\n");
    mime_bodystructure(mime_parse(buf_slice(&m), &mem), true, &out);
    buf_free(&m);
    buf_free(&out);
    mime_bodystructure(mime_parse(SL("Content-Type: text/plain; a=\"\\"), &mem), true, &out);
    mime_bodystructure(mime_parse(SL("\0\0\n\r:\xff"), &mem), true, &out);
    mime_envelope(SL("From: \0@\xff\r\nSubject: \0\r\n\r\n"), &out);
    CHECK(memchr(buf_slice(&out).p, '\0', buf_slice(&out).n) == NULL);
    buf_free(&out);
    arena_free(&mem);
}

/* RFC 2231 §3, §4.1. */
TEST(joins_parameters_in_pieces)
{
    static const struct {
        const char *params, *out;
    } t[] = {
        { "; name*0=abc; name*1=\"d e\"", "\"name\" \"abcd e\"" },
        { "; name*1=b; x=y; NAME*0=a", "\"x\" \"y\" \"NAME\" \"ab\"" },
        { "; f*0*=utf-8''a%20; f*1*=%C3%BC; f*2=\"b c'%\"",
          "\"f*\" \"utf-8''a%20%C3%BCb%20c%27%25\"" },
        { "; f*0=\"a b\"; f*1*=%20c", "\"f*\" \"''a%20b%20c\"" },
        { "; f*=utf-8''x", "\"f*\" \"utf-8''x\"" },
        { "; f*0*=utf-8''x", "\"f*\" \"utf-8''x\"" },
        { "; f=plain; f*0*=utf-8''x; f*1*=y", "\"f\" \"plain\" \"f*\" \"utf-8''xy\"" },
        { "; f*0=x; f*1=y; f=plain", "\"f*0\" \"x\" \"f*1\" \"y\" \"f\" \"plain\"" },
        { "; f*0=a; f*2=c; f*3=d", "\"f\" \"a\" \"f*2\" \"c\" \"f*3\" \"d\"" },
        { "; f*1=b; f*2=c", "\"f*1\" \"b\" \"f*2\" \"c\"" },
        { "; f*0=a; f*0=b; f*1=c", "\"f\" \"a\" \"f*0\" \"b\" \"f*1\" \"c\"" },
        { "; f*00=a; f*01=b; *0=c; f*x=d; f*99999=e",
          "\"f*00\" \"a\" \"f*01\" \"b\" \"*0\" \"c\" \"f*x\" \"d\" \"f*99999\" \"e\"" },
        { "; a*0=1; b*0=2; a*1=3; b*1=4", "\"a\" \"13\" \"b\" \"24\"" },
    };
    struct arena mem = { 0 };
    struct buf m = { 0 }, out = { 0 };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        char expected[300];

        TEST_ROW("%s", t[i].params);
        buf_reset(&m);
        buf_addf(&m, "Content-Type: a/b%s\r\n\r\n", t[i].params);
        snprintf(expected, sizeof(expected), "(\"a\" \"b\" (%s) NIL NIL \"7bit\" 0)", t[i].out);
        mime_bodystructure(mime_parse(buf_slice(&m), &mem), false, &out);
        check_buf(&out, expected);
    }
    buf_free(&m);
    arena_free(&mem);
}

/* As many as there can be, the last first. */
TEST(joins_many_pieces)
{
    struct arena mem = { 0 };
    struct buf m = { 0 }, out = { 0 };

    buf_addz(&m, "Content-Type: a/b");
    for (int i = 9999; i >= 0; i--)
        buf_addf(&m, ";\r\n n*%d=x", i);
    buf_addz(&m, "\r\nContent-Disposition: a");
    for (int i = 0; i < 10000; i++)
        buf_addf(&m, ";\r\n n*%d=x", i);
    buf_addz(&m, "\r\n\r\n");
    mime_bodystructure(mime_parse(buf_slice(&m), &mem), true, &out);
    CHECK(sl_find(buf_slice(&out), SL("(\"n*9999\" \"x\" ")) != SL_NPOS);
    CHECK(sl_find(buf_slice(&out), SL("(\"a\" (\"n\" \"xxxx")) != SL_NPOS);
    buf_free(&m);
    buf_free(&out);
    arena_free(&mem);
}

enum { FLOOD_OCTETS = 10 * 1024 * 1024, FLOOD_CPU_S = 2 };

/* A message of this size may not keep a processor for long, whatever it is made of. */
TEST(floods_take_little_time)
{
    static const struct {
        const char *name, *head, *piece;
        int n_heads;
        size_t octets;
    } t[] = {
        { "routes", "From: ", "<@,", 1, FLOOD_OCTETS },
        { "encoded words", "Subject: ", "=?a?Q?x", 1, FLOOD_OCTETS / 10 },
        { "encoded words of no charset", "Subject: ", "=?a?Q?x?=", 1, FLOOD_OCTETS / 10 },
        { "lines below many parts", "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", "\n",
          MIME_DEPTH_MAX, FLOOD_OCTETS / 10 },
        { "messages in messages", "Content-Type: message/rfc822\n\n", "\n", MIME_DEPTH_MAX,
          FLOOD_OCTETS / 10 },
        { "parameters", "Content-Type: a/b", ";a*0*=\"b", 1, FLOOD_OCTETS },
        { "pieces", "Content-Type: multipart/mixed; boundary=b\n",
          "--b\nContent-Type: a/b;a*0=b;A*1=c;"
          "a*0=b;A*2*=c;b*0=b;a*3=c;b*1=d;c*0=x;d*0=x;e*0;f*0=x;g*0=x;h*0=x;i*0=x;j*0=x\n\n",
          1, FLOOD_OCTETS / 5 },
        { "comments", "From: ", "(\\", 1, FLOOD_OCTETS },
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        struct arena mem = { 0 };
        struct buf m = { 0 }, out = { 0 };
        clock_t began;

        TEST_ROW("%s", t[i].name);
        for (int k = 0; k < t[i].n_heads; k++) {
            struct slice in = sl_z(t[i].head), part;

            while (sl_take_until(&in, '%', &part)) {
                buf_adds(&m, part);
                buf_addf(&m, "%d", k);
                in = sl_from(in, 1);
            }
            buf_adds(&m, in);
        }
        while (m.n < t[i].octets)
            buf_addz(&m, t[i].piece);
        began = clock();
        mime_bodystructure(mime_parse(buf_slice(&m), &mem), true, &out);
        mime_envelope(mime_header_of(buf_slice(&m)), &out);
        mime_decode_words(mime_get_field(buf_slice(&m), "subject"), &out);
        CHECK(clock() - began < (clock_t)FLOOD_CPU_S * CLOCKS_PER_SEC);
        buf_free(&m);
        buf_free(&out);
        arena_free(&mem);
    }
}

TEST_MAIN()
