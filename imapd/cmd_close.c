/* imapd/cmd_close.c - CLOSE (RFC 9051 §6.4.1) and UNSELECT (RFC 3691). */
#include "imapd/context.h"
#include "imapd/rows.h"

void
imap_unselect(struct imap_sess *s)
{
    imap_notify_unselected(s);
    imap_contexts_free(s);
    store_unselect(&s->view);
    store_uids_free(&s->saved); /* RFC 5182 §2.1 */
}

enum cmd_rc
imap_run_close(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    if (!s->is_examine && imap_expunge(c, NULL) < 0)
        return CMD_DONE;
    imap_unselect(s);
    imap_reply(c, "OK Close completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_unselect(struct imap_cmd *c)
{
    imap_unselect(c->s);
    imap_reply(c, "OK Unselect completed.");
    return CMD_DONE;
}
