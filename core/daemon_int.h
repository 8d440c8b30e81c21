/* core/daemon_int.h - shared by daemon.c (life, control channel) and daemon_rights.c. Folder-private. */
#ifndef POSTERN_CORE_DAEMON_INT_H
#define POSTERN_CORE_DAEMON_INT_H

#include "base/err.h"
#include "conf/conf.h"

/* Signals, limits, memory: before anything else. */
void daemon_harden_early(void);
/* From root to the program's user, where that user exists; then no way back up. Before any thread. */
int daemon_drop_rights(const struct conf *c, const char *program, struct err *e);

#endif
