/* store/rows.c - rows of a mailbox in chunks that are never changed, so that views and states share them. */
#include "store/rows.h"

#include "base/mem.h"
#include "store/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { KW_VALUES = 16 }; /* different sets of keywords in a chunk, for a table of them */
enum { FLAGS_KEPT = STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT };

/* One allocation, the arrays lie behind it: 9 octets a message mostly, 10 where there are keywords. */
struct chunk {
    atomic_uint refs;
    uint32_t n, n_unseen;
    uint64_t base;    /* MODSEQs are this and ... */
    uint32_t *above;  /* ... that, or ... */
    uint64_t *modseq; /* ... these, where they lie far apart; else NULL */
    uint64_t
        *kw; /* values that occur, by kw_at; all of them where kw_at is NULL; NULL: none has any */
    uint8_t *kw_at, *sys;
    uint32_t *uid;
};

struct slot {
    struct chunk *c;
    size_t start; /* index of its first row */
    uint32_t first_uid;
};

struct rows {
    atomic_uint refs;
    size_t n, n_unseen, n_slots;
    struct slot slots[];
};

struct rows_maker {
    struct slot *slots;
    size_t n, n_unseen, n_slots, cap, n_pending;
    struct vrow pending[ROWS_CHUNK]; /* not in a chunk yet */
};

/* ---- chunks ---- */

/* What a chunk of these rows needs. */
struct plan {
    uint64_t base, kw[KW_VALUES];
    size_t n_kw; /* values; more than KW_VALUES: too many for a table */
    bool is_far;
};

static size_t
kw_find(const struct plan *p, uint64_t kw)
{
    size_t i = 0;

    while (i < p->n_kw && p->kw[i] != kw)
        i++;
    return i;
}

static void
plan_chunk(struct plan *p, const struct vrow *rows, size_t n)
{
    uint64_t top = 0;
    bool has_kw = false;

    memset(p, 0, sizeof(*p));
    p->base = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        if (rows[i].modseq < p->base)
            p->base = rows[i].modseq;
        if (rows[i].modseq > top)
            top = rows[i].modseq;
        has_kw = has_kw || rows[i].kw != 0;
    }
    p->is_far = top - p->base > UINT32_MAX;
    for (size_t i = 0; has_kw && i < n && p->n_kw <= KW_VALUES; i++) {
        size_t at = kw_find(p, rows[i].kw);

        if (at < p->n_kw)
            continue;
        if (at < KW_VALUES)
            p->kw[at] = rows[i].kw;
        p->n_kw++;
    }
}

static struct chunk *
chunk_new(const struct vrow *rows, size_t n)
{
    struct plan p;
    struct chunk *c;
    size_t n_kw;
    bool has_table;
    char *at;

    plan_chunk(&p, rows, n);
    has_table = p.n_kw > 0 && p.n_kw <= KW_VALUES;
    n_kw = p.n_kw == 0 ? 0 : has_table ? p.n_kw : n;
    c = mem_alloc(sizeof(*c) + n_kw * sizeof(c->kw[0]) +
                  n * ((p.is_far ? sizeof(c->modseq[0]) : sizeof(c->above[0])) + sizeof(c->uid[0]) +
                       (has_table ? 2 : 1)));
    memset(c, 0, sizeof(*c));
    atomic_init(&c->refs, 1);
    c->n = (uint32_t)n;
    c->base = p.base;
    at = (char *)(c + 1); /* widest first, so that each lies well */
    c->kw = n_kw > 0 ? (uint64_t *)(void *)at : NULL;
    at += n_kw * sizeof(c->kw[0]);
    c->modseq = p.is_far ? (uint64_t *)(void *)at : NULL;
    c->above = p.is_far ? NULL : (uint32_t *)(void *)at;
    at += n * (p.is_far ? sizeof(c->modseq[0]) : sizeof(c->above[0]));
    c->uid = (uint32_t *)(void *)at;
    c->sys = (uint8_t *)(void *)(c->uid + n);
    c->kw_at = has_table ? c->sys + n : NULL;
    if (has_table)
        memcpy(c->kw, p.kw, n_kw * sizeof(c->kw[0]));
    for (size_t i = 0; i < n; i++) {
        c->uid[i] = rows[i].uid;
        c->sys[i] = (uint8_t)(rows[i].sys & FLAGS_KEPT);
        c->n_unseen += (rows[i].sys & STORE_SEEN) == 0;
        if (p.is_far)
            c->modseq[i] = rows[i].modseq;
        else
            c->above[i] = (uint32_t)(rows[i].modseq - p.base);
        if (has_table)
            c->kw_at[i] = (uint8_t)kw_find(&p, rows[i].kw);
        else if (n_kw > 0)
            c->kw[i] = rows[i].kw;
    }
    return c;
}

