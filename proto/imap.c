/* proto/imap.c - see imap.h: tokens, sets, flags, writing. */
#include "proto/imap.h"

#include "base/mem.h"
#include "base/utf8.h"

/* atom-specials and the controls out, RFC 3501 §9. Octets above 127 are let in: clients send them in mailbox names
 * and the name's decoder answers for them. */
bool
imap_is_atom_char(char c)
{
    unsigned char u = (unsigned char)c;

    return u > 0x20 && u != 0x7f && !strchr("(){%*\"\\]", c);
}

static bool
is_astring_char(char c)
{
    return imap_is_atom_char(c) || c == ']';
}

static bool
is_list_char(char c)
{
    return is_astring_char(c) || c == '%' || c == '*';
}

static bool
is_tag_char(char c)
{
    return is_astring_char(c) && c != '+';
}

/* One or more octets that `is` allows. */
static bool
take_run(struct slice *in, bool (*is)(char), struct slice *out)
{
    size_t n = 0;

    while (n < in->n && is(in->p[n]))
        n++;
    if (n == 0)
        return false;
    *out = sl_head(*in, n);
    *in = sl_from(*in, n);
    return true;
}

enum parse_rc
imap_take_tag(struct slice *in, struct slice *tag, struct err *e)
{
    struct slice at = *in, run;

    if (!take_run(&at, is_tag_char, &run) || run.n > IMAP_TAG_MAX_OCTETS ||
        (at.n > 0 && at.p[0] != ' '))
        return err_parse(e, "expected a tag");
    *tag = run;
    *in = at;
    return PARSE_OK;
}

enum parse_rc
imap_take_sp(struct slice *in, struct err *e)
{
    return sl_take_char(in, ' ') ? PARSE_OK : err_parse(e, "expected a space");
}

enum parse_rc
imap_take_end(struct slice *in, struct err *e)
{
    return in->n == 0 ? PARSE_OK : err_parse(e, "expected the end of the command");
}

enum parse_rc
imap_take_atom(struct slice *in, struct slice *out, struct err *e)
{
    return take_run(in, imap_is_atom_char, out) ? PARSE_OK : err_parse(e, "expected an atom");
}

/* DQUOTE *QUOTED-CHAR DQUOTE; only '"' and '\' may be escaped. */
static enum parse_rc
take_quoted(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    struct slice at = sl_from(*in, 1), raw;
    size_t n = 0, escapes = 0;
    char *to;

    while (n < at.n && at.p[n] != '"') {
        if (at.p[n] == '\\') {
            if (n + 1 >= at.n || (at.p[n + 1] != '"' && at.p[n + 1] != '\\'))
                return err_parse(e, "bad escape in a quoted string");
            escapes++;
            n++;
        } else if (at.p[n] == '\r' || at.p[n] == '\n') {
            return err_parse(e, "line end in a quoted string");
        }
        n++;
    }
    if (n >= at.n)
        return err_parse(e, "missing '\"'");
    raw = sl_head(at, n);
    *in = sl_from(at, n + 1);
    *out = raw;
    if (escapes == 0)
        return PARSE_OK;
    to = arena_alloc(mem, n);
    if (!to)
        return err_parse(e, "command too long");
    *out = sl_n(to, n - escapes);
    for (size_t i = 0; i < raw.n; i++) {
        if (raw.p[i] == '\\')
            i++;
        *to++ = raw.p[i];
    }
    return PARSE_OK;
}

/* "{" number ["+"] "}" CRLF octets; the framer has seen to it that they are there. */
static enum parse_rc
take_literal(struct slice *in, struct slice *out, struct err *e)
{
    struct slice at = *in;
    uint64_t n;

    if (!sl_take_char(&at, '{') || !sl_take_u64(&at, &n))
        return err_parse(e, "expected a string");
    sl_take_char(&at, '+');
    if (!sl_take_prefix(&at, SL("}\r\n")) || n > at.n)
        return err_parse(e, "bad literal");
    *out = sl_head(at, (size_t)n);
    if (sl_find_char(*out, '\0') != SL_NPOS)
        return err_parse(e, "NUL in a literal");
    *in = sl_from(at, (size_t)n);
    return PARSE_OK;
}

enum parse_rc
imap_take_string(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    if (sl_starts(*in, '"'))
        return take_quoted(in, mem, out, e);
    return take_literal(in, out, e);
}

static enum parse_rc
take_run_or_string(struct slice *in, bool (*is)(char), struct arena *mem, struct slice *out,
                   struct err *e)
{
    if (take_run(in, is, out))
        return PARSE_OK;
    return imap_take_string(in, mem, out, e);
}

