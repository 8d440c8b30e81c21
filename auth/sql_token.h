/* auth/sql_token.h - MySQL's words: text to tokens. Comments are skipped, except that what stands inside
 * an executable comment (slash-star-bang, a version number) is read as if it stood there. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SQL_TOKEN_H
#define POSTERN_AUTH_SQL_TOKEN_H

#include "base/arena.h"
#include "base/err.h"

enum sql_token_kind {
    SQL_T_END,
    SQL_T_WORD,   /* keyword or name as written */
    SQL_T_NAME,   /* `quoted name`; text is without the quotes */
    SQL_T_STRING, /* text is the value: quotes and escapes are undone, neighbours joined */
    SQL_T_NUMBER,
    SQL_T_HEX,   /* 0xABCD or x'ABCD'; text is the digits */
    SQL_T_PARAM, /* %s and its kin, outside of quotes; text is the letter */
    SQL_T_VAR,   /* @x, @@x */
    SQL_T_OP     /* one operator or punctuation mark */
};
struct sql_token {
    enum sql_token_kind kind;
    struct slice text;
    bool is_spaced; /* white space before it */
};

struct sql_lex {
    struct slice in;   /* what is left */
    struct arena *mem; /* for values of strings */
    bool
        is_template; /* Postfix's query: %s and its kin are parameters; in strings they stay as written */
    unsigned line; /* of the input's front, from 1 */
    bool in_exec_comment;
};

/* The next token; SQL_T_END at the end of the input. -1: e (an open string or comment, a strange octet). */
int sql_lex(struct sql_lex *l, struct sql_token *out, struct err *e);

#endif
