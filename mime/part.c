/* mime/part.c - the tree of parts: RFC 2045, 2046. */
#include "mime/mime_int.h"

#include "base/find.h"
#include "base/mem.h"

#include <stdlib.h>

enum { PARAMS_MAX = 200, LINES_BLOCK_OCTETS = 4096 };

struct walk {
    struct arena *mem;
    size_t parts;
    struct slice message;
    uint32_t *lines_to; /* by blocks of the message */
};

/* token of RFC 2045 §5.1, taken leniently. */
static struct slice
take_token(struct slice *in, const char *ends)
{
    size_t n = 0;
    struct slice t;

    while (n < in->n && in->p[n] != '\0' && strchr(ends, in->p[n]) == NULL &&
           strchr(" \t\r\n", in->p[n]) == NULL)
        n++;
    t = sl_head(*in, n);
    *in = sl_from(*in, n);
    return t;
}

/* A value: quoted string (escapes undone, line ends dropped) or token; in the arena. */
static struct slice
take_value(struct slice *in, struct arena *mem)
{
    struct buf text = { 0 };
    struct slice out;
    size_t i = 1;

    if (!sl_starts(*in, '"'))
        return take_token(in, ";");
    for (; i < in->n && in->p[i] != '"'; i++) {
        if (in->p[i] == '\\' && i + 1 < in->n)
            i++;
        if (in->p[i] != '\r' && in->p[i] != '\n')
            buf_addc(&text, in->p[i]);
    }
    *in = sl_from(*in, i + 1);
    out = arena_dup(mem, buf_slice(&text));
    buf_free(&text);
    return out.p != NULL ? out : SL("");
}

/* "; name=value" until the end. */
static struct mime_param *
take_params(struct slice in, struct arena *mem, size_t *n)
{
    struct mime_param *v = NULL, all[PARAMS_MAX];
    size_t count = 0;

    while (in.n > 0 && count < PARAMS_MAX) {
        struct mime_param p;

        mime_skip_cfws(&in);
        if (sl_take_char(&in, ';'))
            continue;
        p.name = take_token(&in, "=;(");
        mime_skip_cfws(&in);
        if (!sl_take_char(&in, '=')) {
            if (p.name.n == 0 && in.n > 0)
                in = sl_from(in, 1);
            continue;
        }
        mime_skip_cfws(&in);
        p.value = take_value(&in, mem);
        if (p.name.n > 0)
            all[count++] = p;
    }
    count = mime_join_params(all, count, mem);
    if (count > 0) {
        v = arena_alloc(mem, count * sizeof(*v));
        memcpy(v, all, count * sizeof(*v));
    }
    *n = count;
    return v;
}

static struct slice
param_of(const struct mime_param *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (sl_ieqz(v[i].name, name))
            return v[i].value;
    return sl_n(NULL, 0);
}

struct slice
mime_get_param(const struct mime_part *p, const char *name)
{
    return param_of(p->params, p->n_params, name);
}

static struct slice
field_text(struct slice raw, struct arena *mem)
{
    struct buf text = { 0 };
    struct slice out;

    if (raw.p == NULL)
        return raw;
    mime_unfold(raw, &text);
    out = arena_dup(mem, buf_slice(&text));
    buf_free(&text);
    return out.p != NULL ? out : SL("");
}

/* ---- lines: each of a hundred levels wants to know how many it has, so they are counted once ---- */

static uint32_t
count_short(const char *p, size_t n)
{
    return (uint32_t)find_count(sl_n(p, n), '\n');
}

/* lines_to[i]: in the first i blocks of the message. */
static void
index_lines(struct walk *w)
{
    size_t blocks = w->message.n / LINES_BLOCK_OCTETS;

    w->lines_to = arena_alloc(w->mem, (blocks + 1) * sizeof(*w->lines_to));
    for (size_t i = 0; i < blocks; i++)
        w->lines_to[i + 1] =
            w->lines_to[i] + count_short(w->message.p + i * LINES_BLOCK_OCTETS, LINES_BLOCK_OCTETS);
}

static uint32_t
count_lines(const struct walk *w, struct slice s)
{
    size_t from, to, at, end;

    if (s.n < 4 * LINES_BLOCK_OCTETS)
        return count_short(s.p, s.n);
    at = (size_t)(s.p - w->message.p);
    end = at + s.n;
    from = at / LINES_BLOCK_OCTETS + 1;
    to = end / LINES_BLOCK_OCTETS;
    return w->lines_to[to] - w->lines_to[from] + count_short(s.p, from * LINES_BLOCK_OCTETS - at) +
           count_short(w->message.p + to * LINES_BLOCK_OCTETS, end - to * LINES_BLOCK_OCTETS);
}

