/* imapd/cmd_create.c - CREATE (RFC 9051 §6.3.4) with USE (RFC 6154 §3); the reply tells MAILBOXID (RFC 8474 §4.1). */
#include "imapd/mailboxes.h"

#include "store/names.h"

struct create_args {
    struct slice name;
    unsigned use;
    bool is_use_unknown;
};

/* "USE" SP "(" [use-attr *(SP use-attr)] ")" */
static enum parse_rc
take_use(struct slice *in, struct create_args *a, struct err *e)
{
    struct slice word;
    unsigned use;

    if (!imap_take_keyword(in, "USE"))
        return err_parse(e, "expected USE");
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    do {
        if (!sl_take_char(in, '\\') || imap_take_atom(in, &word, e) != PARSE_OK)
            return err_parse(e, "expected a special use");
        use = name_use(word);
        a->is_use_unknown = a->is_use_unknown || use == 0;
        a->use |= use;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* SP mailbox [SP "(" create-param *(SP create-param) ")"]. A separator at the end of the name says that names below it will
 * follow; the mailbox is made all the same. */
enum parse_rc
imap_parse_create(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct create_args *a = ARENA_NEW(&c->mem, struct create_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_astring(in, &c->mem, &a->name, e) != PARSE_OK)
        return PARSE_BAD;
    if (a->name.n > 1 && sl_ends(a->name, store_separator(c->s->store)))
        a->name.n--;
    if (in->n == 0)
        return PARSE_OK;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do {
        if (take_use(in, a, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* In IMAP4rev2 a client hears what its name has become (RFC 9051 §6.3.4): INBOX in front has one spelling. */
static void
tell_name(struct imap_cmd *c, struct slice asked, struct slice name)
{
    struct buf wire = { 0 };

    if ((c->s->enabled & IMAP_ON_REV2) && imap_name_encode(c->s, name, &wire) == 0 &&
        !sl_eq(buf_slice(&wire), asked))
        imap_tell_oldname(c, buf_slice(&wire), asked);
    buf_free(&wire);
}

enum cmd_rc
imap_run_create(struct imap_cmd *c)
{
    const struct create_args *a = c->args;
    struct store_status st;
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->name, &name))
        return CMD_DONE;
    if (a->is_use_unknown ||
        (a->use & (STORE_MB_USE_ALL | STORE_MB_USE_FLAGGED))) { /* those show others' messages */
        imap_reply(c, "NO [USEATTR] No mailbox can be given that special use.");
        return CMD_DONE;
    }
    if (store_create(c->s->store, name, a->use, &e) < 0) {
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    tell_name(c, a->name, name);
    if (store_status(c->s->store, name, &st, &e) < 0) /* deleted meanwhile, or it is told later */
        imap_reply(c, "OK Create completed.");
    else
        imap_reply(c, "OK [MAILBOXID (%s)] Create completed.", st.mailbox_id);
    return CMD_DONE;
}
