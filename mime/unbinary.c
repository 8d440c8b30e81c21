/* mime/unbinary.c - see unbinary.h. */
#include "mime/unbinary.h"

#include "base/enc.h"
#include "base/mem.h"
#include "mime/mime_int.h"

#include <stdlib.h>

enum {
    LOOK_OCTETS = 1024, /* of a line, to see whether it is a delimiter; longer ones are none */
    HEADER_MAX_OCTETS = 256 * 1024,
    B64_LINE_OCTETS = 57 /* 76 characters: RFC 2045 §6.8 */
};

struct level { /* a multipart that we are in */
    char *boundary;
    bool is_digest;
};

struct mime_unbinary {
    struct level levels[MIME_DEPTH_MAX];
    unsigned depth;
    struct buf line; /* a line's beginning, not yet told from a delimiter */
    bool is_mid;     /* behind it, in the same line */
    bool in_header, is_digest_part;
    struct buf header;
    bool is_encoding; /* a leaf's body becomes base64 */
    struct buf block; /* octets of it that fill no line of base64 yet */
    const char *held; /* the line end, or a CR, that came last: it may belong to a delimiter */
    bool has_encoded;
};

struct mime_unbinary *
mime_unbinary_new(void)
{
    struct mime_unbinary *u = MEM_NEW(struct mime_unbinary);

    u->in_header = true;
    u->held = "";
    return u;
}

static void
pop_to(struct mime_unbinary *u, unsigned depth)
{
    while (u->depth > depth)
        free(u->levels[--u->depth].boundary);
}

void
mime_unbinary_free(struct mime_unbinary **up)
{
    struct mime_unbinary *u = *up;

    if (u == NULL)
        return;
    *up = NULL;
    pop_to(u, 0);
    buf_free(&u->line);
    buf_free(&u->header);
    buf_free(&u->block);
    free(u);
}

/* ---- base64 ---- */

static void
encode(struct mime_unbinary *u, struct slice s, struct buf *out)
{
    while (s.n > 0) {
        size_t room = B64_LINE_OCTETS - u->block.n, n = s.n < room ? s.n : room;

        buf_adds(&u->block, sl_head(s, n));
        s = sl_from(s, n);
        if (u->block.n < B64_LINE_OCTETS)
            return;
        if (u->has_encoded)
            buf_addz(out, "\r\n");
        enc_b64(out, buf_slice(&u->block));
        u->has_encoded = true;
        buf_reset(&u->block);
    }
}

/* The body of a part that is encoded has ended: by a delimiter, which takes the last line end, or with the message. */
static void
end_encoding(struct mime_unbinary *u, bool is_delimited, struct buf *out)
{
    if (!u->is_encoding)
        return;
    if (!is_delimited)
        encode(u, sl_z(u->held), out);
    if (u->block.n > 0) {
        if (u->has_encoded)
            buf_addz(out, "\r\n");
        enc_b64(out, buf_slice(&u->block));
        u->has_encoded = true;
    }
    buf_free(&u->block);
    if (is_delimited)
        buf_addz(out, u->held);
    else if (u->has_encoded)
        buf_addz(out, "\r\n");
    u->held = "";
    u->is_encoding = false;
}

/* A line of a body, or a piece of one. */
static void
add_body(struct mime_unbinary *u, struct slice s, struct buf *out)
{
    if (!u->is_encoding) {
        buf_adds(out, s);
        return;
    }
    if (strcmp(u->held, "\r") == 0 && sl_eqz(s, "\n")) {
        u->held = "\r\n";
        return;
    }
    encode(u, sl_z(u->held), out);
    u->held = "";
    if (sl_ends(s, '\n')) {
        s.n--;
        u->held = "\n";
    }
    if (sl_ends(s, '\r')) {
        s.n--;
        u->held = u->held[0] != '\0' ? "\r\n" : "\r";
    }
    encode(u, s, out);
}

/* ---- headers ---- */

/* The header with another transfer encoding in the field that says "binary". */
static void
add_relabelled(struct slice header, const char *encoding, struct buf *out)
{
    struct slice rest = header;
    struct mime_field f;

    while (mime_next_field(&rest, &f))
        if (sl_ieqz(f.name, "content-transfer-encoding")) {
            buf_adds(out, sl_n(header.p, (size_t)(f.whole.p - header.p)));
            buf_addf(out, "Content-Transfer-Encoding: %s%s", encoding,
                     sl_has_suffix(f.whole, SL("\r\n")) ? "\r\n" : "\n");
            header = sl_from(header, (size_t)(f.whole.p + f.whole.n - header.p));
            break;
        }
    buf_adds(out, header);
}

static void
begin_header(struct mime_unbinary *u, bool is_digest_part)
{
    buf_reset(&u->header);
    u->in_header = true;
    u->is_digest_part = is_digest_part;
}