enum parse_rc
imap_take_astring(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    return take_run_or_string(in, is_astring_char, mem, out, e);
}

enum parse_rc
imap_take_list_mailbox(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    return take_run_or_string(in, is_list_char, mem, out, e);
}

enum parse_rc
imap_take_nstring(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    if (imap_take_keyword(in, "NIL")) {
        *out = sl_n(NULL, 0);
        return PARSE_OK;
    }
    return imap_take_string(in, mem, out, e);
}

enum parse_rc
imap_take_nstring8(struct slice *in, struct arena *mem, struct slice *out, struct err *e)
{
    struct slice at = *in;
    uint64_t n;

    if (!sl_take_prefix(&at, SL("~{")))
        return imap_take_nstring(in, mem, out, e);
    if (!sl_take_u64(&at, &n) || !sl_take_prefix(&at, SL("}\r\n")) || n > at.n)
        return err_parse(e, "bad literal");
    *out = sl_head(at, (size_t)n);
    *in = sl_from(at, (size_t)n);
    return PARSE_OK;
}

enum parse_rc
imap_take_number(struct slice *in, uint64_t max, uint64_t *out, struct err *e)
{
    struct slice at = *in;

    if (!sl_take_u64(&at, out) || *out > max)
        return err_parse(e, "expected a number up to %llu", (unsigned long long)max);
    *in = at;
    return PARSE_OK;
}

bool
imap_take_keyword(struct slice *in, const char *word)
{
    struct slice at = *in;

    if (!sl_take_iprefix(&at, sl_z(word)) || (at.n > 0 && imap_is_atom_char(at.p[0])))
        return false;
    *in = at;
    return true;
}

bool
imap_line_literal(struct slice line, uint64_t *octets, bool *is_sync, size_t *at)
{
    size_t brace = sl_rfind_char(line, '{');
    struct slice s;

    if (brace == SL_NPOS || !sl_ends(line, '}'))
        return false;
    s = sl_from(line, brace + 1);
    if (!sl_take_u64(&s, octets))
        return false;
    *is_sync = !sl_take_char(&s, '+');
    *at = brace > 0 && line.p[brace - 1] == '~' ? brace - 1 : brace;
    return s.n == 1;
}

bool
imap_line_ends_quoted(struct slice line)
{
    bool is_quoted = false;

    for (size_t i = 0; i < line.n; i++) {
        if (line.p[i] == '"')
            is_quoted = !is_quoted;
        else if (is_quoted && line.p[i] == '\\')
            i++;
    }
    return is_quoted;
}

/* ---- sequence sets ---- */

