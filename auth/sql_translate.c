/* auth/sql_translate.c - statements by their first word. See sql_translate.h. */
#include "auth/sql_translate.h"

#include "auth/sql_int.h"
#include "base/mem.h"

#include <stdlib.h>

/* ---- what has no meaning here ---- */

static int
do_nothing(struct sql_x *x)
{
    x->st->kind = SQL_NOTHING;
    x->at = x->n;
    return 0;
}

static void
know_db_name(struct sql_x *x, struct slice name)
{
    struct sql_in *in = x->in;
    size_t max = COUNT_OF(in->db_names);

    /* The statement's memory goes with it, so the name is looked for in the input itself. */
    for (size_t i = 0; i < in->n_db_names; i++)
        if (sl_ieq(in->db_names[i], name))
            return;
    if (in->n_db_names < max && name.n)
        in->db_names[in->n_db_names++] = (struct slice){ sl_dupz(name), name.n };
}

static int
do_use(struct sql_x *x)
{
    sqlx_take_words(x, "IF NOT EXISTS");
    if (!sqlx_is_name(sqlx_peek(x, 0)))
        return sqlx_unexpected(x);
    know_db_name(x, sqlx_peek(x, 0)->text);
    return do_nothing(x);
}

/* SET a=1, b=2: only the checking of foreign keys means something; @OLD_... brings it back. */
static int
do_set(struct sql_x *x)
{
    x->st->kind = SQL_NOTHING;
    for (; x->at < x->n; x->at++) {
        const struct sql_token *v = sqlx_peek(x, 2);

        if (sqlx_is_word(sqlx_peek(x, 0), "FOREIGN_KEY_CHECKS") && sqlx_is_op(sqlx_peek(x, 1), "="))
            x->st->kind = sl_eqz(v->text, "0") || sl_ieqz(v->text, "OFF") ? SQL_FOREIGN_KEYS_OFF
                                                                          : SQL_FOREIGN_KEYS_ON;
    }
    return 0;
}

static int
do_begin(struct sql_x *x)
{
    x->st->kind = SQL_TX;
    sqlx_add(x, "BEGIN");
    x->at = x->n;
    return 0;
}

static int
do_start(struct sql_x *x)
{
    return sqlx_is_word(sqlx_peek(x, 0), "TRANSACTION") ? do_begin(x)
                                                        : do_nothing(x); /* START SLAVE */
}

static int
do_commit(struct sql_x *x)
{
    x->st->kind = SQL_TX;
    sqlx_add(x, "COMMIT");
    x->at = x->n;
    return 0;
}

static int
do_rollback(struct sql_x *x)
{
    x->st->kind = SQL_TX;
    sqlx_add(x, "ROLLBACK");
    x->at = x->n;
    return 0;
}

/* ---- rows ---- */

static bool
is_locking_clause(const struct sql_x *x)
{
    return x->depth == 0 &&
           ((sqlx_is_word(sqlx_peek(x, 0), "FOR") &&
             (sqlx_is_word(sqlx_peek(x, 1), "UPDATE") || sqlx_is_word(sqlx_peek(x, 1), "SHARE"))) ||
            (sqlx_is_word(sqlx_peek(x, 0), "LOCK") && sqlx_is_word(sqlx_peek(x, 1), "IN")));
}

static int
do_select(struct sql_x *x)
{
    x->st->kind = SQL_QUERY;
    sqlx_add(x, "SELECT");
    while (x->at < x->n) {
        if (is_locking_clause(x))
            x->at = x->n;
        else if (sqlx_take_words(x, "FROM DUAL"))
            ;
        else if (sqlx_expr_token(x) < 0)
            return -1;
    }
    return x->depth ? err_set(x->e, ERR_CLIENT, "a ')' is missing") : 0;
}

static int
do_with(struct sql_x *x)
{
    x->st->kind = SQL_QUERY;
    sqlx_add(x, "WITH");
    return sqlx_rest(x);
}

