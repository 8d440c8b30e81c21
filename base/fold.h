/* base/fold.h - UTF-8 without case, for searching: Unicode's simple case folding, one character to one (no locale).
 * Layer: base. Reentrant. */
#ifndef POSTERN_BASE_FOLD_H
#define POSTERN_BASE_FOLD_H

#include "base/buf.h"

uint32_t fold_char(uint32_t cp);
/* Append `in` folded; octets that are no UTF-8 stay as they are. */
void fold_text(struct buf *out, struct slice in);

#endif