static void
begin_level(struct mime_unbinary *u, const struct mime_part *p)
{
    struct slice boundary = mime_get_param(p, "boundary");

    while (sl_ends(boundary, ' '))
        boundary.n--;
    if (boundary.n == 0 || boundary.n > MIME_BOUNDARY_MAX || u->depth == MIME_DEPTH_MAX)
        return; /* then it has no parts */
    u->levels[u->depth++] =
        (struct level){ .boundary = sl_dupz(boundary), .is_digest = sl_ieqz(p->subtype, "digest") };
}

/* Does the header say a type that can be read? Else it is the default's: in a digest, a message (RFC 2046 §5.1.5). */
static bool
is_typed(const struct mime_part *p, struct slice header)
{
    return p->type.p >= header.p && p->type.p < header.p + header.n;
}

/* The header is whole: what it says of what follows. */
static void
end_header(struct mime_unbinary *u, struct buf *out)
{
    struct slice header = buf_slice(&u->header);
    struct arena mem = { 0 };
    const struct mime_part *p = mime_parse(header, &mem);
    bool is_binary = sl_ieqz(p->encoding, "binary");
    const char *encoding = "8bit";

    u->in_header = false;
    if (p->is_multipart) {
        begin_level(u, p);
    } else if (p->is_message || (u->is_digest_part && !is_typed(p, header))) {
        u->in_header = true;
    } else if (is_binary) {
        encoding = "base64";
        u->is_encoding = true;
        u->has_encoded = false;
    }
    if (is_binary)
        add_relabelled(header, encoding, out);
    else
        buf_adds(out, header);
    arena_free(&mem);
    if (u->in_header)
        begin_header(u, false);
    else
        buf_free(&u->header);
}

static void
add_header(struct mime_unbinary *u, struct slice s, bool is_line, struct buf *out)
{
    buf_adds(&u->header, s);
    if (is_line && (sl_eqz(s, "\n") || sl_eqz(s, "\r\n"))) {
        end_header(u, out);
    } else if (u->header.n > HEADER_MAX_OCTETS) {
        buf_adds(out, buf_slice(&u->header));
        buf_free(&u->header);
        u->in_header = false;
    }
}

/* ---- lines ---- */

/* Outer levels first: what they say ends whatever is within. */
static bool
take_delimiter(struct mime_unbinary *u, struct slice line, struct buf *out)
{
    if (!sl_has_prefix(line, SL("--")))
        return false;
    for (unsigned i = 0; i < u->depth; i++) {
        enum mime_line is = mime_classify_line(line, sl_z(u->levels[i].boundary));

        if (is == MIME_LINE_OTHER)
            continue;
        if (u->in_header)
            end_header(u, out); /* a part that is all header */
        end_encoding(u, true, out);
        buf_adds(out, line);
        pop_to(u, is == MIME_LINE_CLOSE ? i : i + 1);
        u->in_header = false;
        if (is == MIME_LINE_DELIMITER)
            begin_header(u, u->levels[i].is_digest);
        return true;
    }
    return false;
}

static void
add_line(struct mime_unbinary *u, struct slice s, bool is_line, struct buf *out)
{
    if (is_line && take_delimiter(u, s, out))
        return;
    if (u->in_header)
        add_header(u, s, is_line, out);
    else
        add_body(u, s, out);
}

void
mime_unbinary_add(struct mime_unbinary *u, struct slice octets, struct buf *out)
{
    while (octets.n > 0) {
        size_t lf = sl_find_char(octets, '\n'), n = lf == SL_NPOS ? octets.n : lf + 1;
        bool is_whole = lf != SL_NPOS;

        if (!u->is_mid && u->line.n + n > LOOK_OCTETS) {
            add_line(u, buf_slice(&u->line), false, out);
            buf_reset(&u->line);
            u->is_mid = true;
        }
        if (u->is_mid) {
            add_line(u, sl_head(octets, n), false, out);
            u->is_mid = !is_whole;
        } else if (is_whole && u->line.n == 0) {
            add_line(u, sl_head(octets, n), true, out);
        } else {
            buf_adds(&u->line, sl_head(octets, n));
            if (is_whole) {
                add_line(u, buf_slice(&u->line), true, out);
                buf_reset(&u->line);
            }
        }
        octets = sl_from(octets, n);
    }
}

void
mime_unbinary_end(struct mime_unbinary *u, struct buf *out)
{
    if (u->line.n > 0)
        add_line(u, buf_slice(&u->line), true, out);
    buf_free(&u->line);
    if (u->in_header)
        end_header(u, out);
    end_encoding(u, u->depth > 0, out); /* of a part, where the closing delimiter is missing, too */
}
