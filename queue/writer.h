/* queue/writer.h - the one thread that writes queue.db. What was asked for while a commit was under way goes into the next
 * transaction together (group commit); only after the commit are the askers told. Layer: queue. Loop's thread. */
#ifndef POSTERN_QUEUE_WRITER_H
#define POSTERN_QUEUE_WRITER_H

#include "base/list.h"
#include "queue/qdb.h"

struct writer;

enum wop_kind {
    WOP_PUT, /* refused with ENOSPC while the disk is full */
    WOP_STATE, /* records what happened: kept and tried again until it is on disk, for it cannot be undone */
    WOP_READ /* changes nothing, or only what may fail: told once */
};

/* Embedded in what the asker allocates. run may be called again after a rollback. */
struct wop {
    enum wop_kind kind;
    bool is_urgent; /* somebody's client waits: before the others, which may be many */
    int (*run)(struct wop *, struct qdb *,
               struct err *); /* on the writer's thread, inside a transaction */
    void (*after)(struct wop *,
                  struct qdb *); /* there too, after the commit (unlink); may be NULL */
    void (*done)(struct wop *, int rc, const struct err *); /* on the loop; may free the op */
    struct list link;
    int rc;
    struct err err;
};

/* The database is moved in. minfree: octets that must stay free for a put. */
struct writer *writer_new(struct qdb *q, uint64_t minfree);
void writer_set_minfree(struct writer *w, uint64_t octets);
void writer_submit(struct writer *w, struct wop *op);
/* The disk is full: puts are refused without trying. */
bool writer_is_full(const struct writer *w);
/* Even results cannot be recorded: start no delivery. */
bool writer_is_stuck(const struct writer *w);
/* Called when stuck ended. */
void writer_on_unstuck(struct writer *w, void (*fn)(void *), void *arg);
/* Called, once, when the database was found to be damaged (and the mark is made that lets the next opening look at it).
 * Nothing more can be relied on: the process should end, and begin anew. */
void writer_on_damaged(struct writer *w, void (*fn)(const struct err *e));
bool writer_is_idle(const struct writer *w); /* nothing waits to be written */
uint64_t writer_commits(const struct writer *w);
/* Run what is left, close the database. */
void writer_free(struct writer **w);

#endif
