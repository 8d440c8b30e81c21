/* imapd/cmd_search.c - SEARCH and UID SEARCH (RFC 3501 §6.4.4). */
#include "imapd/search.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

/* The program is parsed in run(): message sets need the view. Here only that there is one. */
enum parse_rc
imap_parse_search(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice *rest = ARENA_NEW(&c->mem, struct slice);

    c->args = rest;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    *rest = *in;
    if (in->n == 0)
        return err_parse(e, "expected a search key");
    *in = sl_from(*in, in->n);
    return PARSE_OK;
}

/* ---- shared with SORT and THREAD ---- */

void
search_turn_begin(struct search_run *r, struct imap_cmd *c)
{
    r->c = c;
    r->c->doing = "Searched";
    r->turn_until_ms = clock_mono_ms() + SEARCH_TURN_MS;
}

bool
search_turn_is_over(void *run)
{
    const struct search_run *r = run;

    return imap_is_cancelled(r->c) || clock_mono_ms() >= r->turn_until_ms;
}

enum cmd_rc
search_run_stopped(struct search_run *r, int rc, const struct err *e, size_t done, size_t all)
{
    if (rc == 1 && !imap_is_cancelled(r->c))
        return imap_progress(r->c, done, all) ? CMD_FLUSH : CMD_YIELD;
    if (rc < 0)
        imap_fail(r->c, e, store_view_name(r->c->s->view), "NONEXISTENT");
    return CMD_DONE; /* cancelled: nobody reads a reply */
}

enum cmd_rc
search_run(struct search_run *r, bool must_have_charset, bool *is_found)
{
    struct err e = { 0 };
    struct store_box box;
    int rc;

    *is_found = false;
    if (!r->search) {
        if (!search_program_parse(r->c, r->rest, must_have_charset, &r->program))
            return CMD_DONE;
        r->search = store_search_new(r->c->s->view, r->program.root);
    }
    rc = store_search_run(r->search, search_turn_is_over, r, &e);
    *is_found = rc == 0;
    if (rc == 0)
        return CMD_DONE;
    store_view_box(r->c->s->view, &box);
    return search_run_stopped(r, rc, &e, store_search_done(r->search), box.exists);
}

void
search_run_free(struct search_run *r)
{
    store_search_free(&r->search);
    search_program_free(&r->program);
}

/* ---- SEARCH ---- */

void
imap_done_search(struct imap_cmd *c)
{
    struct search_run *r = c->run_state;

    if (!r)
        return;
    search_run_free(r);
    free(r);
}

static void
tell_found(struct imap_cmd *c, const struct search_run *r)
{
    struct store_row row;
    size_t n;
    const uint32_t *seqs = store_search_result(r->search, &n);

    buf_addz(&c->out, "* SEARCH");
    for (size_t i = 0; i < n; i++)
        if (!c->is_uid)
            buf_addf(&c->out, " %u", seqs[i]);
        else if (store_view_row(c->s->view, seqs[i], &row))
            buf_addf(&c->out, " %u", row.uid);
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK Search completed.");
}

enum cmd_rc
imap_run_search(struct imap_cmd *c)
{
    struct search_run *r = c->run_state;
    enum cmd_rc rc;
    bool is_found;

    if (!r) {
        c->run_state = r = MEM_NEW(struct search_run);
        r->rest = *(struct slice *)c->args;
    }
    search_turn_begin(r, c);
    rc = search_run(r, false, &is_found);
    if (is_found)
        tell_found(c, r);
    return rc;
}
