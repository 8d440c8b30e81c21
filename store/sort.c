/* store/sort.c - see sort.h. A merge sort from the bottom up, so that it can stop between two merges; being stable it
 * leaves ties in the order of sequence numbers. */
#include "store/sort.h"

#include "base/mem.h"
#include "store/bulk.h"

#include <stdlib.h>

/* Of a text so much decides, and more where few are sorted: subjects of hostile mail fold to 88 KB each. */
enum { SORT_TEXT_OCTETS = 256, SORT_TEXTS_OCTETS = 64 * 1024 * 1024 };
enum { SORT_KEEP_MIN = 1000 }; /* fewer are sorted as quickly */

struct entry {
    uint64_t head; /* the key's first octets, which mostly decide */
    size_t at;     /* in keys */
    uint32_t n, seq;
};

struct store_sort {
    struct sort_by by[SORT_KEYS_MAX];
    size_t n_by;
    uint32_t *seqs; /* as given, then the result */
    size_t n;
    size_t max_text;
    struct bulk bulk;
    struct buf keys;
    struct entry *v, *spare; /* v: n_v of them */
    size_t n_v;
    size_t width, merged; /* of the pass in work: length of a run, and how far */
    bool is_read, is_done;
};

/* ---- keys ---- */

static void
add_number(struct buf *out, int64_t number, uint8_t flip)
{
    uint64_t v = (uint64_t)number ^ (uint64_t)1 << 63;
    char *to = buf_reserve(out, 8);

    for (int i = 0; i < 8; i++)
        to[i] = (char)((uint8_t)(v >> (56 - 8 * i)) ^ flip);
    buf_commit(out, 8);
}

/* A NUL ends it, so none may be in it. */
static void
add_text(struct buf *out, struct slice text, uint8_t flip)
{
    char *to = buf_reserve(out, text.n + 1);

    for (size_t i = 0; i < text.n; i++)
        to[i] = (char)((text.p[i] == '\0' ? 1 : (uint8_t)text.p[i]) ^ flip);
    to[text.n] = (char)flip;
    buf_commit(out, text.n + 1);
}

static void
add_key(struct buf *out, const struct bulk_row *r, const struct sort_by *by, size_t max_text)
{
    uint8_t flip = by->is_reverse ? 0xff : 0;

    switch (by->key) {
    case SORT_ARRIVAL:
        add_number(out, r->date_s, flip);
        break;
    case SORT_DATE:
        add_number(out, r->has_sent ? r->sent_s : r->date_s, flip);
        break;
    case SORT_SIZE:
        add_number(out, r->crlf, flip);
        break;
    case SORT_CC:
        add_text(out, sl_head(r->cc_key, max_text), flip);
        break;
    case SORT_FROM:
        add_text(out, sl_head(r->from_key, max_text), flip);
        break;
    case SORT_TO:
        add_text(out, sl_head(r->to_key, max_text), flip);
        break;
    case SORT_DISPLAYFROM:
        add_text(out, sl_head(r->from_name, max_text), flip);
        break;
    case SORT_DISPLAYTO:
        add_text(out, sl_head(r->to_name, max_text), flip);
        break;
    case SORT_SUBJECT:
        add_text(out, sl_head(r->base_subject, max_text), flip);
        break;
    }
}

static void
take(void *to, const struct bulk_row *r)
{
    struct store_sort *s = to;
    struct entry *e = &s->v[s->n_v++];
    const uint8_t *p;

    *e = (struct entry){ .at = s->keys.n, .seq = r->seq };
    for (size_t i = 0; i < s->n_by; i++)
        add_key(&s->keys, r, &s->by[i], s->max_text);
    e->n = (uint32_t)(s->keys.n - e->at);
    p = (const uint8_t *)s->keys.p + s->keys.off + e->at;
    for (size_t i = 0; i < 8; i++)
        e->head = e->head << 8 | (i < e->n ? p[i] : 0);
}

/* ---- order ---- */

static bool
is_after(const struct store_sort *s, const struct entry *a, const struct entry *b)
{
    const char *keys = s->keys.p + s->keys.off;
    int c;

    if (a->head != b->head)
        return a->head > b->head;
    c = memcmp(keys + a->at, keys + b->at, a->n < b->n ? a->n : b->n);
    return c != 0 ? c > 0 : a->n != b->n ? a->n > b->n : a->seq > b->seq;
}

static void
merge(const struct store_sort *s, size_t from, size_t mid, size_t end)
{
    const struct entry *v = s->v;
    struct entry *to = s->spare + from;
    size_t a = from, b = mid;

    if (mid == end || !is_after(s, &v[mid - 1], &v[mid])) {
        memcpy(to, v + from, (end - from) * sizeof(*to));
        return;
    }
    while (a < mid && b < end)
        *to++ = is_after(s, &v[a], &v[b]) ? v[b++] : v[a++];
    memcpy(to, v + a, (mid - a) * sizeof(*to));
    to += mid - a;
    memcpy(to, v + b, (end - b) * sizeof(*to));
}

/* 0 done, 1 stopped. */
static int
order(struct store_sort *s, bool (*yield)(void *), void *arg)
{
    unsigned since = 0;

    for (; s->width < s->n_v; s->width *= 2) {
        struct entry *was = s->v;

        while (s->merged < s->n_v) {
            size_t mid = s->n_v - s->merged > s->width ? s->merged + s->width : s->n_v;
            size_t end = s->n_v - mid > s->width ? mid + s->width : s->n_v;

            merge(s, s->merged, mid, end);
            since += (unsigned)(end - s->merged);
            s->merged = end;
            if (since < 4 * BULK_BLOCK || !yield)
                continue;
            since = 0;
            if (yield(arg))
                return 1;
        }
        s->merged = 0;
        s->v = s->spare;
        s->spare = was;
    }
    return 0;
}

