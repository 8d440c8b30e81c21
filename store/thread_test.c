/* store/thread_test.c - the forest: RFC 5256's steps one by one, hostile chains, and what must hold whatever comes. */
#include "store/thread_int.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/test.h"

#include <stdlib.h>

/* ---- messages in words ---- */

struct mail {
    const char *id, *refs; /* single letters; refs oldest first */
    const char *subject;   /* "re:" in front: a reply */
    int date;              /* 0: as the sequence number */
};

static uint64_t
hash_of(const char *text)
{
    return *text ? sl_hash(sl_z(text)) | 1 : 0;
}

static uint64_t
letter(char c)
{
    char z[2] = { c, '\0' };

    return hash_of(z);
}

static void
add(struct forest *f, uint32_t seq, const struct mail *m)
{
    struct forest_fact fact = { .date_s = m->date ? m->date : (int)seq };
    const char *subject = m->subject ? m->subject : "";
    uint64_t refs[30];
    size_t n = 0;

    fact.is_reply = strncmp(subject, "re:", 3) == 0;
    fact.subject = hash_of(fact.is_reply ? subject + 3 : subject);
    for (const char *r = m->refs; r && *r; r++)
        refs[n++] = letter(*r);
    forest_message(f, seq, &fact, m->id ? hash_of(m->id) : 0, refs, n);
}

/* As THREAD tells it; recursion is for small ones. */
static void
tell(const struct forest *f, uint32_t at, struct buf *out)
{
    for (; at != THREAD_NONE; at = f->node[at].next) {
        buf_addc(out, '(');
        if (f->node[at].seq)
            buf_addf(out, "%u", f->node[at].seq);
        tell(f, f->node[at].first_kid, out);
        buf_addc(out, ')');
    }
}

static void
finish(struct forest *f, enum thread_kind kind)
{
    if (kind == THREAD_ORDEREDSUBJECT) {
        forest_group_subjects(f);
        return;
    }
    forest_prune(f);
    if (kind == THREAD_REFERENCES)
        forest_merge_subjects(f);
    forest_sort_kids(f);
    forest_sort_roots(f, kind == THREAD_REFS);
}

