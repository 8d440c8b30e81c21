/* imapd/cmd_sort.c - SORT and THREAD with their UID forms: RFC 5256; SORT=DISPLAY: RFC 5957; THREAD=REFS:
 * draft-ietf-morg-inthread. A search first, then the store's engine over what it found. */
#include "imapd/search.h"

#include "base/mem.h"
#include "store/sort.h"
#include "store/thread.h"

#include <stdlib.h>

struct args {
    struct sort_by by[SORT_KEYS_MAX];
    size_t n_by;
    enum thread_kind kind;
    struct slice rest; /* charset and program */
};

struct work { /* run_state */
    struct search_run run;
    struct store_sort *sort;
    struct store_thread *thread;
};

/* clang-format off */
static const struct {
    const char *word;
    enum sort_key key;
} sort_keys[] = {
    { "ARRIVAL",     SORT_ARRIVAL },
    { "CC",          SORT_CC },
    { "DATE",        SORT_DATE },
    { "DISPLAYFROM", SORT_DISPLAYFROM },
    { "DISPLAYTO",   SORT_DISPLAYTO },
    { "FROM",        SORT_FROM },
    { "SIZE",        SORT_SIZE },
    { "SUBJECT",     SORT_SUBJECT },
    { "TO",          SORT_TO },
};
static const struct {
    const char *word;
    enum thread_kind kind;
} thread_kinds[] = {
    { "ORDEREDSUBJECT", THREAD_ORDEREDSUBJECT },
    { "REFERENCES",     THREAD_REFERENCES },
    { "REFS",           THREAD_REFS },
};
/* clang-format on */

/* ---- arguments ---- */

/* SP charset SP program: what is left, parsed in run(). */
static enum parse_rc
take_rest(struct args *a, struct slice *in, struct err *e)
{
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    a->rest = *in;
    if (in->n == 0)
        return err_parse(e, "expected a charset");
    *in = sl_from(*in, in->n);
    return PARSE_OK;
}

/* ["REVERSE" SP] sort-key */
static enum parse_rc
take_key(struct args *a, struct slice *in, struct err *e)
{
    struct sort_by by = { 0 };
    struct slice word;

    if (imap_take_atom(in, &word, e) != PARSE_OK)
        return PARSE_BAD;
    by.is_reverse = sl_ieqz(word, "REVERSE");
    if (by.is_reverse &&
        (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK))
        return PARSE_BAD;
    for (size_t i = 0; i < COUNT_OF(sort_keys); i++) {
        if (!sl_ieqz(word, sort_keys[i].word))
            continue;
        if (a->n_by == SORT_KEYS_MAX)
            return err_parse(e, "too many sort keys");
        by.key = sort_keys[i].key;
        a->by[a->n_by++] = by;
        return PARSE_OK;
    }
    return err_parse(e, "Unknown sort key");
}

