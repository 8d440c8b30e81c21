/* oauth/http_reply.h - an HTTP/1.1 response as it comes, octet by octet if it must (RFC 9112): status, the length of what
 * follows, the body. Strict where looseness lets two readers see two messages; every length bounded. Layer: oauth. */
#ifndef POSTERN_OAUTH_HTTP_REPLY_H
#define POSTERN_OAUTH_HTTP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

enum {
    HTTP_LINE_OCTETS = 16 * 1024,
    HTTP_HEAD_OCTETS = 64 * 1024, /* status, header fields and trailers together */
    HTTP_BODY_OCTETS = 256 * 1024,
    HTTP_INTERIM_MAX = 8 /* 1xx before the response */
};

enum http_at {
    HTTP_AT_STATUS,
    HTTP_AT_FIELD,
    HTTP_AT_BODY, /* left octets to come */
    HTTP_AT_CHUNK_SIZE,
    HTTP_AT_CHUNK, /* left octets to come */
    HTTP_AT_CHUNK_END,
    HTTP_AT_TRAILER,
    HTTP_AT_CLOSE, /* until the connection ends */
    HTTP_AT_END
};
/* Zeroed: none has begun. Freed by http_reply_free(). */
struct http_reply {
    unsigned status; /* 200, ...; 0: not there yet */
    struct buf body;
    /* the parser's own */
    enum http_at at;
    struct buf line;
    size_t head_octets;
    unsigned interims;
    bool has_length, is_chunked;
    uint64_t length, left;
};

/* Take from the front of *in. PARSE_OK: the response is whole, *in is what is behind it; PARSE_MORE: all of *in was taken and
 * there must be more; PARSE_BAD with e: no HTTP, or too much of it. */
enum parse_rc http_reply_feed(struct http_reply *r, struct slice *in, struct err *e);
/* The connection has ended: PARSE_OK when that is this body's end, else PARSE_BAD with e. */
enum parse_rc http_reply_end(struct http_reply *r, struct err *e);
void http_reply_free(struct http_reply *r);

#endif
