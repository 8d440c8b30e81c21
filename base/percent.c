/* base/percent.c - see percent.h. */
#include "base/percent.h"

enum { MODIFIERS_MAX = 10, WIDTH_MAX = 1000 };

struct item {
    struct slice text; /* as it is, when there is no variable */
    bool is_variable;
    bool has_zeros;
    int offset, width;
    char modifiers[MODIFIERS_MAX];
    size_t n_modifiers;
    size_t var; /* SL_NPOS: not known */
    const char *fault;
};

static int
take_width(struct slice *in)
{
    int n = 0;

    while (in->n > 0 && in->p[0] >= '0' && in->p[0] <= '9') {
        if (n <= WIDTH_MAX)
            n = n * 10 + (in->p[0] - '0');
        *in = sl_from(*in, 1);
    }
    return n;
}

/* What is before the modifiers. */
static void
take_form(struct slice *in, struct item *it)
{
    int sign = sl_take_char(in, '-') ? -1 : 1;

    it->has_zeros = sl_take_char(in, '0');
    it->width = take_width(in);
    if (sl_take_char(in, '.')) {
        it->offset = sign * it->width;
        it->has_zeros = sl_take_char(in, '0');
        sign = sl_take_char(in, '-') ? -1 : 1;
        it->width = sign * take_width(in);
    }
    if (it->offset > WIDTH_MAX || it->offset < -WIDTH_MAX || it->width > WIDTH_MAX ||
        it->width < -WIDTH_MAX)
        it->fault = "a width that is too large";
}

static size_t
find_key(const struct percent_var *vars, size_t n, char key)
{
    for (size_t i = 0; i < n; i++)
        if (vars[i].key == key && key != '\0')
            return i;
    return SL_NPOS;
}

static size_t
find_name(const struct percent_var *vars, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (vars[i].name && sl_eqz(name, vars[i].name))
            return i;
    return SL_NPOS;
}

static void
take_variable(struct slice *in, const struct percent_var *vars, size_t n, struct item *it)
{
    struct slice name;

    it->is_variable = true;
    it->var = SL_NPOS;
    take_form(in, it);
    while (in->n > 0 && memchr("LUXRT", in->p[0], 5) && it->n_modifiers < MODIFIERS_MAX) {
        it->modifiers[it->n_modifiers++] = in->p[0];
        *in = sl_from(*in, 1);
    }
    if (in->n == 0) {
        it->fault = "a % at its end";
    } else if (sl_take_char(in, '{')) {
        if (!sl_take_until(in, '}', &name)) {
            it->fault = "no } behind %{";
            *in = sl_from(*in, in->n);
            return;
        }
        it->var = find_name(vars, n, name);
        if (it->var == SL_NPOS)
            it->fault = "a name behind % that is none";
    } else {
        it->var = find_key(vars, n, in->p[0]);
        if (it->var == SL_NPOS)
            it->fault = memchr("HMNED", in->p[0], 5)
                            ? "a modifier that is not known here (L U X R T are)"
                            : "a letter behind % that is none";
        *in = sl_from(*in, 1);
    }
}

/* The next piece of a format that is not at its end. */
static struct item
take_item(struct slice *in, const struct percent_var *vars, size_t n)
{
    struct item it = { 0 };
    size_t at = sl_find_char(*in, '%');

    if (at != 0) {
        it.text = sl_head(*in, at);
        *in = sl_from(*in, it.text.n);
        return it;
    }
    *in = sl_from(*in, 1);
    if (sl_starts(*in, '%')) {
        it.text = sl_head(*in, 1);
        *in = sl_from(*in, 1);
    } else {
        take_variable(in, vars, n, &it);
    }
    return it;
}

const char *
percent_check(struct slice format, const struct percent_var *vars, size_t n_vars)
{
    while (format.n > 0) {
        struct item it = take_item(&format, vars, n_vars);

        if (it.fault)
            return it.fault;
    }
    return NULL;
}

bool
percent_has(struct slice format, const struct percent_var *vars, size_t n_vars, size_t i)
{
    while (format.n > 0) {
        struct item it = take_item(&format, vars, n_vars);

        if (it.is_variable && it.var == i)
            return true;
    }
    return false;
}

static void
modify(struct buf *b, char how)
{
    struct slice s = buf_slice(b);
    char *p = b->p + b->off;
    uint64_t number;

    if (how == 'X') {
        if (!sl_to_u64(s, &number))
            number = 0;
        buf_reset(b);
        buf_addf(b, "%llx", (unsigned long long)number);
        return;
    }
    if (how == 'T') {
        while (s.n > 0 && (s.p[s.n - 1] == ' ' || (s.p[s.n - 1] >= '\t' && s.p[s.n - 1] <= '\r')))
            s.n--;
        buf_truncate(b, s.n);
        return;
    }
    for (size_t i = 0; i < s.n; i++)
        if (how == 'L')
            p[i] = sl_lower_char(p[i]);
        else if (how == 'U')
            p[i] = (char)(p[i] >= 'a' && p[i] <= 'z' ? p[i] - 32 : p[i]);
    for (size_t i = 0; how == 'R' && i < s.n / 2; i++) {
        char c = p[i];

        p[i] = p[s.n - 1 - i];
        p[s.n - 1 - i] = c;
    }
}

static void
add_shaped(struct buf *out, const struct item *it, struct slice v)
{
    size_t from_end = it->offset < 0 ? (size_t)-it->offset : 0;

    if (from_end > 0)
        v = sl_from(v, v.n > from_end ? v.n - from_end : 0);
    else
        v = sl_from(v, (size_t)it->offset < v.n ? (size_t)it->offset : v.n);
    if (it->has_zeros && it->width > 0)
        for (size_t i = v.n; i < (size_t)it->width; i++)
            buf_addc(out, '0');
    else if (it->width < 0)
        v = sl_head(v, v.n > (size_t)-it->width ? v.n - (size_t)-it->width : 0);
    else if (it->width > 0)
        v = sl_head(v, (size_t)it->width);
    buf_adds(out, v);
}

void
percent_expand(struct buf *out, struct slice format, const struct percent_var *vars, size_t n_vars,
               void (*value)(void *arg, size_t i, struct buf *out), void *arg)
{
    struct buf v = { 0 };

    while (format.n > 0) {
        struct item it = take_item(&format, vars, n_vars);

        if (!it.is_variable) {
            buf_adds(out, it.text);
        } else if (!it.fault) {
            buf_reset(&v);
            value(arg, it.var, &v);
            for (size_t i = 0; v.n > 0 && i < it.n_modifiers; i++)
                modify(&v, it.modifiers[i]);
            add_shaped(out, &it, buf_slice(&v));
        }
    }
    buf_free(&v);
}
