/* queue/qdb_int.h - shared by
 *   qdb_open.c   opening, what a crash has left, damage
 *   qdb.c        transactions, room, closing
 *   qdb_write.c  changes
 *   qdb_read.c   reading
 *   salvage.c    what a damaged database still has
 * Layer: queue, private. */
#ifndef POSTERN_QUEUE_QDB_INT_H
#define POSTERN_QUEUE_QDB_INT_H

#include "db/db.h"
#include "queue/qdb.h"

enum { QDB_ROW_OCTETS = 8192 /* what a small change adds to the log, roughly */ };

struct qdb {
    struct db *db;
    char *dir;
    uint32_t db_bits;
    uint64_t next, first_new;
    uint64_t wal_octets;
    bool is_files_dirty; /* a file was moved in and its folder is not synced yet */
    bool is_readonly, is_open, is_closing;
    struct qdb_clock clock;
    uint64_t saved_wall_us, clock_saved_ms;
    bool keeps_orphans; /* rows were lost: files that no row names are put aside, not removed */
};

/* A path in the queue's folder. out: PATH_MAX. */
void qdb_path(const struct qdb *q, const char *name, char *out);
/* The number that a statement gives: a pragma, a count. */
int qdb_pragma_int(struct qdb *q, const char *sql, int64_t *v, struct err *e);
/* A number that the database keeps by name. ERR_PERM: there is none. */
int qdb_meta_get(struct qdb *q, const char *key, uint64_t *value, struct err *e);
int qdb_meta_set(struct qdb *q, const char *key, uint64_t value, struct err *e);
/* Salvage into q what a set-aside database still has. */
int qdb_salvage_into(struct qdb *q, const char *damaged_path, struct err *e);

#endif
