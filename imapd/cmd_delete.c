/* imapd/cmd_delete.c - DELETE (RFC 9051 §6.3.5). A mailbox with others below goes alone; the name stays as \Noselect. */
#include "imapd/mailboxes.h"

/* A name that is there for those below it alone (RFC 9051 §7.1, HASCHILDREN). */
static bool
is_only_above(struct imap_cmd *c, struct slice name)
{
    struct store_mailboxes all = { 0 };
    bool is_it = false;

    if (store_list(c->s->store, &all, NULL) < 0)
        return false;
    for (size_t i = 0; i < all.n && !is_it; i++)
        is_it = sl_eqz(name, all.v[i].name) && (all.v[i].attrs & STORE_MB_NONEXISTENT) &&
                (all.v[i].attrs & STORE_MB_HAS_CHILDREN);
    store_mailboxes_free(&all);
    return is_it;
}

enum cmd_rc
imap_run_delete(struct imap_cmd *c)
{
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, *(struct slice *)c->args, &name))
        return CMD_DONE;
    if (sl_eqz(name, "INBOX")) {
        imap_reply(c, "NO [CANNOT] INBOX can't be deleted.");
        return CMD_DONE;
    }
    if (c->s->view && sl_eq(store_view_name(c->s->view), name))
        imap_unselect(c->s); /* as Dovecot does: the client knows what it did */
    if (store_delete(c->s->store, name, &e) == 0)
        imap_reply(c, "OK Delete completed.");
    else if (e.kind == ERR_NOTFOUND && (c->s->enabled & IMAP_ON_REV2) && is_only_above(c, name))
        imap_reply(c, "NO [HASCHILDREN] There is no mailbox of that name, but there are below it.");
    else
        imap_fail(c, &e, name, "NONEXISTENT");
    return CMD_DONE;
}
