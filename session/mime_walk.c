/* session/mime_walk.c - see mime_walk.h. A line's beginning is gathered until it is known not to be a delimiter. */
#include "session/mime_walk.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdlib.h>

enum state {
    AT_EMPTY_LINE, /* what ended a header is next: an empty line, or the body's first */
    IN_HEADER,     /* of a part, or of an attached message */
    IN_BODY
};

struct level {
    char *boundary;
    bool is_digest;
};

struct mime_walk {
    struct mime_walk_conf conf;
    const struct mime_walk_ops *ops;
    void *arg;
    enum state state;
    enum header_class class; /* of the header under way, or the last one */
    /* what the last header said */
    struct mime_type type;
    enum mime_encoding encoding;
    struct level levels[MIME_WALK_DEPTH_MAX];
    size_t n_levels;
    struct header_split split;
    struct buf rest; /* of a header: the body goes on with it, before anything else */
    struct buf line; /* a piece that is not whole yet */
    bool is_in_line; /* a piece of this line is out */
    bool is_part;    /* and the line is a delimiter: the header of a part follows it */
    enum mime_kind part_kind;
    uint64_t offset;
    unsigned seen; /* MIME_ERROR_* */
    struct buf text;
};

/* ---- errors ---- */

static const struct {
    enum mime_error e;
    const char *text;
} texts[] = {
    { MIME_ERROR_NESTING, "MIME nesting exceeds safety limit" },
    { MIME_ERROR_8BIT_HEADER, "improper use of 8-bit data in message header" },
    { MIME_ERROR_8BIT_BODY, "improper use of 8-bit data in message body" },
    { MIME_ERROR_DOMAIN, "invalid message/* or multipart/* encoding domain" },
};

const char *
mime_error_text(enum mime_error e)
{
    size_t i = 0;

    while (i + 1 < COUNT_OF(texts) && texts[i].e != e)
        i++;
    return texts[i].text;
}

static bool
wants(const struct mime_walk *w, enum mime_error e)
{
    return (w->conf.errors & e) && !(w->seen & e);
}

static void
report(struct mime_walk *w, enum mime_error e, struct slice where)
{
    if (!wants(w, e))
        return;
    w->seen |= e;
    w->ops->error(w->arg, e, where);
}

/* ---- what headers say ---- */

static void
pop_to(struct mime_walk *w, size_t n)
{
    while (w->n_levels > n)
        free(w->levels[--w->n_levels].boundary);
}

static void
note_type(struct mime_walk *w, struct slice field, struct slice value)
{
    mime_type_of(value, &w->type);
    if (w->type.kind != MIME_MULTIPART)
        return;
    while (mime_next_boundary(&w->type.params, true, &w->text)) {
        if (w->n_levels > w->conf.nesting_limit + 1 || w->n_levels == MIME_WALK_DEPTH_MAX) {
            report(w, MIME_ERROR_NESTING, field);
            continue;
        }
        w->levels[w->n_levels++] =
            (struct level){ sl_dupz(sl_head(buf_slice(&w->text), w->conf.boundary_limit)),
                            w->type.is_digest };
    }
    w->type.params = SL("");
}

void
mime_walk_field(struct mime_walk *w, struct slice text)
{
    struct slice value = text, name;

    if (w->conf.is_off || !sl_take_until(&value, ':', &name))
        return;
    if (sl_ieqz(name, "content-type")) {
        note_type(w, text, value);
    } else if (sl_ieqz(name, "content-transfer-encoding")) {
        enum mime_encoding e = mime_encoding_of(value);

        if (e != MIME_ENC_NONE)
            w->encoding = e;
    }
    if (wants(w, MIME_ERROR_8BIT_HEADER) && !utf8_is_ascii(text))
        report(w, MIME_ERROR_8BIT_HEADER, text);
}

static void
on_field(void *arg, struct slice text, bool is_cut)
{
    struct mime_walk *w = arg;

    mime_walk_field(w, text);
    w->ops->field(w->arg, w->class, text, is_cut);
}

/* ---- entities ---- */

static void
forget_header(struct mime_walk *w, enum mime_kind kind)
{
    w->type = (struct mime_type){ .kind = kind };
    w->encoding = MIME_ENC_7BIT;
}

static void
begin_header(struct mime_walk *w, enum header_class class, enum mime_kind kind)
{
    forget_header(w, kind);
    header_split_again(&w->split);
    w->class = class;
    w->state = IN_HEADER;
}

/* RFC 2045 §6.4: what has parts or a header inside is not encoded. */
static void
check_domain(struct mime_walk *w)
{
    bool is_bad = false;

    if (w->type.kind == MIME_MESSAGE_PIECE)
        is_bad = w->encoding == MIME_ENC_8BIT || w->encoding == MIME_ENC_BINARY;
    else if (w->type.kind == MIME_MESSAGE || w->type.kind == MIME_MULTIPART)
        is_bad = w->encoding == MIME_ENC_QP || w->encoding == MIME_ENC_BASE64;
    if (is_bad)
        report(w, MIME_ERROR_DOMAIN, sl_z(mime_encoding_name(w->encoding)));
}

