/* auth/anvil.c - see anvil.h. */
#include "auth/anvil.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

struct entry {
    uint64_t since_ms;
    struct anvil_counts c;
};

struct anvil {
    struct map *entries;
    uint64_t unit_ms;
};

struct anvil *
anvil_new(uint64_t unit_ms)
{
    struct anvil *a = MEM_NEW(struct anvil);

    a->entries = map_new();
    a->unit_ms = unit_ms;
    return a;
}

void
anvil_free(struct anvil **ap)
{
    if (*ap == NULL)
        return;
    map_free(&(*ap)->entries, free);
    free(*ap);
    *ap = NULL;
}

void
anvil_set_unit(struct anvil *a, uint64_t unit_ms)
{
    a->unit_ms = unit_ms;
}

size_t
anvil_size(const struct anvil *a)
{
    return map_count(a->entries);
}

static bool
is_stale(const struct anvil *a, const struct entry *e, uint64_t now_ms)
{
    return now_ms - e->since_ms > a->unit_ms;
}

static struct entry *
find(struct anvil *a, struct slice ident, uint64_t now_ms)
{
    struct entry *e = map_get(a->entries, ident);

    if (e && is_stale(a, e, now_ms)) {
        memset(e->c.rates, 0, sizeof e->c.rates);
        e->since_ms = now_ms;
    }
    return e;
}

bool
anvil_count(struct anvil *a, struct slice ident, enum anvil_event ev, uint64_t now_ms,
            struct anvil_counts *out)
{
    struct entry *e = find(a, ident, now_ms);

    if (e == NULL) {
        if (map_count(a->entries) >= ANVIL_ENTRIES_MAX)
            return false;
        e = MEM_NEW(struct entry);
        e->since_ms = now_ms;
        map_set(a->entries, ident, e);
    }
    e->c.rates[ev]++;
    if (ev == ANVIL_EV_CONNECT)
        e->c.connections++;
    *out = e->c;
    return true;
}

void
anvil_peek(struct anvil *a, struct slice ident, uint64_t now_ms, struct anvil_counts *out)
{
    struct entry *e = find(a, ident, now_ms);

    *out = e ? e->c : (struct anvil_counts){ 0 };
}

void
anvil_disconnect(struct anvil *a, struct slice ident)
{
    struct entry *e = map_get(a->entries, ident);

    if (e && e->c.connections)
        e->c.connections--;
}

void
anvil_sweep(struct anvil *a, uint64_t now_ms)
{
    size_t it = 0;
    struct slice key;
    void *p;

    while (map_next(a->entries, &it, &key, &p)) {
        struct entry *e = p;

        if (e->c.connections == 0 && is_stale(a, e, now_ms))
            free(map_del(a->entries, key));
    }
}
