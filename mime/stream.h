/* mime/stream.h - a part or a whole message with its transfer encodings undone (RFC 2045 §6), a piece at a time, so that a
 * part of any size costs one piece of memory: BINARY (RFC 3516).
 *
 * A leaf is its decoded body. A message, and whatever holds parts, comes whole: headers and delimiters as they are, each
 * leaf decoded, and where that changed something its header says "Content-Transfer-Encoding: binary".
 * Layer: mime. Reentrant; reads the message that the part is of. */
#ifndef POSTERN_MIME_STREAM_H
#define POSTERN_MIME_STREAM_H

#include "mime/mime.h"

enum { MIME_STREAM_PIECE_OCTETS = 64 * 1024 }; /* of input that makes one piece, or one line more */

enum mime_how { MIME_AS_IS, MIME_QP, MIME_B64 };
struct mime_stream {
    struct mime_stream_run {
        struct slice octets;
        enum mime_how how;
    } * v; /* malloc'ed */
    size_t n, cap;
    size_t run, at;      /* where it is */
    struct mime_b64 b64; /* of the run in work */
};
/* Make a stream of the part; with its header when that is wanted or it is the root (`is_whole`). -1: some encoding in it is
 * not known. Either way mime_stream_free(). */
int mime_stream_open(struct mime_stream *s, const struct mime_part *p, bool is_whole);
/* Append the next piece, which may be empty. False: the end, nothing was appended. */
bool mime_stream_next(struct mime_stream *s, struct buf *out);
void mime_stream_rewind(struct mime_stream *s);
void mime_stream_free(struct mime_stream *s);

#endif
