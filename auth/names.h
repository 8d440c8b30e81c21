/* auth/names.h - login names made canonical: auth_username_format in Dovecot's words. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_NAMES_H
#define POSTERN_AUTH_NAMES_H

#include "base/buf.h"

/* format: text with %u whole name, %n before '@', %d after it, %% and the modifiers L and U (ASCII lower and upper
 * case) in between: "%Lu". Appended to out. */
void auth_format_name(const char *format, struct slice name, struct buf *out);

#endif
