/* proto/xattr.h - attributes of XCLIENT and XFORWARD: words of the form NAME=value (XCLIENT_README, XFORWARD_README).
 * A value is xtext (RFC 3461 §4); one that is none is taken as it stands, as clients before xtext sent it.
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_XATTR_H
#define POSTERN_PROTO_XATTR_H

#include "base/arena.h"
#include "base/slice.h"

enum { XATTR_VALUE_OCTETS = 255, XATTR_PROTO_OCTETS = 64, XATTR_PORT_DIGITS = 5 };

enum xattr {
    XATTR_NAME,
    XATTR_REVERSE_NAME,
    XATTR_ADDR,
    XATTR_PORT,
    XATTR_PROTO,
    XATTR_HELO,
    XATTR_LOGIN,
    XATTR_DESTADDR,
    XATTR_DESTPORT,
    XATTR_IDENT,
    XATTR_SOURCE,
    XATTRS
};
enum xattr_status { XATTR_GIVEN, XATTR_UNAVAILABLE, XATTR_TEMPUNAVAIL };

/* Which command's attributes and rules; they differ in what a value may be. */
enum xattr_cmd { XATTR_XCLIENT, XATTR_XFORWARD };

struct xattr_value {
    enum xattr attr;
    enum xattr_status status;
    struct slice value; /* decoded, printable, and right for its attribute; "" unless XATTR_GIVEN.
                         * ADDR and DESTADDR: without "IPv6:". */
};

/* One word. NULL, or the whole reply line to refuse it with; that and the value are in the arena.
 * [UNAVAILABLE] is understood by every attribute but XCLIENT's PROTO, [TEMPUNAVAIL] by XCLIENT's names. */
const char *xattr_parse(enum xattr_cmd cmd, struct slice word, struct arena *a,
                        struct xattr_value *out);

/* As EHLO announces the command: "XCLIENT NAME ADDR ...". */
const char *xattr_keyword(enum xattr_cmd cmd);

#endif
