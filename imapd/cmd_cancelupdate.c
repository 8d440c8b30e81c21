/* imapd/cmd_cancelupdate.c - CANCELUPDATE (RFC 5267 §4.3.5): searches that are no longer kept up to date. */
#include "imapd/context.h"
#include "imapd/rows.h"

struct cancel_args {
    struct slice tags[IMAP_CONTEXTS_MAX];
    size_t n;
};

/* 1*(SP quoted) */
enum parse_rc
imap_parse_cancelupdate(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct cancel_args *a = ARENA_NEW(&c->mem, struct cancel_args);

    c->args = a;
    do {
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        if (!sl_starts(*in, '"'))
            return err_parse(e, "expected a tag in quotes");
        if (a->n == IMAP_CONTEXTS_MAX)
            return err_parse(e, "too many tags");
        if (imap_take_string(in, &c->mem, &a->tags[a->n], e) != PARSE_OK)
            return PARSE_BAD;
        a->n++;
    } while (in->n > 0);
    return PARSE_OK;
}

enum cmd_rc
imap_run_cancelupdate(struct imap_cmd *c)
{
    const struct cancel_args *a = c->args;
    size_t known = 0;

    for (size_t i = 0; i < a->n; i++)
        known += imap_context_cancel(c->s, a->tags[i]);
    if (known == a->n)
        imap_reply(c, "OK Updates cancelled.");
    else
        imap_reply(c, "NO Unknown tag.");
    return CMD_DONE;
}
