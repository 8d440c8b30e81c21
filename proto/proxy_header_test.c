/* proto/proxy_header_test.c - PROXY protocol, versions 1 and 2, whole, octet by octet, and broken. */
#include "proto/proxy_header.h"

#include "base/mem.h"
#include "base/test.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define SIG   "\r\n\r\n\0\r\nQUIT\n"
#define IN(s) (s), sizeof(s) - 1
#define V4                                                                                         \
    "\xc0\x00\x02\x01"                                                                             \
    "\xc6\x33\x64\x09"                                                                             \
    "\x30\x39"                                                                                     \
    "\x00\x19"
#define V6A "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define V6B "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"

static const struct {
    const char *name, *in;
    size_t n, used; /* used 0: bad */
    enum proxy_kind kind;
    const char *client, *server;
    unsigned client_port, server_port;
} rows[] = {
    { "v1 TCP4", IN("PROXY TCP4 192.0.2.1 198.51.100.9 12345 25\r\nEHLO x\r\n"), 44, PROXY_IPV4,
      "192.0.2.1", "198.51.100.9", 12345, 25 },
    { "v1 TCP6", IN("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n"), 44, PROXY_IPV6,
      "2001:db8::1", "2001:db8::2", 1, 65535 },
    { "v1 UNKNOWN", IN("PROXY UNKNOWN\r\n"), 15, PROXY_NONE, NULL, NULL, 0, 0 },
    { "v1 UNKNOWN with addresses", IN("PROXY UNKNOWN ffff::1 x 99999 -1\r\n"), 34, PROXY_NONE, NULL,
      NULL, 0, 0 },
    { "v1 port 0", IN("PROXY TCP4 192.0.2.1 198.51.100.9 0 0\r\n"), 39, PROXY_IPV4, "192.0.2.1",
      "198.51.100.9", 0, 0 },
    { "v1 bare LF", IN("PROXY TCP4 192.0.2.1 198.51.100.9 12345 25\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 UDP", IN("PROXY UDP4 192.0.2.1 198.51.100.9 12345 25\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 family of the address", IN("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n"), 0, 0, NULL,
      NULL, 0, 0 },
    { "v1 name", IN("PROXY TCP4 localhost 198.51.100.9 1 2\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 no client", IN("PROXY TCP4\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 no ports", IN("PROXY TCP4 192.0.2.1 198.51.100.9\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 port too large", IN("PROXY TCP4 192.0.2.1 198.51.100.9 65536 25\r\n"), 0, 0, NULL, NULL,
      0, 0 },
    { "v1 port with zero", IN("PROXY TCP4 192.0.2.1 198.51.100.9 025 25\r\n"), 0, 0, NULL, NULL, 0,
      0 },
    { "v1 signed port", IN("PROXY TCP4 192.0.2.1 198.51.100.9 +25 25\r\n"), 0, 0, NULL, NULL, 0,
      0 },
    { "v1 two blanks", IN("PROXY TCP4  192.0.2.1 198.51.100.9 1 25\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 tail", IN("PROXY TCP4 192.0.2.1 198.51.100.9 1 25 x\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "v1 blank at the end", IN("PROXY TCP4 192.0.2.1 198.51.100.9 1 25 \r\n"), 0, 0, NULL, NULL, 0,
      0 },
    { "v1 NUL in the address", IN("PROXY TCP4 192.0.2.1\0x 198.51.100.9 1 25\r\n"), 0, 0, NULL,
      NULL, 0, 0 },
    { "v1 endless",
      IN("PROXY UNKNOWN "
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxx\r\n"),
      0, 0, NULL, NULL, 0, 0 },
    { "v1 small letters", IN("proxy TCP4 192.0.2.1 198.51.100.9 1 25\r\n"), 0, 0, NULL, NULL, 0,
      0 },
    { "a client's own word", IN("EHLO x\r\n"), 0, 0, NULL, NULL, 0, 0 },
    { "TLS", IN("\x16\x03\x01"), 0, 0, NULL, NULL, 0, 0 },

    { "v2 TCP4", IN(SIG "\x21\x11\x00\x0c" V4 "EHLO"), 28, PROXY_IPV4, "192.0.2.1", "198.51.100.9",
      12345, 25 },
    { "v2 TCP6", IN(SIG "\x21\x21\x00\x24" V6A V6B "\x30\x39\x01\xd1"), 52, PROXY_IPV6,
      "2001:db8::1", "2001:db8::2", 12345, 465 },
    { "v2 TLVs", IN(SIG "\x21\x11\x00\x12" V4 "\x04\x00\x03xyz"), 34, PROXY_IPV4, "192.0.2.1",
      "198.51.100.9", 12345, 25 },
    { "v2 LOCAL", IN(SIG "\x20\x00\x00\x00"), 16, PROXY_NONE, NULL, NULL, 0, 0 },
    { "v2 LOCAL with addresses", IN(SIG "\x20\x11\x00\x0c" V4), 28, PROXY_NONE, NULL, NULL, 0, 0 },
    { "v2 LOCAL of UDP", IN(SIG "\x20\x12\x00\x0c" V4), 28, PROXY_NONE, NULL, NULL, 0, 0 },
    { "v2 AF_UNSPEC", IN(SIG "\x21\x00\x00\x03xyz"), 19, PROXY_NONE, NULL, NULL, 0, 0 },
    { "v2 UDP over IPv4", IN(SIG "\x21\x12\x00\x0c" V4), 0, 0, NULL, NULL, 0, 0 },
    { "v2 UDP over IPv6", IN(SIG "\x21\x22\x00\x24" V6A V6B "\x30\x39\x01\xd1"), 0, 0, NULL, NULL,
      0, 0 },
    { "v2 unix", IN(SIG "\x21\x31\x00\x00"), 0, 0, NULL, NULL, 0, 0 },
    { "v2 family of no protocol", IN(SIG "\x21\x10\x00\x0c" V4), 0, 0, NULL, NULL, 0, 0 },
    { "v2 too short", IN(SIG "\x21\x11\x00\x0b" V4), 0, 0, NULL, NULL, 0, 0 },
    { "v2 IPv6 too short", IN(SIG "\x21\x21\x00\x23" V6A V6B "\x30\x39\x01\xd1"), 0, 0, NULL, NULL,
      0, 0 },
    { "v2 too long", IN(SIG "\x21\x11\x10\x01"), 0, 0, NULL, NULL, 0, 0 },
    { "v2 version 1", IN(SIG "\x11\x11\x00\x0c" V4), 0, 0, NULL, NULL, 0, 0 },
    { "v2 command 2", IN(SIG "\x22\x11\x00\x0c" V4), 0, 0, NULL, NULL, 0, 0 },
    { "v2 broken signature", IN("\r\n\r\n\0\r\nQUIX\n"), 0, 0, NULL, NULL, 0, 0 },
};

static void
check_endpoint(const struct proxy_endpoint *got, enum proxy_kind kind, const char *ip,
               unsigned port)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (ip) {
        inet_ntop(kind == PROXY_IPV4 ? AF_INET : AF_INET6, got->ip, text, sizeof(text));
        CHECK_EQ_STR(text, ip);
    }
    CHECK_EQ_INT(got->port, port);
}

/* In a buffer of exactly n octets, so that a read beyond it is seen. */
static enum parse_rc
parse(const char *in, size_t n, struct proxy_header *h, size_t *used, struct err *e)
{
    char *copy = malloc(n + !n);
    enum parse_rc rc;

    memcpy(copy, in, n);
    rc = proxy_header_parse(sl_n(copy, n), h, used, e);
    free(copy);
    return rc;
}

TEST(headers)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct proxy_header h;
        struct err e = { 0 };
        size_t used = 0;
        enum parse_rc rc = parse(rows[i].in, rows[i].n, &h, &used, &e);

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(rc, rows[i].used ? PARSE_OK : PARSE_BAD);
        CHECK_EQ_INT(e.kind, rows[i].used ? ERR_NONE : ERR_CLIENT);
        if (rc != PARSE_OK || rows[i].used == 0)
            continue;
        CHECK_EQ_INT(used, rows[i].used);
        CHECK_EQ_INT(h.kind, rows[i].kind);
        check_endpoint(&h.client, h.kind, rows[i].client, rows[i].client_port);
        check_endpoint(&h.server, h.kind, rows[i].server, rows[i].server_port);
    }
}

/* However it comes, the answer is the same and is not given before it is certain. */
TEST(octet_by_octet)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t n = 0, used = 0;
        struct proxy_header h;
        enum parse_rc rc = PARSE_MORE;

        TEST_ROW("%s", rows[i].name);
        for (; n <= rows[i].n && rc == PARSE_MORE; n++)
            rc = parse(rows[i].in, n, &h, &used, NULL);
        CHECK_EQ_INT(rc, rows[i].used ? PARSE_OK : PARSE_BAD);
        if (rows[i].used) {
            CHECK_EQ_INT(n - 1, rows[i].used);
            CHECK_EQ_INT(used, rows[i].used);
        }
    }
}

TEST(never_waits_for_ever)
{
    static const char *const starts[] = { "PROXY ", "PROXY TCP4 ", "PROXY UNKNOWN " };
    char big[PROXY_HEADER_OCTETS];
    struct proxy_header h;
    size_t used;

    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        memset(big, 'x', sizeof(big));
        memcpy(big, starts[i], strlen(starts[i]));
        CHECK_EQ_INT(parse(big, PROXY_V1_OCTETS, &h, &used, NULL), PARSE_BAD);
    }
    memset(big, 0, sizeof(big));
    memcpy(big, SIG "\x21\x11\x10\x00" V4, 28);
    CHECK_EQ_INT(parse(big, sizeof(big) - 1, &h, &used, NULL), PARSE_MORE);
    CHECK_EQ_INT(parse(big, sizeof(big), &h, &used, NULL), PARSE_OK);
    CHECK_EQ_INT(used, PROXY_HEADER_OCTETS);
}
TEST_MAIN()
