/* base/map.c - see map.h. Open addressing with linear probing; entries move only in map_set(), so
 * that deleting while iterating is safe. Short keys lie in the entry itself. */
#include "base/map.h"

#include "base/mem.h"

#include <stdlib.h>

enum { MAP_INLINE_OCTETS = 16, MAP_LEAST_SLOTS = 16 };

enum slot_state { SLOT_EMPTY, SLOT_GONE, SLOT_HELD };

struct map_slot {
    uint64_t hash;
    void *value;
    union {
        char here[MAP_INLINE_OCTETS];
        char *far; /* owned */
    } key;
    uint32_t key_octets;
    enum slot_state state;
};

struct map {
    struct map_slot *slots;
    size_t n_slots; /* 0 or a power of two */
    size_t n_held;
    size_t n_gone;
    bool is_icase;
};

struct map *
map_new(void)
{
    return MEM_NEW(struct map);
}

struct map *
map_new_icase(void)
{
    struct map *m = map_new();

    m->is_icase = true;
    return m;
}

static struct slice
slot_key(const struct map_slot *s)
{
    return sl_n(s->key_octets <= MAP_INLINE_OCTETS ? s->key.here : s->key.far, s->key_octets);
}

static void
slot_set_key(struct map_slot *s, struct slice key)
{
    BUG_ON(key.n > UINT32_MAX);
    s->key_octets = (uint32_t)key.n;
    if (key.n > MAP_INLINE_OCTETS)
        s->key.far = mem_dup(key.p, key.n);
    else if (key.n > 0)
        memcpy(s->key.here, key.p, key.n);
}

static void
slot_free_key(struct map_slot *s)
{
    if (s->key_octets > MAP_INLINE_OCTETS)
        free(s->key.far);
    s->key_octets = 0;
}

void
map_free(struct map **mp, void (*free_value)(void *))
{
    struct map *m = *mp;

    if (m == NULL)
        return;
    *mp = NULL;
    for (size_t i = 0; i < m->n_slots; i++) {
        struct map_slot *s = &m->slots[i];

        if (s->state != SLOT_HELD)
            continue;
        slot_free_key(s);
        if (free_value != NULL)
            free_value(s->value);
    }
    free(m->slots);
    free(m);
}

static uint64_t
key_hash(const struct map *m, struct slice key)
{
    return m->is_icase ? sl_ihash(key) : sl_hash(key);
}

static struct map_slot *
map_find(const struct map *m, struct slice key, uint64_t hash)
{
    if (m->n_held == 0)
        return NULL;
    for (size_t i = hash & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1)) {
        struct map_slot *s = &m->slots[i];

        if (s->state == SLOT_EMPTY)
            return NULL;
        if (s->state == SLOT_HELD && s->hash == hash &&
            (m->is_icase ? sl_ieq(slot_key(s), key) : sl_eq(slot_key(s), key)))
            return s;
    }
}

/* A slot for a key that is not there; n_slots leaves one free. */
static struct map_slot *
map_free_slot(struct map *m, uint64_t hash)
{
    size_t i = hash & (m->n_slots - 1);

    while (m->slots[i].state == SLOT_HELD)
        i = (i + 1) & (m->n_slots - 1);
    return &m->slots[i];
}

/* Before one is added: at most three quarters of the slots are not empty, half after a rehash. */
static void
map_make_room(struct map *m)
{
    struct map_slot *old = m->slots;
    size_t n_old = m->n_slots, n = MAP_LEAST_SLOTS;

    if ((m->n_held + m->n_gone + 1) <= n_old / 4 * 3)
        return;
    while (n / 2 < m->n_held + 1)
        n *= 2;
    BUG_ON(n > SIZE_MAX / sizeof(*m->slots));
    m->slots = mem_zalloc(n * sizeof(*m->slots));
    m->n_slots = n;
    m->n_gone = 0;
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].state == SLOT_HELD)
            *map_free_slot(m, old[i].hash) = old[i];
    }
    free(old);
}

void *
map_get(const struct map *m, struct slice key)
{
    struct map_slot *s = map_find(m, key, key_hash(m, key));

    return s == NULL ? NULL : s->value;
}

void *
map_set(struct map *m, struct slice key, void *value)
{
    uint64_t hash = key_hash(m, key);
    struct map_slot *s = map_find(m, key, hash);

    BUG_ON(value == NULL);
    if (s != NULL) {
        void *before = s->value;

        s->value = value;
        return before;
    }
    map_make_room(m);
    s = map_free_slot(m, hash);
    m->n_gone -= s->state == SLOT_GONE;
    m->n_held++;
    s->state = SLOT_HELD;
    s->hash = hash;
    s->value = value;
    slot_set_key(s, key);
    return NULL;
}

void *
map_del(struct map *m, struct slice key)
{
    struct map_slot *s = map_find(m, key, key_hash(m, key));
    size_t i;
    void *value;

    if (s == NULL)
        return NULL;
    value = s->value;
    slot_free_key(s);
    s->state = SLOT_GONE;
    m->n_held--;
    m->n_gone++;
    /* No probe passes beyond an empty slot: the gone ones just before it may be empty too. */
    i = (size_t)(s - m->slots);
    if (m->slots[(i + 1) & (m->n_slots - 1)].state != SLOT_EMPTY)
        return value;
    for (; m->slots[i].state == SLOT_GONE; i = (i - 1) & (m->n_slots - 1)) {
        m->slots[i].state = SLOT_EMPTY;
        m->n_gone--;
    }
    return value;
}

size_t
map_count(const struct map *m)
{
    return m->n_held;
}

bool
map_next(const struct map *m, size_t *it, struct slice *key, void **value)
{
    for (; *it < m->n_slots; (*it)++) {
        const struct map_slot *s = &m->slots[*it];

        if (s->state != SLOT_HELD)
            continue;
        if (key)
            *key = slot_key(s);
        if (value)
            *value = s->value;
        (*it)++;
        return true;
    }
    return false;
}

static struct slice
u64_key(const struct map *m, const uint64_t *key)
{
    BUG_ON(m->is_icase);
    return sl_n((const char *)key, sizeof(*key));
}

void *
map_get_u64(const struct map *m, uint64_t key)
{
    return map_get(m, u64_key(m, &key));
}

void *
map_set_u64(struct map *m, uint64_t key, void *value)
{
    return map_set(m, u64_key(m, &key), value);
}

void *
map_del_u64(struct map *m, uint64_t key)
{
    return map_del(m, u64_key(m, &key));
}

bool
map_next_u64(const struct map *m, size_t *it, uint64_t *key, void **value)
{
    struct slice octets;

    if (!map_next(m, it, &octets, value))
        return false;
    BUG_ON(octets.n != sizeof(*key));
    memcpy(key, octets.p, sizeof(*key));
    return true;
}
