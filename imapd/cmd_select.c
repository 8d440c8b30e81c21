/* imapd/cmd_select.c - SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3). */
#include "imapd/rows.h"

static void
tell_box(struct imap_cmd *c)
{
    struct store_box box;

    store_view_box(c->s->view, &box);
    imap_tell_flags(c);
    imap_untagged(c, "%u EXISTS", box.exists);
    imap_untagged(c, "%u RECENT", box.recent);
    if (box.first_unseen_seq > 0)
        imap_untagged(c, "OK [UNSEEN %u] First unseen.", box.first_unseen_seq);
    imap_untagged(c, "OK [UIDVALIDITY %u] UIDs valid", box.uidvalidity);
    imap_untagged(c, "OK [UIDNEXT %u] Predicted next UID", box.uidnext);
    imap_untagged(c, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)box.highestmodseq);
}

/* A mailbox that is open is closed first, and stays so when the new one cannot be opened (§6.3.1). */
static enum cmd_rc
run_open(struct imap_cmd *c, bool is_examine)
{
    struct imap_sess *s = c->s;
    struct slice name;
    struct err e = { 0 };

    if (s->view) {
        store_unselect(&s->view);
        imap_untagged(c, "OK [CLOSED] Previous mailbox closed.");
    }
    if (!imap_name_decode(c, *(struct slice *)c->args, &name))
        return CMD_DONE;
    if (store_select(s->store, name, is_examine, &s->view, &e) < 0) {
        s->view = NULL;
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    s->is_examine = is_examine;
    tell_box(c);
    imap_reply(c, "OK [READ-%s] %s completed.", is_examine ? "ONLY" : "WRITE",
               is_examine ? "Examine" : "Select");
    return CMD_DONE;
}

enum cmd_rc
imap_run_select(struct imap_cmd *c)
{
    return run_open(c, false);
}

enum cmd_rc
imap_run_examine(struct imap_cmd *c)
{
    return run_open(c, true);
}
