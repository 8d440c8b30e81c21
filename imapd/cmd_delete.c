/* imapd/cmd_delete.c - DELETE (RFC 9051 §6.3.5). */
#include "imapd/rows.h"

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
    if (store_delete(c->s->store, name, &e) < 0)
        imap_fail(c, &e, name, "NONEXISTENT");
    else
        imap_reply(c, "OK Delete completed.");
    return CMD_DONE;
}