/* SET a = 1, b = 2 of an INSERT: (a, b) VALUES (1, 2). */
static int
insert_set(struct sql_x *x)
{
    struct buf values = { 0 }, *cols = x->out;
    int rc = 0;

    sqlx_add(x, "(");
    buf_addz(&values, " VALUES (");
    do {
        if (!sqlx_is_name(sqlx_peek(x, 0))) {
            rc = sqlx_unexpected(x);
            break;
        }
        sqlx_add_name(x, sqlx_peek(x, 0)->text);
        x->at++;
        if (!sqlx_take_op(x, "=")) {
            rc = sqlx_unexpected(x);
            break;
        }
        x->out = &values;
        while (rc == 0 && x->at < x->n && !(x->depth == 0 && sqlx_is_op(sqlx_peek(x, 0), ",")) &&
               !(x->depth == 0 && sqlx_is_word(sqlx_peek(x, 0), "ON")))
            rc = sqlx_expr_token(x);
        if (sqlx_is_op(sqlx_peek(x, 0), ",")) {
            sqlx_add(x, ",");
            x->out = cols;
            sqlx_add(x, ",");
        }
        x->out = cols;
    } while (rc == 0 && sqlx_take_op(x, ","));
    sqlx_add(x, ")");
    buf_adds(x->out, buf_slice(&values));
    sqlx_add(x, ")");
    buf_free(&values);
    return rc;
}

static int
insert_rest(struct sql_x *x)
{
    struct slice table;

    sqlx_take_word(x, "INTO");
    sqlx_add(x, "INTO");
    if (sqlx_take_table(x, &table) < 0)
        return -1;
    sqlx_add_name(x, table);
    if (sqlx_take_word(x, "SET") && insert_set(x) < 0)
        return -1;
    while (x->at < x->n) {
        if (x->depth == 0 && sqlx_take_words(x, "ON DUPLICATE KEY UPDATE")) {
            sqlx_add(x, "ON CONFLICT DO UPDATE SET");
            x->is_upsert = true;
        } else if (sqlx_expr_token(x) < 0) {
            return -1;
        }
    }
    return x->depth ? err_set(x->e, ERR_CLIENT, "a ')' is missing") : 0;
}

static void
take_priorities(struct sql_x *x)
{
    while (sqlx_take_word(x, "LOW_PRIORITY") || sqlx_take_word(x, "HIGH_PRIORITY") ||
           sqlx_take_word(x, "DELAYED") || sqlx_take_word(x, "QUICK"))
        ;
}

static int
do_insert(struct sql_x *x)
{
    take_priorities(x);
    sqlx_add(x, sqlx_take_word(x, "IGNORE") ? "INSERT OR IGNORE" : "INSERT");
    return insert_rest(x);
}

static int
do_replace(struct sql_x *x)
{
    take_priorities(x);
    sqlx_add(x, "REPLACE");
    return insert_rest(x);
}

static int
do_update(struct sql_x *x)
{
    struct slice table;

    take_priorities(x);
    sqlx_add(x, sqlx_take_word(x, "IGNORE") ? "UPDATE OR IGNORE" : "UPDATE");
    if (sqlx_take_table(x, &table) < 0)
        return -1;
    sqlx_add_name(x, table);
    return sqlx_rest(x);
}

static int
do_delete(struct sql_x *x)
{
    take_priorities(x);
    sqlx_take_word(x, "IGNORE");
    sqlx_add(x, "DELETE");
    return sqlx_rest(x);
}

static int
do_truncate(struct sql_x *x)
{
    struct slice table;

    sqlx_take_word(x, "TABLE");
    sqlx_add(x, "DELETE FROM");
    if (sqlx_take_table(x, &table) < 0)
        return -1;
    sqlx_add_name(x, table);
    return 0;
}

/* ---- tables ---- */

static int
create_index(struct sql_x *x, bool is_unique)
{
    struct slice name, table;

    name = sqlx_peek(x, 0)->text;
    x->at += x->at < x->n;
    if (!sqlx_take_word(x, "ON") || sqlx_take_table(x, &table) < 0)
        return sqlx_unexpected(x);
    buf_addf(x->out, " CREATE %sINDEX \"%.*s_%.*s\" ON", is_unique ? "UNIQUE " : "", SL_ARG(table),
             SL_ARG(name));
    sqlx_add_name(x, table);
    return sqlx_columns(x);
}

