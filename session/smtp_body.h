/* session/smtp_body.h - message content as DATA and BDAT carry it: dots stuffed (DATA; RFC 5321 §4.5.2), every line ended CRLF, no bare
 * CR or LF (a bare LF ends its line, a bare CR becomes a space), over-long lines broken by CRLF SP as Postfix does.
 * Running: content may come in any pieces. Layer: session (base only). Reentrant. */
#ifndef POSTERN_SESSION_SMTP_BODY_H
#define POSTERN_SESSION_SMTP_BODY_H

#include "base/buf.h"

struct smtp_body {
    size_t column;   /* octets of the line so far */
    size_t line_max; /* 0: no limit */
    bool has_cr;     /* the last octet was CR and is not yet out */
    bool is_chunked; /* for BDAT (RFC 3030): no dots are stuffed, none ends it */
};

void smtp_body_add(struct smtp_body *b, struct slice s, struct buf *out);
/* End the last line if need be, then the final dot (DATA). */
void smtp_body_end(struct smtp_body *b, struct buf *out);

#endif
