/* auth/sql_create.c - CREATE TABLE: types are kept as written where SQLite gives them the right affinity, lengths of
 * char and varchar are checked as MySQL's strict mode does, text compares without case, KEY becomes CREATE INDEX. */
#include "auth/sql_int.h"

#include "base/mem.h"

/* ---- types ---- */

static const struct {
    const char *mysql, *sqlite;
    bool is_text, has_length;
} types[] = {
    { "varchar", NULL, true, true },       { "char", NULL, true, true },
    { "tinytext", NULL, true, false },     { "text", NULL, true, false },
    { "mediumtext", NULL, true, false },   { "longtext", NULL, true, false },
    { "enum", "text", true, false },       { "set", "text", true, false },
    { "json", "text", false, false },      { "binary", "blob", false, false },
    { "varbinary", "blob", false, false }, { "serial", "INTEGER", false, false },
};

struct column {
    struct slice name;
    bool is_text, is_binary, is_auto;
    uint64_t max_chars; /* 0: no limit */
};

/* "(11)" or "('a','b')" after a type; the first number is its length. keep: write it too. */
static int
type_arguments(struct sql_x *x, bool keep, uint64_t *length)
{
    if (!sqlx_take_op(x, "("))
        return 0;
    sl_to_u64(sqlx_peek(x, 0)->text, length);
    if (keep)
        buf_addc(x->out, '(');
    for (; x->at < x->n && !sqlx_is_op(sqlx_peek(x, 0), ")"); x->at++)
        if (keep)
            buf_adds(x->out, sqlx_peek(x, 0)->text);
    if (keep)
        buf_addc(x->out, ')');
    return sqlx_take_op(x, ")") ? 0 : sqlx_unexpected(x);
}

static int
column_type(struct sql_x *x, struct column *c)
{
    struct slice name = sqlx_peek(x, 0)->text;
    const char *as = NULL;
    bool has_length = false;
    uint64_t length = 0;

    if (sqlx_peek(x, 0)->kind != SQL_T_WORD)
        return sqlx_unexpected(x);
    x->at++;
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (sl_ieqz(name, types[i].mysql)) {
            as = types[i].sqlite;
            c->is_text = types[i].is_text;
            has_length = types[i].has_length;
        }
    }
    if (sl_ieqz(name, "double"))
        sqlx_take_word(x, "precision");
    buf_addc(x->out, ' ');
    buf_adds(x->out, as ? sl_z(as) : name);
    if (type_arguments(x, as == NULL, &length) < 0)
        return -1;
    c->max_chars = has_length ? length : 0;
    return 0;
}

/* ---- attributes ---- */

/* DEFAULT 'x', 5, NULL, current_timestamp(): one token, perhaps with a sign or empty parentheses. */
static int
default_value(struct sql_x *x)
{
    sqlx_add(x, "DEFAULT");
    if (sqlx_take_word(x, "NULL")) {
        sqlx_add(x, "NULL");
        return 0;
    }
    if (sqlx_take_word(x, "CURRENT_TIMESTAMP") || sqlx_take_word(x, "NOW")) {
        sqlx_add(x, "CURRENT_TIMESTAMP");
        if (sqlx_take_op(x, "("))
            return sqlx_take_op(x, ")") ? 0 : sqlx_unexpected(x);
        return 0;
    }
    if (sqlx_is_op(sqlx_peek(x, 0), "-") && sqlx_expr_token(x) < 0)
        return -1;
    if (sqlx_is_op(sqlx_peek(x, 0), "(")) {
        unsigned depth = x->depth;

        do
            if (sqlx_expr_token(x) < 0)
                return -1;
        while (x->depth > depth);
        return 0;
    }
    return sqlx_expr_token(x);
}

