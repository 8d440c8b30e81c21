/* auth/lookup_server.h - private/lookup: Postfix's socketmap protocol (socketmap_table(5)). Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_LOOKUP_SERVER_H
#define POSTERN_AUTH_LOOKUP_SERVER_H

#include "auth/backend.h"

struct lookup_cache;
/* Answers kept for all connections; used only while the backend says that nothing has changed. */
struct lookup_cache *lookup_cache_new(struct backend *b);
void lookup_cache_free(struct lookup_cache **c);
/* Take over a connection. */
void lookup_serve(struct lookup_cache *c, int fd);

#endif
