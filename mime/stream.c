/* mime/stream.c - see stream.h. */
#include "mime/stream.h"

#include "base/mem.h"

#include <stdlib.h>

#define BINARY_FIELD "Content-Transfer-Encoding: binary\r\n"

static void
add_run(struct mime_stream *s, const char *from, const char *to, enum mime_how how)
{
    if (to == from)
        return;
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
    s->v[s->n++] = (struct mime_stream_run){ sl_n(from, (size_t)(to - from)), how };
}

/* 0, or -1: nobody knows it. */
static int
how_of(const struct mime_part *p, enum mime_how *how)
{
    *how = MIME_AS_IS;
    if (p->is_multipart || p->is_message || p->encoding.p == NULL) /* RFC 2045 §6.4 */
        return 0;
    if (sl_ieqz(p->encoding, "base64"))
        *how = MIME_B64;
    else if (sl_ieqz(p->encoding, "quoted-printable"))
        *how = MIME_QP;
    else if (!sl_ieqz(p->encoding, "7bit") && !sl_ieqz(p->encoding, "8bit") &&
             !sl_ieqz(p->encoding, "binary"))
        return -1;
    return 0;
}

/* The header with what it says of the encoding made true. */
static void
add_header(struct mime_stream *s, struct slice header)
{
    static const struct slice binary = SL_INIT(BINARY_FIELD);
    struct slice rest = header;
    const char *from = header.p;
    struct mime_field f;

    while (mime_next_field(&rest, &f))
        if (sl_ieqz(f.name, "Content-Transfer-Encoding")) {
            add_run(s, from, f.whole.p, MIME_AS_IS);
            add_run(s, binary.p, binary.p + binary.n, MIME_AS_IS);
            from = f.whole.p + f.whole.n;
        }
    add_run(s, from, header.p + header.n, MIME_AS_IS);
}

/* Depth is bounded by the parser (MIME_DEPTH_MAX). */
static int
add_part(struct mime_stream *s, const struct mime_part *p, bool is_whole)
{
    const char *from = p->body.p, *end = p->body.p + p->body.n;
    enum mime_how how;

    if (how_of(p, &how))
        return -1;
    if (is_whole && how != MIME_AS_IS)
        add_header(s, p->header);
    else if (is_whole)
        add_run(s, p->header.p, p->header.p + p->header.n, MIME_AS_IS);
    for (size_t i = 0; i < p->n_kids; i++) {
        const struct mime_part *k = &p->kids[i];

        add_run(s, from, k->header.p, MIME_AS_IS);
        if (add_part(s, k, true))
            return -1;
        from = k->body.p + k->body.n;
    }
    add_run(s, from, end, how);
    return 0;
}

int
mime_stream_open(struct mime_stream *s, const struct mime_part *p, bool is_whole)
{
    *s = (struct mime_stream){ 0 };
    return add_part(s, p, is_whole);
}

/* ---- quoted-printable ---- */

/* How much of it may be decoded for itself: whole lines, else what does not end inside "=XX". */
static size_t
cut_qp(struct slice in)
{
    size_t n = MIME_STREAM_PIECE_OCTETS, lf;

    if (in.n <= n)
        return in.n;
    lf = sl_rfind_char(sl_head(in, n), '\n');
    if (lf != SL_NPOS)
        return lf + 1;
    for (size_t back = 1; back <= 2; back++)
        if (in.p[n - back] == '=')
            return n - back;
    return n;
}

/* Blanks at the end of a line are not the author's (RFC 2045 §6.7, rule 3). */
static void
decode_qp(struct slice in, bool is_end, struct buf *out)
{
    while (in.n > 0) {
        size_t lf = sl_find_char(in, '\n'), n = lf == SL_NPOS ? in.n : lf + 1, keep, end = n;

        if (lf != SL_NPOS)
            end = lf > 0 && in.p[lf - 1] == '\r' ? lf - 1 : lf;
        keep = end;
        while ((lf != SL_NPOS || is_end) && keep > 0 &&
               (in.p[keep - 1] == ' ' || in.p[keep - 1] == '\t'))
            keep--;
        mime_decode_qp(sl_head(in, keep), false, out);
        if (keep == 0 || in.p[keep - 1] != '=') /* else a soft line break */
            buf_add(out, in.p + end, n - end);
        in = sl_from(in, n);
    }
}

/* ---- going through it ---- */

bool
mime_stream_next(struct mime_stream *s, struct buf *out)
{
    struct mime_stream_run *r = s->run < s->n ? &s->v[s->run] : NULL;
    struct slice in;
    size_t n;

    if (r == NULL)
        return false;
    if (s->at == 0)
        s->b64 = (struct mime_b64){ 0 };
    in = sl_from(r->octets, s->at);
    n = r->how == MIME_QP                 ? cut_qp(in)
        : in.n < MIME_STREAM_PIECE_OCTETS ? in.n
                                          : MIME_STREAM_PIECE_OCTETS;
    in = sl_head(in, n);
    if (r->how == MIME_QP)
        decode_qp(in, s->at + n == r->octets.n, out);
    else if (r->how == MIME_B64)
        mime_b64_run(&s->b64, in, out);
    else
        buf_adds(out, in);
    s->at += n;
    if (s->at == r->octets.n) {
        s->run++;
        s->at = 0;
    }
    return true;
}

void
mime_stream_rewind(struct mime_stream *s)
{
    s->run = s->at = 0;
}

void
mime_stream_free(struct mime_stream *s)
{
    free(s->v);
    *s = (struct mime_stream){ 0 };
}
