/* mime/entity.c - see entity.h. */
#include "mime/entity.h"
#include "mime/mime_int.h"

#include "base/mem.h"

static const char *const encodings[] = { "unknown",          "7bit",  "8bit", "binary",
                                         "quoted-printable", "base64" };

static struct slice
take_word(struct slice *in, const char *ends)
{
    size_t n = 0;
    struct slice word;

    mime_skip_cfws(in);
    while (n < in->n && in->p[n] && strchr(ends, in->p[n]) == NULL &&
           strchr(" \t\r\n(", in->p[n]) == NULL)
        n++;
    word = sl_head(*in, n);
    *in = sl_from(*in, n);
    mime_skip_cfws(in);
    return word;
}

static enum mime_kind
message_kind(struct slice subtype)
{
    if (sl_ieqz(subtype, "rfc822"))
        return MIME_MESSAGE;
    if (sl_ieqz(subtype, "global"))
        return MIME_MESSAGE_UTF8;
    if (sl_ieqz(subtype, "partial") || sl_ieqz(subtype, "external-body"))
        return MIME_MESSAGE_PIECE;
    return MIME_MESSAGE_OTHER;
}

void
mime_type_of(struct slice in, struct mime_type *out)
{
    struct slice type = take_word(&in, "/;"), subtype = SL("");

    if (sl_take_char(&in, '/'))
        subtype = take_word(&in, ";");
    *out = (struct mime_type){ .kind = MIME_LEAF, .params = in };
    if (sl_ieqz(type, "message")) {
        out->kind = message_kind(subtype);
    } else if (sl_ieqz(type, "multipart")) {
        out->kind = MIME_MULTIPART;
        out->is_digest = sl_ieqz(subtype, "digest");
    }
}

/* What is between quotes (true), or a word. */
static bool
take_value(struct slice *in, struct buf *to)
{
    size_t i = 0;

    buf_reset(to);
    mime_skip_cfws(in);
    if (!sl_take_char(in, '"')) {
        buf_adds(to, take_word(in, ";"));
        return false;
    }
    for (; i < in->n && in->p[i] != '"'; i++) {
        if (in->p[i] == '\\' && i + 1 < in->n)
            i++;
        if (in->p[i] != '\r' && in->p[i] != '\n')
            buf_addc(to, in->p[i]);
    }
    *in = sl_from(*in, i + 1);
    mime_skip_cfws(in);
    return true;
}

static void
cut_at_special(struct buf *word)
{
    struct slice s = buf_slice(word);
    size_t n = 0;

    while (n < s.n && (s.p[n] == '\0' || strchr("()<>@,;:\\\"/[]?=", s.p[n]) == NULL))
        n++;
    if (n > 0)
        buf_truncate(word, n);
}

/* To the next parameter, past what is none. */
static bool
skip_to_param(struct slice *in)
{
    size_t semicolon = sl_find_char(*in, ';');

    if (semicolon == SL_NPOS)
        return false;
    *in = sl_from(*in, semicolon + 1);
    return true;
}

bool
mime_next_boundary(struct slice *in, bool is_wide, struct buf *to)
{
    while (skip_to_param(in)) {
        struct slice name = take_word(in, "=;");
        bool is_quoted;

        if (!sl_take_char(in, '='))
            continue;
        is_quoted = take_value(in, to);
        if (!sl_ieqz(name, "boundary"))
            continue;
        if (is_wide && !is_quoted)
            cut_at_special(to);
        if (to->n > 0 || (is_wide && is_quoted))
            return true;
    }
    return false;
}

enum mime_encoding
mime_encoding_of(struct slice value)
{
    struct slice word = take_word(&value, ";");

    for (size_t i = 1; i < COUNT_OF(encodings); i++)
        if (sl_ieqz(word, encodings[i]))
            return (enum mime_encoding)i;
    return MIME_ENC_NONE;
}

const char *
mime_encoding_name(enum mime_encoding e)
{
    return encodings[e];
}