static int
references(struct sql_x *x)
{
    struct slice table;

    if (sqlx_take_table(x, &table) < 0)
        return -1;
    sqlx_add(x, "REFERENCES");
    sqlx_add_name(x, table);
    if (sqlx_columns(x) < 0)
        return -1;
    while (sqlx_is_word(sqlx_peek(x, 0), "ON")) { /* ON DELETE CASCADE, ON UPDATE SET NULL */
        static const char *const actions[] = { "CASCADE", "RESTRICT", "SET NULL", "SET DEFAULT",
                                               "NO ACTION" };
        const char *action = NULL;

        x->at++;
        if (sqlx_take_word(x, "DELETE"))
            sqlx_add(x, "ON DELETE");
        else if (sqlx_take_word(x, "UPDATE"))
            sqlx_add(x, "ON UPDATE");
        else
            return sqlx_unexpected(x);
        for (size_t i = 0; i < COUNT_OF(actions) && action == NULL; i++)
            if (sqlx_take_words(x, actions[i]))
                action = actions[i];
        if (action == NULL)
            return sqlx_unexpected(x);
        sqlx_add(x, action);
    }
    return 0;
}

static bool
is_column_end(const struct sql_x *x)
{
    const struct sql_token *t = sqlx_peek(x, 0);

    return t->kind == SQL_T_END || sqlx_is_op(t, ",") || sqlx_is_op(t, ")");
}

/* "CHARACTER SET utf8", "COLLATE x", "COMMENT 'x'": words with one argument that change nothing but the collation. */
static bool
take_text_option(struct sql_x *x, struct column *c)
{
    bool is_collate = sqlx_is_word(sqlx_peek(x, 0), "COLLATE");

    if (sqlx_take_words(x, "CHARACTER SET") || sqlx_take_word(x, "CHARSET") ||
        sqlx_take_word(x, "COMMENT") || sqlx_take_word(x, "COLLATE")) {
        sqlx_take_op(x, "=");
        if (is_collate && sl_has_isuffix(sqlx_peek(x, 0)->text, SL("_bin")))
            c->is_binary = true;
        x->at += x->at < x->n;
        return true;
    }
    if (sqlx_take_word(x, "BINARY")) {
        c->is_binary = true;
        return true;
    }
    return sqlx_take_word(x, "UNSIGNED") || sqlx_take_word(x, "ZEROFILL") ||
           sqlx_take_word(x, "SIGNED") || sqlx_take_word(x, "VISIBLE");
}

static int
column_attribute(struct sql_x *x, struct column *c)
{
    if (take_text_option(x, c))
        return 0;
    if (sqlx_take_word(x, "NULL") || sqlx_take_word(x, "AUTO_INCREMENT"))
        return 0; /* the one says nothing, the other is written with the type */
    if (sqlx_take_words(x, "NOT NULL")) {
        sqlx_add(x, "NOT NULL");
    } else if (sqlx_take_word(x, "DEFAULT")) {
        return default_value(x);
    } else if (sqlx_take_words(x, "ON UPDATE")) {
        x->at += x->at < x->n; /* CURRENT_TIMESTAMP: kept by nobody here */
        if (sqlx_take_op(x, "("))
            return sqlx_take_op(x, ")") ? 0 : sqlx_unexpected(x);
    } else if (sqlx_take_words(x, "PRIMARY KEY")) {
        if (!c->is_auto)
            sqlx_add(x, "PRIMARY KEY");
    } else if (sqlx_take_word(x, "UNIQUE")) {
        sqlx_take_word(x, "KEY");
        sqlx_add(x, "UNIQUE");
    } else if (sqlx_take_word(x, "REFERENCES")) {
        return references(x);
    } else {
        return sqlx_unexpected(x);
    }
    return 0;
}

static bool
has_auto_increment(const struct sql_x *x)
{
    unsigned depth = 0;

    for (size_t i = x->at; i < x->n; i++) {
        const struct sql_token *t = &x->t[i];

        if (sqlx_is_op(t, "("))
            depth++;
        else if (depth == 0 && (sqlx_is_op(t, ")") || sqlx_is_op(t, ",")))
            return false;
        else if (sqlx_is_op(t, ")"))
            depth--;
        else if (sqlx_is_word(t, "AUTO_INCREMENT") || sqlx_is_word(t, "SERIAL"))
            return true;
    }
    return false;
}

