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
    struct buf mem; /* of grant */
    struct cookie_grant grant;
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
    buf_free(&c->mem);
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

/* g's text goes to the end of mem, which has room for it, so that what is there stays where it is. */
static struct slice
keep(struct buf *mem, struct slice s)
{
    size_t at = mem->n;

    buf_adds(mem, s);
    return sl_n(buf_z(mem) + at, s.n);
}

static void
copy_grant(struct buf *mem, const struct cookie_grant *g, struct cookie_grant *out)
{
    buf_reserve(mem, g->user.n + g->master.n + g->service.n + g->session.n + 1);
    *out = (struct cookie_grant){ .user = keep(mem, g->user),
                                  .master = keep(mem, g->master),
                                  .service = keep(mem, g->service),
                                  .session = keep(mem, g->session) };
}

void
cookie_make(struct cookie_jar *j, const struct cookie_grant *g, uint64_t now_ms,
            char out[COOKIE_HEX_DIGITS + 1])
{
    struct cookie *c = MEM_NEW(struct cookie);

    drop_old(j, now_ms);
    if (map_count(j->by_text) >= COOKIES_MAX)
        /* as in drop_old() */
        drop(j, CONTAINER_OF(j->all.next, struct cookie, /* NOLINT(clang-analyzer-unix.Malloc) */
                             link));
    rand_hex(c->text, COOKIE_HEX_DIGITS);
    copy_grant(&c->mem, g, &c->grant);
    c->until_ms = now_ms + COOKIE_TTL_MS;
    map_set(j->by_text, sl_z(c->text), c);
    list_push_back(&j->all, &c->link);
    memcpy(out, c->text, sizeof c->text);
}

enum cookie_rc
cookie_redeem(struct cookie_jar *j, struct slice cookie, struct slice service, struct slice session,
              uint64_t now_ms, struct buf *mem, struct cookie_grant *out)
{
    struct cookie *c;
    bool is_right;

    drop_old(j, now_ms);
    c = map_get(j->by_text, cookie);
    if (c == NULL)
        return COOKIE_UNKNOWN;
    is_right = sl_eq(c->grant.service, service) && sl_eq(c->grant.session, session);
    if (is_right)
        copy_grant(mem, &c->grant, out);
    drop(j, c);
    return is_right ? COOKIE_GOOD : COOKIE_ASTRAY;
}

size_t
cookie_count(const struct cookie_jar *j)
{
    return map_count(j->by_text);
}
