/* store/search_text.c - see search_text.h. */
#include "store/search_text.h"

#include "base/fold.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mime/text.h"

enum { SCRATCH_KEEP_OCTETS = 1024 * 1024 }; /* what one large part left is given back */

void
needle_init(struct needle *n, struct slice utf8, struct arena *mem)
{
    struct buf b = { 0 };
    char *p;
    size_t k = 0;

    fold_text(&b, utf8);
    n->folded = arena_dup(mem, buf_slice(&b));
    buf_free(&b);
    p = (char *)(uintptr_t)n->folded.p; /* ours */
    for (size_t i = 0; i < n->folded.n; i++)
        if (p[i] != '\r')
            p[k++] = p[i];
    n->folded.n = k;
    n->has_line_end = k > 0 && memchr(p, '\n', k) != NULL;
    n->is_ascii = utf8_is_ascii(n->folded);
    find_init(&n->in_ascii, n->folded, true);
    find_init(&n->in_folded, n->folded, false);
}

static void
trim_scratch(struct buf *b)
{
    if (b->cap > SCRATCH_KEEP_OCTETS)
        buf_free(b);
    else
        buf_reset(b);
}

void
search_scratch_free(struct search_scratch *s)
{
    buf_free(&s->octets);
    buf_free(&s->utf8);
    buf_free(&s->text);
    buf_free(&s->folded);
    buf_free(&s->without_cr);
}

/* ---- text ---- */

/* A text and its forms, each made when a needle wants it. */
struct text {
    struct slice utf8, folded, without_cr;
    bool is_ascii_known, is_ascii, has_folded, has_without_cr;
};

static bool
is_ascii(struct text *t)
{
    if (!t->is_ascii_known)
        t->is_ascii = utf8_is_ascii(t->utf8);
    t->is_ascii_known = true;
    return t->is_ascii;
}

static struct slice
folded(struct search_scratch *s, struct text *t)
{
    if (!t->has_folded) {
        trim_scratch(&s->folded);
        fold_text(&s->folded, t->utf8);
        t->folded = buf_slice(&s->folded);
    }
    t->has_folded = true;
    return t->folded;
}

/* A needle with a line end is looked for in texts without CRs. */
static struct slice
without_cr(struct search_scratch *s, struct text *t)
{
    if (!t->has_without_cr) {
        struct slice from = folded(s, t), run;
        size_t cr;

        trim_scratch(&s->without_cr);
        do {
            cr = sl_find_char(from, '\r');
            run = sl_head(from, cr == SL_NPOS ? from.n : cr);
            buf_adds(&s->without_cr, run);
            from = sl_from(from, cr == SL_NPOS ? from.n : cr + 1);
        } while (cr != SL_NPOS);
        t->without_cr = buf_slice(&s->without_cr);
    }
    t->has_without_cr = true;
    return t->without_cr;
}

static bool
text_has(struct search_scratch *s, struct text *t, const struct needle *n)
{
    if (n->folded.n == 0)
        return true;
    if (n->has_line_end)
        return find_in(&n->in_folded, without_cr(s, t)) != SL_NPOS;
    if (n->is_ascii && find_in(&n->in_ascii, t->utf8) != SL_NPOS)
        return true; /* what is found before folding is there after it */
    return !is_ascii(t) && find_in(&n->in_folded, folded(s, t)) != SL_NPOS;
}

/* False: no key is left that looks there. */
static bool
wants(const struct search_key *keys, size_t n, bool headers_alone)
{
    for (size_t i = 0; i < n; i++)
        if (!keys[i].is_found && (keys[i].in_headers || !headers_alone))
            return true;
    return false;
}

static void
text_keys(struct search_scratch *s, struct slice utf8, struct search_key *keys, size_t n,
          bool headers_alone)
{
    struct text t = { .utf8 = utf8 };

    for (size_t i = 0; i < n; i++)
        if (!keys[i].is_found && (keys[i].in_headers || !headers_alone))
            keys[i].is_found = text_has(s, &t, &keys[i].needle);
}

/* ---- headers ---- */

/* A value that is what it looks like: one line, ASCII, without encoded words. */
static bool
is_plain(struct slice value)
{
    const char *at = value.p;
    size_t left = value.n;

    if (value.n > 0 && memchr(value.p, '\n', value.n) != NULL)
        return false;
    while (left > 1 && (at = memchr(at, '=', left - 1)) != NULL) {
        if (at[1] == '?')
            return false;
        at++;
        left = value.n - (size_t)(at - value.p);
    }
    return utf8_is_ascii(value);
}

static bool
value_has(struct search_scratch *s, struct slice value, const struct needle *n)
{
    struct text t = { 0 };

    value = sl_trim(value);
    if (is_plain(value))
        return n->is_ascii && find_in(&n->in_ascii, value) != SL_NPOS;
    buf_reset(&s->utf8);
    mime_decode_words(value, &s->utf8);
    t.utf8 = buf_slice(&s->utf8);
    return text_has(s, &t, n);
}

/* The field from name to the end of its value, when that is "Name: value" already; p NULL: it is not. */
static struct slice
as_written(const struct mime_field *f)
{
    struct slice value = sl_trim(f->value);

    if (value.p != f->whole.p + f->name.n + 2 || f->whole.p[f->name.n + 1] != ' ' ||
        !is_plain(value))
        return sl_n(NULL, 0);
    return sl_n(f->whole.p, f->name.n + 2 + value.n);
}

