#include "base/test.h"
#include "proto/imap_url.h"

#include <stdlib.h>

/* What was understood, in one line; of the base (mailbox "base", UIDVALIDITY 3) where it was taken. */
static void
tell(const struct imap_url *u, struct buf *out)
{
    if (u->is_absolute)
        buf_addf(out, "%.*s|%.*s|%.*s|%u ", SL_ARG(u->user), SL_ARG(u->auth), SL_ARG(u->host),
                 u->port);
    if (u->mailbox.p)
        buf_addf(out, "box=%.*s/%u ", SL_ARG(u->mailbox), u->uidvalidity);
    if (u->uid)
        buf_addf(out, "uid=%u ", u->uid);
    if (u->section.p)
        buf_addf(out, "section=%.*s ", SL_ARG(u->section));
    if (u->is_partial)
        buf_addf(out, "partial=%llu.%llu ", (unsigned long long)u->first,
                 (unsigned long long)u->count);
    if (u->query.p)
        buf_addf(out, "query=%.*s ", SL_ARG(u->query));
    if (u->has_expire)
        buf_addf(out, "expire=%lld ", (long long)u->expire_unix_s);
    if (u->access.p)
        buf_addf(out, "access=%.*s+%.*s rump=%zu ", SL_ARG(u->access), SL_ARG(u->access_user),
                 u->rump.n);
    if (u->token.p)
        buf_addf(out, "%.*s:%.*s ", SL_ARG(u->mechanism), SL_ARG(u->token));
}

#define T32 "0123456789abcdefABCDEF9876543210"
static const struct {
    const char *url, *want; /* NULL: none */
} cases[] = {
    /* RFC 5092 §4, §5, §6 and the examples of §9 */
    { "imap://host", "||host|0 " },
    { "imap://HOST:144/", "||host|144 " },
    { "IMAP://joe@[::1]:143", "joe||[::1]|143 " },
    { "imap://joe;AUTH=*@host/", "joe|*|host|0 " },
    { "imap://;AUTH=KERBEROS_V4@host/gray-council/;uid=20/;section=1.2",
      "|KERBEROS_V4|host|0 box=gray-council/0 uid=20 section=1.2 " },
    { "imap://psicorp.example.org/~peter/%E6%97%A5%E6%9C%AC%E8%AA%9E/%E5%8F%B0%E5%8C%97",
      "||psicorp.example.org|0 box=~peter/日本語/台北/0 " },
    { "imap://minbari.example.org/gray-council?SUBJECT%20shadows",
      "||minbari.example.org|0 box=gray-council/0 query=SUBJECT%20shadows " },
    { "imap://host/a;UIDVALIDITY=385759045/;UID=20/;PARTIAL=0.1024",
      "||host|0 box=a/385759045 uid=20 partial=0.1024 " },
    { "imap://host/a;uidvalidity=7", "||host|0 box=a/7 " },
    { "imap://host/a/;UID=1/;SECTION=HEADER.FIELDS%20(a%20b)/;PARTIAL=9",
      "||host|0 box=a/0 uid=1 section=HEADER.FIELDS (a b) partial=9.0 " },
    { "imap://a%40b@h/x%2Fy%3Bz/;UID=1", "a@b||h|0 box=x/y;z/0 uid=1 " },
    { "//host/a/;UID=1", "||host|0 box=a/0 uid=1 " },
    /* relative: §7.2; RFC 5550 §3.4 */
    { "", "box=base/3 uid=9 " },
    { ";UID=20/;SECTION=1.2", "box=base/3 uid=20 section=1.2 " },
    { ";SECTION=1", "box=base/3 uid=9 section=1 " },
    { ";PARTIAL=1.2", "box=base/3 uid=9 partial=1.2 " },
    { "/other/;UID=1", "box=other/0 uid=1 " },
    { "other;UIDVALIDITY=2/;UID=1", "box=other/2 uid=1 " },
    { "?ALL", "box=base/3 query=ALL " },
    /* URLAUTH: §6.1 */
    { "imap://joe@h/INBOX/;uid=20/;section=1.2;urlauth=submit+fred",
      "joe||h|0 box=INBOX/0 uid=20 section=1.2 access=submit+fred rump=59 " },
    { "imap://joe@h/INBOX/;uid=20;urlauth=submit+fred:internal:" T32,
      "joe||h|0 box=INBOX/0 uid=20 access=submit+fred rump=46 internal:" T32 " " },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T20:00:00Z;urlauth=anonymous",
      "joe||h|0 box=I/0 uid=2 expire=1131220800 access=anonymous+ rump=67 " },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T20:00:00.5+01:30;urlauth=user+a@b:X-1:" T32 T32,
      "joe||h|0 box=I/0 uid=2 expire=1131215400 access=user+a@b rump=73 X-1:" T32 T32 " " },
    /* none */
    { "http://host/a", NULL },
    { "imaps://host/a", NULL },
    { "imap:host", NULL },
    { "imap://", NULL },
    { "imap:///a", NULL },
    { "imap://@host/", NULL },
    { "imap://;x@host/", NULL },
    { "imap://joe;AUTH=@host/", NULL },
    { "imap://a@b@host/", NULL },
    { "imap://host:0/", NULL },
    { "imap://host:65536/", NULL },
    { "imap://host:/", NULL },
    { "imap://[::1/", NULL },
    { "imap://[::1]x/", NULL },
    { "imap://host//a", NULL },
    { "imap://host/;UID=1", NULL },
    { "/;UID=1", NULL },
    { "imap://host/a b", NULL },
    { "imap://host/a\x7f", NULL },
    { "imap://host/\xc3\xa4", NULL },
    { "imap://host/a#b", NULL },
    { "imap://host/a%", NULL },
    { "imap://host/a%2", NULL },
    { "imap://host/a%zz", NULL },
    { "imap://host/a%00", NULL },
    { "imap://host/a%ff", NULL },
    { "imap://host/a\"", NULL },
    { "imap://host/a?", NULL },
    { "imap://host/a;UID=1", NULL },
    { "imap://host/a;", NULL },
    { "imap://host/a/;", NULL },
    { "imap://host/a/;UID=", NULL },
    { "imap://host/a/;UID=0", NULL },
    { "imap://host/a/;UID=4294967296", NULL },
    { "imap://host/a/;UID=1x", NULL },
    { "imap://host/a/;UID=1/", NULL },
    { "imap://host/a/;UID=1/x", NULL },
    { "imap://host/a/;UID=1;SECTION=1", NULL },
    { "imap://host/a/;UID=1/;SECTION=", NULL },
    { "imap://host/a/;UID=1/;SECTION=1;PARTIAL=1", NULL },
    { "imap://host/a/;UID=1/;SECTION=1/;UID=2", NULL },
    { "imap://host/a/;UID=1/;PARTIAL=", NULL },
    { "imap://host/a/;UID=1/;PARTIAL=1.", NULL },
    { "imap://host/a/;UID=1/;PARTIAL=1.0", NULL },
    { "imap://host/a/;UID=1/;PARTIAL=1-2", NULL },
    { "imap://host/a/;UID=1/;PARTIAL=99999999999999999999.1", NULL },
    { "imap://host/a;UIDVALIDITY=0/;UID=1", NULL },
    { "imap://host/a;UIDVALIDITY=1;UID=1", NULL },
    { "imap://host/a/;UIDVALIDITY=1", NULL },
    { "imap://host/a/;UID=1?ALL", NULL },
    { "imap://joe@h/I;urlauth=anonymous", NULL },
    { "/I/;uid=2;urlauth=anonymous", NULL },
    { "//joe@h/I/;uid=2;urlauth=anonymous", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=user+", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=user+a;b", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=user/a", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous:", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous:INTERNAL", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous:INTERNAL:", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous::" T32, NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous:INTERNAL:0123456789abcdef", NULL },
    { "imap://joe@h/I/;uid=2;urlauth=anonymous:INTERNAL:" T32 "x", NULL },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T20:00:00Z", NULL },
    { "imap://joe@h/I/;uid=2;expire=2005-13-05T20:00:00Z;urlauth=anonymous", NULL },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T24:00:00Z;urlauth=anonymous", NULL },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T20:00:00;urlauth=anonymous", NULL },
    { "imap://joe@h/I/;uid=2;expire=2005-11-05T20:00:00+0100;urlauth=anonymous", NULL },
};

