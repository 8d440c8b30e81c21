/* mime/downgrade.h - a message on its way to a host without 8BITMIME: parts with 8-bit octets become quoted-printable
 * (RFC 6152 §3; RFC 2045 §6.7), and their header fields say so. As Postfix does it, an entity that says 8bit or binary is
 * converted; one that says nothing is converted when 8-bit octets show within its first MIME_DOWNGRADE_HOLD_OCTETS (such a
 * message that is no MIME becomes text of charset unknown-8bit, RFC 1428). Header fields, composite entities' own octets and what
 * says 7bit, quoted-printable or base64 stay as they are.
 * Running: content in any pieces, in bounded memory. Line ends may be CRLF or LF. Layer: mime (base only). */
#ifndef POSTERN_MIME_DOWNGRADE_H
#define POSTERN_MIME_DOWNGRADE_H

#include "base/buf.h"

enum {
    MIME_DOWNGRADE_HOLD_OCTETS = 64 * 1024,
    MIME_DOWNGRADE_FIELD_OCTETS =
        16 * 1024, /* of a field that is looked into; what is longer is passed on */
    MIME_DOWNGRADE_DEPTH_MAX = 100
};

struct mime_downgrade;
struct mime_downgrade *mime_downgrade_new(void);
void mime_downgrade_free(struct mime_downgrade **d);
void mime_downgrade_add(struct mime_downgrade *d, struct slice s, struct buf *out);
/* The last of it; nothing may be added after it. */
void mime_downgrade_end(struct mime_downgrade *d, struct buf *out);

#endif
