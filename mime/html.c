/* mime/html.c - HTML as text, in one pass. Not a parser of HTML: what is written wrongly comes out as some text. */
#include "mime/text.h"

#include "base/mem.h"
#include "base/utf8.h"

enum { REFERENCE_MAX_OCTETS = 32, TAG_NAME_MAX_OCTETS = 16 };

/* ---- character references ---- */

/* U+00A0 to U+00FF in order. */
static const char latin1[] =
    "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn "
    "sup2 sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave "
    "Aacute Acirc Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml "
    "ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN "
    "szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave "
    "iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute "
    "ucirc uuml yacute thorn yuml";

static const struct {
    const char *name;
    uint32_t cp;
} others[] = {
    { "amp", '&' },       { "lt", '<' },        { "gt", '>' },        { "quot", '"' },
    { "apos", '\'' },     { "OElig", 0x152 },   { "oelig", 0x153 },   { "Scaron", 0x160 },
    { "scaron", 0x161 },  { "Yuml", 0x178 },    { "fnof", 0x192 },    { "circ", 0x2c6 },
    { "tilde", 0x2dc },   { "Alpha", 0x391 },   { "Omega", 0x3a9 },   { "alpha", 0x3b1 },
    { "beta", 0x3b2 },    { "gamma", 0x3b3 },   { "delta", 0x3b4 },   { "lambda", 0x3bb },
    { "mu", 0x3bc },      { "pi", 0x3c0 },      { "omega", 0x3c9 },   { "ensp", 0x2002 },
    { "emsp", 0x2003 },   { "thinsp", 0x2009 }, { "zwnj", 0x200c },   { "zwj", 0x200d },
    { "ndash", 0x2013 },  { "mdash", 0x2014 },  { "lsquo", 0x2018 },  { "rsquo", 0x2019 },
    { "sbquo", 0x201a },  { "ldquo", 0x201c },  { "rdquo", 0x201d },  { "bdquo", 0x201e },
    { "dagger", 0x2020 }, { "Dagger", 0x2021 }, { "bull", 0x2022 },   { "hellip", 0x2026 },
    { "permil", 0x2030 }, { "prime", 0x2032 },  { "Prime", 0x2033 },  { "lsaquo", 0x2039 },
    { "rsaquo", 0x203a }, { "frasl", 0x2044 },  { "euro", 0x20ac },   { "trade", 0x2122 },
    { "larr", 0x2190 },   { "uarr", 0x2191 },   { "rarr", 0x2192 },   { "darr", 0x2193 },
    { "harr", 0x2194 },   { "rArr", 0x21d2 },   { "infin", 0x221e },  { "minus", 0x2212 },
    { "asymp", 0x2248 },  { "ne", 0x2260 },     { "le", 0x2264 },     { "ge", 0x2265 },
    { "check", 0x2713 },  { "hearts", 0x2665 }, { "spades", 0x2660 }, { "clubs", 0x2663 },
    { "diams", 0x2666 },  { "star", 0x2606 },   { "starf", 0x2605 },
};

static uint32_t
named(struct slice name)
{
    struct slice at = sl_n(latin1, sizeof(latin1) - 1), word;

    for (uint32_t cp = 0xa0; sl_take_word(&at, " ", &word); cp++)
        if (sl_eq(word, name))
            return cp;
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (sl_eqz(name, others[i].name))
            return others[i].cp;
    return 0;
}

/* What windows-1252 has where Unicode has controls: HTML reads &#150; so. */
static uint32_t
from_1252(uint32_t cp)
{
    static const uint16_t c1[32] = {
        0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021, 0x2c6,  0x2030, 0x160,
        0x2039, 0x152,  0x8d,   0x17d,  0x8f,   0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178
    };

    return cp >= 0x80 && cp < 0xa0 ? c1[cp - 0x80] : cp;
}

static int
digit_of(char c, bool is_hex)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return is_hex && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The number of "&#...", after '#'; 0: none. */
static uint32_t
take_number(struct slice *at)
{
    bool is_hex = sl_take_char(at, 'x') || sl_take_char(at, 'X');
    uint32_t cp = 0;
    size_t n = 0;
    int d;

    for (; n < at->n && n < REFERENCE_MAX_OCTETS && (d = digit_of(at->p[n], is_hex)) >= 0; n++)
        cp = cp > 0x10ffff ? cp : cp * (is_hex ? 16 : 10) + (uint32_t)d;
    *at = sl_from(*at, n);
    if (n == 0)
        return 0;
    cp = from_1252(cp);
    return cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000) ? 0xfffd : cp;
}

/* The character of a reference at the front ('&'), stepping past it; 0: it is none, nothing taken. */
static uint32_t
take_reference(struct slice *in)
{
    struct slice at = sl_from(*in, 1);
    uint32_t cp;
    size_t n = 0;

    if (sl_take_char(&at, '#')) {
        cp = take_number(&at);
        if (cp == 0)
            return 0;
        sl_take_char(&at, ';');
    } else {
        while (n < at.n && n < REFERENCE_MAX_OCTETS && sl_is_alnum_char(at.p[n]))
            n++;
        if (n == 0 || n == at.n || at.p[n] != ';')
            return 0; /* "?a=b&copy=c" in a text is no reference; and a flood of '&' looks for no names */
        cp = named(sl_head(at, n));
        if (cp == 0)
            return 0;
        at = sl_from(at, n + 1);
    }
    *in = at;
    return cp;
}

/* ---- output ---- */

struct writer {
    struct buf *out;
    size_t start, max;
    bool space, line; /* owed before the next character */
};

static bool
is_full(const struct writer *w)
{
    return w->max > 0 && w->out->n - w->start >= w->max;
}

