/* imapd/cmd_id.c - ID (RFC 2971). */
#include "imapd/rows.h"

enum { ID_PAIRS_MAX = 30, ID_KEY_MAX = 30, ID_VALUE_MAX = 1024 }; /* RFC 2971 §3.3 */

/* "NIL" or "(" string SP nstring ... ")" */
enum parse_rc
imap_parse_id(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice key, value;
    size_t pairs = 0;

    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (imap_take_keyword(in, "NIL"))
        return PARSE_OK;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected NIL or '('");
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    do {
        if (imap_take_string(in, &c->mem, &key, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK ||
            imap_take_nstring(in, &c->mem, &value, e) != PARSE_OK)
            return PARSE_BAD;
        if (++pairs > ID_PAIRS_MAX || key.n > ID_KEY_MAX || value.n > ID_VALUE_MAX)
            return err_parse(e, "too long ID");
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

enum cmd_rc
imap_run_id(struct imap_cmd *c)
{
    imap_untagged(c, "ID (\"name\" \"Postern\")");
    imap_reply(c, "OK ID completed.");
    return CMD_DONE;
}
