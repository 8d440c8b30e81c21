/* mime/preview.c - the first words of a message (RFC 8970). */
#include "mime/text.h"

#include "base/utf8.h"

enum { PREVIEW_PARTS_MAX = 20, PREVIEW_TEXT_OCTETS = 4096 };

struct search {
    struct buf *out;
    size_t octets_left; /* of input */
    unsigned parts_left;
};

/* Characters that are seen, blanks as one space; up to the bound of all. True: it is reached. */
static bool
add_words(struct slice s, size_t *n_chars, struct buf *out)
{
    bool owes = *n_chars > 0;

    while (s.n > 0) {
        int32_t cp = utf8_take(&s);

        if (cp < 0) {
            s = sl_from(s, 1);
            cp = 0xfffd;
        }
        if (cp <= ' ' || cp == 0x7f || cp == 0xa0 || cp == 0x2028 || cp == 0x2029) {
            owes = *n_chars > 0;
            continue;
        }
        if ((cp >= 0x80 && cp < 0xa0) || cp == 0xfeff || cp == 0x200b)
            continue;
        if (*n_chars + owes + 1 > MIME_PREVIEW_CHARS)
            return true;
        if (owes)
            buf_addc(out, ' ');
        *n_chars += 1 + owes;
        owes = false;
        utf8_add(out, (uint32_t)cp);
    }
    return false;
}

/* Lines of a text up to its signature; quoted ones or the others. */
static void
add_lines(struct slice text, bool quoted, struct buf *out)
{
    struct slice line;
    size_t n = 0;

    while (sl_take_line(&text, &line)) {
        if (sl_eqz(line, "-- ") && n > 0)
            return;
        if (sl_starts(line, '>') == quoted && add_words(line, &n, out))
            return;
    }
}

static void
take_text(struct search *s, const struct mime_part *p)
{
    struct mime_part front = *p;
    struct buf text = { 0 };

    if (s->parts_left == 0 || s->octets_left == 0)
        return;
    s->parts_left--;
    front.body = sl_head(p->body, s->octets_left);
    s->octets_left -= front.body.n;
    if (sl_ieqz(p->subtype, "html"))
        mime_decode_html(&front, PREVIEW_TEXT_OCTETS, &text);
    else
        mime_decode_text(&front, &text);
    add_lines(buf_slice(&text), false, s->out);
    if (s->out->n == 0)
        add_lines(buf_slice(&text), true, s->out);
    buf_free(&text);
}

static bool
is_text(const struct mime_part *p, bool is_html)
{
    return sl_ieqz(p->type, "text") && p->n_kids == 0 &&
           (is_html ? sl_ieqz(p->subtype, "html")
                    : sl_ieqz(p->subtype, "plain") || sl_ieqz(p->subtype, "enriched"));
}

/* Depth is bounded by the parser (MIME_DEPTH_MAX). */
static void
find(struct search *s, const struct mime_part *p)
{
    if (s->out->n > 0 || s->parts_left == 0 || sl_ieqz(p->disposition, "attachment"))
        return;
    if (is_text(p, true) || is_text(p, false))
        take_text(s, p);
    if (!p->is_multipart)
        return;
    if (sl_ieqz(p->subtype, "alternative"))
        for (size_t i = 0; i < p->n_kids && s->out->n == 0; i++)
            if (is_text(&p->kids[i], false))
                take_text(s, &p->kids[i]);
    for (size_t i = 0; i < p->n_kids && s->out->n == 0; i++)
        find(s, &p->kids[i]);
}

void
mime_preview(const struct mime_part *root, struct buf *out)
{
    struct buf text = { 0 };
    struct search s = { &text, MIME_PREVIEW_INPUT_OCTETS, PREVIEW_PARTS_MAX };

    find(&s, root);
    buf_adds(out, buf_slice(&text));
    buf_free(&text);
}
