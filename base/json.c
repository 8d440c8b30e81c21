/* base/json.c - see json.h. */
#include "base/json.h"

#include "base/utf8.h"

/* ---- reading ---- */

struct parser {
    struct slice all, in; /* the text; what is left of it */
    struct arena *mem;
    struct err *e;
};

static int
bad(const struct parser *p, const char *what)
{
    return err_set(p->e, ERR_CLIENT, "no JSON: %s at octet %zu", what, p->all.n - p->in.n + 1);
}

static int
too_much(const struct parser *p)
{
    return err_set(p->e, ERR_LIMIT, "too much JSON");
}

static void
skip_blank(struct parser *p)
{
    while (p->in.n > 0 && memchr(" \t\r\n", p->in.p[0], 4))
        p->in = sl_from(p->in, 1);
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits. */
static bool
take_unit(struct parser *p, uint32_t *unit)
{
    *unit = 0;
    if (p->in.n < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        int d = hex_digit(p->in.p[i]);

        if (d < 0)
            return false;
        *unit = *unit << 4 | (uint32_t)d;
    }
    p->in = sl_from(p->in, 4);
    return true;
}

/* What is behind "\u". */
static int
take_escaped_char(struct parser *p, struct buf *out)
{
    uint32_t high, low;

    if (!take_unit(p, &high))
        return bad(p, "a broken \\u");
    if (high >= 0xdc00 && high <= 0xdfff)
        return bad(p, "half a surrogate pair");
    if (high >= 0xd800 && high <= 0xdbff) {
        if (!sl_take_prefix(&p->in, SL("\\u")) || !take_unit(p, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return bad(p, "half a surrogate pair");
        high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }
    utf8_add(out, high);
    return 0;
}

/* Behind the backslash. */
static int
take_escape(struct parser *p, struct buf *out)
{
    static const char codes[] = "\"\\/bfnrt", octets[] = "\"\\/\b\f\n\r\t";
    const char *at = p->in.n > 0 ? memchr(codes, p->in.p[0], sizeof codes - 1) : NULL;

    if (sl_take_char(&p->in, 'u'))
        return take_escaped_char(p, out);
    if (at == NULL)
        return bad(p, "an unknown escape");
    p->in = sl_from(p->in, 1);
    buf_addc(out, octets[at - codes]);
    return 0;
}

static int
unescape(struct parser *p, struct buf *out)
{
    while (p->in.n > 0 && p->in.p[0] != '"') {
        if ((unsigned char)p->in.p[0] < 0x20)
            return bad(p, "a control octet in a string");
        if (sl_take_char(&p->in, '\\')) {
            if (take_escape(p, out) != 0)
                return -1;
        } else {
            buf_addc(out, p->in.p[0]);
            p->in = sl_from(p->in, 1);
        }
    }
    return sl_take_char(&p->in, '"') ? 0 : bad(p, "a string without an end");
}

/* Behind the opening quote. Without escapes it stays where it is. */
static int
take_string(struct parser *p, struct slice *out)
{
    struct buf text = { 0 };
    size_t n = 0;
    int rc = 0;

    while (n < p->in.n && p->in.p[n] != '"' && p->in.p[n] != '\\' &&
           (unsigned char)p->in.p[n] >= 0x20)
        n++;
    if (n < p->in.n && p->in.p[n] == '"') {
        *out = sl_head(p->in, n);
        p->in = sl_from(p->in, n + 1);
        return 0;
    }
    buf_add(&text, p->in.p, n);
    p->in = sl_from(p->in, n);
    rc = unescape(p, &text);
    if (rc == 0) {
        *out = arena_dup(p->mem, buf_slice(&text));
        if (out->p == NULL)
            rc = too_much(p);
    }
    buf_free(&text);
    return rc;
}

static size_t
count_digits(struct slice s, size_t at)
{
    size_t n = 0;

    while (at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9')
        n++;
    return n;
}

/* -? int frac? exp?, RFC 8259 §6 */
static int
take_number(struct parser *p, struct slice *out)
{
    struct slice s = p->in;
    size_t at = sl_starts(s, '-'), n = count_digits(s, at);

    if (n == 0 || (n > 1 && s.p[at] == '0'))
        return bad(p, "a broken number");
    at += n;
    if (at < s.n && s.p[at] == '.') {
        n = count_digits(s, at + 1);
        if (n == 0)
            return bad(p, "a broken number");
        at += 1 + n;
    }
    if (at < s.n && (s.p[at] == 'e' || s.p[at] == 'E')) {
        at++;
        at += at < s.n && (s.p[at] == '+' || s.p[at] == '-');
        n = count_digits(s, at);
        if (n == 0)
            return bad(p, "a broken number");
        at += n;
    }
    if (at > JSON_NUMBER_OCTETS)
        return too_much(p);
    *out = sl_head(s, at);
    p->in = sl_from(s, at);
    return 0;
}

static int take_value(struct parser *p, unsigned depth, struct json *v);

/* Behind the bracket: elements with commas between them, up to the closing one. */
static int
take_elements(struct parser *p, unsigned depth, struct json *v, char close)
{
    const struct json **link = &v->first;
    size_t n = 0;

    if (depth >= JSON_DEPTH_MAX)
        return too_much(p);
    skip_blank(p);
    if (sl_take_char(&p->in, close))
        return 0;
    for (;;) {
        struct json *one = ARENA_NEW(p->mem, struct json);

        if (one == NULL || (v->type == JSON_OBJECT && ++n > JSON_MEMBERS_MAX))
            return too_much(p);
        skip_blank(p);
        if (v->type == JSON_OBJECT) {
            if (!sl_take_char(&p->in, '"'))
                return bad(p, "a member without a name");
            if (take_string(p, &one->name) != 0)
                return -1;
            for (const struct json *m = v->first; m; m = m->next)
                if (sl_eq(m->name, one->name))
                    return bad(p, "a second member of the same name");
            skip_blank(p);
            if (!sl_take_char(&p->in, ':'))
                return bad(p, "a member without a value");
        }
        if (take_value(p, depth + 1, one) != 0)
            return -1;
        *link = one;
        link = &one->next;
        skip_blank(p);
        if (sl_take_char(&p->in, close))
            return 0;
        if (!sl_take_char(&p->in, ','))
            return bad(p, "neither a comma nor an end");
    }
}

static int
take_value(struct parser *p, unsigned depth, struct json *v)
{
    skip_blank(p);
    if (sl_take_char(&p->in, '"')) {
        v->type = JSON_STRING;
        return take_string(p, &v->text);
    }
    if (sl_take_char(&p->in, '{')) {
        v->type = JSON_OBJECT;
        return take_elements(p, depth, v, '}');
    }
    if (sl_take_char(&p->in, '[')) {
        v->type = JSON_ARRAY;
        return take_elements(p, depth, v, ']');
    }
    if (sl_take_prefix(&p->in, SL("true"))) {
        v->type = JSON_TRUE;
    } else if (sl_take_prefix(&p->in, SL("false"))) {
        v->type = JSON_FALSE;
    } else if (sl_take_prefix(&p->in, SL("null"))) {
        v->type = JSON_NULL;
    } else {
        v->type = JSON_NUMBER;
        return take_number(p, &v->text);
    }
    return 0;
}

int
json_parse(struct slice text, struct arena *mem, const struct json **out, struct err *e)
{
    struct parser p = { .all = text, .in = text, .mem = mem, .e = e };
    struct json *v = ARENA_NEW(mem, struct json);

    if (v == NULL)
        return too_much(&p);
    if (!utf8_is_valid(text))
        return err_set(e, ERR_CLIENT, "no JSON: not UTF-8");
    if (take_value(&p, 0, v) != 0)
        return -1;
    skip_blank(&p);
    if (p.in.n > 0)
        return bad(&p, "more than one value");
    *out = v;
    return 0;
}

/* ---- looking at it ---- */

const struct json *
json_get(const struct json *v, const char *name)
{
    if (v == NULL || v->type != JSON_OBJECT)
        return NULL;
    for (const struct json *m = v->first; m; m = m->next)
        if (sl_eqz(m->name, name))
            return m;
    return NULL;
}

struct slice
json_string(const struct json *v, const char *name)
{
    const struct json *m = json_get(v, name);

    return m && m->type == JSON_STRING ? m->text : sl_n(NULL, 0);
}

bool
json_to_i64(const struct json *v, int64_t *out)
{
    struct slice s;
    uint64_t n;
    bool is_negative;

    if (v == NULL || v->type != JSON_NUMBER)
        return false;
    s = v->text;
    is_negative = sl_take_char(&s, '-');
    if (!sl_to_u64(s, &n) || n > INT64_MAX)
        return false;
    *out = is_negative ? -(int64_t)n : (int64_t)n;
    return true;
}

bool
json_has_string(const struct json *v, struct slice s)
{
    if (v == NULL)
        return false;
    if (v->type == JSON_STRING)
        return sl_eq(v->text, s);
    for (const struct json *m = v->type == JSON_ARRAY ? v->first : NULL; m; m = m->next)
        if (m->type == JSON_STRING && sl_eq(m->text, s))
            return true;
    return false;
}

/* ---- writing ---- */

static bool
is_plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '"' ||
            s.p[i] == '\\')
            return false;
    return true;
}

void
json_add(struct buf *out, struct slice s)
{
    buf_addc(out, '"');
    if (is_plain(s)) { /* mostly */
        buf_adds(out, s);
        s = SL("");
    }
    while (s.n > 0) {
        struct slice before = s;
        int32_t cp = utf8_take(&s);

        if (cp < 0) { /* not UTF-8: each octet as the replacement character */
            buf_addz(out, "\\ufffd");
            s = sl_from(s, 1);
        } else if (cp == '"' || cp == '\\') {
            buf_addc(out, '\\');
            buf_addc(out, (char)cp);
        } else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            buf_addf(out, "\\u%04x", (unsigned)cp);
        } else {
            buf_add(out, before.p, before.n - s.n);
        }
    }
    buf_addc(out, '"');
}

void
json_write(FILE *to, struct slice s)
{
    struct buf b = { 0 };

    json_add(&b, s);
    fwrite(b.p + b.off, 1, b.n, to);
    buf_free(&b);
}
