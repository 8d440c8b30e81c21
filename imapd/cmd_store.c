/* imapd/cmd_store.c - STORE and UID STORE (RFC 3501 §6.4.6). */
#include "imapd/rows.h"

struct store_args {
    struct imap_set set;
    enum store_op op;
    bool is_silent;
    struct imap_flags flags;
};

#define SAME_FLAG(name)                                                                            \
    _Static_assert((int)IMAP_##name == (int)STORE_##name, "they go to the store as they are")
SAME_FLAG(SEEN);
SAME_FLAG(ANSWERED);
SAME_FLAG(FLAGGED);
SAME_FLAG(DELETED);
SAME_FLAG(DRAFT);
SAME_FLAG(RECENT);

/* (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag))) */
enum parse_rc
imap_parse_store(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct store_args *a = ARENA_NEW(&c->mem, struct store_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_set(in, &c->mem, &a->set, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    a->op = sl_take_char(in, '+') ? STORE_ADD : sl_take_char(in, '-') ? STORE_REMOVE : STORE_SET;
    a->is_silent = imap_take_keyword(in, "FLAGS.SILENT");
    if (!a->is_silent && !imap_take_keyword(in, "FLAGS"))
        return err_parse(e, "expected [+-]FLAGS[.SILENT]");
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_flags(in, true, &c->mem, &a->flags, e);
}

/* Keywords as bits. To take one away that the mailbox does not know is nothing. */
static int
keyword_bits(struct imap_cmd *c, const struct store_args *a, uint64_t *bits, struct err *e)
{
    int i;

    *bits = 0;
    for (size_t k = 0; k < a->flags.n_keywords; k++) {
        i = store_keyword(c->s->view, a->flags.keywords[k], a->op != STORE_REMOVE, e);
        if (i < 0 && a->op != STORE_REMOVE)
            return -1;
        if (i >= 0)
            *bits |= (uint64_t)1 << i;
    }
    return 0;
}

static void
count_deleted(struct imap_cmd *c, const struct store_args *a, const struct store_uids *seqs)
{
    struct store_row row;

    if (a->op == STORE_REMOVE || !(a->flags.sys & STORE_DELETED))
        return;
    for (size_t i = 0; i < seqs->n; i++)
        for (uint32_t seq = seqs->v[i].first; seq <= seqs->v[i].last; seq++)
            if (store_view_row(c->s->view, seq, &row) && !(row.flags.sys & STORE_DELETED))
                c->s->stats.deleted++;
}

static void
change(struct imap_cmd *c, const struct store_args *a, const struct store_uids *uids)
{
    struct store_flag_change ch = { .op = a->op,
                                    .flags.sys = a->flags.sys,
                                    .is_silent = a->is_silent };
    struct err e = { 0 };

    if (keyword_bits(c, a, &ch.flags.kw, &e) < 0 ||
        store_change_flags(c->s->view, uids, &ch, NULL, &e) < 0) {
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
        return;
    }
    if (!a->is_silent)
        for (size_t i = 0; i < uids->n; i++)
            store_uids_add(&c->told, uids->v[i].first, uids->v[i].last);
    imap_reply(c, "OK Store completed.");
}

enum cmd_rc
imap_run_store(struct imap_cmd *c)
{
    const struct store_args *a = c->args;
    struct store_uids seqs, uids;

    if (!imap_set_resolve(c, &a->set, c->is_uid, &seqs)) {
        store_uids_free(&seqs);
        return CMD_DONE;
    }
    if (c->s->is_examine) {
        imap_reply(c, "OK Store ignored with read-only mailbox.");
    } else {
        count_deleted(c, a, &seqs);
        imap_seqs_to_uids(c, &seqs, &uids);
        if (uids.n > 0)
            change(c, a, &uids);
        else
            imap_reply(c, "OK Store completed.");
        store_uids_free(&uids);
    }
    store_uids_free(&seqs);
    return CMD_DONE;
}
