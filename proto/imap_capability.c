/* proto/imap_capability.c - see imap_capability.h. */
#include "proto/imap_capability.h"

#include "proto/imap_id.h"

static const char spaces[] = " \t\r\n,";

bool
imap_capability_has(struct slice list, const char *name)
{
    struct slice word;

    while (sl_take_word(&list, spaces, &word))
        if (sl_ieqz(word, name))
            return true;
    return false;
}

static void
add(struct buf *list, struct slice name)
{
    if (name.n == 0)
        return;
    if (list->n > 0)
        buf_addc(list, ' ');
    buf_adds(list, name);
}

/* The list without that name. */
static void
take_away(struct buf *list, struct slice name)
{
    struct slice in = buf_slice(list), word;
    struct buf left = { 0 };

    while (sl_take_word(&in, spaces, &word))
        if (!sl_ieq(word, name))
            add(&left, word);
    buf_free(list);
    *list = left;
}

static bool
is_name(struct slice word)
{
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] <= ' ' || word.p[i] > '~' || strchr("(){%*\"\\]", word.p[i]))
            return false;
    return true;
}

bool
imap_capability_ok(struct slice setting, struct slice *bad)
{
    while (sl_take_word(&setting, spaces, bad))
        if (!is_name(*bad))
            return false;
    return true;
}

void
imap_capability_apply(struct buf *list, struct slice setting)
{
    struct slice in = setting, word;
    bool is_new = false;

    while (sl_take_word(&in, spaces, &word)) {
        char sign = word.p[0];

        if (!is_name(word))
            continue;
        if (sign == '+' || sign == '-') {
            word = sl_from(word, 1);
        } else if (!is_new) {
            buf_reset(list);
            is_new = true;
        }
        take_away(list, word); /* each once */
        if (sign != '-')
            add(list, word);
    }
}

/* ---- by client ---- */

/* '*' any octets, '?' one; without ASCII case. Goes back to the last star only, so the time is bounded. */
static bool
fits(struct slice pattern, struct slice s)
{
    size_t p = 0, at = 0, star = SL_NPOS, star_at = 0;

    while (at < s.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            star_at = at;
        } else if (p < pattern.n &&
                   (pattern.p[p] == '?' || sl_lower_char(pattern.p[p]) == sl_lower_char(s.p[at]))) {
            p++;
            at++;
        } else if (star != SL_NPOS) {
            p = star + 1;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

/* The next word of a rule; one that has '=' may go on in quotes. */
static bool
take_rule_word(struct slice *in, struct slice *field, struct slice *rest)
{
    size_t n = 0;

    *in = sl_trim(*in);
    if (in->n == 0)
        return false;
    while (n < in->n && in->p[n] != ' ' && in->p[n] != '\t' && in->p[n] != '=')
        n++;
    *field = sl_head(*in, n);
    *in = sl_from(*in, n);
    *rest = sl_n(NULL, 0);
    if (!sl_take_char(in, '='))
        return true;
    if (sl_take_char(in, '"'))
        return sl_take_until(in, '"', rest);
    for (n = 0; n < in->n && in->p[n] != ' ' && in->p[n] != '\t'; n++)
        ;
    *rest = sl_n(in->p ? in->p : "", n);
    *in = sl_from(*in, n);
    return true;
}

static bool
id_fits(const struct imap_id *id, struct slice field, struct slice pattern)
{
    for (size_t i = 0; i < id->n; i++)
        if (sl_ieq(id->v[i].key, field))
            return fits(pattern, id->v[i].value);
    return false;
}

static bool
is_change(struct slice field, struct slice rest)
{
    return field.n > 1 && (field.p[0] == '+' || field.p[0] == '-') && rest.p == NULL;
}

/* A name like THREAD=REFS has an '=' too: a change is put together again. */
static bool
take_rule_part(struct slice *in, struct slice *field, struct slice *rest)
{
    struct slice was = sl_trim(*in);

    if (!take_rule_word(in, field, rest))
        return false;
    if ((sl_starts(was, '+') || sl_starts(was, '-')) && rest->p) {
        *field = sl_n(was.p, (size_t)(rest->p + rest->n - was.p));
        *rest = sl_n(NULL, 0);
    }
    return true;
}

static void
apply_rule(struct slice rule, const struct imap_id *id, struct buf *setting)
{
    struct slice in = rule, field, rest;
    bool has_pattern = false;

    while (take_rule_part(&in, &field, &rest)) {
        if (is_change(field, rest))
            continue;
        if (!id_fits(id, field, rest))
            return;
        has_pattern = true;
    }
    for (in = rule; has_pattern && take_rule_part(&in, &field, &rest);)
        if (is_change(field, rest))
            add(setting, field);
}

/* Quotes may hold a ';'. */
static bool
take_rule(struct slice *rules, struct slice *rule)
{
    bool is_quoted = false;
    size_t n;

    if (rules->n == 0)
        return false;
    for (n = 0; n < rules->n && (is_quoted || rules->p[n] != ';'); n++)
        is_quoted ^= rules->p[n] == '"';
    *rule = sl_head(*rules, n);
    *rules = sl_from(*rules, n + 1);
    return true;
}

void
imap_capability_by_id(struct slice rules, const struct imap_id *id, struct buf *setting)
{
    struct slice rule;

    while (take_rule(&rules, &rule))
        apply_rule(rule, id, setting);
}

bool
imap_capability_rules_ok(struct slice rules, struct slice *bad)
{
    struct slice rule, field, rest;

    while (take_rule(&rules, &rule)) {
        bool has_pattern = false, has_change = false;

        *bad = sl_trim(rule);
        if (bad->n == 0)
            continue;
        while (take_rule_part(&rule, &field, &rest)) {
            if (!is_change(field, rest) && (rest.p == NULL || field.n == 0)) {
                *bad = field;
                return false;
            }
            has_pattern |= !is_change(field, rest);
            has_change |= is_change(field, rest);
        }
        if (!has_pattern || !has_change || sl_trim(rule).n > 0)
            return false;
    }
    return true;
}