static int
do_create(struct sql_x *x)
{
    if (sqlx_take_word(x, "DATABASE") || sqlx_take_word(x, "SCHEMA"))
        return do_use(x);
    if (sqlx_is_word(sqlx_peek(x, 0), "USER") || sqlx_is_word(sqlx_peek(x, 0), "ROLE"))
        return do_nothing(x);
    sqlx_take_word(x, "TEMPORARY");
    if (sqlx_take_word(x, "TABLE"))
        return sqlx_create_table(x);
    if (sqlx_take_words(x, "UNIQUE INDEX"))
        return create_index(x, true);
    if (sqlx_take_word(x, "INDEX"))
        return create_index(x, false);
    if (sqlx_is_word(sqlx_peek(x, 0), "VIEW")) {
        sqlx_add(x, "CREATE");
        return sqlx_rest(x);
    }
    return err_set(x->e, ERR_CLIENT, "CREATE %.*s is not known here",
                   SL_ARG(sqlx_peek(x, 0)->text));
}

static int
do_drop(struct sql_x *x)
{
    bool is_view = sqlx_is_word(sqlx_peek(x, 0), "VIEW"), if_exists;
    const char *between = "";

    if (sqlx_is_word(sqlx_peek(x, 0), "USER") || sqlx_is_word(sqlx_peek(x, 0), "ROLE"))
        return do_nothing(x);
    if (sqlx_is_word(sqlx_peek(x, 0), "DATABASE") || sqlx_is_word(sqlx_peek(x, 0), "SCHEMA"))
        return err_set(
            x->e, ERR_CLIENT,
            "DROP DATABASE is not done here: remove the file of users_database yourself");
    if (!is_view && !sqlx_is_word(sqlx_peek(x, 0), "TABLE"))
        return err_set(x->e, ERR_CLIENT, "DROP %.*s is not known here",
                       SL_ARG(sqlx_peek(x, 0)->text));
    x->at++;
    if_exists = sqlx_take_words(x, "IF EXISTS");
    do {
        struct slice table;

        if (sqlx_take_table(x, &table) < 0)
            return -1;
        buf_addf(x->out, "%s DROP %s%s", between, is_view ? "VIEW" : "TABLE",
                 if_exists ? " IF EXISTS" : "");
        sqlx_add_name(x, table);
        between = ";";
    } while (sqlx_take_op(x, ","));
    x->at = x->n; /* CASCADE, RESTRICT */
    return 0;
}

/* ADD [COLUMN] def, RENAME [TO] name; DISABLE KEYS and the like are nothing. */
static int
do_alter(struct sql_x *x)
{
    struct slice table;

    if (!sqlx_take_word(x, "TABLE"))
        return sqlx_is_word(sqlx_peek(x, 0), "USER") || sqlx_is_word(sqlx_peek(x, 0), "DATABASE")
                   ? do_nothing(x)
                   : err_set(x->e, ERR_CLIENT, "ALTER %.*s is not known here",
                             SL_ARG(sqlx_peek(x, 0)->text));
    if (sqlx_take_table(x, &table) < 0)
        return -1;
    if (sqlx_take_words(x, "DISABLE KEYS") || sqlx_take_words(x, "ENABLE KEYS") ||
        sqlx_is_word(sqlx_peek(x, 0), "ENGINE") || sqlx_is_word(sqlx_peek(x, 0), "CONVERT") ||
        sqlx_is_word(sqlx_peek(x, 0), "AUTO_INCREMENT"))
        return do_nothing(x);
    sqlx_add(x, "ALTER TABLE");
    sqlx_add_name(x, table);
    if (sqlx_take_word(x, "RENAME")) {
        sqlx_take_word(x, "TO");
        sqlx_add(x, "RENAME TO");
        if (sqlx_take_table(x, &table) < 0)
            return -1;
        sqlx_add_name(x, table);
        return 0;
    }
    if (sqlx_take_words(x, "ADD COLUMN") ||
        (sqlx_is_word(sqlx_peek(x, 0), "ADD") && sqlx_is_name(sqlx_peek(x, 1)) &&
         sqlx_peek(x, 2)->kind == SQL_T_WORD && !sqlx_is_word(sqlx_peek(x, 1), "CONSTRAINT") &&
         !sqlx_is_word(sqlx_peek(x, 1), "PRIMARY") && !sqlx_is_word(sqlx_peek(x, 1), "FOREIGN") &&
         !sqlx_is_word(sqlx_peek(x, 1), "UNIQUE") && !sqlx_is_word(sqlx_peek(x, 1), "KEY") &&
         !sqlx_is_word(sqlx_peek(x, 1), "INDEX") && sqlx_take_word(x, "ADD"))) {
        sqlx_add(x, "ADD COLUMN");
        return sqlx_column(x);
    }
    return err_set(x->e, ERR_CLIENT, "of ALTER TABLE only ADD COLUMN and RENAME are known here");
}

