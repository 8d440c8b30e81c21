/* imapd/cmd_rename.c - RENAME (RFC 9051 §6.3.6). */
#include "imapd/rows.h"

struct rename_args {
    struct slice from, to;
};

enum parse_rc
imap_parse_rename(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct rename_args *a = ARENA_NEW(&c->mem, struct rename_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->from, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_astring(in, &c->mem, &a->to, e);
}

enum cmd_rc
imap_run_rename(struct imap_cmd *c)
{
    const struct rename_args *a = c->args;
    struct slice from, to;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->from, &from) || !imap_name_decode(c, a->to, &to))
        return CMD_DONE;
    if (store_rename(c->s->store, from, to, &e) < 0)
        imap_fail(c, &e, from, "NONEXISTENT");
    else
        imap_reply(c, "OK Rename completed.");
    return CMD_DONE;
}
