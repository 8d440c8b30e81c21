/* auth/table_regexp.c - regexp: POSIX patterns, first match wins, as regexp_table(5) says: /pattern/flags value, with
 * $1 or ${1} in the value, "!/pattern/" and if/endif. Flags i (toggle, on at first), m (toggle), x (toggle, extended at
 * first). pcre: is refused: its patterns mean other things, and guessing would let mail pass or not. */
#include "auth/table_lines.h"

#include "base/mem.h"

#include <regex.h>
#include <stdlib.h>

enum { REGEXP_GROUPS = 10 };

enum regexp_op { REGEXP_MATCH, REGEXP_IF, REGEXP_ENDIF };

struct regexp_rule {
    enum regexp_op op;
    bool is_negated, has_re;
    bool has_groups; /* the value wants to know what they matched, which costs time */
    regex_t re;
    char *value;
};
struct regexp_table {
    struct table_file file;
    struct regexp_rule *rules;
    size_t n, cap;
    struct buf key; /* what is being looked up, with a NUL behind it: sanitizers want one */
};

/* The pattern between delimiters (any octet; a backslash keeps the next one), then its flags. */
static int
take_pattern(struct slice *line, struct regexp_rule *r, struct err *e)
{
    int flags = REG_EXTENDED | REG_ICASE;
    struct slice in = *line;
    struct buf pattern = { 0 };
    char delim, msg[128];
    size_t i = 1;
    int rc;

    if (in.n < 2)
        return err_set(e, ERR_CONFIG, "a pattern is missing");
    delim = in.p[0];
    for (; i < in.n && in.p[i] != delim; i++) {
        if (in.p[i] == '\\' && i + 1 < in.n) {
            if (in.p[i + 1] != delim)
                buf_addc(&pattern, '\\');
            i++;
        }
        buf_addc(&pattern, in.p[i]);
    }
    if (i >= in.n) {
        buf_free(&pattern);
        return err_set(e, ERR_CONFIG, "the pattern has no end '%c'", delim);
    }
    for (i++; i < in.n && in.p[i] != ' ' && in.p[i] != '\t'; i++) {
        if (in.p[i] == 'i')
            flags ^= REG_ICASE;
        else if (in.p[i] == 'm')
            flags ^= REG_NEWLINE;
        else if (in.p[i] == 'x')
            flags ^= REG_EXTENDED;
        else
            break;
    }
    rc = regcomp(&r->re, buf_z(&pattern), flags);
    buf_free(&pattern);
    if (rc) {
        regerror(rc, NULL, msg, sizeof msg);
        return err_set(e, ERR_CONFIG, "%s", msg);
    }
    r->has_re = true;
    if (i < in.n && in.p[i] != ' ' && in.p[i] != '\t')
        return err_set(e, ERR_CONFIG, "unknown flag '%c'", in.p[i]);
    *line = sl_trim(sl_from(in, i));
    return 0;
}

static int
add_rule(void *state, struct slice line, unsigned number, struct err *e)
{
    struct regexp_table *x = state;
    struct regexp_rule *r;

    x->rules = mem_grow(x->rules, &x->cap, x->n + 1, sizeof *x->rules);
    r = &x->rules[x->n++];
    *r = (struct regexp_rule){ .op = REGEXP_MATCH };
    if (sl_ieqz(line, "endif")) {
        r->op = REGEXP_ENDIF;
        return 0;
    }
    if (sl_has_iprefix(line, SL("if")) && line.n > 2 && !sl_is_alnum_char(line.p[2])) {
        r->op = REGEXP_IF;
        line = sl_trim(sl_from(line, 2));
    }
    while (sl_take_char(&line, '!'))
        r->is_negated = !r->is_negated;
    if (take_pattern(&line, r, e) < 0)
        return err_prefix(e, "%s, line %u", x->file.path, number);
    if (r->op == REGEXP_MATCH && line.n == 0)
        return err_set(e, ERR_CONFIG, "%s, line %u: a value is missing", x->file.path, number);
    r->value = sl_dupz(line);
    r->has_groups = sl_find_char(line, '$') != SL_NPOS;
    return 0;
}

