/* imapd/context.c - see context.h. */
#include "imapd/context.h"
#include "imapd/fetch.h"
#include "imapd/search.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/sort.h"

#include <stdlib.h>

struct imap_context {
    struct imap_context *next;
    char *tag, *text; /* the program's; root points into it */
    char *items_text; /* UPDATE's; items point into it */
    struct imap_fetch_items items;
    bool is_uid;
    struct arena mem;
    struct search_program program;
    struct store_uids found; /* UIDs */
    uint32_t last_uid;       /* newer ones have not been looked at */
    struct sort_by by[SORT_KEYS_MAX];
    size_t n_by;     /* 0: in the mailbox's order */
    uint32_t *order; /* SORT: UIDs, n_order of them */
    size_t n_order;
};

/* ---- life ---- */

/* *at is a context, and the next one after. */
static void
context_free(struct imap_context **at)
{
    struct imap_context *x = *at;

    *at = x->next;
    search_program_free(&x->program);
    store_uids_free(&x->found);
    arena_free(&x->mem);
    free(x->order);
    free(x->tag);
    free(x->text);
    free(x->items_text);
    free(x);
}

/* Where the context of that tag hangs, or the end of the list. */
static struct imap_context **
find(struct imap_sess *s, struct slice tag)
{
    struct imap_context **at = &s->contexts;

    while (*at && !sl_eqz(tag, (*at)->tag))
        at = &(*at)->next;
    return at;
}

void
imap_contexts_free(struct imap_sess *s)
{
    while (s->contexts)
        context_free(&s->contexts);
}

bool
imap_context_cancel(struct imap_sess *s, struct slice tag)
{
    struct imap_context **at = find(s, tag);

    if (!*at)
        return false;
    context_free(at);
    return true;
}

bool
imap_context_may_be(struct imap_cmd *c, const struct esearch *r)
{
    if (!(r->want & ESEARCH_UPDATE) || !*find(c->s, c->tag))
        return true;
    imap_bad(c, "BAD Error in IMAP command %s: the tag names a context that is still updated.",
             c->row->name);
    return false;
}

static void
refuse(struct imap_cmd *c, struct slice tag, const char *why)
{
    imap_untagged(c, "NO [NOUPDATE \"%.*s\"] %s", SL_ARG(tag), why);
}

/* ---- the beginning ---- */

static uint32_t
newest_uid(const struct store_view *v)
{
    struct store_row row = { 0 };
    struct store_box box;

    store_view_box(v, &box);
    store_view_row(v, box.exists, &row);
    return row.uid;
}

static int
cmp_uids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void
take_results(struct imap_context *x, const struct store_view *v,
             const struct imap_context_from *from)
{
    uint32_t *uids = mem_alloc((from->n + 1) * sizeof(uids[0]));
    struct store_row row;
    size_t n = 0;

    for (size_t i = 0; i < from->n; i++)
        if (store_view_row(v, from->seqs[i], &row))
            uids[n++] = row.uid;
    if (from->by) {
        x->order = mem_alloc((n + 1) * sizeof(uids[0]));
        memcpy(x->order, uids, n * sizeof(uids[0]));
        x->n_order = n;
        qsort(uids, n, sizeof(uids[0]), cmp_uids);
    }
    for (size_t i = 0; i < n; i++)
        store_uids_add(&x->found, uids[i], uids[i]);
    free(uids);
}

static bool
take_items(const struct imap_cmd *c, struct imap_context *x, struct slice text)
{
    struct err e;

    if (text.n == 0)
        return true;
    x->items_text = mem_dup(text.p, text.n);
    text.p = x->items_text;
    return imap_take_fetch_items(&text, &x->mem, &x->items, &e) == PARSE_OK &&
           (!x->is_uid || (c->s->enabled & IMAP_ON_UIDONLY) ||
            imap_fetch_want_uid(&x->items, &x->mem) == 0);
}

void
imap_context_new(struct imap_cmd *c, const struct imap_context_from *from)
{
    struct search_text text = *from->text;
    struct imap_context **end = &c->s->contexts, *x;
    size_t there = 0;

    for (; *end; end = &(*end)->next)
        there++;
    if (there >= IMAP_CONTEXTS_MAX) {
        refuse(c, c->tag, "Too many contexts");
        return;
    }
    if (text.text.n + from->items.n > IMAP_CONTEXT_TEXT_OCTETS) {
        refuse(c, c->tag, "Too long a search for a context");
        return;
    }
    if (from->program->has_age) { /* its results change with nothing happening */
        refuse(c, c->tag, "OLDER and YOUNGER are not kept up to date");
        return;
    }
    *end = x = MEM_NEW(struct imap_context);
    x->tag = sl_dupz(c->tag);
    x->text = mem_dup(text.text.p, text.text.n);
    x->is_uid = from->is_uid;
    x->mem.cap = IMAPD_ARENA_OCTETS;
    text.text.p = x->text;
    text.mem = &x->mem;
    if (!search_program_parse(c, &text, &x->program) ||
        !take_items(c, x, from->items)) { /* they were just parsed so */
        context_free(end);
        return;
    }
    search_program_pin(x->program.root, c->s->view);
    if (from->by)
        memcpy(x->by, from->by, from->n_by * sizeof(x->by[0]));
    x->n_by = from->n_by;
    x->last_uid = newest_uid(c->s->view);
    take_results(x, c->s->view, from);
}