/* ---- questions about tables ---- */

static int
describe(struct sql_x *x)
{
    struct slice table;

    if (sqlx_take_table(x, &table) < 0)
        return -1;
    x->st->kind = SQL_QUERY;
    sqlx_add(x,
             "SELECT name AS Field, type AS Type, iif(\"notnull\" OR pk, 'NO', 'YES') AS \"Null\","
             " iif(pk, 'PRI', iif(name IN (SELECT ii.name FROM pragma_index_list(");
    sqlx_add_string(x, table);
    sqlx_add(
        x, ") il JOIN pragma_index_info(il.name) ii WHERE il.\"unique\"), 'UNI', '')) AS \"Key\","
           " dflt_value AS \"Default\", iif(pk AND type = 'INTEGER', 'auto_increment', '') AS Extra"
           " FROM pragma_table_info(");
    sqlx_add_string(x, table);
    sqlx_add(x, ")");
    x->at = x->n;
    return 0;
}

static int
do_show(struct sql_x *x)
{
    x->st->kind = SQL_QUERY;
    sqlx_take_word(x, "FULL");
    if (sqlx_take_word(x, "TABLES")) {
        sqlx_add(x, "SELECT name AS \"Tables_in_mailserver\" FROM sqlite_master WHERE type IN "
                    "('table', 'view')"
                    " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE 'postern\\_%' "
                    "ESCAPE '\\' ORDER BY name");
        x->at = x->n;
        return 0;
    }
    if (sqlx_take_word(x, "DATABASES") || sqlx_take_word(x, "SCHEMAS")) {
        sqlx_add(x, "SELECT 'mailserver' AS \"Database\"");
        x->at = x->n;
        return 0;
    }
    if (sqlx_take_words(x, "COLUMNS FROM") || sqlx_take_words(x, "FIELDS FROM"))
        return describe(x);
    if (sqlx_take_words(x, "CREATE TABLE")) {
        struct slice table;

        if (sqlx_take_table(x, &table) < 0)
            return -1;
        sqlx_add(
            x, "SELECT name AS \"Table\", sql AS \"Create Table\" FROM sqlite_master WHERE name =");
        sqlx_add_string(x, table);
        return 0;
    }
    return err_set(x->e, ERR_CLIENT, "SHOW %.*s is not known here", SL_ARG(sqlx_peek(x, 0)->text));
}

static int
do_describe(struct sql_x *x)
{
    return sqlx_is_word(sqlx_peek(x, 0), "SELECT")
               ? err_set(x->e, ERR_CLIENT, "EXPLAIN is not known here")
               : describe(x);
}

