/* imapd/cmd_esearch.c - ESEARCH: the same search in several mailboxes (RFC 7377), one after the other. The selected one is searched
 * as its client knows it, the others as they are now; no more than one of them is open at a time. */
#include "imapd/context.h"
#include "imapd/search.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

enum { ESEARCH_SOURCES_MAX = 1000 }; /* names in one command */
enum source_kind {
    SOURCE_PERSONAL,
    SOURCE_SUBSCRIBED,
    SOURCE_SUBTREE,
    SOURCE_SUBTREE_ONE,
    SOURCE_MAILBOXES
};
struct source {
    enum source_kind kind;
    struct slice name; /* SUBTREE and below: as written, then as in the store */
};
struct esearch_args {
    bool is_selected; /* the selected mailbox is among them */
    struct source v[ESEARCH_SOURCES_MAX];
    size_t n;
    struct esearch returns;
    struct search_text text;
};

struct work { /* run_state */
    struct search_run run;
    struct store_mailboxes all;
    size_t at; /* the next of all */
    bool is_begun, is_open;
    struct store_view *view; /* what is searched; NULL between */
    struct arena mem;        /* its program */
};

/* ---- arguments ---- */

static enum parse_rc
take_name(struct imap_cmd *c, struct slice *in, struct esearch_args *a, enum source_kind kind,
          struct err *e)
{
    if (a->n == ESEARCH_SOURCES_MAX)
        return err_parse(e, "too many mailboxes");
    a->v[a->n].kind = kind;
    return imap_take_astring(in, &c->mem, &a->v[a->n++].name, e);
}

/* SP mailbox / SP "(" mailbox *(SP mailbox) ")" */
static enum parse_rc
take_names(struct imap_cmd *c, struct slice *in, struct esearch_args *a, enum source_kind kind,
           struct err *e)
{
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return take_name(c, in, a, kind, e);
    do
        if (take_name(c, in, a, kind, e) != PARSE_OK)
            return PARSE_BAD;
    while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* filter-mailboxes of NOTIFY without "selected-delayed", and "subtree-one" (RFC 7377 §2.2). */
static enum parse_rc
take_source(struct imap_cmd *c, struct slice *in, struct esearch_args *a, struct err *e)
{
    static const struct {
        const char *word;
        enum source_kind kind;
    } kinds[] = {
        { "inboxes", SOURCE_PERSONAL }, /* mail may be delivered into any of them */
        { "personal", SOURCE_PERSONAL },   { "subscribed", SOURCE_SUBSCRIBED },
        { "subtree", SOURCE_SUBTREE },     { "subtree-one", SOURCE_SUBTREE_ONE },
        { "mailboxes", SOURCE_MAILBOXES },
    };

    if (imap_take_keyword(in, "selected")) {
        a->is_selected = true;
        return PARSE_OK;
    }
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        if (!imap_take_keyword(in, kinds[i].word))
            continue;
        if (kinds[i].kind >= SOURCE_SUBTREE)
            return take_names(c, in, a, kinds[i].kind, e);
        if (a->n == ESEARCH_SOURCES_MAX)
            return err_parse(e, "too many mailboxes");
        a->v[a->n++].kind = kinds[i].kind;
        return PARSE_OK;
    }
    return err_parse(e, "expected which mailboxes to search");
}

/* SP "IN" SP "(" source *(SP source) ")": scope options are defined by no RFC, so none is known. */
static enum parse_rc
take_sources(struct imap_cmd *c, struct slice *in, struct esearch_args *a, struct err *e)
{
    struct slice at = *in;

    if (imap_take_sp(&at, e) != PARSE_OK || !imap_take_keyword(&at, "IN")) {
        a->is_selected = true;
        return PARSE_OK;
    }
    *in = at;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do
        if (take_source(c, in, a, e) != PARSE_OK)
            return PARSE_BAD;
    while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

static enum parse_rc
take_returns(struct imap_cmd *c, struct slice *in, struct esearch_args *a, struct err *e)
{
    struct slice at = *in;

    if (imap_take_sp(&at, e) != PARSE_OK)
        return PARSE_BAD;
    if (esearch_take(&at, &c->mem, &a->returns, e) != PARSE_OK) {
        *in = at;
        return PARSE_BAD;
    }
    if (a->returns.is_asked)
        *in = at;
    else
        a->returns = (struct esearch){ .is_asked = true, .want = ESEARCH_ALL };
    return PARSE_OK;
}

enum parse_rc
imap_parse_esearch(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct esearch_args *a = ARENA_NEW(&c->mem, struct esearch_args);

    c->args = a;
    if (take_sources(c, in, a, e) != PARSE_OK || take_returns(c, in, a, e) != PARSE_OK)
        return PARSE_BAD;
    if ((a->returns.want & ESEARCH_SAVE) && a->n > 0) /* RFC 7377 §2.1: "$" is of one mailbox */
        return err_parse(e, "SAVE is for the selected mailbox only");
    if ((a->returns.want & ESEARCH_UPDATE) && !a->is_selected)
        return err_parse(e, "UPDATE is for the selected mailbox only");
    a->text.no_numbers = a->n > 0;
    return search_take_text(c, in, &a->text, e);
}

/* ---- which mailboxes ---- */

static bool
names(const struct source *s, const struct store_mailbox *m, char separator)
{
    struct slice name = sl_z(m->name), below;

    if (s->kind == SOURCE_PERSONAL)
        return true;
    if (s->kind == SOURCE_SUBSCRIBED)
        return (m->attrs & STORE_MB_SUBSCRIBED) != 0;
    if (sl_eq(name, s->name))
        return true;
    if (s->kind == SOURCE_MAILBOXES || !sl_has_prefix(name, s->name) ||
        name.p[s->name.n] != separator)
        return false;
    below = sl_from(name, s->name.n + 1);
    return s->kind == SOURCE_SUBTREE || sl_find_char(below, separator) == SL_NPOS;
}

static bool
is_asked(const struct imap_cmd *c, const struct store_mailbox *m)
{
    const struct esearch_args *a = c->args;

    if (m->attrs & (STORE_MB_NOSELECT | STORE_MB_NONEXISTENT))
        return false;
    if (a->is_selected && sl_eqz(store_view_name(c->s->view), m->name))
        return true;
    for (size_t i = 0; i < a->n; i++)
        if (names(&a->v[i], m, store_separator(c->s->store)))
            return true;
    return false;
}

/* False: replied. */
static bool
begin(struct imap_cmd *c, struct work *w)
{
    struct esearch_args *a = c->args;
    struct err e = { 0 };

    w->is_begun = true;
    if (a->is_selected && !c->s->view) {
        imap_bad(c, "BAD No mailbox selected.");
        return false;
    }
    if (!imap_context_may_be(c, &a->returns))
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->v[i].kind >= SOURCE_SUBTREE && !imap_name_decode(c, a->v[i].name, &a->v[i].name))
            return false;
    if (c->s->view)
        store_view_wake(c->s->view, NULL); /* a failure is told by the sync at the end */
    w->run.text = a->text;
    w->run.text.mem = &w->mem;
    w->run.returns = &a->returns;
    if (a->n >
        0) { /* what is wrong with the program is told first, and where no mailbox is searched */
        if (!search_program_parse(c, &w->run.text, &w->run.program))
            return false;
        search_run_free(&w->run);
    }
    if (store_list(c->s->store, &w->all, &e) == 0)
        return true;
    imap_fail(c, &e, SL(""), "NONEXISTENT");
    return false;
}

