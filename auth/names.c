/* auth/names.c - see names.h. */
#include "auth/names.h"

#include "base/mem.h"

#include <string.h>

enum { NUMBER_MAX = 9999, MODIFIERS_MAX = 8 };

/* ---- variables ---- */

struct variable {
    bool is_zero_padded;
    int offset, width; /* width 0: to the end */
    char modifiers[MODIFIERS_MAX];
    size_t n_modifiers;
    struct slice key; /* the letter, or the long name */
};

static const struct {
    const char *text;
    char letter;
} long_names[] = {
    { "user", 'u' },   { "username", 'n' },     { "domain", 'd' },
    { "userid", 'u' }, { "domain_first", 'f' }, { "domain_last", 'l' },
};

/* 'u', 'n', 'd', 'f', 'l'; 0: not known. */
static char
letter_of(struct slice key)
{
    if (key.n == 1 && key.p[0] != '\0' && strchr("und", key.p[0]))
        return key.p[0];
    for (size_t i = 0; i < COUNT_OF(long_names) && key.n > 1; i++)
        if (sl_eqz(key, long_names[i].text))
            return long_names[i].letter;
    return '\0';
}

static int
take_number(const char **p, bool *is_zero_padded)
{
    bool is_negative = **p == '-';
    int n = 0;

    *p += is_negative;
    if (**p == '0')
        *is_zero_padded = true;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        n = n < NUMBER_MAX ? n * 10 + (**p - '0') : n;
    return is_negative ? -n : n;
}

/* Behind '%'. False: it ends in the middle. */
static bool
take_variable(const char **in, struct variable *v)
{
    const char *p = *in, *end;

    *v = (struct variable){ 0 };
    v->width = take_number(&p, &v->is_zero_padded);
    if (*p == '.') {
        p++;
        v->offset = v->width;
        v->is_zero_padded = false;
        v->width = take_number(&p, &v->is_zero_padded);
    }
    while (*p && strchr("LURTEXHNMD", *p) && v->n_modifiers < MODIFIERS_MAX)
        v->modifiers[v->n_modifiers++] = *p++;
    if (*p == '{') {
        end = strchr(++p, '}');
        if (end == NULL)
            return false;
        v->key = sl_n(p, (size_t)(end - p));
        *in = end + 1;
        return true;
    }
    v->key = sl_n(p, 1);
    *in = p + (*p != '\0');
    return *p != '\0';
}

int
auth_format_check(const char *format, struct err *e)
{
    struct variable v;

    while ((format = strchr(format, '%')) != NULL) {
        format++;
        if (*format == '%') {
            format++;
            continue;
        }
        if (!take_variable(&format, &v))
            return err_set(e, ERR_CONFIG, "it ends within a variable");
        for (size_t i = 0; i < v.n_modifiers; i++)
            if (strchr("LURT", v.modifiers[i]) == NULL)
                return err_set(e, ERR_CONFIG, "the modifier %c is not known; L, U, R and T are",
                               v.modifiers[i]);
        if (letter_of(v.key) == '\0')
            return err_set(e, ERR_CONFIG,
                           "the variable %%%.*s is not known; %%u, %%n, %%d, %%{domain_first} and "
                           "%%{domain_last} are",
                           SL_ARG(v.key));
    }
    return 0;
}

/* ---- values ---- */

static struct slice
value_of(char letter, struct slice name)
{
    size_t first = sl_find_char(name, '@'), last = sl_rfind_char(name, '@');

    switch (letter) {
    case 'n': /* as Dovecot: the first '@' ends it */
        return sl_head(name, first == SL_NPOS ? name.n : first);
    case 'd':
        return sl_from(name, first == SL_NPOS ? name.n : first + 1);
    case 'f':
        name = sl_from(name, first == SL_NPOS ? name.n : first + 1);
        first = sl_find_char(name, '@');
        return sl_head(name, first == SL_NPOS ? name.n : first);
    case 'l':
        return sl_from(name, last == SL_NPOS ? name.n : last + 1);
    default:
        return name;
    }
}

static void
modify(struct buf *b, char modifier)
{
    char *p = b->n ? (char *)(uintptr_t)buf_slice(b).p : NULL;

    for (size_t i = 0; i < b->n && modifier == 'L'; i++)
        p[i] = sl_lower_char(p[i]);
    for (size_t i = 0; i < b->n && modifier == 'U'; i++)
        if (p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 32);
    for (size_t i = 0; i < b->n / 2 && modifier == 'R'; i++) {
        char c = p[i];

        p[i] = p[b->n - 1 - i];
        p[b->n - 1 - i] = c;
    }
    while (modifier == 'T' && b->n && (p[b->n - 1] == ' ' || p[b->n - 1] == '\t'))
        buf_truncate(b, b->n - 1);
}

/* The part that offset and width want. */
static struct slice
cut(const struct variable *v, struct slice s)
{
    int left = v->offset < 0 ? (int)s.n + v->offset : v->offset;

    s = sl_from(s, left < 0 ? 0 : (size_t)left);
    if (v->width == 0 || v->is_zero_padded)
        return s;
    if (v->width > 0)
        return sl_head(s, (size_t)v->width < s.n ? (size_t)v->width : s.n);
    return sl_head(s, (size_t)-v->width < s.n ? s.n - (size_t)-v->width : 0);
}

static void
add_variable(struct buf *out, const struct variable *v, struct slice name)
{
    struct buf text = { 0 };
    struct slice s;

    buf_adds(&text, value_of(letter_of(v->key), name));
    for (size_t i = 0; i < v->n_modifiers; i++)
        modify(&text, v->modifiers[i]);
    s = cut(v, buf_slice(&text));
    for (int n = v->width - (int)s.n; n > 0 && v->is_zero_padded; n--)
        buf_addc(out, '0');
    buf_adds(out, s);
    buf_free(&text);
}

void
auth_format_name(const char *format, struct slice name, struct buf *out)
{
    struct variable v;

    if (*format == '\0')
        buf_adds(out, name);
    while (*format) {
        if (*format != '%') {
            buf_addc(out, *format++);
        } else if (format[1] == '%') {
            buf_addc(out, '%');
            format += 2;
        } else {
            format++;
            if (!take_variable(&format, &v))
                return;
            add_variable(out, &v, name);
        }
    }
}

/* ---- what clients say ---- */

/* "from" and "to" in turns: "#@/@" makes '#' and '/' an '@'. The last of equal ones counts, as in Dovecot. */
static char
translate(const char *pairs, char c)
{
    char to = c;

    for (; pairs[0] && pairs[1]; pairs += 2)
        if (pairs[0] == c)
            to = pairs[1];
    return to;
}

bool
auth_name_of_client(const struct conf *c, struct slice name, struct buf *out, const char **why)
{
    struct buf said = { 0 };
    size_t was = out->n;

    *why = NULL;
    buf_adds(&said, name);
    if (c->auth_default_realm[0] && name.n && sl_find_char(name, '@') == SL_NPOS)
        buf_addf(&said, "@%s", c->auth_default_realm);
    for (size_t i = 0; i < said.n; i++) {
        char *p = (char *)(uintptr_t)buf_slice(&said).p + i;

        *p = translate(c->auth_username_translation, *p);
        if (c->auth_username_chars[0] && (*p == '\0' || !strchr(c->auth_username_chars, *p)))
            *why = "Username character disallowed by auth_username_chars";
    }
    auth_format_name(c->auth_username_format, buf_slice(&said), out);
    if (out->n == was)
        *why = "Empty username";
    buf_free(&said);
    return *why == NULL;
}
