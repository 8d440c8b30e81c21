/* proto/hostname.h - is this text a host name, an IP address or an SMTP address literal?
 * Names: RFC 1123 §2.1 with the underscore that the world uses; RFC 6531 U-labels where asked for.
 * Literals: RFC 5321 §4.1.3. Layer: proto (base only). Reentrant; no look-ups. */
#ifndef POSTERN_PROTO_HOSTNAME_H
#define POSTERN_PROTO_HOSTNAME_H

#include "base/slice.h"

enum { HOSTNAME_OCTETS = 255, HOSTNAME_LABEL_OCTETS = 63 };

/* Letters, digits, '-' and '_' in labels of 1 to 63 octets, no '-' at either end of a label, no final dot, and not
 * digits alone (that would be an address or a piece of one). */
bool hostname_is_valid(struct slice name);
/* The same for a name that may have U-labels: its A-labels are what must be valid, and short enough (RFC 5890 §2.3.2.1:
 * 63 octets of an A-label may be 200 octets of UTF-8). Where libidn2 knows no A-label, UTF-8 counts as letters. */
bool hostname_is_valid_utf8(struct slice name);

/* A bare address: "192.0.2.1" or "2001:db8::1". 0.x.y.z other than 0.0.0.0 is refused. */
bool hostname_is_ipv4(struct slice text);
bool hostname_is_ipv6(struct slice text);

/* What may stand between the brackets of a literal: "192.0.2.1" or "IPv6:2001:db8::1". */
bool hostname_is_literal_addr(struct slice text);
/* With the brackets. */
bool hostname_is_literal(struct slice text);

/* Without one final dot; "a.." and "." are left alone. */
struct slice hostname_trim_dot(struct slice name);

#endif
