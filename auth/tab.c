/* auth/tab.c - see tab.h. */
#include "auth/tab.h"

static const struct {
    char octet, code;
} escapes[] = { { '\0', '0' }, { '\1', '1' }, { '\t', 't' }, { '\r', 'r' }, { '\n', 'n' } };

static void
add_escaped(struct buf *out, struct slice s)
{
    size_t done = 0;

    for (size_t i = 0; i < s.n; i++) {
        for (size_t k = 0; k < sizeof escapes / sizeof *escapes; k++) {
            if (s.p[i] != escapes[k].octet)
                continue;
            buf_add(out, s.p + done, i - done);
            buf_addc(out, '\1');
            buf_addc(out, escapes[k].code);
            done = i + 1;
            break;
        }
    }
    if (s.n > done)
        buf_add(out, s.p + done, s.n - done);
}

void
tab_add(struct buf *out, struct slice field)
{
    buf_addc(out, '\t');
    add_escaped(out, field);
}

void
tab_add_pair(struct buf *out, const char *key, struct slice value)
{
    buf_addc(out, '\t');
    buf_addz(out, key);
    buf_addc(out, '=');
    add_escaped(out, value);
}

bool
tab_take(struct slice *in, struct slice *field)
{
    size_t at;

    if (in->p == NULL)
        return false;
    at = sl_find_char(*in, '\t');
    if (at == SL_NPOS) {
        *field = *in;
        *in = sl_n(NULL, 0);
    } else {
        *field = sl_head(*in, at);
        *in = sl_n(in->p + at + 1, in->n - at - 1);
    }
    return true;
}

void
tab_unescape(struct buf *out, struct slice field)
{
    for (size_t i = 0; i < field.n; i++) {
        char c = field.p[i];

        if (c == '\1' && i + 1 < field.n) {
            i++;
            for (size_t k = 0; k < sizeof escapes / sizeof *escapes; k++)
                if (field.p[i] == escapes[k].code)
                    c = escapes[k].octet;
            if (c == '\1' && field.p[i] != '1')
                c = field.p[i]; /* an unknown escape stands for itself */
        }
        buf_addc(out, c);
    }
}

bool
tab_is_pair(struct slice field, const char *key, struct slice *value)
{
    size_t n = strlen(key);

    if (field.n <= n || field.p[n] != '=' || memcmp(field.p, key, n) != 0)
        return false;
    *value = sl_from(field, n + 1);
    return true;
}

void
tab_keep(struct buf *text, struct slice value, struct tab_span *out)
{
    out->at = text->n;
    tab_unescape(text, value);
    out->n = text->n - out->at;
}
