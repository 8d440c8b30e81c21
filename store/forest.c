/* store/forest.c - REFERENCES from step 2 on, REFS, ORDEREDSUBJECT: RFC 5256 §3. Nothing here goes down into a tree by
 * recursion; siblings are sorted in an array on the side. */
#include "store/thread_int.h"

#include "base/mem.h"

#include <stdlib.h>

static bool
is_dummy(const struct forest *f, uint32_t node)
{
    return f->node[node].seq == 0;
}

static void
add_root(struct forest *f, uint32_t node)
{
    f->roots = mem_grow(f->roots, &f->cap_roots, f->n_roots + 1, sizeof(f->roots[0]));
    f->roots[f->n_roots++] = node;
}

static void
push_kid(struct forest *f, uint32_t parent, uint32_t kid)
{
    f->parent[kid] = parent;
    f->node[kid].next = f->node[parent].first_kid;
    f->node[parent].first_kid = kid;
}

/* ---- steps 2 and 3 ---- */

/* The nearest message above, or else the topmost dummy. Dummies passed remember it, so that nobody goes their way again. */
static uint32_t
holder_of(struct forest *f, uint32_t node)
{
    uint32_t to = f->parent[node];

    while (to != 0 && is_dummy(f, to) && f->parent[to] != 0)
        to = f->parent[to];
    for (uint32_t at = f->parent[node]; at != to;) {
        uint32_t up = f->parent[at];

        f->parent[at] = to;
        at = up;
    }
    return to;
}

void
forest_prune(struct forest *f)
{
    for (uint32_t i = (uint32_t)f->n - 1; i > 0; i--)
        if (!is_dummy(f, i)) {
            uint32_t holder = holder_of(f, i);

            if (holder != 0)
                push_kid(f, holder, i);
            else
                f->parent[i] = 0;
        }
    for (uint32_t i = 1; i < f->n; i++) {
        uint32_t kid = f->node[i].first_kid;

        if (!is_dummy(f, i)) {
            if (f->parent[i] == 0)
                add_root(f, i);
        } else if (kid != 0 && f->parent[i] == 0) {
            if (f->node[kid].next != 0) {
                add_root(f, i);
            } else { /* an only child takes its place */
                f->parent[kid] = 0;
                f->node[i].first_kid = 0;
                if (kid < i)
                    add_root(f, kid); /* it was passed as somebody's kid */
            }
        }
    }
}

/* ---- order ---- */

struct sibling {
    int64_t date_s;
    uint32_t seq, node;
};

