/* auth/table_sql.h - mysql: tables answered by users_database, for auth_check. Layer: auth, folder-private. */
#ifndef POSTERN_AUTH_TABLE_SQL_H
#define POSTERN_AUTH_TABLE_SQL_H

#include "auth/table_cf.h"

/* The .cf file of an open (or half open) mysql: table; NULL when it could not be read. */
const struct table_cf *table_mysql_cf(const struct table *t);

#endif
