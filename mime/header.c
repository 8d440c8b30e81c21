/* mime/header.c - header fields and encoded words. */
#include "mime/mime_int.h"

/* The next line with its end. */
static struct slice
take_line(struct slice *in)
{
    size_t nl = sl_find_char(*in, '\n');
    struct slice line = sl_head(*in, nl == SL_NPOS ? in->n : nl + 1);

    *in = sl_from(*in, line.n);
    return line;
}

static bool
is_empty_line(struct slice line)
{
    return sl_eqz(line, "\n") || sl_eqz(line, "\r\n");
}

struct slice
mime_header_of(struct slice message)
{
    struct slice rest = message;

    while (rest.n > 0)
        if (is_empty_line(take_line(&rest)))
            break;
    return sl_head(message, message.n - rest.n);
}

static struct slice
without_line_end(struct slice s)
{
    if (sl_ends(s, '\n'))
        s.n--;
    if (sl_ends(s, '\r'))
        s.n--;
    return s;
}

bool
mime_next_field(struct slice *header, struct mime_field *f)
{
    while (header->n > 0) {
        struct slice at = *header, line = take_line(&at);
        size_t colon = sl_find_char(line, ':');

        if (is_empty_line(line))
            return false;
        while (at.n > 0 && (at.p[0] == ' ' || at.p[0] == '\t'))
            line.n += take_line(&at).n;
        *header = at;
        f->whole = line;
        f->name = sl_head(line, colon == SL_NPOS ? 0 : colon);
        while (sl_ends(f->name, ' ') || sl_ends(f->name, '\t'))
            f->name.n--;
        if (f->name.n == 0 || memchr(f->name.p, ' ', f->name.n) != NULL)
            continue; /* "From " of an mbox, or garbage */
        f->value = without_line_end(sl_from(line, colon + 1));
        return true;
    }
    return false;
}

struct slice
mime_get_field(struct slice header, const char *name)
{
    struct mime_field f;

    while (mime_next_field(&header, &f))
        if (sl_ieqz(f.name, name))
            return f.value;
    return sl_n(NULL, 0);
}

void
mime_unfold(struct slice raw, struct buf *out)
{
    struct slice at = sl_trim(raw);

    while (at.n > 0) {
        size_t n = 0;

        while (n < at.n && at.p[n] != '\r' && at.p[n] != '\n')
            n++;
        buf_adds(out, sl_head(at, n));
        at = sl_from(at, n);
        while (at.n > 0 && (at.p[0] == '\r' || at.p[0] == '\n'))
            at = sl_from(at, 1);
    }
}

/* "=?charset?Q?text?=" at the front of *in: append its text and step past it. */
static bool
take_encoded_word(struct slice *in, struct buf *out)
{
    struct slice at = *in, charset, how, text;
    struct buf octets = { 0 };
    size_t end, star;
    int rc;

    if (!sl_take_prefix(&at, SL("=?")) || !sl_take_until(&at, '?', &charset) ||
        !sl_take_until(&at, '?', &how) || how.n != 1)
        return false;
    /* Not any later "?=": each of a flood of beginnings would look for it in all of the rest. */
    end = sl_find_char(at, '?');
    while (end != SL_NPOS && end + 1 < at.n && at.p[end + 1] == '?')
        end++; /* "=?utf-8?Q?really??=" is written */
    if (end == SL_NPOS || end + 1 >= at.n || at.p[end + 1] != '=')
        return false;
    text = sl_head(at, end);
    if (memchr(text.p, ' ', text.n) != NULL && !sl_ieqz(how, "Q"))
        return false;
    star = sl_find_char(charset, '*'); /* RFC 2231 §5: language after the charset */
    if (star != SL_NPOS)
        charset.n = star;
    if (sl_ieqz(how, "Q"))
        mime_decode_qp(text, true, &octets);
    else if (sl_ieqz(how, "B"))
        mime_decode_b64(text, &octets);
    else
        return false;
    rc = mime_to_utf8(charset, buf_slice(&octets), out);
    buf_free(&octets);
    if (rc == 0)
        *in = sl_from(at, end + 2);
    return rc == 0;
}

void
mime_decode_words(struct slice raw, struct buf *out)
{
    struct buf flat = { 0 };
    struct slice at, blanks = { 0 };
    bool after_word = false;

    mime_unfold(raw, &flat);
    at = buf_slice(&flat);
    while (at.n > 0) {
        size_t n = 0;

        if (take_encoded_word(&at, out)) {
            after_word = true;
            blanks.n = 0;
            /* Blanks between two encoded words are not part of the text (RFC 2047 §6.2). */
            while (n < at.n && (at.p[n] == ' ' || at.p[n] == '\t'))
                n++;
            blanks = sl_head(at, n);
            at = sl_from(at, n);
            if (at.n > 0 && sl_has_prefix(at, SL("=?")))
                continue;
        }
        if (after_word)
            buf_adds(out, blanks);
        after_word = false;
        if (at.n == 0)
            break;
        n = 1;
        while (n < at.n && at.p[n] != '=')
            n++;
        if (mime_to_utf8(SL("utf-8"), sl_head(at, n), out) < 0)
            buf_adds(out, sl_head(at, n));
        at = sl_from(at, n);
    }
    buf_free(&flat);
}

void
mime_skip_cfws(struct slice *in)
{
    size_t i = 0, depth = 0;

    for (; i < in->n; i++) {
        char c = in->p[i];

        if (c == '(')
            depth++;
        else if (c == ')' && depth > 0)
            depth--;
        else if (c == '\\' && depth > 0)
            i++;
        else if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
            break;
    }
    *in = sl_from(*in, i);
}
