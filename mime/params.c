/* mime/params.c - RFC 2231 §3: a parameter in numbered pieces ("name*0", "name*1*") becomes one ("name", or "name*" when a
 * piece is encoded). Who asks for BODYSTRUCTURE sees one (RFC 9051 §7.5.2). */
#include "mime/mime_int.h"

#include "base/mem.h"

#include <stdlib.h>

struct piece {
    struct slice base;
    int at; /* -1: no piece, the whole parameter */
    bool is_encoded;
    size_t i; /* in the list */
};

/* "base*N", "base*N*"; "base" and "base*" are whole. */
static struct piece
read_name(struct slice name, size_t i)
{
    struct piece whole = { name, -1, false, i }, p = whole;
    struct slice digits;
    uint64_t at;
    size_t star;

    if (sl_ends(p.base, '*')) {
        p.is_encoded = whole.is_encoded = true;
        p.base = whole.base = sl_head(p.base, p.base.n - 1);
    }
    star = sl_rfind_char(p.base, '*');
    if (star == SL_NPOS || star == 0)
        return whole;
    digits = sl_from(p.base, star + 1);
    if (digits.n == 0 || digits.n > 4 || (digits.n > 1 && digits.p[0] == '0') ||
        !sl_take_u64(&digits, &at) || digits.n > 0)
        return whole;
    p.base = sl_head(p.base, star);
    p.at = (int)at;
    return p;
}

static int
cmp(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    int c = sl_icmp(x->base, y->base);

    if (c == 0)
        c = x->at < y->at ? -1 : x->at > y->at;
    return c != 0 ? c : x->i < y->i ? -1 : 1;
}

/* As in an encoded value: attribute-char of RFC 2231 §7, all else in hexadecimal. */
static void
add_encoded(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char o = (unsigned char)value.p[i];

        if (o <= 0x20 || o >= 0x7f || strchr("*'%()<>@,;:\\\"/[]?=", o) != NULL)
            buf_addf(out, "%%%02X", o);
        else
            buf_addc(out, (char)o);
    }
}

/* p[0..n) are pieces 0, 1, ... of one parameter, which goes where the first was. */
static void
join(const struct piece *p, size_t n, struct mime_param *v, struct arena *mem)
{
    struct mime_param *to = &v[p[0].i];
    struct buf value = { 0 };
    bool is_encoded = false;

    for (size_t i = 0; i < n; i++)
        is_encoded = is_encoded || p[i].is_encoded;
    if (is_encoded && !p[0].is_encoded)
        buf_addz(&value, "''"); /* no charset, no language */
    for (size_t i = 0; i < n; i++) {
        struct mime_param *from = &v[p[i].i];

        if (is_encoded && !p[i].is_encoded)
            add_encoded(&value, from->value);
        else
            buf_adds(&value, from->value);
        from->name = SL("");
    }
    to->name = is_encoded ? arena_join(mem, p[0].base, SL("*")) : p[0].base;
    to->value = arena_dup(mem, buf_slice(&value));
    if (to->value.p == NULL)
        to->value = SL("");
    buf_free(&value);
}

/* The parameters of one base, whole ones first. What comes after a gap stays as it was written. */
static void
join_group(const struct piece *p, size_t n, struct mime_param *v, struct arena *mem)
{
    size_t whole = 0, end;
    bool is_encoded = false, has_same = false;

    while (whole < n && p[whole].at < 0)
        whole++;
    for (end = whole; end < n && p[end].at == (int)(end - whole); end++)
        is_encoded = is_encoded || p[end].is_encoded;
    for (size_t i = 0; i < whole; i++)
        has_same = has_same || p[i].is_encoded == is_encoded;
    if (end > whole && !has_same) /* none may be there twice */
        join(p + whole, end - whole, v, mem);
}

size_t
mime_join_params(struct mime_param *v, size_t n, struct arena *mem)
{
    struct piece *p;
    bool is_any = false;
    size_t left = 0;

    for (size_t i = 0; i < n && !is_any; i++)
        is_any = sl_find_char(v[i].name, '*') != SL_NPOS && read_name(v[i].name, i).at == 0;
    if (!is_any)
        return n;
    p = mem_alloc(n * sizeof(p[0]));
    for (size_t i = 0; i < n; i++)
        p[i] = read_name(v[i].name, i);
    qsort(p, n, sizeof(p[0]), cmp);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && sl_ieq(p[end].base, p[i].base); end++)
            ;
        join_group(p + i, end - i, v, mem);
    }
    free(p);
    for (size_t i = 0; i < n; i++)
        if (v[i].name.n > 0)
            v[left++] = v[i];
    return left;
}
