/* mime/ascii_header.c - see ascii_header.h. */
#include "mime/ascii_header.h"

#include "base/enc.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mime/mime.h"

enum {
    WORD_OCTETS = 42, /* in one encoded word: 56 of base64 and 12 around them */
    LINE_OCTETS = 76
};

/* ---- writing with folds ---- */

struct line {
    struct buf *out;
    size_t column;
};

/* A piece that must not be broken; blank: one goes before it, where a fold may be. */
static void
add_piece(struct line *l, struct slice s, bool blank)
{
    if (blank && l->column + 1 + s.n > LINE_OCTETS) {
        buf_addz(l->out, "\r\n ");
        l->column = 1;
    } else if (blank) {
        buf_addc(l->out, ' ');
        l->column++;
    }
    buf_adds(l->out, s);
    l->column += s.n;
}

/* Each piece is whole characters: RFC 2047 §5. */
static void
add_encoded_words(struct line *l, struct slice utf8)
{
    while (utf8.n > 0) {
        size_t n = utf8.n < WORD_OCTETS ? utf8.n : WORD_OCTETS;
        struct buf word = { 0 };

        while (n > 0 && n < utf8.n && ((unsigned char)utf8.p[n] & 0xc0) == 0x80)
            n--;
        buf_addz(&word, "=?UTF-8?B?");
        enc_b64(&word, sl_head(utf8, n));
        buf_addz(&word, "?=");
        add_piece(l, buf_slice(&word), true);
        buf_free(&word);
        utf8 = sl_from(utf8, n);
    }
}

/* ---- text ---- */

/* Words in ASCII as they are; those that are not, and the blanks between them, encoded together. */
static void
add_text(struct line *l, struct slice raw)
{
    struct buf flat = { 0 };
    struct slice s, word;

    mime_unfold(raw, &flat);
    s = buf_slice(&flat);
    while (sl_take_word(&s, " \t", &word)) {
        struct slice ahead = s, next;

        if (utf8_is_ascii(word)) {
            add_piece(l, word, true);
            continue;
        }
        while (sl_take_word(&ahead, " \t", &next) && !utf8_is_ascii(next)) {
            word.n = (size_t)(next.p + next.n - word.p);
            s = ahead;
        }
        add_encoded_words(l, word);
    }
    buf_free(&flat);
}

/* ---- addresses ---- */

static bool
is_atoms(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && !strchr("!#$%&'*+-/=?^_`{|}~ ", s.p[i]))
            return false;
    return s.n > 0;
}

static void
add_quoted(struct buf *out, struct slice s)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, s.p[i]);
    }
    buf_addc(out, '"');
}

static void
add_phrase(struct line *l, struct slice s)
{
    struct buf quoted = { 0 };

    if (!utf8_is_ascii(s)) {
        add_encoded_words(l, s);
    } else if (is_atoms(s)) {
        add_piece(l, s, true);
    } else {
        add_quoted(&quoted, s);
        add_piece(l, buf_slice(&quoted), true);
        buf_free(&quoted);
    }
}

static void
add_spec(struct buf *out, const struct mime_address *a)
{
    bool is_dots = a->mailbox.n > 0;

    for (size_t i = 0; i < a->mailbox.n; i++)
        is_dots &= (unsigned char)a->mailbox.p[i] >= 0x80 || sl_is_alnum_char(a->mailbox.p[i]) ||
                   strchr("!#$%&'*+-/=?^_`{|}~.", a->mailbox.p[i]) != NULL;
    if (is_dots)
        buf_adds(out, a->mailbox);
    else
        add_quoted(out, a->mailbox);
    if (a->host.n > 0)
        buf_addf(out, "@%.*s", SL_ARG(a->host));
}

static void
add_mailbox(struct line *l, const struct mime_address *a, bool has_more)
{
    struct buf spec = { 0 }, all = { 0 };

    add_spec(&spec, a);
    if (!utf8_is_ascii(buf_slice(&spec))) {
        if (a->name.n > 0)
            buf_addf(&all, "%.*s <%.*s>", SL_ARG(a->name), SL_ARG(buf_slice(&spec)));
        else
            buf_adds(&all, buf_slice(&spec));
        add_encoded_words(l, buf_slice(&all));
        buf_reset(&spec);
        buf_addz(&spec, "<" MIME_INVALID_ADDRESS ">");
    } else if (a->name.n > 0) {
        add_phrase(l, a->name);
        buf_addf(&all, "<%.*s>", SL_ARG(buf_slice(&spec)));
        buf_reset(&spec);
        buf_adds(&spec, buf_slice(&all));
    }
    if (has_more)
        buf_addc(&spec, ',');
    add_piece(l, buf_slice(&spec), true);
    buf_free(&spec);
    buf_free(&all);
}

static void
add_addresses(struct line *l, struct slice raw)
{
    struct arena mem = { 0 };
    size_t n = 0;
    struct mime_address *v = mime_addresses(raw, &mem, &n);

    if (!v)
        add_text(l, raw);
    for (size_t i = 0; v && i < n; i++) {
        bool is_last = i + 1 == n, ends_group = !is_last && !v[i + 1].mailbox.p;

        if (v[i].host.p) {
            add_mailbox(l, &v[i], !is_last && !ends_group);
        } else if (v[i].mailbox.p) {
            add_phrase(l, v[i].mailbox);
            add_piece(l, SL(":"), false);
        } else {
            add_piece(l, is_last ? SL(";") : SL(";,"), false);
        }
    }
    arena_free(&mem);
}

