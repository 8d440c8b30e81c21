/* imapd/cmd_expunge.c - EXPUNGE (RFC 9051 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1). The HIGHESTMODSEQ that the reply has with
 * QRESYNC is notify.c's. */
#include "imapd/rows.h"

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

int
imap_expunge(struct imap_cmd *c, const struct store_uids *uids)
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

static void
run_expunge(struct imap_cmd *c, const struct store_uids *uids)
{
    /* In EXAMINE nothing is removed and that is no error, as with Dovecot. */
    if (c->s->is_examine || imap_expunge(c, uids) == 0)
        imap_reply(c, "OK Expunge completed.");
}

enum cmd_rc
imap_run_expunge(struct imap_cmd *c)
{
    run_expunge(c, NULL);
    return CMD_DONE;
}

/* Of these messages those that are marked: what MESSAGELIMIT counts (RFC 9738 §3.1). */
static void
marked_of(const struct imap_cmd *c, const struct store_uids *seqs, struct store_uids *uids)
{
    struct store_row row;

    *uids = (struct store_uids){ 0 };
    for (size_t i = 0; i < seqs->n; i++)
        for (uint32_t seq = seqs->v[i].first; seq <= seqs->v[i].last; seq++)
            if (store_view_row(c->s->view, seq, &row) && (row.flags.sys & STORE_DELETED))
                store_uids_add(uids, row.uid, row.uid);
}

enum cmd_rc
imap_run_uid_expunge(struct imap_cmd *c)
{
    struct store_uids seqs, uids;

    if (imap_set_resolve(c, c->args, true, &seqs)) {
        if (imap_has_limit(c))
            marked_of(c, &seqs, &uids);
        else /* what another session has just marked, too */
            imap_seqs_to_uids(c, &seqs, &uids);
        imap_limit_messages(c, &uids, true);
        run_expunge(c, &uids);
        store_uids_free(&uids);
    }
    store_uids_free(&seqs);
    return CMD_DONE;
}
