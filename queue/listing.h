/* queue/listing.h - a message of the queue as lines of text, for qmgr's answers and for `postern queue` when qmgr does not
 * run. Fields are separated by tabs; control octets and characters come out as '?': a terminal obeys them.
 *
 *   M id state size arrived sender account hold marks age    state: active, deferred, hold, damaged; hold: why, if it was accepted
 *                                                        to be held; marks: e an operator lets it expire; arrived: by the wall clock;
 *                                                        age: seconds by the queue's clock, which now_s is of
 *   R i state due attempts status address orig why sender marks hop
 *                                                        sender: its own, <> for none, empty: the message's; marks: h an operator
 *                                                        holds it, e, r it may have been delivered already
 * Layer: queue. */
#ifndef POSTERN_QUEUE_LISTING_H
#define POSTERN_QUEUE_LISTING_H

#include "queue/qdb.h"

enum { LISTING_ALL = 16383 /* more than the rows of a message */ };

/* Its lines, from the recipient's row `from` on (0: with the message's own), until `most` octets are exceeded. Returns the row
 * to go on with, or LISTING_ALL. */
uint32_t listing_add(struct buf *out, const struct qdb_message *m, int64_t now_s, uint32_t from,
                     size_t most);

/* One line more: what follows are fields of control octets' sort, too. */
void listing_add_field(struct buf *out, struct slice s);

/* Octets [from, from + most) of a message's file; *more: there is more behind. */
void listing_add_file(struct buf *out, const char *path, uint64_t from, size_t most, bool *more);

#endif