TEST(urls)
{
    const struct imap_url base = { .mailbox = SL("base"), .uidvalidity = 3, .uid = 9 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena mem = { 0 };
        struct buf got = { 0 };
        struct imap_url url;
        struct err e = { 0 };
        enum parse_rc rc = imap_url_parse(sl_z(cases[i].url), &base, &mem, &url, &e);

        if (rc == PARSE_OK)
            tell(&url, &got);
        if ((rc == PARSE_OK) != (cases[i].want != NULL) ||
            (rc == PARSE_OK && strcmp(buf_z(&got), cases[i].want) != 0))
            FAIL("%s\n    got  %s\n    want %s", cases[i].url, rc == PARSE_OK ? buf_z(&got) : e.msg,
                 cases[i].want ? cases[i].want : "nothing");
        buf_free(&got);
        arena_free(&mem);
    }
}

TEST(bounds)
{
    struct arena mem = { .cap = 1000 };
    struct buf text = { 0 };
    struct imap_url url;
    struct err e = { 0 };

    buf_addz(&text, "imap://h/");
    while (text.n < 2000)
        buf_addc(&text, 'a');
    CHECK_EQ_INT(imap_url_parse(buf_slice(&text), NULL, &mem, &url, &e), PARSE_BAD); /* arena */
    arena_free(&mem);
    mem.cap = 0;
    CHECK_EQ_INT(imap_url_parse(buf_slice(&text), NULL, &mem, &url, &e), PARSE_OK);
    while (text.n <= IMAP_URL_MAX_OCTETS)
        buf_addc(&text, 'a');
    CHECK_EQ_INT(imap_url_parse(buf_slice(&text), NULL, &mem, &url, &e), PARSE_BAD);
    CHECK_EQ_INT(imap_url_parse(SL(""), NULL, &mem, &url, &e), PARSE_OK);
    CHECK(url.mailbox.p == NULL);
    buf_free(&text);
    arena_free(&mem);
}

TEST_MAIN()
