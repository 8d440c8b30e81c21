/* proto/proxy_header.h - what a proxy says in front of a connection: the PROXY protocol, version 1 (a line of text) and 2
 * (binary), as HAProxy's proxy-protocol.txt has it. Stream connections over IPv4 and IPv6; what a proxy says of UDP or of
 * unix sockets is refused. TLVs of version 2 are stepped over, the checksum among them is not asked for.
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_PROXY_HEADER_H
#define POSTERN_PROTO_PROXY_HEADER_H

#include "base/err.h"
#include "base/slice.h"

enum {
    PROXY_V1_OCTETS = 107,      /* longest line with its CRLF */
    PROXY_V2_HEAD_OCTETS = 16,  /* before the addresses */
    PROXY_V2_BODY_OCTETS = 4096 /* addresses and TLVs; the protocol would allow 65535 */
};
enum { PROXY_HEADER_OCTETS = PROXY_V2_HEAD_OCTETS + PROXY_V2_BODY_OCTETS };

enum proxy_kind {
    PROXY_NONE, /* LOCAL, UNKNOWN, AF_UNSPEC: the proxy speaks for itself */
    PROXY_IPV4,
    PROXY_IPV6
};
struct proxy_endpoint {
    unsigned char ip[16]; /* 4 or 16 octets, network order */
    uint16_t port;        /* host order */
};
struct proxy_header {
    enum proxy_kind kind;
    struct proxy_endpoint client, server; /* as the client sees it; zero for PROXY_NONE */
};

/* The header at the front of in. PARSE_OK: *used octets are the header, what follows is the client's. PARSE_MORE: so far
 * it could be one; never with PROXY_HEADER_OCTETS or more in hand. PARSE_BAD: e says why, fit for a log line. Call it
 * again from the start with more; the answer does not depend on how the octets came. */
enum parse_rc proxy_header_parse(struct slice in, struct proxy_header *out, size_t *used,
                                 struct err *e);

#endif
