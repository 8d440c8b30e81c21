/* core/id.c - numbers for sessions, so that a late answer finds nobody rather than somebody else. */
#include "core/loop.h"

#include "base/mem.h"

/* An id is generation << 32 | place + 1. A place's generation grows with each use; a place whose generation
 * would come round is given up. */
struct slot {
    void *obj;
    uint32_t gen;
    uint32_t next_free; /* place plus one; 0: none */
};

static struct slot *slots;
static size_t n_slots, cap_slots;
static uint32_t first_free;

uint64_t
id_add(void *obj)
{
    struct slot *s;
    uint32_t at;

    BUG_ON(!obj);
    if (first_free) {
        at = first_free - 1;
        first_free = slots[at].next_free;
    } else {
        BUG_ON(n_slots >= UINT32_MAX - 1);
        slots = mem_grow(slots, &cap_slots, n_slots + 1, sizeof *slots);
        at = (uint32_t)n_slots++;
        slots[at].gen = 0;
    }
    s = &slots[at];
    s->obj = obj;
    s->gen++;
    return (uint64_t)s->gen << 32 | (at + 1);
}

static struct slot *
slot_of(uint64_t id)
{
    uint32_t at = (uint32_t)id;

    if (at == 0 || at > n_slots || slots[at - 1].gen != (uint32_t)(id >> 32))
        return NULL;
    return &slots[at - 1];
}

void *
id_get(uint64_t id)
{
    struct slot *s = slot_of(id);

    return s ? s->obj : NULL;
}

void
id_del(uint64_t id)
{
    struct slot *s = slot_of(id);

    if (!s || !s->obj)
        return;
    s->obj = NULL;
    if (s->gen == UINT32_MAX)
        return;
    s->next_free = first_free;
    first_free = (uint32_t)id;
}
