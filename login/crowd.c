/* login/crowd.c - sessions that nobody has logged in to, by network (/24, /56). There are so many at most; when one more comes
 * somebody has to go, and that is one of those who are most: one address fills no more than what the others leave free, and
 * drives nobody out but itself. */
#include "login/login_int.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

struct crowd {
    struct list link, members; /* who came first is first */
    size_t n;
    char net[ADDR_TEXT_OCTETS];
};

static struct list crowds = { &crowds, &crowds };
static struct map *by_net;
static size_t n_members;
static uint64_t last_number;

void
crowd_join(struct crowd_member *m, const struct addr *from)
{
    char net[ADDR_TEXT_OCTETS];
    struct crowd *c;

    if (!by_net)
        by_net = map_new();
    addr_net_text(from, net);
    c = map_get(by_net, sl_z(net));
    if (!c) {
        c = MEM_NEW(struct crowd);
        memcpy(c->net, net, sizeof net);
        list_init(&c->members);
        list_push_back(&crowds, &c->link);
        map_set(by_net, sl_z(net), c);
    }
    m->of = c;
    m->number = ++last_number;
    list_push_back(&c->members, &m->link);
    c->n++;
    n_members++;
}

void
crowd_leave(struct crowd_member *m)
{
    struct crowd *c = m->of;

    list_remove(&m->link);
    m->of = NULL;
    n_members--;
    if (--c->n > 0)
        return;
    map_del(by_net, sl_z(c->net));
    list_remove(&c->link);
    free(c);
}

size_t
crowd_count(void)
{
    return n_members;
}

static struct crowd_member *
first_who_may(const struct crowd *c, bool (*may_go)(const struct crowd_member *m))
{
    LIST_EACH(it, nxt, &c->members)
    {
        struct crowd_member *m = CONTAINER_OF(it, struct crowd_member, link);

        if (may_go(m))
            return m;
    }
    return NULL;
}

struct crowd_member *
crowd_pick(bool (*may_go)(const struct crowd_member *m))
{
    struct crowd_member *found = NULL;

    LIST_EACH(it, nxt, &crowds)
    {
        struct crowd *c = CONTAINER_OF(it, struct crowd, link);
        struct crowd_member *m;

        if (found && c->n < found->of->n)
            continue;
        m = first_who_may(c, may_go);
        if (m && (!found || c->n > found->of->n || m->number < found->number))
            found = m;
    }
    return found;
}

void
crowd_each(void (*fn)(struct crowd_member *m))
{
    LIST_EACH(it, nxt, &crowds)
    {
        struct crowd *c = CONTAINER_OF(it, struct crowd, link);

        LIST_EACH(at, after, &c->members)
        {
            bool is_last = after == &c->members; /* its leaving may end the crowd */

            fn(CONTAINER_OF(at, struct crowd_member, link));
            if (is_last)
                break;
        }
    }
}
