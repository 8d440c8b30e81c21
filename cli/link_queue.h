/* cli/link_queue.h - what postqueue, postsuper and postcat have in common. Layer: cli, private to link_post*.c. */
#ifndef POSTERN_CLI_LINK_QUEUE_H
#define POSTERN_CLI_LINK_QUEUE_H

#include "conf/conf.h"

enum { EXIT_NO_PERMISSION = 77 };

/* "name: fatal: text" to standard error; returns code. */
int link_fatal(const char *name, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* main.cf, by the option -c; NULL: it has errors, which were told. */
struct conf *link_load_conf(const char *option);

#endif