static int
cmp_siblings(const void *a, const void *b)
{
    const struct sibling *x = a, *y = b;

    if (x->date_s != y->date_s)
        return x->date_s < y->date_s ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* What a node goes by among its siblings: a dummy by its first kid. */
static struct sibling
sibling_of(const struct forest *f, uint32_t node)
{
    uint32_t by = is_dummy(f, node) ? f->node[node].first_kid : node;

    return (struct sibling){ .date_s = f->fact[by].date_s, .seq = f->node[by].seq, .node = node };
}

static bool
is_in_order(const struct forest *f, uint32_t first)
{
    for (uint32_t at = first, next; (next = f->node[at].next) != 0; at = next) {
        struct sibling a = sibling_of(f, at), b = sibling_of(f, next);

        if (cmp_siblings(&a, &b) > 0)
            return false;
    }
    return true;
}

static void
sort_kids_of(struct forest *f, uint32_t node, struct sibling **v, size_t *cap)
{
    uint32_t *to = &f->node[node].first_kid;
    size_t n = 0;

    if (*to == 0 || is_in_order(f, *to))
        return;
    for (uint32_t kid = *to; kid != 0; kid = f->node[kid].next) {
        *v = mem_grow(*v, cap, n + 1, sizeof(**v));
        (*v)[n++] = sibling_of(f, kid);
    }
    qsort(*v, n, sizeof(**v), cmp_siblings);
    for (size_t i = 0; i < n; i++) {
        *to = (*v)[i].node;
        to = &f->node[*to].next;
    }
    *to = 0;
}

void
forest_sort_kids(struct forest *f)
{
    struct sibling *v = NULL;
    size_t cap = 0;

    for (uint32_t i = 1; i < f->n; i++)
        sort_kids_of(f, i, &v, &cap);
    free(v);
}

/* The last date in a thread. */
static int64_t
last_date(const struct forest *f, uint32_t root)
{
    int64_t last = INT64_MIN;
    uint32_t at = root;

    for (;;) {
        if (!is_dummy(f, at) && f->fact[at].date_s > last)
            last = f->fact[at].date_s;
        if (f->node[at].first_kid != 0) {
            at = f->node[at].first_kid;
            continue;
        }
        while (at != root && f->node[at].next == 0)
            at = f->parent[at];
        if (at == root)
            return last;
        at = f->node[at].next;
    }
}

void
forest_sort_roots(struct forest *f, bool by_last)
{
    struct sibling *v = mem_alloc((f->n_roots + 1) * sizeof(*v));

    for (size_t i = 0; i < f->n_roots; i++) {
        v[i] = sibling_of(f, f->roots[i]);
        if (by_last)
            v[i].date_s = last_date(f, f->roots[i]);
    }
    qsort(v, f->n_roots, sizeof(*v), cmp_siblings);
    for (size_t i = 0; i < f->n_roots; i++)
        f->roots[i] = v[i].node;
    free(v);
}

uint32_t
forest_chain(struct forest *f)
{
    for (size_t i = 0; i < f->n_roots; i++)
        f->node[f->roots[i]].next = i + 1 < f->n_roots ? f->roots[i + 1] : 0;
    return f->n_roots > 0 ? f->roots[0] : THREAD_NONE;
}

/* ---- step 5 ---- */

/* Of a thread: that of its first message. */
static const struct forest_fact *
fact_of(const struct forest *f, uint32_t root)
{
    return &f->fact[is_dummy(f, root) ? f->node[root].first_kid : root];
}

static void
fill_subjects(struct forest *f, struct hash_table *t)
{
    for (size_t i = 0; i < f->n_roots; i++) {
        uint32_t root = f->roots[i], *place;
        const struct forest_fact *fact = fact_of(f, root);

        if (fact->subject == 0)
            continue;
        place = hash_place(t, fact->subject);
        if (*place == 0 || (!is_dummy(f, *place) &&
                            (is_dummy(f, root) || (f->fact[*place].is_reply && !fact->is_reply))))
            *place = root;
    }
}

/* Thread b into a, which has the subject's place; a new dummy may take it. */
static void
merge(struct forest *f, uint32_t *place, uint32_t b)
{
    uint32_t a = *place, top;

    if (is_dummy(f, a) && is_dummy(f, b)) {
        uint32_t next;

        for (uint32_t kid = f->node[b].first_kid; kid != 0; kid = next) {
            next = f->node[kid].next;
            push_kid(f, a, kid);
        }
        f->node[b].first_kid = 0;
    } else if (is_dummy(f, a) || (f->fact[b].is_reply && !f->fact[a].is_reply)) {
        push_kid(f, a, b);
    } else {
        top = forest_add(f);
        push_kid(f, top, b);
        push_kid(f, top, a);
        add_root(f, top);
        *place = top;
    }
}

/* What is nobody's kid and no dummy without any. */
static void
keep_roots(struct forest *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n_roots; i++) {
        uint32_t root = f->roots[i];

        if (f->parent[root] == 0 && (!is_dummy(f, root) || f->node[root].first_kid != 0))
            f->roots[n++] = root;
    }
    f->n_roots = n;
}

void
forest_merge_subjects(struct forest *f)
{
    struct hash_table subjects = { 0 };
    struct sibling *v = NULL;
    size_t cap = 0, n;

    for (size_t i = 0; i < f->n_roots; i++)
        if (is_dummy(f, f->roots[i]))
            sort_kids_of(f, f->roots[i], &v, &cap); /* the first one counts */
    free(v);
    forest_sort_roots(f, false);
    fill_subjects(f, &subjects);
    n = f->n_roots; /* merging adds some */
    for (size_t i = 0; i < n; i++) {
        uint32_t root = f->roots[i], *place;
        uint64_t subject = fact_of(f, root)->subject;

        if (subject == 0 || f->parent[root] != 0)
            continue;
        place = hash_place(&subjects, subject);
        if (*place != root)
            merge(f, place, root);
    }
    hash_free(&subjects);
    keep_roots(f);
}

/* ---- ORDEREDSUBJECT ---- */

void
forest_group_subjects(struct forest *f)
{
    struct hash_table subjects = { 0 };
    struct sibling *v = mem_alloc(f->n * sizeof(*v));
    uint32_t *last = mem_zalloc(f->n * sizeof(*last)), none = 0; /* kid of each root */

    for (uint32_t i = 1; i < f->n; i++)
        v[i - 1] = sibling_of(f, i);
    qsort(v, f->n - 1, sizeof(*v), cmp_siblings);
    for (size_t i = 0; i + 1 < f->n; i++) {
        uint32_t node = v[i].node;
        uint64_t subject = f->fact[node].subject;
        uint32_t *place = subject != 0 ? hash_place(&subjects, subject) : &none;

        if (*place == 0) {
            *place = node;
            add_root(f, node);
            continue;
        }
        f->parent[node] = *place;
        *(last[*place] ? &f->node[last[*place]].next : &f->node[*place].first_kid) = node;
        last[*place] = node;
    }
    free(last);
    free(v);
    hash_free(&subjects);
}
