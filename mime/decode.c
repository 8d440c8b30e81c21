/* mime/decode.c - transfer encodings and charsets (iconv). */
#include "mime/text.h"

#include "base/utf8.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>

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
    size_t i = 0;

    while (i < in.n) {
        char c = in.p[i];

        if (c == '=' && i + 2 < in.n + 0 && hex_value(in.p[i + 1]) >= 0 &&
            hex_value(in.p[i + 2]) >= 0) {
            buf_addc(out, (char)(hex_value(in.p[i + 1]) * 16 + hex_value(in.p[i + 2])));
            i += 3;
        } else if (c == '=' && !is_header) {
            /* A soft line break, with blanks before the line end; anything else stays as it is. */
            size_t k = i + 1;

            while (k < in.n && (in.p[k] == ' ' || in.p[k] == '\t'))
                k++;
            if (k < in.n && in.p[k] == '\r')
                k++;
            if (k >= in.n || in.p[k] == '\n') {
                i = k + 1;
            } else {
                buf_addc(out, c);
                i++;
            }
        } else {
            buf_addc(out, is_header && c == '_' ? ' ' : c);
            i++;
        }
    }
}

void
mime_decode_b64(struct slice in, struct buf *out)
{
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                : c >= 'a' && c <= 'z' ? c - 'a' + 26
                : c >= '0' && c <= '9' ? c - '0' + 52
                : c == '+'             ? 62
                : c == '/'             ? 63
                                       : -1;

        if (c == '=') { /* the end of one run; another may follow it */
            have = 0;
            bits = 0;
            continue;
        }
        if (v < 0)
            continue;
        bits = (bits << 6 | (uint32_t)v) & 0xffffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_addc(out, (char)(bits >> have & 0xff));
        }
    }
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
    while (in.n > 0) {
        struct slice before = in;
        int32_t cp = utf8_take(&in);

        if (cp < 0) {
            in = sl_from(before, 1);
            utf8_add(out, 0xfffd);
        } else {
            buf_adds(out, sl_head(before, before.n - in.n));
        }
    }
    return 0;
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

static int
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
    return 0;
}

int
mime_to_utf8(struct slice charset, struct slice in, struct buf *out)
{
    char name[CHARSET_NAME_MAX + 1];
    iconv_t cd;
    int rc;

    charset = sl_trim(charset);
    if (charset.n == 0 || sl_ieqz(charset, "us-ascii") || sl_ieqz(charset, "utf-8") ||
        sl_ieqz(charset, "ascii"))
        return add_utf8(in, out);
    if (charset.n > CHARSET_NAME_MAX || memchr(charset.p, '/', charset.n) != NULL ||
        memchr(charset.p, '\0', charset.n) != NULL)
        return -1;
    snprintf(name, sizeof(name), "%.*s", SL_ARG(charset));
    cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return -1;
    rc = add_by_iconv(cd, in, out);
    iconv_close(cd);
    return rc;
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
