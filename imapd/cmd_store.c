/* imapd/cmd_store.c - STORE and UID STORE (RFC 9051 §6.4.6), conditional ones too (RFC 7162 §3.1.3). */
#include "imapd/rows.h"

struct store_args {
    struct imap_set set;
    bool has_unchangedsince;
    uint64_t unchangedsince;
    enum store_op op;
    bool is_silent;
    struct imap_flags flags;
    struct store_flag_change told; /* for the sync */
};

#define SAME_FLAG(name)                                                                            \
    _Static_assert((int)IMAP_##name == (int)STORE_##name, "they go to the store as they are")
SAME_FLAG(SEEN);
SAME_FLAG(ANSWERED);
SAME_FLAG(FLAGGED);
SAME_FLAG(DELETED);
SAME_FLAG(DRAFT);
SAME_FLAG(RECENT);

/* "(" "UNCHANGEDSINCE" SP mod-sequence-valzer ")" SP */
static enum parse_rc
take_modifiers(struct slice *in, struct store_args *a, struct err *e)
{
    if (!sl_take_char(in, '('))
        return PARSE_OK;
    if (!imap_take_keyword(in, "UNCHANGEDSINCE"))
        return err_parse(e, "Unknown STORE modifier");
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_number(in, INT64_MAX, &a->unchangedsince, e) != PARSE_OK)
        return PARSE_BAD;
    a->has_unchangedsince = true;
    return sl_take_char(in, ')') ? imap_take_sp(in, e) : err_parse(e, "expected ')'");
}

/* SP set SP [modifiers SP] (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag))) */
enum parse_rc
imap_parse_store(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct store_args *a = ARENA_NEW(&c->mem, struct store_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_set(in, &c->mem, &a->set, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK || take_modifiers(in, a, e) != PARSE_OK)
        return PARSE_BAD;
    a->op = sl_take_char(in, '+') ? STORE_ADD : sl_take_char(in, '-') ? STORE_REMOVE : STORE_SET;
    a->is_silent = imap_take_keyword(in, "FLAGS.SILENT");
    if (!a->is_silent && !imap_take_keyword(in, "FLAGS"))
        return err_parse(e, "expected [+-]FLAGS[.SILENT]");
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_flags(in, true, &c->mem, &a->flags, e);
}

/* Keywords as bits. One that is to be taken away and that the mailbox does not know becomes known where there is room for it,
 * as with Dovecot: clients hold what FLAGS lists against what they have named. */
static int
keyword_bits(struct imap_cmd *c, const struct store_args *a, uint64_t *bits, struct err *e)
{
    int i;

    *bits = 0;
    for (size_t k = 0; k < a->flags.n_keywords; k++) {
        i = store_keyword(c->s->view, a->flags.keywords[k], true, e);
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

/* "[MODIFIED 7,9]": numbers as the command named the messages. */
static void
reply_modified(struct imap_cmd *c, const struct store_uids *modified)
{
    struct store_uids seqs = { 0 };
    struct buf set = { 0 };
    uint32_t seq;

    for (size_t i = 0; i < modified->n && !c->is_uid; i++)
        for (uint32_t uid = modified->v[i].first; uid <= modified->v[i].last; uid++) {
            seq = store_view_seq(c->s->view, uid);
            if (seq)
                store_uids_add(&seqs, seq, seq);
        }
    imap_add_set(&set, c->is_uid ? modified : &seqs);
    imap_reply(c, "OK [MODIFIED %s] Conditional store failed.", buf_z(&set));
    buf_free(&set);
    store_uids_free(&seqs);
}

/* Flags are told of those that have them now (without .SILENT: that have gone, too, for they are still counted), of a silent
 * conditional one MODSEQ. */
static void
tell_later(struct imap_cmd *c, const struct store_args *a, const struct store_uids *uids,
           const struct store_uids *modified)
{
    if (a->is_silent && !a->has_unchangedsince)
        return;
    c->is_told_silent = a->is_silent;
    for (size_t i = 0; i < uids->n; i++)
        for (uint32_t uid = uids->v[i].first;; uid++) {
            if (!store_uids_has(modified, uid))
                store_uids_add(&c->told, uid, uid);
            if (uid == uids->v[i].last)
                break;
        }
}

static void
change(struct imap_cmd *c, struct store_args *a, const struct store_uids *uids)
{
    struct store_uids modified = { 0 }, missing = { 0 };
    struct store_flag_change ch = { .op = a->op,
                                    .flags.sys = a->flags.sys,
                                    .is_silent = a->is_silent,
                                    .has_unchangedsince = a->has_unchangedsince,
                                    .unchangedsince = a->unchangedsince,
                                    .missing = &missing };
    struct err e = { 0 };

    if (keyword_bits(c, a, &ch.flags.kw, &e) < 0 ||
        store_change_flags(c->s->view, uids, &ch, &modified, &e) < 0) {
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
    } else {
        tell_later(c, a, uids, &modified);
        a->told = ch;
        a->told.missing = NULL;
        c->told_change = &a->told;
        if (modified.n > 0)
            reply_modified(c, &modified);
        else if (missing.n > 0 && !c->is_uid)
            imap_reply(c, "OK [EXPUNGEISSUED] Some of the messages no longer exist.");
        else
            imap_reply(c, "OK Store completed.");
    }
    store_uids_free(&modified);
    store_uids_free(&missing);
}

static void
store_seqs(struct imap_cmd *c, struct store_args *a, struct store_uids *seqs)
{
    struct store_uids uids;

    imap_limit_messages(c, seqs, false);
    count_deleted(c, a, seqs);
    imap_seqs_to_uids(c, seqs, &uids);
    if (uids.n > 0)
        change(c, a, &uids);
    else
        imap_reply(c, "OK Store completed.");
    store_uids_free(&uids);
}

enum cmd_rc
imap_run_store(struct imap_cmd *c)
{
    struct store_args *a = c->args;
    struct store_uids seqs;

    if (a->has_unchangedsince)
        imap_enable(c, IMAP_ON_CONDSTORE);
    if (imap_set_resolve(c, &a->set, c->is_uid, &seqs)) {
        if (!c->s->is_examine)
            store_seqs(c, a, &seqs);
        else if (a->has_unchangedsince)
            imap_reply(c, "NO [READ-ONLY] CONDSTORE failed: Mailbox is read-only.");
        else /* as Dovecot */
            imap_reply(c, "OK Store ignored with read-only mailbox.");
    }
    store_uids_free(&seqs);
    return CMD_DONE;
}
