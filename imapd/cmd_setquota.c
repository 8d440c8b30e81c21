/* imapd/cmd_setquota.c - SETQUOTA (RFC 9208 §4.1.3). Limits are the operator's (`quota_rule`, the users' database), so nobody
 * may set one here and QUOTASET is not offered. */
#include "imapd/rows.h"

/* SP astring SP "(" [atom SP number *(SP atom SP number)] ")" */
enum parse_rc
imap_parse_setquota(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice root, name;
    uint64_t limit;

    if (imap_take_sp(in, e) != PARSE_OK || imap_take_astring(in, &c->mem, &root, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    do {
        if (imap_take_atom(in, &name, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK ||
            imap_take_number(in, INT64_MAX, &limit, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

enum cmd_rc
imap_run_setquota(struct imap_cmd *c)
{
    imap_reply(c, "NO [NOPERM] Limits are set by the administrator.");
    return CMD_DONE;
}
