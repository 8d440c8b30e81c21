/* auth/auth_cache.h - passwords that were compared a while ago: a digest of the question and what came out. Kept is no name, no
 * password and nothing made of one but a MAC whose key is this process's own (auth/hash_queue.c makes it, of user, stored
 * password and given password): so an entry says nothing of a password that was changed since, or of a user who is no more. The
 * oldest used goes when the memory is full. Dovecot's auth_cache_size, auth_cache_ttl, auth_cache_negative_ttl.
 * Layer: auth; on the loop; the clock is the caller's. */
#ifndef POSTERN_AUTH_AUTH_CACHE_H
#define POSTERN_AUTH_AUTH_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    AUTH_CACHE_KEY_OCTETS = 16,
    AUTH_CACHE_ENTRY_OCTETS = 128 /* what an entry is counted as */
};

struct auth_cache;
struct auth_cache *auth_cache_new(void); /* keeps nothing until it is told how much */
void auth_cache_free(struct auth_cache **c);
/* size 0: keep nothing. A time of 0: nothing of that kind. What is there and too much goes. */
void auth_cache_set(struct auth_cache *c, uint64_t size_octets, uint64_t ttl_ms,
                    uint64_t negative_ttl_ms);

/* 1 it was right, 0 wrong, -1 not known. */
int auth_cache_get(struct auth_cache *c, const unsigned char key[AUTH_CACHE_KEY_OCTETS],
                   uint64_t now_ms);
void auth_cache_put(struct auth_cache *c, const unsigned char key[AUTH_CACHE_KEY_OCTETS],
                    bool is_right, uint64_t now_ms);
size_t auth_cache_count(const struct auth_cache *c);

#endif
