/* mime/preview.c - the first words of a message (RFC 8970). */
#include "mime/text.h"

#include "base/utf8.h"

enum {
    PREVIEW_PARTS_MAX = 20,
    PREVIEW_TEXT_OCTETS = 4096,
    PREVIEW_FIRST_OCTETS = 1024, /* of a body, decoded first, */
    PREVIEW_FURTHER = 8,         /* and so many times as much when that does not do */
    PREVIEW_TAIL_OCTETS = 64     /* where a cut in a word, tag or character may show */
};

struct search {
    struct buf *out;
    size_t octets_left; /* of input */
    unsigned parts_left;
};

static size_t
count_graphic(struct slice s, size_t most)
{
    size_t n = 0;

    while (n < s.n && n < most && s.p[n] > ' ' && s.p[n] < 0x7f)
        n++;
    return n;
}

/* Characters that are seen, blanks as one space; up to the bound of all. True: it is reached. */
static bool
add_words(struct slice s, size_t *n_chars, struct buf *out)
{
    bool owes = *n_chars > 0;

    while (s.n > 0) {
        size_t n = count_graphic(s, MIME_PREVIEW_CHARS);
        int32_t cp;

        if (n > 0) { /* most of them */
            if (*n_chars + owes + 1 > MIME_PREVIEW_CHARS)
                return true;
            if (owes)
                buf_addc(out, ' ');
            *n_chars += owes;
            owes = false;
            if (n > MIME_PREVIEW_CHARS - *n_chars)
                n = MIME_PREVIEW_CHARS - *n_chars;
            buf_adds(out, sl_head(s, n));
            *n_chars += n;
            s = sl_from(s, n);
            continue;
        }
        cp = utf8_take(&s);
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

/* Lines of a text up to its signature; quoted ones or the others. True: nothing behind it would be added. */
static bool
add_lines(struct slice text, bool quoted, struct buf *out)
{
    struct slice line;
    size_t n = 0;

    while (sl_take_line(&text, &line)) {
        if (sl_eqz(line, "-- ") && n > 0)
            return text.n > 0; /* else the line may go on */
        if (sl_starts(line, '>') == quoted && add_words(line, &n, out))
            return true;
    }
    return false;
}

static void
decode(const struct mime_part *p, struct slice body, struct buf *text)
{
    struct mime_part front = *p;

    front.body = body;
    if (sl_ieqz(p->subtype, "html"))
        mime_decode_html(&front, PREVIEW_TEXT_OCTETS, text);
    else
        mime_decode_text(&front, text);
}

/* The front of a body, in whole lines if it has such. */
static struct slice
front_of(struct slice body, size_t n)
{
    size_t lf = sl_rfind_char(sl_head(body, n), '\n');

    return sl_head(body, lf == SL_NPOS ? n : lf + 1);
}

/* What comes of a front alone is told only if the rest cannot change it. True: it was. */
static bool
take_front(struct search *s, const struct mime_part *p, size_t n)
{
    struct buf text = { 0 };
    struct slice sure;
    bool is_done;

    decode(p, front_of(p->body, n), &text);
    sure = buf_slice(&text);
    n = sure.n > PREVIEW_TAIL_OCTETS ? sure.n - PREVIEW_TAIL_OCTETS : 0;
    while (n > 0 && ((unsigned char)sure.p[n] & 0xc0) == 0x80)
        n--;
    is_done = add_lines(sl_head(sure, n), false, s->out);
    if (!is_done)
        buf_reset(s->out);
    buf_free(&text);
    return is_done;
}

static void
take_text(struct search *s, const struct mime_part *p)
{
    struct buf text = { 0 };
    size_t most = p->body.n < s->octets_left ? p->body.n : s->octets_left;

    if (s->parts_left == 0 || s->octets_left == 0)
        return;
    s->parts_left--;
    s->octets_left -= most;
    /* Whether a page is UTF-8 is seen in all of it. */
    if (!sl_ieqz(p->subtype, "html") || mime_get_param(p, "charset").n > 0)
        for (size_t n = PREVIEW_FIRST_OCTETS; n < most; n *= PREVIEW_FURTHER)
            if (take_front(s, p, n))
                return;
    decode(p, sl_head(p->body, most), &text);
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