static struct chunk *
chunk_ref(struct chunk *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static void
chunk_unref(struct chunk *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        free(c);
}

static uint64_t
chunk_modseq(const struct chunk *c, size_t i)
{
    return c->modseq != NULL ? c->modseq[i] : c->base + c->above[i];
}

static struct vrow
chunk_row(const struct chunk *c, size_t i)
{
    uint64_t kw = c->kw == NULL ? 0 : c->kw[c->kw_at == NULL ? i : c->kw_at[i]];

    return (
        struct vrow){ .uid = c->uid[i], .sys = c->sys[i], .kw = kw, .modseq = chunk_modseq(c, i) };
}

/* ---- rows ---- */

struct rows *
rows_ref(struct rows *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void
rows_unref(struct rows **rp)
{
    struct rows *r = *rp;

    *rp = NULL;
    if (r == NULL || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < r->n_slots; i++)
        chunk_unref(r->slots[i].c);
    free(r);
}

size_t
rows_count(const struct rows *r)
{
    return r->n;
}

size_t
rows_unseen(const struct rows *r)
{
    return r->n_unseen;
}

size_t
rows_chunks(const struct rows *r)
{
    return r->n_slots;
}

/* The slot of a row. No chunk has more than ROWS_CHUNK, so it is not before the first guess, and mostly there. */
static const struct slot *
slot_of(const struct rows *r, size_t i)
{
    size_t lo = i / ROWS_CHUNK, hi = r->n_slots;

    if (lo + 1 == hi || i < r->slots[lo + 1].start)
        return &r->slots[lo];
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;

        *(r->slots[mid].start <= i ? &lo : &hi) = mid;
    }
    return &r->slots[lo];
}

struct vrow
rows_at(const struct rows *r, size_t i)
{
    const struct slot *s = slot_of(r, i);

    return chunk_row(s->c, i - s->start);
}

uint32_t
rows_uid_at(const struct rows *r, size_t i)
{
    const struct slot *s = slot_of(r, i);

    return s->c->uid[i - s->start];
}

size_t
rows_at_least(const struct rows *r, uint32_t uid)
{
    size_t lo = 0, hi = r->n_slots, from, to;
    const struct slot *s;

    if (hi == 0 || uid <= r->slots[0].first_uid)
        return 0;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;

        *(r->slots[mid].first_uid <= uid ? &lo : &hi) = mid;
    }
    s = &r->slots[lo];
    for (from = 0, to = s->c->n; from < to;) {
        size_t mid = (from + to) / 2;

        *(s->c->uid[mid] < uid ? &from : &to) = s->c->uid[mid] < uid ? mid + 1 : mid;
    }
    return s->start + from;
}

size_t
rows_first_unseen(const struct rows *r)
{
    for (size_t i = 0; i < r->n_slots; i++) {
        const struct chunk *c = r->slots[i].c;

        for (size_t j = 0; c->n_unseen > 0 && j < c->n; j++)
            if (!(c->sys[j] & STORE_SEEN))
                return r->slots[i].start + j;
    }
    return r->n;
}

size_t
rows_shared_chunks(const struct rows *a, const struct rows *b)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n_slots; i++)
        for (size_t j = 0; j < b->n_slots; j++)
            n += a->slots[i].c == b->slots[j].c;
    return n;
}

/* ---- making ---- */

struct rows_maker *
rows_maker_new(void)
{
    struct rows_maker *m = mem_alloc(sizeof(*m));

    memset(m, 0, offsetof(struct rows_maker, pending));
    return m;
}

static void
put_chunk(struct rows_maker *m, struct chunk *c)
{
    m->slots = mem_grow(m->slots, &m->cap, m->n_slots + 1, sizeof(m->slots[0]));
    m->slots[m->n_slots++] = (struct slot){ .c = c, .start = m->n, .first_uid = c->uid[0] };
    m->n += c->n;
    m->n_unseen += c->n_unseen;
}

static void
flush(struct rows_maker *m)
{
    if (m->n_pending > 0)
        put_chunk(m, chunk_new(m->pending, m->n_pending));
    m->n_pending = 0;
}

void
rows_maker_add(struct rows_maker *m, const struct vrow *row)
{
    m->pending[m->n_pending++] = *row;
    if (m->n_pending == ROWS_CHUNK)
        flush(m);
}

/* A chunk in which nothing changed. A small one is taken into one that is made anyway, else there would be ever more. */
static void
take_chunk(struct rows_maker *m, struct chunk *c)
{
    if (m->n_pending > 0 && m->n_pending + c->n <= ROWS_CHUNK / 2) {
        for (size_t i = 0; i < c->n; i++)
            m->pending[m->n_pending++] = chunk_row(c, i);
        return;
    }
    flush(m);
    put_chunk(m, chunk_ref(c));
}