/* ---- an order that is kept ---- */

/* What a message is sorted by never changes, so that who asks for the same order again, as webmail does for each page, need not
 * read it again: of what was sorted is left out what is not asked for now. A view that sleeps forgets it. */
struct sort_order {
    struct sort_by by[SORT_KEYS_MAX];
    size_t n_by, n;
    uint32_t uids[];
};

void
view_drop_order(struct store_view *v)
{
    free(v->order);
    v->order = NULL;
}

static void
keep_order(const struct store_sort *s)
{
    struct store_view *v = s->bulk.v;

    if (s->n < SORT_KEEP_MIN)
        return;
    view_drop_order(v);
    v->order = mem_alloc(sizeof(*v->order) + s->n * sizeof(v->order->uids[0]));
    memcpy(v->order->by, s->by, sizeof(s->by));
    v->order->n_by = s->n_by;
    v->order->n = s->n;
    for (size_t i = 0; i < s->n; i++)
        v->order->uids[i] = view_uid_at(v, s->seqs[i] - 1);
}

static bool
is_kept(const struct store_sort *s)
{
    const struct sort_order *o = s->bulk.v->order;

    if (!o || o->n_by != s->n_by || o->n < s->n || s->n < SORT_KEEP_MIN)
        return false;
    for (size_t i = 0; i < s->n_by; i++)
        if (o->by[i].key != s->by[i].key || o->by[i].is_reverse != s->by[i].is_reverse)
            return false;
    return true;
}

/* False: some that are to be sorted are not in it. */
static bool
use_order(struct store_sort *s)
{
    const struct sort_order *o = s->bulk.v->order;
    size_t words = s->bulk.v->n / 64 + 1, n = 0;
    uint64_t *wanted = mem_zalloc(words * sizeof(wanted[0]));
    uint32_t *seqs = mem_alloc((s->n + 1) * sizeof(seqs[0]));

    for (size_t i = 0; i < s->n; i++)
        wanted[s->seqs[i] / 64] |= UINT64_C(1) << s->seqs[i] % 64;
    for (size_t i = 0; i < o->n && n < s->n; i++) {
        uint32_t seq = store_view_seq(s->bulk.v, o->uids[i]);

        if (seq != 0 && (wanted[seq / 64] >> seq % 64 & 1))
            seqs[n++] = seq;
    }
    free(wanted);
    if (n < s->n) {
        free(seqs);
        return false;
    }
    free(s->seqs);
    s->seqs = seqs;
    return true;
}

/* ---- the engine ---- */

static unsigned
need_of(enum sort_key k)
{
    return k == SORT_ARRIVAL ? 0 : k == SORT_SIZE ? BULK_SIZE : BULK_SORT;
}

struct store_sort *
store_sort_new(struct store_view *v, const struct sort_by *by, size_t n_by, const uint32_t *seqs,
               size_t n)
{
    struct store_sort *s = MEM_NEW(struct store_sort);
    unsigned seen = 0;

    for (size_t i = 0; i < n_by; i++) {
        if (seen & 1u << by[i].key)
            continue; /* what is equal in a key is equal in its reverse */
        seen |= 1u << by[i].key;
        s->by[s->n_by++] = by[i];
        s->bulk.need |= need_of(by[i].key);
    }
    s->bulk.need |= BULK_BRIEF;
    if (!(seen & ~(1u << SORT_SUBJECT | 1u << SORT_ARRIVAL | 1u << SORT_SIZE)))
        s->bulk.need |= BULK_SUBJECT;
    else if (!(seen & ~(1u << SORT_DATE | 1u << SORT_ARRIVAL | 1u << SORT_SIZE)))
        s->bulk.need |= BULK_SENT;
    s->n = n;
    s->max_text = SORT_TEXTS_OCTETS / (n * s->n_by + 1);
    if (s->max_text < SORT_TEXT_OCTETS)
        s->max_text = SORT_TEXT_OCTETS;
    s->seqs = mem_alloc((n + 1) * sizeof(s->seqs[0]));
    if (n > 0)
        memcpy(s->seqs, seqs, n * sizeof(s->seqs[0]));
    s->v = mem_alloc((n + 1) * sizeof(s->v[0]));
    s->bulk.v = v;
    s->bulk.seqs = s->seqs;
    s->bulk.n = n;
    s->width = 1;
    if (is_kept(s) && use_order(s)) {
        s->is_read = s->is_done = true;
        s->bulk.at = n;
    }
    return s;
}

int
store_sort_run(struct store_sort *s, bool (*yield)(void *), void *arg, struct err *e)
{
    int rc;

    if (!s->is_read) {
        rc = bulk_run(&s->bulk, take, s, yield, arg, e);
        if (rc != 0)
            return rc;
        s->is_read = true;
        s->spare = mem_alloc((s->n + 1) * sizeof(s->spare[0]));
    }
    if (!s->is_done) {
        if (order(s, yield, arg))
            return 1;
        for (size_t i = 0; i < s->n_v; i++)
            s->seqs[i] = s->v[i].seq;
        s->is_done = true;
        keep_order(s);
    }
    return 0;
}

const uint32_t *
store_sort_result(const struct store_sort *s)
{
    BUG_ON(!s->is_done);
    return s->seqs;
}

size_t
store_sort_done(const struct store_sort *s)
{
    return s->bulk.at;
}

void
store_sort_free(struct store_sort **sp)
{
    struct store_sort *s = *sp;

    if (!s)
        return;
    *sp = NULL;
    bulk_end(&s->bulk);
    buf_free(&s->keys);
    free(s->v);
    free(s->spare);
    free(s->seqs);
    free(s);
}