/* ---- the header of a part ---- */

static void
read_type(struct mime_part *p, struct slice raw, bool in_digest, struct arena *mem)
{
    struct slice in = raw;

    p->type = in_digest ? SL("message") : SL("text");
    p->subtype = in_digest ? SL("rfc822") : SL("plain");
    if (raw.p != NULL) {
        struct slice type, subtype;

        mime_skip_cfws(&in);
        type = take_token(&in, "/;(");
        mime_skip_cfws(&in);
        if (sl_take_char(&in, '/')) {
            mime_skip_cfws(&in);
            subtype = take_token(&in, ";(");
            if (type.n > 0 && subtype.n > 0) {
                p->type = type;
                p->subtype = subtype;
            }
            p->params = take_params(in, mem, &p->n_params);
        }
    }
    p->is_multipart = sl_ieqz(p->type, "multipart");
    p->is_message = sl_ieqz(p->type, "message") &&
                    (sl_ieqz(p->subtype, "rfc822") || sl_ieqz(p->subtype, "global"));
}

static void
read_header(struct mime_part *p, bool in_digest, struct arena *mem)
{
    struct slice rest = p->header, type = { 0 };
    struct mime_field f;
    struct {
        const char *name;
        struct slice *to;
    } fields[] = { { "content-type", &type },
                   { "content-transfer-encoding", &p->encoding },
                   { "content-id", &p->id },
                   { "content-description", &p->description },
                   { "content-disposition", &p->disposition },
                   { "content-language", &p->language },
                   { "content-location", &p->location },
                   { "content-md5", &p->md5 } };

    while (mime_next_field(&rest, &f)) {
        if (!sl_has_iprefix(f.name, SL("content-")))
            continue;
        for (size_t i = 0; i < COUNT_OF(fields); i++)
            if (fields[i].to->p == NULL && sl_ieqz(f.name, fields[i].name))
                *fields[i].to = f.value;
    }
    read_type(p, type, in_digest, mem);
    if (p->encoding.p != NULL) {
        mime_skip_cfws(&p->encoding);
        p->encoding = take_token(&p->encoding, ";(");
        if (p->encoding.n == 0)
            p->encoding = sl_n(NULL, 0);
    }
    if (p->disposition.p != NULL) {
        struct slice in = p->disposition;

        mime_skip_cfws(&in);
        p->disposition = take_token(&in, ";(");
        p->disposition_params = take_params(in, mem, &p->n_disposition_params);
        if (p->disposition.n == 0)
            p->disposition = sl_n(NULL, 0);
    }
    p->id = field_text(p->id, mem);
    p->description = field_text(p->description, mem);
    p->language = field_text(p->language, mem);
    p->location = field_text(p->location, mem);
    p->md5 = field_text(p->md5, mem);
}

static void read_part(struct mime_part *p, struct slice whole, bool in_digest, unsigned depth,
                      struct walk *w);

enum mime_line
mime_classify_line(struct slice line, struct slice boundary)
{
    if (line.n < 2 + boundary.n || line.p[0] != '-' || line.p[1] != '-' ||
        memcmp(line.p + 2, boundary.p, boundary.n) != 0)
        return MIME_LINE_OTHER;
    line = sl_from(line, 2 + boundary.n);
    if (sl_has_prefix(line, SL("--")))
        return MIME_LINE_CLOSE;
    return sl_trim(line).n == 0 ? MIME_LINE_DELIMITER : MIME_LINE_OTHER;
}

struct pieces {
    struct slice *v;
    size_t n, cap;
};

/* The line end before a delimiter belongs to the delimiter (RFC 2046 §5.1.1). */
static void
add_body_part(struct pieces *ps, const char *from, const char *to)
{
    if (to > from && to[-1] == '\n')
        to--;
    if (to > from && to[-1] == '\r')
        to--;
    ps->v = mem_grow(ps->v, &ps->cap, ps->n + 1, sizeof(*ps->v));
    ps->v[ps->n++] = sl_n(from, (size_t)(to - from));
}

/* Every level of a nested message is searched whole, so this does not go line by line: mark is the boundary as it stands
 * after a line end. */
