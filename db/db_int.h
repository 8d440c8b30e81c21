/* db/db_int.h - what the files of db/ share. Layer: db, folder-private. */
#ifndef POSTERN_DB_DB_INT_H
#define POSTERN_DB_DB_INT_H

#include "db/db.h"

#include <sqlite3.h>

struct map;
struct db {
    bool is_damaged, is_damage_temp; /* see db_damage_is_temp() */
    sqlite3 *h;
    struct map *stmts; /* by the address of the SQL literal */
    char *path;
};

#endif
