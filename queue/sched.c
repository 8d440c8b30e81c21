/* queue/sched.c - destinations and turns: each outlet serves its destinations round and round, each within its own
 * concurrency; a destination whose host does not answer is left alone for a while. */
#include "queue/qmgr_int.h"

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static struct map *outlets; /* path -> struct outlet */

static struct map *
all_outlets(void)
{
    if (outlets == NULL)
        outlets = map_new();
    return outlets;
}

struct outlet *
sched_outlet(struct slice path, const char *mailer, bool is_relay)
{
    struct outlet *t = map_get(all_outlets(), path);
    char *rel, full[PATH_MAX];
    size_t n;

    if (t)
        return t;
    t = MEM_NEW(struct outlet);
    rel = sl_dupz(path);
    daemon_socket_path(qm.conf, rel, full, sizeof full);
    t->path = mem_dupz(full);
    t->mailer = mailer;
    t->is_relay = is_relay;
    n = strlen(qm.conf->myhostname) + path.n + 3;
    t->peer = mem_alloc(n);
    snprintf(t->peer, n, "%s[%s]", qm.conf->myhostname, rel);
    free(rel);
    list_init(&t->ready);
    list_init(&t->idle);
    t->dests = map_new();
    t->max_links = (unsigned)(is_relay ? qm.conf->relay_connections : qm.conf->lmtp_connections);
    map_set(all_outlets(), path, t);
    return t;
}

void
sched_each_outlet(void (*fn)(struct outlet *))
{
    size_t it = 0;
    void *v;

    while (map_next(all_outlets(), &it, NULL, &v))
        fn(v);
}

