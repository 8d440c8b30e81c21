/* base/utf8.h - UTF-8 (RFC 3629) and IMAP's modified UTF-7 (RFC 3501 §5.1.3). Layer: base. Reentrant. */
#ifndef POSTERN_BASE_UTF8_H
#define POSTERN_BASE_UTF8_H

#include "base/buf.h"

bool utf8_is_valid(struct slice s); /* no overlongs, surrogates or values above U+10FFFF */
bool utf8_is_ascii(struct slice s); /* every octet below 128 */
/* Decode one character and step *in past it; -1 on a bad sequence (nothing taken) or at the end. */
int32_t utf8_take(struct slice *in);
/* Append one character; values that are none become U+FFFD. */
int utf8_add(struct buf *out, uint32_t cp);

/* Mailbox names. 0, or -1 when the input is not valid (out is left as it was). */
int utf8_from_mutf7(struct buf *out, struct slice in);
int utf8_to_mutf7(struct buf *out, struct slice in);

#endif
