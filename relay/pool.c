/* relay/pool.c - sessions with other hosts that wait for the next message. One is only ever used where a new one would be just
 * the same: its key is made of all that a session is (host, address, TLS and what was demanded of it, login). An idle session
 * ends after smtp_connection_cache_time_limit, when the other side ends it, or when others take its place. */
#include "relay/relay_int.h"

#include "base/buf.h"
#include "base/enc.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/loop.h"
#include "tls/digest.h"

#include <stdlib.h>

enum { POOL_MAX = 500, POOL_OF_ONE_MAX = 100 };

struct shelf { /* of one key */
    char *key;
    struct list kept; /* the last used first */
    size_t n;
};
struct kept {
    struct list of_key, of_all; /* of_all: the oldest first */
    struct shelf *shelf;
    struct smtp_client *c;
    struct pool_use use;
    struct timer limit;
};

static struct map *shelves;
static struct list all = { &all, &all };
static size_t n_all;

/* ---- the key ---- */

static void
add_text(struct buf *b, const char *z)
{
    buf_addf(b, "%zu:%s,", z ? strlen(z) : 0, z ? z : "");
}

static void
add_list(struct buf *b, const char *const *v, size_t n)
{
    buf_addf(b, "%zu.", n);
    for (size_t i = 0; i < n; i++)
        add_text(b, v[i]);
}

/* A digest: the login's password is part of it. */
bool
pool_key(const struct session *s, const struct target *t, char key[POOL_KEY_OCTETS])
{
    const struct tls_expect *x = &s->expect;
    unsigned char d[DIGEST_MAX_OCTETS];
    struct buf b = { 0 }, hex = { 0 };
    char ip[ADDR_TEXT_OCTETS];
    size_t n;

    buf_addf(&b, "%d %d %d %d %u ", s->is_lmtp, s->manner.is_wrapper, (int)s->level, s->no_tls,
             addr_port(&t->addr));
    add_text(&b, addr_ip_text(&t->addr, ip));
    add_text(&b, t->host);
    if (s->level > LEVEL_NONE) {
        add_text(&b, s->policy.protocols);
        add_text(&b, s->policy.ciphers);
        add_text(&b, s->policy.exclude);
        add_text(&b, x->sni);
        buf_addf(&b, "%d ", (int)x->demand);
        add_list(&b, x->names, x->n_names);
        add_list(&b, x->prints, x->n_prints);
        for (size_t i = 0; i < x->n_tlsa; i++) {
            buf_addf(&b, "%u %u %u %zu:", x->tlsa[i].usage, x->tlsa[i].selector,
                     x->tlsa[i].matching, x->tlsa[i].data.n);
            buf_adds(&b, x->tlsa[i].data);
        }
    }
    buf_addf(&b, "auth=%.*s", SL_ARG(s->manner.auth));
    n = digest(DIGEST_SHA256, buf_slice(&b), d);
    explicit_bzero(b.p, b.cap);
    buf_free(&b);
    enc_hex(&hex, sl_n((const char *)d, n));
    memcpy(key, buf_z(&hex), hex.n + 1);
    buf_free(&hex);
    return n > 0;
}

/* ---- keeping ---- */

static struct smtp_client *
take_off(struct kept *k)
{
    struct smtp_client *c = k->c;
    struct shelf *sh = k->shelf;

    timer_stop(&k->limit);
    list_remove(&k->of_key);
    list_remove(&k->of_all);
    n_all--;
    if (--sh->n == 0) {
        map_del(shelves, sl_z(sh->key));
        free(sh->key);
        free(sh);
    }
    free(k);
    return c;
}

static void
let_go(void *arg)
{
    smtp_client_leave(take_off(arg));
}

static void
nothing(struct smtp_client *c, void *arg)
{
    (void)c, (void)arg;
}

static void
no_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    (void)c, (void)arg, (void)i, (void)r;
}

static void
on_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    (void)c, (void)why;
    (void)take_off(arg);
}

static const struct smtp_client_ops ops = { nothing, nothing, NULL, no_rcpt, nothing, on_closed };

void
pool_keep(const char *key, struct smtp_client *c, const struct pool_use *use)
{
    struct kept *k = MEM_NEW(struct kept);
    struct shelf *sh;

    if (shelves == NULL)
        shelves = map_new();
    sh = map_get(shelves, sl_z(key));
    if (sh == NULL) {
        sh = MEM_NEW(struct shelf);
        sh->key = mem_dupz(key);
        list_init(&sh->kept);
        map_set(shelves, sl_z(key), sh);
    }
    sh->n++;
    n_all++;
    k->shelf = sh;
    k->c = c;
    k->use = *use;
    list_push_front(&sh->kept, &k->of_key);
    list_push_back(&all, &k->of_all);
    smtp_client_set_ops(c, &ops, k);
    timer_start(&k->limit, (uint64_t)daemon_conf()->smtp_connection_cache_time_limit, let_go, k);
    if (sh->n > POOL_OF_ONE_MAX)
        let_go(CONTAINER_OF(sh->kept.prev, struct kept, of_key));
    else if (n_all > POOL_MAX)
        let_go(CONTAINER_OF(all.next, struct kept, of_all));
}

struct smtp_client *
pool_take(const char *key, struct pool_use *use)
{
    struct shelf *sh = shelves ? map_get(shelves, sl_z(key)) : NULL;

    while (sh) {
        struct kept *k = CONTAINER_OF(sh->kept.next, struct kept, of_key);
        bool is_last = sh->n == 1;

        /* what was let go is unlinked, which the analyser does not follow */
        if (smtp_client_is_usable(k->c)) { /* NOLINT(clang-analyzer-unix.Malloc) */
            *use = k->use;
            use->times++;
            return take_off(k);
        }
        let_go(k);
        if (is_last)
            break;
    }
    return NULL;
}

bool
pool_has(const char *key)
{
    return shelves && map_get(shelves, sl_z(key)) != NULL;
}

bool
pool_is_empty(void)
{
    return n_all == 0;
}

void
pool_flush(void)
{
    while (!list_is_empty(&all))
        let_go(CONTAINER_OF(all.next, struct kept, of_all));
}
