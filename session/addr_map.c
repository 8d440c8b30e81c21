/* session/addr_map.c - an answer is found once a message, by the first who asks; who asks meanwhile waits for it. A batch is a
 * list of addresses and how far it has come. Batches hold the map; whatever is being asked for has a batch that waits. */
#include "session/addr_map.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/loop.h"
#include "proto/hostname.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_header.h"
#include "session/masquerade.h"

#include <stdlib.h>

enum {
    ANSWER_OCTETS = 1024 * 1024, /* memory that finding one takes, at most */
    BATCH_OCTETS = 64 * 1024 * 1024
};

struct addr_map {
    unsigned refs;
    struct addr_map_conf conf;
    char *label;
    struct map *answers; /* number of the sort, then the address -> struct answer */
    size_t n_open;       /* of those being found */
    char *domain;        /* that mydestination's tables were asked for last */
    bool is_local;       /* what they said */
};

/* One question to a table. */
struct question {
    uint64_t id;
    struct answer *up;
    enum lookup_rc rc;
    struct slice value;
};

/* What becomes of an address. */
struct answer {
    struct addr_map *m;
    const struct addr_plan *plan;
    struct list waiters;
    struct arena mem; /* while it is being found */
    struct slice addr;
    char *kept; /* found: addr's octets */
    bool is_changed, is_good, is_done;
    size_t at_table, at_domain, at_exception;
    unsigned round;
    struct slice ext, masked;
    struct lookup_keys keys;
    struct lookup_key room[LOOKUP_MAIL_KEYS_MAX];
    struct question questions[LOOKUP_MAIL_KEYS_MAX];
    size_t n_open;
};

struct batch {
    struct addr_map *m;
    const struct addr_plan *plan;
    struct arena mem;
    struct slice *in;
    struct addr_mapped *v;
    size_t n, next, n_open;
    bool is_good, is_asking;
    addr_map_fn *done;
    uint64_t id;
    void *arg;
};
struct waiter {
    struct list link;
    struct batch *b;
    size_t at;
};

static void ask_table(struct answer *a);
static void batch_go(struct batch *b);

/* ---- the map ---- */

struct addr_map *
addr_map_new(const struct addr_map_conf *c, const char *label)
{
    struct addr_map *m = MEM_NEW(struct addr_map);

    m->refs = 1;
    m->conf = *c;
    m->label = mem_dupz(label);
    m->answers = map_new();
    return m;
}

static void
free_answer(void *arg)
{
    struct answer *a = arg;

    arena_free(&a->mem);
    free(a->kept);
    free(a);
}

struct addr_map *
addr_map_ref(struct addr_map *m)
{
    m->refs++;
    return m;
}

void
addr_map_unref(struct addr_map **mp)
{
    struct addr_map *m = *mp;

    *mp = NULL;
    if (m == NULL || --m->refs > 0)
        return;
    map_free(&m->answers, free_answer);
    if (m->conf.release)
        m->conf.release(m->conf.owner);
    free(m->label);
    free(m->domain);
    free(m);
}

/* ---- an answer is there ---- */

static void
batch_take(struct batch *b, size_t at, const struct answer *a)
{
    b->v[at].addr = arena_dup(&b->mem, a->addr);
    b->v[at].is_changed = a->is_changed;
    if (!a->is_good || b->v[at].addr.p == NULL)
        b->is_good = false;
}

static void
finish(struct answer *a, bool is_good)
{
    struct addr_map *m = a->m;
    struct list waiters;

    a->is_good = is_good;
    a->is_done = true;
    a->kept = sl_dupz(a->addr);
    a->addr.p = a->kept;
    arena_free(&a->mem);
    list_init(&waiters);
    while (!list_is_empty(&a->waiters)) {
        struct waiter *w = CONTAINER_OF(list_pop_front(&a->waiters), struct waiter, link);

        batch_take(w->b, w->at, a);
        list_push_back(&waiters, &w->link);
    }
    m->n_open--; /* from here on a may go: who goes on asks anew, and room is made for that */
    m->refs++;
    while (!list_is_empty(&waiters)) {
        struct waiter *w = CONTAINER_OF(list_pop_front(&waiters), struct waiter, link);
        struct batch *b = w->b;

        free(w);
        b->n_open--;
        batch_go(b);
    }
    addr_map_unref(&m);
}

