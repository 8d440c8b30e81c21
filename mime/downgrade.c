/* mime/downgrade.c - see downgrade.h. Line by line; of a long line only its beginning can be a delimiter or a field, so lines
 * are taken in pieces. */
#include "mime/downgrade.h"
#include "mime/entity.h"
#include "mime/mime.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>

enum {
    PIECE_OCTETS = 4096,
    BOUNDARY_OCTETS_MAX = 1000,
    QP_COLUMNS = 75 /* and "=" */
};

enum encoding { ENC_NONE, ENC_IDENTITY_7BIT, ENC_8BIT, ENC_OTHER };
enum kind { KIND_LEAF, KIND_MULTIPART, KIND_MESSAGE, KIND_MESSAGE_OTHER };
enum mode {
    MODE_HEADER,
    MODE_RAW,
    MODE_QP,
    MODE_HOLD /* an entity that says nothing of its encoding: what is held decides */
};

struct level {
    char *boundary;
    bool is_digest;
};

struct mime_downgrade {
    struct buf line;     /* of the input, not yet whole */
    bool is_in_line;     /* a piece of this line was taken already */
    const char *newline; /* as the message has it */
    enum mode mode;
    struct level levels[MIME_DOWNGRADE_DEPTH_MAX];
    size_t n_levels;
    /* the header being read */
    struct buf field;     /* a field with its folded lines */
    bool is_field_passed; /* too long to be looked into */
    bool is_top, has_version, has_type;
    enum encoding encoding;
    enum kind kind;
    bool is_digest;
    char *boundary;
    /* its body */
    struct buf hold;     /* header's end and body so far */
    bool has_empty_line; /* the header ended with one */
    /* quoted-printable */
    size_t column;
    char blank; /* at what may be the end of a line; 0: none */
};

struct mime_downgrade *
mime_downgrade_new(void)
{
    struct mime_downgrade *d = MEM_NEW(struct mime_downgrade);

    d->newline = "\r\n";
    d->is_top = true;
    return d;
}

void
mime_downgrade_free(struct mime_downgrade **dp)
{
    struct mime_downgrade *d = *dp;

    if (d == NULL)
        return;
    for (size_t i = 0; i < d->n_levels; i++)
        free(d->levels[i].boundary);
    free(d->boundary);
    buf_free(&d->line);
    buf_free(&d->field);
    buf_free(&d->hold);
    free(d);
    *dp = NULL;
}

/* The line end at the end of a piece, if it has one. */
static size_t
end_octets(struct slice s)
{
    if (!sl_ends(s, '\n'))
        return 0;
    return s.n > 1 && s.p[s.n - 2] == '\r' ? 2 : 1;
}

/* ---- quoted-printable: RFC 2045 §6.7 ---- */

static void
qp_token(struct mime_downgrade *d, unsigned char c, bool must_escape, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = must_escape ? 3 : 1;

    if (d->column + n > QP_COLUMNS) {
        buf_addf(out, "=%s", d->newline);
        d->column = 0;
    }
    if (must_escape) {
        buf_addc(out, '=');
        buf_addc(out, hex[c >> 4]);
        buf_addc(out, hex[c & 15]);
    } else {
        buf_addc(out, (char)c);
    }
    d->column += n;
}

static void
qp_add(struct mime_downgrade *d, struct slice piece, struct buf *out)
{
    size_t end = end_octets(piece);

    for (size_t i = 0; i < piece.n - end; i++) {
        unsigned char c = (unsigned char)piece.p[i];

        if (d->blank)
            qp_token(d, (unsigned char)d->blank, false, out);
        d->blank = 0;
        if (c == ' ' || c == '\t')
            d->blank = (char)c;
        else
            qp_token(d, c, c < 0x21 || c > 0x7e || c == '=', out);
    }
    if (end == 0)
        return;
    if (d->blank) /* it would be lost at the end of a line */
        qp_token(d, (unsigned char)d->blank, true, out);
    d->blank = 0;
    d->column = 0;
    buf_adds(out, sl_from(piece, piece.n - end));
}

static void
qp_end(struct mime_downgrade *d, struct buf *out)
{
    if (d->blank)
        qp_token(d, (unsigned char)d->blank, true, out);
    d->blank = 0;
    d->column = 0;
}

/* ---- header fields ---- */

/* The value of boundary=, malloc'ed; NULL: none. */
static char *
take_boundary(struct slice params)
{
    struct buf text = { 0 };
    char *z = NULL;

    if (mime_next_boundary(&params, false, &text) && text.n <= BOUNDARY_OCTETS_MAX)
        z = sl_dupz(buf_slice(&text));
    buf_free(&text);
    return z;
}