enum { MAILS = 12 };
static const struct {
    const char *name;
    enum thread_kind kind;
    struct mail mail[MAILS]; /* up to the first without id, refs and subject */
    const char *want;
} rows[] = {
    /* clang-format off */
    { "a chain", THREAD_REFERENCES, { { "a", "", 0, 0 }, { "b", "a", 0, 0 }, { "c", "ab", 0, 0 } }, "(1(2(3)))" },
    { "two answers", THREAD_REFERENCES, { { "a", "", 0, 0 }, { "b", "a", 0, 0 }, { "c", "a", 0, 0 } }, "(1(2)(3))" },
    { "answers before what they answer", THREAD_REFERENCES, { { "c", "ab", 0, 3 }, { "b", "a", 0, 2 }, { "a", "", 0, 1 } }, "(3(2(1)))" },
    { "1A: a parent that is set stays", THREAD_REFERENCES,
      { { "a", "", 0, 0 }, { "b", "a", 0, 0 }, { "c", "", 0, 0 }, { "d", "cb", 0, 0 } }, "(1(2(4)))(3)" },
    { "1B: the message knows better than others", THREAD_REFERENCES,
      { { "a", "", 0, 0 }, { "c", "ab", 0, 0 }, { "x", "", 0, 0 }, { "b", "x", 0, 0 } }, "(1)(3(4(2)))" },
    { "1B: no references, no parent", THREAD_REFERENCES, { { "a", "", 0, 0 }, { "c", "ab", 0, 0 }, { "b", "", 0, 0 } }, "(1)(3(2))" },
    { "a loop of two", THREAD_REFERENCES, { { "a", "b", 0, 0 }, { "b", "a", 0, 0 } }, "(2(1))" },
    { "a loop of three", THREAD_REFERENCES, { { "a", "b", 0, 0 }, { "b", "c", 0, 0 }, { "c", "a", 0, 0 } }, "(3(2(1)))" },
    { "an answer to itself", THREAD_REFERENCES, { { "a", "a", 0, 0 }, { "b", "bab", 0, 0 } }, "(2(1))" },
    { "one id twice: the first has it", THREAD_REFERENCES, { { "a", "", 0, 0 }, { "a", "", 0, 0 }, { "b", "a", 0, 0 } }, "(1(3))(2)" },
    { "no id", THREAD_REFERENCES, { { 0, "a", 0, 0 }, { 0, "a", 0, 0 }, { "a", "", 0, 0 } }, "(3(1)(2))" },
    { "3: a dummy without kids goes", THREAD_REFERENCES, { { "a", "xyz", 0, 0 } }, "(1)" },
    { "3: a dummy with one kid at the top goes", THREAD_REFERENCES, { { "a", "x", 0, 0 }, { "b", "xa", 0, 0 } }, "(1(2))" },
    { "3: a dummy with two at the top stays", THREAD_REFERENCES, { { "a", "x", 0, 0 }, { "b", "x", 0, 0 } }, "((1)(2))" },
    { "3: dummies below a dummy go", THREAD_REFERENCES,
      { { "a", "xy", 0, 0 }, { "b", "xz", 0, 0 }, { "c", "xyw", 0, 0 } }, "((1)(2)(3))" },
    { "3: a dummy below a message gives its kids up", THREAD_REFERENCES,
      { { "a", "", 0, 0 }, { "b", "ax", 0, 0 }, { "c", "ax", 0, 0 } }, "(1(2)(3))" },
    { "3: an only child that came before its dummy", THREAD_REFERENCES, { { "b", "", 0, 0 }, { "b2", "xb", 0, 0 } }, "(1(2))" },
    { "4: by date, ties by number", THREAD_REFERENCES,
      { { "a", "", 0, 9 }, { "b", "", 0, 5 }, { "c", "", 0, 5 }, { "d", "a", 0, 8 }, { "e", "a", 0, 7 } }, "(2)(3)(1(5)(4))" },
    { "4: a dummy by its first kid", THREAD_REFERENCES,
      { { "a", "x", 0, 9 }, { "b", "x", 0, 2 }, { "c", "", 0, 3 }, { "d", "", 0, 1 } }, "(4)((2)(1))(3)" },
    { "5: a reply below what it answers", THREAD_REFERENCES, { { "a", "", "re:s", 0 }, { "b", "", "s", 0 } }, "(2(1))" },
    { "5: two of one subject below a dummy", THREAD_REFERENCES, { { "a", "", "s", 0 }, { "b", "", "s", 0 } }, "((1)(2))" },
    { "5: two replies below a dummy", THREAD_REFERENCES, { { "a", "", "re:s", 0 }, { "b", "", "re:s", 0 }, { "c", "", "t", 0 } }, "((1)(2))(3)" },
    { "5: three", THREAD_REFERENCES, { { "a", "", "s", 0 }, { "b", "", "s", 0 }, { "c", "", "s", 0 } }, "((1)(2)(3))" },
    { "5: a reply and two that are none", THREAD_REFERENCES, { { "a", "", "re:s", 0 }, { "b", "", "s", 0 }, { "c", "", "s", 0 } }, "((2(1))(3))" },
    { "5: into a dummy", THREAD_REFERENCES, { { "a", "x", "s", 0 }, { "b", "x", "s", 0 }, { "c", "", "s", 0 } }, "((1)(2)(3))" },
    { "5: two dummies", THREAD_REFERENCES,
      { { "a", "x", "s", 0 }, { "b", "x", "s", 0 }, { "c", "y", "s", 0 }, { "d", "y", "s", 0 } }, "((1)(2)(3)(4))" },
    { "5: no subject is none", THREAD_REFERENCES, { { "a", "", "", 0 }, { "b", "", "", 0 } }, "(1)(2)" },
    { "5: the subject of a thread is its first message's", THREAD_REFERENCES,
      { { "a", "", "s", 0 }, { "b", "a", "t", 0 }, { "c", "", "t", 0 } }, "(1(2))(3)" },
    { "6: merged ones by date", THREAD_REFERENCES,
      { { "a", "", "s", 5 }, { "b", "a", "s", 9 }, { "c", "", "re:s", 7 }, { "d", "", "u", 6 } }, "(1(3)(2))(4)" },
    { "REFS: no subjects, by the last date", THREAD_REFS,
      { { "a", "", "s", 1 }, { "b", "", "s", 2 }, { "c", "a", "re:s", 3 }, { "d", "x", "", 1 }, { "e", "x", "", 9 } }, "(2)(1(3))((4)(5))" },
    { "ORDEREDSUBJECT", THREAD_ORDEREDSUBJECT,
      { { "a", "", "s", 4 }, { "b", "", "t", 2 }, { "c", "", "re:s", 3 }, { "d", "", "re:t", 1 }, { "e", "", "s", 5 } }, "(4(2))(3(1)(5))" },
    { "ORDEREDSUBJECT: none is a subject too", THREAD_ORDEREDSUBJECT,
      { { "a", "", "", 0 }, { "b", "", "t", 0 }, { "c", "", "", 0 } }, "(1(3))(2)" },
    /* clang-format on */
};

