/* queue/operate.c - see operate.h. */
#include "queue/operate.h"

#include "base/clock.h"
#include "base/mem.h"
#include "queue/listing.h"

#include <stdlib.h>

enum {
    TURN_US = 20 * 1000, /* others want to write, too */
    LOOK_EVERY = 32,     /* messages between two looks at the clock */
    STEP_CHANGES = 2000, /* messages changed in one transaction */
    ROW_BITS = 14        /* of `after` in a listing: the row that the next page begins with */
};

static const char *const names[OP_VERBS] = {
    [OP_FLUSH] = "flush",       [OP_HOLD] = "hold",     [OP_RELEASE] = "release",
    [OP_REQUEUE] = "requeue",   [OP_EXPIRE] = "expire", [OP_BOUNCE] = "bounce",
    [OP_DELETE] = "delete",     [OP_LIST] = "list",     [OP_CONTENT] = "content",
    [OP_ENVELOPE] = "envelope", [OP_STAT] = "stat",
};

enum operate_verb
operate_verb(struct slice name)
{
    enum operate_verb v = 0;

    while (v < OP_VERBS && !sl_eqz(name, names[v]))
        v++;
    return v;
}

const char *
operate_name(enum operate_verb v)
{
    return names[v];
}

int
operate_begin(struct operate *o, struct slice verb, struct slice words, uint64_t after,
              size_t page_octets, struct err *e)
{
    memset(o, 0, sizeof *o);
    o->verb = operate_verb(verb);
    o->after = after;
    o->page_octets = page_octets;
    if (o->verb == OP_VERBS)
        return err_set(e, ERR_CLIENT, "unknown question");
    if (o->verb == OP_STAT)
        return 0;
    if (select_parse(words, &o->sel, e) != 0)
        return -1;
    if ((o->verb == OP_CONTENT || o->verb == OP_ENVELOPE) && select_ids(o->sel) != 1)
        return err_set(e, ERR_CLIENT, "one queue id is wanted");
    return 0;
}

void
operate_free(struct operate *o)
{
    select_free(&o->sel);
    buf_free(&o->text);
    free(o->touched);
}

/* ---- walking over what is selected ---- */

struct walk {
    struct operate *o;
    const char *id; /* must be this, or NULL */
    uint64_t key;   /* of the message: its number, or where it stands among the ids */
    int64_t since_us;
    int64_t now_s; /* by the queue's clock */
    bool is_there, is_file;
    struct { /* what is to be changed, once the walk is over */
        struct operate_touched t;
        bool is_held, is_expired;
    } * found;
    size_t n, cap;
};

static bool
may_go_on(struct walk *w)
{
    return ++w->o->n_seen % LOOK_EVERY != 0 || clock_unix_us() - w->since_us < TURN_US;
}

static bool
list_one(void *arg, const struct qdb_message *m)
{
    struct walk *w = arg;
    struct operate *o = w->o;
    uint64_t key = w->id ? w->key : m->n;
    uint32_t from = o->after >> ROW_BITS == key ? (uint32_t)(o->after & LISTING_ALL) : 0, next;

    if (w->id && strcmp(w->id, m->id) != 0)
        return false;
    w->is_there = true;
    if (from == LISTING_ALL)
        return true; /* the last page ended with it */
    if (from == 0 && !select_fits(o->sel, m, w->now_s)) {
        o->next = key << ROW_BITS | LISTING_ALL;
        o->more = !may_go_on(w);
        return !o->more;
    }
    if (o->text.n > o->page_octets / 2) { /* this one opens the next page */
        o->next = key << ROW_BITS | from;
        o->more = true;
        return false;
    }
    next = listing_add(&o->text, m, w->now_s, from, o->page_octets / 2);
    o->next = key << ROW_BITS | next;
    o->more = next != LISTING_ALL || !may_go_on(w);
    return !o->more;
}

static bool
find_one(void *arg, const struct qdb_message *m)
{
    struct walk *w = arg;
    struct operate *o = w->o;

    if (w->id && strcmp(w->id, m->id) != 0)
        return false;
    w->is_there = true;
    o->next = o->at = m->n;
    if (select_fits(o->sel, m, w->now_s)) {
        w->found = mem_grow(w->found, &w->cap, w->n + 1, sizeof *w->found);
        w->found[w->n].t.n = m->n;
        memcpy(w->found[w->n].t.id, m->id, strlen(m->id) + 1);
        w->found[w->n].t.is_file = m->is_file;
        w->found[w->n].is_expired = select_is_expired(m);
        w->found[w->n++].is_held = strcmp(select_state(m), "hold") == 0;
    }
    o->more = !may_go_on(w) || w->n >= STEP_CHANGES;
    return !o->more;
}

struct one {
    bool (*fn)(void *, const struct qdb_message *);
    struct walk *w;
};

static void
pass_on(void *arg, const struct qdb_message *m)
{
    struct one *one = arg;

    one->fn(one->w, m);
}

/* The ids that were named. They are numbered from 1: that is where a step goes on. */
static int
each_id(struct walk *w, struct qdb *q, bool (*fn)(void *, const struct qdb_message *),
        struct err *e)
{
    struct operate *o = w->o;
    uint64_t key = o->verb == OP_LIST ? o->after >> ROW_BITS : o->after;