/* ---- telling ---- */

static void
begin_line(struct imap_cmd *c, const struct imap_context *x, const char *what, bool *is_begun)
{
    if (!*is_begun) {
        esearch_begin(c, sl_z(x->tag), x->is_uid);
        buf_addf(&c->out, " %s (", what);
    } else {
        buf_addc(&c->out, ' ');
    }
    *is_begun = true;
}

static void
end_line(struct imap_cmd *c, bool is_begun)
{
    if (is_begun)
        buf_addz(&c->out, ")\r\n");
}

/* uids and what the client calls them, n in order; a context in the mailbox's order knows no places: 0 (§4.3.2). */
static void
tell_search(struct imap_cmd *c, const struct imap_context *x, const char *what,
            const uint32_t *names, size_t n)
{
    bool is_begun = false;

    if (n == 0)
        return;
    begin_line(c, x, what, &is_begun);
    buf_addz(&c->out, "0 ");
    esearch_add_numbers(&c->out, names, n);
    end_line(c, is_begun);
}

/* The place in uids (ascending), or n. */
static size_t
index_of(const uint32_t *uids, size_t n, uint32_t uid)
{
    const uint32_t *at = bsearch(&uid, uids, n, sizeof(uids[0]), cmp_uids);

    return at ? (size_t)(at - uids) : n;
}

/* Runs of the order that are among uids, with the place of each as of the ones before it (§4.3.3, §4.3.4). removed: the
 * places close up behind each. */
static void
tell_sort(struct imap_cmd *c, const struct imap_context *x, const char *what, const uint32_t *uids,
          const uint32_t *names, size_t n, bool removed)
{
    uint32_t *run = mem_alloc((n + 1) * sizeof(run[0]));
    bool is_begun = false;
    size_t gone = 0;

    for (size_t i = 0; i < x->n_order && n > 0;) {
        size_t k = 0, at;

        while (i + k < x->n_order && (at = index_of(uids, n, x->order[i + k])) < n)
            run[k++] = names[at];
        if (k > 0) {
            begin_line(c, x, what, &is_begun);
            buf_addf(&c->out, "%zu ", i + 1 - gone);
            esearch_add_numbers(&c->out, run, k);
            gone += removed ? k : 0;
        }
        i += k > 0 ? k : 1;
    }
    end_line(c, is_begun);
    free(run);
}

/* Out of the results: uids ascending, and their names. */
static void
remove_some(struct imap_cmd *c, struct imap_context *x, const uint32_t *uids, const uint32_t *names,
            size_t n)
{
    struct store_uids left = { 0 };
    size_t kept = 0, k = 0;

    if (n == 0)
        return;
    if (x->n_by > 0)
        tell_sort(c, x, "REMOVEFROM", uids, names, n, true);
    else
        tell_search(c, x, "REMOVEFROM", names, n);
    for (size_t i = 0; i < x->n_order; i++)
        if (index_of(uids, n, x->order[i]) == n)
            x->order[kept++] = x->order[i];
    x->n_order = kept;
    for (size_t i = 0; i < x->found.n; i++) {
        uint32_t first = x->found.v[i].first, last = x->found.v[i].last;

        for (; k < n && uids[k] <= last; k++) {
            if (uids[k] > first)
                store_uids_add(&left, first, uids[k] - 1);
            first = uids[k] + 1;
        }
        if (first != 0 && first <= last)
            store_uids_add(&left, first, last);
    }
    store_uids_free(&x->found);
    x->found = left;
}

/* ---- what went ---- */

struct both { /* of messages: in the order of UIDs */
    uint32_t *uids, *names;
    size_t n;
};

static void
both_alloc(struct both *b, size_t n)
{
    *b = (struct both){ mem_alloc((n + 1) * sizeof(uint32_t)),
                        mem_alloc((n + 1) * sizeof(uint32_t)), 0 };
}

static void
both_free(struct both *b)
{
    free(b->uids);
    free(b->names);
}

static void
both_add(struct both *b, const struct imap_context *x, uint32_t uid, uint32_t seq)
{
    b->uids[b->n] = uid;
    b->names[b->n++] = x->is_uid ? uid : seq;
}