struct rows *
rows_maker_end(struct rows_maker **mp)
{
    struct rows_maker *m = *mp;
    struct rows *r;

    flush(m);
    r = mem_alloc(sizeof(*r) + m->n_slots * sizeof(r->slots[0]));
    atomic_init(&r->refs, 1);
    r->n = m->n;
    r->n_unseen = m->n_unseen;
    r->n_slots = m->n_slots;
    if (m->n_slots > 0)
        memcpy(r->slots, m->slots, m->n_slots * sizeof(r->slots[0]));
    m->n_slots = 0; /* moved */
    rows_maker_free(mp);
    return r;
}

void
rows_maker_free(struct rows_maker **mp)
{
    struct rows_maker *m = *mp;

    *mp = NULL;
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n_slots; i++)
        chunk_unref(m->slots[i].c);
    free(m->slots);
    free(m);
}

/* ---- changes ---- */

/* Chunk and changes, both by ascending UID, as one. */
static void
merge_chunk(struct rows_maker *m, const struct chunk *c, const struct rows_change *ch, size_t n)
{
    size_t i = 0, j = 0;

    if (m->n_pending + c->n > ROWS_CHUNK) /* chunks keep their bounds as far as they can */
        flush(m);
    while (i < c->n || j < n) {
        if (j == n || (i < c->n && c->uid[i] < ch[j].row.uid)) {
            struct vrow row = chunk_row(c, i++);

            rows_maker_add(m, &row);
            continue;
        }
        if (i < c->n && c->uid[i] == ch[j].row.uid)
            i++;
        if (!ch[j].is_gone)
            rows_maker_add(m, &ch[j].row);
        j++;
    }
}

struct rows *
rows_apply(const struct rows *old, const struct rows_change *ch, size_t n)
{
    struct rows_maker *m = rows_maker_new();
    size_t at = 0;

    for (size_t i = 0; i < old->n_slots; i++) {
        bool is_last = i + 1 == old->n_slots;
        size_t end = at;

        while (end < n && (is_last || ch[end].row.uid < old->slots[i + 1].first_uid))
            end++;
        if (end == at)
            take_chunk(m, old->slots[i].c);
        else
            merge_chunk(m, old->slots[i].c, ch + at, end - at);
        at = end;
    }
    for (; at < n; at++) /* there were none */
        if (!ch[at].is_gone)
            rows_maker_add(m, &ch[at].row);
    return rows_maker_end(&m);
}

struct rows *
rows_raise(struct rows *old, uint64_t floor)
{
    struct rows_maker *m = rows_maker_new();

    for (size_t i = 0; i < old->n_slots; i++) {
        struct chunk *c = old->slots[i].c;
        bool is_below = false;

        for (size_t j = 0; j < c->n; j++)
            is_below = is_below || chunk_modseq(c, j) < floor;
        if (!is_below) {
            take_chunk(m, c);
            continue;
        }
        flush(m);
        for (size_t j = 0; j < c->n; j++) {
            struct vrow row = chunk_row(c, j);

            if (row.modseq < floor)
                row.modseq = floor;
            rows_maker_add(m, &row);
        }
    }
    return rows_maker_end(&m);
}

/* ---- differences ---- */

struct cursor {
    const struct rows *r;
    size_t slot, at;
};

static const struct chunk *
chunk_at(const struct cursor *k)
{
    return k->slot < k->r->n_slots ? k->r->slots[k->slot].c : NULL;
}

static void
step(struct cursor *k)
{
    if (++k->at == k->r->slots[k->slot].c->n) {
        k->slot++;
        k->at = 0;
    }
}

/* A chunk that both have is met by both at its start: the walk goes by UID. */
void
rows_diff(const struct rows *a, const struct rows *b, const struct rows_diff_ops *ops, void *arg)
{
    struct cursor x = { .r = a }, y = { .r = b };

    while (a != b) {
        const struct chunk *c = chunk_at(&x), *d = chunk_at(&y);
        struct vrow row;

        if (c == NULL && d == NULL)
            return;
        if (c == d && x.at == 0 && y.at == 0) {
            x.slot++;
            y.slot++;
            continue;
        }
        if (d == NULL || (c != NULL && c->uid[x.at] < d->uid[y.at])) {
            ops->only_a(arg, a->slots[x.slot].start + x.at, c->uid[x.at]);
            step(&x);
            continue;
        }
        row = chunk_row(d, y.at);
        if (c == NULL || row.uid < c->uid[x.at]) {
            ops->only_b(arg, &row);
        } else {
            if (chunk_modseq(c, x.at) != row.modseq)
                ops->changed(arg, &row);
            step(&x);
        }
        step(&y);
    }
}
