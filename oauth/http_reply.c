/* oauth/http_reply.c - see http_reply.h. */
#include "oauth/http_reply.h"

/* Every line goes through here: up to its LF, the CR before it cut. PARSE_OK: line is whole in r->line. */
static enum parse_rc
take_line(struct http_reply *r, struct slice *in, struct err *e)
{
    size_t at = sl_find_char(*in, '\n');
    struct slice part = at == SL_NPOS ? *in : sl_head(*in, at + 1);

    r->head_octets += part.n;
    if (r->line.n + part.n > HTTP_LINE_OCTETS || r->head_octets > HTTP_HEAD_OCTETS)
        return err_parse(e, "its header is too long");
    buf_adds(&r->line, part);
    *in = sl_from(*in, part.n);
    if (at == SL_NPOS)
        return PARSE_MORE;
    r->line.n--;
    if (sl_ends(buf_slice(&r->line), '\r'))
        r->line.n--;
    if (sl_find_char(buf_slice(&r->line), '\r') != SL_NPOS ||
        sl_find_char(buf_slice(&r->line), '\0') != SL_NPOS)
        return err_parse(e, "a bare CR or a NUL in its header");
    return PARSE_OK;
}

/* "HTTP/1.1 200 OK", RFC 9112 §4; the words may be none. */
static enum parse_rc
run_status(struct http_reply *r, struct slice line, struct err *e)
{
    uint64_t code;

    if (!sl_take_prefix(&line, SL("HTTP/1.")) || line.n < 5 || line.p[0] < '0' || line.p[0] > '9' ||
        line.p[1] != ' ' || !sl_to_u64(sl_head(sl_from(line, 2), 3), &code) || code < 100 ||
        code > 599 || (line.n > 5 && line.p[5] != ' '))
        return err_parse(e, "that is no HTTP/1.1");
    r->status = (unsigned)code;
    r->at = HTTP_AT_FIELD;
    return PARSE_OK;
}

static bool
is_token(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
            return false;
    return s.n > 0;
}

/* RFC 9112 §6.3: two lengths that differ, or a length beside chunks, are somebody's attempt to make two messages of one. */
static enum parse_rc
run_field(struct http_reply *r, struct slice line, struct err *e)
{
    struct slice name, value;
    uint64_t n;

    if (!sl_take_until(&line, ':', &name) || !is_token(name))
        return err_parse(e, "a header field that is none");
    value = sl_trim(line);
    if (sl_ieqz(name, "Content-Length")) {
        if (!sl_to_u64(value, &n) || (r->has_length && n != r->length))
            return err_parse(e, "a Content-Length that is none");
        r->has_length = true;
        r->length = n;
    } else if (sl_ieqz(name, "Transfer-Encoding")) {
        if (!sl_ieqz(value, "chunked") || r->is_chunked)
            return err_parse(e, "a Transfer-Encoding that is not chunked");
        r->is_chunked = true;
    } else if (sl_ieqz(name, "Content-Encoding") && value.n > 0 && !sl_ieqz(value, "identity")) {
        return err_parse(e, "a Content-Encoding that nobody asked for");
    }
    return PARSE_OK;
}

/* The empty line behind the fields. */
static enum parse_rc
end_head(struct http_reply *r, struct err *e)
{
    if (r->status < 200) { /* RFC 9110 §15.2; nobody asked for another protocol */
        if (r->status == 101 || ++r->interims > HTTP_INTERIM_MAX)
            return err_parse(e, "a status %u that nobody asked for", r->status);
        r->status = 0;
        r->has_length = r->is_chunked = false;
        r->at = HTTP_AT_STATUS;
        return PARSE_OK;
    }
    if (r->is_chunked && r->has_length)
        return err_parse(e, "both Content-Length and Transfer-Encoding");
    if (r->has_length && r->length > HTTP_BODY_OCTETS)
        return err_parse(e, "its body is too long");
    r->left = r->length;
    if (r->status == 204 || r->status == 304 || (r->has_length && r->length == 0))
        r->at = HTTP_AT_END;
    else
        r->at = r->is_chunked ? HTTP_AT_CHUNK_SIZE : r->has_length ? HTTP_AT_BODY : HTTP_AT_CLOSE;
    return PARSE_OK;
}

