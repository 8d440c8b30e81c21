/* queue/operate.h - an operator's question about the queue, or wish: one step of it, on the database. qmgr runs it on the
 * writer's thread, `postern queue` itself while qmgr is away: the answer is the same. A step does what a page and a turn
 * have room for and says where the next goes on.
 *
 *   list WORDS       pages of M and R lines (listing.h)
 *   content ID       its content, raw; after: octets seen so far
 *   envelope ID      its envelope, packed (session/queue_proto.h), in the same way
 *   stat             "S messages recipients held first last nobody"; first, last: numbers of messages; nobody: recipients
 *                    with QDB_NOBODY
 *   flush|hold|release|requeue|expire|bounce|delete WORDS
 *                    "T id held expired" for each changed message when ids were named (1: it was so before), "X id" for each that is
 *                    not there; then "N messages recipients seen at", at: number of the message that the step ended with
 * WORDS: select.h. Layer: queue. */
#ifndef POSTERN_QUEUE_OPERATE_H
#define POSTERN_QUEUE_OPERATE_H

#include "queue/select.h"

#include <limits.h>

enum operate_verb {
    OP_FLUSH = QDB_FLUSH,
    OP_HOLD = QDB_HOLD,
    OP_RELEASE = QDB_RELEASE,
    OP_REQUEUE = QDB_REQUEUE,
    OP_EXPIRE = QDB_EXPIRE,
    OP_BOUNCE = QDB_BOUNCE,
    OP_DELETE = QDB_ACTS,
    OP_LIST,
    OP_CONTENT,
    OP_ENVELOPE,
    OP_STAT,
    OP_VERBS
};
/* OP_VERBS: there is no such verb. */
enum operate_verb operate_verb(struct slice name);
const char *operate_name(enum operate_verb v);
static inline bool
operate_changes(enum operate_verb v)
{
    return v <= OP_DELETE;
}

struct operate {
    enum operate_verb verb;
    struct select *sel;
    uint64_t after;     /* where the step begins: 0, then `next` of the last */
    size_t page_octets; /* roughly */
    /* what came of it */
    struct buf text;
    bool more;
    uint64_t next;
    uint64_t n_messages, n_rcpts, n_seen, at;
    struct operate_touched {
        uint64_t n;
        char id[QUEUE_ID_OCTETS];
        bool is_file;
    } * touched; /* messages that were changed */
    size_t n_touched, cap_touched;
};

/* 0; -1 with e: what is asked for cannot be understood. */
int operate_begin(struct operate *o, struct slice verb, struct slice words, uint64_t after,
                  size_t page_octets, struct err *e);
/* In a transaction; again after a rollback. */
int operate_run(struct operate *o, struct qdb *q, struct err *e);
/* After the commit: files of what was deleted. */
void operate_after(struct operate *o, struct qdb *q);
void operate_free(struct operate *o);

#endif