static const struct {
    const char *word;
    int (*run)(struct sql_x *x); /* the word is taken */
} statements[] = {
    { "SELECT", do_select },    { "INSERT", do_insert },     { "REPLACE", do_replace },
    { "UPDATE", do_update },    { "DELETE", do_delete },     { "CREATE", do_create },
    { "DROP", do_drop },        { "ALTER", do_alter },       { "TRUNCATE", do_truncate },
    { "SHOW", do_show },        { "DESCRIBE", do_describe }, { "DESC", do_describe },
    { "EXPLAIN", do_describe }, { "WITH", do_with },         { "SET", do_set },
    { "USE", do_use },          { "BEGIN", do_begin },       { "START", do_start },
    { "COMMIT", do_commit },    { "ROLLBACK", do_rollback }, { "GRANT", do_nothing },
    { "REVOKE", do_nothing },   { "FLUSH", do_nothing },     { "LOCK", do_nothing },
    { "UNLOCK", do_nothing },   { "ANALYZE", do_nothing },   { "OPTIMIZE", do_nothing },
    { "REPAIR", do_nothing },   { "CHECK", do_nothing },     { "QUIT", do_nothing },
    { "EXIT", do_nothing },
};

/* ---- the input ---- */

void
sql_open(struct sql_in *in, struct slice text, bool is_template, struct slice dbname)
{
    static const struct slice guide = SL_INIT("mailserver");

    *in = (struct sql_in){ .lex = { .in = text, .is_template = is_template, .line = 1 } };
    in->mem.cap = SQL_MEM_OCTETS;
    in->lex.mem = &in->mem;
    in->db_names[in->n_db_names++] = (struct slice){ sl_dupz(guide), guide.n };
    if (dbname.n && !sl_ieq(dbname, guide))
        in->db_names[in->n_db_names++] = (struct slice){ sl_dupz(dbname), dbname.n };
}

void
sql_close(struct sql_in *in)
{
    for (size_t i = 0; i < in->n_db_names; i++)
        free((void *)(uintptr_t)in->db_names[i].p);
    in->n_db_names = 0;
    arena_free(&in->mem);
    buf_free(&in->out);
}

/* The tokens of one statement, up to ';'. 1, 0 at the end of the input, -1. *v is the caller's to free. */
static int
take_tokens(struct sql_in *in, struct sql_token **v, size_t *n, unsigned *line, struct err *e)
{
    size_t cap = 0;

    *n = 0;
    for (;;) {
        struct sql_token t;

        if (sql_lex(&in->lex, &t, e) < 0)
            return -1;
        if (*n == 0)
            *line = in->lex.line;
        *v = mem_grow(*v, &cap, *n + 1, sizeof **v);
        if (t.kind == SQL_T_OP && sl_eqz(t.text, ";")) {
            if (*n == 0)
                continue;
            t = (struct sql_token){ 0 };
        }
        (*v)[*n] = t;
        if (t.kind == SQL_T_END)
            return *n ? 1 : 0;
        if (++*n > SQL_TOKENS_MAX)
            return err_set(e, ERR_LIMIT, "a statement of more than %d words", SQL_TOKENS_MAX);
    }
}

static int
translate(struct sql_x *x)
{
    const struct sql_token *first = &x->t[0];

    x->st->verb = first->text;
    if (first->kind == SQL_T_WORD) {
        for (size_t i = 0; i < COUNT_OF(statements); i++) {
            if (!sl_ieqz(first->text, statements[i].word))
                continue;
            x->at = 1;
            if (statements[i].run(x) < 0)
                return -1;
            return x->at < x->n ? sqlx_unexpected(x) : 0;
        }
    }
    return err_set(x->e, ERR_CLIENT, "no statement begins with '%.*s'",
                   (int)(first->text.n < 60 ? first->text.n : 60), first->text.p);
}

int
sql_next(struct sql_in *in, struct sql_statement *out, struct err *e)
{
    struct sql_token *tokens = NULL;
    struct sql_x x = { .in = in, .st = out, .out = &in->out, .e = e };
    unsigned line = in->lex.line;
    int rc;

    *out = (struct sql_statement){ .kind = SQL_CHANGE };
    arena_reset(&in->mem);
    buf_reset(&in->out);
    rc = take_tokens(in, &tokens, &x.n, &line, e);
    if (rc > 0) {
        x.t = tokens;
        rc = translate(&x) < 0 ? -1 : 1;
        out->sql = buf_slice(&in->out);
        out->line = line;
    }
    if (rc < 0)
        err_prefix(e, "line %u", line);
    free(tokens);
    return rc;
}
