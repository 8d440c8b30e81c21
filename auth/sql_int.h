/* auth/sql_int.h - what the files of the translator share. Layer: auth, folder-private. */
#ifndef POSTERN_AUTH_SQL_INT_H
#define POSTERN_AUTH_SQL_INT_H

#include "auth/sql_translate.h"

/* A statement being translated: tokens in, text out. t[n] is SQL_T_END. */
struct sql_x {
    struct sql_in *in;
    struct sql_statement *st;
    struct sql_token *t;
    size_t n, at;
    struct buf *out;
    unsigned depth; /* of parentheses */
    char paren
        [SQL_DEPTH_MAX]; /* what opened each: 's' SUBSTRING(, 'v' VALUES( after ON DUPLICATE KEY, else ' ' */
    bool is_upsert;
    struct err *e;
};

/* Looking. */
static inline const struct sql_token *
sqlx_peek(const struct sql_x *x, size_t ahead)
{
    return &x->t[x->at + ahead < x->n ? x->at + ahead : x->n];
}
bool sqlx_is_word(const struct sql_token *t,
                  const char *word); /* without case; never a quoted name */
bool sqlx_is_op(const struct sql_token *t, const char *op);
bool sqlx_is_name(const struct sql_token *t); /* a word or a quoted name */
bool sqlx_take_word(struct sql_x *x, const char *word);
bool sqlx_take_op(struct sql_x *x, const char *op);
/* Words in a row, all or none: "if not exists". */
bool sqlx_take_words(struct sql_x *x, const char *words);
int sqlx_unexpected(struct sql_x *x); /* -1: "... near X" */

/* Writing; each begins with a space. */
void sqlx_add(struct sql_x *x, const char *text);
void sqlx_add_name(struct sql_x *x, struct slice name);    /* "name" */
void sqlx_add_string(struct sql_x *x, struct slice value); /* 'value' */

/* A table's name, a database before it dropped; not written. */
int sqlx_take_table(struct sql_x *x, struct slice *name);
/* Translate one token of an expression, and step past it. */
int sqlx_expr_token(struct sql_x *x);
/* All that is left. */
int sqlx_rest(struct sql_x *x);
/* "( col [(len)] [ASC|DESC], ... )" as SQLite's list of columns. */
int sqlx_columns(struct sql_x *x);

int sqlx_create_table(struct sql_x *x); /* after CREATE TABLE; sql_create.c */
/* A column's definition (name, type, attributes), for CREATE and ALTER TABLE ADD. */
int sqlx_column(struct sql_x *x);

#endif
