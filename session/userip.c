/* session/userip.c - see userip.h. What this process has is counted here too: it is what authd is told after a restart of its
 * own, and what holds while nobody answers. */
#include "session/userip.h"

#include "auth/anvil_client.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/loop.h"

#include <stdlib.h>

struct userips {
    struct anvil_client *anvil;
    const char *service;
    struct map *counts; /* by token: sessions that joined and have not left, as a pointer */
};

struct joining {
    struct userips *of;
    char *token;
    uint64_t most;
    void (*cb)(uint64_t id, char *token);
    uint64_t id;
};

static uint64_t
count(struct userips *u, const char *token, intptr_t by)
{
    intptr_t n = (intptr_t)map_get(u->counts, sl_z(token)) + by;

    if (n > 0)
        map_set(u->counts, sl_z(token), (void *)n);
    else
        map_del(u->counts, sl_z(token));
    return n > 0 ? (uint64_t)n : 0;
}

/* The connection is new: authd, or this one of its processes, knows nothing of us. */
static void
tell_all(void *arg)
{
    struct userips *u = arg;
    struct slice token;
    size_t it = 0;
    void *n;

    while (map_next(u->counts, &it, &token, &n))
        for (intptr_t i = (intptr_t)n; i > 0; i--)
            anvil_ask(u->anvil, ANVIL_CONNECT, token, NULL, 0);
}

struct userips *
userips_new(const char *service, const char *socket_path)
{
    struct userips *u = MEM_NEW(struct userips);

    u->service = service;
    u->counts = map_new();
    u->anvil = anvil_client_new(socket_path);
    anvil_client_stay(u->anvil, tell_all, u);
    return u;
}

void
userips_free(struct userips **up)
{
    struct userips *u = *up;

    if (u == NULL)
        return;
    anvil_client_free(&u->anvil);
    map_free(&u->counts, NULL);
    free(u);
    *up = NULL;
}

static void
on_counted(uint64_t id, const struct anvil_result *r)
{
    struct joining *j = id_get(id);
    uint64_t n = count(j->of, j->token, 1);

    id_del(id);
    if (r->is_ok)
        n = r->count;
    if (j->most > 0 && n > j->most) {
        userip_leave(j->of, j->token);
        j->token = NULL;
    }
    j->cb(j->id, j->token);
    free(j);
}

void
userip_join(struct userips *u, struct slice user, const struct addr *remote, uint64_t most,
            void (*cb)(uint64_t id, char *token), uint64_t id)
{
    struct joining *j = MEM_NEW(struct joining);
    char ip[ADDR_TEXT_OCTETS];
    struct buf token = { 0 };

    /* The address is first: it is never what an authd that cuts long names cuts off. */
    buf_addf(&token, "%s:%s:", u->service, addr_ip_text(remote, ip));
    buf_adds(&token, user);
    *j = (struct joining){
        .of = u, .token = sl_dupz(buf_slice(&token)), .most = most, .cb = cb, .id = id
    };
    buf_free(&token);
    anvil_ask(u->anvil, ANVIL_CONNECT, sl_z(j->token), on_counted, id_add(j));
}

void
userip_leave(struct userips *u, char *token)
{
    if (token == NULL)
        return;
    count(u, token, -1);
    if (anvil_client_is_up(u->anvil)) /* else nobody has it counted */
        anvil_ask(u->anvil, ANVIL_DISCONNECT, sl_z(token), NULL, 0);
    free(token);
}
