/* proto/smtp_words.c */
#include "proto/smtp_words.h"

enum { NEST_MAX = 64 };

static bool
is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Past the bracket or quote that `open` began at s.p[at - 1]. Inside "<...>" quotes and more "<" nest; a backslash
 * hides the next octet. *is_open is set when the end of the line comes first. */
static size_t
skip_quoted(struct slice s, size_t at, char close, bool *is_open)
{
    char wanted[NEST_MAX] = { close };
    size_t depth = 1;

    while (at < s.n) {
        char c = s.p[at++];

        if (c == '\\') {
            at += at < s.n;
        } else if (c == wanted[depth - 1]) {
            if (--depth == 0)
                return at;
        } else if (c == '"' || (c == '<' && wanted[depth - 1] == '>')) {
            if (depth == NEST_MAX)
                break;
            wanted[depth++] = c == '"' ? '"' : '>';
        }
    }
    *is_open = true;
    return s.n;
}

static bool
is_verb_colon(struct slice w)
{
    return sl_ieq(w, SL("to:")) || sl_ieq(w, SL("from:"));
}

static bool
take_word(struct slice s, size_t *at, struct smtp_word *out)
{
    size_t i = *at, from;

    while (i < s.n && is_space(s.p[i]))
        i++;
    from = i;
    out->is_open = false;
    while (i < s.n && !is_space(s.p[i])) {
        char c = s.p[i++];

        if (c == '<' || c == '"')
            i = skip_quoted(s, i, c == '<' ? '>' : '"', &out->is_open);
        else if (c == '\\')
            i += i < s.n;
        else if (c == ':' && is_verb_colon(sl_n(s.p + from, i - from)))
            break;
    }
    out->s = sl_n(s.p + from, i - from);
    *at = i;
    return i > from;
}

void
smtp_words_split(struct slice line, struct smtp_words *out)
{
    struct smtp_word extra;
    size_t nul = sl_find_char(line, '\0'), at = 0;

    if (nul != SL_NPOS)
        line.n = nul;
    for (out->n = 0; out->n < SMTP_WORDS_MAX && take_word(line, &at, &out->w[out->n]);)
        out->n++;
    while (out->n == SMTP_WORDS_MAX && take_word(line, &at, &extra)) {
        struct smtp_word *last = &out->w[SMTP_WORDS_MAX - 1];

        last->s.n = (size_t)(extra.s.p + extra.s.n - last->s.p);
    }
}

struct slice
smtp_words_rest(const struct smtp_words *w, size_t i)
{
    const struct slice *last;

    if (i >= w->n)
        return SL("");
    last = &w->w[w->n - 1].s;
    return sl_n(w->w[i].s.p, (size_t)(last->p + last->n - w->w[i].s.p));
}

bool
smtp_word_is_header(struct slice word)
{
    size_t colon = sl_find_char(word, ':');

    if (colon == SL_NPOS || colon == 0)
        return false;
    for (size_t i = 0; i < colon; i++)
        if (word.p[i] <= ' ' || word.p[i] > '~')
            return false;
    return true;
}
