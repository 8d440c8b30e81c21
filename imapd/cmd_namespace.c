/* imapd/cmd_namespace.c - NAMESPACE (RFC 2342). */
#include "imapd/rows.h"

enum cmd_rc
imap_run_namespace(struct imap_cmd *c)
{
    imap_untagged(c, "NAMESPACE ((\"\" \"%c\")) NIL NIL", store_separator(c->s->store));
    imap_reply(c, "OK Namespace completed.");
    return CMD_DONE;
}
