/* auth/table_cf.h - Postfix's own .cf files of mysql: and sqlite: tables (mysql_table(5), sqlite_table(5)): what they
 * say, and how %s and its kin are filled in. Layer: auth. */
#ifndef POSTERN_AUTH_TABLE_CF_H
#define POSTERN_AUTH_TABLE_CF_H

#include "auth/sql_translate.h"
#include "auth/table_lines.h"

struct table_cf {
    struct table_file file;
    struct arena mem;
    char *query, *result_format, *hosts, *dbname, *dbpath, *domain; /* in mem; NULL: not set */
    uint64_t expansion_limit;                                       /* 0: none */
};
/* Read the file of t. query is made of table, select_field, where_field and additional_conditions when not given. */
int table_cf_open(struct table_cf *cf, const struct table *t, struct err *e);
void table_cf_close(struct table_cf *cf);
/* hosts names no other machine than this. *which (may be NULL): the first that does. */
bool table_cf_is_local(const struct table_cf *cf, struct slice *which);
/* Is this key one that "domain = ..." lets through? */
bool table_cf_wants(const struct table_cf *cf, struct slice key);

/* What a letter of a query stands for, given the key; false: this query is not asked for this key. out is in mem. */
bool table_cf_param(char letter, struct slice key, struct arena *mem, struct slice *out);
/* result_format with one result value; appended to out after a comma when out is not empty. */
void table_cf_result(const struct table_cf *cf, struct slice key, struct slice value,
                     struct buf *out);
/* The same query text for SQLite's own dialect: '%s' becomes ''||?1||''. */
int table_cf_bind_text(const char *query, struct buf *out, char params[SQL_PARAMS_MAX],
                       size_t *n_params, struct err *e);

#endif