static void
note_type(struct mime_downgrade *d, struct slice in)
{
    struct mime_type t;

    if (d->has_type)
        return;
    d->has_type = true;
    mime_type_of(in, &t);
    d->kind = t.kind == MIME_LEAF                                     ? KIND_LEAF
              : t.kind == MIME_MULTIPART                              ? KIND_MULTIPART
              : t.kind == MIME_MESSAGE || t.kind == MIME_MESSAGE_UTF8 ? KIND_MESSAGE
                                                                      : KIND_MESSAGE_OTHER;
    d->is_digest = t.is_digest;
    if (d->kind == KIND_MULTIPART)
        d->boundary = take_boundary(t.params);
}

/* False: the field is to be replaced. */
static bool
note_encoding(struct mime_downgrade *d, struct slice in)
{
    enum mime_encoding e = mime_encoding_of(in);
    bool is_8bit = e == MIME_ENC_8BIT || e == MIME_ENC_BINARY;

    if (d->encoding == ENC_NONE)
        d->encoding = is_8bit ? ENC_8BIT : e == MIME_ENC_7BIT ? ENC_IDENTITY_7BIT : ENC_OTHER;
    return d->encoding != ENC_8BIT;
}

static void
end_field(struct mime_downgrade *d, struct buf *out)
{
    struct slice whole = buf_slice(&d->field), name = SL(""), value = whole;
    bool is_kept = true;

    if (!d->is_field_passed && sl_take_until(&value, ':', &name)) {
        name = sl_trim(name);
        if (sl_ieqz(name, "content-type"))
            note_type(d, value);
        else if (sl_ieqz(name, "content-transfer-encoding"))
            is_kept = note_encoding(d, value);
        else if (sl_ieqz(name, "mime-version"))
            d->has_version = true;
    }
    if (is_kept)
        buf_adds(out, whole);
    buf_free(&d->field);
    d->is_field_passed = false;
}

/* ---- entities ---- */

static void
begin_header(struct mime_downgrade *d, bool in_digest)
{
    d->mode = MODE_HEADER;
    d->has_type = d->has_version = d->is_digest = d->is_top = false;
    d->encoding = ENC_NONE;
    d->kind = in_digest ? KIND_MESSAGE : KIND_LEAF;
    free(d->boundary);
    d->boundary = NULL;
}

static void
pop_to(struct mime_downgrade *d, size_t n)
{
    while (d->n_levels > n)
        free(d->levels[--d->n_levels].boundary);
}

/* What is held stays as it is. */
static void
release(struct mime_downgrade *d, struct buf *out)
{
    buf_adds(out, buf_slice(&d->hold));
    buf_free(&d->hold);
    d->mode = MODE_RAW;
}

/* What is held is 8-bit: say so, and convert it and what follows. */
static void
convert(struct mime_downgrade *d, struct buf *out)
{
    struct slice at = buf_slice(&d->hold);

    if (d->is_top && !d->has_version) {
        buf_addf(out, "MIME-Version: 1.0%s", d->newline);
        if (!d->has_type)
            buf_addf(out, "Content-Type: text/plain; charset=unknown-8bit%s", d->newline);
    }
    buf_addf(out, "Content-Transfer-Encoding: quoted-printable%s%s", d->newline, d->newline);
    if (d->has_empty_line)
        at = sl_from(at, sl_find_char(at, '\n') + 1);
    d->mode = MODE_QP;
    while (at.n > 0) {
        size_t nl = sl_find_char(at, '\n');
        struct slice line = sl_head(at, nl == SL_NPOS ? at.n : nl + 1);

        qp_add(d, line, out);
        at = sl_from(at, line.n);
    }
    buf_free(&d->hold);
}

/* The header is read; end: the empty line, or what came in its place. True: end was taken care of. */
static bool
end_header(struct mime_downgrade *d, struct slice end, bool is_empty, struct buf *out)
{
    bool is_leaf, is_nested;

    end_field(d, out); /* the last one, which may be what says what this entity is */
    is_leaf = d->kind == KIND_LEAF;
    is_nested = d->kind == KIND_MESSAGE && d->encoding != ENC_OTHER;
    d->has_empty_line = is_empty;
    if (d->kind == KIND_MULTIPART && d->boundary && d->n_levels < MIME_DOWNGRADE_DEPTH_MAX) {
        d->levels[d->n_levels++] = (struct level){ d->boundary, d->is_digest };
        d->boundary = NULL;
    }
    if (d->encoding == ENC_8BIT) {
        buf_addf(out, "Content-Transfer-Encoding: %s%s%s", is_leaf ? "quoted-printable" : "7bit",
                 d->newline, is_empty ? "" : d->newline);
        d->mode = is_leaf ? MODE_QP : MODE_RAW;
    } else {
        d->mode = is_leaf && d->encoding == ENC_NONE ? MODE_HOLD : MODE_RAW;
    }
    if (is_empty)
        buf_adds(d->mode == MODE_HOLD ? &d->hold : out, end);
    if (is_nested && is_empty)
        begin_header(d, false);
    return is_empty;
}

