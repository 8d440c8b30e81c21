/* cli/queue_source.h - where `postern queue` gets its answers: qmgr on private/queue, or the database itself while qmgr does
 * not run. The same questions and pages either way (queue/admin.c). Layer: cli. Blocking. */
#ifndef POSTERN_CLI_QUEUE_SOURCE_H
#define POSTERN_CLI_QUEUE_SOURCE_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

struct queue_source;

/* ERR_NOTFOUND: there is no queue yet. */
int queue_source_open(const struct conf *c, struct queue_source **out, struct err *e);
void queue_source_close(struct queue_source **s);

struct queue_page {
    struct buf text;
    bool more;
    uint64_t after;
};
/* Ask for the page behind p->after; the text is replaced. An answer "E\t..." comes back as -1 with e. */
int queue_source_ask(struct queue_source *s, const char *verb, const char *arg,
                     struct queue_page *p, struct err *e);

#endif
