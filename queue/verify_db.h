/* queue/verify_db.h - verify.db: what the last probe of an address found. Beside queue.db, in a connection of its own: what it
 * loses in a power cut is found out again by a probe. Blocks: work pool or start-up only, one thread. Layer: queue. */
#ifndef POSTERN_QUEUE_VERIFY_DB_H
#define POSTERN_QUEUE_VERIFY_DB_H

#include "base/err.h"
#include "base/slice.h"
#include "session/queue_client.h"

enum {
    VERIFY_ROWS_MAX = 100000, /* then those that were heard of longest ago go */
    VERIFY_TEXT_OCTETS = 512
};

struct verify_row {
    enum verify_status status;
    int64_t probed_s;  /* when a probe of it began that has not ended; 0: none */
    int64_t updated_s; /* when the last probe ended */
    char text[VERIFY_TEXT_OCTETS];
};

struct verify_db;
/* path ":memory:": gone with the process. A damaged file is put aside under a name that says when. ERR_TEMP. */
int verify_db_open(const char *path, struct verify_db **out, struct err *e);
void verify_db_close(struct verify_db **d);
/* 1: found; 0: not; -1: e. */
int verify_db_get(struct verify_db *d, struct slice addr, struct verify_row *row, struct err *e);
/* Add or replace. */
int verify_db_put(struct verify_db *d, struct slice addr, const struct verify_row *row,
                  struct err *e);
int verify_db_delete(struct verify_db *d, struct slice addr, struct err *e);
/* Remove the deliverable ones last updated before `good_s` and the others before `bad_s`; and the oldest beyond `most` rows. *n:
 * how many went. */
int verify_db_clean(struct verify_db *d, int64_t good_s, int64_t bad_s, uint64_t most, uint64_t *n,
                    struct err *e);

#endif
