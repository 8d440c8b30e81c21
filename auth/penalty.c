/* auth/penalty.c - see penalty.h. Tables of records, each in order of use: networks, users, pairs of both with failures, pairs
 * that have logged in; and pairs of hosts and users, of both kinds. Nobody gets into the last without a password, so a flood cannot push anybody out of it. */
#include "auth/penalty.h"

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

#include <stdlib.h>

enum { KEY_OCTETS = 400, SECRET_OCTETS = 32 };

struct record {
    struct list link; /* longest unused first */
    char *key;
    unsigned score;
    uint64_t counted_ms; /* the last failure that counted, or was forgotten */
    /* of networks */
    unsigned waiting;
    uint64_t places[PENALTY_PLACES]; /* until when each is taken */
    /* of networks and users */
    uint32_t seen[PENALTY_SEEN]; /* 0: none */
    unsigned seen_at;
};
struct records {
    struct map *by_key;
    struct list all;
};
/* How much of an address makes a pair. */
enum width { OF_NET, OF_HOST, WIDTHS };
struct penalty {
    uint64_t base_ms;
    struct records nets, users, pairs[WIDTHS], known[WIDTHS];
    struct digest_key *secret; /* random, this process's own */
};

/* ---- records ---- */

static void
records_init(struct records *t)
{
    t->by_key = map_new();
    list_init(&t->all);
}

static void
record_drop(struct records *t, struct record *r)
{
    map_del(t->by_key, sl_z(r->key));
    list_remove(&r->link);
    free(r->key);
    free(r);
}

static void
records_free(struct records *t)
{
    LIST_EACH(it, nxt, &t->all)
    record_drop(t, CONTAINER_OF(it, struct record, link));
    map_free(&t->by_key, NULL);
}

static void
make_room(struct records *t)
{
    LIST_EACH(it, nxt, &t->all)
    {
        struct record *r = CONTAINER_OF(it, struct record, link);

        if (r->waiting == 0) { /* who waits will be counted off again */
            record_drop(t, r);
            return;
        }
    }
}

static struct record *
record_get(struct records *t, struct slice key)
{
    struct record *r = map_get(t->by_key, key);

    if (r) {
        list_remove(&r->link);
        list_push_back(&t->all, &r->link);
    }
    return r;
}

static struct record *
record_make(struct records *t, struct slice key)
{
    struct record *r = record_get(t, key);

    if (r)
        return r;
    if (map_count(t->by_key) >= PENALTY_RECORDS_MAX)
        make_room(t);
    r = MEM_NEW(struct record);
    r->key = sl_dupz(key);
    map_set(t->by_key, key, r);
    list_push_back(&t->all, &r->link);
    return r;
}

/* ---- keys ---- */

struct key {
    char text[KEY_OCTETS];
};

static struct slice
key_user(struct key *k, struct slice user)
{
    user = sl_head(user, KEY_OCTETS - ADDR_TEXT_OCTETS - 8);
    if (user.n)
        memcpy(k->text, user.p, user.n);
    return sl_n(k->text, user.n);
}

static struct slice
key_net(struct key *k, const struct penalty_who *w)
{
    char net[ADDR_TEXT_OCTETS];
    struct slice user;

    if (!w->is_by_user) {
        addr_net_text(w->remote, net);
        memcpy(k->text, net, strlen(net));
        return sl_n(k->text, strlen(net));
    }
    user = key_user(k, w->user);
    memmove(k->text + 1, k->text, user.n);
    k->text[0] = '@';
    return sl_n(k->text, user.n + 1);
}

/* The address is first: a name may have anything in it. A host is one address, in IPv6 a /64: it takes what it likes of that. */
static struct slice
key_pair(struct key *k, const struct penalty_who *w, enum width width)
{
    struct key user;
    struct addr host = *w->remote;
    struct slice from, name = key_user(&user, w->user);

    if (w->is_by_user)
        return key_net(k, w);
    if (width == OF_NET) {
        from = key_net(k, w);
    } else {
        if (addr_family(&host) == AF_INET6)
            memset(host.u.in6.sin6_addr.s6_addr + 8, 0, 8);
        from = sl_z(addr_ip_text(&host, k->text));
    }
    k->text[from.n] = ' ';
    memcpy(k->text + from.n + 1, name.p, name.n);
    return sl_n(k->text, from.n + 1 + name.n);
}