static void
split(struct slice body, struct slice boundary, struct slice mark, struct pieces *ps)
{
    const char *at = body.p, *end = body.p + body.n, *start = NULL;

    if (!sl_has_prefix(body, sl_from(mark, 1)))
        at = body.n > 0 ? memmem(at, body.n, mark.p, mark.n) : NULL;
    while (at != NULL && ps->n < MIME_PARTS_MAX) {
        const char *line = at + (*at == '\n'), *nl = memchr(line, '\n', (size_t)(end - line));
        const char *next = nl != NULL ? nl + 1 : end;
        enum mime_line is = mime_classify_line(sl_n(line, (size_t)(next - line)), boundary);

        if (is != MIME_LINE_OTHER) {
            if (start != NULL)
                add_body_part(ps, start, line);
            start = next;
            if (is == MIME_LINE_CLOSE)
                return;
        }
        at = nl != NULL ? memmem(nl, (size_t)(end - nl), mark.p, mark.n) : NULL;
    }
    if (start != NULL && start <= end)
        add_body_part(ps, start, end); /* no closing delimiter */
}

static void
read_multipart(struct mime_part *p, unsigned depth, struct walk *w)
{
    struct slice boundary = mime_get_param(p, "boundary");
    bool is_digest = sl_ieqz(p->subtype, "digest");
    struct pieces ps = { 0 };

    while (sl_ends(boundary, ' '))
        boundary.n--;
    if (boundary.n > 0 && boundary.n <= MIME_BOUNDARY_MAX) {
        struct buf mark = { 0 };

        buf_addz(&mark, "\n--");
        buf_adds(&mark, boundary);
        split(p->body, boundary, buf_slice(&mark), &ps);
        buf_free(&mark);
    }
    if (w->parts + ps.n > MIME_PARTS_MAX)
        ps.n = w->parts < MIME_PARTS_MAX ? MIME_PARTS_MAX - w->parts : 0;
    w->parts += ps.n;
    if (ps.n > 0) {
        p->kids = arena_alloc(w->mem, ps.n * sizeof(*p->kids));
        p->n_kids = ps.n;
        for (size_t i = 0; i < ps.n; i++)
            read_part(&p->kids[i], ps.v[i], is_digest, depth + 1, w);
    }
    free(ps.v);
}

static void
read_part(struct mime_part *p, struct slice whole, bool in_digest, unsigned depth, struct walk *w)
{
    p->header = mime_header_of(whole);
    p->body = sl_from(whole, p->header.n);
    p->header_lines = count_lines(w, p->header);
    p->lines = count_lines(w, p->body);
    read_header(p, in_digest, w->mem);
    if (depth >= MIME_DEPTH_MAX) {
        p->is_multipart = p->is_message = false;
        p->type = SL("application");
        p->subtype = SL("octet-stream");
    } else if (p->is_multipart) {
        read_multipart(p, depth, w);
    } else if (p->is_message && w->parts < MIME_PARTS_MAX) {
        w->parts++;
        p->kids = arena_alloc(w->mem, sizeof(*p->kids));
        p->n_kids = 1;
        read_part(p->kids, p->body, false, depth + 1, w);
    } else {
        p->is_message = false;
    }
}

struct mime_part *
mime_parse(struct slice message, struct arena *mem)
{
    struct walk w = { .mem = mem, .message = message };
    struct mime_part *root = ARENA_NEW(mem, struct mime_part);

    BUG_ON(root == NULL);
    index_lines(&w);
    read_part(root, message, false, 0, &w);
    return root;
}

/* Step from p to its part of that number. What is no multipart has one part: a message's body, or (first number only)
 * the whole. */
static const struct mime_part *
step(const struct mime_part *p, uint32_t number, bool is_first)
{
    bool in_message = is_first;

    if (!is_first && p->is_message && p->n_kids == 1) {
        p = &p->kids[0];
        in_message = true;
    }
    if (p->is_multipart)
        return number >= 1 && number <= p->n_kids ? &p->kids[number - 1] : NULL;
    return in_message && number == 1 ? p : NULL;
}

const struct mime_part *
mime_find_part(const struct mime_part *root, const uint32_t *numbers, size_t n)
{
    const struct mime_part *p = root;

    for (size_t i = 0; i < n && p != NULL; i++)
        p = step(p, numbers[i], i == 0);
    return p;
}
