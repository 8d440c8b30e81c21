/* auth/cookie.c - see cookie.h. All live equally long, so the list is in order of expiry. */
#include "auth/cookie.h"

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"

#include <stdlib.h>

struct cookie {
    struct list link; /* oldest first */
    char text[COOKIE_HEX_DIGITS + 1];
    char *user;
    uint64_t until_ms;
};
struct cookie_jar {
    struct map *by_text;
    struct list all;
};

struct cookie_jar *
cookie_jar_new(void)
{
    struct cookie_jar *j = MEM_NEW(struct cookie_jar);

    j->by_text = map_new();
    list_init(&j->all);
    return j;
}

static void
drop(struct cookie_jar *j, struct cookie *c)
{
    map_del(j->by_text, sl_z(c->text));
    list_remove(&c->link);
    mem_wipe(c->text, sizeof c->text);
    free(c->user);
    free(c);
}

void
cookie_jar_free(struct cookie_jar **jp)
{
    struct cookie_jar *j = *jp;

    if (j == NULL)
        return;
    LIST_EACH(it, nxt, &j->all)
    drop(j, CONTAINER_OF(it, struct cookie, link));
    map_free(&j->by_text, NULL);
    free(j);
    *jp = NULL;
}

static void
drop_old(struct cookie_jar *j, uint64_t now_ms)
{
    while (!list_is_empty(&j->all)) {
        struct cookie *c = CONTAINER_OF(j->all.next, struct cookie, link);

        /* drop() has unlinked what it freed, which the analyser does not follow. */
        if (c->until_ms > now_ms) /* NOLINT(clang-analyzer-unix.Malloc) */
            return;
        drop(j, c);
    }
}

void
cookie_make(struct cookie_jar *j, struct slice user, uint64_t now_ms,
            char out[COOKIE_HEX_DIGITS + 1])
{
    struct cookie *c = MEM_NEW(struct cookie);

    drop_old(j, now_ms);
    if (map_count(j->by_text) >= COOKIES_MAX)
        /* as in drop_old() */
        drop(j, CONTAINER_OF(j->all.next, struct cookie, /* NOLINT(clang-analyzer-unix.Malloc) */
                             link));
    rand_hex(c->text, COOKIE_HEX_DIGITS);
    c->user = sl_dupz(user);
    c->until_ms = now_ms + COOKIE_TTL_MS;
    map_set(j->by_text, sl_z(c->text), c);
    list_push_back(&j->all, &c->link);
    memcpy(out, c->text, sizeof c->text);
}

char *
cookie_redeem(struct cookie_jar *j, struct slice cookie, uint64_t now_ms)
{
    struct cookie *c;
    char *user;

    drop_old(j, now_ms);
    c = map_get(j->by_text, cookie);
    if (c == NULL)
        return NULL;
    user = c->user;
    c->user = NULL;
    drop(j, c);
    return user;
}

size_t
cookie_count(const struct cookie_jar *j)
{
    return map_count(j->by_text);
}
