/* auth/tab.h - lines of Dovecot's auth protocols: fields between tabs, each escaped; and a reader that takes them apart.
 * Escapes: octet 1 followed by '0' NUL, '1' octet 1, 't' TAB, 'r' CR, 'n' LF. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_TAB_H
#define POSTERN_AUTH_TAB_H

#include "base/buf.h"

/* A line longer than this is refused by both sides (an initial response of 8 KiB fits). */
enum { TAB_LINE_OCTETS = 16 * 1024 };

/* Append "\t" and the field, escaped. */
void tab_add(struct buf *out, struct slice field);
/* Append "\tkey=value"; the value is escaped. */
void tab_add_pair(struct buf *out, const char *key, struct slice value);

/* The next field of a line, still escaped; false at the end. An empty field between two tabs is one. *in starts as the
 * whole line and p is NULL after the last field. */
bool tab_take(struct slice *in, struct slice *field);
/* Append the field without its escapes. */
void tab_unescape(struct buf *out, struct slice field);
/* field is "key=...": true, and value is what follows (still escaped). */
bool tab_is_pair(struct slice field, const char *key, struct slice *value);

/* Where an unescaped field stands in a text that still grows: the slice is made when it stands still. */
struct tab_span {
    size_t at, n;
};
/* Unescape value to the end of text. */
void tab_keep(struct buf *text, struct slice value, struct tab_span *out);

#endif