TEST(steps)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf got = { 0 };
        struct forest f;
        uint32_t n = 0;

        TEST_ROW("%s", rows[i].name);
        forest_init(&f, MAILS);
        while (n < MAILS && (rows[i].mail[n].id || rows[i].mail[n].refs)) {
            struct mail m = rows[i].mail[n++];

            if (rows[i].kind == THREAD_ORDEREDSUBJECT)
                m.id = m.refs = NULL;
            add(&f, n, &m);
        }
        finish(&f, rows[i].kind);
        tell(&f, forest_chain(&f), &got);
        CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&got);
        forest_free(&f);
    }
}

/* ---- whatever comes ---- */

/* Each message once, each a kid of whom it says, no dummy below the top or with fewer than two. Returns the depth. */
static size_t
check_forest(struct forest *f, uint32_t messages)
{
    bool *seen = mem_zalloc(messages + 1);
    uint32_t at = forest_chain(f), count = 0;
    size_t depth = 1, deepest = 0;

    for (size_t i = 0; i < f->n_roots; i++)
        CHECK_EQ_INT(f->parent[f->roots[i]], 0);
    while (at != THREAD_NONE) {
        const struct thread_node *n = &f->node[at];

        if (depth > deepest)
            deepest = depth;
        if (n->seq == 0) {
            CHECK(depth == 1 && n->first_kid && f->node[n->first_kid].next);
        } else {
            CHECK(n->seq <= messages && !seen[n->seq]);
            seen[n->seq] = true;
            count++;
        }
        if (n->first_kid) {
            CHECK_EQ_INT(f->parent[n->first_kid], at);
            at = n->first_kid;
            depth++;
            continue;
        }
        while (f->node[at].next == THREAD_NONE && depth > 1) {
            at = f->parent[at];
            depth--;
        }
        at = f->node[at].next;
    }
    CHECK_EQ_INT(count, messages);
    free(seen);
    return deepest;
}

