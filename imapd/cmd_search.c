/* imapd/cmd_search.c - SEARCH and UID SEARCH (RFC 3501 §6.4.4). */
#include "imapd/search.h"

#include "base/mem.h"
#include "base/clock.h"

#include <stdlib.h>

enum { SEARCH_TURN_MS = 20 }; /* how long one search keeps a thread while others wait */

struct search { /* run_state */
    struct search_program program;
    uint32_t *seqs;
    size_t n;
    uint32_t at;
    uint64_t turn_until_ms;
};

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

void
imap_done_search(struct imap_cmd *c)
{
    struct search *s = c->run_state;

    if (!s)
        return;
    search_program_free(&s->program);
    free(s->seqs);
    free(s);
}

static bool
is_turn_over(void *arg)
{
    struct imap_cmd *c = arg;
    struct search *s = c->run_state;

    return imap_is_cancelled(c) || clock_mono_ms() >= s->turn_until_ms;
}

static void
tell_found(struct imap_cmd *c, const struct search *s)
{
    struct store_row row;

    buf_addz(&c->out, "* SEARCH");
    for (size_t i = 0; i < s->n; i++)
        if (!c->is_uid)
            buf_addf(&c->out, " %u", s->seqs[i]);
        else if (store_view_row(c->s->view, s->seqs[i], &row))
            buf_addf(&c->out, " %u", row.uid);
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK Search completed.");
}

enum cmd_rc
imap_run_search(struct imap_cmd *c)
{
    struct search *s = c->run_state;
    struct err e = { 0 };
    int rc;

    if (!s) {
        c->run_state = s = MEM_NEW(struct search);
        if (!search_program_parse(c, *(struct slice *)c->args, &s->program))
            return CMD_DONE;
    }
    s->turn_until_ms = clock_mono_ms() + SEARCH_TURN_MS;
    rc = store_search(c->s->view, s->program.root, &s->seqs, &s->n, &s->at, is_turn_over, c, &e);
    if (rc == 1 && !imap_is_cancelled(c))
        return CMD_YIELD;
    if (rc < 0)
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
    else
        tell_found(c, s);
    return CMD_DONE;
}
