/* base/enc.c - see enc.h. */
#include "base/enc.h"

#include "base/mem.h"

#include <zlib.h>

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

int
enc_b64(struct buf *out, struct slice in)
{
    char *at;
    size_t i, n = 0;

    if (in.n > SIZE_MAX / 4)
        return -1;
    at = buf_reserve(out, (in.n + 2) / 3 * 4);
    if (at == NULL)
        return -1;
    for (i = 0; i < in.n; i += 3) {
        size_t left = in.n - i;
        uint32_t w = (uint32_t)(unsigned char)in.p[i] << 16;

        if (left > 1)
            w |= (uint32_t)(unsigned char)in.p[i + 1] << 8;
        if (left > 2)
            w |= (unsigned char)in.p[i + 2];
        at[n++] = b64_digits[w >> 18];
        at[n++] = b64_digits[w >> 12 & 63];
        at[n++] = left > 1 ? b64_digits[w >> 6 & 63] : '=';
        at[n++] = left > 2 ? b64_digits[w & 63] : '=';
    }
    buf_commit(out, n);
    return 0;
}

/* -1: not a digit of the alphabet. */
static int
b64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int
enc_b64_decode(struct buf *out, struct slice in)
{
    size_t pad = 0, n = 0;
    uint32_t w = 0;
    char *at;

    if (in.n % 4 != 0)
        return -1;
    while (pad < 2 && sl_ends(in, '=')) {
        in.n--;
        pad++;
    }
    for (size_t i = 0; i < in.n; i++)
        if (b64_value(in.p[i]) < 0)
            return -1;
    /* RFC 4648 §3.5: one text for each value */
    if (pad > 0 && (b64_value(in.p[in.n - 1]) & (pad == 1 ? 3 : 15)) != 0)
        return -1;
    at = buf_reserve(out, in.n / 4 * 3 + (pad > 0 ? 3 - pad : 0));
    if (at == NULL)
        return -1;
    for (size_t i = 0; i < in.n; i++) {
        w = w << 6 | (uint32_t)b64_value(in.p[i]);
        if (i % 4 == 0)
            continue;
        at[n++] = (char)(w >> (6 - i % 4 * 2) & 0xff);
    }
    buf_commit(out, n);
    return 0;
}

int
enc_b64url_decode(struct buf *out, struct slice in)
{
    struct buf usual = { 0 };
    int rc = -1;

    if (in.n % 4 == 1 || sl_find_char(in, '+') != SL_NPOS || sl_find_char(in, '/') != SL_NPOS ||
        sl_find_char(in, '=') != SL_NPOS)
        return -1;
    buf_adds(&usual, in);
    for (size_t i = 0; i < usual.n; i++)
        usual.p[i] = usual.p[i] == '-' ? '+' : usual.p[i] == '_' ? '/' : usual.p[i];
    while (usual.n % 4 != 0)
        buf_addc(&usual, '=');
    rc = enc_b64_decode(out, buf_slice(&usual));
    buf_wipe(&usual);
    return rc;
}

int
enc_hex(struct buf *out, struct slice in)
{
    char *at;

    if (in.n > SIZE_MAX / 4)
        return -1;
    at = buf_reserve(out, in.n * 2);
    if (at == NULL)
        return -1;
    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];

        at[2 * i] = hex_lower[c >> 4];
        at[2 * i + 1] = hex_lower[c & 15];
    }
    buf_commit(out, in.n * 2);
    return 0;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Two digits at p as an octet, or -1. */
static int
hex_pair(const char *p)
{
    int hi = hex_value(p[0]), lo = hex_value(p[1]);

    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

int
enc_hex_decode(struct buf *out, struct slice in)
{
    char *at;

    if (in.n % 2 != 0)
        return -1;
    for (size_t i = 0; i < in.n; i += 2)
        if (hex_pair(in.p + i) < 0)
            return -1;
    at = buf_reserve(out, in.n / 2);
    if (at == NULL)
        return -1;
    for (size_t i = 0; i < in.n; i += 2)
        at[i / 2] = (char)hex_pair(in.p + i);
    buf_commit(out, in.n / 2);
    return 0;
}

/* xchar: "!" to "~" but "+" and "=". */
static bool
is_xchar(char c)
{
    return c >= '!' && c <= '~' && c != '+' && c != '=';
}

int
enc_xtext(struct buf *out, struct slice in)
{
    size_t was = out->n;

    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        char hex[3] = { '+', hex_upper[c >> 4], hex_upper[c & 15] };

        if (is_xchar(in.p[i]) ? buf_addc(out, in.p[i]) : buf_add(out, hex, sizeof(hex))) {
            buf_undo(out, was);
            return -1;
        }
    }
    return 0;
}

/* Lower case hex digits are taken too, though the RFC has only upper. */
int
enc_xtext_decode(struct buf *out, struct slice in)
{
    size_t was = out->n;

    for (size_t i = 0; i < in.n; i++) {
        int v = (unsigned char)in.p[i];

        if (in.p[i] == '+') {
            v = in.n - i < 3 ? -1 : hex_pair(in.p + i + 1);
            i += 2;
        } else if (!is_xchar(in.p[i])) {
            v = -1;
        }
        if (v < 0 || buf_addc(out, (char)v)) {
            buf_undo(out, was);
            return -1;
        }
    }
    return 0;
}

uint32_t
enc_crc32(uint32_t crc, const void *p, size_t n)
{
    return n == 0 ? crc : (uint32_t)crc32_z(crc, p, n);
}
