/* auth/table_include.h - files that aliases include (aliases(5)). authd reads them for who follows aliases, and only those
 * that an alias leads to: the question says by which way. Layer: auth. Blocks; the backend's thread. */
#ifndef POSTERN_AUTH_TABLE_INCLUDE_H
#define POSTERN_AUTH_TABLE_INCLUDE_H

#include "auth/table.h"

enum { INCLUDE_DEPTH_MAX = 10 }; /* files in files */

/* way: "alias TAB /file", "alias TAB /file TAB /other" (an alias of alias_maps, the file that it includes, one that this
 * includes). The lines of the last file, without comments and empty ones, into value. NOTFOUND: the alias, or a file,
 * does not name the next. TEMP: a file that cannot be read or that anybody may write, a relative path, too many files. */
enum table_rc table_include(struct table_set *s, struct slice way, struct buf *value,
                            struct err *e);

#endif
