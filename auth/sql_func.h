/* auth/sql_func.h - MySQL's functions for SQLite: what the guide's statements and Postfix's map files call.
 * Layer: auth. */
#ifndef POSTERN_AUTH_SQL_FUNC_H
#define POSTERN_AUTH_SQL_FUNC_H

#include "db/db.h"

/* CONCAT CONCAT_WS ENCRYPT MD5 SHA SHA1 SHA2 RAND NOW UNIX_TIMESTAMP SUBSTRING_INDEX REGEXP ... in d. */
int sql_add_functions(struct db *d, struct err *e);

#endif
