/* base/fold.h - text as i;unicode-casemap compares it (RFC 5051): each character in titlecase, decomposed, and so on with
 * what comes out until nothing changes; Hangul too, as Dovecot does. "Straße" and "STRAßE" are one, "é" begins with "E", and
 * "ﬁ" is "FI". Folded texts compare as octets, which is i;octet on top as RFC 5051 §2 has it. Of ASCII it is
 * i;ascii-casemap (RFC 4790 §9.2): capitals come out. No locale. Layer: base. Reentrant. */
#ifndef POSTERN_BASE_FOLD_H
#define POSTERN_BASE_FOLD_H

#include "base/buf.h"

/* Append `in`, which is UTF-8, folded; octets that are no UTF-8 stay as they are. Folding twice changes nothing. */
void fold_text(struct buf *out, struct slice in);

#endif
