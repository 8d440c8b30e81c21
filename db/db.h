/* db/db.h - SQLite behind the project's errors: open with our settings, statements kept prepared, transactions.
 * The only folder that includes <sqlite3.h>. Everything here blocks: work pool or start-up only.
 * A handle belongs to one thread at a time. Layer: db. */
#ifndef POSTERN_DB_DB_H
#define POSTERN_DB_DB_H

#include "base/err.h"
#include "base/slice.h"

struct db;
struct db_stmt;

enum {
    DB_CREATE = 1, /* make the file when absent (mode 0600) */
    DB_READONLY = 2,
    DB_EXCLUSIVE = 4, /* locking_mode=EXCLUSIVE: one connection only */
    DB_SYNC_FULL = 8, /* synchronous=FULL: a commit is on disk; default NORMAL */
    DB_WAL = 16,      /* journal_mode=WAL */
    DB_NO_AUTOCHECKPOINT = 32,
    DB_IMPATIENT = 64 /* wait for another's lock only DB_IMPATIENT_MS */
};
enum { DB_BUSY_TIMEOUT_MS = 5000, DB_IMPATIENT_MS = 1000 };

/* path ":memory:" is a database without a file. cache_kib: page cache; 0: 256 KiB. foreign_keys are on. Errors: ERR_TEMP (busy, full, I/O; err_is_full() knows
 * SQLITE_FULL), ERR_NOTFOUND (no file and no DB_CREATE), ERR_BUG (SQL misuse). A damaged file: ERR_PERM. */
int db_open(const char *path, unsigned flags, unsigned cache_kib, struct db **out, struct err *e);
void db_close(struct db **d); /* NULL-safe; finalises every statement */
/* What is wrong with the file is no refusal to whoever asks: from here on ERR_TEMP takes ERR_PERM's place. Has a statement
 * met damage since the file was opened? */
void db_damage_is_temp(struct db *d);
bool db_is_damaged(const struct db *d);

/* Run SQL text of several statements without results. */
int db_exec(struct db *d, const char *sql, struct err *e);

/* The prepared statement for this SQL text; the same pointer `sql` (a literal) gives the same statement again, reset
 * and unbound. Owned by the db. */
int db_prepare(struct db *d, const char *sql, struct db_stmt **out, struct err *e);
/* A statement for text that comes and goes (an operator's query); the caller frees it. tail (may be NULL): what
 * follows the first statement. */
int db_prepare_once(struct db *d, struct slice sql, struct db_stmt **out, const char **tail,
                    struct err *e);
void db_stmt_free(struct db_stmt **s);

/* Bind by position from 1. Text and blobs are copied. */
void db_bind_int(struct db_stmt *s, int at, int64_t v);
void db_bind_text(struct db_stmt *s, int at, struct slice v);
void db_bind_blob(struct db_stmt *s, int at, struct slice v);
void db_bind_null(struct db_stmt *s, int at);
int db_bind_count(struct db_stmt *s);

/* 1: a row is there; 0: done; -1: e. After 0 and -1 the statement is reset. */
int db_step(struct db_stmt *s, struct err *e);
/* Step a statement that gives no row: 0 or -1. */
int db_run(struct db_stmt *s, struct err *e);
void db_reset(struct db_stmt *s); /* leave a row loop early */

/* Columns from 0; slices are valid until the next step or reset. */
int db_columns(struct db_stmt *s);
const char *db_column_name(struct db_stmt *s, int at);
int64_t db_int(struct db_stmt *s, int at);
struct slice db_text(struct db_stmt *s, int at); /* also for blobs */
bool db_is_null(struct db_stmt *s, int at);

/* From now on wait so long for another's lock; 0: not at all. */
void db_set_patience(struct db *d, unsigned ms);
int db_begin(struct db *d, struct err *e);  /* BEGIN IMMEDIATE */
int db_commit(struct db *d, struct err *e); /* rolls back when it fails */
void db_rollback(struct db *d);
bool db_in_tx(struct db *d);
int64_t db_last_id(struct db *d);
int64_t db_changes(struct db *d);
int64_t db_data_version(struct db *d); /* changes when another connection has committed */
int db_checkpoint(struct db *d, bool truncate, struct err *e);
void db_set_cache(struct db *d, unsigned kib); /* pages in memory, from now on */
/* user_version pragma. */
int db_schema_version(struct db *d, int *out, struct err *e);
int db_set_schema_version(struct db *d, int v, struct err *e);
/* quick_check; -1 with ERR_PERM and what is damaged. */
int db_check(struct db *d, struct err *e);

/* A SQL function of our own. fn is called for each call in a statement, in the thread that steps it; it gives a result
 * by one db_result_ function (none: NULL). n_args -1: any number. is_pure: same arguments, same result. */
struct db_call;
int db_add_function(struct db *d, const char *name, int n_args, bool is_pure,
                    void (*fn)(struct db_call *c, void *arg), void *arg, struct err *e);
size_t db_call_count(const struct db_call *c);
struct slice db_call_text(const struct db_call *c,
                          size_t at); /* valid during the call; p NULL for SQL's NULL */
bool db_call_is_null(const struct db_call *c, size_t at);
int64_t db_call_int(const struct db_call *c, size_t at);
void db_result_text(struct db_call *c, struct slice s); /* copied */
void db_result_int(struct db_call *c, int64_t v);
void db_result_real(struct db_call *c, double v);
void db_result_error(struct db_call *c, const char *msg); /* the statement fails with these words */

#endif
