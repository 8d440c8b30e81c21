/* auth/auth_cache.c - see auth_cache.h. */
#include "auth/auth_cache.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct entry {
    struct list link; /* longest unused first */
    unsigned char key[AUTH_CACHE_KEY_OCTETS];
    uint64_t made_ms;
    bool is_right;
};
struct auth_cache {
    struct map
        *by_key; /* by the first octets: of a MAC they are as good as all, and all are compared */
    struct list all;
    size_t max;
    uint64_t ttl_ms, negative_ttl_ms;
};

static uint64_t
number_of(const unsigned char *key)
{
    uint64_t n;

    memcpy(&n, key, sizeof n);
    return n;
}

static void
drop(struct auth_cache *c, struct entry *e)
{
    map_del_u64(c->by_key, number_of(e->key));
    list_remove(&e->link);
    mem_wipe(e, sizeof *e);
    free(e);
}

static void
shrink_to(struct auth_cache *c, size_t most)
{
    LIST_EACH(it, nxt, &c->all)
    {
        if (map_count(c->by_key) <= most)
            return;
        drop(c, CONTAINER_OF(it, struct entry, link));
    }
}

struct auth_cache *
auth_cache_new(void)
{
    struct auth_cache *c = MEM_NEW(struct auth_cache);

    c->by_key = map_new();
    list_init(&c->all);
    return c;
}

void
auth_cache_free(struct auth_cache **cp)
{
    struct auth_cache *c = *cp;

    if (c == NULL)
        return;
    shrink_to(c, 0);
    map_free(&c->by_key, NULL);
    free(c);
    *cp = NULL;
}

void
auth_cache_set(struct auth_cache *c, uint64_t size_octets, uint64_t ttl_ms,
               uint64_t negative_ttl_ms)
{
    c->max = size_octets / AUTH_CACHE_ENTRY_OCTETS;
    c->ttl_ms = ttl_ms;
    c->negative_ttl_ms = negative_ttl_ms;
    shrink_to(c, c->max);
}

static struct entry *
find(const struct auth_cache *c, const unsigned char *key)
{
    struct entry *e = map_get_u64(c->by_key, number_of(key));

    return e && memcmp(e->key, key, AUTH_CACHE_KEY_OCTETS) == 0 ? e : NULL;
}

int
auth_cache_get(struct auth_cache *c, const unsigned char key[AUTH_CACHE_KEY_OCTETS],
               uint64_t now_ms)
{
    struct entry *e = find(c, key);

    if (e == NULL)
        return -1;
    if (now_ms - e->made_ms >= (e->is_right ? c->ttl_ms : c->negative_ttl_ms)) {
        drop(c, e);
        return -1;
    }
    list_remove(&e->link);
    list_push_back(&c->all, &e->link);
    return e->is_right;
}

void
auth_cache_put(struct auth_cache *c, const unsigned char key[AUTH_CACHE_KEY_OCTETS], bool is_right,
               uint64_t now_ms)
{
    struct entry *e;

    if (c->max == 0 || (is_right ? c->ttl_ms : c->negative_ttl_ms) == 0)
        return;
    e = map_get_u64(c->by_key, number_of(key));
    if (e)
        drop(c, e);
    shrink_to(c, c->max - 1);
    e = MEM_NEW(struct entry);
    memcpy(e->key, key, sizeof e->key);
    e->made_ms = now_ms;
    e->is_right = is_right;
    map_set_u64(c->by_key, number_of(key), e);
    list_push_back(&c->all, &e->link);
}

size_t
auth_cache_count(const struct auth_cache *c)
{
    return map_count(c->by_key);
}
