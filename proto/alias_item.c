/* proto/alias_item.c - see alias_item.h. An item is taken in two steps: where does it end, and what is it. */
#include "proto/alias_item.h"

#include <string.h>

static bool
is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Past "..." or (...), which begins at `at`. SL_NPOS: it has no end. */
static size_t
skip_quoted(struct slice s, size_t at)
{
    for (at++; at < s.n; at++) {
        if (s.p[at] == '\\')
            at++;
        else if (s.p[at] == '"')
            return at + 1;
    }
    return SL_NPOS;
}

static size_t
skip_comment(struct slice s, size_t at)
{
    size_t depth = 0;

    for (; at < s.n; at++) {
        if (s.p[at] == '\\')
            at++;
        else if (s.p[at] == '(')
            depth++;
        else if (s.p[at] == ')' && --depth == 0)
            return at + 1;
    }
    return SL_NPOS;
}

/* White space, commas and comments in front. False: a comment has no end. */
static bool
skip_between(struct slice *in)
{
    while (in->n > 0) {
        size_t end;

        if (is_separator(in->p[0])) {
            *in = sl_from(*in, 1);
            continue;
        }
        if (!sl_starts(*in, '('))
            break;
        end = skip_comment(*in, 0);
        if (end == SL_NPOS)
            return false;
        *in = sl_from(*in, end);
    }
    return true;
}

/* The end of a word: quoted strings in it are a part of it. SL_NPOS: one has no end. */
static size_t
word_end(struct slice s)
{
    size_t at = 0;

    while (at < s.n && !is_separator(s.p[at]) && s.p[at] != '(' && s.p[at] != '<') {
        if (s.p[at] == '"')
            at = skip_quoted(s, at);
        else
            at += s.p[at] == '\\' && at + 1 < s.n ? 2 : 1;
        if (at == SL_NPOS)
            return SL_NPOS;
    }
    return at;
}

/* "<joe@x>" behind what may be a phrase: "Joe User <joe@x>". The phrase ends at a comma or a line's end. */
static bool
take_bracketed(struct slice *in, struct slice *addr)
{
    struct slice at = *in, word;

    while (at.n > 0 && at.p[0] != ',' && at.p[0] != '\n') {
        size_t end;

        if (sl_starts(at, '<')) {
            at = sl_from(at, 1);
            for (end = 0; end < at.n && at.p[end] != '>'; end++)
                if (at.p[end] == '"') {
                    end = skip_quoted(at, end);
                    if (end == SL_NPOS)
                        return false;
                    end--;
                }
            if (end >= at.n)
                return false;
            *addr = sl_trim(sl_head(at, end));
            *in = sl_from(at, end + 1);
            return true;
        }
        end = sl_starts(at, '(') ? skip_comment(at, 0) : is_separator(at.p[0]) ? 1 : word_end(at);
        if (end == SL_NPOS)
            return false;
        word = sl_head(at, end);
        if (sl_find_char(word, '@') != SL_NPOS && !sl_starts(word, '"') && !sl_starts(word, '('))
            return false; /* an address, and no phrase */
        at = sl_from(at, end);
    }
    return false;
}

/* Without quotes, "\x" as x. */
static struct slice
unquote(struct slice word, struct arena *mem)
{
    char *p = arena_alloc(mem, word.n + 1);
    size_t n = 0;

    for (size_t i = 0; p && i < word.n; i++) {
        if (word.p[i] == '"')
            continue;
        if (word.p[i] == '\\' && i + 1 < word.n)
            i++;
        p[n++] = word.p[i] == '\t' ? ' ' : word.p[i];
    }
    return sl_n(p, n);
}

static bool
is_good_target(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && s.n <= ALIAS_TARGET_OCTETS_MAX;
}

static enum alias_rc
take_target(struct slice text, enum alias_kind kind, struct alias_item *out)
{
    out->kind = kind;
    out->text = sl_trim(text);
    return is_good_target(out->text) ? ALIAS_ITEM : ALIAS_BAD;
}

enum alias_rc
alias_item_take(struct slice *in, struct arena *mem, struct alias_item *out)
{
    struct slice text;
    size_t end;

    *out = (struct alias_item){ .kind = ALIAS_ADDRESS };
    if (!skip_between(in))
        return ALIAS_BAD;
    if (in->n == 0)
        return ALIAS_END;
    end = word_end(*in);
    if (end == SL_NPOS)
        return ALIAS_BAD;
    text = unquote(sl_head(*in, end), mem);
    if (text.p == NULL)
        return ALIAS_BAD;
    if (sl_starts(text, '|') || sl_starts(text, '/') || sl_has_iprefix(text, SL(":include:"))) {
        /* Brackets and comments are a command's own. */
        for (end = 0; end < in->n && !is_separator(in->p[end]);)
            end = in->p[end] == '"' ? skip_quoted(*in, end)
                                    : end + (in->p[end] == '\\' && end + 1 < in->n ? 2 : 1);
        if (end == SL_NPOS)
            return ALIAS_BAD;
        text = unquote(sl_head(*in, end), mem);
        *in = sl_from(*in, end);
        if (text.p == NULL)
            return ALIAS_BAD;
        if (sl_take_char(&text, '|'))
            return take_target(text, ALIAS_COMMAND, out);
        if (sl_take_iprefix(&text, SL(":include:")))
            return take_target(text, ALIAS_INCLUDE, out);
        return take_target(text, ALIAS_FILE, out);
    }
    if (take_bracketed(in, &out->text))
        return out->text.n > 0 ? ALIAS_ITEM : ALIAS_BAD;
    if (end == 0)
        return ALIAS_BAD; /* a < without its end */
    out->text = sl_head(*in, end);
    *in = sl_from(*in, end);
    out->as_is = sl_take_char(&out->text, '\\');
    return out->text.n > 0 ? ALIAS_ITEM : ALIAS_BAD;
}
