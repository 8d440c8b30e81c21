/* cli/drop_helper.h - starting postdrop, which may do what the user of sendmail or mailq may not. Blocking. Layer: cli. */
#ifndef POSTERN_CLI_DROP_HELPER_H
#define POSTERN_CLI_DROP_HELPER_H

#include "conf/conf.h"
#include "proto/drop.h"

/* One message on its way into maildrop/. */
struct drop;
/* Start postdrop. -1 with e. */
int drop_begin(const struct conf *c, struct drop **out, struct err *e);
/* Add a record. What goes wrong is told by drop_end(). */
void drop_record(struct drop *d, enum drop_kind kind, struct slice octets);
/* DROP_END, then postdrop's exit code: 0 when the message is on disk. Not 0: it has said why on standard error. name (may be
 * NULL) becomes the file's. */
int drop_end(struct drop **d, struct buf *name);
/* The message is not to be sent; nothing of it stays. NULL-safe. */
void drop_abort(struct drop **d);

/* A connection to qmgr's public/queue, as the user that we are: directly where he may, else by postdrop. -1 with e:
 * ERR_NOTFOUND when qmgr is not there, ERR_PERM when he may not. */
int drop_helper_queue(const struct conf *c, struct err *e);

#endif
