/* imapd/cmd_sort.c - SORT and UID SORT: RFC 5256; DISPLAYFROM, DISPLAYTO: RFC 5957; RETURN: RFC 5267 §3. A search first, then the
 * store's engine over what it found. */
#include "imapd/context.h"
#include "imapd/search.h"

#include "base/mem.h"
#include "store/sort.h"

#include <stdlib.h>

struct sort_args {
    struct esearch returns;
    struct sort_by by[SORT_KEYS_MAX];
    size_t n_by;
    struct search_text text;
};

struct work { /* run_state */
    struct search_run run;
    struct store_sort *sort;
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
/* clang-format on */

/* ---- arguments ---- */

/* ["REVERSE" SP] sort-key */
static enum parse_rc
take_key(struct sort_args *a, struct slice *in, struct err *e)
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

/* SP ["RETURN" SP "(" ... ")" SP] "(" sort-key *(SP sort-key) ")" SP charset SP program */
enum parse_rc
imap_parse_sort(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct sort_args *a = ARENA_NEW(&c->mem, struct sort_args);

    c->args = a;
    a->text.must_have_charset = true;
    if (imap_take_sp(in, e) != PARSE_OK || esearch_take(in, &c->mem, &a->returns, e) != PARSE_OK ||
        (a->returns.is_asked && imap_take_sp(in, e) != PARSE_OK))
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do
        if (take_key(a, in, e) != PARSE_OK)
            return PARSE_BAD;
    while (sl_take_char(in, ' '));
    if (!sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    return search_take_text(c, in, &a->text, e);
}

/* ---- work ---- */

void
imap_done_sort(struct imap_cmd *c)
{
    struct work *w = c->run_state;

    if (!w)
        return;
    store_sort_free(&w->sort);
    search_run_free(&w->run);
    free(w);
}

enum cmd_rc
imap_run_sort(struct imap_cmd *c)
{
    const struct sort_args *a = c->args;
    struct work *w = c->run_state;
    struct err e = { 0 };
    const uint32_t *seqs;
    enum cmd_rc searched;
    size_t n;
    int rc;

    if (!w) {
        if (!imap_context_may_be(c, &a->returns))
            return CMD_DONE;
        c->run_state = w = MEM_NEW(struct work);
        w->run.text = a->text;
        w->run.text.view = c->s->view;
        w->run.returns = &a->returns;
        w->run.needs_all = true; /* MIN is the first in the order */
    }
    search_turn_begin(&w->run, c);
    if (!w->sort) {
        if (!search_run_first(&w->run, &seqs, &n, &searched))
            return searched;
        w->sort = store_sort_new(c->s->view, a->by, a->n_by, seqs, n);
    }
    rc = store_sort_run(w->sort, search_turn_is_over, &w->run, &e);
    store_search_result(w->run.search, &n);
    if (rc != 0)
        return search_run_stopped(&w->run, rc, &e, store_sort_done(w->sort), n);
    search_run_finish(&w->run, store_sort_result(w->sort), n, a->by, a->n_by);
    return CMD_DONE;
}
