/* imapd/cmd_select.c - SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2), CLOSE (§6.4.2), UNSELECT (RFC 3691),
 * EXPUNGE (§6.4.3) and UID EXPUNGE (RFC 4315 §2.1). */
#include "imapd/rows.h"

static void
tell_box(struct imap_cmd *c)
{
    struct store_box box;

    store_view_box(c->s->view, &box);
    imap_tell_flags(c);
    imap_untagged(c, "%u EXISTS", box.exists);
    imap_untagged(c, "%u RECENT", box.recent);
    if (box.first_unseen_seq > 0)
        imap_untagged(c, "OK [UNSEEN %u] First unseen.", box.first_unseen_seq);
    imap_untagged(c, "OK [UIDVALIDITY %u] UIDs valid", box.uidvalidity);
    imap_untagged(c, "OK [UIDNEXT %u] Predicted next UID", box.uidnext);
    imap_untagged(c, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)box.highestmodseq);
}

/* A mailbox that is open is closed first, and stays so when the new one cannot be opened (§6.3.1). */
static enum cmd_rc
run_open(struct imap_cmd *c, bool is_examine)
{
    struct imap_sess *s = c->s;
    struct slice name;
    struct err e = { 0 };

    if (s->view) {
        store_unselect(&s->view);
        imap_untagged(c, "OK [CLOSED] Previous mailbox closed.");
    }
    if (!imap_name_decode(c, *(struct slice *)c->args, &name))
        return CMD_DONE;
    if (store_select(s->store, name, is_examine, &s->view, &e) < 0) {
        s->view = NULL;
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    s->is_examine = is_examine;
    tell_box(c);
    imap_reply(c, "OK [READ-%s] %s completed.", is_examine ? "ONLY" : "WRITE",
               is_examine ? "Examine" : "Select");
    return CMD_DONE;
}

enum cmd_rc
imap_run_select(struct imap_cmd *c)
{
    return run_open(c, false);
}

enum cmd_rc
imap_run_examine(struct imap_cmd *c)
{
    return run_open(c, true);
}

/* How many would go, for the log. */
static size_t
count_deleted(const struct imap_cmd *c, const struct store_uids *uids)
{
    struct store_row row;
    size_t n = 0;

    for (uint32_t seq = 1; store_view_row(c->s->view, seq, &row); seq++)
        n += (row.flags.sys & STORE_DELETED) && (!uids || store_uids_has(uids, row.uid));
    return n;
}

static int
expunge(struct imap_cmd *c, const struct store_uids *uids)
{
    struct err e = { 0 };
    size_t n = count_deleted(c, uids);

    if (store_expunge(c->s->view, uids, &e) < 0) {
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
        return -1;
    }
    c->s->stats.expunged += n;
    return 0;
}

enum cmd_rc
imap_run_close(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    if (!s->is_examine && expunge(c, NULL) < 0)
        return CMD_DONE;
    store_unselect(&s->view);
    imap_reply(c, "OK Close completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_unselect(struct imap_cmd *c)
{
    store_unselect(&c->s->view);
    imap_reply(c, "OK Unselect completed.");
    return CMD_DONE;
}

static void
run_expunge(struct imap_cmd *c, const struct store_uids *uids)
{
    /* In EXAMINE nothing is removed and that is no error, as with Dovecot. */
    if (c->s->is_examine || expunge(c, uids) == 0)
        imap_reply(c, "OK Expunge completed.");
}

enum cmd_rc
imap_run_expunge(struct imap_cmd *c)
{
    run_expunge(c, NULL);
    return CMD_DONE;
}

enum cmd_rc
imap_run_uid_expunge(struct imap_cmd *c)
{
    struct store_uids seqs, uids;

    if (imap_set_resolve(c, c->args, true, &seqs)) {
        imap_seqs_to_uids(c, &seqs, &uids);
        run_expunge(c, &uids);
        store_uids_free(&uids);
    }
    store_uids_free(&seqs);
    return CMD_DONE;
}
