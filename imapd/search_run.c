/* imapd/search_run.c - see search.h: a program parsed and run in turns, and what is done with its results. */
#include "imapd/context.h"
#include "imapd/search.h"

#include "base/clock.h"

enum parse_rc
search_take_text(struct imap_cmd *c, struct slice *in, struct search_text *t, struct err *e)
{
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    t->text = *in;
    t->at = (size_t)(in->p - buf_slice(&c->text).p);
    t->mem = &c->mem;
    if (in->n == 0)
        return err_parse(e, t->must_have_charset ? "expected a charset" : "expected a search key");
    *in = sl_from(*in, in->n);
    return PARSE_OK;
}

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

/* "SAVE": what fails with NO leaves "$" empty, BAD leaves it alone (RFC 5182 §2.1). */
static void
forget_saved(struct search_run *r)
{
    if (r->returns && (r->returns->want & ESEARCH_SAVE) && !r->c->is_bad &&
        !imap_is_cancelled(r->c))
        store_uids_free(&r->c->s->saved);
}

enum cmd_rc
search_run_stopped(struct search_run *r, int rc, const struct err *e, size_t done, size_t all)
{
    if (rc == 1 && !imap_is_cancelled(r->c))
        return imap_progress(r->c, done, all) ? CMD_FLUSH : CMD_YIELD;
    if (rc < 0) {
        imap_fail(r->c, e, store_view_name(r->text.view), "NONEXISTENT");
        forget_saved(r);
    }
    return CMD_DONE; /* cancelled: nobody reads a reply */
}

/* MESSAGELIMIT: the newest of those that the program's sets leave (RFC 9738 §3). False: replied. */
static bool
cut(struct search_run *r)
{
    struct store_uids range;
    bool may_be = true;

    if (r->text.view != r->c->s->view)
        return true;
    store_search_range(r->search, &range);
    if (r->is_whole)
        may_be = imap_limit_all(r->c, store_uids_count(&range));
    else if (imap_limit_messages(r->c, &range, false) > 0)
        store_search_among(r->search, &range);
    store_uids_free(&range);
    return may_be;
}

static bool
begin(struct search_run *r)
{
    size_t first = 0, last = 0;

    if (!search_program_parse(r->c, &r->text, &r->program))
        return false;
    if (r->program.has_modseq)
        imap_enable(r->c, IMAP_ON_CONDSTORE); /* RFC 7162 §3.1 */
    r->search = store_search_new(r->text.view, r->program.root);
    if (r->returns && !r->needs_all)
        esearch_limit(r->returns, &first, &last);
    store_search_limit(r->search, first, last);
    return cut(r);
}

enum cmd_rc
search_run(struct search_run *r, bool *is_found)
{
    struct err e = { 0 };
    struct store_box box;
    int rc;

    *is_found = false;
    if (!r->search && !begin(r)) {
        forget_saved(r);
        return CMD_DONE;
    }
    rc = store_search_run(r->search, search_turn_is_over, r, &e);
    *is_found = rc == 0;
    if (rc == 0)
        return CMD_DONE;
    store_view_box(r->text.view, &box);
    return search_run_stopped(r, rc, &e, store_search_done(r->search), box.exists);
}

bool
search_run_first(struct search_run *r, const uint32_t **seqs, size_t *n, enum cmd_rc *rc)
{
    bool is_found;

    *rc = search_run(r, &is_found);
    if (!is_found)
        return false;
    *seqs = store_search_result(r->search, n);
    search_turn_begin(r, r->c);
    return true;
}

void
search_run_free(struct search_run *r)
{
    store_search_free(&r->search);
    search_program_free(&r->program);
}

void
search_run_finish(struct search_run *r, const uint32_t *seqs, size_t n, const struct sort_by *by,
                  size_t n_by)
{
    struct imap_cmd *c = r->c;
    const struct esearch *want = r->returns;
    struct esearch_found f = { .view = c->s->view,
                               .seqs = seqs,
                               .n = n,
                               .is_uid = c->is_uid,
                               .has_modseq = r->program.has_modseq,
                               .word = by ? "SORT" : "SEARCH" };

    if (want->want & ESEARCH_UPDATE) /* first: a refusal is told before the result */
        imap_context_new(c, &(struct imap_context_from){ .text = &r->text,
                                                         .program = &r->program,
                                                         .seqs = seqs,
                                                         .n = n,
                                                         .by = by,
                                                         .n_by = n_by,
                                                         .is_uid = c->is_uid,
                                                         .items = want->items });
    esearch_tell(c, want, &f);
    if (want->want & ESEARCH_SAVE)
        esearch_save(c->s, want, &f);
    imap_reply(c, by ? "OK Sort completed." : "OK Search completed.");
}