    for (w->key = key > 0 ? key : 1; w->key <= select_ids(o->sel) && !o->more; w->key++) {
        struct one one = { fn, w };
        uint64_t number;

        w->id = select_id(o->sel, (size_t)w->key - 1, &number);
        w->is_there = false;
        if (qdb_get(q, number, false, pass_on, &one, e) != 0 && e->kind != ERR_NOTFOUND)
            return -1;
        e->kind = ERR_NONE;
        if (!w->is_there)
            buf_addf(&o->text, "X\t%s\n", w->id);
    }
    if (o->verb != OP_LIST)
        o->next = w->key;
    return 0;
}

static int
walk(struct walk *w, struct qdb *q, struct err *e)
{
    struct operate *o = w->o;
    bool (*fn)(void *, const struct qdb_message *) = o->verb == OP_LIST ? list_one : find_one;
    uint64_t after = o->after;

    w->since_us = clock_unix_us();
    if (select_ids(o->sel) > 0)
        return each_id(w, q, fn, e);
    if (o->verb == OP_LIST && after > 0)
        after = (after >> ROW_BITS) - ((after & LISTING_ALL) != LISTING_ALL);
    return qdb_walk(q, after, fn, w, e);
}

/* ---- changes ---- */

static int
change_one(struct operate *o, struct qdb *q, uint64_t n, uint64_t *changed, struct err *e)
{
    bool was_there;

    if (o->verb != OP_DELETE)
        return qdb_operate(q, (enum qdb_act)o->verb, n, clock_unix_s(), changed, e);
    if (qdb_message_delete(q, n, &was_there, e) != 0)
        return -1;
    *changed = was_there;
    return 0;
}

static int
change(struct walk *w, struct qdb *q, struct err *e)
{
    struct operate *o = w->o;

    for (size_t i = 0; i < w->n; i++) {
        uint64_t changed = 0;

        if (change_one(o, q, w->found[i].t.n, &changed, e) != 0)
            return -1;
        if (changed == 0)
            continue;
        o->touched = mem_grow(o->touched, &o->cap_touched, o->n_touched + 1, sizeof *o->touched);
        o->touched[o->n_touched++] = w->found[i].t;
        o->n_messages++;
        o->n_rcpts += changed;
        if (select_ids(o->sel) > 0)
            buf_addf(&o->text, "T\t%s\t%d\t%d\n", w->found[i].t.id, w->found[i].is_held,
                     w->found[i].is_expired);
    }
    buf_addf(&o->text, "N\t%llu\t%llu\t%llu\t%llu\n", (unsigned long long)o->n_messages,
             (unsigned long long)o->n_rcpts, (unsigned long long)o->n_seen,
             (unsigned long long)o->at);
    return 0;
}

/* ---- the other questions ---- */

static void
take_content(void *arg, const struct qdb_message *m)
{
    struct walk *w = arg;
    struct operate *o = w->o;

    struct slice s = o->verb == OP_ENVELOPE ? m->env : m->body;

    w->is_there = strcmp(m->id, w->id) == 0;
    w->is_file = m->is_file && o->verb == OP_CONTENT;
    if (!w->is_there || w->is_file)
        return;
    o->more = s.n > o->after + o->page_octets;
    buf_adds(&o->text, sl_head(sl_from(s, (size_t)o->after), o->page_octets));
}

static int
content(struct walk *w, struct qdb *q, struct err *e)
{
    struct operate *o = w->o;
    char path[PATH_MAX];
    uint64_t n;

    w->id = select_id(o->sel, 0, &n);
    if (qdb_get(q, n, o->verb == OP_CONTENT, take_content, w, e) != 0)
        return -1;
    if (!w->is_there)
        return err_set(e, ERR_NOTFOUND, "no such message in the queue");
    if (w->is_file)
        listing_add_file(&o->text, qdb_file_path(q, w->id, path, sizeof path), o->after,
                         o->page_octets, &o->more);
    o->next = o->after + o->text.n;
    return 0;
}

static int
stat_queue(struct operate *o, struct qdb *q, struct err *e)
{
    uint64_t messages, rcpts, held, first, last, nobody;

    if (qdb_count(q, &messages, &rcpts, &held, e) != 0 || qdb_ends(q, &first, &last, e) != 0 ||
        qdb_count_nobody(q, &nobody, e) != 0)
        return -1;
    buf_addf(&o->text, "S\t%llu\t%llu\t%llu\t%llu\t%llu\t%llu\n", (unsigned long long)messages,
             (unsigned long long)rcpts, (unsigned long long)held, (unsigned long long)first,
             (unsigned long long)last, (unsigned long long)nobody);
    return 0;
}

int
operate_run(struct operate *o, struct qdb *q, struct err *e)
{
    struct walk w = { .o = o, .now_s = qdb_clock_us(qdb_clock(q)) / 1000000 };
    int rc;

    buf_reset(&o->text);
    o->more = false;
    o->next = o->after;
    o->n_messages = o->n_rcpts = o->n_seen = o->at = 0;
    o->n_touched = 0;
    if (o->verb == OP_STAT)
        return stat_queue(o, q, e);
    if (o->verb == OP_CONTENT || o->verb == OP_ENVELOPE)
        return content(&w, q, e);
    rc = walk(&w, q, e);
    if (rc == 0 && operate_changes(o->verb))
        rc = change(&w, q, e);
    free(w.found);
    return rc;
}

void
operate_after(struct operate *o, struct qdb *q)
{
    for (size_t i = 0; o->verb == OP_DELETE && i < o->n_touched; i++)
        if (o->touched[i].is_file)
            qdb_remove_file(q, o->touched[i].id);
}
