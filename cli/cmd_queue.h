/* cli/cmd_queue.h - the parts of `postern queue`. Layer: cli, private to cmd_queue*.c. */
#ifndef POSTERN_CLI_CMD_QUEUE_H
#define POSTERN_CLI_CMD_QUEUE_H

#include "cli/cli.h"
#include "cli/queue_source.h"

/* Tell the error; the exit code for it. */
int queue_fail(const struct err *e);
enum { QUEUE_TIME_OCTETS = 32 };
const char *queue_time(int64_t unix_s,
                       char out[QUEUE_TIME_OCTETS]); /* "2026-11-22 21:30:00", local */

/* All return exit codes. words: parted by LF. */
int queue_list(struct queue_source *s, const char *words, bool is_json);
int queue_show(struct queue_source *s, const char *words, bool is_json);
int queue_why(struct queue_source *s, const struct conf *c, const char *words, bool is_json);

#endif