static void
lookup_failed(struct answer *a, const char *param)
{
    const struct addr_map *m = a->m;

    log_event(LOG_LV_WARN, m->conf.ident, "map.lookup",
              LOG_F(LF_Z("qid", m->label), LF_Z("map", param), LF_S("addr", a->addr)),
              "%s: %s map lookup problem for %.*s -- %s", m->label, param, SL_ARG(a->addr),
              m->conf.outcome);
    finish(a, false);
}

/* ---- masquerading, the last of it ---- */

static void ask_exception(struct answer *a);

static void
on_exception(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct question *q = id_get(id);
    struct answer *a = q->up;
    const char *table;

    (void)value;
    id_del(id);
    if (rc == LOOKUP_TEMP) {
        lookup_failed(a, "masquerade_exceptions");
        return;
    }
    if (rc == LOOKUP_FOUND) {
        if (words_match(a->plan->exceptions, SL(""), &a->at_exception, &table) == WORDS_ASK_NOT) {
            a->addr = a->masked;
            a->is_changed = true;
        }
        finish(a, true);
        return;
    }
    a->at_exception++;
    ask_exception(a);
}

static void
ask_exception(struct answer *a)
{
    struct slice local, domain;
    const char *table;

    /* as it is written: "a b" with its quotes */
    smtp_addr_split(smtp_addr_quote(a->addr, &a->mem), &local, &domain);
    switch (words_match(a->plan->exceptions, local, &a->at_exception, &table)) {
    case WORDS_ASK:
    case WORDS_ASK_NOT:
        a->questions[0] = (struct question){ .up = a };
        lookup_ask(a->m->conf.lookup, table, local, on_exception, id_add(&a->questions[0]));
        return;
    case WORDS_NO:
        a->addr = a->masked;
        a->is_changed = true;
        break;
    case WORDS_YES:
        break;
    }
    finish(a, true);
}

static void
mask(struct answer *a)
{
    if (a->plan->masquerade.n && masquerade(a->plan->masquerade, a->addr, &a->mem, &a->masked))
        ask_exception(a);
    else
        finish(a, true);
}

/* ---- tables ---- */

static const char *
param_of(const struct answer *a)
{
    return a->plan->tables[a->at_table].param;
}

static void
not_an_address(struct answer *a, struct slice value)
{
    const struct addr_map *m = a->m;

    log_event(LOG_LV_WARN, m->conf.ident, "map.value",
              LOG_F(LF_Z("qid", m->label), LF_Z("map", param_of(a))),
              "%s: %s lookup of %.*s returns non-address result \"%.*s\"", m->label, param_of(a),
              SL_ARG(a->addr), SL_ARG(sl_head(value, 100)));
    lookup_failed(a, param_of(a));
}

static void
warn(const struct answer *a, const char *ev, const char *before, const char *after)
{
    const struct addr_map *m = a->m;

    log_event(LOG_LV_WARN, m->conf.ident, ev,
              LOG_F(LF_Z("qid", m->label), LF_Z("map", param_of(a)), LF_S("addr", a->addr)),
              "%s: %s %s %s for %.*s", m->label, before, param_of(a), after, SL_ARG(a->addr));
}

/* The address that a value is. p NULL: it is none. */
static struct slice
target(struct answer *a, struct slice value, struct slice ext)
{
    struct slice local, domain, addr;
    struct smtp_header h;

    smtp_addr_split(a->addr, &local, &domain);
    if (sl_starts(value, '@')) { /* the same user there */
        local.n -= ext.n;
        value = arena_join(&a->mem, smtp_addr_quote(local, &a->mem), value);
    }
    if (sl_eq(value, SL("<>")))
        return SL("");
    if (value.n > ADDR_MAP_VALUE_OCTETS ||
        !smtp_header_read(a->m->conf.rules, value, SMTP_ADDR_TOKENS_MAX, &a->mem, &h) || h.n == 0)
        return sl_n(NULL, 0);
    if (h.n > 1)
        warn(a, "map.many", "multi-valued", "entry");
    addr = *h.addrs[0];
    if (!a->plan->keeps_extension || ext.n == 0)
        return addr;
    smtp_addr_split(addr, &local, &domain);
    return arena_join(&a->mem, arena_join(&a->mem, local, ext), sl_from(addr, local.n));
}

static void
next_table(struct answer *a)
{
    a->at_table++;
    a->round = 0;
    ask_table(a);
}