int
sqlx_column(struct sql_x *x)
{
    struct column c = { .is_auto = has_auto_increment(x) };

    if (!sqlx_is_name(sqlx_peek(x, 0)))
        return sqlx_unexpected(x);
    c.name = sqlx_peek(x, 0)->text;
    x->at++;
    sqlx_add_name(x, c.name);
    if (c.is_auto) {
        size_t before =
            x->out->n; /* int(11) would make no row id of it: the type is read, not written */

        if (column_type(x, &c) < 0)
            return -1;
        buf_truncate(x->out, before);
        sqlx_add(x, "INTEGER PRIMARY KEY AUTOINCREMENT");
    } else if (column_type(x, &c) < 0) {
        return -1;
    }
    while (!is_column_end(x))
        if (column_attribute(x, &c) < 0)
            return -1;
    if (c.is_text)
        sqlx_add(x, c.is_binary ? "COLLATE BINARY" : "COLLATE NOCASE");
    if (c.max_chars) {
        buf_addf(x->out, " CONSTRAINT \"Data too long for column '%.*s'\" CHECK ( length(",
                 SL_ARG(c.name));
        sqlx_add_name(x, c.name);
        buf_addf(x->out, " ) <= %llu )", (unsigned long long)c.max_chars);
    }
    return 0;
}

/* ---- the table ---- */

struct keys {
    struct slice table;
    struct slice auto_column; /* of the column that is the row id */
    struct buf indexes;       /* CREATE INDEX statements for after the table */
};

/* Is the list at the cursor "(name)"? */
static bool
is_only_column(const struct sql_x *x, struct slice name)
{
    return name.n && sqlx_is_op(sqlx_peek(x, 0), "(") && sl_ieq(sqlx_peek(x, 1)->text, name) &&
           sqlx_is_op(sqlx_peek(x, 2), ")");
}

static void
skip_index_options(struct sql_x *x)
{
    while (sqlx_take_word(x, "USING") || sqlx_take_word(x, "KEY_BLOCK_SIZE") ||
           sqlx_take_word(x, "COMMENT")) {
        sqlx_take_op(x, "=");
        x->at += x->at < x->n;
    }
}

/* KEY name (cols): an index of its own, named after table and key because SQLite's names are the database's. */
static int
plain_key(struct sql_x *x, struct keys *k, bool is_written)
{
    struct slice name = SL("key");
    struct buf *table_out = x->out, unused = { 0 };
    int rc;

    if (!sqlx_is_op(sqlx_peek(x, 0), "(")) {
        name = sqlx_peek(x, 0)->text;
        x->at += x->at < x->n;
    } else if (sqlx_is_name(sqlx_peek(x, 1))) {
        name = sqlx_peek(x, 1)->text;
    }
    skip_index_options(x);
    x->out = is_written ? &k->indexes : &unused;
    buf_addz(x->out, "; CREATE INDEX IF NOT EXISTS \"");
    buf_adds(x->out, k->table);
    buf_addc(x->out, '_');
    buf_adds(x->out, name);
    buf_addz(x->out, "\" ON");
    sqlx_add_name(x, k->table);
    rc = sqlx_columns(x);
    buf_free(&unused);
    x->out = table_out;
    skip_index_options(x);
    return rc;
}

static int
primary_key(struct sql_x *x, struct keys *k, bool *was_written)
{
    skip_index_options(x);
    if (is_only_column(x, k->auto_column)) {
        x->at += 3;
        *was_written = false;
    } else {
        sqlx_add(x, k->auto_column.n ? "UNIQUE" : "PRIMARY KEY");
        if (sqlx_columns(x) < 0)
            return -1;
    }
    skip_index_options(x);
    return 0;
}

static int
unique_key(struct sql_x *x)
{
    if (!sqlx_take_word(x, "KEY"))
        sqlx_take_word(x, "INDEX");
    if (!sqlx_is_op(sqlx_peek(x, 0), "("))
        x->at += x->at < x->n;
    skip_index_options(x);
    sqlx_add(x, "UNIQUE");
    if (sqlx_columns(x) < 0)
        return -1;
    skip_index_options(x);
    return 0;
}

