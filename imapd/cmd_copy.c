/* imapd/cmd_copy.c - COPY (RFC 3501 §6.4.7) and MOVE (RFC 6851), with COPYUID (RFC 4315 §3). */
#include "imapd/rows.h"

struct copy_args {
    struct imap_set set;
    struct slice mailbox;
};

enum parse_rc
imap_parse_copy(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct copy_args *a = ARENA_NEW(&c->mem, struct copy_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_set(in, &c->mem, &a->set, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_astring(in, &c->mem, &a->mailbox, e);
}

static void
reply_copied(struct imap_cmd *c, bool is_move, const struct store_copied *d)
{
    struct buf code = { 0 };

    buf_addf(&code, "[COPYUID %u ", d->uidvalidity);
    imap_add_number_set(&code, d->from, d->n);
    buf_addc(&code, ' ');
    imap_add_number_set(&code, d->to, d->n);
    buf_addc(&code, ']');
    if (d->n == 0)
        imap_reply(c, "OK No messages found.");
    else if (is_move) /* before the EXPUNGEs: RFC 6851 §4.3 */
        imap_untagged(c, "OK %s Moved UIDs.", buf_z(&code));
    else
        imap_reply(c, "OK %s Copy completed.", buf_z(&code));
    if (d->n > 0 && is_move)
        imap_reply(c, "OK Move completed.");
    buf_free(&code);
}

static void
copy(struct imap_cmd *c, const struct store_uids *uids, bool is_move)
{
    const struct copy_args *a = c->args;
    struct store_copied d = { 0 };
    struct slice name;
    struct err e = { 0 };

    if (!imap_name_decode(c, a->mailbox, &name))
        return;
    if (uids->n == 0) {
        imap_reply(c, "OK No messages found.");
        return;
    }
    if (store_copy(c->s->view, uids, name, is_move, &d, &e) < 0) {
        imap_fail(c, &e, name, "TRYCREATE");
        return;
    }
    imap_notify_added(c, name, d.to, d.n);
    reply_copied(c, is_move, &d);
    if (is_move)
        c->s->stats.expunged += d.n;
    store_copied_free(&d);
}

/* A MOVE need not do all at once (RFC 6851 §3.3), a COPY must (RFC 9051 §6.4.7). */
static bool
is_within_limit(struct imap_cmd *c, struct store_uids *seqs, bool is_move)
{
    if (!is_move)
        return imap_limit_all(c, store_uids_count(seqs));
    imap_limit_messages(c, seqs, false);
    return true;
}

static enum cmd_rc
run_copy(struct imap_cmd *c, bool is_move)
{
    const struct copy_args *a = c->args;
    struct store_uids seqs, uids;

    if (!imap_set_resolve(c, &a->set, c->is_uid, &seqs) || !is_within_limit(c, &seqs, is_move)) {
        store_uids_free(&seqs);
        return CMD_DONE;
    }
    if (is_move && c->s->is_examine) {
        imap_reply(c, "NO [READ-ONLY] Mailbox is read-only.");
    } else {
        imap_seqs_to_uids(c, &seqs, &uids);
        copy(c, &uids, is_move);
        store_uids_free(&uids);
    }
    store_uids_free(&seqs);
    return CMD_DONE;
}

enum cmd_rc
imap_run_copy(struct imap_cmd *c)
{
    return run_copy(c, false);
}

enum cmd_rc
imap_run_move(struct imap_cmd *c)
{
    return run_copy(c, true);
}
