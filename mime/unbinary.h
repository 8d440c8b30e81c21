/* mime/unbinary.h - messages with parts in the transfer encoding "binary" (RFC 2045 §2.9), as they come by a literal8 (RFC 3516
 * §4.4), made such that the store can keep them: those parts in base64, and said to be so. Nothing else changes, but for
 * "binary" on a part that has parts, which becomes "8bit".
 *
 * Works as the octets come, whatever the message's size: it holds a line and, up to a bound, the header that is under way; a
 * longer header is left as it is. Parts are found as mime_parse() finds them. Layer: mime (base only). */
#ifndef POSTERN_MIME_UNBINARY_H
#define POSTERN_MIME_UNBINARY_H

#include "base/buf.h"
#include "base/slice.h"

struct mime_unbinary;
struct mime_unbinary *mime_unbinary_new(void);
/* The message's next octets; what can be said of them by now is appended to out. */
void mime_unbinary_add(struct mime_unbinary *u, struct slice octets, struct buf *out);
void mime_unbinary_end(struct mime_unbinary *u, struct buf *out); /* once, after the last */
void mime_unbinary_free(struct mime_unbinary **u);

#endif
