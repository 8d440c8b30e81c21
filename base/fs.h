/* base/fs.h - files, whole: read, write durably, make folders, sync. Blocking: never on the loop.
 * Layer: base. Reentrant. Every function: 0, or -1 with e (kind ERR_TEMP, sys errno; ERR_NOTFOUND for ENOENT). */
#ifndef POSTERN_BASE_FS_H
#define POSTERN_BASE_FS_H

#include "base/buf.h"
#include "base/err.h"

#include <sys/types.h>

/* Append the whole file to out; ERR_LIMIT when it is longer than out->max. */
int fs_read_file(const char *path, struct buf *out, struct err *e);
int fs_read_fd(int fd, struct buf *out, struct err *e);
/* Write all of s; retries EINTR and short writes. */
int fs_write_all(int fd, struct slice s, struct err *e);
/* Replace a file so that after a power cut it is the old or the new one, whole: temporary file beside it,
 * fsync, rename, fsync of the folder. */
int fs_replace_file(const char *path, struct slice content, mode_t mode, struct err *e);
/* mkdir -p; each new folder gets mode, and its name is on disk. */
int fs_mkdirs(const char *path, mode_t mode, struct err *e);
/* fsync the folder at path (so that names in it are on disk). */
int fs_sync_dir(const char *path, struct err *e);
int fs_sync_fd(int fd, struct err *e); /* fsync; err says what failed */
/* rm -r, not following links; absent is success. */
int fs_remove_tree(const char *path, struct err *e);

#endif
