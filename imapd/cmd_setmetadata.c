/* imapd/cmd_setmetadata.c - SETMETADATA (RFC 5464 §4.3). The reader refuses values that are too long before they are sent. */
#include "imapd/mailboxes.h"

#include <errno.h>

struct setmetadata_args {
    struct slice mailbox;
    struct store_meta_entry *v;
    size_t n;
};

/* entry SP value; value = nstring / literal8 */
static enum parse_rc
take_entry(struct imap_cmd *c, struct slice *in, struct store_meta_entry *out, struct err *e)
{
    struct imap_meta_ask name;

    if (imap_take_meta_name(c, in, false, &name, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    out->name = name.name;
    return imap_take_nstring8(in, &c->mem, &out->value, e);
}

/* SP mailbox SP "(" entry SP value *(SP entry SP value) ")" */
enum parse_rc
imap_parse_setmetadata(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct setmetadata_args *a = ARENA_NEW(&c->mem, struct setmetadata_args);
    size_t cap = 16;

    c->args = a;
    if (!c->s->conf->imap_metadata)
        return err_parse(e, "METADATA is disabled");
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->mailbox, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    a->v = arena_alloc(&c->mem, cap * sizeof(a->v[0]));
    do {
        if (a->n == cap) {
            struct store_meta_entry *v = arena_alloc(&c->mem, 2 * cap * sizeof(v[0]));

            if (v)
                memcpy(v, a->v, cap * sizeof(v[0]));
            a->v = v;
            cap *= 2;
        }
        if (a->v == NULL || a->n == IMAP_LIST_MAX)
            return err_parse(e, "too many entries");
        if (take_entry(c, in, &a->v[a->n], e) != PARSE_OK)
            return PARSE_BAD;
        a->n++;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* What is shared by all users of the server is the operator's to set. */
static bool
is_allowed(struct imap_cmd *c, struct slice name)
{
    const struct setmetadata_args *a = c->args;

    for (size_t i = 0; name.n == 0 && i < a->n; i++)
        if (sl_has_prefix(a->v[i].name, SL("/shared/"))) {
            imap_reply(c, "NO [NOPERM] The server's shared annotations are its administrator's.");
            return false;
        }
    return true;
}

enum cmd_rc
imap_run_setmetadata(struct imap_cmd *c)
{
    const struct setmetadata_args *a = c->args;
    const struct store_meta_limits limits = { (size_t)c->s->conf->imap_metadata_entries,
                                              (size_t)c->s->conf->imap_metadata_value_size };
    struct slice name = SL("");
    struct err e = { 0 };

    if ((a->mailbox.n > 0 && !imap_name_decode(c, a->mailbox, &name)) || !is_allowed(c, name))
        return CMD_DONE;
    if (store_meta_change(c->s->store, name, a->v, a->n, &limits, &e) == 0)
        imap_reply(c, "OK Setmetadata completed.");
    else if (e.kind == ERR_LIMIT && e.sys == EMSGSIZE)
        imap_reply(c, "NO [METADATA MAXSIZE %zu] Annotation too long.", limits.value_octets);
    else if (e.kind == ERR_LIMIT)
        imap_reply(c, "NO [METADATA TOOMANY] Too many annotations.");
    else
        imap_fail(c, &e, name, "NONEXISTENT");
    return CMD_DONE;
}