/* ---- counting ---- */

static void
forget_in_time(const struct penalty *p, struct record *r, uint64_t now_ms)
{
    uint64_t step = p->base_ms ? p->base_ms * PENALTY_FORGET_DELAYS : PENALTY_FORGET_MS;
    uint64_t steps = (now_ms - r->counted_ms) / step;

    if (steps == 0 || r->score == 0)
        return;
    r->score -= steps < r->score ? (unsigned)steps : r->score;
    r->counted_ms += steps * step;
}

static unsigned
score_of(const struct penalty *p, struct record *r, uint64_t now_ms)
{
    if (r == NULL)
        return 0;
    forget_in_time(p, r, now_ms);
    return r->score;
}

static void
count(const struct penalty *p, struct record *r, uint64_t now_ms)
{
    forget_in_time(p, r, now_ms);
    if (r->score < PENALTY_SCORE_MAX)
        r->score++;
    r->counted_ms = now_ms;
}

/* A mark that is no password: 32 bits of a MAC, its key this process's own. */
static uint32_t
mark_of(const struct penalty *p, struct slice user, struct slice password)
{
    unsigned char md[DIGEST_MAX_OCTETS];
    struct buf b = { 0 };
    uint32_t mark;

    if (password.n == 0)
        return 0;
    buf_addf(&b, "%zu ", user.n);
    buf_adds(&b, user);
    buf_adds(&b, password);
    if (digest_key_mac(p->secret, buf_slice(&b), md) < sizeof mark)
        memset(md, 0, sizeof mark);
    buf_wipe(&b);
    memcpy(&mark, md, sizeof mark);
    return mark;
}

/* True: it is new here. */
static bool
see(struct record *r, uint32_t mark)
{
    if (mark == 0)
        return true;
    for (size_t i = 0; i < PENALTY_SEEN; i++)
        if (r->seen[i] == mark)
            return false;
    r->seen[r->seen_at++ % PENALTY_SEEN] = mark;
    return true;
}

static uint64_t
late_ms(const struct penalty *p, unsigned score)
{
    unsigned doublings = score > 1 ? score - 1 : 0;
    uint64_t ms;

    if (doublings > PENALTY_LATE_DOUBLINGS)
        doublings = PENALTY_LATE_DOUBLINGS;
    ms = p->base_ms << doublings;
    if (ms > PENALTY_LATE_MAX_MS)
        ms = PENALTY_LATE_MAX_MS;
    return ms > p->base_ms ? ms : p->base_ms;
}

static uint64_t *
first_place(struct record *net)
{
    uint64_t *first = &net->places[0];

    for (size_t i = 1; i < PENALTY_PLACES; i++)
        if (net->places[i] < *first)
            first = &net->places[i];
    return first;
}

/* ---- the interface ---- */

static struct digest_key *
make_secret(void)
{
    unsigned char key[SECRET_OCTETS];
    struct digest_key *k;

    rand_octets(key, sizeof key);
    k = digest_key_new(DIGEST_SHA256, sl_n((const char *)key, sizeof key));
    mem_wipe(key, sizeof key);
    return k;
}

struct penalty *
penalty_new(void)
{
    struct penalty *p = MEM_NEW(struct penalty);

    records_init(&p->nets);
    records_init(&p->users);
    for (int i = 0; i < WIDTHS; i++) {
        records_init(&p->pairs[i]);
        records_init(&p->known[i]);
    }
    p->secret = make_secret();
    return p;
}

void
penalty_free(struct penalty **pp)
{
    struct penalty *p = *pp;

    if (p == NULL)
        return;
    records_free(&p->nets);
    records_free(&p->users);
    for (int i = 0; i < WIDTHS; i++) {
        records_free(&p->pairs[i]);
        records_free(&p->known[i]);
    }
    digest_key_free(&p->secret);
    free(p);
    *pp = NULL;
}

void
penalty_set_delay(struct penalty *p, uint64_t base_ms)
{
    p->base_ms = base_ms;
}

size_t
penalty_size(const struct penalty *p)
{
    size_t n = map_count(p->nets.by_key) + map_count(p->users.by_key);

    for (int i = 0; i < WIDTHS; i++)
        n += map_count(p->pairs[i].by_key) + map_count(p->known[i].by_key);
    return n;
}

