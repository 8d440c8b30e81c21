/* mime/decode.c - transfer encodings and charsets (iconv). */
#include "mime/text.h"

#include "base/find.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHARSET_NAME_MAX = 63 };

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void
mime_decode_qp(struct slice in, bool is_header, struct buf *out)
{
    char *to = buf_reserve(out, in.n), *const start = to;
    size_t i = 0;

    while (i < in.n && to) {
        const char *stop = memchr(in.p + i, '=', in.n - i);
        size_t n = (stop ? (size_t)(stop - in.p) : in.n) - i, k;
        int high, low;

        memcpy(to, in.p + i, n);
        for (k = 0; is_header && k < n; k++)
            if (to[k] == '_')
                to[k] = ' ';
        to += n;
        i += n;
        if (i == in.n)
            break;
        if (i + 2 < in.n && (high = hex_value(in.p[i + 1])) >= 0 &&
            (low = hex_value(in.p[i + 2])) >= 0) {
            *to++ = (char)(high * 16 + low);
            i += 3;
            continue;
        }
        /* A soft line break, with blanks before the line end; anything else stays as it is. */
        for (k = i + 1; k < in.n && (in.p[k] == ' ' || in.p[k] == '\t');)
            k++;
        if (k < in.n && in.p[k] == '\r')
            k++;
        if (!is_header && (k >= in.n || in.p[k] == '\n')) {
            i = k + 1;
        } else {
            *to++ = '=';
            i++;
        }
    }
    if (to > start)
        buf_commit(out, (size_t)(to - start));
}

enum { B64_NONE = 64, B64_END = 65 }; /* no digit; '=' */

static void
b64_fill(uint8_t values[256])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    memset(values, B64_NONE, 256);
    for (uint8_t i = 0; i < 64; i++)
        values[(unsigned char)digits[i]] = i;
    values['='] = B64_END;
}

void
mime_b64_run(struct mime_b64 *b64, struct slice in, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)in.p;
    char *to = buf_reserve(out, in.n / 4 * 3 + 3), *const start = to;
    uint8_t values[256];
    uint32_t bits = b64->bits;
    unsigned have = b64->have;

    b64_fill(values);
    for (size_t i = 0; i < in.n && to;) {
        uint32_t a, b, c, d;

        while (have == 0 && i + 4 <= in.n && (a = values[p[i]]) < B64_NONE &&
               (b = values[p[i + 1]]) < B64_NONE && (c = values[p[i + 2]]) < B64_NONE &&
               (d = values[p[i + 3]]) < B64_NONE) {
            bits = a << 18 | b << 12 | c << 6 | d;
            *to++ = (char)(bits >> 16);
            *to++ = (char)(bits >> 8);
            *to++ = (char)bits;
            i += 4;
        }
        if (i == in.n)
            break;
        a = values[p[i++]];
        if (a == B64_END) { /* the end of one run; another may follow it */
            have = 0;
            bits = 0;
        } else if (a < B64_NONE) {
            bits = (bits << 6 | a) & 0xffffff;
            have += 6;
            if (have >= 8) {
                have -= 8;
                *to++ = (char)(bits >> have & 0xff);
            }
        }
    }
    *b64 = (struct mime_b64){ bits, have };
    if (to > start)
        buf_commit(out, (size_t)(to - start));
}

void
mime_decode_b64(struct slice in, struct buf *out)
{
    struct mime_b64 b64 = { 0 };

    mime_b64_run(&b64, in, out);
}

void
mime_decode_body(const struct mime_part *p, struct buf *out)
{
    if (sl_ieqz(p->encoding, "quoted-printable"))
        mime_decode_qp(p->body, false, out);
    else if (sl_ieqz(p->encoding, "base64"))
        mime_decode_b64(p->body, out);
    else
        buf_adds(out, p->body);
}

static int
add_utf8(struct slice in, struct buf *out)
{
    const char *from = in.p; /* valid up to in.p */

    while (in.n > 0) {
        if ((unsigned char)in.p[0] < 0x80) {
            in = sl_from(in, find_ascii(in));
        } else if (utf8_take(&in) < 0) {
            buf_add(out, from, (size_t)(in.p - from));
            utf8_add(out, 0xfffd);
            in = sl_from(in, 1);
            from = in.p;
        }
    }
    if (in.p > from)
        buf_add(out, from, (size_t)(in.p - from));
    return 0;
}

/* ---- charsets: looking for one takes longer than most texts, so each thread keeps some ---- */

enum { CHARSETS_KEPT = 8 };
struct charsets {
    struct {
        char name[CHARSET_NAME_MAX + 1];
        iconv_t cd;
    } v[CHARSETS_KEPT];
    unsigned n, next; /* next: to be replaced */
};
static pthread_key_t charsets_key;
static pthread_once_t charsets_once = PTHREAD_ONCE_INIT;

static void
charsets_free(void *arg)
{
    struct charsets *c = arg;

    for (unsigned i = 0; i < c->n; i++)
        iconv_close(c->v[i].cd);
    free(c);
}

static void
charsets_init(void)
{
    BUG_ON(pthread_key_create(&charsets_key, charsets_free) != 0);
}