/* ---- parameters ---- */

/* Up to the next ';' that is in no quotes. */
static struct slice
take_param(struct slice *in)
{
    bool is_quoted = false;
    size_t n = 0;

    for (; n < in->n && (is_quoted || in->p[n] != ';'); n++) {
        if (in->p[n] == '\\' && is_quoted && n + 1 < in->n)
            n++;
        else if (in->p[n] == '"')
            is_quoted = !is_quoted;
    }
    return sl_head(*in, n);
}

static void
add_percent(struct buf *out, struct slice s, bool is_quoted, bool keeps_percent)
{
    for (size_t i = 0; i < s.n; i++) {
        if (is_quoted && s.p[i] == '\\' && i + 1 < s.n)
            i++;
        if (sl_is_alnum_char(s.p[i]) ||
            (s.p[i] && strchr(keeps_percent ? "!#$&+-.^_`{|}~%'" : "!#$&+-.^_`{|}~", s.p[i])))
            buf_addc(out, s.p[i]);
        else
            buf_addf(out, "%%%02X", (unsigned char)s.p[i]);
    }
}

/* RFC 2231 §3, §4: name*=utf-8''text, name*0*=... where the value came in pieces. */
static void
add_param(struct buf *out, struct slice param)
{
    struct slice name, value = param;
    bool is_quoted, is_extended, is_first;
    size_t star;

    if (!sl_take_until(&value, '=', &name))
        return; /* no parameter: nothing can be made of it */
    name = sl_trim(name);
    value = sl_trim(value);
    is_quoted = value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"';
    if (is_quoted)
        value = sl_from(sl_head(value, value.n - 1), 1);
    is_extended = sl_ends(name, '*');
    star = sl_find_char(name, '*');
    is_first = star == SL_NPOS || sl_has_prefix(sl_from(name, star), SL("*0"));
    if (!utf8_is_ascii(name))
        return;
    buf_addf(out, "%.*s%s=%s", SL_ARG(name), is_extended ? "" : "*",
             is_extended || !is_first ? "" : "utf-8''");
    add_percent(out, value, is_quoted, is_extended);
}

static void
add_params(struct line *l, struct slice raw)
{
    struct buf flat = { 0 };
    struct slice s;
    bool is_first = true;

    mime_unfold(raw, &flat);
    for (s = buf_slice(&flat); s.n > 0; is_first = false) {
        struct slice param = take_param(&s);
        struct buf piece = { 0 };

        s = sl_from(s, param.n < s.n ? param.n + 1 : param.n);
        param = sl_trim(param);
        if (utf8_is_ascii(param))
            buf_adds(&piece, param);
        else if (!is_first)
            add_param(&piece, param);
        if (piece.n > 0 && s.n > 0)
            buf_addc(&piece, ';');
        if (piece.n > 0)
            add_piece(l, buf_slice(&piece), true);
        buf_free(&piece);
    }
    buf_free(&flat);
}

/* ---- fields ---- */

static bool
is_one_of(struct slice name, const char *words)
{
    struct slice in = sl_z(words), word;

    while (sl_take_word(&in, " ", &word))
        if (sl_ieq(name, word))
            return true;
    return false;
}

/* Neither text nor addresses: RFC 6857's name for what an encoded word may not stand in. */
#define IDS                                                                                        \
    "Message-ID Resent-Message-ID In-Reply-To References Content-ID Return-Path Received "         \
    "Date Resent-Date MIME-Version Content-Transfer-Encoding Original-Recipient "                  \
    "Final-Recipient DKIM-Signature ARC-Seal ARC-Message-Signature List-ID"
#define ADDRESSES                                                                                  \
    "From Sender To Cc Bcc Reply-To Resent-From Resent-Sender Resent-To Resent-Cc "                \
    "Resent-Bcc Resent-Reply-To Disposition-Notification-To"

static void
add_field(struct buf *out, const struct mime_field *f)
{
    struct line l = { .out = out };
    bool is_id = is_one_of(f->name, IDS);

    l.column = out->n;
    buf_addf(out, "%s%.*s:", is_id ? "Downgraded-" : "", SL_ARG(f->name));
    l.column = out->n - l.column;
    if (is_one_of(f->name, ADDRESSES))
        add_addresses(&l, f->value);
    else if (is_one_of(f->name, "Content-Type Content-Disposition"))
        add_params(&l, f->value);
    else
        add_text(&l, f->value);
    buf_addz(out, "\r\n");
}

bool
mime_ascii_header(struct slice header, struct buf *out)
{
    struct slice left = header;
    const char *done = header.p;
    struct mime_field f;

    if (utf8_is_ascii(header))
        return false;
    while (mime_next_field(&left, &f)) {
        if (utf8_is_ascii(f.whole) || !utf8_is_valid(f.whole) || !utf8_is_ascii(f.name))
            continue;
        buf_add(out, done, (size_t)(f.whole.p - done));
        add_field(out, &f);
        done = f.whole.p + f.whole.n;
    }
    if (done == header.p)
        return false;
    buf_add(out, done, (size_t)(header.p + header.n - done));
    return true;
}
