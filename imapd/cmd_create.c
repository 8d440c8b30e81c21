/* imapd/cmd_create.c - CREATE (RFC 9051 §6.3.4). */
#include "imapd/rows.h"

/* A separator at the end says that names below it will follow; the mailbox is made all the same (§6.3.3). */
enum parse_rc
imap_parse_create(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice *name;

    if (imap_parse_mailbox(c, in, e) != PARSE_OK)
        return PARSE_BAD;
    name = c->args;
    if (name->n > 1 && sl_ends(*name, store_separator(c->s->store)))
        name->n--;
    return PARSE_OK;
}

enum cmd_rc
imap_run_create(struct imap_cmd *c)
{
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, *(struct slice *)c->args, &name))
        return CMD_DONE;
    if (store_create(c->s->store, name, 0, &e) < 0)
        imap_fail(c, &e, name, "NONEXISTENT");
    else
        imap_reply(c, "OK Create completed.");
    return CMD_DONE;
}
