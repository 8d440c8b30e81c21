/* imapd/cmd_status.c - STATUS (RFC 9051 §6.3.11), also for LIST (RFC 5819), with the items of RFC 7162, 7889, 8438, 8474 and
 * 9208. */
#include "imapd/mailboxes.h"

#include "base/mem.h"

enum status_item {
    ST_MESSAGES,
    ST_RECENT,
    ST_UIDNEXT,
    ST_UIDVALIDITY,
    ST_UNSEEN,
    ST_HIGHESTMODSEQ,
    ST_SIZE,
    ST_DELETED,
    ST_DELETED_STORAGE,
    ST_APPENDLIMIT,
    ST_MAILBOXID,
    ST_ITEMS
};
static const char *const names[ST_ITEMS] = { "MESSAGES",    "RECENT",   "UIDNEXT",
                                             "UIDVALIDITY", "UNSEEN",   "HIGHESTMODSEQ",
                                             "SIZE",        "DELETED",  "DELETED-STORAGE",
                                             "APPENDLIMIT", "MAILBOXID" };

struct status_args {
    struct slice mailbox;
    unsigned items;
};

static bool
has(unsigned items, enum status_item i)
{
    return (items >> i & 1) != 0;
}

static enum parse_rc
take_item(struct imap_cmd *c, struct slice *in, unsigned *items, struct err *e)
{
    struct slice at = *in;

    for (unsigned i = 0; i < ST_ITEMS; i++) {
        if (!imap_take_keyword(in, names[i]))
            continue;
        if (i == ST_RECENT && (c->s->enabled & IMAP_ON_REV2)) {
            *in = at;
            break; /* RFC 9051 Appendix E */
        }
        *items |= 1u << i;
        return PARSE_OK;
    }
    return err_parse(e, "expected a STATUS item");
}

enum parse_rc
imap_take_status_items(struct imap_cmd *c, struct slice *in, unsigned *items, struct err *e)
{
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do {
        if (take_item(c, in, items, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
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
    return imap_take_status_items(c, in, &a->items, e);
}

static bool
is_selected(const struct imap_cmd *c, struct slice name)
{
    return c->s->view && sl_eq(store_view_name(c->s->view), name);
}

/* RFC 7889 §4: a number of 32 bits; "this mailbox's" is everybody's. */
static unsigned
append_limit(const struct imap_cmd *c)
{
    return c->s->conf->imap_max_append_size < UINT32_MAX
               ? (unsigned)c->s->conf->imap_max_append_size
               : UINT32_MAX;
}

static void
add_item(struct imap_cmd *c, enum status_item i, const struct store_status *st,
         uint64_t deleted_octets)
{
    const uint64_t values[ST_ITEMS] = {
        [ST_MESSAGES] = st->messages,
        [ST_RECENT] = st->recent,
        [ST_UIDNEXT] = st->uidnext,
        [ST_UIDVALIDITY] = st->uidvalidity,
        [ST_UNSEEN] = st->unseen,
        [ST_HIGHESTMODSEQ] = st->highestmodseq,
        [ST_SIZE] = st->size_octets,
        [ST_DELETED] = st->deleted,
        [ST_DELETED_STORAGE] = deleted_octets,
        [ST_APPENDLIMIT] = append_limit(c),
    };

    if (i == ST_MAILBOXID)
        buf_addf(&c->out, "MAILBOXID (%s)", st->mailbox_id);
    else
        buf_addf(&c->out, "%s %llu", names[i], (unsigned long long)values[i]);
}

int
imap_tell_status(struct imap_cmd *c, struct slice wire_name, struct slice name, unsigned items,
                 const struct store_status *known, struct err *e)
{
    uint64_t deleted_octets = 0;
    struct store_status st;
    struct store_box box;
    bool is_first = true;

    if (known)
        st = *known;
    else if (store_status(c->s->store, name, &st, e) < 0)
        return -1;
    if (has(items, ST_DELETED_STORAGE) && st.deleted > 0 &&
        store_deleted_octets(c->s->store, name, &deleted_octets, e) < 0)
        return -1;
    if (is_selected(c, name)) { /* what is recent is so for this session */
        store_view_box(c->s->view, &box);
        st.recent = box.recent;
    }
    if (has(items, ST_HIGHESTMODSEQ))
        imap_enable(c, IMAP_ON_CONDSTORE); /* RFC 7162 §3.1 */
    buf_addz(&c->out, "* STATUS ");
    if (imap_is_utf8(c->s))
        imap_add_utf8_astring(&c->out, wire_name);
    else
        imap_add_astring(&c->out, wire_name);
    buf_addz(&c->out, " (");
    for (unsigned i = 0; i < ST_ITEMS; i++)
        if (has(items, i)) {
            if (!is_first)
                buf_addc(&c->out, ' ');
            is_first = false;
            add_item(c, i, &st, deleted_octets);
        }
    buf_addz(&c->out, ")\r\n");
    return 0;
}

/* The name as the client wrote it: that is how it knows the mailbox. */
enum cmd_rc
imap_run_status(struct imap_cmd *c)
{
    const struct status_args *a = c->args;
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->mailbox, &name))
        return CMD_DONE;
    if (imap_tell_status(c, a->mailbox, name, a->items, NULL, &e) < 0)
        imap_fail(c, &e, name, "NONEXISTENT");
    else if (is_selected(c, name)) /* RFC 9051 §6.3.11: not what NOOP is for */
        imap_reply(c, "OK [CLIENTBUG] Status on selected mailbox completed.");
    else
        imap_reply(c, "OK Status completed.");
    return CMD_DONE;
}
