/* store/rows_test.c - shared rows against a plain array: whatever is done, both have the same; and what was not touched is
 * not copied. */
#include "base/test.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/snapshot.h"

#include <stdlib.h>

struct model {
    struct vrow v[8000];
    size_t n;
    uint32_t uidnext;
    uint64_t modseq;
};

static bool
row_eq(const struct vrow *a, const struct vrow *b)
{
    return a->uid == b->uid && a->sys == b->sys && a->kw == b->kw && a->modseq == b->modseq;
}

/* Everything that can be asked of rows is what the array says. */
static void
check_same(const struct rows *r, const struct model *m)
{
    size_t unseen = 0, first = m->n;

    NEED(rows_count(r) == m->n);
    for (size_t i = 0; i < m->n; i++) {
        struct vrow row = rows_at(r, i);
        uint32_t before = i == 0 ? 0 : m->v[i - 1].uid;

        NEED(row_eq(&row, &m->v[i]));
        NEED(rows_uid_at(r, i) == m->v[i].uid);
        NEED(rows_at_least(r, m->v[i].uid) == i);
        NEED(rows_at_least(r, before + 1) == i);
        if (!(row.sys & STORE_SEEN)) {
            first = first == m->n ? i : first;
            unseen++;
        }
    }
    CHECK_EQ_INT(rows_at_least(r, m->uidnext), m->n);
    CHECK_EQ_INT(rows_unseen(r), unseen);
    CHECK_EQ_INT(rows_first_unseen(r), first);
}

/* Some change of the array, as changes; every third has keywords. */
static size_t
change(struct model *m, struct rows_change *ch, unsigned many)
{
    struct model *was = mem_dup(m, sizeof *m);
    size_t n = 0;

    m->n = 0;
    m->modseq += m->modseq % 13 == 0 ? UINT64_C(7000000000) : 1; /* now and then far apart */
    for (size_t i = 0; i < was->n; i++) {
        struct vrow row = was->v[i];
        unsigned dice = rand_below(many * 3);

        if (dice == 0) {
            ch[n++] = (struct rows_change){ .row = row, .is_gone = true };
            continue;
        }
        if (dice == 1) {
            row.sys = rand_below(32);
            row.kw = rand_below(3) != 0 ? 0 : m->modseq % 2 ? rand_below(40) : rand_u64();
            row.modseq = m->modseq;
            ch[n++] = (struct rows_change){ .row = row };
        }
        m->v[m->n++] = row;
    }
    for (unsigned more = rand_below(4) * rand_below(300); more > 0 && m->n < 7000; more--) {
        struct vrow row = { .uid = m->uidnext, .sys = rand_below(2), .modseq = m->modseq };

        m->uidnext += 1 + (rand_below(5) == 0) * rand_below(200);
        ch[n++] = (struct rows_change){ .row = row };
        m->v[m->n++] = row;
    }
    free(was);
    return n;
}

/* ---- differences as they are told ---- */

struct told {
    size_t n_gone, n_new, n_changed;
    const struct model *a;
    bool is_wrong;
};

static void
only_a(void *arg, size_t at, uint32_t uid)
{
    struct told *t = arg;

    t->n_gone++;
    t->is_wrong = t->is_wrong || at >= t->a->n || t->a->v[at].uid != uid;
}

static void
only_b(void *arg, const struct vrow *row)
{
    struct told *t = arg;

    t->n_new++;
    t->is_wrong = t->is_wrong || row->uid < t->a->uidnext;
}

static void
changed(void *arg, const struct vrow *now)
{
    struct told *t = arg;

    t->n_changed++;
    t->is_wrong = t->is_wrong || now->modseq <= t->a->modseq;
}

static void
check_diff(const struct rows *a, const struct model *was, const struct rows *b,
           const struct rows_change *ch, size_t n)
{
    static const struct rows_diff_ops ops = { only_a, only_b, changed };
    struct told want = { 0 }, got = { .a = was };

    for (size_t i = 0; i < n; i++) {
        want.n_gone += ch[i].is_gone;
        want.n_new += !ch[i].is_gone && ch[i].row.uid >= was->uidnext;
        want.n_changed += !ch[i].is_gone && ch[i].row.uid < was->uidnext;
    }
    rows_diff(a, b, &ops, &got);
    CHECK_EQ_INT(got.n_gone, want.n_gone);
    CHECK_EQ_INT(got.n_new, want.n_new);
    CHECK_EQ_INT(got.n_changed, want.n_changed);
    CHECK(!got.is_wrong);
}

