/* conf/expand.c - $name, $(name), ${name}, ${name?text}, ${name:text}, ${name?{a}:{b}} and
 * ${{a} == {b} ? {c} : {d}} as postconf(5) has them. */
#include "conf/conf_int.h"

/* A name whose value names two others that name two others each, and so on, is a short text and endless work, even when all
 * of them are empty in the end. */
enum { EXPAND_STEPS_MAX = 200 * 1000 };

struct expansion {
    const struct conf_private *p;  /* names are parameters, or */
    const struct conf_template *t; /* names are the template's */
    unsigned steps;
};

static int expand(struct expansion *x, struct slice raw, struct buf *out, unsigned depth,
                  struct err *e);

/* s starts with `open`: its body up to the matching `close`; *in steps past it. */
static int
take_group(struct slice *in, char open, char close, struct slice *body, struct err *e)
{
    size_t level = 0;

    for (size_t i = 0; i < in->n; i++) {
        if (in->p[i] == open)
            level++;
        else if (in->p[i] == close && --level == 0) {
            *body = sl_n(in->p + 1, i - 1);
            *in = sl_from(*in, i + 1);
            return 0;
        }
    }
    return err_set(e, ERR_CONFIG, "'%c' without '%c' in \"%.*s\"", open, close, SL_ARG(*in));
}

static size_t
name_length(struct slice s)
{
    size_t n = 0;

    while (n < s.n && (sl_is_alnum_char(s.p[n]) || s.p[n] == '_'))
        n++;
    return n;
}

/* A template's values come from strangers: taken as they are, no names in them, odd octets out. */
static int
expand_foreign(const struct conf_template *t, struct slice name, struct buf *out, struct err *e)
{
    size_t at = out->n;

    if (!t->look_up(t->arg, name, out))
        return err_set(e, ERR_CONFIG, "unknown macro name \"%.*s\"", SL_ARG(name));
    for (; t->allowed != NULL && at < out->n; at++) {
        char *p = out->p + out->off + at;

        if (!t->allowed[(unsigned char)*p])
            *p = '_';
    }
    return 0;
}

static int
expand_name(struct expansion *x, struct slice name, struct buf *out, unsigned depth, struct err *e)
{
    struct conf_entry *en = NULL;
    const char *raw;

    if (x->t != NULL)
        return expand_foreign(x->t, name, out, e);
    raw = conf_raw_value(x->p, name, &en);
    if (en != NULL)
        en->is_used = true;
    return raw == NULL ? 0 : expand(x, sl_z(raw), out, depth + 1, e);
}

/* One branch of a conditional: "{text}", or bare text up to the end, colons and all. */
static int
take_branch(struct slice *in, struct slice *branch, struct err *e)
{
    *in = sl_trim(*in);
    if (sl_starts(*in, '{'))
        return take_group(in, '{', '}', branch, e);
    *branch = *in;
    *in = sl_from(*in, in->n);
    return 0;
}

/* What follows the condition: "?yes", ":no", "?{yes}:{no}". */
static int
expand_choice(struct expansion *x, struct slice rest, bool is_true, struct buf *out, unsigned depth,
              struct err *e)
{
    struct slice yes = { 0 }, no = { 0 };

    if (sl_take_char(&rest, '?')) {
        if (take_branch(&rest, &yes, e) < 0)
            return -1;
        rest = sl_trim(rest);
        if (sl_take_char(&rest, ':') && take_branch(&rest, &no, e) < 0)
            return -1;
    } else if (sl_take_char(&rest, ':')) {
        if (take_branch(&rest, &no, e) < 0)
            return -1;
    }
    if (sl_trim(rest).n > 0)
        return err_set(e, ERR_CONFIG, "cannot read \"%.*s\" in a ${...}", SL_ARG(rest));
    return expand(x, is_true ? yes : no, out, depth + 1, e);
}

/* "3.6.1" as one number, to compare levels by. */
static bool
level_number(struct slice s, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t part = 0;

        if (s.n > 0 && i > 0 && !sl_take_char(&s, '.'))
            return false;
        if (s.n > 0 && (!sl_take_u64(&s, &part) || part >= 1000))
            return false;
        *out = *out * 1000 + part;
    }
    return s.n == 0;
}

/* Numbers compare as numbers, levels as levels, all else as text. */
static int
compare_values(struct slice a, struct slice b, bool is_level)
{
    bool (*number)(struct slice, uint64_t *) = is_level ? level_number : sl_to_u64;
    uint64_t num[2];

    if (number(a, &num[0]) && number(b, &num[1]))
        return num[0] < num[1] ? -1 : num[0] > num[1];
    return sl_cmp(a, b);
}

