/* queue/listing.h - a message of the queue as lines of text, for qmgr's answers and for `postern queue` when qmgr does not
 * run. Fields are separated by tabs; control octets come out as '?'. Layer: queue. */
#ifndef POSTERN_QUEUE_LISTING_H
#define POSTERN_QUEUE_LISTING_H

#include "queue/qdb.h"

/* "M ..." and "R ..." lines (queue/admin.c); recipients beyond `most` octets are summed up in one "R" line with i "+n". */
void listing_add(struct buf *out, const struct qdb_message *m, size_t most);

/* Octets [from, from + most) of a message's file; *more: there is more behind. */
void listing_add_file(struct buf *out, const char *path, uint64_t from, size_t most, bool *more);

/* Was it submitted by this login? */
bool listing_is_by(const struct qdb_message *m, const char *account);

#endif
