/* imapd/cmd_rename.c - RENAME (RFC 9051 §6.3.6). Subscriptions keep the old name, as with Dovecot: they are names. */
#include "imapd/mailboxes.h"

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

/* What was where: RFC 9051 §6.3.9.7. INBOX stays. */
static void
tell_oldname(struct imap_cmd *c, struct slice from, struct slice to)
{
    struct buf a = { 0 }, b = { 0 };

    if ((c->s->enabled & IMAP_ON_REV2) && !sl_eqz(from, "INBOX") &&
        imap_name_encode(c->s, from, &a) == 0 && imap_name_encode(c->s, to, &b) == 0)
        imap_tell_oldname(c, buf_slice(&b), buf_slice(&a));
    buf_free(&a);
    buf_free(&b);
}

enum cmd_rc
imap_run_rename(struct imap_cmd *c)
{
    const struct rename_args *a = c->args;
    struct slice from, to;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->from, &from) || !imap_name_decode(c, a->to, &to))
        return CMD_DONE;
    if (to.n > 1 && sl_ends(to, store_separator(c->s->store)))
        to.n--;
    if (store_rename(c->s->store, from, to, &e) < 0) {
        imap_fail(c, &e, from, "NONEXISTENT");
        return CMD_DONE;
    }
    tell_oldname(c, from, to);
    imap_reply(c, "OK Rename completed.");
    return CMD_DONE;
}
