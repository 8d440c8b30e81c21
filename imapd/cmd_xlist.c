/* imapd/cmd_xlist.c - XLIST, Gmail's LIST from before SPECIAL-USE: special uses by its own names, INBOX among them. Arguments
 * as LSUB's. */
#include "imapd/mailboxes.h"

#include "base/mem.h"

static const struct {
    unsigned use;
    const char *name;
} gmail_names[] = {
    { STORE_MB_USE_ALL, "\\AllMail" },     { STORE_MB_USE_DRAFTS, "\\Drafts" },
    { STORE_MB_USE_JUNK, "\\Spam" },       { STORE_MB_USE_FLAGGED, "\\Starred" },
    { STORE_MB_USE_SENT, "\\Sent" },       { STORE_MB_USE_TRASH, "\\Trash" },
    { STORE_MB_USE_ARCHIVE, "\\Archive" },
};

static void
tell(struct imap_cmd *c, const struct store_mailbox *b, struct slice wire_name)
{
    bool is_first = true;

    buf_addz(&c->out, "* XLIST (");
    imap_add_list_attrs(c, &is_first, b->attrs, STORE_MB_HAS_CHILDREN);
    if (sl_eqz(sl_z(b->name), "INBOX"))
        imap_add_list_attr(c, &is_first, "\\Inbox");
    for (size_t i = 0; i < COUNT_OF(gmail_names); i++)
        if (b->attrs & gmail_names[i].use)
            imap_add_list_attr(c, &is_first, gmail_names[i].name);
    imap_add_list_name(c, wire_name);
    buf_addz(&c->out, "\r\n");
}

enum cmd_rc
imap_run_xlist(struct imap_cmd *c)
{
    const struct imap_lsub_args *a = c->args;
    const struct list_pattern *pattern = imap_list_pattern(c, a->reference, a->pattern);
    struct store_mailboxes all = { 0 };
    struct buf wire = { 0 };
    struct err e = { 0 };

    if (store_list(c->s->store, &all, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return CMD_DONE;
    }
    for (size_t i = 0; i < all.n; i++) {
        const struct store_mailbox *b = &all.v[i];

        buf_reset(&wire);
        if ((!(b->attrs & STORE_MB_NONEXISTENT) || (b->attrs & STORE_MB_HAS_CHILDREN)) &&
            imap_name_encode(c->s, sl_z(b->name), &wire) == 0 &&
            imap_pattern_match(pattern, buf_slice(&wire)))
            tell(c, b, buf_slice(&wire));
    }
    buf_free(&wire);
    store_mailboxes_free(&all);
    imap_reply(c, "OK Xlist completed.");
    return CMD_DONE;
}