static void
free_secret(char **secret)
{
    if (*secret)
        mem_wipe(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

static struct dest *
find_dest(struct outlet *t, struct slice nexthop)
{
    struct dest *d = map_get(t->dests, nexthop);

    if (d)
        return d;
    d = MEM_NEW(struct dest);
    d->t = t;
    d->nexthop = sl_dupz(nexthop);
    list_init(&d->pending);
    list_init(&d->link);
    if (t->is_relay) {
        d->limit = (unsigned)qm.conf->default_destination_concurrency_limit;
        if (d->limit == 0)
            d->limit = t->max_links;
        d->window = (unsigned)qm.conf->initial_destination_concurrency;
        if (d->window > d->limit)
            d->window = d->limit;
    } else {
        d->limit = d->window = t->max_links;
    }
    map_set(t->dests, nexthop, d);
    return d;
}

static void
free_dest_if_idle(struct dest *d)
{
    if (d->n_pending > 0 || d->busy > 0 || d->n_fetching > 0 || d->dead_until_ms > loop_now_ms() ||
        !d->t->is_relay)
        return;
    list_remove(&d->link);
    map_del(d->t->dests, sl_z(d->nexthop));
    free(d->nexthop);
    free_secret(&d->auth);
    free(d->dead_why);
    free(d);
}

/* Destinations that are no longer dead and have nothing to do. */
void
sched_prune(struct outlet *t)
{
    size_t it = 0;
    void *v;

    while (map_next(t->dests, &it, NULL, &v))
        free_dest_if_idle(v);
}

/* How many jobs could begin now, up to most. */
size_t
sched_runnable(const struct outlet *t, size_t most)
{
    size_t n = 0;

    LIST_EACH(it, nxt, &t->ready)
    {
        const struct dest *d = CONTAINER_OF(it, struct dest, link);
        size_t room = d->window - d->busy;

        n += d->n_pending < room ? d->n_pending : room;
        if (n >= most)
            return most;
    }
    return n;
}

static bool
is_dead(struct dest *d, struct qrcpt *r)
{
    char *text;
    struct buf b = { 0 };

    if (d->dead_until_ms <= loop_now_ms())
        return false;
    buf_addf(&b, "delivery temporarily suspended: %s", d->dead_why);
    text = sl_dupz(buf_slice(&b));
    buf_free(&b);
    outcome_log(r, "error",
                &(struct outcome){ .status = verify_status_word(r->m, SMTP_DEFERRED),
                                   .dsn = SL("4.4.1"),
                                   .relay = SL("none"),
                                   .text = sl_z(text) });
    active_deferred(r, "4.4.1", sl_z(text));
    active_record(r->m, &r, 1);
    free(text);
    return true;
}

static void
make_ready(struct dest *d)
{
    if (d->n_pending > 0 && d->busy < d->window && !list_is_linked(&d->link))
        list_push_back(&d->t->ready, &d->link);
}

/* What relayd is told: how, where to, and in which manner; never a password. Destinations that differ in it are not the
 * same. A next hop that is a list is written with bars. */
static void
add_relay_key(struct buf *key, const struct route *route)
{
    struct slice hops = route->nexthop, hop, user;
    char sep = ' ';

    buf_addz(key, route->is_lmtp_inet ? "lmtp" : "smtp");
    while (sl_take_word(&hops, ", \t", &hop)) {
        buf_addc(key, sep);
        buf_adds(key, hop);
        sep = '|';
    }
    if (route->is_wrapper)
        buf_addz(key, " WRAPPER=1");
    if (route->tls_policy.n > 0) {
        buf_addz(key, " TLS=");
        enc_xtext(key, route->tls_policy);
    }
    if (route->auth.n > 0) {
        struct slice rest = route->auth;

        buf_addz(key, " LOGIN=");
        enc_xtext(key, sl_take_until(&rest, ':', &user) ? user : route->auth);
    }
}

static void
set_auth(struct dest *d, struct slice auth)
{
    if (sl_eqz(auth, d->auth ? d->auth : ""))
        return;
    free_secret(&d->auth);
    if (auth.n > 0)
        d->auth = sl_dupz(auth);
}

void
sched_add(struct qrcpt *r, const struct route *route)
{
    struct outlet *t;
    struct buf key = { 0 };

    if (route->kind == ROUTE_LMTP) {
        t = sched_outlet(route->path, "lmtp", false);
        r->dest = find_dest(t, route->path);
    } else {
        t = sched_outlet(SL("private/relay"), "smtp", true);
        add_relay_key(&key, route);
        r->dest = find_dest(t, buf_slice(&key));
        set_auth(r->dest, route->auth);
        buf_free(&key);
        if (is_dead(r->dest, r))
            return;
    }
    r->state = RS_PENDING;
    list_push_back(&r->dest->pending, &r->link);
    r->dest->n_pending++;
    make_ready(r->dest);
}

void
sched_back(struct qrcpt *r)
{
    r->state = RS_PENDING;
    list_push_front(&r->dest->pending, &r->link);
    r->dest->n_pending++;
    make_ready(r->dest);
}

void
sched_fetched(struct qrcpt *r, bool is_there)
{
    r->dest->n_fetching--;
    if (is_there)
        sched_back(r);
}

void
sched_remove(struct qrcpt *r)
{
    list_remove(&r->link);
    if (--r->dest->n_pending == 0)
        list_remove(&r->dest->link);
}

static void
kick(struct outlet *t)
{
    deliver_kick(t);
}

void
sched_kick(void)
{
    sched_each_outlet(kick);
}

/* Recipients of the head's message that follow it at once: one delivery for all of them. */
static size_t
take_group(struct dest *d, struct qrcpt **rs, size_t max)
{
    struct qmsg *m = NULL;
    size_t n = 0;

    LIST_EACH(it, nxt, &d->pending)
    {
        struct qrcpt *r = CONTAINER_OF(it, struct qrcpt, link);

        if (n == max || (m && r->m != m))
            break;
        if (!active_has_body(r->m)) {
            if (n > 0 || (!r->m->is_fetching && qm.n_fetching >= FETCHES_MAX))
                break;
            sched_remove(r);
            d->n_fetching++;
            active_fetch_body(r);
            continue; /* it comes back when the body is read */
        }
        sched_remove(r);
        m = r->m;
        r->state = RS_BUSY;
        rs[n++] = r;
    }
    return n;
}

size_t
sched_next(struct outlet *t, struct qrcpt **rs, size_t max)
{
    size_t turns = 0;

    if (!t->is_relay)
        max = 1; /* each copy has its own IDENT and its own outcome */
    LIST_EACH(it, nxt, &t->ready)
    turns++;
    while (turns-- > 0 && !list_is_empty(&t->ready)) {
        struct dest *d = CONTAINER_OF(list_pop_front(&t->ready), struct dest, link);
        size_t n = take_group(d, rs, max);

        d->busy += n > 0;
        make_ready(d);
        if (n > 0)
            return n;
    }
    return 0;
}

/* All that wait for a host that does not answer wait longer. */
static void
die(struct dest *d, const char *why)
{
    struct list *n;

    d->dead_until_ms = loop_now_ms() + (uint64_t)qm.conf->minimal_backoff_time;
    free(d->dead_why);
    d->dead_why = mem_dupz(why);
    list_remove(&d->link);
    while ((n = list_pop_front(&d->pending)) != NULL) {
        struct qrcpt *r = CONTAINER_OF(n, struct qrcpt, link);
        struct qmsg *m = r->m;

        d->n_pending--;
        active_hold_ref(m);
        is_dead(d, r);
        active_drop_ref(m);
    }
}

void
sched_job_ended(struct dest *d, bool worked, const char *host_failed)
{
    d->busy--;
    if (worked && d->window < d->limit)
        d->window++;
    if (host_failed && d->t->is_relay) {
        if (d->window > 0)
            d->window--;
        if (d->window == 0) {
            d->window = (unsigned)qm.conf->initial_destination_concurrency;
            die(d, host_failed);
        }
    }
    make_ready(d);
    free_dest_if_idle(d);
}

static void
free_dest(void *v)
{
    struct dest *d = v;

    free(d->nexthop);
    free_secret(&d->auth);
    free(d->dead_why);
    free(d);
}

static void
free_outlet(void *v)
{
    struct outlet *t = v;

    timer_stop(&t->resume);
    timer_stop(&t->prune);
    map_free(&t->dests, free_dest);
    free(t->path);
    free(t->peer);
    free(t);
}

void
sched_free(void)
{
    map_free(&outlets, free_outlet);
}