/* What comes after the header's end: that line is IN_BODY's, as far as the caller goes. */
static void
end_header(struct mime_walk *w, bool with_empty_line)
{
    bool is_nested = w->type.kind == MIME_MESSAGE || w->type.kind == MIME_MESSAGE_UTF8;

    check_domain(w);
    w->offset = 0;
    w->state = IN_BODY;
    if (!with_empty_line)
        return;
    if (is_nested)
        begin_header(w, HEADER_NESTED, MIME_LEAF);
    else if (w->type.kind == MIME_MULTIPART)
        forget_header(w, MIME_LEAF);
}

/* ---- lines ---- */

static void
find_delimiter(struct mime_walk *w, struct slice text)
{
    struct slice rest = text;

    if (w->n_levels == 0 || !sl_take_prefix(&rest, SL("--")))
        return;
    for (size_t i = w->n_levels; i-- > 0;) {
        struct slice after = rest;

        if (!sl_take_prefix(&after, sl_z(w->levels[i].boundary)))
            continue;
        if (sl_has_prefix(after, SL("--"))) {
            pop_to(w, i);
            forget_header(w, MIME_LEAF);
            w->state = IN_BODY;
            w->offset = 0;
        } else {
            pop_to(w, i + 1);
            w->is_part = true;
            w->part_kind = w->levels[i].is_digest ? MIME_MESSAGE : MIME_LEAF;
        }
        return;
    }
}

static void
take_piece(struct mime_walk *w, struct slice text, struct slice end)
{
    bool is_start = !w->is_in_line;
    uint64_t offset;

    w->is_in_line = end.n == 0;
    if (w->state == AT_EMPTY_LINE)
        end_header(w, is_start && text.n == 0 && end.n > 0);
    offset = w->offset;
    if (w->encoding == MIME_ENC_7BIT && wants(w, MIME_ERROR_8BIT_BODY) && !utf8_is_ascii(text))
        report(w, MIME_ERROR_8BIT_BODY, text);
    w->offset += text.n + 1;
    if (is_start)
        find_delimiter(w, text);
    if (w->is_part && end.n > 0) { /* what is behind a delimiter is its line's, however long */
        w->is_part = false;
        begin_header(w, HEADER_MIME, w->part_kind);
    }
    w->ops->line(w->arg, text, end, is_start, offset);
}

/* A line, or a piece of one, from the front. False: not whole yet. */
static bool
take_line(struct mime_walk *w, struct slice *in)
{
    size_t nl = sl_find_char(*in, '\n'), n = nl == SL_NPOS ? in->n : nl + 1;
    struct slice piece;

    if (w->line.n == 0 && nl != SL_NPOS && n <= MIME_WALK_PIECE_OCTETS) {
        piece = sl_head(*in, n);
        *in = sl_from(*in, n);
        take_piece(w, sl_head(piece, n - 2), sl_from(piece, n - 2));
        return true;
    }
    if (n > MIME_WALK_PIECE_OCTETS + 2 - w->line.n)
        n = MIME_WALK_PIECE_OCTETS + 2 - w->line.n;
    buf_adds(&w->line, sl_head(*in, n));
    *in = sl_from(*in, n);
    piece = buf_slice(&w->line);
    if (sl_ends(piece, '\n')) {
        take_piece(w, sl_head(piece, piece.n - 2), sl_from(piece, piece.n - 2));
        buf_reset(&w->line);
        return true;
    }
    if (piece.n < MIME_WALK_PIECE_OCTETS + 2)
        return false;
    take_piece(w, sl_head(piece, MIME_WALK_PIECE_OCTETS), SL(""));
    buf_consume(&w->line, MIME_WALK_PIECE_OCTETS);
    return true;
}

void
mime_walk_take(struct mime_walk *w, struct slice *in)
{
    if (w->rest.n > 0) { /* of a header: an unfinished line, or a whole one */
        struct slice rest = buf_slice(&w->rest);
        size_t n = rest.n;

        (void)take_line(w, &rest);
        buf_consume(&w->rest, n - rest.n);
    } else if (w->state == IN_HEADER) {
        if (header_split_take(&w->split, in, &w->rest))
            w->state = AT_EMPTY_LINE;
    } else {
        (void)take_line(w, in);
    }
}

void
mime_walk_end(struct mime_walk *w)
{
    struct slice none = SL("");

    if (w->state == IN_HEADER && header_split_end(&w->split, &w->rest))
        w->state = AT_EMPTY_LINE;
    while (w->rest.n > 0)
        mime_walk_take(w, &none);
    if (w->line.n > 0)
        take_piece(w, buf_slice(&w->line), SL(""));
    buf_reset(&w->line);
}

/* ---- */

void
mime_walk_begin(struct mime_walk *w)
{
    w->state = AT_EMPTY_LINE;
}

struct mime_walk *
mime_walk_new(const struct mime_walk_conf *c, const struct mime_walk_ops *ops, void *arg)
{
    struct mime_walk *w = MEM_NEW(struct mime_walk);

    w->conf = *c;
    w->ops = ops;
    w->arg = arg;
    w->class = HEADER_PRIMARY;
    w->split.limit = c->field_limit;
    w->split.field = on_field;
    w->split.arg = w;
    forget_header(w, MIME_LEAF);
    return w;
}

void
mime_walk_free(struct mime_walk **wp)
{
    struct mime_walk *w = *wp;

    if (w == NULL)
        return;
    pop_to(w, 0);
    header_split_free(&w->split);
    buf_free(&w->rest);
    buf_free(&w->line);
    buf_free(&w->text);
    free(w);
    *wp = NULL;
}
