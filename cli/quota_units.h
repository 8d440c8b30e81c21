/* cli/quota_units.h - sizes as `postern quota` reads and writes them. Layer: cli. Reentrant. */
#ifndef POSTERN_CLI_QUOTA_UNITS_H
#define POSTERN_CLI_QUOTA_UNITS_H

#include "base/slice.h"

/* "1G", "512M", "100K", "2T", "1.5G", "123B", a bare number: octets. False: none of these, or more than there can be. */
bool quota_parse_size(struct slice text, int64_t *octets);
enum { QUOTA_SIZE_TEXT = 24 };
/* "1.5G" into out; returns out. */
const char *quota_size_text(int64_t octets, char out[QUOTA_SIZE_TEXT]);

#endif
