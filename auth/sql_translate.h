/* auth/sql_translate.h - MySQL's statements as SQLite says them. One tokeniser, one statement at a time; what has no
 * meaning here (GRANT, SET, LOCK TABLES, ENGINE=...) is recognised and said to be nothing, what cannot be translated
 * is an error with its words. Functions of MySQL that SQLite has not are in sql_func.h.
 * Comparison of text ignores case: text columns and parameters carry COLLATE NOCASE. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SQL_TRANSLATE_H
#define POSTERN_AUTH_SQL_TRANSLATE_H

#include "auth/sql_token.h"
#include "base/buf.h"

enum {
    SQL_PARAMS_MAX = 32,
    SQL_DEPTH_MAX = 64,
    SQL_TOKENS_MAX = 4 * 1024 * 1024, /* one INSERT of a dump holds a megabyte of rows */
    SQL_MEM_OCTETS = 1024 * 1024 * 1024
};

enum sql_kind {
    SQL_QUERY,   /* gives rows */
    SQL_CHANGE,  /* one or more statements, separated by ';', without rows */
    SQL_NOTHING, /* nothing to do here */
    SQL_TX,      /* BEGIN, COMMIT, ROLLBACK: sql is that word */
    SQL_FOREIGN_KEYS_OFF,
    SQL_FOREIGN_KEYS_ON
};
struct sql_statement {
    enum sql_kind kind;
    struct slice sql;            /* for SQLite; valid until the next sql_next() */
    struct slice verb;           /* as written: "INSERT" */
    unsigned line;               /* where it begins, from 1 */
    char params[SQL_PARAMS_MAX]; /* template: the letter of ?1, ?2, ... */
    size_t n_params;
};

struct sql_in {
    struct sql_lex lex;
    struct arena mem;
    struct buf out;
    struct slice db_names[8]; /* names that may stand before a table's and are dropped */
    size_t n_db_names;
};

/* text is borrowed until sql_close(). dbname (may be empty): the database's name in MySQL; "mailserver" is always known.
 * is_template: a query of Postfix's map files with %s and its kin. */
void sql_open(struct sql_in *in, struct slice text, bool is_template, struct slice dbname);
void sql_close(struct sql_in *in);
/* 1: *out is the next statement; 0: none is left; -1: e, with "line N: ". */
int sql_next(struct sql_in *in, struct sql_statement *out, struct err *e);

#endif
