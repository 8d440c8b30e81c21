/* store/thread.c - THREAD: messages out of the index into the forest, and step 1 of REFERENCES. */
#include "store/thread_int.h"

#include "base/mem.h"
#include "store/bulk.h"

#include <stdlib.h>

/* ---- ids ---- */

uint32_t *
hash_place(struct hash_table *t, uint64_t key)
{
    size_t i;

    if (2 * t->n >= t->cap) {
        struct hash_table wider = { .cap = t->cap ? 2 * t->cap : 64 };

        wider.v = mem_zalloc(wider.cap * sizeof(wider.v[0]));
        for (size_t k = 0; k < t->cap; k++)
            if (t->v[k].key != 0)
                *hash_place(&wider, t->v[k].key) = t->v[k].node;
        free(t->v);
        *t = wider;
    }
    for (i = key & (t->cap - 1); t->v[i].key != 0 && t->v[i].key != key;)
        i = (i + 1) & (t->cap - 1);
    if (t->v[i].key == 0) {
        t->v[i].key = key;
        t->n++;
    }
    return &t->v[i].node;
}

void
hash_free(struct hash_table *t)
{
    free(t->v);
    *t = (struct hash_table){ 0 };
}

/* Keyed, so nobody can choose two texts of one hash. 0 for the empty text alone. */
static uint64_t
hash_of(struct slice text)
{
    uint64_t h = text.n > 0 ? sl_hash(text) : 0;

    return text.n > 0 && h == 0 ? 1 : h;
}

/* ---- nodes ---- */

void
forest_init(struct forest *f, size_t messages)
{
    *f = (struct forest){ .n = 1 }; /* node 0 is none */
    f->max_dummies = messages * FOREST_DUMMIES_EACH + FOREST_DUMMIES;
    f->steps = (uint64_t)messages * FOREST_STEPS_EACH + FOREST_STEPS;
}

void
forest_free(struct forest *f)
{
    free(f->node);
    free(f->parent);
    free(f->fact);
    free(f->has_kids);
    free(f->roots);
    hash_free(&f->ids);
    *f = (struct forest){ 0 };
}

uint32_t
forest_add(struct forest *f)
{
    if (f->n + 1 > f->cap) {
        f->cap = f->cap ? 2 * f->cap : 64;
        f->node = mem_realloc(f->node, f->cap * sizeof(f->node[0]));
        f->parent = mem_realloc(f->parent, f->cap * sizeof(f->parent[0]));
        f->fact = mem_realloc(f->fact, f->cap * sizeof(f->fact[0]));
        f->has_kids = mem_realloc(f->has_kids, f->cap * sizeof(f->has_kids[0]));
    }
    f->node[f->n] = (struct thread_node){ 0 };
    f->parent[f->n] = 0;
    f->fact[f->n] = (struct forest_fact){ 0 };
    f->has_kids[f->n] = false;
    return (uint32_t)f->n++;
}

/* The node of an id that is referred to; 0: too many are not there. */
static uint32_t
node_of(struct forest *f, uint64_t id)
{
    uint32_t *place = hash_place(&f->ids, id);

    if (*place == 0 && f->n_dummies < f->max_dummies) {
        *place = forest_add(f);
        f->n_dummies++;
    }
    return *place;
}

/* The node of a message: a dummy that waited for it, or a new one. Who comes second with an id has none. */
static uint32_t
node_for(struct forest *f, uint64_t id)
{
    uint32_t *place = id != 0 ? hash_place(&f->ids, id) : NULL;

    if (place == NULL || (*place != 0 && f->node[*place].seq != 0))
        return forest_add(f);
    if (*place == 0)
        *place = forest_add(f);
    else
        f->n_dummies--;
    return *place;
}

/* ---- step 1 ---- */

static bool
is_above(struct forest *f, uint32_t upper, uint32_t lower)
{
    if (upper == lower)
        return true;
    if (!f->has_kids[upper])
        return false;
    for (uint32_t at = f->parent[lower]; at != 0; at = f->parent[at]) {
        if (at == upper)
            return true;
        if (f->steps == 0)
            return true; /* cannot tell any more: no link */
        f->steps--;
    }
    return false;
}

static void
link_below(struct forest *f, uint32_t parent, uint32_t kid)
{
    if (is_above(f, kid, parent))
        return;
    f->parent[kid] = parent;
    f->has_kids[parent] = true;
}

void
forest_message(struct forest *f, uint32_t seq, const struct forest_fact *fact, uint64_t id,
               const uint64_t *refs, size_t n_refs)
{
    uint32_t me = node_for(f, id), last = 0;

    f->node[me].seq = seq;
    f->fact[me] = *fact;
    for (size_t i = 0; i < n_refs; i++) {
        uint32_t ref = node_of(f, refs[i]);

        if (ref == 0)
            continue;
        if (last != 0 && f->parent[ref] == 0)
            link_below(f, last, ref);
        last = ref;
    }
    if (f->parent[me] == last)
        return;
    f->parent[me] = 0; /* what others said of it was not right */
    if (last != 0)
        link_below(f, last, me);
}