/* The highest number is first, so that each is also what the client calls it now. */
void
imap_contexts_expunged(struct imap_cmd *c, const struct store_changes *ch)
{
    if (ch->n_expunged == 0)
        return;
    for (struct imap_context *x = c->s->contexts; x; x = x->next) {
        struct both gone;

        both_alloc(&gone, ch->n_expunged);
        for (size_t i = ch->n_expunged; i > 0; i--)
            if (store_uids_has(&x->found, ch->vanished[i - 1]))
                both_add(&gone, x, ch->vanished[i - 1], ch->expunged[i - 1]);
        remove_some(c, x, gone.uids, gone.names, gone.n);
        both_free(&gone);
    }
}

/* ---- what changed ---- */

enum phase { BEGIN, SEARCH, SORT, TELL };
struct imap_contexts_turn {
    struct imap_cmd *c;
    uint64_t until_ms;
    struct store_uids changed; /* sequence numbers */
    struct imap_context **at;  /* the one in work: */
    enum phase phase;
    uint32_t fresh; /* UIDs from here on have just come */
    struct store_uids touched;
    struct store_search *search;
    struct store_sort *sort;
    size_t n_sort;
    struct both come, gone;
    struct fetch fetch;
    size_t told; /* of come: what is before has its items told */
};

/* For the store's yield; also when the client is gone. */
static bool
is_over(void *turn)
{
    const struct imap_contexts_turn *t = turn;

    return imap_is_cancelled(t->c) || clock_mono_ms() >= t->until_ms;
}

static void
one_free(struct imap_contexts_turn *t)
{
    store_uids_free(&t->touched);
    store_search_free(&t->search);
    store_sort_free(&t->sort);
    both_free(&t->come);
    both_free(&t->gone);
    fetch_end_message(&t->fetch);
    store_uids_free(&t->fetch.seen);
    t->come = t->gone = (struct both){ 0 };
    t->fetch = (struct fetch){ 0 };
    t->told = 0;
    t->phase = BEGIN;
}

/* The messages to look at again: those that changed, and those that came since. */
static void
find_touched(struct imap_contexts_turn *t, struct imap_context *x, const struct store_view *v)
{
    uint32_t fresh = store_view_seq_at_least(v, x->last_uid + 1), newest = newest_uid(v);
    struct store_box box;

    store_view_box(v, &box);
    t->fresh = x->last_uid + 1;
    for (size_t i = 0; i < t->changed.n; i++)
        store_uids_add(&t->touched, t->changed.v[i].first, t->changed.v[i].last);
    if (fresh <= box.exists)
        store_uids_add(&t->touched, fresh, box.exists);
    if (newest > x->last_uid)
        x->last_uid = newest;
}

/* Those that match now and did not, and the other way round. */
static void
compare(struct imap_contexts_turn *t, const struct imap_context *x, const struct store_view *v)
{
    size_t n = store_uids_count(&t->touched), n_match, k = 0;
    const uint32_t *match = store_search_result(t->search, &n_match);
    struct store_row row;

    both_alloc(&t->come, n);
    both_alloc(&t->gone, n);
    for (size_t i = 0; i < t->touched.n; i++)
        for (uint32_t seq = t->touched.v[i].first; seq <= t->touched.v[i].last; seq++) {
            bool is = k < n_match && match[k] == seq, was;

            k += is;
            if (!store_view_row(v, seq, &row))
                continue;
            was = store_uids_has(&x->found, row.uid);
            if (is && !was)
                both_add(&t->come, x, row.uid, seq);
            else if (was && !is)
                both_add(&t->gone, x, row.uid, seq);
        }
}

/* The results anew, with those that came among them. */
static void
sort_again(struct imap_contexts_turn *t, const struct imap_context *x, struct store_view *v)
{
    uint32_t *seqs = mem_alloc((store_uids_count(&x->found) + 1) * sizeof(seqs[0]));
    struct store_row row;

    t->n_sort = 0;
    for (size_t i = 0; i < x->found.n; i++)
        for (uint32_t seq = store_view_seq_at_least(v, x->found.v[i].first);
             store_view_row(v, seq, &row) && row.uid <= x->found.v[i].last; seq++)
            seqs[t->n_sort++] = seq;
    t->sort = store_sort_new(v, x->by, x->n_by, seqs, t->n_sort);
    free(seqs);
}

static void
take_order(const struct imap_contexts_turn *t, struct imap_context *x, const struct store_view *v)
{
    const uint32_t *sorted = store_sort_result(t->sort);
    struct store_row row;

    free(x->order);
    x->order = mem_alloc((t->n_sort + 1) * sizeof(x->order[0]));
    x->n_order = 0;
    for (size_t i = 0; i < t->n_sort; i++)
        if (store_view_row(v, sorted[i], &row))
            x->order[x->n_order++] = row.uid;
}

