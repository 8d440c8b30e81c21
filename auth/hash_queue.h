/* auth/hash_queue.h - password checks waiting for a processor, behind a cache of those that were made (auth/auth_cache.h).
 * Whose turn it is: first who has logged in from there before, then networks without failures, then the others, of which one
 * has a turn after HASH_PASSED_MAX of those before it; all of them together have no more than HASH_SUSPECT_PERCENT of the
 * threads' time, so a flood of wrong passwords costs that much processor and no more. Within a rank it is fair by source:
 * each source (a network, or on loopback the user) has a turn, so that who guesses waits behind himself; a few wait per source
 * and per user, the rest is refused unhashed. The places of a rank are its own; the fewer of them are left, the fewer a source
 * may have, and a source of which nothing waits is refused only when there is none: so many sources that guess, were it at one
 * user alone, do not turn away who comes from elsewhere. Equal questions are hashed once. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_HASH_QUEUE_H
#define POSTERN_AUTH_HASH_QUEUE_H

#include "auth/auth_cache.h"
#include "auth/penalty.h"
#include "base/slice.h"

enum {
    HASH_PER_SOURCE_MAX = 32,
    HASH_PER_USER_MAX = 16,  /* beyond them, of each source one */
    HASH_WAITING_MAX = 4096, /* of a rank */
    HASH_ROOM_SHARE = 32,    /* a source has at most one and a share of what is free */
    /* of networks with failures */
    HASH_SUSPECT_PER_SOURCE_MAX = 8,
    HASH_SUSPECT_WAITING_MAX = 1024,
    HASH_SUSPECT_PERCENT = 25,
    HASH_PASSED_MAX = 8
};

struct hash_queue;
struct hash_queue *hash_queue_new(void); /* processors less one, at least one thread */
void hash_queue_free(struct hash_queue **q);
struct auth_cache *hash_cache(struct hash_queue *q); /* for its limits; the queue's own */

struct hash_ask {
    enum penalty_rank rank;
    struct slice source, user;     /* whose turn it takes; whose password it is */
    struct slice stored, password; /* copied, and wiped when done */
    const char *default_scheme;    /* copied */
    bool is_dummy;                 /* no such user: spend the time, the result is "wrong" */
};
/* 1 right, 0 wrong, -1 the stored text is of no known scheme (why tells). cb from the loop, once, never from inside the
 * call. False: refused, try later; cb is not called. */
bool hash_submit(struct hash_queue *q, const struct hash_ask *ask,
                 void (*cb)(uint64_t id, int match, const char *why), uint64_t id);
size_t hash_waiting(const struct hash_queue *q);
/* Checks made since the start, not those from the cache: what hashing costs. */
uint64_t hash_count(const struct hash_queue *q);

#endif