static bool
is_known_by(struct penalty *p, const struct penalty_who *w, enum width width, uint64_t now_ms)
{
    struct key k;
    struct slice pair = key_pair(&k, w, width);

    return record_get(&p->known[width], pair) &&
           score_of(p, record_get(&p->pairs[width], pair), now_ms) < PENALTY_KNOWN_FAILURES;
}

/* Whom his own address knows, no neighbour's guesses make a stranger. */
static bool
is_known(struct penalty *p, const struct penalty_who *w, uint64_t now_ms)
{
    return is_known_by(p, w, OF_HOST, now_ms) || is_known_by(p, w, OF_NET, now_ms);
}

struct penalty_verdict
penalty_ask(struct penalty *p, const struct penalty_who *w, uint64_t now_ms)
{
    struct penalty_verdict v = { .rank = PENALTY_CLEAN };
    struct key k;
    struct record *net = record_get(&p->nets, key_net(&k, w));
    uint64_t until;

    if (is_known(p, w, now_ms)) {
        v.rank = PENALTY_KNOWN;
        return v;
    }
    if (net == NULL)
        return v;
    if (score_of(p, net, now_ms) > 0)
        v.rank = PENALTY_SUSPECT;
    until = *first_place(net);
    if (until <= now_ms)
        return v;
    v.wait_ms = until - now_ms < PENALTY_WAIT_MAX_MS ? until - now_ms : PENALTY_WAIT_MAX_MS;
    v.is_refused = net->waiting >= PENALTY_WAITING_MAX;
    return v;
}

void
penalty_waits(struct penalty *p, const struct penalty_who *w, int by)
{
    struct key k;
    struct record *net = record_get(&p->nets, key_net(&k, w));

    if (net && by > 0)
        net->waiting++;
    else if (net && net->waiting > 0)
        net->waiting--;
}

uint64_t
penalty_failed(struct penalty *p, const struct penalty_who *w, struct slice password,
               uint64_t now_ms)
{
    struct key k;
    struct record *net = record_make(&p->nets, key_net(&k, w));
    struct record *user = record_make(&p->users, key_user(&k, w->user));
    struct record *pair = record_make(&p->pairs[OF_NET], key_pair(&k, w, OF_NET));
    struct record *host = record_make(&p->pairs[OF_HOST], key_pair(&k, w, OF_HOST));
    uint32_t mark = mark_of(p, w->user, password);
    uint64_t late, *place = first_place(net);
    unsigned score;

    if (see(net, mark)) {
        count(p, net, now_ms);
        count(p, pair, now_ms);
        count(p, host, now_ms);
    }
    if (see(user, mark))
        count(p, user, now_ms);
    score = score_of(p, net, now_ms);
    if (score_of(p, user, now_ms) > score)
        score = user->score;
    late = late_ms(p, score);
    if (*place > now_ms) /* all are taken: this one has waited, and is not held long as well */
        return late_ms(p, 0);
    *place = now_ms + late;
    return late;
}

static void
take_back(const struct penalty *p, struct record *r, unsigned n, uint64_t now_ms)
{
    unsigned score = score_of(p, r, now_ms);

    if (r)
        r->score = score > n ? score - n : 0;
}

void
penalty_succeeded(struct penalty *p, const struct penalty_who *w, uint64_t now_ms)
{
    struct key k;
    struct record *pair = record_get(&p->pairs[OF_NET], key_pair(&k, w, OF_NET));
    unsigned n = score_of(p, pair, now_ms);

    for (int i = 0; i < WIDTHS; i++) {
        pair = record_get(&p->pairs[i], key_pair(&k, w, (enum width)i));
        if (pair)
            record_drop(&p->pairs[i], pair);
        record_make(&p->known[i], key_pair(&k, w, (enum width)i));
    }
    if (n == 0)
        return;
    take_back(p, record_get(&p->nets, key_net(&k, w)), n, now_ms);
    take_back(p, record_get(&p->users, key_user(&k, w->user)), n, now_ms);
}

uint64_t
penalty_delay_ms(struct penalty *p, const struct penalty_who *w, uint64_t now_ms)
{
    struct key k;
    unsigned net = score_of(p, record_get(&p->nets, key_net(&k, w)), now_ms);
    unsigned user = score_of(p, record_get(&p->users, key_user(&k, w->user)), now_ms);

    return late_ms(p, (net > user ? net : user) + 1);
}
