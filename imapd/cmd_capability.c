/* imapd/cmd_capability.c - CAPABILITY (RFC 9051 §6.1.1). */
#include "imapd/rows.h"

enum cmd_rc
imap_run_capability(struct imap_cmd *c)
{
    buf_addz(&c->out, "* CAPABILITY ");
    imap_add_capabilities(c->s, &c->out);
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK Capability completed.");
    return CMD_DONE;
}