static int
foreign_key(struct sql_x *x)
{
    if (!sqlx_is_op(sqlx_peek(x, 0), "("))
        x->at += x->at < x->n; /* its name */
    sqlx_add(x, "FOREIGN KEY");
    if (sqlx_columns(x) < 0)
        return -1;
    return sqlx_take_word(x, "REFERENCES") ? references(x) : sqlx_unexpected(x);
}

static int
check_clause(struct sql_x *x)
{
    unsigned depth = x->depth;

    sqlx_add(x, "CHECK");
    do
        if (sqlx_expr_token(x) < 0)
            return -1;
    while (x->depth > depth);
    return 0;
}

/* One key or constraint: 1 when it was one, 0 when a column begins here, -1. */
static int
table_key(struct sql_x *x, struct keys *k, bool *was_written)
{
    bool is_fulltext;

    if (sqlx_take_word(x, "CONSTRAINT") && sqlx_is_name(sqlx_peek(x, 0)) &&
        !sqlx_is_word(sqlx_peek(x, 0), "FOREIGN") && !sqlx_is_word(sqlx_peek(x, 0), "PRIMARY") &&
        !sqlx_is_word(sqlx_peek(x, 0), "UNIQUE") && !sqlx_is_word(sqlx_peek(x, 0), "CHECK"))
        x->at++; /* its name */
    if (sqlx_take_words(x, "PRIMARY KEY"))
        return primary_key(x, k, was_written) < 0 ? -1 : 1;
    if (sqlx_take_word(x, "UNIQUE"))
        return unique_key(x) < 0 ? -1 : 1;
    if (sqlx_take_words(x, "FOREIGN KEY"))
        return foreign_key(x) < 0 ? -1 : 1;
    if (sqlx_take_word(x, "CHECK"))
        return check_clause(x) < 0 ? -1 : 1;
    is_fulltext = sqlx_take_word(x, "FULLTEXT") || sqlx_take_word(x, "SPATIAL");
    if (sqlx_take_word(x, "KEY") || sqlx_take_word(x, "INDEX") || is_fulltext) {
        *was_written = false;
        return plain_key(x, k, !is_fulltext) < 0 ? -1 : 1;
    }
    return 0;
}

static int
table_elements(struct sql_x *x, struct keys *k)
{
    bool has_written = false;

    do {
        size_t before = x->out->n;
        bool was_written = true;
        int rc;

        if (has_written)
            sqlx_add(x, ",");
        rc = table_key(x, k, &was_written);
        if (rc == 0) {
            if (has_auto_increment(x))
                k->auto_column = sqlx_peek(x, 0)->text;
            rc = sqlx_column(x);
        }
        if (rc < 0)
            return -1;
        if (was_written)
            has_written = true;
        else
            buf_truncate(x->out, before);
    } while (sqlx_take_op(x, ","));
    return sqlx_take_op(x, ")") ? 0 : sqlx_unexpected(x);
}

int
sqlx_create_table(struct sql_x *x)
{
    struct keys k = { 0 };
    int rc = -1;

    sqlx_add(x, "CREATE TABLE");
    if (sqlx_take_words(x, "IF NOT EXISTS"))
        sqlx_add(x, "IF NOT EXISTS");
    if (sqlx_take_table(x, &k.table) < 0)
        return -1;
    sqlx_add_name(x, k.table);
    if (!sqlx_take_op(x, "("))
        return err_set(x->e, ERR_CLIENT, "CREATE TABLE %.*s: only a list of columns is known here",
                       SL_ARG(k.table));
    sqlx_add(x, "(");
    if (table_elements(x, &k) == 0) {
        sqlx_add(x, ")");
        x->at =
            x->n; /* ENGINE=, DEFAULT CHARSET=, AUTO_INCREMENT=, COMMENT=, partitions: nothing here */
        buf_adds(x->out, buf_slice(&k.indexes));
        rc = 0;
    }
    buf_free(&k.indexes);
    return rc;
}
