/* auth/saslprep.h - names and passwords as SASL compares them (RFC 4013), for stored strings. ASCII stays as it is and may
 * hold no control octets; spaces of other scripts become a space, what is mapped to nothing goes.
 * BUGS: no normalization (NFKC) and no right-to-left scripts: what would need them is refused, as is what RFC 4013
 * prohibits. Letters of Latin, Greek and Cyrillic, kana, Han and Hangul, composed as keyboards give them, need none.
 * Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SASLPREP_H
#define POSTERN_AUTH_SASLPREP_H

#include "base/buf.h"

/* Append `in` prepared. -1: it cannot be (or nothing of it is left); what was appended then means nothing. */
int saslprep(struct slice in, struct buf *out);

#endif
