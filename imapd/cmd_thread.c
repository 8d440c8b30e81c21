/* imapd/cmd_thread.c - THREAD and UID THREAD: RFC 5256; THREAD=REFS: draft-ietf-morg-inthread. A search first, then the store's
 * engine over what it found. */
#include "imapd/search.h"

#include "base/mem.h"
#include "store/thread.h"

#include <stdlib.h>

struct thread_args {
    enum thread_kind kind;
    struct search_text text;
};

struct work { /* run_state */
    struct search_run run;
    struct store_thread *thread;
};

/* clang-format off */
static const struct {
    const char *word;
    enum thread_kind kind;
} thread_kinds[] = {
    { "ORDEREDSUBJECT", THREAD_ORDEREDSUBJECT },
    { "REFERENCES",     THREAD_REFERENCES },
    { "REFS",           THREAD_REFS },
};
/* clang-format on */

/* SP algorithm SP charset SP program */
enum parse_rc
imap_parse_thread(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct thread_args *a = ARENA_NEW(&c->mem, struct thread_args);
    struct slice word;

    c->args = a;
    a->text.must_have_charset = true;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK)
        return PARSE_BAD;
    for (size_t i = 0; i < COUNT_OF(thread_kinds); i++)
        if (sl_ieqz(word, thread_kinds[i].word)) {
            a->kind = thread_kinds[i].kind;
            return search_take_text(c, in, &a->text, e);
        }
    return err_parse(e, "Unknown thread algorithm");
}

void
imap_done_thread(struct imap_cmd *c)
{
    struct work *w = c->run_state;

    if (!w)
        return;
    store_thread_free(&w->thread);
    search_run_free(&w->run);
    free(w);
}

static void
add_number(struct imap_cmd *c, uint32_t seq)
{
    struct store_row row;

    if (c->is_uid && store_view_row(c->s->view, seq, &row))
        seq = row.uid;
    buf_addf(&c->out, "%u", seq);
}

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
    const struct thread_args *a = c->args;
    struct work *w = c->run_state;
    struct err e = { 0 };
    const uint32_t *seqs;
    enum cmd_rc searched;
    size_t n;
    int rc;

    if (!w) {
        c->run_state = w = MEM_NEW(struct work);
        w->run.text = a->text;
        w->run.text.view = c->s->view;
        w->run.is_whole = true;
    }
    search_turn_begin(&w->run, c);
    if (!w->thread) {
        if (!search_run_first(&w->run, &seqs, &n, &searched))
            return searched;
        w->thread = store_thread_new(c->s->view, a->kind, seqs, n);
    }
    rc = store_thread_run(w->thread, search_turn_is_over, &w->run, &e);
    store_search_result(w->run.search, &n);
    if (rc != 0)
        return search_run_stopped(&w->run, rc, &e, store_thread_done(w->thread), n);
    tell_threads(c, w);
    return CMD_DONE;
}
