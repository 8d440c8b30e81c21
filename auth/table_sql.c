/* auth/table_sql.c - mysql: (answered by users_database, the query translated) and sqlite: (a file of its own).
 * Values are bound, never part of the text. */
#include "auth/table_sql.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

enum { SQL_LOOKUP_MEM_OCTETS = 64 * 1024, SQLITE_TABLE_CACHE_KIB = 256 };

struct sql_table {
    struct table_cf cf;
    bool has_cf;
    struct db *own; /* sqlite: only */
    int64_t version;
    struct db_stmt *stmt;
    char params[SQL_PARAMS_MAX];
    size_t n_params;
    bool has_domains; /* mysql: once seen, asked again only after a change */
};

const struct table_cf *
table_mysql_cf(const struct table *t)
{
    const struct sql_table *x = t->state;

    return x && x->has_cf ? &x->cf : NULL;
}

static int
prepare(struct sql_table *x, struct db *d, struct slice sql, struct err *e)
{
    if (db_prepare_once(d, sql, &x->stmt, NULL, e) == 0) {
        /* Within "..." or a comment it would be no parameter, and binding it a bug. */
        if ((size_t)db_bind_count(x->stmt) >= x->n_params)
            return 0;
        err_set(e, ERR_CONFIG, "a %%s must stand alone or within '...'");
    }
    return err_prefix(e, "%s: the query", x->cf.file.path);
}

static int
mysql_open(struct table *t, struct err *e)
{
    struct sql_table *x = MEM_NEW(struct sql_table);
    struct sql_statement st;
    struct sql_in in;
    struct users *u;
    int rc;

    t->state = x;
    if (table_cf_open(&x->cf, t, e) < 0)
        return -1;
    x->has_cf = true;
    u = table_set_users(t->set, e);
    if (u == NULL)
        return -1;
    sql_open(&in, sl_z(x->cf.query), true, sl_z(x->cf.dbname));
    rc = sql_next(&in, &st, e);
    if (rc == 0 || (rc > 0 && st.kind != SQL_QUERY))
        rc = err_set(e, ERR_CONFIG, "the query is no SELECT");
    if (rc < 0) {
        err_prefix(e, "%s", x->cf.file.path);
        e->kind = ERR_CONFIG;
    } else {
        memcpy(x->params, st.params, sizeof x->params);
        x->n_params = st.n_params;
        rc = prepare(x, users_db(u), st.sql, e);
    }
    sql_close(&in);
    return rc;
}

static int
sqlite_open(struct table *t, struct err *e)
{
    struct sql_table *x = MEM_NEW(struct sql_table);
    struct buf sql = { 0 };
    int rc;

    t->state = x;
    if (table_cf_open(&x->cf, t, e) < 0)
        return -1;
    x->has_cf = true;
    if (x->cf.dbpath == NULL)
        return err_set(e, ERR_CONFIG, "%s: no dbpath", x->cf.file.path);
    if (db_open(x->cf.dbpath, DB_READONLY, SQLITE_TABLE_CACHE_KIB, &x->own, e) < 0)
        return -1;
    x->version = db_data_version(x->own);
    rc = table_cf_bind_text(x->cf.query, &sql, x->params, &x->n_params, e);
    if (rc == 0)
        rc = prepare(x, x->own, buf_slice(&sql), e);
    buf_free(&sql);
    return rc;
}

/* Every row's every column is a result. */
static enum table_rc
read_rows(struct sql_table *x, struct slice key, struct buf *value, struct err *e)
{
    uint64_t n = 0;
    int rc;

    while ((rc = db_step(x->stmt, e)) > 0) {
        for (int i = 0; i < db_columns(x->stmt); i++) {
            if (db_is_null(x->stmt, i) || db_text(x->stmt, i).n == 0)
                continue;
            if ((x->cf.expansion_limit && ++n > x->cf.expansion_limit) ||
                value->n > TABLE_VALUE_OCTETS) {
                db_reset(x->stmt);
                err_set(e, ERR_TEMP, "%s: expansion limit exceeded for key %.*s", x->cf.file.path,
                        SL_ARG(key));
                return TABLE_TEMP;
            }
            table_cf_result(&x->cf, key, db_text(x->stmt, i), value);
        }
    }
    if (rc < 0)
        return TABLE_TEMP;
    return value->n ? TABLE_FOUND : TABLE_NOTFOUND;
}

static enum table_rc
sql_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct sql_table *x = t->state;
    struct arena mem = { .cap = SQL_LOOKUP_MEM_OCTETS };
    enum table_rc rc = TABLE_NOTFOUND;
    bool is_asked = table_cf_wants(&x->cf, key);

    for (size_t i = 0; i < x->n_params && is_asked; i++) {
        struct slice v;

        is_asked = table_cf_param(x->params[i], key, &mem, &v);
        if (is_asked)
            db_bind_text(x->stmt, (int)i + 1, v);
    }
    if (is_asked)
        rc = read_rows(x, key, value, e);
    arena_free(&mem);
    return rc;
}

/* "Not there" from a database that somebody emptied would bounce good mail: without any domain it is no answer. */
static enum table_rc
mysql_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct sql_table *x = t->state;
    enum table_rc rc = sql_lookup(t, key, value, e);
    struct users *u;
    int has;

    if (rc != TABLE_NOTFOUND || x->has_domains)
        return rc;
    u = table_set_users(t->set, e);
    if (u == NULL)
        return TABLE_TEMP;
    has = users_has_domains(u, e);
    if (has == 0)
        err_set(e, ERR_TEMP, "%s has no domain in it", table_conf(t)->users_database);
    if (has <= 0)
        return TABLE_TEMP;
    x->has_domains = true;
    return rc;
}

/* The database's own changes are seen by the set; a changed .cf file means opening anew. */
static bool
mysql_poll(struct table *t)
{
    struct sql_table *x = t->state;

    return table_file_changed(&x->cf.file);
}

static bool
sqlite_poll(struct table *t)
{
    struct sql_table *x = t->state;

    return table_file_changed(&x->cf.file) || (x->own && db_data_version(x->own) != x->version);
}

static void
sql_close_table(struct table *t)
{
    struct sql_table *x = t->state;

    db_stmt_free(&x->stmt);
    db_close(&x->own);
    table_cf_close(&x->cf);
    free(x);
}

const struct table_type table_mysql = { "mysql",    mysql_open,      mysql_lookup,
                                        mysql_poll, sql_close_table, false };
const struct table_type table_sqlite = { "sqlite",    sqlite_open,     sql_lookup,
                                         sqlite_poll, sql_close_table, false };
