/* cli/queue_source.h - where the queue's tools get their answers: qmgr on private/queue, or on public/queue for users who may
 * no more than look and flush, or the database itself while qmgr does not run. The same questions and pages wherever they
 * come from (queue/operate.h). Layer: cli. Blocking. */
#ifndef POSTERN_CLI_QUEUE_SOURCE_H
#define POSTERN_CLI_QUEUE_SOURCE_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

struct queue_source;

/* ERR_NOTFOUND: there is no queue yet. ERR_PERM: this user may not. ERR_TEMP: qmgr does not run, and this user cannot read
 * the database, or somebody else has it. */
int queue_source_open(const struct conf *c, struct queue_source **out, struct err *e);
void queue_source_close(struct queue_source **s);
bool queue_source_is_offline(const struct queue_source *s);

/* Messages that sendmail(1) has left in maildrop/ and nobody has picked up; 0 also for who may not look there. */
size_t queue_source_dropped(const struct conf *c); /* qmgr does not run */

struct queue_page {
    struct buf text;
    bool more;
    uint64_t after;
};
/* Ask for the page behind p->after; the text is replaced. An answer "E\t..." comes back as -1 with e. words: parted by LF. */
int queue_source_ask(struct queue_source *s, const char *verb, const char *words,
                     struct queue_page *p, struct err *e);

#endif
