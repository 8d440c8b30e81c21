/* auth/sql_expr.c - expressions, token by token: names, strings, parameters, functions and operators that the two
 * languages write differently. */
#include "auth/sql_int.h"

#include "base/mem.h"

/* ---- looking ---- */

bool
sqlx_is_word(const struct sql_token *t, const char *word)
{
    return t->kind == SQL_T_WORD && sl_ieqz(t->text, word);
}

bool
sqlx_is_op(const struct sql_token *t, const char *op)
{
    return t->kind == SQL_T_OP && sl_eqz(t->text, op);
}

bool
sqlx_is_name(const struct sql_token *t)
{
    return t->kind == SQL_T_WORD || t->kind == SQL_T_NAME;
}

bool
sqlx_take_word(struct sql_x *x, const char *word)
{
    if (!sqlx_is_word(sqlx_peek(x, 0), word))
        return false;
    x->at++;
    return true;
}

bool
sqlx_take_op(struct sql_x *x, const char *op)
{
    if (!sqlx_is_op(sqlx_peek(x, 0), op))
        return false;
    x->at++;
    return true;
}

bool
sqlx_take_words(struct sql_x *x, const char *words)
{
    struct slice in = sl_z(words), w;
    size_t n = 0;

    while (sl_take_word(&in, " ", &w)) {
        const struct sql_token *t = sqlx_peek(x, n++);

        if (t->kind != SQL_T_WORD || !sl_ieq(t->text, w))
            return false;
    }
    x->at += n;
    return true;
}

int
sqlx_unexpected(struct sql_x *x)
{
    const struct sql_token *t = sqlx_peek(x, 0);

    if (t->kind == SQL_T_END)
        return err_set(x->e, ERR_CLIENT, "the statement ends too early");
    return err_set(x->e, ERR_CLIENT, "syntax error near '%.*s'",
                   (int)(t->text.n < 60 ? t->text.n : 60), t->text.p);
}

/* ---- writing ---- */

void
sqlx_add(struct sql_x *x, const char *text)
{
    buf_addc(x->out, ' ');
    buf_addz(x->out, text);
}

static void
add_quoted(struct sql_x *x, char quote, struct slice s)
{
    buf_addc(x->out, ' ');
    buf_addc(x->out, quote);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == quote)
            buf_addc(x->out, quote);
        buf_addc(x->out, s.p[i]);
    }
    buf_addc(x->out, quote);
}

void
sqlx_add_name(struct sql_x *x, struct slice name)
{
    add_quoted(x, '"', name);
}

/* SQLite's text ends at a NUL, so a value with one is written as octets. */
void
sqlx_add_string(struct sql_x *x, struct slice value)
{
    if (sl_find_char(value, '\0') == SL_NPOS) {
        add_quoted(x, '\'', value);
        return;
    }
    buf_addz(x->out, " CAST(x'");
    for (size_t i = 0; i < value.n; i++)
        buf_addf(x->out, "%02x", (unsigned char)value.p[i]);
    buf_addz(x->out, "' AS TEXT)");
}

/* ---- Postfix's parameters ---- */

static int
add_param(struct sql_x *x, char letter)
{
    struct sql_statement *st = x->st;

    if (st->n_params == SQL_PARAMS_MAX)
        return err_set(x->e, ERR_CLIENT, "more than %d parameters", SQL_PARAMS_MAX);
    st->params[st->n_params++] = letter;
    buf_addf(x->out, " ?%zu", st->n_params);
    return 0;
}

