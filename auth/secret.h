/* auth/secret.h - files with a secret of our own in $data_directory: random octets, made on the first need. Blocking.
 * Layer: auth. */
#ifndef POSTERN_AUTH_SECRET_H
#define POSTERN_AUTH_SECRET_H

#include "base/err.h"

/* A line of base64, whole and on disk before it has its name; one that got there first stays. 0 or -1. */
int secret_make(const char *path, struct err *e);

#endif