static void
apply(struct answer *a, struct slice value, struct slice ext)
{
    struct slice addr;
    bool is_same;

    value = sl_trim(value);
    if (a->plan->rounds == 0) {
        a->addr = value;
        a->is_changed = true;
        finish(a, true);
        return;
    }
    addr = target(a, value, ext);
    if (addr.p == NULL) {
        not_an_address(a, value);
        return;
    }
    a->is_changed = a->is_changed || !sl_eq(addr, a->addr);
    is_same = sl_ieq(addr, a->addr);
    a->addr = addr;
    if (!is_same && addr.n > 0 && ++a->round < a->plan->rounds) {
        ask_table(a);
        return;
    }
    if (!is_same && addr.n > 0 && a->plan->rounds > 1)
        warn(a, "map.nesting", "unreasonable", "map nesting");
    next_table(a);
}

/* All keys were asked: the first that is not absent decides. */
static void
decide(struct answer *a)
{
    for (size_t i = 0; i < a->keys.n; i++) {
        const struct question *q = &a->questions[i];

        if (q->rc == LOOKUP_NOTFOUND)
            continue;
        if (q->rc == LOOKUP_FOUND)
            apply(a, q->value, a->keys.v[i].is_bare ? a->ext : SL(""));
        else
            lookup_failed(a, param_of(a));
        return;
    }
    if (a->plan->rounds == 0)
        finish(a, true);
    else
        next_table(a);
}

static void on_key(uint64_t id, enum lookup_rc rc, struct slice value);

static void
ask_keys(struct answer *a, size_t from, size_t to)
{
    struct lookup_client *l = a->m->conf.lookup;

    a->n_open = to - from;
    for (size_t i = from; i < to; i++) {
        struct question *q = &a->questions[i];

        *q = (struct question){ .up = a };
        q->id = id_add(q);
        (a->keys.v[i].is_part ? lookup_ask_part : lookup_ask)(l, param_of(a), a->keys.v[i].key,
                                                              on_key, q->id);
    }
}

static void
on_key(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct question *q = id_get(id);
    struct answer *a = q->up;

    id_del(id);
    q->rc = rc;
    if (rc == LOOKUP_FOUND) {
        q->value = arena_dup(&a->mem, value);
        if (q->value.p == NULL)
            q->rc = LOOKUP_TEMP;
    }
    if (--a->n_open > 0)
        return;
    if (q == &a->questions[0] && rc == LOOKUP_NOTFOUND && a->keys.n > 1)
        ask_keys(a, 1,
                 a->keys.n); /* most are found at once, or not at all; these go side by side */
    else {
        if (q == &a->questions[0])
            a->keys.n = 1;
        decide(a);
    }
}

static void
ask_all(struct answer *a, bool is_local)
{
    const struct conf *c = a->m->conf.conf;
    struct slice local, domain;

    smtp_addr_split(a->addr, &local, &domain);
    a->ext = lookup_extension(local, c->recipient_delimiter, c->double_bounce_sender);
    a->keys = (struct lookup_keys){ .v = a->room, .max = LOOKUP_MAIL_KEYS_MAX };
    lookup_keys_mail(&a->keys, a->addr, a->ext, is_local, &a->mem);
    if (a->keys.is_full)
        lookup_failed(a, param_of(a));
    else
        ask_keys(a, 0, 1);
}

/* ---- is the domain one that has names without a domain ---- */

static void ask_destination(struct answer *a);

static void
destination_known(struct answer *a, bool is_local)
{
    struct addr_map *m = a->m;
    struct slice local, domain;

    smtp_addr_split(a->addr, &local, &domain);
    free(m->domain);
    m->domain = sl_dupz(domain);
    m->is_local = is_local;
    ask_all(a, is_local);
}

static void
on_destination(uint64_t id, enum lookup_rc rc, struct slice value)
{
    struct question *q = id_get(id);
    struct answer *a = q->up;

    (void)value;
    id_del(id);
    if (rc == LOOKUP_TEMP)
        lookup_failed(a, "mydestination");
    else if (rc == LOOKUP_FOUND)
        destination_known(a, true);
    else
        ask_destination(a);
}

static void
ask_destination(struct answer *a)
{
    const struct domlist *l = a->m->conf.mydestination;
    struct slice local, domain;

    while (a->at_domain < l->items.n && !domlist_is_table(l->items.v[a->at_domain]))
        a->at_domain++;
    if (a->at_domain == l->items.n) {
        destination_known(a, false);
        return;
    }
    smtp_addr_split(a->addr, &local, &domain);
    a->questions[0] = (struct question){ .up = a };
    lookup_ask(a->m->conf.lookup, l->items.v[a->at_domain++], domain, on_destination,
               id_add(&a->questions[0]));
}

