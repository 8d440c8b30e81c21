/* base/utf8.c - see utf8.h. */
#include "base/utf8.h"

#include "base/find.h"

bool
utf8_is_ascii(struct slice s)
{
    return find_ascii(s) == s.n;
}

bool
utf8_is_valid(struct slice s)
{
    while (s.n > 0) {
        if (utf8_take(&s) < 0)
            return false;
    }
    return true;
}

static bool
is_surrogate(uint32_t cp)
{
    return cp >= 0xd800 && cp <= 0xdfff;
}

int32_t
utf8_take(struct slice *in)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    unsigned char c;
    size_t n;
    uint32_t cp;

    if (in->n == 0)
        return -1;
    c = (unsigned char)in->p[0];
    n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 0 || n > in->n)
        return -1;
    cp = n == 1 ? c : c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        c = (unsigned char)in->p[i];
        if ((c & 0xc0) != 0x80)
            return -1;
        cp = cp << 6 | (c & 0x3fu);
    }
    if (cp < least[n] || is_surrogate(cp) || cp > 0x10ffff)
        return -1;
    *in = sl_from(*in, n);
    return (int32_t)cp;
}

int
utf8_add(struct buf *out, uint32_t cp)
{
    char o[4];
    size_t n = 0;

    if (is_surrogate(cp) || cp > 0x10ffff)
        cp = 0xfffd;
    if (cp < 0x80) {
        o[n++] = (char)cp;
    } else if (cp < 0x800) {
        o[n++] = (char)(0xc0 | cp >> 6);
    } else if (cp < 0x10000) {
        o[n++] = (char)(0xe0 | cp >> 12);
        o[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
    } else {
        o[n++] = (char)(0xf0 | cp >> 18);
        o[n++] = (char)(0x80 | (cp >> 12 & 0x3f));
        o[n++] = (char)(0x80 | (cp >> 6 & 0x3f));
    }
    if (cp >= 0x80)
        o[n++] = (char)(0x80 | (cp & 0x3f));
    return buf_add(out, o, n);
}

static const char mutf7_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/* What stands for itself: printable ASCII. */
static bool
is_direct(uint32_t cp)
{
    return cp >= 0x20 && cp <= 0x7e;
}

/* One shifted run without its "&" and "-": UTF-16BE in modified base64. One text for each name,
 * so printable ASCII, loose surrogates and left-over bits not zero or too many are refused. */
static int
mutf7_decode_run(struct buf *out, struct slice run)
{
    uint32_t bits = 0, high = 0;
    unsigned n_bits = 0;

    for (size_t i = 0; i < run.n; i++) {
        size_t v = sl_find_char(sl_n(mutf7_digits, 64), run.p[i]);
        uint32_t unit;

        if (v == SL_NPOS)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        n_bits += 6;
        if (n_bits < 16)
            continue;
        n_bits -= 16;
        unit = bits >> n_bits & 0xffff;
        bits &= (1u << n_bits) - 1;
        if (high != 0) {
            if (unit < 0xdc00 || unit > 0xdfff)
                return -1;
            unit = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
            high = 0;
        } else if (unit >= 0xd800 && unit <= 0xdbff) {
            high = unit;
            continue;
        }
        if (is_surrogate(unit) || is_direct(unit) || utf8_add(out, unit))
            return -1;
    }
    return high != 0 || n_bits >= 6 || bits != 0 ? -1 : 0;
}

int
utf8_from_mutf7(struct buf *out, struct slice in)
{
    size_t was = out->n;
    bool is_after_run = false; /* "-&" between two runs is a null shift */

    while (in.n > 0) {
        char c = in.p[0];
        struct slice run;

        in = sl_from(in, 1);
        if (c != '&') {
            if (!is_direct((unsigned char)c) || buf_addc(out, c))
                goto bad;
            is_after_run = false;
            continue;
        }
        if (!sl_take_until(&in, '-', &run))
            goto bad;
        if (run.n == 0 ? buf_addc(out, '&') : is_after_run || mutf7_decode_run(out, run))
            goto bad;
        is_after_run = run.n > 0;
    }
    return 0;
bad:
    buf_undo(out, was);
    return -1;
}

struct mutf7_run {
    uint32_t bits;
    unsigned n_bits;
};

static int
mutf7_add_unit(struct buf *out, struct mutf7_run *r, uint32_t unit)
{
    r->bits = r->bits << 16 | unit;
    for (r->n_bits += 16; r->n_bits >= 6;) {
        r->n_bits -= 6;
        if (buf_addc(out, mutf7_digits[r->bits >> r->n_bits & 63]))
            return -1;
    }
    r->bits &= (1u << r->n_bits) - 1;
    return 0;
}

/* The characters at the front of *in that must be shifted, as "&...-". */
static int
mutf7_encode_run(struct buf *out, struct slice *in)
{
    struct mutf7_run r = { 0 };

    if (buf_addc(out, '&'))
        return -1;
    while (in->n > 0 && !is_direct((unsigned char)in->p[0])) {
        int32_t cp = utf8_take(in);
        uint32_t u = (uint32_t)cp;

        if (cp < 0)
            return -1;
        if (u >= 0x10000) {
            if (mutf7_add_unit(out, &r, 0xd800 + ((u - 0x10000) >> 10)))
                return -1;
            u = 0xdc00 + ((u - 0x10000) & 0x3ff);
        }
        if (mutf7_add_unit(out, &r, u))
            return -1;
    }
    if (r.n_bits > 0 && buf_addc(out, mutf7_digits[r.bits << (6 - r.n_bits) & 63]))
        return -1;
    return buf_addc(out, '-');
}

int
utf8_to_mutf7(struct buf *out, struct slice in)
{
    size_t was = out->n;

    while (in.n > 0) {
        char c = in.p[0];
        int rc;

        if (is_direct((unsigned char)c)) {
            rc = c == '&' ? buf_addz(out, "&-") : buf_addc(out, c);
            in = sl_from(in, 1);
        } else {
            rc = mutf7_encode_run(out, &in);
        }
        if (rc) {
            buf_undo(out, was);
            return -1;
        }
    }
    return 0;
}
