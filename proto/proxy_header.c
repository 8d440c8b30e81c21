/* proto/proxy_header.c */
#include "proto/proxy_header.h"

#include <arpa/inet.h>

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";
enum { SIGNATURE_OCTETS = 12 };

/* in could begin with what, as far as it goes. */
static bool
could_begin(struct slice in, struct slice what)
{
    return sl_has_prefix(in, what) || sl_has_prefix(what, in);
}

/* ---- version 1 ---- */

/* One blank, then up to the next blank or the end. */
static bool
take_field(struct slice *line, struct slice *out)
{
    size_t n;

    if (!sl_take_char(line, ' '))
        return false;
    n = sl_find_char(*line, ' ');
    *out = sl_head(*line, n);
    *line = sl_from(*line, out->n);
    return out->n > 0;
}

static bool
take_ip(struct slice *line, int family, unsigned char ip[16])
{
    char z[INET6_ADDRSTRLEN];
    struct slice s;

    if (!take_field(line, &s) || s.n >= sizeof(z) || sl_find_char(s, '\0') != SL_NPOS)
        return false;
    memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return inet_pton(family, z, ip) == 1;
}

/* No zero in front, 0 to 65535. */
static bool
take_port(struct slice *line, uint16_t *port)
{
    struct slice s;
    uint64_t u;

    if (!take_field(line, &s) || s.n > 5 || !sl_to_u64(s, &u) || u > UINT16_MAX ||
        (s.n > 1 && s.p[0] == '0'))
        return false;
    *port = (uint16_t)u;
    return true;
}

static enum parse_rc
parse_line(struct slice line, struct proxy_header *out, struct err *e)
{
    struct slice family;
    int af;

    (void)sl_take_prefix(&line, SL("PROXY"));
    if (!take_field(&line, &family))
        return err_parse(e, "no protocol family");
    if (sl_eqz(family, "UNKNOWN")) /* what follows is not looked at: proxy-protocol.txt §2.1 */
        return PARSE_OK;
    if (!sl_eqz(family, "TCP4") && !sl_eqz(family, "TCP6"))
        return err_parse(e, "protocol family \"%.*s\" is neither TCP4 nor TCP6",
                         SL_ARG(sl_head(family, 20)));
    af = sl_eqz(family, "TCP4") ? AF_INET : AF_INET6;
    if (!take_ip(&line, af, out->client.ip))
        return err_parse(e, "bad client address");
    if (!take_ip(&line, af, out->server.ip))
        return err_parse(e, "bad server address");
    if (!take_port(&line, &out->client.port))
        return err_parse(e, "bad client port");
    if (!take_port(&line, &out->server.port))
        return err_parse(e, "bad server port");
    if (line.n > 0)
        return err_parse(e, "something follows the server port");
    out->kind = af == AF_INET ? PROXY_IPV4 : PROXY_IPV6;
    return PARSE_OK;
}

static enum parse_rc
parse_v1(struct slice in, struct proxy_header *out, size_t *used, struct err *e)
{
    size_t lf = sl_find_char(sl_head(in, PROXY_V1_OCTETS), '\n');

    if (lf == SL_NPOS)
        return in.n < PROXY_V1_OCTETS
                   ? PARSE_MORE
                   : err_parse(e, "line is longer than %d octets", PROXY_V1_OCTETS);
    if (in.p[lf - 1] != '\r') /* "PROXY" is in front */
        return err_parse(e, "line does not end in CRLF");
    *used = lf + 1;
    return parse_line(sl_head(in, lf - 1), out, e);
}

/* ---- version 2 ---- */

static uint16_t
u16_at(struct slice s, size_t at)
{
    return (uint16_t)((unsigned char)s.p[at] << 8 | (unsigned char)s.p[at + 1]);
}

/* Client address, server address, client port, server port. */
static enum parse_rc
parse_addresses(struct slice body, enum proxy_kind kind, struct proxy_header *out, struct err *e)
{
    size_t n = kind == PROXY_IPV4 ? 4 : 16;

    if (body.n < 2 * n + 4)
        return err_parse(e, "%zu octets are too short for two addresses and ports", body.n);
    memcpy(out->client.ip, body.p, n);
    memcpy(out->server.ip, body.p + n, n);
    out->client.port = u16_at(body, 2 * n);
    out->server.port = u16_at(body, 2 * n + 2);
    out->kind = kind;
    return PARSE_OK;
}

static enum parse_rc
parse_v2(struct slice in, struct proxy_header *out, size_t *used, struct err *e)
{
    unsigned version_command, family_protocol;
    size_t n;

    if (in.n < PROXY_V2_HEAD_OCTETS)
        return PARSE_MORE;
    version_command = (unsigned char)in.p[12];
    family_protocol = (unsigned char)in.p[13];
    n = u16_at(in, 14);
    if (version_command >> 4 != 2)
        return err_parse(e, "version %u is not 2", version_command >> 4);
    if ((version_command & 15) > 1)
        return err_parse(e, "command %u is neither LOCAL nor PROXY", version_command & 15);
    if (n > PROXY_V2_BODY_OCTETS)
        return err_parse(e, "%zu octets of addresses and TLVs, at most %d are taken", n,
                         PROXY_V2_BODY_OCTETS);
    if (in.n < PROXY_V2_HEAD_OCTETS + n)
        return PARSE_MORE;
    *used = PROXY_V2_HEAD_OCTETS + n;
    in = sl_n(in.p + PROXY_V2_HEAD_OCTETS, n);
    if ((version_command & 15) == 0) /* LOCAL: whatever is said of addresses */
        return PARSE_OK;
    switch (family_protocol) {
    case 0x00:
        return PARSE_OK;
    case 0x11:
        return parse_addresses(in, PROXY_IPV4, out, e);
    case 0x21:
        return parse_addresses(in, PROXY_IPV6, out, e);
    default:
        return err_parse(e, "family and protocol 0x%02x are not TCP over IPv4 or IPv6",
                         family_protocol);
    }
}

/* ---- either ---- */

enum parse_rc
proxy_header_parse(struct slice in, struct proxy_header *out, size_t *used, struct err *e)
{
    struct slice v2 = sl_n(signature, SIGNATURE_OCTETS), v1 = SL("PROXY ");

    *out = (struct proxy_header){ .kind = PROXY_NONE };
    if (could_begin(in, v2))
        return in.n < v2.n ? PARSE_MORE : parse_v2(in, out, used, e);
    if (could_begin(in, v1))
        return in.n < v1.n ? PARSE_MORE : parse_v1(in, out, used, e);
    return err_parse(e, "neither version 1 nor version 2");
}
