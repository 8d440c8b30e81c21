/* base/map.h - hash maps from octets or 64-bit numbers to pointers; keys are copied, values borrowed.
 * Keys hash with a random process key, so a stranger cannot choose collisions. Layer: base. Not thread-safe. */
#ifndef POSTERN_BASE_MAP_H
#define POSTERN_BASE_MAP_H

#include "base/slice.h"

struct map;

struct map *map_new(void);
struct map *map_new_icase(void); /* keys compare without ASCII case */
/* Free the map and its keys; free_value (may be NULL) is called for each value. NULLs *m; NULL-safe. */
void map_free(struct map **m, void (*free_value)(void *));

void *map_get(const struct map *m, struct slice key); /* NULL: absent */
/* Set; returns the value that was there before, or NULL. value must not be NULL. */
void *map_set(struct map *m, struct slice key, void *value);
void *map_del(struct map *m, struct slice key); /* the value taken out, or NULL */
size_t map_count(const struct map *m);

/* Iterate in no order: *it starts at 0; false at the end. Any entry may be deleted meanwhile, none added.
 * key is borrowed until the map changes. */
bool map_next(const struct map *m, size_t *it, struct slice *key, void **value);

/* The same by number. A map has keys of one sort: octets or numbers; not for map_new_icase(). */
void *map_get_u64(const struct map *m, uint64_t key);
void *map_set_u64(struct map *m, uint64_t key, void *value);
void *map_del_u64(struct map *m, uint64_t key);
bool map_next_u64(const struct map *m, size_t *it, uint64_t *key, void **value);

#endif
