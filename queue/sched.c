/* queue/sched.c - destinations and turns. Each outlet serves its destinations round and round, each within its own
 * concurrency, and in each the messages that wait for it; a destination whose host does not answer is left alone for a
 * while. None takes all: of the places in memory a destination gets a part of what is left, what is more goes back to the
 * database; of the links those that are failing, and those that nobody knows yet, leave a share to the others. */
#include "queue/qmgr_int.h"

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TURNS_MAX = 64,            /* destinations that are looked at for one job */
    BURY_RCPTS = 200,          /* put off in one turn of the loop */
    KNOWN_MAX = 10000,         /* destinations that are kept while nothing is to be done for them */
    KNOWN_MS = 10 * 60 * 1000, /* ... and for how long */
    PERIOD_MS = 5000,          /* over which a destination's speed is measured */
    PARK_MAX_S = 60,           /* mail for a crowded destination looks in again so soon */
    LOCAL_LINKS = 16,          /* locald has as many threads */
    SENDERS_MAX = 16 /* of one message, that have all their recipients in one batch each */
};

static struct map *outlets; /* path -> struct outlet */

static struct map *
all_outlets(void)
{
    if (outlets == NULL)
        outlets = map_new();
    return outlets;
}

static void
set_outlet_limits(struct outlet *t)
{
    t->max_links = t->is_local ? LOCAL_LINKS
                               : (unsigned)(t->is_relay ? qm.conf->relay_connections
                                                        : qm.conf->lmtp_connections);
    t->max_slow = t->is_relay ? (unsigned)qm.conf->relay_slow_connections : 0;
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
    t->is_local = sl_eqz(path, LOCAL_SOCKET);
    n = strlen(qm.conf->myhostname) + path.n + 3;
    t->peer = mem_alloc(n);
    snprintf(t->peer, n, "%s[%s]", qm.conf->myhostname, rel);
    free(rel);
    for (size_t i = 0; i < DEST_CLASSES; i++)
        list_init(&t->ready[i]);
    list_init(&t->dying);
    list_init(&t->idle);
    list_init(&t->busy);
    t->dests = map_new();
    set_outlet_limits(t);
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

/* ---- destinations ---- */

static void
free_secret(char **secret)
{
    if (*secret)
        mem_wipe(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

/* Our own lmtpd is no stranger: it gets what lmtp_connections allows, unless main.cf says something of its own. */
static struct limits
limits_for(const struct dest *d)
{
    struct limits l = *limits_of(d->limits);
    struct slice target = sl_z(d->nexthop);

    if (d->t->is_relay)
        return l;
    if (d->t->is_local && sl_has_prefix(target, SL("file:")) && !sl_ends(target, '/'))
        l.concurrency = 1; /* they would only wait for each other's lock */
    if ((int64_t)l.concurrency == qm.conf->default_destination_concurrency_limit ||
        l.concurrency == 0 || l.concurrency > d->t->max_links)
        l.concurrency = d->t->max_links;
    l.initial = l.concurrency;
    l.failed_cohorts = 0;
    l.recipients = 1; /* each copy has its own IDENT and its own outcome */
    return l;
}

static struct dest *
find_dest(struct outlet *t, struct slice nexthop, enum limits_kind kind)
{
    struct dest *d = map_get(t->dests, nexthop);
    struct limits l;

    if (d)
        return d;
    d = MEM_NEW(struct dest);
    d->t = t;
    d->nexthop = sl_dupz(nexthop);
    d->limits = kind;
    d->class = t->is_relay ? DEST_FRESH : DEST_GOOD;
    d->class_since_ms = loop_now_ms();
    list_init(&d->batches);
    list_init(&d->link);
    l = limits_for(d);
    window_init(&d->window, &l);
    map_set(t->dests, nexthop, d);
    return d;
}

static void
free_dest(void *v)
{
    struct dest *d = v;
    struct list *n;

    timer_stop(&d->delay);
    while ((n = list_pop_front(&d->batches)) != NULL) /* at the end; the recipients are gone */
        free(CONTAINER_OF(n, struct batch, link));
    free(d->nexthop);
    free_secret(&d->secrets);
    free(d->dead_why);
    free(d);
}

/* What was learnt about a host is worth keeping for a while. */
static void
free_dest_if_idle(struct dest *d)
{
    uint64_t now = loop_now_ms();

    if (d->n_pending > 0 || d->busy > 0 || d->n_fetching > 0 || !(d->t->is_relay || d->t->is_local))
        return;
    if (map_count(d->t->dests) <= KNOWN_MAX &&
        (d->dead_until_ms > now || d->next_ms > now || now - d->used_ms < KNOWN_MS))
        return;
    list_remove(&d->link);
    map_del(d->t->dests, sl_z(d->nexthop));
    free_dest(d);
}

void
sched_prune(struct outlet *t)
{
    size_t it = 0;
    void *v;

    while (map_next(t->dests, &it, NULL, &v))
        free_dest_if_idle(v);
}

static void
on_delay(void *arg)
{
    struct dest *d = arg;

    d->next_ms = 0;
    if (d->n_pending > 0 && d->busy < d->window.n && !list_is_linked(&d->link))
        list_push_back(&d->t->ready[d->class], &d->link);
    deliver_kick(d->t);
}

static void
make_ready(struct dest *d)
{
    uint64_t now = loop_now_ms();

    if (d->n_pending == 0 || d->busy >= d->window.n || d->dead_until_ms > now ||
        list_is_linked(&d->link))
        return;
    if (d->next_ms > now) {
        if (!timer_is_running(&d->delay))
            timer_start(&d->delay, d->next_ms - now, on_delay, d);
        return;
    }
    list_push_back(&d->t->ready[d->class], &d->link);
}

static void
set_class(struct dest *d, enum dest_class class)
{
    if (d->class == class || !d->t->is_relay)
        return;
    d->class = class;
    d->class_since_ms = loop_now_ms();
    if (list_is_linked(&d->link) && d->dead_until_ms <= loop_now_ms()) {
        list_remove(&d->link);
        make_ready(d);
    }
}

static void
reload_dest(struct dest *d)
{
    struct limits l = limits_for(d);

    if (d->t->is_relay && d->class == DEST_FRESH && d->busy == 0)
        window_init(&d->window, &l);
    else if (!d->t->is_relay)
        d->window.n = l.concurrency;
    window_fit(&d->window, &l);
    if (d->busy >= d->window.n && d->dead_until_ms <= loop_now_ms())
        list_remove(&d->link);
    make_ready(d);
}

static void
reload_outlet(struct outlet *t)
{
    size_t it = 0;
    void *v;

    set_outlet_limits(t);
    while (map_next(t->dests, &it, NULL, &v))
        reload_dest(v);
}

void
sched_reload(void)
{
    limits_reload(qm.conf);
    sched_each_outlet(reload_outlet);
}

/* ---- what waits ---- */

static struct batch *
batch_new(struct dest *d, struct qmsg *m)
{
    struct batch *b = MEM_NEW(struct batch);

    b->d = d;
    b->m = m;
    list_init(&b->link);
    list_init(&b->rcpts);
    return b;
}

static bool
is_for(const struct batch *b, const struct qrcpt *r)
{
    const struct qrcpt *first = CONTAINER_OF(b->rcpts.next, struct qrcpt, link);

    return b->m == r->m && sl_eq(qrcpt_mail_from(first), qrcpt_mail_from(r)) &&
           sl_eq(first->r->alias, r->r->alias);
}

/* Among the message's batches at the end of d (or its beginning) the one that r belongs to; NULL: none. */
static struct batch *
find_batch(const struct dest *d, const struct qrcpt *r, bool in_front)
{
    struct list *it = in_front ? d->batches.next : d->batches.prev;

    for (unsigned i = 0; i < SENDERS_MAX && it != &d->batches; i++) {
        struct batch *b = CONTAINER_OF(it, struct batch, link);

        if (b->m != r->m)
            break;
        if (is_for(b, r))
            return b;
        it = in_front ? it->next : it->prev;
    }
    return NULL;
}

static void
link_pending(struct qrcpt *r, struct batch *b, bool in_front)
{
    r->state = RS_PENDING;
    r->batch = b;
    if (in_front)
        list_push_front(&b->rcpts, &r->link);
    else
        list_push_back(&b->rcpts, &r->link);
    b->n++;
    b->d->n_pending++;
    make_ready(b->d);
}

static void
unlink_pending(struct qrcpt *r)
{
    struct batch *b = r->batch;

    BUG_ON(b == NULL); /* who is pending is in one */
    list_remove(&r->link);
    r->batch = NULL;
    b->d->n_pending--;
    if (--b->n > 0)
        return;
    list_remove(&b->link);
    free(b);
}

/* It belongs to d but is not to be tried now. */
static void
put_off(struct dest *d, struct qrcpt *r, const char *why)
{
    struct buf text = { 0 };

    buf_addf(&text, "delivery temporarily suspended: %s", why);
    outcome_log(r, d->t->is_relay ? "error" : d->t->mailer,
                &(struct outcome){ .status = verify_status_word(r->m, SMTP_DEFERRED),
                                   .dsn = SL("4.4.1"),
                                   .relay = SL("none"),
                                   .text = buf_slice(&text) });
    active_deferred(r, "4.4.1", buf_slice(&text));
    active_record(r->m, &r, 1);
    buf_free(&text);
}

static bool
is_dead(const struct dest *d)
{
    return d->dead_until_ms > loop_now_ms();
}

/* Nobody answers on the socket, and it is not yet time to look again. */
static bool
is_outlet_down(const struct outlet *t)
{
    return t->down_why && t->paused_until_ms > loop_now_ms();
}

/* Of the room that is left each destination may have as much as it leaves; one that has not shown that it takes mail, a
 * quarter of that. So the first is served well, and the hundredth still finds a place. Where mail moves, what comes anew
 * does not wait for what was in the database before. */
static bool
is_crowded(const struct dest *d, const struct qmsg *m)
{
    size_t room = active_room(false), share = room;

    if (d->class != DEST_GOOD)
        share = room / 4;
    else if (!m->is_loaded)
        share = room * 3;
    return d->n_pending > 0 && d->n_pending >= share;
}

/* Until about half of what waits in memory is gone; where nobody knows how fast that will be, as long as it is unknown. */
static int64_t
park_seconds(const struct dest *d)
{
    uint64_t now = loop_now_ms(), ms = now - d->period_ms;
    double s;

    if (d->class != DEST_GOOD || d->taken + d->taken_before == 0 || ms > 2 * PERIOD_MS)
        s = (double)(now - d->class_since_ms) / 1000;
    else
        s = (double)d->n_pending / 2 * (double)(ms + PERIOD_MS) / 1000 /
            (d->taken + d->taken_before);
    return s < 1 ? 1 : s > PARK_MAX_S ? PARK_MAX_S : (int64_t)s;
}

static void
count_taken(struct dest *d, size_t n)
{
    uint64_t now = loop_now_ms(), ms = now - d->period_ms;

    if (ms > PERIOD_MS) {
        d->taken_before = ms > 2 * PERIOD_MS ? 0 : d->taken;
        d->taken = 0;
        d->period_ms = now;
    }
    d->taken += (unsigned)n;
}

/* What relayd is told: how, where to, and in which manner; never a password. Destinations that differ in it are not the
 * same. Hops are written with bars, and what belongs to one with its number. */
static void
add_relay_key(struct buf *key, const struct route *route)
{
    struct slice rest, user;

    buf_addz(key, route->is_lmtp_inet ? "lmtp" : "smtp");
    for (size_t i = 0; i < route->n_hops; i++) {
        buf_addc(key, i ? '|' : ' ');
        buf_adds(key, route->hops[i].hop);
    }
    if (route->is_wrapper)
        buf_addz(key, " WRAPPER=1");
    for (size_t i = 0; i < route->n_hops; i++) {
        const struct route_hop *h = &route->hops[i];

        rest = h->auth;
        if (h->tls_policy.n > 0) {
            buf_addf(key, " TLS.%zu=", i);
            enc_xtext(key, h->tls_policy);
        }
        if (h->auth.n > 0) {
            buf_addf(key, " LOGIN.%zu=", i);
            enc_xtext(key, sl_take_until(&rest, ':', &user) ? user : h->auth);
        }
    }
}

/* The newest passwords are the ones that are used. */
static void
set_secrets(struct dest *d, const struct route *route)
{
    struct buf b = { 0 };

    for (size_t i = 0; i < route->n_hops; i++)
        if (route->hops[i].auth.n > 0) {
            buf_addf(&b, " AUTH.%zu=", i);
            enc_xtext(&b, route->hops[i].auth);
        }
    if (!sl_eqz(buf_slice(&b), d->secrets ? d->secrets : "")) {
        free_secret(&d->secrets);
        if (b.n > 0)
            d->secrets = mem_dupz(buf_z(&b));
    }
    if (b.n > 0)
        mem_wipe((char *)(uintptr_t)buf_slice(&b).p, b.n);
    buf_free(&b);
}

void
sched_add(struct qrcpt *r, const struct route *route)
{
    struct outlet *t;
    struct dest *d;
    struct buf key = { 0 };
    struct batch *b;

    if (route->kind == ROUTE_LMTP) {
        t = sched_outlet(route->path, route->mailer, false);
        d = t->is_local ? find_dest(t, route->nexthop, LIMITS_LOCAL)
                        : find_dest(t, route->path, LIMITS_LMTP);
    } else {
        t = sched_outlet(SL("private/relay"), "smtp", true);
        add_relay_key(&key, route);
        d = find_dest(t, buf_slice(&key),
                      route->is_lmtp_inet                   ? LIMITS_LMTP
                      : strcmp(route->mailer, "relay") == 0 ? LIMITS_RELAY
                                                            : LIMITS_SMTP);
        set_secrets(d, route);
        buf_free(&key);
    }
    r->dest = d;
    if (d->used_ms == 0 && r->attempts > 0) /* nothing is known of it but that this failed there */
        set_class(d, DEST_BAD);
    d->used_ms = loop_now_ms();
    if (is_dead(d)) {
        put_off(d, r, d->dead_why);
    } else if (is_outlet_down(t)) {
        put_off(d, r, t->down_why);
    } else if (!r->m->is_probe && is_crowded(d, r->m)) {
        active_parked(r, park_seconds(d));
        active_record(r->m, &r, 1);
    } else {
        b = find_batch(d, r, false);
        if (b == NULL) {
            b = batch_new(d, r->m);
            list_push_back(&d->batches, &b->link);
        }
        link_pending(r, b, false);
    }
}

static void start_burial(struct dest *d);

void
sched_back(struct qrcpt *r)
{
    struct dest *d = r->dest;
    struct batch *b = find_batch(d, r, true);

    if (b == NULL) {
        b = batch_new(d, r->m);
        list_push_front(&d->batches, &b->link);
    }
    link_pending(r, b, true);
    if (is_dead(d) || is_outlet_down(d->t)) /* died meanwhile, after the others were put off */
        start_burial(d);
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
    struct dest *d = r->dest;

    unlink_pending(r);
    if (d->n_pending == 0)
        list_remove(&d->link);
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

/* ---- who is next ---- */

/* The next message's recipients: one delivery for as many of them as may be; the others wait for its next turn. */
static size_t
take_group(struct dest *d, struct qrcpt **rs, size_t max)
{
    size_t n = 0;

    LIST_EACH(it, nxt, &d->batches)
    {
        struct batch *b = CONTAINER_OF(it, struct batch, link);
        bool is_there = active_has_body(b->m);

        if (!is_there && !b->m->is_fetching && qm.n_fetching >= FETCHES_MAX)
            break;
        if (is_there && b->n > max) {
            list_remove(&b->link);
            list_push_back(&d->batches, &b->link);
        }
        for (size_t left = b->n; left > 0 && n < max; left--) {
            struct qrcpt *r = CONTAINER_OF(b->rcpts.next, struct qrcpt, link);

            unlink_pending(r);
            r->state = RS_BUSY;
            if (is_there) {
                rs[n++] = r;
                continue;
            }
            d->n_fetching++;
            active_fetch_body(r); /* it comes back when the body is read */
        }
        if (n > 0)
            break;
    }
    return n;
}

/* Jobs of this class that may begin. Some links are kept for destinations that nobody has tried, and some for those that
 * are known to work: neither many hosts that hang nor many that are new shut them out. */
static unsigned
room_of(const struct outlet *t, enum dest_class class)
{
    unsigned all = t->max_links, used = t->n_quick[DEST_GOOD], kept = 0, room;

    used += t->n_quick[DEST_FRESH] + t->n_quick[DEST_BAD];
    if (t->n_slow > t->max_slow)
        used += t->n_slow - t->max_slow;
    if (class != DEST_GOOD)
        kept = class == DEST_FRESH ? all / 8 : all / 4;
    if (used + kept >= all)
        return 0;
    room = all - kept - used;
    if (class == DEST_BAD) {
        unsigned most = all / 4 > 0 ? all / 4 : 1;
        unsigned bad = t->n_quick[DEST_BAD];

        room = bad >= most ? 0 : room < most - bad ? room : most - bad;
    }
    return room;
}

size_t
sched_runnable(const struct outlet *t, size_t most)
{
    size_t n = 0;

    for (size_t k = 0; k < DEST_CLASSES; k++) {
        size_t left = room_of(t, (enum dest_class)k);

        LIST_EACH(it, nxt, &t->ready[k])
        {
            const struct dest *d = CONTAINER_OF(it, struct dest, link);
            size_t room = d->window.n > d->busy ? d->window.n - d->busy : 0;
            size_t jobs = d->n_pending < room ? d->n_pending : room;

            if (left == 0)
                break;
            jobs = jobs < left ? jobs : left;
            left -= jobs;
            n += jobs;
            if (n >= most)
                return most;
        }
    }
    return n;
}

/* Those that work come first, mostly; none waits for ever. */
static enum dest_class
whose_turn(struct outlet *t, unsigned tried)
{
    static const unsigned char turns[8] = { DEST_GOOD, DEST_FRESH, DEST_GOOD, DEST_BAD,
                                            DEST_GOOD, DEST_FRESH, DEST_GOOD, DEST_FRESH };

    return (enum dest_class)((turns[t->turn % sizeof turns] + tried) % DEST_CLASSES);
}

size_t
sched_next(struct outlet *t, struct qrcpt **rs, size_t max)
{
    unsigned looks = 0;

    t->turn++;
    for (unsigned tried = 0; tried < DEST_CLASSES; tried++) {
        enum dest_class class = whose_turn(t, tried);

        while (room_of(t, class) > 0 && looks++ < TURNS_MAX && !list_is_empty(&t->ready[class])) {
            struct dest *d = CONTAINER_OF(list_pop_front(&t->ready[class]), struct dest, link);
            struct limits l = limits_for(d);
            size_t n = take_group(d, rs, l.recipients < max ? l.recipients : max);

            d->busy += n > 0;
            make_ready(d);
            if (n == 0)
                continue;
            t->n_quick[class]++;
            count_taken(d, n);
            return n;
        }
    }
    return 0;
}

/* ---- ends ---- */

/* All that wait for a host that does not answer wait longer; a few at a time, so that others are served meanwhile. */
static void
bury(void *arg)
{
    struct outlet *t = arg;
    size_t n = 0;

    while (!list_is_empty(&t->dying)) {
        struct dest *d = CONTAINER_OF(t->dying.next, struct dest, link);

        while (d->n_pending > 0 && n++ < BURY_RCPTS) {
            struct batch *b = CONTAINER_OF(d->batches.next, struct batch, link);
            struct qrcpt *r = CONTAINER_OF(b->rcpts.next, struct qrcpt, link);
            struct qmsg *m = r->m;

            active_hold_ref(m);
            unlink_pending(r);
            put_off(d, r, is_dead(d) ? d->dead_why : t->down_why ? t->down_why : "");
            active_drop_ref(m);
        }
        if (d->n_pending > 0) {
            timer_start(&t->bury, 1, bury, t);
            return;
        }
        list_remove(&d->link);
    }
}

static void
start_burial(struct dest *d)
{
    list_remove(&d->link);
    list_push_back(&d->t->dying, &d->link);
    if (!timer_is_running(&d->t->bury))
        bury(d->t);
}

static void
die(struct dest *d, const char *why, uint64_t ms)
{
    d->dead_until_ms = loop_now_ms() + ms;
    free(d->dead_why);
    d->dead_why = mem_dupz(why);
    start_burial(d);
}

void
sched_outlet_failed(struct outlet *t, const char *why)
{
    size_t it = 0;
    void *v;

    free(t->down_why);
    t->down_why = mem_dupz(why);
    while (map_next(t->dests, &it, NULL, &v)) {
        struct dest *d = v;

        if (d->n_pending > 0 && !is_dead(d))
            die(d, why, t->pause_ms);
    }
}

void
sched_job_ended(struct dest *d, bool worked, const char *host_failed)
{
    struct limits l = limits_for(d);

    d->used_ms = loop_now_ms();
    if (l.rate_delay_ms > 0)
        d->next_ms = loop_now_ms() + l.rate_delay_ms;
    if (host_failed && d->t->is_relay) {
        set_class(d, DEST_BAD);
        if (!is_dead(d) && window_failed(&d->window, &l))
            die(d, host_failed, (uint64_t)qm.conf->minimal_backoff_time);
    } else if (worked) {
        set_class(d, DEST_GOOD);
        if (d->t->is_relay)
            window_worked(&d->window, &l, d->busy);
    }
    d->busy--;
    make_ready(d);
    free_dest_if_idle(d);
}

static struct slice forgotten; /* what sched_each_outlet() gives no argument for */

static void
forget_dead(struct outlet *t)
{
    size_t it = 0;
    void *v;

    if (forgotten.n == 0) { /* our own daemon behind it */
        t->paused_until_ms = 0;
        free(t->down_why);
        t->down_why = NULL;
    }
    while (map_next(t->dests, &it, NULL, &v)) {
        struct dest *d = v;

        if (!is_dead(d) || (forgotten.n > 0 && !sl_ieq(forgotten, sched_hop(d))))
            continue;
        d->dead_until_ms = 0;
        list_remove(&d->link); /* what was being put off is tried after all */
        make_ready(d);
    }
}

void
sched_forget_dead(struct slice hop)
{
    forgotten = hop;
    sched_each_outlet(forget_dead);
    sched_kick();
}

static void
free_outlet(void *v)
{
    struct outlet *t = v;

    timer_stop(&t->resume);
    timer_stop(&t->prune);
    timer_stop(&t->age);
    timer_stop(&t->bury);
    map_free(&t->dests, free_dest);
    free(t->path);
    free(t->peer);
    free(t->down_why);
    free(t);
}

void
sched_free(void)
{
    map_free(&outlets, free_outlet);
}
