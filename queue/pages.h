/* queue/pages.h - the rows of a SQLite database that SQLite itself may not read any more: every page of the file is looked at
 * by itself (https://www.sqlite.org/fileformat2.html), so that a page that is spoilt costs only what is on it, be it the
 * header or the root of a tree. What stands in the write-ahead log is laid over the file. Every offset, length and link is
 * checked; rows that cannot be read are passed over.
 *
 * Pages that hold nothing any more must be empty, or rows that were removed come back: Debian's SQLite overwrites what is
 * deleted (secure_delete). Blocking. Layer: queue. */
#ifndef POSTERN_QUEUE_PAGES_H
#define POSTERN_QUEUE_PAGES_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

enum {
    PAGES_COLUMNS_MAX = 16,                  /* of a row; further ones are not told */
    PAGES_PAYLOAD_OCTETS = 16 * 1024 * 1024, /* longest row */
};

struct pages;
/* ERR_TEMP, ERR_NOTFOUND: the file cannot be read at all. */
int pages_open(const char *db_path, struct pages **out, struct err *e);
void pages_close(struct pages **p); /* NULL-safe */
uint32_t pages_count(const struct pages *p);
/* Something in the log is spoilt, and what was committed, and known to be, stands behind it. The frames of a last
 * transaction, which nobody may have been told of, can be torn by a power cut: that is no damage. */
bool pages_log_is_spoilt(const struct pages *p);
/* Pages that could not be read from the disk, so far. */
uint64_t pages_unreadable(const struct pages *p);

enum pages_kind { PAGES_NULL, PAGES_INT, PAGES_BYTES /* text or blob */ };
struct pages_value {
    enum pages_kind kind;
    int64_t i; /* a REAL is told as PAGES_NULL: our tables have none */
    struct slice s;
};
/* Where a row is: good for pages_read() while the pages are open. */
struct pages_place {
    uint32_t page;
    uint16_t cell;
};
struct pages_row {
    struct pages_place place;
    bool is_table; /* of a table with rowids; else of an index, or a table WITHOUT ROWID */
    uint64_t rowid;
    bool
        is_whole; /* false: only what is on the page itself; columns that reach beyond it are cut short, or missing */
    size_t n;
    struct pages_value v[PAGES_COLUMNS_MAX];
};

/* Every row of every page, in no order, as far as it stands on the page itself. Borrowed during the call. */
void pages_scan(struct pages *p, void (*fn)(void *arg, const struct pages_row *row), void *arg);
/* One row, whole; valid until the next call. False: it cannot be read. */
bool pages_read(struct pages *p, struct pages_place at, struct pages_row *row);

#endif
