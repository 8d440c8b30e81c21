/* auth/sql_token.c - see sql_token.h. */
#include "auth/sql_token.h"

#include "base/buf.h"

/* A version in an executable comment above this is no real one: dumps use it for notes to newer clients. */
enum { EXEC_VERSION_MAX = 999998 };

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f' || c == '\v';
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
is_word(char c)
{
    return sl_is_alnum_char(c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static void
skip(struct sql_lex *l, size_t n)
{
    for (size_t i = 0; i < n && i < l->in.n; i++)
        if (l->in.p[i] == '\n')
            l->line++;
    l->in = sl_from(l->in, n);
}

static void
skip_line(struct sql_lex *l)
{
    size_t at = sl_find_char(l->in, '\n');

    skip(l, at == SL_NPOS ? l->in.n : at + 1);
}

/* At slash-star. An executable comment is entered; another is skipped whole. */
static int
skip_comment(struct sql_lex *l, struct err *e)
{
    struct slice at = sl_from(l->in, 2);
    uint64_t version = 0;
    size_t end;

    if (sl_take_prefix(&at, SL("M!")) || sl_take_prefix(&at, SL("!"))) {
        struct slice digits = at;

        if (!sl_take_u64(&at, &version))
            at = digits;
        if (version <= EXEC_VERSION_MAX && !l->in_exec_comment) {
            skip(l, l->in.n - at.n);
            l->in_exec_comment = true;
            return 0;
        }
    }
    end = sl_find(sl_from(l->in, 2), SL("*/"));
    if (end == SL_NPOS)
        return err_set(e, ERR_CLIENT, "a comment begins and does not end");
    skip(l, 2 + end + 2);
    return 0;
}

/* "#", or two dashes and white space. */
static bool
is_line_comment(struct slice in)
{
    return sl_starts(in, '#') || (sl_has_prefix(in, SL("--")) && (in.n == 2 || is_space(in.p[2])));
}

/* White space and comments before a token. */
static int
skip_blank(struct sql_lex *l, bool *was_blank, struct err *e)
{
    *was_blank = false;
    for (;; *was_blank = true) {
        struct slice in = l->in;

        if (in.n && is_space(in.p[0])) {
            skip(l, 1);
        } else if (is_line_comment(in)) {
            skip_line(l);
        } else if (sl_has_prefix(in, SL("/*"))) {
            if (skip_comment(l, e) < 0)
                return -1;
        } else if (l->in_exec_comment && sl_has_prefix(in, SL("*/"))) {
            l->in_exec_comment = false;
            skip(l, 2);
        } else {
            return 0;
        }
    }
}

/* One escape after a backslash, MySQL's rules: \% and \_ keep the backslash, they are LIKE's business. */
static void
add_escape(struct buf *out, char c)
{
    static const char from[] = "0bnrtZ", to[] = "\0\b\n\r\t\032";

    for (size_t i = 0; i < sizeof from - 1; i++) {
        if (c == from[i]) {
            buf_addc(out, to[i]);
            return;
        }
    }
    if (c == '%' || c == '_')
        buf_addc(out, '\\');
    buf_addc(out, c);
}

/* A quoted run at the front, appended to out. */
static int
take_quoted(struct sql_lex *l, char quote, bool has_escapes, struct buf *out, struct err *e)
{
    struct slice in = l->in;
    size_t i = 1;

    for (; i < in.n; i++) {
        if (in.p[i] == '\\' && has_escapes && i + 1 < in.n) {
            add_escape(out, in.p[++i]);
        } else if (in.p[i] != quote) {
            buf_addc(out, in.p[i]);
        } else if (i + 1 < in.n && in.p[i + 1] == quote) {
            buf_addc(out, quote);
            i++;
        } else {
            skip(l, i + 1);
            return 0;
        }
    }
    return err_set(e, ERR_CLIENT, "a %c quote begins and does not end", quote);
}

/* 'a' "b" is one string 'ab'. */
static int
take_string(struct sql_lex *l, struct sql_token *t, struct err *e)
{
    struct buf value = { 0 };
    bool blank;
    int rc = 0;

    do {
        char quote = l->in.p[0];

        rc = take_quoted(l, quote, true, &value, e);
        if (rc == 0)
            rc = skip_blank(l, &blank, e);
    } while (rc == 0 && (sl_starts(l->in, '\'') || sl_starts(l->in, '"')));
    t->kind = SQL_T_STRING;
    if (rc == 0)
        t->text = arena_dup(l->mem, buf_slice(&value));
    buf_free(&value);
    return rc;
}

static int
take_name(struct sql_lex *l, struct sql_token *t, struct err *e)
{
    struct buf value = { 0 };
    int rc = take_quoted(l, '`', false, &value, e);

    t->kind = SQL_T_NAME;
    if (rc == 0)
        t->text = arena_dup(l->mem, buf_slice(&value));
    buf_free(&value);
    return rc;
}

static void
take_run(struct sql_lex *l, struct sql_token *t, enum sql_token_kind kind, size_t from, size_t to)
{
    t->kind = kind;
    t->text = sl_n(l->in.p + from, to - from);
    skip(l, to);
}

static void
take_number(struct sql_lex *l, struct sql_token *t)
{
    struct slice in = l->in;
    size_t i = 0;

    if (in.n > 2 && in.p[0] == '0' && in.p[1] == 'x' && is_hex(in.p[2])) {
        for (i = 2; i < in.n && is_hex(in.p[i]); i++)
            ;
        take_run(l, t, SQL_T_HEX, 2, i);
        return;
    }
    while (i < in.n && (is_digit(in.p[i]) || in.p[i] == '.'))
        i++;
    if (i + 1 < in.n && (in.p[i] == 'e' || in.p[i] == 'E') &&
        (is_digit(in.p[i + 1]) ||
         ((in.p[i + 1] == '-' || in.p[i + 1] == '+') && i + 2 < in.n && is_digit(in.p[i + 2]))))
        for (i += 2; i < in.n && is_digit(in.p[i]); i++)
            ;
    take_run(l, t, SQL_T_NUMBER, 0, i);
}

static void
take_op(struct sql_lex *l, struct sql_token *t)
{
    static const struct slice ops[] = { SL_INIT("<=>"), SL_INIT("<="), SL_INIT(">="), SL_INIT("<>"),
                                        SL_INIT("!="),  SL_INIT(":="), SL_INIT("||"), SL_INIT("&&"),
                                        SL_INIT("<<"),  SL_INIT(">>") };
    size_t n = 1;

    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (sl_has_prefix(l->in, ops[i])) {
            n = ops[i].n;
            break;
        }
    }
    take_run(l, t, SQL_T_OP, 0, n);
}

static bool
is_param_letter(char c)
{
    return (c >= '1' && c <= '9') || strchr("suUdDS", c);
}

/* '%' in a template, outside of quotes: true when it was a parameter (or "%%", which is '%'). */
static bool
take_param(struct sql_lex *l, struct sql_token *t)
{
    if (!l->is_template || l->in.n < 2)
        return false;
    if (l->in.p[1] == '%') {
        take_run(l, t, SQL_T_OP, 1, 2);
        return true;
    }
    if (l->in.p[1] == '\0' || !is_param_letter(l->in.p[1]))
        return false;
    take_run(l, t, SQL_T_PARAM, 1, 2);
    return true;
}

int
sql_lex(struct sql_lex *l, struct sql_token *t, struct err *e)
{
    struct slice in;
    size_t i = 0;

    *t = (struct sql_token){ 0 };
    if (skip_blank(l, &t->is_spaced, e) < 0)
        return -1;
    in = l->in;
    if (in.n == 0)
        return l->in_exec_comment ? err_set(e, ERR_CLIENT, "a comment begins and does not end") : 0;
    if (in.p[0] == '\'' || in.p[0] == '"')
        return take_string(l, t, e);
    if (in.p[0] == '`')
        return take_name(l, t, e);
    if ((in.p[0] == 'x' || in.p[0] == 'X') && in.n > 1 && in.p[1] == '\'') {
        for (i = 2; i < in.n && is_hex(in.p[i]); i++)
            ;
        if (i == in.n || in.p[i] != '\'')
            return err_set(e, ERR_CLIENT, "malformed hexadecimal string");
        take_run(l, t, SQL_T_HEX, 2, i);
        skip(l, 1);
        return 0;
    }
    if (is_digit(in.p[0]) || (in.p[0] == '.' && in.n > 1 && is_digit(in.p[1]))) {
        take_number(l, t);
        return 0;
    }
    if (in.p[0] == '@') {
        while (i < in.n && (in.p[i] == '@' || in.p[i] == '.' || is_word(in.p[i])))
            i++;
        take_run(l, t, SQL_T_VAR, 0, i);
        return 0;
    }
    if (in.p[0] == '%' && take_param(l, t))
        return 0;
    if (is_word(in.p[0])) {
        while (i < in.n && is_word(in.p[i]))
            i++;
        take_run(l, t, SQL_T_WORD, 0, i);
        return 0;
    }
    if ((unsigned char)in.p[0] < 0x20 || in.p[0] == 0x7f)
        return err_set(e, ERR_CLIENT, "octet %d is no part of a statement", in.p[0]);
    take_op(l, t);
    return 0;
}
