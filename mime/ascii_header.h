/* mime/ascii_header.h - header fields in UTF-8 (RFC 6532) as fields in ASCII, for programs that do not know the former: a surrogate
 * in the manner of RFC 6858. Text becomes encoded words (RFC 2047), parameters take RFC 2231's form, an address in UTF-8 becomes
 * one that nobody has with the real one in its display name; what has no such form is kept under "Downgraded-NAME". Fields
 * in ASCII, and those that are no UTF-8, stay as they are, octet by octet. Layer: mime (base only). Reentrant. */
#ifndef POSTERN_MIME_ASCII_HEADER_H
#define POSTERN_MIME_ASCII_HEADER_H

#include "base/buf.h"

#include <stdbool.h>

#define MIME_INVALID_ADDRESS "invalid@internationalized-address.invalid"

/* Append the header (with its empty line, or not) as ASCII, lines by CRLF. False: nothing would change; nothing appended. */
bool mime_ascii_header(struct slice header, struct buf *out);

#endif
