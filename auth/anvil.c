/* auth/anvil.c - see anvil.h. */
#include "auth/anvil.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LOOK_MAX = 64 /* idents that are looked at to find room for another */ };

struct entry {
    uint64_t since_ms;
    struct anvil_counts c;
};

struct peak {
    uint64_t value;
    int64_t at_unix_s;
    char ident[ANVIL_IDENT_OCTETS + 1];
};

struct anvil {
    struct map *entries;
    uint64_t unit_ms;
    size_t hand; /* how far the table was gone through in search of room */
    struct peak connections, rates[ANVIL_EVENTS];
    uint64_t most_entries;
    int64_t most_at_unix_s;
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

static void
note_peak(struct peak *p, uint64_t value, struct slice ident)
{
    if (value <= p->value)
        return;
    p->value = value;
    p->at_unix_s = clock_unix_s();
    ident = sl_head(ident, ANVIL_IDENT_OCTETS);
    memcpy(p->ident, ident.p, ident.n);
    p->ident[ident.n] = '\0';
}

static const char *
time_text(int64_t unix_s, char *out, size_t octets)
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    localtime_r(&t, &tm);
    if (strftime(out, octets, "%b %e %H:%M:%S", &tm) == 0)
        out[0] = '\0';
    return out;
}

/* The table is full. Of the next idents without a connection the one that did least is forgotten: were all new clients let
 * through instead, an IPv6 network's million prefixes would take every limit away. */
static bool
make_room(struct anvil *a, uint64_t now_ms)
{
    uint64_t least = UINT64_MAX;
    struct slice key, who = { 0 };
    void *p;

    for (int i = 0; i < LOOK_MAX; i++) {
        const struct entry *e;
        uint64_t done = 0;

        if (!map_next(a->entries, &a->hand, &key, &p)) {
            a->hand = 0;
            continue;
        }
        e = p;
        if (e->c.connections)
            continue;
        for (int ev = 0; ev < ANVIL_EVENTS && !is_stale(a, e, now_ms); ev++)
            done += e->c.rates[ev];
        if (done < least) {
            least = done;
            who = key;
        }
    }
    if (who.p == NULL)
        return false;
    free(map_del(a->entries, who));
    return true;
}

bool
anvil_count(struct anvil *a, struct slice ident, enum anvil_event ev, uint64_t now_ms,
            struct anvil_counts *out)
{
    struct entry *e = find(a, ident, now_ms);

    if (e == NULL) {
        if (map_count(a->entries) >= ANVIL_ENTRIES_MAX && !make_room(a, now_ms))
            return false;
        e = MEM_NEW(struct entry);
        e->since_ms = now_ms;
        map_set(a->entries, ident, e);
        if (map_count(a->entries) > a->most_entries) {
            a->most_entries = map_count(a->entries);
            a->most_at_unix_s = clock_unix_s();
        }
    }
    e->c.rates[ev]++;
    note_peak(&a->rates[ev], e->c.rates[ev], ident);
    if (ev == ANVIL_EV_CONNECT)
        note_peak(&a->connections, ++e->c.connections, ident);
    *out = e->c;
    return true;
}

static void
report(struct peak *p, const char *log_ident, const char *what, uint64_t per_s)
{
    char when[32], per[32] = "";

    if (p->value == 0)
        return;
    if (per_s)
        snprintf(per, sizeof per, "/%llus", (unsigned long long)per_s);
    log_event(LOG_LV_INFO, log_ident, "anvil.max",
              LOG_F(LF_Z("what", what), LF_N("value", (int64_t)p->value), LF_Z("client", p->ident)),
              "statistics: max %s %llu%s for (%s) at %s", what, (unsigned long long)p->value, per,
              p->ident, time_text(p->at_unix_s, when, sizeof when));
    p->value = 0;
}

void
anvil_report(struct anvil *a, const char *log_ident)
{
    static const char *const names[ANVIL_EVENTS] = { "connection rate", "message rate",
                                                     "recipient rate", "newtls rate", "auth rate" };
    char when[32];

    report(&a->rates[ANVIL_EV_CONNECT], log_ident, names[ANVIL_EV_CONNECT], a->unit_ms / 1000);
    report(&a->connections, log_ident, "connection count", 0);
    for (int ev = ANVIL_EV_CONNECT + 1; ev < ANVIL_EVENTS; ev++)
        report(&a->rates[ev], log_ident, names[ev], a->unit_ms / 1000);
    if (a->most_entries)
        log_event(LOG_LV_INFO, log_ident, "anvil.size",
                  LOG_F(LF_N("size", (int64_t)a->most_entries)),
                  "statistics: max cache size %llu at %s", (unsigned long long)a->most_entries,
                  time_text(a->most_at_unix_s, when, sizeof when));
    a->most_entries = 0;
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
