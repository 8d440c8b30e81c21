/* session/queue_id.h - queue ids: never used twice, not even by a new queue database (design §3).
 *
 * An id looks like one of Postfix's long ones, 0-9A-Za-z only, without vowels in the time so that it spells nothing:
 *   6+ digits base 52   seconds of the wall clock
 *   4 digits base 52    microseconds
 *   "z"
 *   digits base 51      counter * 2^20 + the 20 random bits that the database got when it was made
 * The counter makes ids of one database differ whatever the clock does: qmgr grants it in blocks that are on disk before
 * they are told. Time and random bits make ids of different databases differ. The counter is also the message's row in
 * queue.db, so an id leads to its row without an index. Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_QUEUE_ID_H
#define POSTERN_SESSION_QUEUE_ID_H

#include "base/slice.h"

enum { QUEUE_ID_DB_BITS = 20, QUEUE_ID_COUNTER_BITS = 42, QUEUE_ID_TEXT_OCTETS = 32 };

/* counter below 2^42, db_bits below 2^20. */
void queue_id_format(int64_t unix_us, uint64_t counter, uint32_t db_bits,
                     char out[QUEUE_ID_TEXT_OCTETS]);

/* The counter and database bits of an id; false when it is none of ours. Any out may be NULL. */
bool queue_id_parse(struct slice id, int64_t *unix_us, uint64_t *counter, uint32_t *db_bits);

#endif
