/* imapd/cmd_mailbox.c - CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 §6.3.3 to §6.3.7). */
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
        store_unselect(&c->s->view); /* as Dovecot does: the client knows what it did */
    if (store_delete(c->s->store, name, &e) < 0)
        imap_fail(c, &e, name, "NONEXISTENT");
    else
        imap_reply(c, "OK Delete completed.");
    return CMD_DONE;
}

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
