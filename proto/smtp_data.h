/* proto/smtp_data.h - message content off the wire: DATA with its dots (RFC 5321 §4.5.2) and BDAT chunks (RFC 3030),
 * made canonical on the way: every line ends CRLF, a CR or LF that stands alone becomes one of these.
 *
 * End of data is CRLF.CRLF and nothing else unless lf_ends is set: a client that may smuggle must not find another
 * server that disagrees with us on where a message ends. A bare LF still ends a line; a line of one dot with a bare LF
 * at either side is dropped, as Postfix's "normalize" does. A CR in the middle of a line becomes a blank.
 * Layer: proto (base only). One struct per message, zeroed at its start; no allocation, any split of the input. */
#ifndef POSTERN_PROTO_SMTP_DATA_H
#define POSTERN_PROTO_SMTP_DATA_H

#include "base/slice.h"

struct smtp_data {
    bool
        lf_ends; /* set by the caller: LF.LF ends the message as well (old clients that are trusted) */
    bool has_bare_lf; /* seen one, for the caller who refuses such messages */
    uint8_t at;       /* where in a line */
    bool was_bare;    /* the line before ended with LF alone */
};

/* Canonical octets on their way out; pieces of any size. */
typedef void smtp_data_sink(void *arg, struct slice octets);

/* DATA. Steps *in past what was taken: everything, or up to and with the end of data, then true. */
bool smtp_data_dot(struct smtp_data *b, struct slice *in, smtp_data_sink *sink, void *arg);

/* BDAT: octets of chunks one after another; a line may go on in the next chunk. At the end of the last chunk
 * smtp_data_finish() ends a line that has no end. */
void smtp_data_chunk(struct smtp_data *b, struct slice in, smtp_data_sink *sink, void *arg);
void smtp_data_finish(struct smtp_data *b, smtp_data_sink *sink, void *arg);

#endif
