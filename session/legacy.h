/* session/legacy.h - legacy_listeners: on which listeners old devices get old TLS. "pop3s" is all listeners of that service,
 * "imaps:1993" the one on that port. Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_LEGACY_H
#define POSTERN_SESSION_LEGACY_H

#include "conf/conf.h"

/* Is any listener of the service ("imaps") named? */
bool legacy_has_service(struct conf_list l, const char *service);
/* Is the one that this connection came to? fd: the connection itself, not what a proxy says of it. */
bool legacy_is_listener(struct conf_list l, const char *service, int fd);
/* Is one of the service on this port named? */
bool legacy_names(struct conf_list l, const char *service, unsigned port);
/* -1 with e ERR_CONFIG: a word that is none. */
int legacy_check(struct conf_list l, struct err *e);

#endif
