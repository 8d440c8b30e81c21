/* auth/lookup_server.h - private/lookup: Postfix's socketmap protocol (socketmap_table(5)). Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_LOOKUP_SERVER_H
#define POSTERN_AUTH_LOOKUP_SERVER_H

#include "auth/backend.h"

struct lookup_cache;
/* Answers kept for all connections; used only while the backend says that nothing has changed. Questions with many lines
 * (LOOKUP_LINES_PREFIX) go to content, whose thread may be busy with slow patterns. */
struct lookup_cache *lookup_cache_new(struct backend *b, struct backend *content);
void lookup_cache_free(struct lookup_cache **c);
/* Take over a connection. */
void lookup_serve(struct lookup_cache *c, int fd);
/* The same for a peer that may ask only for these parameters; names ends with NULL and lives as long as the program. */
void lookup_serve_only(struct lookup_cache *c, int fd, const char *const *names);

#endif
