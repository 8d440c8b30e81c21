/* cli/json.h - JSON strings for the --json outputs (RFC 8259 §7). Layer: cli. */
#ifndef POSTERN_CLI_JSON_H
#define POSTERN_CLI_JSON_H

#include "base/slice.h"

#include <stdio.h>

/* s as a string, in its quotes. What is no UTF-8 comes out as U+FFFD. */
void json_write(FILE *to, struct slice s);

#endif
