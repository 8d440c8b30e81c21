/* mime/entity.h - what the header of an entity says of its body: RFC 2045 §5, §6. Values are raw, with folded lines and
 * comments. Never fails: what cannot be read is text in 7bit. Layer: mime (base only). Reentrant. */
#ifndef POSTERN_MIME_ENTITY_H
#define POSTERN_MIME_ENTITY_H

#include "base/buf.h"

enum mime_kind {
    MIME_LEAF,
    MIME_MULTIPART,
    MIME_MESSAGE,       /* message/rfc822 */
    MIME_MESSAGE_UTF8,  /* message/global: may be encoded (RFC 6532 §3.7) */
    MIME_MESSAGE_PIECE, /* message/partial, message/external-body */
    MIME_MESSAGE_OTHER
};
struct mime_type {
    enum mime_kind kind;
    bool is_digest; /* multipart/digest: its parts are messages unless they say something else */
    struct slice params; /* from the first ';' on */
};
/* Of a Content-Type. */
void mime_type_of(struct slice value, struct mime_type *out);

/* The next boundary= of the parameters; to is emptied first. There may be several, which is against the rules and a way
 * to hide things. is_wide: as who must not overlook any, and takes delimiters by their beginning: a quoted one may be
 * empty, and one that is not quoted ends before a character that may not be in it (RFC 2045 §5.1). False: no more. */
bool mime_next_boundary(struct slice *params, bool is_wide, struct buf *to);

enum mime_encoding {
    MIME_ENC_NONE, /* not known */
    MIME_ENC_7BIT,
    MIME_ENC_8BIT,
    MIME_ENC_BINARY,
    MIME_ENC_QP,
    MIME_ENC_BASE64
};
/* Of a Content-Transfer-Encoding. */
enum mime_encoding mime_encoding_of(struct slice value);
const char *mime_encoding_name(enum mime_encoding e);

#endif
