/* session/words.c - see words.h. */
#include "session/words.h"

#include "base/mem.h"
#include "session/domlist.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORDS_PATTERNS_MAX = 100, WORDS_OCTETS = 256 /* of a word are looked at */ };

struct pattern {
    regex_t re;
    bool is_not;
};
struct word_item {
    const char *text; /* a name or a table */
    bool is_not, is_table, is_any;
    struct pattern *patterns; /* of an inline regexp:, instead */
    size_t n_patterns;
};
struct words {
    size_t n;
    struct word_item v[];
};

/* "{...}" at the front of *in; what is inside. */
static bool
take_group(struct slice *in, struct slice *body)
{
    size_t level = 0;

    *in = sl_trim(*in);
    sl_take_char(in, ',');
    *in = sl_trim(*in);
    for (size_t i = 0; i < in->n; i++) {
        if (in->p[i] == '{') {
            level++;
        } else if (in->p[i] == '}' && --level == 0) {
            *body = sl_trim(sl_n(in->p + 1, i - 1));
            *in = sl_from(*in, i + 1);
            return true;
        }
        if (level == 0)
            return false;
    }
    return false;
}

/* "/pattern/flags result" or "!/pattern/flags result": regexp_table(5). */
static int
compile(struct slice rule, struct pattern *out, struct err *e)
{
    int flags = REG_EXTENDED | REG_ICASE | REG_NOSUB, rc;
    size_t end = 1;
    char *text;

    out->is_not = sl_take_char(&rule, '!');
    while (end < rule.n && rule.p[end] != rule.p[0])
        end++;
    if (end >= rule.n)
        return err_set(e, ERR_CONFIG, "cannot read the pattern \"%.*s\"", SL_ARG(rule));
    for (size_t i = end + 1; i < rule.n && rule.p[i] != ' ' && rule.p[i] != '\t'; i++)
        flags ^= rule.p[i] == 'i' ? REG_ICASE : rule.p[i] == 'x' ? REG_EXTENDED : 0;
    text = sl_dupz(sl_n(rule.p + 1, end - 1));
    rc = regcomp(&out->re, text, flags);
    if (rc)
        err_set(e, ERR_CONFIG, "the pattern \"%s\" is none", text);
    free(text);
    return rc ? -1 : 0;
}

static int
set_patterns(struct word_item *w, struct slice body, struct err *e)
{
    struct slice rules, rule;

    if (!take_group(&body, &rules) || body.n > 0)
        return err_set(e, ERR_CONFIG, "expected {{/pattern/ result}, ...}");
    w->patterns = mem_zalloc(WORDS_PATTERNS_MAX * sizeof(*w->patterns));
    while (take_group(&rules, &rule)) {
        if (w->n_patterns == WORDS_PATTERNS_MAX)
            return err_set(e, ERR_CONFIG, "more than %d patterns", WORDS_PATTERNS_MAX);
        if (compile(rule, &w->patterns[w->n_patterns], e))
            return -1;
        w->n_patterns++;
    }
    if (rules.n > 0)
        return err_set(e, ERR_CONFIG, "cannot read \"%.*s\"", SL_ARG(rules));
    return 0;
}

static int
set_item(struct word_item *w, const char *text, struct err *e)
{
    struct slice s = sl_z(text);

    w->is_not = sl_take_char(&s, '!');
    w->text = text + w->is_not;
    if (sl_has_prefix(s, SL("regexp:{")))
        return set_patterns(w, sl_from(s, 7), e);
    if (sl_has_prefix(s, SL("pcre:{")))
        return err_set(e, ERR_CONFIG, "pcre: is not supported; use regexp: with POSIX patterns");
    w->is_any = sl_has_prefix(s, SL("static:"));
    w->is_table = !w->is_any && domlist_is_table(w->text);
    return 0;
}

int
words_init(struct words **out, const char *param, struct conf_list items, struct err *e)
{
    struct err why = { 0 };

    *out = NULL;
    if (items.n == 0)
        return 0;
    *out = mem_zalloc(sizeof(**out) + items.n * sizeof((*out)->v[0]));
    for (; (*out)->n < items.n; (*out)->n++)
        if (set_item(&(*out)->v[(*out)->n], items.v[(*out)->n], &why)) {
            (*out)->n++;
            err_set(e, ERR_CONFIG, "%s: %s: %s", param, items.v[(*out)->n - 1], why.msg);
            words_free(out);
            return -1;
        }
    return 0;
}

void
words_free(struct words **wp)
{
    struct words *w = *wp;

    *wp = NULL;
    for (size_t i = 0; w && i < w->n; i++) {
        for (size_t k = 0; k < w->v[i].n_patterns; k++)
            regfree(&w->v[i].patterns[k].re);
        free(w->v[i].patterns);
    }
    free(w);
}

bool
words_has_table(const struct words *w)
{
    for (size_t i = 0; w && i < w->n; i++)
        if (w->v[i].is_table)
            return true;
    return false;
}

static bool
fits(const struct word_item *w, struct slice word)
{
    char text[WORDS_OCTETS + 1];

    if (w->is_any)
        return true;
    if (w->patterns == NULL)
        return sl_ieqz(word, w->text);
    snprintf(text, sizeof text, "%.*s", SL_ARG(word));
    for (size_t k = 0; k < w->n_patterns; k++)
        if ((regexec(&w->patterns[k].re, text, 0, NULL, 0) == 0) != w->patterns[k].is_not)
            return true;
    return false;
}

enum words_rc
words_match(const struct words *w, struct slice word, size_t *at, const char **table)
{
    for (; w && *at < w->n; ++*at) {
        const struct word_item *i = &w->v[*at];

        if (i->is_table) {
            *table = i->text;
            return i->is_not ? WORDS_ASK_NOT : WORDS_ASK;
        }
        if (fits(i, word))
            return i->is_not ? WORDS_NO : WORDS_YES;
    }
    return WORDS_NO;
}
