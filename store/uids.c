/* store/uids.c - sets of UIDs (or sequence numbers) as sorted, merged ranges. */
#include "store/store.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { UIDS_RANGES_MAX = 1000 * 1000 };

/* The first range whose last + 1 is at least uid: it touches or follows. */
static size_t
first_touching(const struct store_uids *s, uint32_t uid)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        bool is_before = (uint64_t)s->v[mid].last + 1 < uid;

        *(is_before ? &lo : &hi) = is_before ? mid + 1 : mid;
    }
    return lo;
}

int
store_uids_add(struct store_uids *s, uint32_t first, uint32_t last)
{
    size_t at, end;

    if (first > last) {
        uint32_t t = first;

        first = last;
        last = t;
    }
    at = end = first_touching(s, first);
    while (end < s->n && s->v[end].first <= (uint64_t)last + 1)
        end++;
    if (at == end) {
        if (s->n == UIDS_RANGES_MAX)
            return -1;
        s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(s->v[0]));
        memmove(&s->v[at + 1], &s->v[at], (s->n - at) * sizeof(s->v[0]));
        s->v[at] = (struct store_uid_range){ first, last };
        s->n++;
        return 0;
    }
    if (s->v[at].first < first)
        first = s->v[at].first;
    if (s->v[end - 1].last > last)
        last = s->v[end - 1].last;
    s->v[at] = (struct store_uid_range){ first, last };
    memmove(&s->v[at + 1], &s->v[end], (s->n - end) * sizeof(s->v[0]));
    s->n -= end - at - 1;
    return 0;
}

bool
store_uids_has(const struct store_uids *s, uint32_t uid)
{
    size_t at = first_touching(s, uid);

    for (; at < s->n && s->v[at].first <= uid; at++)
        if (uid <= s->v[at].last)
            return true;
    return false;
}

size_t
store_uids_count(const struct store_uids *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++)
        n += (size_t)(s->v[i].last - s->v[i].first) + 1;
    return n;
}

void
store_uids_free(struct store_uids *s)
{
    free(s->v);
    memset(s, 0, sizeof(*s));
}