/* Is this the beginning of a delimiter line of an entity that is open? Then that entity, and all inside it, ends. */
static bool
is_delimiter(struct mime_downgrade *d, struct slice line, struct buf *out)
{
    if (d->n_levels == 0 || !sl_has_prefix(line, SL("--")))
        return false;
    for (size_t i = d->n_levels; i-- > 0;) {
        struct slice rest = sl_from(line, 2);
        bool is_last;

        if (!sl_take_prefix(&rest, sl_z(d->levels[i].boundary)))
            continue;
        is_last = sl_has_prefix(rest, SL("--"));
        if (!is_last && sl_trim(rest).n > 0)
            continue;
        if (d->mode == MODE_HEADER)
            end_header(d, SL(""), false, out);
        if (d->mode == MODE_HOLD)
            release(d, out);
        if (d->mode == MODE_QP)
            qp_end(d, out);
        buf_adds(out, line);
        pop_to(d, is_last ? i : i + 1);
        if (is_last)
            d->mode = MODE_RAW;
        else
            begin_header(d, d->levels[i].is_digest);
        return true;
    }
    return false;
}

/* ---- lines ---- */

static bool
is_field(struct slice line)
{
    size_t colon = sl_find_char(line, ':');

    if (colon == SL_NPOS || colon == 0)
        return false;
    for (size_t i = 0; i < colon; i++) {
        char c = line.p[i];

        if ((unsigned char)c <= ' ' || c == 0x7f) /* blanks before the colon: obsolete, but seen */
            return (c == ' ' || c == '\t') && i > 0 &&
                   sl_trim(sl_from(sl_head(line, colon), i)).n == 0;
    }
    return true;
}

/* False: the header ended before this piece, which is body. */
static bool
take_header(struct mime_downgrade *d, struct slice piece, bool is_start, struct buf *out)
{
    if (is_start && piece.n == end_octets(piece) && piece.n > 0) {
        d->newline = piece.n == 2 ? "\r\n" : "\n";
        return end_header(d, piece, true, out);
    }
    if (is_start && !(piece.p[0] == ' ' || piece.p[0] == '\t')) {
        if (!is_field(piece) && !sl_has_prefix(piece, SL("From ")))
            return end_header(d, piece, false, out);
        end_field(d, out);
    }
    if (!d->is_field_passed && d->field.n + piece.n > MIME_DOWNGRADE_FIELD_OCTETS)
        d->is_field_passed = true;
    buf_adds(&d->field, piece);
    if (d->is_field_passed) {
        buf_adds(out, buf_slice(&d->field));
        buf_reset(&d->field);
    }
    return true;
}

static void
take_body(struct mime_downgrade *d, struct slice piece, struct buf *out)
{
    switch (d->mode) {
    case MODE_QP:
        qp_add(d, piece, out);
        break;
    case MODE_HOLD:
        buf_adds(&d->hold, piece);
        if (!utf8_is_ascii(piece))
            convert(d, out);
        else if (d->hold.n > MIME_DOWNGRADE_HOLD_OCTETS)
            release(d, out);
        break;
    default:
        buf_adds(out, piece);
    }
}

static void
take_piece(struct mime_downgrade *d, struct slice piece, struct buf *out)
{
    bool is_start = !d->is_in_line;

    d->is_in_line = end_octets(piece) == 0;
    if (is_start && is_delimiter(d, piece, out))
        return;
    if (d->mode == MODE_HEADER && take_header(d, piece, is_start, out))
        return;
    take_body(d, piece, out);
}

void
mime_downgrade_add(struct mime_downgrade *d, struct slice s, struct buf *out)
{
    while (s.n > 0) {
        size_t nl = sl_find_char(s, '\n');
        size_t n = nl == SL_NPOS ? s.n : nl + 1;

        if (d->line.n == 0 && nl != SL_NPOS && n <= PIECE_OCTETS) {
            take_piece(d, sl_head(s, n), out);
            s = sl_from(s, n);
            continue;
        }
        if (n > PIECE_OCTETS - d->line.n)
            n = PIECE_OCTETS - d->line.n;
        buf_adds(&d->line, sl_head(s, n));
        s = sl_from(s, n);
        if (sl_ends(buf_slice(&d->line), '\n')) {
            take_piece(d, buf_slice(&d->line), out);
            buf_free(&d->line);
        } else if (d->line.n == PIECE_OCTETS) {
            struct slice piece = buf_slice(&d->line);
            bool has_cr = sl_ends(piece, '\r'); /* may be half a line end */

            piece.n -= has_cr;
            take_piece(d, piece, out);
            buf_consume(&d->line, piece.n);
        }
    }
}

void
mime_downgrade_end(struct mime_downgrade *d, struct buf *out)
{
    if (d->line.n > 0)
        take_piece(d, buf_slice(&d->line), out);
    buf_free(&d->line);
    if (d->mode == MODE_HEADER)
        end_header(d, SL(""), false, out);
    if (d->mode == MODE_HOLD)
        release(d, out);
    if (d->mode == MODE_QP)
        qp_end(d, out);
    d->mode = MODE_RAW;
}
