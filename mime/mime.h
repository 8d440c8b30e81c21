/* mime/mime.h - messages: header fields, addresses, dates, the tree of parts, decoding, and what IMAP tells of them.
 * RFC 5322, 2045-2047, 2231; ENVELOPE and BODYSTRUCTURE: RFC 3501 §7.4.2. Line ends may be CRLF or LF; sizes that go to
 * clients are right only for CRLF. Never fails on bad mail: what cannot be read is what it looks like.
 * Layer: mime (base only). Reentrant; slices point into the message unless said. */
#ifndef POSTERN_MIME_MIME_H
#define POSTERN_MIME_MIME_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"

/* ---- header fields (header.c) ---- */
struct mime_field {
    struct slice name;  /* "Subject", without trailing blanks */
    struct slice value; /* raw, folded, after the colon, without the last line end */
    struct slice whole; /* name to line end, all of it */
};
/* The header of a message: up to and with the empty line (or all, when there is none). */
struct slice mime_header_of(struct slice message);
/* The next field; false at the empty line or the end. Lines that are no fields are skipped. */
bool mime_next_field(struct slice *header, struct mime_field *f);
/* The raw value of the first field of that name; p NULL: none. */
struct slice mime_get_field(struct slice header, const char *name);
/* Append the value without line ends, blanks at both ends trimmed. */
void mime_unfold(struct slice raw, struct buf *out);
/* Append as UTF-8: unfolded, encoded words (RFC 2047) decoded, octets of no known charset as U+FFFD. */
void mime_decode_words(struct slice raw, struct buf *out);

/* ---- addresses (address.c) ---- */
enum { MIME_ADDRESSES_MAX = 10000 };
struct
    mime_address { /* as ENVELOPE has it: group start has mailbox and no host; group end neither */
    struct slice name, route, mailbox, host; /* p NULL: NIL. Quotes and escapes undone */
};
/* The addresses of a field's raw value, in the arena; *n of them. NULL when there are none. */
struct mime_address *mime_addresses(struct slice raw, struct arena *mem, size_t *n);

/* ---- dates (date.c) ---- */
/* RFC 5322 §3.3 and the obsolete forms of §4.3. False when it is none. tz_minutes east of UTC. */
bool mime_parse_date(struct slice text, int64_t *unix_s, int16_t *tz_minutes);
enum { MIME_DATE_OCTETS = 48 };
/* "Sun, 22 Nov 2026 15:04:00 +0000" into out[MIME_DATE_OCTETS]. */
const char *mime_format_date(int64_t unix_s, int16_t tz_minutes, char *out);
/* IMAP's "22-Nov-2026 15:04:00 +0000", and back (the 26 octets inside the quotes; a day may be " 1"). */
const char *mime_format_imap_date(int64_t unix_s, int16_t tz_minutes, char *out);
bool mime_parse_imap_date(struct slice text, int64_t *unix_s, int16_t *tz_minutes);
/* Days since 1970-01-01 of a date in the civil calendar, and of a time as seen in its zone. */
int64_t mime_day_of(int year, int month, int day);
int64_t mime_day_of_time(int64_t unix_s, int16_t tz_minutes);
/* Minutes east of UTC that this machine is at that time. */
int16_t mime_local_tz_minutes(int64_t unix_s);

/* ---- the tree (part.c) ---- */
enum { MIME_DEPTH_MAX = 100, MIME_PARTS_MAX = 10000 };
struct mime_param {           /* of Content-Type or Content-Disposition */
    struct slice name, value; /* value without its quotes; name*0, name*1 joined, but not decoded */
};
struct mime_part {
    struct slice header;          /* with the empty line; of a part: its MIME header */
    struct slice body;            /* as encoded */
    uint32_t header_lines, lines; /* of header, of body */
    struct slice type, subtype;   /* as written; defaults filled in ("text" "plain") */
    struct mime_param *params;
    size_t n_params;
    struct slice encoding, id, description, disposition, language, location,
        md5; /* p NULL: absent */
    struct mime_param *disposition_params;
    size_t n_disposition_params;
    bool is_multipart, is_message; /* message/rfc822, message/global */
    struct mime_part *kids;        /* multipart: its parts; message: one, the message inside */
    size_t n_kids;
};
/* Never NULL; beyond the bounds parts are leaves. Everything in the arena (give it no cap). */
struct mime_part *mime_parse(struct slice message, struct arena *mem);
/* "1.2.3" by IMAP's rules (RFC 3501 §6.4.5): the numbered part, or NULL. An empty number is the root. For a part that is
 * a message, HEADER and TEXT mean its kid's. */
const struct mime_part *mime_find_part(const struct mime_part *root, const uint32_t *numbers,
                                       size_t n);
struct slice mime_get_param(const struct mime_part *p, const char *name); /* p NULL: absent */

/* ---- decoding (decode.c) ---- */
/* Append the part's body with its transfer encoding undone; unknown encodings: as it is. */
void mime_decode_body(const struct mime_part *p, struct buf *out);
/* Append the text of a text/... part as UTF-8. */
void mime_decode_text(const struct mime_part *p, struct buf *out);
void mime_decode_qp(struct slice in, bool is_header,
                    struct buf *out);                   /* is_header: '_' is a space (RFC 2047 Q) */
void mime_decode_b64(struct slice in, struct buf *out); /* lenient: skips what is none */
struct mime_b64 { /* a beginning of four digits; zeroed at first */
    uint32_t bits;
    unsigned have;
};
/* The same for a piece of something longer. */
void mime_b64_run(struct mime_b64 *b, struct slice in, struct buf *out);
/* Append `in` as UTF-8; -1 when the charset is not known (nothing appended). Bad octets become U+FFFD. */
int mime_to_utf8(struct slice charset, struct slice in, struct buf *out);

/* ---- what IMAP tells (structure.c) ---- */
/* An nstring: NIL for p NULL, else "quoted" or a literal where it must be. */
void mime_imap_nstring(struct slice s, struct buf *out);
/* "(date subject from sender reply-to to cc bcc in-reply-to message-id)". */
void mime_envelope(struct slice header, struct buf *out);
/* BODYSTRUCTURE (is_extended) or BODY. */
void mime_bodystructure(const struct mime_part *root, bool is_extended, struct buf *out);

#endif
