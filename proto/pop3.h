/* proto/pop3.h - POP3's command lines and the form of its multi-line replies. RFC 1939 §3. Layer: proto. Reentrant. */
#ifndef POSTERN_PROTO_POP3_H
#define POSTERN_PROTO_POP3_H

#include "base/buf.h"
#include "base/slice.h"

enum { POP3_LINE_MAX = 255, POP3_ARGS_MAX = 2 };

struct pop3_command {
    struct slice name; /* as written */
    struct slice args[POP3_ARGS_MAX];
    size_t n_args; /* words; may be above POP3_ARGS_MAX, then the rest is not told */
};
/* False: no word at all, or an octet that is no printable ASCII or blank. Slices point into the line. */
bool pop3_parse(struct slice line, struct pop3_command *out);

/* Append message text with leading dots doubled, until `in` is empty or `out` holds max octets; steps *in.
 * *at_line_start: true at first, then kept between calls. */
void pop3_stuff(struct slice *in, bool *at_line_start, size_t max, struct buf *out);
/* The end of a multi-line reply: a line end when the text lacked its last one, and the dot. */
void pop3_end_text(bool at_line_start, struct buf *out);

/* The octets of a message that TOP shows: its header, the empty line and the first `lines` of its body (§7). */
struct slice pop3_top(struct slice message, uint64_t lines);

#endif
