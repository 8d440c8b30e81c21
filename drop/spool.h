/* drop/spool.h - one message into $queue_directory/maildrop, durable or not at all. The working directory is maildrop/.
 * Blocking; one at a time. Layer: drop. */
#ifndef POSTERN_DROP_SPOOL_H
#define POSTERN_DROP_SPOOL_H

#include "base/err.h"
#include "base/slice.h"

enum { SPOOL_NAME_OCTETS = 64 };

/* Begin a file that nobody takes for a message, locked: whoever finds it without its lock may do away with it. */
int spool_begin(struct err *e);
int spool_write(struct slice s, struct err *e);
/* Content and name are on disk when this says 0; name: what it is called now. */
int spool_end(char name[SPOOL_NAME_OCTETS], struct err *e);
/* Nothing of it stays. */
void spool_abort(void);

#endif