/* '%u@x' becomes ('' || ?1 || '@x'): the value is bound, never a part of the text. */
static int
add_template_string(struct sql_x *x, struct slice s)
{
    struct buf lit = { 0 };
    bool has_param = false;
    int rc = 0;

    buf_addz(x->out, " (");
    for (size_t i = 0; i < s.n && rc == 0; i++) {
        char next = i + 1 < s.n ? s.p[i + 1] : '\0';

        if (s.p[i] != '%' || next == '\0' ||
            !((next >= '1' && next <= '9') || strchr("suUdDS%", next))) {
            buf_addc(&lit, s.p[i]);
            continue;
        }
        i++;
        if (next == '%') {
            buf_addc(&lit, '%');
            continue;
        }
        if (lit.n || has_param) {
            sqlx_add_string(x, buf_slice(&lit));
            sqlx_add(x, "||");
        }
        buf_reset(&lit);
        rc = add_param(x, next);
        sqlx_add(x, "||");
        has_param = true;
    }
    if (has_param && lit.n == 0)
        buf_truncate(x->out, x->out->n - 3); /* the last " ||" */
    else
        sqlx_add_string(x, buf_slice(&lit));
    buf_addz(x->out, has_param ? " COLLATE NOCASE )" : " )");
    buf_free(&lit);
    return rc;
}

/* ---- names ---- */

static bool
is_db_name(const struct sql_x *x, struct slice s)
{
    for (size_t i = 0; i < x->in->n_db_names; i++)
        if (sl_ieq(s, x->in->db_names[i]))
            return true;
    return false;
}

/* After these words a qualified name is database.table, elsewhere it may be table.column. */
static bool
is_before_table(const struct sql_x *x)
{
    static const char *const words[] = { "FROM", "JOIN", "INTO", "UPDATE", "TABLE", "REFERENCES" };

    for (size_t i = 0; x->at && i < COUNT_OF(words); i++)
        if (sqlx_is_word(&x->t[x->at - 1], words[i]))
            return true;
    return false;
}

int
sqlx_take_table(struct sql_x *x, struct slice *name)
{
    if (!sqlx_is_name(sqlx_peek(x, 0)))
        return sqlx_unexpected(x);
    if (sqlx_is_op(sqlx_peek(x, 1), ".") && sqlx_is_name(sqlx_peek(x, 2)))
        x->at += 2;
    *name = sqlx_peek(x, 0)->text;
    x->at++;
    return 0;
}

static bool
skip_db_name(struct sql_x *x)
{
    if (!sqlx_is_op(sqlx_peek(x, 1), ".") || !sqlx_is_name(sqlx_peek(x, 2)))
        return false;
    if (!is_before_table(x) && !is_db_name(x, sqlx_peek(x, 0)->text))
        return false;
    x->at += 2;
    return true;
}

/* ---- words ---- */

/* Functions whose names SQLite keeps for itself or understands otherwise. */
static const struct {
    const char *mysql, *sqlite;
    char paren;
} functions[] = {
    { "IF", "iif", ' ' },
    { "LEFT", "mysql_left", ' ' },
    { "RIGHT", "mysql_right", ' ' },
    { "SUBSTRING", "mysql_substring", 's' },
    { "SUBSTR", "mysql_substring", 's' },
    { "MID", "mysql_substring", 's' },
    { "CHAR_LENGTH", "length", ' ' },
    { "CHARACTER_LENGTH", "length", ' ' },
    { "LENGTH", "octet_length_of", ' ' },
    { "LCASE", "lower", ' ' },
    { "UCASE", "upper", ' ' },
    { "REPLACE", "replace", ' ' },
    { "DATABASE", "mysql_database", ' ' },
    { "CURRENT_TIMESTAMP", "now", ' ' },
    { "LOCALTIMESTAMP", "now", ' ' },
    { "SYSDATE", "now", ' ' },
    { "UUID", "mysql_uuid", ' ' },
};

/* Words that say nothing to SQLite. */
static const char *const dropped_words[] = { "SQL_NO_CACHE",
                                             "SQL_CACHE",
                                             "SQL_CALC_FOUND_ROWS",
                                             "SQL_SMALL_RESULT",
                                             "SQL_BIG_RESULT",
                                             "HIGH_PRIORITY",
                                             "LOW_PRIORITY",
                                             "DELAYED",
                                             "STRAIGHT_JOIN",
                                             "_utf8",
                                             "_utf8mb4",
                                             "_latin1",
                                             "_binary" };

