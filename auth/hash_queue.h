/* auth/hash_queue.h - password checks waiting for a processor. Fair by source: each source (a network, or on loopback
 * the user) has a turn, so that who guesses passwords waits behind himself; a few wait per source and per user, the
 * rest is refused unhashed. Equal questions (same stored hash, same password) are hashed once.
 * A cache of recent successes would stand in front of hash_submit(). Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_HASH_QUEUE_H
#define POSTERN_AUTH_HASH_QUEUE_H

#include "base/slice.h"

enum { HASH_PER_SOURCE_MAX = 32, HASH_PER_USER_MAX = 16, HASH_WAITING_MAX = 4096 };

struct hash_queue;
struct hash_queue *hash_queue_new(void); /* processors less one, at least one thread */
void hash_queue_free(struct hash_queue **q);

struct hash_ask {
    struct slice source, user;     /* whose turn it takes; whose password it is */
    struct slice stored, password; /* copied, and wiped when done */
    const char *
        default_scheme; /* lives as long as the queue's owner sees to it: a literal or conf's, copied */
    bool is_dummy;      /* no such user: spend the time, the result is "wrong" */
};
/* 1 right, 0 wrong, -1 the stored text is of no known scheme (why tells). cb from the loop, once. False: refused, try
 * later; cb is not called. */
bool hash_submit(struct hash_queue *q, const struct hash_ask *ask,
                 void (*cb)(uint64_t id, int match, const char *why), uint64_t id);
size_t hash_waiting(const struct hash_queue *q);

#endif