static void
pay(struct writer *w)
{
    if (w->out->n > w->start && (w->space || w->line))
        buf_addc(w->out, w->line ? '\n' : ' ');
    w->space = w->line = false;
}

/* One character: blanks gather, what has no width and stands alone goes (newsletters fill previews with it). */
static void
put(struct writer *w, uint32_t cp)
{
    if (cp <= ' ' || cp == 0x7f || cp == 0xa0 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x3000) {
        w->space = true;
        return;
    }
    if (cp == 0xad || cp == 0x34f || cp == 0x200b || cp == 0x2060 || cp == 0xfeff)
        return;
    if ((cp == 0x200c || cp == 0x200d) && (w->space || w->line || w->out->n == w->start))
        return;
    pay(w);
    utf8_add(w->out, cp);
}

static void
put_text(struct writer *w, struct slice s)
{
    while (s.n > 0 && !is_full(w)) {
        unsigned char c = (unsigned char)s.p[0];
        int32_t cp = c;

        if (c < 0x80)
            s = sl_from(s, 1);
        else if ((cp = utf8_take(&s)) < 0)
            s = sl_from(s, 1);
        put(w, cp < 0 ? 0xfffd : (uint32_t)cp);
    }
}

/* ---- tags ---- */

static const char *const lines[] = {
    "address", "article",  "aside",  "blockquote", "br",   "center", "dd",    "div", "dl",
    "dt",      "fieldset", "figure", "footer",     "form", "h1",     "h2",    "h3",  "h4",
    "h5",      "h6",       "header", "hr",         "li",   "main",   "nav",   "ol",  "p",
    "pre",     "section",  "table",  "tr",         "ul",   "body",   "option"
};
static const char *const blanks[] = { "td", "th", "img", "input", "select", "textarea", "button" };
static const char *const hidden[] = { "script", "style", "title", "template", "noembed", "object" };

static bool
is_in(const char *const *names, size_t n, struct slice name)
{
    for (size_t i = 0; i < n; i++)
        if (sl_ieqz(name, names[i]))
            return true;
    return false;
}

/* Past the tag's '>', which does not count in quotes that a '=' leads. What has no end takes all of the rest. */
static struct slice
skip_tag(struct slice at)
{
    char quote = '\0';
    bool after_equals = false;

    for (size_t i = 0; i < at.n; i++) {
        char c = at.p[i];

        if (quote != '\0') {
            if (c == quote)
                quote = '\0';
        } else if (c == '>') {
            return sl_from(at, i + 1);
        } else if ((c == '"' || c == '\'') && after_equals) {
            quote = c;
        }
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            after_equals = c == '=';
    }
    return sl_n(NULL, 0);
}

/* To the end tag of that name, or to the end. */
static struct slice
skip_hidden(struct slice at, struct slice name)
{
    while (at.n > 0) {
        size_t lt = sl_find_char(at, '<');

        if (lt == SL_NPOS)
            break;
        at = sl_from(at, lt + 1);
        if (sl_starts(at, '/') && sl_has_iprefix(sl_from(at, 1), name))
            return skip_tag(at);
    }
    return sl_n(NULL, 0);
}

static struct slice
skip_comment(struct slice at)
{
    size_t end = sl_find(at, SL("-->"));

    return end == SL_NPOS ? sl_n(NULL, 0) : sl_from(at, end + 3);
}

/* in stands at '<'. False: that is no tag. */
static bool
take_tag(struct slice *in, struct writer *w)
{
    struct slice at = sl_from(*in, 1), name;
    bool is_end;
    size_t n = 0;

    if (sl_has_prefix(at, SL("!--"))) {
        *in = skip_comment(sl_from(at, 1)); /* "<!-->" is a whole one */
        return true;
    }
    if (sl_starts(at, '!') || sl_starts(at, '?')) {
        *in = skip_tag(at);
        return true;
    }
    is_end = sl_take_char(&at, '/');
    while (n < at.n && n <= TAG_NAME_MAX_OCTETS && sl_is_alnum_char(at.p[n]))
        n++;
    if (n == 0)
        return false;
    name = sl_head(at, n);
    at = skip_tag(sl_from(at, n));
    if (is_in(lines, COUNT_OF(lines), name))
        w->line = true;
    else if (is_in(blanks, COUNT_OF(blanks), name))
        w->space = true;
    else if (!is_end && is_in(hidden, COUNT_OF(hidden), name))
        at = skip_hidden(at, name);
    *in = at;
    return true;
}

void
mime_html_to_text(struct slice html, size_t max_octets, struct buf *out)
{
    struct writer w = { .out = out, .start = out->n, .max = max_octets };

    while (html.n > 0 && !is_full(&w)) {
        size_t n = 0;
        uint32_t cp;

        if (html.p[0] == '<' && take_tag(&html, &w))
            continue;
        if (html.p[0] == '&' && (cp = take_reference(&html)) != 0) {
            put(&w, cp);
            continue;
        }
        for (n = 1; n < html.n && html.p[n] != '<' && html.p[n] != '&';)
            n++;
        put_text(&w, sl_head(html, n));
        html = sl_from(html, n);
    }
}

/* ---- charset ---- */

enum { META_OCTETS = 2048 };

/* What the page itself says: <meta charset=x> or <meta ... content="text/html; charset=x">. p NULL: nothing. */
struct slice
mime_html_charset(struct slice html)
{
    struct slice at = sl_head(html, META_OCTETS), value, name;
    size_t found;

    while ((found = sl_ifind(at, SL("charset"))) != SL_NPOS) {
        at = sl_from(at, found + strlen("charset"));
        value = sl_trim(at);
        if (sl_take_char(&value, '=') && sl_take_word(&value, " \t\r\n\"'>;/", &name))
            return name;
    }
    return sl_n(NULL, 0);
}