/* Of new messages what UPDATE asks for, after EXISTS and before ADDTO (RFC 5465 §7); not of those whose flags changed. What
 * cannot be read is left out: who asks for it is told why. False: enough for now. */
static bool
tell_items(struct imap_contexts_turn *t, const struct imap_context *x)
{
    struct imap_cmd *c = t->c;
    struct fetch *f = &t->fetch;
    struct err e = { 0 };

    if (x->items.n == 0)
        return true;
    if (!f->items)
        fetch_plan(f, &x->items, true); /* nobody has seen it */
    for (;;) {
        if (c->out.n >= IMAPD_OUT_MARK || imap_is_cancelled(c))
            return false;
        if (f->is_begun) {
            if (fetch_go_on(c, f))
                continue;
            buf_addz(&c->out, ")\r\n");
            fetch_end_message(f);
            if (is_over(t))
                return false;
        }
        while (t->told < t->come.n && t->come.uids[t->told] < t->fresh)
            t->told++;
        if (t->told == t->come.n)
            return true;
        fetch_begin_message(c, f, store_view_seq(c->s->view, t->come.uids[t->told++]), &e);
    }
}

static void
tell_come(struct imap_contexts_turn *t, const struct imap_context *x)
{
    const struct both *b = &t->come;

    if (x->n_by > 0)
        tell_sort(t->c, x, "ADDTO", b->uids, b->names, b->n, false);
    else
        tell_search(t->c, x, "ADDTO", b->names, b->n);
}

/* 0: this context is up to date; 1: enough for now; -1. */
static int
update(struct imap_contexts_turn *t, struct imap_context *x, struct err *e)
{
    struct store_view *v = t->c->s->view;
    int rc;

    if (t->phase == BEGIN) {
        find_touched(t, x, v);
        if (t->touched.n == 0)
            return 0;
        t->search = store_search_new(v, x->program.root);
        store_search_among(t->search, &t->touched);
        t->phase = SEARCH;
    }
    if (t->phase == SEARCH) {
        rc = store_search_run(t->search, is_over, t, e);
        if (rc != 0)
            return rc;
        compare(t, x, v);
        remove_some(t->c, x, t->gone.uids, t->gone.names, t->gone.n);
        if (t->come.n == 0)
            return 0;
        for (size_t i = 0; i < t->come.n; i++)
            store_uids_add(&x->found, t->come.uids[i], t->come.uids[i]);
        if (x->n_by > 0)
            sort_again(t, x, v);
        t->phase = SORT;
    }
    if (t->phase == SORT && t->sort) {
        rc = store_sort_run(t->sort, is_over, t, e);
        if (rc != 0)
            return rc;
        take_order(t, x, v);
    }
    t->phase = TELL;
    if (!tell_items(t, x))
        return 1;
    tell_come(t, x);
    return 0;
}

struct imap_contexts_turn *
imap_contexts_begin(struct imap_cmd *c, const struct store_changes *ch)
{
    struct imap_contexts_turn *t;

    if (!c->s->contexts)
        return NULL;
    t = MEM_NEW(struct imap_contexts_turn);
    t->at = &c->s->contexts;
    for (size_t i = 0; i < ch->n_changed; i++)
        store_uids_add(&t->changed, ch->changed[i], ch->changed[i]);
    for (size_t i = 0; i < ch->n_silent; i++)
        store_uids_add(&t->changed, ch->silent[i], ch->silent[i]);
    for (struct imap_context *x = *t->at; x; x = x->next) /* numbers mean nothing any more */
        x->is_uid = x->is_uid || (c->s->enabled & IMAP_ON_UIDONLY);
    return t;
}

bool
imap_contexts_changed(struct imap_cmd *c, struct imap_contexts_turn *t)
{
    if (!t)
        return true;
    t->c = c;
    t->until_ms = clock_mono_ms() + SEARCH_TURN_MS;
    while (*t->at) {
        struct err e = { 0 };
        int rc = c->out.n < IMAPD_OUT_MARK ? update(t, *t->at, &e) : 1;

        if (rc == 1)
            return false;
        one_free(t);
        if (rc == 0) {
            t->at = &(*t->at)->next;
            continue;
        }
        log_error("imap.context", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
                  "imap(%s)<%s>: Error: updating a search: %s", c->s->user, c->s->name, e.msg);
        refuse(c, sl_z((*t->at)->tag), "The results could not be kept up to date");
        context_free(t->at);
    }
    return true;
}

void
imap_contexts_end(struct imap_contexts_turn **tp)
{
    struct imap_contexts_turn *t = *tp;

    if (!t)
        return;
    *tp = NULL;
    one_free(t);
    store_uids_free(&t->changed);
    free(t);
}
