/* cli/queue_list.h - the queue's listing, read (queue/listing.h says what it is made of), and written in Postfix's forms.
 * Layer: cli. Blocking. */
#ifndef POSTERN_CLI_QUEUE_LIST_H
#define POSTERN_CLI_QUEUE_LIST_H

#include "base/arena.h"
#include "cli/queue_source.h"

#include <stdio.h>

/* Text is as listing.h has it, borrowed for the call. */
struct queue_list_message {
    struct slice id, state, sender, account, hold;
    uint64_t size;
    int64_t arrived_s, age_s; /* age: by the queue's clock */
    bool is_expired;          /* an operator wants it returned */
};
struct queue_list_rcpt {
    unsigned i, attempts;
    int64_t due_s; /* where state is deferred */
    struct slice state, status, address, orig, why, hop;
    bool is_by_hand;
};

/* What becomes of it; any may be NULL. end comes after each message's recipients. */
struct queue_list_ops {
    void (*message)(void *arg, const struct queue_list_message *m);
    void (*rcpt)(void *arg, const struct queue_list_rcpt *r);
    void (*end)(void *arg);
    void (*missing)(void *arg, struct slice id); /* an id that was named */
    void (*page)(void *arg);                     /* so far for now */
};
int queue_list_each(struct queue_source *s, const char *words, const struct queue_list_ops *ops,
                    void *arg, struct err *e);
/* The same of text that is there. */
struct queue_list_state {
    bool in_message;
};
void queue_list_parse(struct slice text, struct queue_list_state *st,
                      const struct queue_list_ops *ops, void *arg);

/* ---- as postqueue(1) shows it ---- */
struct queue_list_out {
    FILE *to;
    uint64_t messages, octets;
    int64_t time_s; /* whose text that is */
    char time[32];
    bool has_rcpt;
    struct buf why; /* of the recipient before */
    struct arena mem;
};
extern const struct queue_list_ops queue_list_mailq, queue_list_json;
/* The last line: how much there was, or that there was nothing. */
void queue_list_mailq_end(struct queue_list_out *o);
void queue_list_out_free(struct queue_list_out *o);

/* A line's fields, at most n; those it lacks are empty. */
void queue_list_split(struct slice line, struct slice *f, size_t n);

#endif
