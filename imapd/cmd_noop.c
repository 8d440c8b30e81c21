/* imapd/cmd_noop.c - NOOP and CHECK (RFC 3501 §6.1.2, §6.4.1): news is told at the end of any command. */
#include "imapd/rows.h"

enum parse_rc
imap_parse_noop(struct imap_cmd *c, struct slice *in, struct err *e)
{
    (void)in;
    (void)e;
    imap_notify_take(c->s);
    return PARSE_OK;
}

enum cmd_rc
imap_run_noop(struct imap_cmd *c)
{
    enum cmd_rc rc = imap_notify_tell(c);

    if (rc != CMD_DONE)
        return rc;
    imap_reply(c, "OK NOOP completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_check(struct imap_cmd *c)
{
    imap_reply(c, "OK Check completed.");
    return CMD_DONE;
}
