/* session/mime_walk.h - a message's body as a walk through its parts (RFC 2046), as content comes: lines, and the header
 * fields of parts and attached messages. What is told is all of the body, in order: whoever puts it together again has
 * what came, but for blanks before a field's colon, what follows a NUL in a field's line, and what of a field is beyond
 * the limit. Rather finds a part too many than one too few: several boundaries of one entity count, and a delimiter may
 * have anything behind it, as in Postfix. Lines end CRLF. Memory is bounded by the limits.
 * Layer: session (base, mime). Reentrant. */
#ifndef POSTERN_SESSION_MIME_WALK_H
#define POSTERN_SESSION_MIME_WALK_H

#include "mime/entity.h"
#include "session/header.h"
#include "session/header_split.h"

enum { MIME_WALK_DEPTH_MAX = 102, MIME_WALK_PIECE_OCTETS = 2048 };

/* What is wrong with a message; bits. Reported once each, where it is asked for. */
enum mime_error {
    MIME_ERROR_NESTING = 1,
    MIME_ERROR_8BIT_HEADER = 2,
    MIME_ERROR_8BIT_BODY = 4,
    MIME_ERROR_DOMAIN = 8 /* a multipart or message that is itself encoded */
};

struct mime_walk_ops {
    /* A line, or MIME_WALK_PIECE_OCTETS of a longer one: text, and its end ("\r\n", or nothing). is_start: of a line.
     * offset: of this piece in the body of its part. */
    void (*line)(void *arg, struct slice text, struct slice end, bool is_start, uint64_t offset);
    void (*field)(void *arg, enum header_class class, struct slice text, bool is_cut);
    void (*error)(void *arg, enum mime_error e, struct slice where);
};

struct mime_walk;
struct mime_walk_conf {
    size_t field_limit;    /* header_size_limit */
    size_t nesting_limit;  /* mime_nesting_limit; two more are open at most, as Postfix counts */
    size_t boundary_limit; /* mime_boundary_length_limit */
    bool is_off;           /* disable_mime_input_processing: it is all lines */
    unsigned errors;       /* MIME_ERROR_* that are reported */
};
struct mime_walk *mime_walk_new(const struct mime_walk_conf *c, const struct mime_walk_ops *ops,
                                void *arg);
void mime_walk_free(struct mime_walk **w);
/* A field of the message's own header. */
void mime_walk_field(struct mime_walk *w, struct slice text);
/* That header is over; the body follows, from its empty line on. */
void mime_walk_begin(struct mime_walk *w);
/* Take a line or a header's fields from the front of *in, or all of it; at most one call of ops->line. */
void mime_walk_take(struct mime_walk *w, struct slice *in);
/* There is no more. */
void mime_walk_end(struct mime_walk *w);
/* "MIME nesting exceeds safety limit". */
const char *mime_error_text(enum mime_error e);

#endif
