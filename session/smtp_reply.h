/* session/smtp_reply.h - replies of an SMTP or LMTP server, line by line. Grammar: RFC 5321 §4.2; enhanced status codes
 * RFC 2034 §4. Lenient where Postfix is: the code of the last line counts, lines may be longer than 512 octets.
 * Layer: session (base only). Reentrant. */
#ifndef POSTERN_SESSION_SMTP_REPLY_H
#define POSTERN_SESSION_SMTP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

enum {
    SMTP_REPLY_LINE_OCTETS = 4096,
    SMTP_REPLY_LINES_MAX = 500,
    SMTP_REPLY_TEXT_OCTETS = 8192, /* what is kept of a reply; the rest is read and dropped */
    SMTP_DSN_OCTETS = 12
};

struct smtp_reply {
    unsigned code;             /* 200..599 */
    char dsn[SMTP_DSN_OCTETS]; /* "5.1.1"; from the text, else code's class ".0.0" */
    struct buf text;           /* lines with their code, LF between them */
    unsigned n_lines;
    bool has_dsn;
};

/* Take one line (without its end). PARSE_MORE: a continuation, more lines follow; PARSE_OK: whole; PARSE_BAD: not a
 * reply (e ERR_CLIENT). After OK or BAD call smtp_reply_reset() before the next. */
enum parse_rc smtp_reply_take(struct smtp_reply *r, struct slice line, struct err *e);
void smtp_reply_reset(struct smtp_reply *r);
void smtp_reply_free(struct smtp_reply *r);
/* The text with spaces for line ends, control octets as '?', into out; as Postfix logs it. */
void smtp_reply_one_line(const struct smtp_reply *r, struct buf *out);

#endif