static const struct {
    const char *mysql, *sqlite;
} words[] = { { "DIV", "/" },         { "MOD", "%" },        { "RLIKE", "REGEXP" },
              { "VALUE", "VALUES" },  { "DEFAULT", "NULL" }, { "UNSIGNED", "INTEGER" },
              { "SIGNED", "INTEGER" } };

static const struct {
    const char *mysql, *sqlite;
} ops[] = { { "||", "OR" }, { "&&", "AND" }, { "!", "NOT" }, { "<=>", "IS" } };

static int
open_paren(struct sql_x *x, char kind)
{
    if (x->depth == SQL_DEPTH_MAX)
        return err_set(x->e, ERR_CLIENT, "parentheses deeper than %d", SQL_DEPTH_MAX);
    x->paren[x->depth++] = kind;
    sqlx_add(x, kind == 'v' ? "excluded." : "(");
    return 0;
}

static int
close_paren(struct sql_x *x)
{
    if (x->depth == 0)
        return err_set(x->e, ERR_CLIENT, "a ')' too many");
    if (x->paren[--x->depth] != 'v')
        sqlx_add(x, ")");
    return 0;
}

/* A word with '(' behind it. */
static int
function(struct sql_x *x)
{
    struct slice name = sqlx_peek(x, 0)->text;
    char kind = ' ';

    if (x->is_upsert &&
        sl_ieqz(name, "VALUES")) { /* VALUES(col) of the row that could not be inserted */
        x->at += 2;
        return open_paren(x, 'v');
    }
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        if (sl_ieqz(name, functions[i].mysql)) {
            name = sl_z(functions[i].sqlite);
            kind = functions[i].paren;
            break;
        }
    }
    buf_addc(x->out, ' ');
    buf_adds(x->out, name);
    x->at += 2;
    return open_paren(x, kind);
}

static int
collate(struct sql_x *x)
{
    struct slice name = sqlx_peek(x, 1)->text;

    sqlx_add(x, sl_has_isuffix(name, SL("_bin")) || sl_ieqz(name, "binary") ? "COLLATE BINARY"
                                                                            : "COLLATE NOCASE");
    x->at += 2;
    return 0;
}

static bool
is_dropped(struct slice w)
{
    for (size_t i = 0; i < COUNT_OF(dropped_words); i++)
        if (sl_ieqz(w, dropped_words[i]))
            return true;
    return false;
}

static int
word(struct sql_x *x)
{
    const struct sql_token *t = sqlx_peek(x, 0), *next = sqlx_peek(x, 1);

    if (skip_db_name(x))
        return 0;
    if (sqlx_is_word(t, "COLLATE") && sqlx_is_name(next))
        return collate(x);
    if (sqlx_is_op(next, "(") && !sqlx_is_word(t, "VALUE") &&
        !(sqlx_is_word(t, "VALUES") && !x->is_upsert) && !sqlx_is_word(t, "IN"))
        return function(x);
    x->at++;
    if (x->depth && x->paren[x->depth - 1] == 's' &&
        (sl_ieqz(t->text, "FROM") || sl_ieqz(t->text, "FOR"))) {
        sqlx_add(x, ","); /* SUBSTRING(s FROM 2 FOR 3) */
        return 0;
    }
    if (is_dropped(t->text))
        return 0;
    if (sl_ieqz(t->text, "BINARY"))
        return err_set(x->e, ERR_CLIENT, "BINARY is not known here: comparisons ignore case");
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (sl_ieqz(t->text, words[i].mysql)) {
            sqlx_add(x, words[i].sqlite);
            return 0;
        }
    }
    buf_addc(x->out, ' ');
    buf_adds(x->out, t->text);
    return 0;
}

