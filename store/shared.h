/* store/shared.h - the newest rows of a mailbox that this process knows, for all views of it: a view that is opened or synced
 * takes a reference. They stay as long as views use them, and for as long as the user's database is open.
 *
 * store_user.rows_lock guards who uses what, for moments; what is in it changes with user.lock held. Private to store/. */
#ifndef POSTERN_STORE_SHARED_H
#define POSTERN_STORE_SHARED_H

#include "store/rows.h"
#include "store/store_int.h"

enum {
    /* A cold open that had to read that many changed rows - and a part of all of them - packs them anew, ... */
    SHARED_SNAPSHOT_CHANGES = 1000,
    SHARED_SNAPSHOT_PART = 32,
    SHARED_SNAPSHOT_EVERY_S = 60, /* ... but not more often */
    SHARED_UNUSED_ROWS_MAX =
        128 * 1024 /* of a user's mailboxes that no view has open; the last one stays anyway */
};

struct shared;
/* Used until shared_leave(). The database is open, user.lock held. */
struct shared *shared_enter(struct store_user *u, int64_t mailbox);
/* NULL-safe. Does not block; no lock is needed. */
void shared_leave(struct store_user *u, struct shared **s);
/* The database is being closed: what no view uses goes now, or when its last view does. */
void shared_drop_unused(struct store_user *u);
/* The rows as of mb, which was loaded in the same index_read_begin(); with a reference. */
int shared_refresh(struct store_user *u, struct shared *s, const struct mbox *mb, struct rows **out,
                   struct err *e);
/* Pack them when reading them was long; no transaction. What fails is logged: they can be read from the index. */
void shared_settle(struct store_user *u, struct shared *s);
void shared_settle_all(struct store_user *u);

#endif
