/* cli/queue_change.h - carrying out an operator's wish on the queue, step by step until all of it is done. Layer: cli.
 * Blocking. */
#ifndef POSTERN_CLI_QUEUE_CHANGE_H
#define POSTERN_CLI_QUEUE_CHANGE_H

#include "cli/queue_source.h"

struct queue_change {
    /* What to say of each message when ids were named; may be NULL. was_held, was_expired: before. */
    void (*touched)(void *arg, struct slice id, bool was_held, bool was_expired);
    void (*missing)(void *arg, struct slice id);
    void *arg;
    bool
        has_bar; /* draw a progress bar on standard error, when that is a terminal and it takes long */
    /* what came of it, added up */
    uint64_t messages, recipients, looked_at;
};
/* words: select.h; ids may be any number, for they are sent in groups. */
int queue_change_run(struct queue_source *s, const char *verb, struct slice words,
                     struct queue_change *c, struct err *e);

#endif