/* "{a} op {b}"; "<level" and the like compare compatibility levels. */
static int
compare(struct expansion *x, struct slice *in, bool *is_true, unsigned depth, struct err *e)
{
    static const char *const ops[] = { "==", "!=", "<=", ">=", "<", ">" };
    struct slice sides[2] = { { 0 } };
    struct buf text[2] = { { .max = CONF_VALUE_MAX_OCTETS }, { .max = CONF_VALUE_MAX_OCTETS } };
    bool is_level;
    size_t op = 0;
    int c, rc = -1;

    if (take_group(in, '{', '}', &sides[0], e) < 0)
        return -1;
    *in = sl_trim(*in);
    while (op < 6 && !sl_take_prefix(in, sl_z(ops[op])))
        op++;
    is_level = sl_take_prefix(in, SL("level"));
    *in = sl_trim(*in);
    if (op == 6 || !sl_starts(*in, '{'))
        return err_set(e, ERR_CONFIG, "expected {a} == {b} before \"%.*s\"", SL_ARG(*in));
    if (take_group(in, '{', '}', &sides[1], e) < 0)
        return -1;
    *in = sl_trim(*in);
    if (expand(x, sides[0], &text[0], depth + 1, e) < 0 ||
        expand(x, sides[1], &text[1], depth + 1, e) < 0)
        goto out;
    c = compare_values(sl_trim(buf_slice(&text[0])), sl_trim(buf_slice(&text[1])), is_level);
    *is_true = op == 0   ? c == 0
               : op == 1 ? c != 0
               : op == 2 ? c <= 0
               : op == 3 ? c >= 0
               : op == 4 ? c < 0
                         : c > 0;
    rc = 0;
out:
    buf_free(&text[0]);
    buf_free(&text[1]);
    return rc;
}

/* The inside of ${...} or $(...). */
static int
expand_group(struct expansion *x, struct slice in, struct buf *out, unsigned depth, struct err *e)
{
    struct buf value = { .max = CONF_VALUE_MAX_OCTETS };
    struct slice name;
    bool is_true = false;
    int rc;

    in = sl_trim(in);
    if (sl_starts(in, '{'))
        return compare(x, &in, &is_true, depth, e) < 0
                   ? -1
                   : expand_choice(x, in, is_true, out, depth, e);
    name = sl_head(in, name_length(in));
    in = sl_from(in, name.n);
    if (name.n == 0)
        return err_set(e, ERR_CONFIG, "expected a parameter name at \"${%.*s\"", SL_ARG(in));
    if (in.n == 0)
        return expand_name(x, name, out, depth, e);
    rc = expand_name(x, name, &value, depth, e);
    is_true = buf_slice(&value).n > 0;
    buf_free(&value);
    return rc < 0 ? -1 : expand_choice(x, sl_trim(in), is_true, out, depth, e);
}

static int
expand(struct expansion *x, struct slice raw, struct buf *out, unsigned depth, struct err *e)
{
    struct slice text, body = { 0 };
    int rc = 0;

    if (depth > CONF_EXPAND_DEPTH_MAX || ++x->steps > EXPAND_STEPS_MAX)
        return err_set(e, ERR_CONFIG, "unreasonable macro call nesting: \"%.*s\"", SL_ARG(raw));
    while (rc == 0 && sl_take_until(&raw, '$', &text)) {
        if (buf_adds(out, text) < 0)
            return err_set(e, ERR_CONFIG, "value longer than %d octets", CONF_VALUE_MAX_OCTETS);
        if (sl_take_char(&raw, '$')) {
            rc = buf_addc(out, '$');
        } else if (sl_starts(raw, '{') || sl_starts(raw, '(')) {
            rc = sl_starts(raw, '{') ? take_group(&raw, '{', '}', &body, e)
                                     : take_group(&raw, '(', ')', &body, e);
            if (rc == 0)
                rc = expand_group(x, body, out, depth, e);
        } else {
            body = sl_head(raw, name_length(raw));
            raw = sl_from(raw, body.n);
            rc = body.n == 0 ? buf_addc(out, '$') : expand_name(x, body, out, depth, e);
        }
    }
    if (rc == 0 && buf_adds(out, raw) < 0)
        return err_set(e, ERR_CONFIG, "value longer than %d octets", CONF_VALUE_MAX_OCTETS);
    return rc;
}

int
conf_expand(const struct conf_private *p, struct slice raw, struct buf *out, struct err *e)
{
    struct expansion x = { .p = p };

    return expand(&x, raw, out, 0, e);
}

int
conf_expand_template(struct slice text, const struct conf_template *t, struct buf *out,
                     struct err *e)
{
    struct expansion x = { .t = t };

    return expand(&x, text, out, 0, e);
}

void
conf_unescape_set(const char *text, bool allowed[256])
{
    static const char letters[] = "abfnrtv", octets[] = "\a\b\f\n\r\t\v";

    memset(allowed, 0, 256 * sizeof(*allowed));
    while (*text) {
        unsigned char c = (unsigned char)*text++;

        if (c == '\\' && *text >= '0' && *text <= '7') {
            unsigned n = 0;

            for (int digits = 0; digits < 3 && *text >= '0' && *text <= '7'; digits++)
                n = n * 8 + (unsigned)(*text++ - '0');
            c = (unsigned char)n;
        } else if (c == '\\' && *text) {
            const char *letter = strchr(letters, *text);

            c = (unsigned char)(letter ? octets[letter - letters] : *text);
            text++;
        }
        allowed[c] = true;
    }
}