static void
check_packed(const struct rows *r, const struct model *m)
{
    struct buf packed = { 0 };
    struct rows *again;

    snapshot_pack(r, 77, m->modseq, &packed);
    again = snapshot_unpack(buf_slice(&packed), 77, m->modseq, m->uidnext);
    NEED(again != NULL);
    check_same(again, m);
    rows_unref(&again);
    buf_free(&packed);
}

static struct rows *
rows_none(void)
{
    struct rows_maker *m = rows_maker_new();

    return rows_maker_end(&m);
}

TEST(random_changes)
{
    struct model *m = MEM_NEW(struct model), *was = MEM_NEW(struct model);
    struct rows_change *ch = mem_alloc(20000 * sizeof ch[0]);
    struct rows *now = rows_none();

    m->uidnext = 1;
    m->modseq = 5;
    for (int i = 0; i < 300; i++) {
        struct rows *next;
        size_t n;

        TEST_ROW("round %d", i);
        *was = *m;
        n = change(m, ch, i % 3 == 0 ? 2 : 1000);
        next = rows_apply(now, ch, n);
        check_same(next, m);
        check_same(now, was); /* who has the old one sees nothing of it */
        check_diff(now, was, next, ch, n);
        if (i % 10 == 0)
            check_packed(next, m);
        rows_unref(&now);
        now = next;
        if (test_case_failures)
            break;
    }
    CHECK(rows_chunks(now) < 3 * (m->n / ROWS_CHUNK + 4)); /* chunks do not crumble */
    rows_unref(&now);
    free(ch);
    free(m);
    free(was);
}

static struct rows *
rows_up_to(uint32_t last)
{
    struct rows_maker *m = rows_maker_new();

    for (uint32_t uid = 1; uid <= last; uid++)
        rows_maker_add(m, &(struct vrow){ .uid = uid, .sys = STORE_SEEN, .modseq = 7 });
    return rows_maker_end(&m);
}

TEST(a_change_copies_one_chunk)
{
    struct rows *a = rows_up_to(100 * ROWS_CHUNK), *b;
    static const struct {
        const char *name;
        uint32_t uid;
        bool is_gone;
        size_t shared;
    } rows[] = {
        { "first", 1, false, 99 },
        { "middle", 50 * ROWS_CHUNK + 3, false, 99 },
        { "last", 100 * ROWS_CHUNK, false, 99 },
        { "gone", 7 * ROWS_CHUNK, true, 99 },
        { "new", 100 * ROWS_CHUNK + 1, false, 99 },
    };

    CHECK_EQ_INT(rows_chunks(a), 100);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rows_change ch = { { .uid = rows[i].uid, .modseq = 8 }, rows[i].is_gone };

        TEST_ROW("%s", rows[i].name);
        b = rows_apply(a, &ch, 1);
        CHECK_EQ_INT(rows_shared_chunks(a, b), rows[i].shared);
        rows_unref(&b);
    }
    TEST_ROW("raise");
    b = rows_raise(a, 7);
    CHECK_EQ_INT(rows_shared_chunks(a, b), 100);
    rows_unref(&b);
    b = rows_raise(a, 8);
    CHECK_EQ_INT(rows_shared_chunks(a, b), 0);
    CHECK_EQ_INT(rows_at(b, 12345).modseq, 8);
    rows_unref(&b);
    rows_unref(&a);
}

/* One octet of a packed form wrong, or the numbers: it is not taken. */
TEST(damaged_packed_rows)
{
    struct rows *a = rows_up_to(300), *b;
    struct buf packed = { 0 };
    struct slice s;

    snapshot_pack(a, 77, 9, &packed);
    s = buf_slice(&packed);
    b = snapshot_unpack(s, 77, 9, 301);
    NEED(b != NULL);
    rows_unref(&b);
    CHECK(snapshot_unpack(s, 78, 9, 301) == NULL);
    CHECK(snapshot_unpack(s, 77, 8, 301) == NULL);
    CHECK(snapshot_unpack(s, 77, 9, 300) == NULL);
    CHECK(s.n < 40); /* in ranges */
    for (size_t i = 0; i < s.n; i++) {
        char *text = mem_dup(s.p, s.n);

        TEST_ROW("octet %zu", i);
        CHECK(snapshot_unpack(sl_head(s, i), 77, 9, 301) == NULL);
        text[i] ^= 1;
        CHECK(snapshot_unpack(sl_n(text, s.n), 77, 9, 301) == NULL);
        free(text);
    }
    buf_free(&packed);
    rows_unref(&a);
}

TEST_MAIN()
