/* queue/qdb_int.h - shared by qdb.c (opening, changes) and qdb_read.c. Layer: queue, private. */
#ifndef POSTERN_QUEUE_QDB_INT_H
#define POSTERN_QUEUE_QDB_INT_H

#include "db/db.h"
#include "queue/qdb.h"

struct qdb {
    struct db *db;
    char *dir;
    uint32_t db_bits;
    uint64_t next, first_new;
    uint64_t wal_octets;
    bool is_files_dirty; /* a file was moved in and its folder is not synced yet */
    bool is_readonly;
    bool keeps_orphans; /* rows were lost: files that no row names are put aside, not removed */
};

/* Salvage into q what a set-aside database still has. */
int qdb_salvage_into(struct qdb *q, const char *damaged_path, struct err *e);

#endif
