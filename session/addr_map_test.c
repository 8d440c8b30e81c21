#include "session/addr_header.h"
#include "session/addr_map.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- authd, played: these stand in for auth/lookup_client.c ---- */

static const struct {
    const char *param, *key, *value; /* value NULL: trouble */
} rows[] = {
    { "canonical_maps", "u@d.test", "v@e.test" },
    { "canonical_maps", "ext@d.test", "w@e.test" },
    { "canonical_maps", "@whole.test", "@e.test" },
    { "canonical_maps", "again@d.test", "u@d.test" },
    { "canonical_maps", "self@d.test", "Self@d.test" },
    { "canonical_maps", "loop@d.test", "loop2@d.test" },
    { "canonical_maps", "loop2@d.test", "loop@d.test" },
    { "canonical_maps", "trouble@d.test", NULL },
    { "canonical_maps", "late@d.test", "trouble@d.test" },
    { "canonical_maps", "@partly.test", NULL },
    { "canonical_maps", "nothing@d.test", "," },
    { "canonical_maps", "null@d.test", "<>" },
    { "canonical_maps", "two@d.test", "u1@e.test, u2@e.test" },
    { "canonical_maps", "named@d.test", "Some Body <u3@e.test> " },
    { "canonical_maps", "short@d.test", "u4" },
    { "canonical_maps", "\"a b\"@d.test", "\"c d\"@e.test" },
    { "canonical_maps", "e f@d.test", "u5@e.test" },
    { "canonical_maps", "name", "u6@e.test" },
    { "canonical_maps", "deep@d.test", "u@x.hide.test" },
    { "sender_canonical_maps", "s@d.test", "u@d.test" },
    { "bcc_maps", "u@d.test", " copy@e.test " },
    { "bcc_maps", "@d.test", "all" },
    { "hash:dest", "tabled.test", "x" },
    { "hash:odd", "tabled", "x" },
};

struct asked {
    struct asked *next;
    const char *param;
    char key[200];
    void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value);
    uint64_t id;
};
static struct asked *asked; /* the last one first */
static size_t n_asked, most_open, n_open;

void
lookup_ask(struct lookup_client *l, const char *name, struct slice key,
           void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    struct asked *a = MEM_NEW(struct asked);

    (void)l;
    *a = (struct asked){ .next = asked, .param = name, .cb = cb, .id = id };
    snprintf(a->key, sizeof a->key, "%.*s", SL_ARG(key));
    asked = a;
    n_asked++;
    n_open++;
    most_open = n_open > most_open ? n_open : most_open;
}

void
lookup_ask_part(struct lookup_client *l, const char *name, struct slice key,
                void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    lookup_ask(l, name, key, cb, id);
}

static void
answer(struct asked *a)
{
    enum lookup_rc rc = LOOKUP_NOTFOUND;
    const char *value = "";

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (!strcmp(rows[i].param, a->param) && sl_ieqz(sl_z(a->key), rows[i].key)) {
            rc = rows[i].value ? LOOKUP_FOUND : LOOKUP_TEMP;
            value = rows[i].value ? rows[i].value : "";
        }
    n_open--;
    a->cb(a->id, rc, sl_z(value));
    free(a);
}

/* The last question first, or the first one first. */
static void
answer_all(bool is_backward)
{
    while (asked) {
        struct asked **p = &asked, *a;

        while (!is_backward && (*p)->next)
            p = &(*p)->next;
        a = *p;
        *p = a->next;
        answer(a);
    }
}

/* ---- what is mapped by what ---- */

static const char *const destinations[] = { "local.test", "hash:dest" };
static const char *const hidden[] = { "!open.hide.test", "hide.test" };
static const char *const excepted[] = { "root", "hash:odd" };
static struct conf_list
list_of(const char *const *v, size_t n)
{
    return (struct conf_list){ .v = v, .n = n };
}

static struct conf conf = { .recipient_delimiter = "+", .double_bounce_sender = "double-bounce" };
static struct smtp_addr_rules rules = { .myorigin = SL_INIT("here.test"),
                                        .mydomain = SL_INIT("here.test"),
                                        .append_at_myorigin = true };
static struct domlist mydestination;
static struct own_addrs own;
static size_t n_released;

static void
release(void *owner)
{
    (void)owner;
    n_released++;
}