TEST(every_message_once)
{
    unsigned seed = 7;

    for (int round = 0; round < 3000; round++) {
        uint32_t n = 1 + (uint32_t)rand_r(&seed) % 30;
        enum thread_kind kind = (enum thread_kind)(round % 3);
        unsigned ids = 1 + (unsigned)rand_r(&seed) % 40, subjects = 1 + (unsigned)rand_r(&seed) % 8;
        struct forest f;

        forest_init(&f, round % 5 ? n : 0);
        if (round % 7 == 0) {
            f.max_dummies = 3; /* what an attack meets */
            f.steps = 5;
        }
        for (uint32_t seq = 1; seq <= n; seq++) {
            struct forest_fact fact = { .date_s = rand_r(&seed) % 9,
                                        .subject = (unsigned)rand_r(&seed) % subjects,
                                        .is_reply = rand_r(&seed) & 1 };
            uint64_t refs[6];
            size_t n_refs = kind == THREAD_ORDEREDSUBJECT ? 0 : (size_t)rand_r(&seed) % 6;

            for (size_t i = 0; i < n_refs; i++)
                refs[i] = 1 + (unsigned)rand_r(&seed) % ids;
            forest_message(&f, seq, &fact,
                           kind == THREAD_ORDEREDSUBJECT ? 0 : (unsigned)rand_r(&seed) % ids, refs,
                           n_refs);
        }
        finish(&f, kind);
        check_forest(&f, n);
        forest_free(&f);
    }
}

/* Chains as long as the mailbox: in order, backwards, and in any order; a recursion would not come back from it. */
TEST(long_chains)
{
    enum { N = 100000 };
    uint32_t *order = mem_alloc(N * sizeof(*order));
    unsigned seed = 3;

    for (int how = 0; how < 3; how++) {
        struct forest f;

        for (uint32_t i = 0; i < N; i++)
            order[i] = how == 1 ? N - i : i + 1;
        for (uint32_t i = N - 1; how == 2 && i > 0; i--) {
            uint32_t k = (uint32_t)rand_r(&seed) % (i + 1), was = order[i];

            order[i] = order[k];
            order[k] = was;
        }
        forest_init(&f, N);
        for (uint32_t i = 0; i < N; i++) {
            struct forest_fact fact = { .date_s = order[i],
                                        .subject = 5,
                                        .is_reply = order[i] > 1 };
            uint64_t ref = order[i] - 1;

            forest_message(&f, i + 1, &fact, order[i], &ref, ref > 0);
        }
        finish(&f, how == 0 ? THREAD_REFS : THREAD_REFERENCES);
        CHECK_EQ_INT(f.n_roots, 1);
        CHECK_EQ_INT(check_forest(&f, N), N);
        forest_free(&f);
    }
    free(order);
}

/* Each message claims to answer the end of a long chain and to be answered already: every link must look for a loop. */
TEST(hostile_loops_end_soon)
{
    enum { N = 60000 };
    struct forest f;
    uint32_t seq = 0;

    forest_init(&f, 2 * N);
    for (uint32_t i = 1; i <= N; i++) {
        uint64_t refs[2] = { i - 1, 1000000 + i };

        forest_message(&f, ++seq, &(struct forest_fact){ .date_s = seq }, i, refs, i > 1);
        forest_message(&f, ++seq, &(struct forest_fact){ .date_s = seq }, 0, refs + 1, 1);
    }
    for (uint32_t i = 1; i <= N; i++) {
        uint64_t refs[2] = { N, 1000000 + i };

        forest_message(&f, ++seq, &(struct forest_fact){ .date_s = seq }, 2000000 + i, refs, 2);
    }
    CHECK_EQ_INT(f.steps, 0); /* the bound was met */
    finish(&f, THREAD_REFERENCES);
    check_forest(&f, seq);
    forest_free(&f);
}

TEST(too_many_ids_that_are_not_there)
{
    enum { N = 20000, EACH = 20 };
    struct forest f;
    uint64_t id = 1;

    forest_init(&f, N);
    for (uint32_t seq = 1; seq <= N; seq++) {
        uint64_t refs[EACH];

        for (int i = 0; i < EACH; i++)
            refs[i] = id++;
        forest_message(&f, seq, &(struct forest_fact){ .date_s = seq }, 0, refs, EACH);
    }
    CHECK(f.n <= 1 + N + f.max_dummies);
    finish(&f, THREAD_REFS);
    check_forest(&f, N);
    forest_free(&f);
}

TEST_MAIN()
