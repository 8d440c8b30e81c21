/* store/snapshot.h - rows of a mailbox packed into one blob of the index, so that a cold open need not read every message's
 * row: only those that changed since. Private to store/. */
#ifndef POSTERN_STORE_SNAPSHOT_H
#define POSTERN_STORE_SNAPSHOT_H

#include "base/buf.h"
#include "store/rows.h"
#include "store/store_int.h"

/* The packed form alone: of one UIDVALIDITY, as of one MODSEQ. */
void snapshot_pack(const struct rows *r, uint32_t uidvalidity, uint64_t modseq, struct buf *out);
/* NULL: damaged, of another version, or not of these numbers. uidnext: no UID is as high. */
struct rows *snapshot_unpack(struct slice packed, uint32_t uidvalidity, uint64_t modseq,
                             uint32_t uidnext);

/* Read it. 1: *out and *modseq are set; 0 there is none that is good for anything, and *is_bad says that there is one;
 * -1 e. */
int snapshot_load(struct store_user *u, const struct mbox *mb, struct rows **out, uint64_t *modseq,
                  bool *is_bad, struct err *e);
/* Write it, in a transaction of its own, unless the mailbox is gone or a newer one is there. */
int snapshot_save(struct store_user *u, int64_t mailbox, uint32_t uidvalidity, uint64_t modseq,
                  const struct rows *r, struct err *e);

#endif
