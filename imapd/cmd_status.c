/* imapd/cmd_status.c - STATUS (RFC 3501 §6.3.10). */
#include "imapd/rows.h"

#include "base/mem.h"

enum { ST_MESSAGES, ST_RECENT, ST_UIDNEXT, ST_UIDVALIDITY, ST_UNSEEN, ST_ITEMS };
static const char *const names[ST_ITEMS] = { "MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY",
                                             "UNSEEN" };

struct status_args {
    struct slice mailbox;
    unsigned items[ST_ITEMS]; /* in the order asked for */
    size_t n;
};

static enum parse_rc
take_item(struct slice *in, struct status_args *a, struct err *e)
{
    for (unsigned i = 0; i < ST_ITEMS; i++) {
        bool is_there = false;

        if (!imap_take_keyword(in, names[i]))
            continue;
        for (size_t k = 0; k < a->n; k++)
            is_there = is_there || a->items[k] == i;
        if (!is_there)
            a->items[a->n++] = i;
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
    buf_addz(&c->out, "* STATUS ");
    imap_add_mailbox(&c->out, name);
    buf_addz(&c->out, " (");
    for (size_t i = 0; i < a->n; i++) {
        uint32_t values[ST_ITEMS] = { st.messages, st.recent, st.uidnext, st.uidvalidity,
                                      st.unseen };

        buf_addf(&c->out, "%s%s %u", i ? " " : "", names[a->items[i]], values[a->items[i]]);
    }
    buf_addz(&c->out, ")\r\n");
    imap_reply(c, "OK Status completed.");
    return CMD_DONE;
}