/* chunk-size [;extensions], RFC 9112 §7.1 */
static enum parse_rc
run_chunk_size(struct http_reply *r, struct slice line, struct err *e)
{
    size_t end = sl_find_char(line, ';');
    struct slice digits = sl_trim(end == SL_NPOS ? line : sl_head(line, end));
    uint64_t n = 0;

    if (digits.n == 0 || digits.n > 8)
        return err_parse(e, "a chunk without a size");
    for (size_t i = 0; i < digits.n; i++) {
        char c = sl_lower_char(digits.p[i]);

        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return err_parse(e, "a chunk without a size");
        n = n << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    if (n > HTTP_BODY_OCTETS - r->body.n)
        return err_parse(e, "its body is too long");
    r->left = n;
    r->at = n > 0 ? HTTP_AT_CHUNK : HTTP_AT_TRAILER;
    return PARSE_OK;
}

static enum parse_rc
run_line(struct http_reply *r, struct slice line, struct err *e)
{
    switch (r->at) {
    case HTTP_AT_STATUS:
        return run_status(r, line, e);
    case HTTP_AT_FIELD:
        return line.n == 0 ? end_head(r, e) : run_field(r, line, e);
    case HTTP_AT_CHUNK_SIZE:
        return run_chunk_size(r, line, e);
    case HTTP_AT_CHUNK_END:
        r->at = HTTP_AT_CHUNK_SIZE;
        return line.n == 0 ? PARSE_OK : err_parse(e, "a chunk longer than it says");
    case HTTP_AT_TRAILER:
        if (line.n == 0)
            r->at = HTTP_AT_END;
        return PARSE_OK;
    case HTTP_AT_BODY:
    case HTTP_AT_CHUNK:
    case HTTP_AT_CLOSE:
    case HTTP_AT_END:
        break;
    }
    return PARSE_OK;
}

static enum parse_rc
take_body(struct http_reply *r, struct slice *in, struct err *e)
{
    struct slice part = r->at == HTTP_AT_CLOSE ? *in : sl_head(*in, r->left);

    if (part.n > HTTP_BODY_OCTETS - r->body.n)
        return err_parse(e, "its body is too long");
    buf_adds(&r->body, part);
    *in = sl_from(*in, part.n);
    if (r->at == HTTP_AT_CLOSE)
        return PARSE_MORE;
    r->left -= part.n;
    if (r->left > 0)
        return PARSE_MORE;
    r->at = r->at == HTTP_AT_BODY ? HTTP_AT_END : HTTP_AT_CHUNK_END;
    return PARSE_OK;
}

enum parse_rc
http_reply_feed(struct http_reply *r, struct slice *in, struct err *e)
{
    while (r->at != HTTP_AT_END) {
        bool is_body = r->at == HTTP_AT_BODY || r->at == HTTP_AT_CHUNK || r->at == HTTP_AT_CLOSE;
        enum parse_rc rc;

        if (in->n == 0)
            return PARSE_MORE;
        rc = is_body ? take_body(r, in, e) : take_line(r, in, e);
        if (rc == PARSE_OK && !is_body) {
            rc = run_line(r, buf_slice(&r->line), e);
            buf_reset(&r->line);
        }
        if (rc != PARSE_OK)
            return rc;
    }
    return PARSE_OK;
}

enum parse_rc
http_reply_end(struct http_reply *r, struct err *e)
{
    if (r->at == HTTP_AT_CLOSE)
        r->at = HTTP_AT_END;
    return r->at == HTTP_AT_END ? PARSE_OK : err_parse(e, "it ended in the middle");
}

void
http_reply_free(struct http_reply *r)
{
    buf_free(&r->body);
    buf_free(&r->line);
    *r = (struct http_reply){ 0 };
}