/* ---- reading ---- */

struct pending { /* a message of the block in work, which may come out of turn */
    uint32_t seq;
    struct forest_fact fact;
    uint64_t id;
    size_t refs, n_refs; /* in refs */
};

enum phase { PHASE_READ, PHASE_PRUNE, PHASE_MERGE, PHASE_KIDS, PHASE_ROOTS, PHASE_DONE };

struct store_thread {
    enum thread_kind kind;
    uint32_t *seqs;
    struct bulk bulk;
    struct pending pending[BULK_BLOCK];
    size_t n_pending, begun; /* begun: bulk.at of the block that pending is of */
    uint64_t *refs;
    size_t n_refs, cap_refs;
    struct forest forest;
    enum phase phase;
    uint32_t first;
};

static int
cmp_pending(const void *a, const void *b)
{
    const struct pending *x = a, *y = b;

    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void
take_pending(struct store_thread *t)
{
    qsort(t->pending, t->n_pending, sizeof(t->pending[0]), cmp_pending);
    for (size_t i = 0; i < t->n_pending; i++) {
        const struct pending *p = &t->pending[i];

        forest_message(&t->forest, p->seq, &p->fact, p->id, t->refs ? t->refs + p->refs : NULL,
                       p->n_refs);
    }
    t->n_pending = 0;
    t->n_refs = 0;
}

static void
take(void *to, const struct bulk_row *r)
{
    struct store_thread *t = to;
    struct slice refs = r->refs, ref;
    struct pending *p;

    if (t->begun != t->bulk.at) {
        take_pending(t);
        t->begun = t->bulk.at;
    }
    p = &t->pending[t->n_pending++];
    *p = (struct pending){ .seq = r->seq, .refs = t->n_refs };
    p->fact.date_s = r->has_sent ? r->sent_s : r->date_s;
    p->fact.subject = hash_of(r->base_subject);
    p->fact.is_reply = r->is_reply;
    if (t->kind == THREAD_ORDEREDSUBJECT)
        return;
    p->id = hash_of(r->message_id);
    while (sl_take_word(&refs, "\n", &ref)) {
        t->refs = mem_grow(t->refs, &t->cap_refs, t->n_refs + 1, sizeof(t->refs[0]));
        t->refs[t->n_refs++] = hash_of(ref);
        p->n_refs++;
    }
}

/* ---- the engine ---- */

struct store_thread *
store_thread_new(struct store_view *v, enum thread_kind kind, const uint32_t *seqs, size_t n)
{
    struct store_thread *t = MEM_NEW(struct store_thread);

    t->kind = kind;
    t->seqs = mem_alloc((n + 1) * sizeof(t->seqs[0]));
    if (n > 0)
        memcpy(t->seqs, seqs, n * sizeof(t->seqs[0]));
    t->bulk = (struct bulk){
        .v = v, .need = BULK_SORT | BULK_BRIEF | BULK_LINKS, .seqs = t->seqs, .n = n
    };
    forest_init(&t->forest, n);
    return t;
}

static int
step(struct store_thread *t, bool (*yield)(void *), void *arg, struct err *e)
{
    struct forest *f = &t->forest;
    int rc;

    switch (t->phase) {
    case PHASE_READ:
        rc = bulk_run(&t->bulk, take, t, yield, arg, e);
        if (rc != 0)
            return rc;
        take_pending(t);
        hash_free(&f->ids);
        break;
    case PHASE_PRUNE:
        if (t->kind == THREAD_ORDEREDSUBJECT)
            forest_group_subjects(f);
        else
            forest_prune(f);
        break;
    case PHASE_MERGE:
        if (t->kind == THREAD_REFERENCES)
            forest_merge_subjects(f);
        break;
    case PHASE_KIDS:
        if (t->kind != THREAD_ORDEREDSUBJECT)
            forest_sort_kids(f);
        break;
    case PHASE_ROOTS:
        if (t->kind != THREAD_ORDEREDSUBJECT)
            forest_sort_roots(f, t->kind == THREAD_REFS);
        t->first = forest_chain(f);
        break;
    case PHASE_DONE:
        break;
    }
    t->phase++;
    return 0;
}

int
store_thread_run(struct store_thread *t, bool (*yield)(void *), void *arg, struct err *e)
{
    while (t->phase != PHASE_DONE) {
        int rc = step(t, yield, arg, e);

        if (rc != 0)
            return rc;
        if (t->phase != PHASE_DONE && yield && yield(arg))
            return 1;
    }
    return 0;
}

const struct thread_node *
store_thread_result(const struct store_thread *t, uint32_t *first)
{
    BUG_ON(t->phase != PHASE_DONE);
    *first = t->first;
    return t->forest.node;
}

size_t
store_thread_done(const struct store_thread *t)
{
    return t->bulk.at;
}

void
store_thread_free(struct store_thread **tp)
{
    struct store_thread *t = *tp;

    if (!t)
        return;
    *tp = NULL;
    bulk_end(&t->bulk);
    forest_free(&t->forest);
    free(t->refs);
    free(t->seqs);
    free(t);
}
