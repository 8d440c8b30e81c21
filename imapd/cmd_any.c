/* imapd/cmd_any.c - commands that need no mailbox: CAPABILITY, NOOP, LOGOUT (RFC 3501 §6.1), CHECK (§6.4.1), ID (RFC 2971),
 * ENABLE (RFC 5161), NAMESPACE (RFC 2342). */
#include "imapd/rows.h"

#include "base/mem.h"

enum { ID_PAIRS_MAX = 30, ID_KEY_MAX = 30, ID_VALUE_MAX = 1024 }; /* RFC 2971 §3.3 */

enum cmd_rc
imap_run_capability(struct imap_cmd *c)
{
    imap_untagged(c, "CAPABILITY " IMAPD_CAPABILITY "%s", imap_capability_more(c->s));
    imap_reply(c, "OK Capability completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_noop(struct imap_cmd *c)
{
    imap_reply(c, "OK NOOP completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_check(struct imap_cmd *c)
{
    imap_reply(c, "OK Check completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_logout(struct imap_cmd *c)
{
    imap_untagged(c, "BYE Logging out");
    imap_reply(c, "OK Logout completed.");
    c->must_end = true;
    c->why = "Logged out";
    return CMD_DONE;
}

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

enum cmd_rc
imap_run_namespace(struct imap_cmd *c)
{
    imap_untagged(c, "NAMESPACE ((\"\" \"%c\")) NIL NIL", store_separator(c->s->store));
    imap_reply(c, "OK Namespace completed.");
    return CMD_DONE;
}
