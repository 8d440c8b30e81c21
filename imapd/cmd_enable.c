/* imapd/cmd_enable.c - ENABLE (RFC 5161). */
#include "imapd/rows.h"

/* 1*(SP capability) */
enum parse_rc
imap_parse_enable(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice word;

    (void)c;
    do {
        if (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK)
            return PARSE_BAD;
    } while (in->n > 0);
    return PARSE_OK;
}

/* Nothing that we offer needs enabling; what is not known is passed over (RFC 5161 §3.1). */
enum cmd_rc
imap_run_enable(struct imap_cmd *c)
{
    imap_untagged(c, "ENABLED");
    imap_reply(c, "OK Enabled.");
    return CMD_DONE;
}