enum parse_rc
imap_parse_sort(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct args *a = ARENA_NEW(&c->mem, struct args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do
        if (take_key(a, in, e) != PARSE_OK)
            return PARSE_BAD;
    while (sl_take_char(in, ' '));
    if (!sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    return take_rest(a, in, e);
}

enum parse_rc
imap_parse_thread(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct args *a = ARENA_NEW(&c->mem, struct args);
    struct slice word;

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK)
        return PARSE_BAD;
    for (size_t i = 0; i < COUNT_OF(thread_kinds); i++)
        if (sl_ieqz(word, thread_kinds[i].word)) {
            a->kind = thread_kinds[i].kind;
            return take_rest(a, in, e);
        }
    return err_parse(e, "Unknown thread algorithm");
}

/* ---- what both do first ---- */

void
imap_done_sort(struct imap_cmd *c)
{
    struct work *w = c->run_state;

    if (!w)
        return;
    store_sort_free(&w->sort);
    store_thread_free(&w->thread);
    search_run_free(&w->run);
    free(w);
}

static struct work *
begin_turn(struct imap_cmd *c)
{
    struct work *w = c->run_state;

    if (!w) {
        c->run_state = w = MEM_NEW(struct work);
        w->run.rest = ((struct args *)c->args)->rest;
    }
    search_turn_begin(&w->run, c);
    return w;
}

static size_t
found(const struct work *w)
{
    size_t n;

    store_search_result(w->run.search, &n);
    return n;
}

static void
add_number(struct imap_cmd *c, uint32_t seq)
{
    struct store_row row;

    if (c->is_uid && store_view_row(c->s->view, seq, &row))
        seq = row.uid;
    buf_addf(&c->out, "%u", seq);
}

/* ---- SORT ---- */

static void
tell_sorted(struct imap_cmd *c, const struct work *w)
{
    const uint32_t *seqs = store_sort_result(w->sort);
    size_t n = found(w);

    buf_addz(&c->out, "* SORT");
    for (size_t i = 0; i < n; i++) {
        buf_addc(&c->out, ' ');
        add_number(c, seqs[i]);
    }
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK Sort completed.");
}

/* What to sort or thread: the search, in as many turns as it takes. False: *rc is this turn's answer. */
static bool
first_half(struct imap_cmd *c, struct work *w, const uint32_t **seqs, size_t *n, enum cmd_rc *rc)
{
    bool is_found;

    *rc = search_run(&w->run, true, &is_found);
    if (!is_found)
        return false;
    *seqs = store_search_result(w->run.search, n);
    search_turn_begin(&w->run, c);
    return true;
}

enum cmd_rc
imap_run_sort(struct imap_cmd *c)
{
    struct work *w = begin_turn(c);
    const struct args *a = c->args;
    struct err e = { 0 };
    int rc;

    if (!w->sort) {
        const uint32_t *seqs;
        enum cmd_rc searched;
        size_t n;

        if (!first_half(c, w, &seqs, &n, &searched))
            return searched;
        w->sort = store_sort_new(c->s->view, a->by, a->n_by, seqs, n);
    }
    rc = store_sort_run(w->sort, search_turn_is_over, &w->run, &e);
    if (rc != 0)
        return search_run_stopped(&w->run, rc, &e, store_sort_done(w->sort), found(w));
    tell_sorted(c, w);
    return CMD_DONE;
}

/* ---- THREAD ---- */

/* A node and its only kids in a row, down to where there is none, or several: "1 2 3". Returns that last one. */
static uint32_t
add_line(struct imap_cmd *c, const struct thread_node *v, uint32_t node)
{
    bool is_first = true;

    for (;; node = v[node].first_kid) {
        uint32_t kid = v[node].first_kid;

        if (v[node].seq != 0) {
            if (!is_first)
                buf_addc(&c->out, ' ');
            add_number(c, v[node].seq);
            is_first = false;
        }
        if (kid == THREAD_NONE || v[kid].next != THREAD_NONE)
            return node;
    }
}

/* "(1 2 (3)(4 5))". Above what is being written are only those whose siblings are still to come: up[]. */
static void
add_threads(struct imap_cmd *c, const struct thread_node *v, uint32_t first)
{
    uint32_t *up = NULL, at = first;
    size_t n_up = 0, cap = 0;

    while (at != THREAD_NONE) {
        uint32_t last;

        buf_addc(&c->out, '(');
        last = add_line(c, v, at);
        if (v[last].first_kid != THREAD_NONE) {
            if (v[last].seq != 0)
                buf_addc(&c->out, ' ');
            up = mem_grow(up, &cap, n_up + 1, sizeof(up[0]));
            up[n_up++] = at;
            at = v[last].first_kid;
            continue;
        }
        buf_addc(&c->out, ')');
        while (v[at].next == THREAD_NONE && n_up > 0) {
            buf_addc(&c->out, ')');
            at = up[--n_up];
        }
        at = v[at].next;
    }
    free(up);
}

static void
tell_threads(struct imap_cmd *c, const struct work *w)
{
    uint32_t first;
    const struct thread_node *v = store_thread_result(w->thread, &first);

    buf_addz(&c->out, "* THREAD");
    if (first != THREAD_NONE)
        buf_addc(&c->out, ' ');
    add_threads(c, v, first);
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK Thread completed.");
}

enum cmd_rc
imap_run_thread(struct imap_cmd *c)
{
    struct work *w = begin_turn(c);
    const struct args *a = c->args;
    struct err e = { 0 };
    int rc;

    if (!w->thread) {
        const uint32_t *seqs;
        enum cmd_rc searched;
        size_t n;

        if (!first_half(c, w, &seqs, &n, &searched))
            return searched;
        w->thread = store_thread_new(c->s->view, a->kind, seqs, n);
    }
    rc = store_thread_run(w->thread, search_turn_is_over, &w->run, &e);
    if (rc != 0)
        return search_run_stopped(&w->run, rc, &e, store_thread_done(w->thread), found(w));
    tell_threads(c, w);
    return CMD_DONE;
}
