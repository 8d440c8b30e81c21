/* lmtp/told.h - what users have been told of their usage: quota-warnings.db beside quota.db (or "<quota_database>.warnings"). Blocking;
 * a handle belongs to one thread at a time. Layer: lmtp. */
#ifndef POSTERN_LMTP_TOLD_H
#define POSTERN_LMTP_TOLD_H

#include "conf/conf.h"
#include "db/db.h"

enum { TOLD_IDENT_OCTETS = 32 };
struct told {
    uint64_t marks;                /* the rows of quota_warning that he is over, as bits */
    int64_t mark;                  /* the row that calls for the message he is owed; -1: none */
    char ident[TOLD_IDENT_OCTETS]; /* ... and what its delivery is called; "": nothing is owed */
};

/* Made where absent. ERR_CONFIG: there is no place for it. */
int told_open(const struct conf *c, struct db **db, struct err *e);
/* A user of whom nothing is kept is over no mark. */
int told_load(struct db *db, struct slice user, struct told *out, struct err *e);
int told_save(struct db *db, struct slice user, const struct told *t, struct err *e);
/* Everybody of whom something is kept; ident and mark are not filled in. */
int told_each(struct db *db, void (*fn)(void *arg, struct slice user, const struct told *t),
              void *arg, struct err *e);

#endif