/* ---- one mailbox ---- */

static void
close_mailbox(struct imap_cmd *c, struct work *w)
{
    search_run_free(&w->run);
    arena_reset(&w->mem);
    w->run.program = (struct search_program){ 0 };
    if (w->view != c->s->view)
        store_unselect(&w->view);
    w->view = NULL;
}

/* The next one. 0: it is open; 1: there is none; -1: replied. */
static int
open_next(struct imap_cmd *c, struct work *w)
{
    struct err e = { 0 };

    for (; w->at < w->all.n; w->at++) {
        const struct store_mailbox *m = &w->all.v[w->at];

        if (!is_asked(c, m))
            continue;
        if (c->s->view && sl_eqz(store_view_name(c->s->view), m->name)) {
            w->view = c->s->view;
        } else if (store_select(c->s->store, sl_z(m->name), true, &w->view, &e) < 0) {
            w->view = NULL;
            if (e.kind == ERR_NOTFOUND ||
                e.kind == ERR_PERM) /* gone meanwhile: passed over (§2.2) */
                continue;
            imap_fail(c, &e, sl_z(m->name), "NONEXISTENT");
            return -1;
        }
        w->at++;
        w->run.text.view = w->view;
        return 0;
    }
    return 1;
}

/* Where nothing was found there is no response, whatever is asked (RFC 7377 §2.1). */
static void
tell(struct imap_cmd *c, struct work *w)
{
    const struct esearch_args *a = c->args;
    struct esearch_found f = { .view = w->view,
                               .is_uid = true,
                               .has_modseq = w->run.program.has_modseq,
                               .mailbox = store_view_name(w->view) };
    struct store_box box;

    f.seqs = store_search_result(w->run.search, &f.n);
    store_view_box(w->view, &box);
    f.uidvalidity = box.uidvalidity;
    if ((a->returns.want & ESEARCH_UPDATE) && w->view == c->s->view)
        imap_context_new(c, &(struct imap_context_from){ .text = &w->run.text,
                                                         .program = &w->run.program,
                                                         .seqs = f.seqs,
                                                         .n = f.n,
                                                         .is_uid = true,
                                                         .items = a->returns.items });
    if (f.n > 0)
        esearch_tell(c, &a->returns, &f);
    if (a->returns.want & ESEARCH_SAVE)
        esearch_save(c->s, &a->returns, &f);
}

/* ---- all of them ---- */

void
imap_done_esearch(struct imap_cmd *c)
{
    struct work *w = c->run_state;

    if (!w)
        return;
    BUG_ON(w->view); /* closing may block */
    store_mailboxes_free(&w->all);
    search_run_free(&w->run);
    arena_free(&w->mem);
    free(w);
}

static enum cmd_rc
step(struct imap_cmd *c, struct work *w)
{
    enum cmd_rc rc;
    bool is_found;
    int opened;

    if (!w->view) {
        opened = open_next(c, w);
        if (opened == 1)
            imap_reply(c, "OK Search completed.");
        if (opened != 0)
            return CMD_DONE;
    }
    rc = search_run(&w->run, &is_found);
    if (!is_found)
        return rc;
    tell(c, w);
    close_mailbox(c, w);
    return c->out.n >= IMAPD_OUT_MARK ? CMD_FLUSH : CMD_YIELD;
}

enum cmd_rc
imap_run_esearch(struct imap_cmd *c)
{
    struct work *w = c->run_state;
    enum cmd_rc rc;

    if (!w)
        c->run_state = w = MEM_NEW(struct work);
    search_turn_begin(&w->run, c);
    if (!w->is_begun && !begin(c, w))
        return CMD_DONE;
    do
        rc = step(c, w);
    while (rc == CMD_YIELD && !search_turn_is_over(&w->run));
    if ((rc == CMD_DONE || imap_is_cancelled(c)) && w->view)
        close_mailbox(c, w);
    return imap_is_cancelled(c) ? CMD_DONE : rc;
}
