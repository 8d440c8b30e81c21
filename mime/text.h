/* mime/text.h - what people read of a message, and what it is sorted by: HTML as text, preview (RFC 8970), base subject
 * (RFC 5256 §2.1), display names (RFC 5957), message ids (RFC 5322 §3.6.4). Time is linear in what is looked at, and what
 * is looked at has a bound. Everything comes out as UTF-8. Layer: mime (base only). Reentrant. */
#ifndef POSTERN_MIME_TEXT_H
#define POSTERN_MIME_TEXT_H

#include "mime/mime.h"

enum {
    MIME_PREVIEW_CHARS = 200,               /* RFC 8970 §3.1: 256 at most */
    MIME_PREVIEW_INPUT_OCTETS = 256 * 1024, /* of encoded bodies, looked at for a preview */
    MIME_SUBJECT_MAX_OCTETS = 8 * 1024,     /* of a raw Subject that counts for the base subject */
    MIME_SORT_MAX_OCTETS = 64 * 1024 /* of an address field that is looked at for its first */
};

/* Append HTML as text, until out has grown by max_octets (0: no end): no tags, comments, script, style and head's
 * title; character references decoded; blocks and line breaks as one LF, runs of blanks as one space. */
void mime_html_to_text(struct slice html, size_t max_octets, struct buf *out);

/* The charset that an HTML page names itself; p NULL: none. */
struct slice mime_html_charset(struct slice html);
/* Append a text/html part, decoded, as text: until out has grown by max_octets (0: no end). */
void mime_decode_html(const struct mime_part *p, size_t max_octets, struct buf *out);

/* Append one line of at most MIME_PREVIEW_CHARS: the first text part that says something, plain before HTML in an
 * alternative; quoted lines ("> ") count only where nothing else is there. Nothing when the message has no text. */
void mime_preview(const struct mime_part *root, struct buf *out);

/* Append the base subject of a raw Subject (p NULL: none): encoded words decoded, "Re:", "Fwd:", "[blob]", "(fwd)" off, blanks
 * as one space. True when it is a reply or forward. Not folded. */
bool mime_base_subject(struct slice raw, struct buf *out);

/* Of a raw address field (p NULL: none), for its first address. Append the local part; the display name (encoded words
 * decoded), or local@host where it has none; a group gives its name. Not folded. */
void mime_sort_mailbox(struct slice raw, struct buf *out);
void mime_sort_name(struct slice raw, struct buf *out);

/* The next message id "<left@right>" in a raw field, without brackets, blanks and line ends taken out, into *id (emptied
 * first). False at the end. */
bool mime_next_message_id(struct slice *raw, struct buf *id);

#endif
