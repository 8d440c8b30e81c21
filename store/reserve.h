/* store/reserve.h - the reserve file: 4 MiB of a mail file system that are let go when space runs out, so that
 * deleting, which needs room too, still works (design §3). Layer: store. Thread-safe; blocking. */
#ifndef POSTERN_STORE_RESERVE_H
#define POSTERN_STORE_RESERVE_H

#include "base/err.h"
#include "conf/conf.h"

enum { RESERVE_OCTETS = 4 * 1024 * 1024 };

struct reserve;
struct reserve *reserve_new(const struct conf *c);
void reserve_free(struct reserve **r); /* the file stays */
/* Make the file when absent and there is room for many more; at most once a minute by itself. */
void reserve_keep(struct reserve *r);
/* May new mail be written? 0, or -1 with e (sys ENOSPC) when the reserve was let go and what is left is for deleting. */
int reserve_check(struct reserve *r, struct err *e);
/* Space ran out: remove it. True when that gave room now. */
bool reserve_release(struct reserve *r);

#endif