static bool
is_own_literal(const struct own_addrs *own, struct slice domain)
{
    struct slice ip = sl_n(domain.p + 1, domain.n - 2);
    struct addr a;

    if (!hostname_is_literal(domain))
        return false;
    (void)sl_take_iprefix(&ip, SL("IPv6:"));
    return addr_parse_ip(ip, 0, &a) == 0 && own_addrs_has(own, &a);
}

/* The table that is next, or the end of all tables. */
static void
ask_table(struct answer *a)
{
    const struct addr_map *m = a->m;
    struct slice local, domain;
    enum domlist_rc rc;

    if (a->at_table == a->plan->n_tables || a->addr.n == 0) {
        mask(a);
        return;
    }
    if (!smtp_addr_split(a->addr, &local, &domain)) {
        ask_all(a, false);
    } else if (sl_ieq(domain, m->conf.rules->myorigin)) {
        ask_all(a, true);
    } else if (sl_starts(domain, '[') && sl_ends(domain, ']')) {
        ask_all(a, is_own_literal(m->conf.own, domain));
    } else if (m->domain && sl_eqz(domain, m->domain)) {
        ask_all(a, m->is_local);
    } else {
        rc = domlist_match(m->conf.mydestination, hostname_trim_dot(domain));
        a->at_domain = 0;
        if (rc == DOMLIST_ASK)
            ask_destination(a);
        else
            ask_all(a, rc == DOMLIST_YES);
    }
}

/* ---- batches ---- */

/* Full, with none that is being found: the answers so far go. */
static void
make_room(struct addr_map *m)
{
    if (map_count(m->answers) < ADDR_MAP_KEPT_MAX || m->n_open > 0)
        return;
    map_free(&m->answers, free_answer);
    m->answers = map_new();
}

/* The answer for an address, perhaps not there yet. */
static struct answer *
get_answer(struct addr_map *m, const struct addr_plan *plan, struct slice addr)
{
    struct buf key = { 0 };
    struct answer *a;

    buf_addc(&key, (char)plan->number);
    buf_adds(&key, addr);
    a = map_get(m->answers, buf_slice(&key));
    if (a == NULL) {
        make_room(m);
        a = MEM_NEW(struct answer);
        a->m = m;
        a->plan = plan;
        a->mem.cap = ANSWER_OCTETS;
        list_init(&a->waiters);
        map_set(m->answers, buf_slice(&key), a);
        m->n_open++;
        a->addr = arena_dup(&a->mem, addr);
        ask_table(a);
    }
    buf_free(&key);
    return a;
}

static void
batch_end(struct batch *b)
{
    b->done(b->id, b->arg, b->is_good, b->v, b->n);
    addr_map_unref(&b->m);
    arena_free(&b->mem);
    free(b);
}

/* Ask for as many as may be; after trouble for none. Last: with the last answer b goes. */
static void
batch_go(struct batch *b)
{
    if (b->is_asking)
        return;
    b->is_asking = true;
    while (b->next < b->n && b->n_open < ADDR_MAP_WINDOW && b->is_good) {
        struct answer *a = get_answer(b->m, b->plan, b->in[b->next]);

        if (a->is_done) {
            batch_take(b, b->next, a);
        } else {
            struct waiter *w = MEM_NEW(struct waiter);

            w->b = b;
            w->at = b->next;
            list_push_back(&a->waiters, &w->link);
            b->n_open++;
        }
        b->next++;
    }
    b->is_asking = false;
    if (b->n_open == 0)
        batch_end(b);
}

void
addr_map_run(struct addr_map *m, const struct addr_plan *plan, const struct slice *addrs, size_t n,
             addr_map_fn *done, uint64_t id, void *arg)
{
    struct batch *b = MEM_NEW(struct batch);

    m->refs++;
    *b = (struct batch){
        .m = m, .plan = plan, .n = n, .is_good = true, .done = done, .id = id, .arg = arg
    };
    b->mem.cap = BATCH_OCTETS;
    b->in = arena_alloc(&b->mem, (n + 1) * sizeof(*b->in));
    b->v = arena_alloc(&b->mem, (n + 1) * sizeof(*b->v));
    for (size_t i = 0; i < n && b->is_good; i++) {
        b->is_good = b->v != NULL;
        if (b->is_good)
            b->in[i] = arena_dup(&b->mem, addrs[i]);
        b->is_good = b->is_good && b->in[i].p;
    }
    batch_go(b);
}