/* LIKE 'a\_b': the backslash escapes by itself in MySQL. */
static bool
is_escaping_like(const struct sql_x *x)
{
    return x->at && sqlx_is_word(&x->t[x->at - 1], "LIKE") &&
           sl_find_char(sqlx_peek(x, 0)->text, '\\') != SL_NPOS &&
           !sqlx_is_word(sqlx_peek(x, 1), "ESCAPE");
}

static int
string(struct sql_x *x)
{
    struct slice s = sqlx_peek(x, 0)->text;
    bool is_like = is_escaping_like(x);
    int rc = 0;

    if (x->in->lex.is_template && sl_find_char(s, '%') != SL_NPOS)
        rc = add_template_string(x, s);
    else
        sqlx_add_string(x, s);
    if (is_like)
        sqlx_add(x, "ESCAPE '\\'");
    x->at++;
    return rc;
}

static int
op(struct sql_x *x)
{
    const struct sql_token *t = sqlx_peek(x, 0);

    x->at++;
    if (sl_eqz(t->text, "("))
        return open_paren(x, ' ');
    if (sl_eqz(t->text, ")"))
        return close_paren(x);
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        if (sl_eqz(t->text, ops[i].mysql)) {
            sqlx_add(x, ops[i].sqlite);
            return 0;
        }
    }
    buf_addc(x->out, ' ');
    buf_adds(x->out, t->text);
    return 0;
}

int
sqlx_expr_token(struct sql_x *x)
{
    const struct sql_token *t = sqlx_peek(x, 0);

    switch (t->kind) {
    case SQL_T_WORD:
        return word(x);
    case SQL_T_NAME:
        if (!skip_db_name(x)) {
            x->at++;
            sqlx_add_name(x, t->text);
        }
        return 0;
    case SQL_T_STRING:
        return string(x);
    case SQL_T_NUMBER:
        x->at++;
        buf_addc(x->out, ' ');
        buf_adds(x->out, t->text);
        return 0;
    case SQL_T_HEX:
        x->at++;
        buf_addf(x->out, " CAST(x'%.*s' AS TEXT)", SL_ARG(t->text));
        return 0;
    case SQL_T_PARAM:
        x->at++;
        buf_addz(x->out, " (");
        if (add_param(x, t->text.p[0]) < 0)
            return -1;
        buf_addz(x->out, " COLLATE NOCASE )");
        return 0;
    case SQL_T_VAR:
        return err_set(x->e, ERR_CLIENT, "variables (%.*s) are not known here", SL_ARG(t->text));
    case SQL_T_OP:
        return op(x);
    case SQL_T_END:
        break;
    }
    return sqlx_unexpected(x);
}

int
sqlx_rest(struct sql_x *x)
{
    while (x->at < x->n)
        if (sqlx_expr_token(x) < 0)
            return -1;
    return x->depth ? err_set(x->e, ERR_CLIENT, "a ')' is missing") : 0;
}

int
sqlx_columns(struct sql_x *x)
{
    if (!sqlx_take_op(x, "("))
        return sqlx_unexpected(x);
    sqlx_add(x, "(");
    do {
        if (!sqlx_is_name(sqlx_peek(x, 0)))
            return sqlx_unexpected(x);
        sqlx_add_name(x, sqlx_peek(x, 0)->text);
        x->at++;
        if (sqlx_is_op(sqlx_peek(x, 0), "(") && sqlx_is_op(sqlx_peek(x, 2), ")"))
            x->at += 3; /* an index on the first octets: on all of them here */
        if (!sqlx_take_word(x, "ASC") && sqlx_take_word(x, "DESC"))
            sqlx_add(x, "DESC");
        if (sqlx_is_op(sqlx_peek(x, 0), ","))
            sqlx_add(x, ",");
    } while (sqlx_take_op(x, ","));
    if (!sqlx_take_op(x, ")"))
        return sqlx_unexpected(x);
    sqlx_add(x, ")");
    return 0;
}
