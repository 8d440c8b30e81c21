/* imapd/cmd_subscribe.c - SUBSCRIBE and UNSUBSCRIBE (RFC 9051 §6.3.7, §6.3.8). */
#include "imapd/rows.h"

/* RFC 3501 §6.3.6 lets a server refuse to subscribe what is not there; Dovecot does. */
static bool
exists(struct imap_cmd *c, struct slice name, struct err *e)
{
    struct store_mailboxes all = { 0 };
    bool is_found = false;

    if (store_list(c->s->store, &all, e) < 0)
        return false;
    for (size_t i = 0; i < all.n && !is_found; i++)
        is_found = sl_eqz(name, all.v[i].name) && (!(all.v[i].attrs & STORE_MB_NONEXISTENT) ||
                                                   (all.v[i].attrs & STORE_MB_HAS_CHILDREN));
    store_mailboxes_free(&all);
    if (!is_found)
        err_set(e, ERR_NOTFOUND, "no such mailbox");
    return is_found;
}

static enum cmd_rc
subscribe(struct imap_cmd *c, bool on)
{
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, *(struct slice *)c->args, &name))
        return CMD_DONE;
    if (on && !exists(c, name, &e)) {
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    if (store_subscribe(c->s->store, name, on, &e) < 0)
        imap_fail(c, &e, name, "NONEXISTENT");
    else
        imap_reply(c, "OK %s completed.", on ? "Subscribe" : "Unsubscribe");
    return CMD_DONE;
}

enum cmd_rc
imap_run_subscribe(struct imap_cmd *c)
{
    return subscribe(c, true);
}

enum cmd_rc
imap_run_unsubscribe(struct imap_cmd *c)
{
    return subscribe(c, false);
}