/* seq-number = nz-number / "*" */
static bool
take_seq_number(struct slice *in, uint32_t *out)
{
    struct slice at = *in;
    uint64_t n;

    if (sl_take_char(in, '*')) {
        *out = IMAP_STAR;
        return true;
    }
    if (!sl_take_u64(&at, &n) || n == 0 || n > UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    *in = at;
    return true;
}

enum parse_rc
imap_take_set(struct slice *in, struct arena *mem, struct imap_set *out, struct err *e)
{
    struct slice at = *in;
    size_t most = 1;

    for (size_t i = 0; i < at.n && is_list_char(at.p[i]); i++)
        most += at.p[i] == ',';
    *out = (struct imap_set){ 0 };
    if (imap_take_keyword(in, "$")) {
        out->is_saved = true;
        return PARSE_OK;
    }
    out->v = arena_alloc(mem, most * sizeof(*out->v));
    if (!out->v)
        return err_parse(e, "message set too long");
    do {
        struct imap_range *r = &out->v[out->n];

        if (out->n == most || !take_seq_number(&at, &r->first))
            return err_parse(e, "Invalid messageset");
        r->last = r->first;
        if (sl_take_char(&at, ':') && !take_seq_number(&at, &r->last))
            return err_parse(e, "Invalid messageset");
        out->n++;
    } while (sl_take_char(&at, ','));
    if (at.n > 0 && is_list_char(at.p[0]))
        return err_parse(e, "Invalid messageset");
    *in = at;
    return PARSE_OK;
}

/* ---- flags ---- */

/* In the order in which Dovecot tells them. */
static const struct {
    const char *name;
    uint32_t flag;
} sys_flags[] = {
    { "\\Answered", IMAP_ANSWERED }, { "\\Flagged", IMAP_FLAGGED }, { "\\Deleted", IMAP_DELETED },
    { "\\Seen", IMAP_SEEN },         { "\\Draft", IMAP_DRAFT },     { "\\Recent", IMAP_RECENT },
};

void
imap_add_sys_flags(struct buf *out, uint32_t sys, bool *is_first)
{
    for (size_t i = 0; i < COUNT_OF(sys_flags); i++) {
        if (!(sys & sys_flags[i].flag))
            continue;
        if (!*is_first)
            buf_addc(out, ' ');
        *is_first = false;
        buf_addz(out, sys_flags[i].name);
    }
}

static enum parse_rc
take_flag(struct slice *in, struct imap_flags *f, struct err *e)
{
    struct slice at = *in, word;
    bool is_sys = sl_take_char(&at, '\\');

    if (!take_run(&at, imap_is_atom_char, &word))
        return err_parse(e, "expected a flag");
    if (!is_sys) {
        f->keywords[f->n_keywords++] = word;
        *in = at;
        return PARSE_OK;
    }
    for (size_t i = 0; i < COUNT_OF(sys_flags); i++)
        if (sys_flags[i].flag != IMAP_RECENT && sl_ieqz(word, sys_flags[i].name + 1)) {
            f->sys |= sys_flags[i].flag;
            *in = at;
            return PARSE_OK;
        }
    return err_parse(e, "Invalid system flag \\%.*s", SL_ARG(sl_head(word, 40)));
}

enum parse_rc
imap_take_flags(struct slice *in, bool is_bare_allowed, struct arena *mem, struct imap_flags *out,
                struct err *e)
{
    struct slice at = *in;
    bool is_list = sl_take_char(&at, '(');
    size_t most = 1;

    if (!is_list && !is_bare_allowed)
        return err_parse(e, "expected '('");
    for (size_t i = 0; i < at.n && at.p[i] != ')'; i++)
        most += at.p[i] == ' ';
    if (most > IMAP_LIST_MAX)
        return err_parse(e, "too many flags");
    *out = (struct imap_flags){ .keywords = arena_alloc(mem, most * sizeof(*out->keywords)) };
    if (!out->keywords)
        return err_parse(e, "command too long");
    if (is_list && sl_take_char(&at, ')')) {
        *in = at;
        return PARSE_OK;
    }
    do {
        *in = at;
        if (take_flag(&at, out, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(&at, ' '));
    *in = at;
    if (is_list && !sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    return PARSE_OK;
}

/* ---- writing ---- */

enum { QUOTED_MAX = 1000 }; /* longer strings go as literals: clients have line limits too */

static bool
is_quotable(struct slice s, bool is_utf8)
{
    bool has_8bit = false;

    if (s.n > QUOTED_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\0' || s.p[i] == '\r' || s.p[i] == '\n')
            return false;
        has_8bit = has_8bit || (unsigned char)s.p[i] >= 0x80;
    }
    return !has_8bit || (is_utf8 && utf8_is_valid(s));
}

static void
add_nstring(struct buf *out, struct slice s, bool is_utf8)
{
    if (!s.p) {
        buf_addz(out, "NIL");
        return;
    }
    if (!is_quotable(s, is_utf8)) {
        buf_addf(out, "{%zu}\r\n", s.n);
        buf_adds(out, s);
        return;
    }
    buf_addc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_addc(out, '\\');
        buf_addc(out, s.p[i]);
    }
    buf_addc(out, '"');
}

void
imap_add_nstring(struct buf *out, struct slice s)
{
    add_nstring(out, s, false);
}

static void
add_astring(struct buf *out, struct slice s, bool is_utf8)
{
    bool is_bare = s.n > 0 && !sl_ieqz(s, "NIL");

    for (size_t i = 0; i < s.n && is_bare; i++)
        is_bare = imap_is_atom_char(s.p[i]) && (unsigned char)s.p[i] < 0x80;
    if (is_bare)
        buf_adds(out, s);
    else
        add_nstring(out, s.p ? s : SL(""), is_utf8);
}

void
imap_add_astring(struct buf *out, struct slice s)
{
    add_astring(out, s, false);
}

void
imap_add_utf8_astring(struct buf *out, struct slice s)
{
    add_astring(out, s, true);
}

void
imap_add_text(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
}

void
imap_add_number_set(struct buf *out, const uint32_t *v, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t last = i;

        while (last + 1 < n && v[last + 1] == v[last] + 1)
            last++;
        if (i > 0)
            buf_addc(out, ',');
        buf_addf(out, "%u", v[i]);
        if (last > i)
            buf_addf(out, ":%u", v[last]);
        i = last + 1;
    }
}
