/* imapd/cmd_search.c - SEARCH and UID SEARCH (RFC 3501 §6.4.4, RFC 9051 §6.4.4). */
#include "imapd/context.h"
#include "imapd/search.h"

#include "base/mem.h"

#include <stdlib.h>

struct search_args {
    struct esearch returns;
    struct search_text text;
};

/* [SP "RETURN" SP "(" ... ")"] SP program */
enum parse_rc
imap_parse_search(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct search_args *a = ARENA_NEW(&c->mem, struct search_args);
    struct slice at = *in;

    c->args = a;
    if (imap_take_sp(&at, e) != PARSE_OK)
        return PARSE_BAD;
    if (esearch_take(&at, &c->mem, &a->returns, e) != PARSE_OK) {
        *in = at;
        return PARSE_BAD;
    }
    if (a->returns.is_asked)
        *in = at;
    else if (c->s->enabled & IMAP_ON_REV2) /* no SEARCH response any more: RFC 9051 §6.4.4 */
        a->returns = (struct esearch){ .is_asked = true, .want = ESEARCH_ALL };
    return search_take_text(c, in, &a->text, e);
}

void
imap_done_search(struct imap_cmd *c)
{
    struct search_run *r = c->run_state;

    if (!r)
        return;
    search_run_free(r);
    free(r);
}

enum cmd_rc
imap_run_search(struct imap_cmd *c)
{
    struct search_run *r = c->run_state;
    struct search_args *a = c->args;
    const uint32_t *seqs;
    enum cmd_rc rc;
    bool is_found;
    size_t n;

    if (!r) {
        if (!imap_context_may_be(c, &a->returns))
            return CMD_DONE;
        c->run_state = r = MEM_NEW(struct search_run);
        r->text = a->text;
        r->text.view = c->s->view;
        r->returns = &a->returns;
    }
    search_turn_begin(r, c);
    rc = search_run(r, &is_found);
    if (!is_found)
        return rc;
    seqs = store_search_result(r->search, &n);
    search_run_finish(r, seqs, n, NULL, 0);
    return CMD_DONE;
}
