/* store/thread_int.h - a forest of messages while it is built: thread.c reads and links, forest.c makes threads of it.
 * Nodes are numbers from 1; the arrays go by them. Folder-private. */
#ifndef POSTERN_STORE_THREAD_INT_H
#define POSTERN_STORE_THREAD_INT_H

#include "store/thread.h"

enum {
    /* So many ids that are only referred to are followed, for each message and at least; hostile mail refers to more. */
    FOREST_DUMMIES_EACH = 8,
    FOREST_DUMMIES = 65536,
    /* Steps up in search of loops; mail that is no attack takes a few. */
    FOREST_STEPS_EACH = 64,
    FOREST_STEPS = 65536
};

struct forest_fact {  /* of a message; not of dummies */
    int64_t date_s;   /* sent */
    uint64_t subject; /* hash of the base subject; 0: empty */
    bool is_reply;
};

struct hash_table { /* of 64-bit hashes, which are keys; 0 is none */
    struct hash_slot {
        uint64_t key;
        uint32_t node;
    } * v;
    size_t n, cap; /* cap is a power of two */
};
/* The place of a key; its node 0: new. Good until the next call. */
uint32_t *hash_place(struct hash_table *t, uint64_t key);
void hash_free(struct hash_table *t);

struct forest {
    struct thread_node *node; /* seq 0: dummy */
    uint32_t *parent;
    struct forest_fact *fact;
    bool *has_kids; /* had one once: only then can it be above another */
    size_t n, cap;  /* nodes and one */
    size_t n_dummies, max_dummies;
    uint64_t steps; /* left */
    struct hash_table ids;
    uint32_t *roots; /* after forest_prune() */
    size_t n_roots, cap_roots;
};
void forest_init(struct forest *f, size_t messages);
void forest_free(struct forest *f);
uint32_t forest_add(struct forest *f);

/* RFC 5256 §3 REFERENCES step 1, for the next message in the order of sequence numbers; ids by their hashes, id 0: none. */
void forest_message(struct forest *f, uint32_t seq, const struct forest_fact *fact, uint64_t id,
                    const uint64_t *refs, size_t n_refs);
/* Steps 2 and 3: messages below the nearest message above them; a dummy stays at the top where it holds two or more. */
void forest_prune(struct forest *f);
/* Steps 4 and 5: threads of one base subject become one. */
void forest_merge_subjects(struct forest *f);
/* Step 6: siblings by date, and the threads, by_last: by the last date in each (REFS), else by their first message. */
void forest_sort_kids(struct forest *f);
void forest_sort_roots(struct forest *f, bool by_last);
/* ORDEREDSUBJECT, of messages that forest_message() took without references. */
void forest_group_subjects(struct forest *f);
/* Chain the roots; the first, or THREAD_NONE. */
uint32_t forest_chain(struct forest *f);

#endif