static struct addr_map *
map_new_(void)
{
    struct addr_map_conf c = { .conf = &conf,
                               .rules = &rules,
                               .mydestination = &mydestination,
                               .own = &own,
                               .outcome = "try again later",
                               .release = release };

    domlist_init(&mydestination, "mydestination", list_of(destinations, COUNT_OF(destinations)),
                 false);
    n_asked = most_open = n_released = 0;
    return addr_map_new(&c, "ID");
}

static struct addr_plan
plan_of(bool keeps_extension, unsigned rounds)
{
    return (struct addr_plan){ .tables = { { "sender_canonical_maps" }, { "canonical_maps" } },
                               .n_tables = 2,
                               .rounds = rounds,
                               .keeps_extension = keeps_extension };
}

/* "addr" as it was, "=addr" when mapped; "TEMP". */
static void
note(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct buf *out = arg;

    (void)id;
    if (!good)
        buf_addz(out, "TEMP");
    for (size_t i = 0; good && i < n; i++)
        buf_addf(out, "%s%s%.*s", i ? " " : "", v[i].is_changed ? "=" : "", SL_ARG(v[i].addr));
}

TEST(one_address)
{
    static const struct {
        const char *addr, *want, *want_bare; /* NULL: the same without propagated extensions */
        unsigned rounds;
    } cases[] = {
        { "x@d.test", "x@d.test", NULL, 10 },
        { "u@d.test", "=v@e.test", NULL, 10 },
        { "U@D.test", "=v@e.test", NULL, 10 },
        { "u+x@d.test", "=v+x@e.test", "=v@e.test", 10 },
        { "ext+x+y@d.test", "=w+x+y@e.test", "=w@e.test", 10 },
        { "Any@whole.test", "=Any@e.test", NULL, 10 },
        { "any+x@whole.test", "=any+x@e.test", NULL, 10 },
        { "again@d.test", "=v@e.test", NULL, 10 },
        { "again@d.test", "=u@d.test", NULL, 1 },
        { "s@d.test", "=v@e.test", NULL, 10 },
        { "self@d.test", "=Self@d.test", NULL, 10 },
        { "Self@d.test", "Self@d.test", NULL, 10 },
        { "loop@d.test", "=loop@d.test", NULL, 10 },
        { "trouble@d.test", "TEMP", NULL, 10 },
        { "late@d.test", "TEMP", NULL, 10 },
        { "late@d.test", "=trouble@d.test", NULL, 1 },
        { "x@partly.test", "TEMP", NULL, 10 },
        { "nothing@d.test", "TEMP", NULL, 10 },
        { "null@d.test", "=", NULL, 10 },
        { "null+x@d.test", "=", NULL, 10 },
        { "two@d.test", "=u1@e.test", NULL, 10 },
        { "named@d.test", "=u3@e.test", NULL, 10 },
        { "short@d.test", "=u4@here.test", NULL, 10 },
        { "a b@d.test", "=c d@e.test", NULL, 10 },
        { "e f@d.test", "=u5@e.test", NULL, 10 },
        { "name", "=u6@e.test", NULL, 10 },
        { "name@here.test", "=u6@e.test", NULL, 10 },
        { "name+x@local.test", "=u6+x@e.test", "=u6@e.test", 10 },
        { "name@tabled.test", "=u6@e.test", NULL, 10 },
        { "name@other.test", "name@other.test", NULL, 10 },
        { "", "", NULL, 10 },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (unsigned k = 0; k < 4; k++) {
            struct addr_plan plan = plan_of(k & 1, cases[i].rounds);
            struct addr_map *m = map_new_();
            struct slice addr = sl_z(cases[i].addr);
            const char *want = k & 1 || !cases[i].want_bare ? cases[i].want : cases[i].want_bare;
            struct buf got = { 0 };

            TEST_ROW("%s", cases[i].addr);
            addr_map_run(m, &plan, &addr, 1, note, 0, &got);
            answer_all(k & 2);
            CHECK_EQ_STR(buf_z(&got), want);
            buf_free(&got);
            addr_map_unref(&m);
            CHECK_EQ_INT(n_released, 1);
        }
}

/* A table's value as it stands. */
TEST(values)
{
    static const struct slice addrs[] = { SL_INIT("u@d.test"), SL_INIT("u+x@d.test"),
                                          SL_INIT("y@d.test"), SL_INIT("y@e.test"), SL_INIT("") };
    struct addr_plan plan = { .tables = { { "bcc_maps" } }, .n_tables = 1 };
    struct addr_map *m = map_new_();
    struct buf got = { 0 };

    addr_map_run(m, &plan, addrs, COUNT_OF(addrs), note, 0, &got);
    answer_all(false);
    CHECK_EQ_STR(buf_z(&got), "=copy@e.test =copy@e.test =all y@e.test ");
    buf_free(&got);
    addr_map_unref(&m);
}

TEST(masquerading)
{
    static const struct {
        const char *addr, *want;
    } cases[] = {
        { "u@x.hide.test", "=u@hide.test" },
        { "u@X.Y.Hide.Test", "=u@hide.test" },
        { "u@hide.test", "u@hide.test" },
        { "u@Hide.test", "u@Hide.test" },
        { "u@xhide.test", "u@xhide.test" },
        { "u@open.hide.test", "u@open.hide.test" },
        { "u@x.open.hide.test", "u@x.open.hide.test" },
        { "root@x.hide.test", "root@x.hide.test" },
        { "Root@x.hide.test", "Root@x.hide.test" },
        { "root+x@x.hide.test", "=root+x@hide.test" },
        { "tabled@x.hide.test", "tabled@x.hide.test" },
        { "deep@d.test", "=u@hide.test" },
        { "u", "u" },
        { "u@[192.0.2.1]", "u@[192.0.2.1]" },
        { "", "" },
    };
    struct words *exceptions;
    struct err e;

    CHECK_EQ_INT(words_init(&exceptions, "masquerade_exceptions", list_of(excepted, 2), &e), 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct addr_plan plan = plan_of(true, 10);
        struct addr_map *m = map_new_();
        struct slice addr = sl_z(cases[i].addr);
        struct buf got = { 0 };

        TEST_ROW("%s", cases[i].addr);
        plan.masquerade = list_of(hidden, COUNT_OF(hidden));
        plan.exceptions = exceptions;
        addr_map_run(m, &plan, &addr, 1, note, 0, &got);
        answer_all(false);
        CHECK_EQ_STR(buf_z(&got), cases[i].want);
        buf_free(&got);
        addr_map_unref(&m);
    }
    words_free(&exceptions);
}

/* Each address is asked for once, a window of them at a time, and who waits keeps the map. */
TEST(many)
{
    enum { N = 1000 };
    struct slice addrs[N];
    char text[N][20];
    struct addr_plan plan = plan_of(true, 10);
    struct addr_map *m = map_new_();
    struct buf got = { 0 }, again = { 0 };
    size_t n;

    for (size_t i = 0; i < N; i++) {
        snprintf(text[i], sizeof text[i], "n%zu@d.test", i % 100);
        addrs[i] = sl_z(text[i]);
    }
    addr_map_run(m, &plan, addrs, N, note, 0, &got);
    addr_map_run(m, &plan, addrs, 10, note, 0, &again);
    addr_map_unref(&m);
    CHECK_EQ_INT(n_released, 0);
    answer_all(false);
    n = got.n;
    CHECK(n > N * 9 && again.n > 90);
    CHECK_EQ_INT(n_released, 1);
    /* the address and "@d.test", in two tables; the first ones also whether d.test is a local domain */
    CHECK_EQ_INT(n_asked, 100 * 2 * 2 + ADDR_MAP_WINDOW);
    CHECK(most_open <= 2 * ADDR_MAP_WINDOW);
    buf_free(&got);
    buf_free(&again);
}

/* More than are kept: with the next batch it begins anew, also with one out of the last answer of the one before. */
enum { MANY = ADDR_MAP_KEPT_MAX + 500 };
struct next_batch {
    struct addr_map *m;
    struct addr_plan plan;
    struct slice *addrs;
    size_t n_left, n_mapped;
};

static void
run_next(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct next_batch *b = arg;

    (void)id;
    CHECK(good && sl_eq(v[n - 1].addr, b->addrs[n - 1]));
    b->n_mapped += n;
    if (b->n_left-- == 0)
        return;
    b->addrs[0].n--; /* one that was not asked for yet */
    addr_map_run(b->m, &b->plan, b->addrs, MANY, run_next, 0, b);
}

TEST(kept)
{
    char(*text)[20] = mem_alloc(MANY * sizeof *text);
    struct next_batch b = { map_new_(), plan_of(true, 10), mem_alloc(MANY * sizeof *b.addrs), 2,
                            0 };
    size_t once;

    for (size_t i = 0; i < MANY; i++) {
        snprintf(text[i], sizeof text[i], "n%zu@d.test", i);
        b.addrs[i] = sl_z(text[i]);
    }
    n_asked = 0;
    b.n_left = 0;
    addr_map_run(b.m, &b.plan, b.addrs, MANY, run_next, 0, &b);
    answer_all(false);
    once = n_asked;
    CHECK_EQ_INT(b.n_mapped, MANY);
    b.n_left = 1;
    b.addrs[0].n--;
    addr_map_run(b.m, &b.plan, b.addrs, MANY, run_next, 0, &b);
    answer_all(false);
    CHECK_EQ_INT(b.n_mapped, 3 * MANY);
    CHECK(n_asked >= 3 * (once - ADDR_MAP_WINDOW)); /* none was kept for the next */
    addr_map_unref(&b.m);
    free(b.addrs);
    free(text);
}

/* ---- a header ---- */

struct seen {
    bool is_over;
    int rc;
    struct buf text;
};

static void
header_done(uint64_t id, int rc, struct header *h, const struct err *e)
{
    struct seen *s = id_get(id);

    (void)e;
    s->is_over = true;
    s->rc = rc;
    for (const struct header_field *f = h->first; f; f = f->next)
        buf_addf(&s->text, "%.*s\n", SL_ARG(buf_slice(&f->text)));
}

struct stage_arg {
    struct addr_map *m;
    struct addr_header_how how;
};

static void
map_header(void *arg, uint64_t id, struct header *h, struct header_run *r)
{
    struct stage_arg *s = arg;

    (void)id;
    addr_header_run(s->m, &s->how, h, r);
}

static void
check_header(const char *in, const char *want, bool with_rules, bool is_fixed)
{
    struct addr_plan from = plan_of(true, 10), to = plan_of(true, 1);
    struct addr_map *m = map_new_();
    struct stage_arg arg = { m,
                             { .rules = with_rules ? &rules : NULL,
                               .sender = &from,
                               .recipient = &to,
                               .max_tokens = 10240,
                               .label = "ID" } };
    struct header_stage stage = { map_header, &arg };
    struct slice text = sl_z(in), line;
    struct header h;
    struct seen s = { 0 };
    uint64_t id = id_add(&s);

    to.number = 1;
    header_init(&h);
    while (sl_take_until(&text, '|', &line))
        header_add(&h, line)->is_fixed = is_fixed;
    TEST_ROW("%s", in);
    header_run_start(&h, &stage, 1, header_done, id);
    answer_all(false);
    CHECK(s.is_over);
    if (want)
        CHECK_EQ_STR(buf_z(&s.text), want);
    else
        CHECK_EQ_INT(s.rc, -1);
    id_del(id);
    buf_free(&s.text);
    addr_map_unref(&m);
    CHECK_EQ_INT(n_released, 1);
}

TEST(headers)
{
    check_header("From: U <u@d.test> (x)|To:  again@d.test|X: u@d.test|",
                 "From: U <v@e.test>(x)\nTo: u@d.test\nX: u@d.test\n", false, false);
    check_header("From:u@d.test|", "From:u@d.test\n", false, true);
    check_header("To:\tx@d.test (c),\n\ty|", "To:\tx@d.test (c),\n\ty\n", false, false);
    check_header("To:\tx@d.test (c),\n\ty|", "To: x@d.test (c), y@here.test\n", true, false);
    check_header("Cc: name, <>, u@d.test|Subject: u@d.test|",
                 "Cc: u6@e.test, <>, v@e.test\nSubject: u@d.test\n", true, false);
    check_header("Resent-Reply-To: again@d.test|Resent-Errors-To: u@d.test|",
                 "Resent-Reply-To: v@e.test\nResent-Errors-To: u@d.test\n", false, false);
    check_header("To: a@d.test|From: trouble@d.test|", NULL, true, false);
    check_header("", "", true, false);
}

/* Of more than fits into a group at a time. */
TEST(long_headers)
{
    struct buf in = { 0 }, want = { 0 };

    for (int i = 0; i < 3000; i++) {
        buf_addf(&in, "To: x%d@d.test, x@d.test, y@d.test, z@d.test, u@d.test|", i);
        buf_addf(&want, "To: x%d@d.test, x@d.test, y@d.test, z@d.test, v@e.test\n", i);
    }
    check_header(buf_z(&in), buf_z(&want), false, false);
    buf_free(&in);
    buf_free(&want);
}

TEST_MAIN()
