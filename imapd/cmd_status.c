/* imapd/cmd_status.c - STATUS (RFC 3501 §6.3.10). */
#include "imapd/rows.h"

#include "base/mem.h"

enum { ST_MESSAGES, ST_RECENT, ST_UIDNEXT, ST_UIDVALIDITY, ST_UNSEEN, ST_ITEMS };
static const char *const names[ST_ITEMS] = { "MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY",
                                             "UNSEEN" };

struct status_args {
    struct slice mailbox;
    bool is_asked[ST_ITEMS];
};

static enum parse_rc
take_item(struct slice *in, struct status_args *a, struct err *e)
{
    for (unsigned i = 0; i < ST_ITEMS; i++) {
        if (!imap_take_keyword(in, names[i]))
            continue;
        a->is_asked[i] = true;
        return PARSE_OK;
    }
    return err_parse(e, "expected a STATUS item");
}

enum parse_rc
imap_parse_status(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct status_args *a = ARENA_NEW(&c->mem, struct status_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->mailbox, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do {
        if (take_item(in, a, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* The name as the client wrote it: that is how it knows the mailbox. */
static void
tell_status(struct imap_cmd *c, const struct status_args *a, const struct store_status *st)
{
    const uint32_t values[ST_ITEMS] = { st->messages, st->recent, st->uidnext, st->uidvalidity,
                                        st->unseen };
    const char *space = "";

    buf_addz(&c->out, "* STATUS ");
    imap_add_astring(&c->out, a->mailbox);
    buf_addz(&c->out, " (");
    for (size_t i = 0; i < ST_ITEMS; i++)
        if (a->is_asked[i]) {
            buf_addf(&c->out, "%s%s %u", space, names[i], values[i]);
            space = " ";
        }
    buf_addz(&c->out, ")\r\n");
}

enum cmd_rc
imap_run_status(struct imap_cmd *c)
{
    const struct status_args *a = c->args;
    struct store_status st;
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->mailbox, &name))
        return CMD_DONE;
    if (store_status(c->s->store, name, &st, &e) < 0) {
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    tell_status(c, a, &st);
    imap_reply(c, "OK Status completed.");
    return CMD_DONE;
}
