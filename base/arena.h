/* base/arena.h - bump allocation freed all at once, with a cap in octets.
 * For what lives as long as a command, a transaction or a session. Layer: base. Not thread-safe. */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "base/slice.h"

struct arena_block;
struct arena {
    struct arena_block *head;
    size_t used; /* octets handed out since the last reset */
    size_t cap;  /* most octets; 0: no cap */
};

/* n octets aligned for any type, zeroed. NULL when the cap would be exceeded: a client's doing, answer it. */
void *arena_alloc(struct arena *a, size_t n);
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
/* Copies. On a full arena the slice's p is NULL and n is 0; the string is NULL. dup always adds a NUL. */
struct slice arena_dup(struct arena *a, struct slice s);
char *arena_dupz(struct arena *a, struct slice s);
struct slice arena_join(struct arena *a, struct slice left, struct slice right);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void arena_reset(struct arena *a); /* everything invalid; keeps one small block */
void arena_free(struct arena *a);  /* everything invalid; no memory held */

#endif