static int
regexp_open(struct table *t, struct err *e)
{
    struct regexp_table *x = MEM_NEW(struct regexp_table);

    t->state = x;
    return table_file_rules(&x->file, t, add_rule, x, e);
}

/* $1, ${1}, $(1) and $$. */
static void
expand(const char *value, struct slice key, const regmatch_t *m, struct buf *out)
{
    for (const char *p = value; *p; p++) {
        bool is_open = p[0] == '$' && (p[1] == '{' || p[1] == '(');
        const char *d = p + 1 + is_open;

        if (p[0] == '$' && *d >= '1' && *d <= '9') {
            const regmatch_t *g = &m[*d - '0'];

            if (g->rm_so >= 0)
                buf_add(out, key.p + g->rm_so, (size_t)(g->rm_eo - g->rm_so));
            p = d + (is_open && (d[1] == '}' || d[1] == ')'));
        } else {
            buf_addc(out, *p);
            p += p[0] == '$' && p[1] == '$';
        }
    }
}

/* All of the key is looked at: a NUL hides nothing that follows it. */
static bool
is_match(const struct regexp_rule *r, struct slice key, regmatch_t m[REGEXP_GROUPS])
{
    for (size_t g = 0; g < REGEXP_GROUPS; g++)
        m[g].rm_so = m[g].rm_eo = -1;
    m[0].rm_so = 0;
    m[0].rm_eo = (regoff_t)key.n;
    return regexec(&r->re, key.p, r->has_groups ? REGEXP_GROUPS : 0, m, REG_STARTEND) == 0;
}

static enum table_rc
regexp_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct regexp_table *x = t->state;
    unsigned skip = 0;
    enum table_rc rc = TABLE_NOTFOUND;

    (void)e;
    buf_reset(&x->key);
    buf_adds(&x->key, key);
    key = sl_n(buf_z(&x->key), key.n);
    for (size_t i = 0; i < x->n && rc == TABLE_NOTFOUND; i++) {
        const struct regexp_rule *r = &x->rules[i];
        regmatch_t m[REGEXP_GROUPS];
        bool matches;

        if (r->op == REGEXP_ENDIF) {
            skip -= skip > 0;
            continue;
        }
        if (skip) {
            skip += r->op == REGEXP_IF;
            continue;
        }
        matches = is_match(r, key, m) != r->is_negated;
        if (r->op == REGEXP_IF) {
            skip = !matches;
        } else if (matches) {
            expand(r->value, key, m, value);
            rc = TABLE_FOUND;
        }
    }
    return rc;
}

static bool
regexp_poll(struct table *t)
{
    return table_file_changed(&((struct regexp_table *)t->state)->file);
}

static void
regexp_close(struct table *t)
{
    struct regexp_table *x = t->state;

    for (size_t i = 0; i < x->n; i++) {
        if (x->rules[i].has_re)
            regfree(&x->rules[i].re);
        free(x->rules[i].value);
    }
    free(x->rules);
    buf_free(&x->key);
    table_file_close(&x->file);
    free(x);
}

static int
pcre_open(struct table *t, struct err *e)
{
    (void)t;
    return err_set(e, ERR_CONFIG,
                   "pcre: tables are not supported; use regexp: with POSIX patterns");
}

static enum table_rc
pcre_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    (void)key;
    (void)value;
    pcre_open(t, e);
    return TABLE_TEMP;
}

static void
pcre_close(struct table *t)
{
    (void)t;
}

const struct table_type table_regexp = { "regexp",    regexp_open,  regexp_lookup,
                                         regexp_poll, regexp_close, true };
const struct table_type table_pcre = { "pcre", pcre_open, pcre_lookup, NULL, pcre_close, true };