/* What is told by a mark in front. glibc remembers it for ever: nothing resets such a converter. */
static bool
has_byte_order_mark(const char *name)
{
    static const char *const names[] = { "UTF-16", "UTF16",   "UTF-32",
                                         "UTF32",  "UNICODE", "CSUNICODE" };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (sl_ieqz(sl_z(name), names[i]))
            return true;
    return false;
}

/* To UTF-8, in its first state; (iconv_t)-1: nobody knows it. */
static iconv_t
open_charset(const char *name)
{
    struct charsets *c;
    unsigned at;
    iconv_t cd;

    if (has_byte_order_mark(name))
        return iconv_open("UTF-8", name); /* closed by close_charset() */
    pthread_once(&charsets_once, charsets_init);
    c = pthread_getspecific(charsets_key);
    if (c == NULL) {
        c = MEM_NEW(struct charsets);
        pthread_setspecific(charsets_key, c);
    }
    for (unsigned i = 0; i < c->n; i++)
        if (strcmp(c->v[i].name, name) == 0) {
            iconv(c->v[i].cd, NULL, NULL, NULL, NULL);
            return c->v[i].cd;
        }
    cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return cd;
    at = c->n < CHARSETS_KEPT ? c->n++ : c->next++ % CHARSETS_KEPT;
    if (c->v[at].name[0] != '\0')
        iconv_close(c->v[at].cd);
    memcpy(c->v[at].name, name, strlen(name) + 1);
    c->v[at].cd = cd;
    return cd;
}

static void
close_charset(iconv_t cd, const char *name)
{
    if (has_byte_order_mark(name))
        iconv_close(cd);
}

/* A character that might have been joined with what follows (Vietnamese, Hebrew, Shift_JISX0213) is held back. */
static void
to_the_end(iconv_t cd, struct buf *out)
{
    char piece[64], *to = piece;
    size_t room = sizeof(piece);

    iconv(cd, NULL, NULL, &to, &room);
    add_utf8(sl_n(piece, sizeof(piece) - room), out);
}

static void
add_by_iconv(iconv_t cd, struct slice in, struct buf *out)
{
    char *from = (char *)(uintptr_t)in.p;
    size_t left = in.n;

    while (left > 0) {
        char piece[1024], *to = piece;
        size_t room = sizeof(piece);
        size_t rc = iconv(cd, &from, &left, &to, &room);
        int why = errno;

        /* Not as it is: glibc's UTF-8 and UCS-4 go beyond U+10FFFF. */
        add_utf8(sl_n(piece, sizeof(piece) - room), out);
        if (rc != (size_t)-1 || why == E2BIG)
            continue;
        utf8_add(out, 0xfffd); /* EILSEQ, or EINVAL at the end */
        if (why == EINVAL || left == 0)
            break;
        from++;
        left--;
    }
    to_the_end(cd, out);
}

int
mime_to_utf8(struct slice charset, struct slice in, struct buf *out)
{
    char name[CHARSET_NAME_MAX + 1];
    iconv_t cd;

    charset = sl_trim(charset);
    if (charset.n == 0 || sl_ieqz(charset, "us-ascii") || sl_ieqz(charset, "utf-8") ||
        sl_ieqz(charset, "ascii"))
        return add_utf8(in, out);
    if (charset.n > CHARSET_NAME_MAX || memchr(charset.p, '/', charset.n) != NULL ||
        memchr(charset.p, '\0', charset.n) != NULL)
        return -1;
    snprintf(name, sizeof(name), "%.*s", SL_ARG(charset));
    cd = open_charset(name);
    if (cd == (iconv_t)-1)
        return -1;
    add_by_iconv(cd, in, out);
    close_charset(cd, name);
    return 0;
}

/* The text with its transfer encoding undone: in the part itself, or in *octets. */
static struct slice
plain_octets(const struct mime_part *p, struct buf *octets)
{
    if (p->encoding.p == NULL || sl_ieqz(p->encoding, "7bit") || sl_ieqz(p->encoding, "8bit") ||
        sl_ieqz(p->encoding, "binary"))
        return p->body;
    mime_decode_body(p, octets);
    return buf_slice(octets);
}

void
mime_decode_text(const struct mime_part *p, struct buf *out)
{
    struct buf octets = { 0 };
    struct slice from = plain_octets(p, &octets);

    if (mime_to_utf8(mime_get_param(p, "charset"), from, out) < 0)
        add_utf8(from, out);
    buf_free(&octets);
}

/* Many pages come without a charset in the part's header and name one themselves. */
void
mime_decode_html(const struct mime_part *p, size_t max_octets, struct buf *out)
{
    struct buf octets = { 0 }, utf8 = { 0 };
    struct slice from = plain_octets(p, &octets), charset = mime_get_param(p, "charset");

    if (charset.n == 0 && !utf8_is_valid(from))
        charset = mime_html_charset(from);
    if (mime_to_utf8(charset, from, &utf8) < 0)
        add_utf8(from, &utf8);
    mime_html_to_text(buf_slice(&utf8), max_octets, out);
    buf_free(&octets);
    buf_free(&utf8);
}
