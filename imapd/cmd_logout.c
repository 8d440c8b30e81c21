/* imapd/cmd_logout.c - LOGOUT (RFC 9051 §6.1.3). */
#include "imapd/rows.h"

enum cmd_rc
imap_run_logout(struct imap_cmd *c)
{
    imap_untagged(c, "BYE Logging out");
    imap_reply(c, "OK Logout completed.");
    c->must_end = true;
    c->why = "Logged out";
    return CMD_DONE;
}
