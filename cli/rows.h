/* cli/rows.h - rows of a query on standard output: MySQL's box, tab-separated for scripts, or JSON. Layer: cli. */
#ifndef POSTERN_CLI_ROWS_H
#define POSTERN_CLI_ROWS_H

#include "db/db.h"

enum rows_format { ROWS_TABLE, ROWS_BATCH, ROWS_JSON };

/* Step s to its end and print. JSON: an array of objects. -1: e. */
int rows_print(struct db_stmt *s, enum rows_format format, struct err *e);

/* ---- the users' database, as every command of users opens it (cli/users_db.c) ---- */
struct conf;
struct users;
/* 0, or an exit code after a message of `command`. make: create file and the guide's tables where absent; created as
 * root the file is given to authd's user. */
int users_db_open(const struct conf *c, const char *command, bool make, struct users **out);
/* Print "postern COMMAND: message" and give the exit code that e's kind means. */
int users_db_fail(const char *command, const struct err *e);

#endif