static void
header_keys(struct search_scratch *s, struct slice header, struct search_key *keys, size_t n,
            bool headers_alone)
{
    struct mime_field f;

    while (wants(keys, n, headers_alone) && mime_next_field(&header, &f)) {
        struct slice text = as_written(&f);

        if (text.p == NULL) {
            buf_reset(&s->utf8);
            buf_adds(&s->utf8, f.name);
            buf_addz(&s->utf8, ": ");
            mime_decode_words(f.value, &s->utf8);
            text = buf_slice(&s->utf8);
        }
        text_keys(s, text, keys, n, headers_alone);
    }
}

void
search_header_keys(struct search_scratch *s, struct slice header, struct search_key *keys, size_t n)
{
    header_keys(s, header, keys, n, true);
}

static bool
is_address_field(struct slice name)
{
    static const char *const names[] = { "From", "To", "Cc", "Bcc", "Sender", "Reply-To" };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (sl_ieqz(name, names[i]))
            return true;
    return false;
}

/* What the envelope tells of addresses is searched too (RFC 3501 §6.4.4): "a (who)@ b" is a@b. It differs from what is written
 * only where there are remarks, quotes, or spaces at the '@'. */
static bool
is_odd_address(struct slice value)
{
    for (size_t i = 0; i < value.n; i++) {
        char o = value.p[i];

        if (o == '(' || o == '\\' || o == '"')
            return true;
        if (o == '@' && ((i > 0 && (value.p[i - 1] == ' ' || value.p[i - 1] == '\t')) ||
                         (i + 1 < value.n && (value.p[i + 1] == ' ' || value.p[i + 1] == '\t'))))
            return true;
    }
    return false;
}

static bool
addresses_have(struct search_scratch *s, struct slice value, const struct needle *n)
{
    struct arena mem = { 0 };
    struct buf one = { 0 };
    bool has = false;
    size_t count;
    const struct mime_address *a = mime_addresses(value, &mem, &count);

    for (size_t i = 0; i < count && a && !has; i++) {
        buf_reset(&one);
        if (a[i].name.n > 0) {
            buf_adds(&one, a[i].name);
            buf_addc(&one, ' ');
        }
        buf_addc(&one, '<');
        buf_adds(&one, a[i].mailbox);
        if (a[i].host.n > 0) {
            buf_addc(&one, '@');
            buf_adds(&one, a[i].host);
        }
        buf_addc(&one, '>');
        has = value_has(s, buf_slice(&one), n);
    }
    buf_free(&one);
    arena_free(&mem);
    return has;
}

bool
search_field_has(struct search_scratch *s, struct slice header, struct slice name,
                 const struct needle *n)
{
    bool has_addresses = is_address_field(name);
    struct mime_field f;

    while (mime_next_field(&header, &f)) {
        if (!sl_ieq(f.name, name))
            continue;
        if (n->folded.n == 0 || value_has(s, f.value, n))
            return true;
        if (has_addresses && is_odd_address(f.value) && addresses_have(s, f.value, n))
            return true;
    }
    return false;
}

/* ---- bodies ---- */

/* Are ASCII octets ASCII in it? In what is not here they may be anything. */
static bool
extends_ascii(struct slice charset)
{
    static const char *const starts[] = { "us-ascii", "utf-8", "iso-8859-", "windows-125",
                                          "koi8-",    "gb",    "big5",      "euc-" };

    charset = sl_trim(charset);
    for (size_t i = 0; i < COUNT_OF(starts); i++)
        if (sl_has_iprefix(charset, sl_z(starts[i])))
            return true;
    return charset.n == 0;
}

static bool
is_utf8(struct slice charset)
{
    charset = sl_trim(charset);
    return charset.n == 0 || sl_ieqz(charset, "utf-8") || sl_ieqz(charset, "us-ascii");
}

/* The part's text as UTF-8, in the message where it needs nothing, else in scratch. */
static struct slice
part_text(struct search_scratch *s, const struct mime_part *p)
{
    struct slice charset = mime_get_param(p, "charset"), text = p->body;

    if (sl_ieqz(p->encoding, "quoted-printable") || sl_ieqz(p->encoding, "base64")) {
        trim_scratch(&s->octets);
        mime_decode_body(p, &s->octets);
        text = buf_slice(&s->octets);
    }
    if (is_utf8(charset) || (extends_ascii(charset) && utf8_is_ascii(text)))
        return text;
    trim_scratch(&s->utf8);
    return mime_to_utf8(charset, text, &s->utf8) < 0 ? text : buf_slice(&s->utf8);
}

static void
leaf_keys(struct search_scratch *s, const struct mime_part *p, struct search_key *keys, size_t n)
{
    struct slice text;

    if (!sl_ieqz(p->type, "text"))
        return;
    if (sl_ieqz(p->subtype, "html")) {
        trim_scratch(&s->text);
        mime_decode_html(p, 0, &s->text);
        text = buf_slice(&s->text);
    } else {
        text = part_text(s, p);
    }
    text_keys(s, text, keys, n, false);
}

/* As deep as MIME_DEPTH_MAX. */
static void
part_keys(struct search_scratch *s, const struct mime_part *p, struct search_key *keys, size_t n)
{
    for (size_t i = 0; i < p->n_kids && wants(keys, n, false); i++) {
        header_keys(s, p->kids[i].header, keys, n, !p->is_message);
        part_keys(s, &p->kids[i], keys, n);
    }
    if (p->n_kids == 0 && wants(keys, n, false))
        leaf_keys(s, p, keys, n);
}

void
search_body_keys(struct search_scratch *s, const struct mime_part *root, struct search_key *keys,
                 size_t n)
{
    for (size_t i = 0; i < n; i++)
        keys[i].is_found |= keys[i].needle.folded.n == 0;
    part_keys(s, root, keys, n);
}
