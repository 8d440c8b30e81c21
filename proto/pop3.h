/* proto/pop3.h - POP3's command lines, the form of its multi-line replies, and what login and pop3d answer alike: CAPA
 * (RFC 2449 §5) and LANG (RFC 6856 §3). RFC 1939 §3. Layer: proto. Reentrant. */
#ifndef POSTERN_PROTO_POP3_H
#define POSTERN_PROTO_POP3_H

#include "base/buf.h"
#include "base/slice.h"

/* Without its end. RFC 2449 §4 wants 255 octets taken; Dovecot takes these, and nobody sends more. */
enum { POP3_LINE_MAX = 2046 };

struct pop3_command {
    struct slice name; /* as written; may be empty */
    struct slice args; /* what is behind it, from its first octet that is no blank */
};
void pop3_parse(struct slice line, struct pop3_command *out);

enum pop3_number {
    POP3_NUMBER_OK,
    POP3_NUMBER_NONE,      /* no digit first */
    POP3_NUMBER_TOO_LARGE, /* for 32 bits */
    POP3_NUMBER_NOISE      /* something follows that may not */
};
/* A message number or line count at the front of *args, stepped past with the blanks behind it; on failure *args is what shall
 * be told of it. has_more: another argument follows, else nothing may. */
enum pop3_number pop3_take_number(struct slice *args, bool has_more, uint64_t most, uint64_t *out);

/* Append message text with leading dots doubled, until `in` is empty or `out` holds max octets; steps *in.
 * *at_line_start: true at first, then kept between calls. */
void pop3_stuff(struct slice *in, bool *at_line_start, size_t max, struct buf *out);
/* The end of a multi-line reply: a line end when the text lacked its last one, and the dot. */
void pop3_end_text(bool at_line_start, struct buf *out);

/* The octets of a message that TOP shows: its header, the empty line and the first `lines` of its body (RFC 1939 §7). */
struct slice pop3_top(struct slice message, uint64_t lines);

struct pop3_capa {
    uint64_t login_delay_s; /* 0: none */
    const char *expire;     /* "" nothing is told */
};
/* Append the capabilities that are the same before and after authentication, a line each: RFC 2449 §6, RFC 6856 §2, §3. */
void pop3_add_capa(struct buf *out, const struct pop3_capa *c);
/* Append the whole answer to LANG. All that is said is in English and in ASCII, so there is nothing to remember of it. */
void pop3_add_lang(struct buf *out, struct slice args);

#endif
