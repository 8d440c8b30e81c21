/* imapd/cmd_select.c - SELECT and EXAMINE (RFC 9051 §6.3.2, §6.3.3), with CONDSTORE and QRESYNC (RFC 7162 §3.1.8, §3.2.5). What
 * changed while the client was away goes out in turns, as its connection takes it. */
#include "imapd/rows.h"

#include "base/mem.h"

#include <stdlib.h>

struct select_args {
    struct slice mailbox;
    bool is_condstore, is_qresync;
    uint32_t uidvalidity; /* QRESYNC: what the client knows */
    uint64_t modseq;
    bool has_uids;
    struct imap_set uids;
    bool has_sample; /* of message numbers, and which UIDs they had */
    struct imap_set sample_seqs, sample_uids;
};

/* Telling what changed. */
struct resync {
    struct store_uids known; /* UIDs to tell of */
    uint32_t seq;            /* the next message to look at */
    size_t range;            /* of known, the first that may have it */
};

/* ---- arguments ---- */

static uint64_t
count_numbers(const struct imap_set *set)
{
    uint64_t n = 0;

    for (size_t i = 0; i < set->n; i++)
        n += (uint64_t)set->v[i].last - set->v[i].first + 1;
    return n;
}

/* A set of numbers, without '*' and '$'. */
static enum parse_rc
take_numbers(struct imap_cmd *c, struct slice *in, struct imap_set *set, struct err *e)
{
    struct slice at = *in;

    if (imap_take_set(&at, &c->mem, set, e) != PARSE_OK)
        return PARSE_BAD;
    if (set->is_saved)
        return err_parse(e, "expected numbers");
    for (size_t i = 0; i < set->n; i++)
        if (set->v[i].first == IMAP_STAR || set->v[i].last == IMAP_STAR)
            return err_parse(e, "'*' is not allowed");
    *in = at;
    return PARSE_OK;
}

static bool
is_ascending(const struct imap_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->v[i].first > set->v[i].last || (i > 0 && set->v[i].first <= set->v[i - 1].last))
            return false;
    return true;
}

/* seq-match-data = "(" known-sequence-set SP known-uid-set ")", both ascending, equally many */
static enum parse_rc
take_sample(struct imap_cmd *c, struct slice *in, struct select_args *a, struct err *e)
{
    struct slice at = *in;

    if (c->s->enabled & IMAP_ON_UIDONLY) /* RFC 9586 §3.7 */
        return err_parse(e, "message numbers are not allowed with UIDONLY");
    if (!sl_take_char(&at, '('))
        return err_parse(e, "expected '('");
    if (take_numbers(c, &at, &a->sample_seqs, e) != PARSE_OK || imap_take_sp(&at, e) != PARSE_OK ||
        take_numbers(c, &at, &a->sample_uids, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(&at, ')'))
        return err_parse(e, "expected ')'");
    if (!is_ascending(&a->sample_seqs) || !is_ascending(&a->sample_uids) ||
        count_numbers(&a->sample_seqs) != count_numbers(&a->sample_uids))
        return err_parse(e, "Invalid QRESYNC sets");
    a->has_sample = true;
    *in = at;
    return PARSE_OK;
}

/* "QRESYNC" SP "(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")" */
static enum parse_rc
take_qresync(struct imap_cmd *c, struct slice *in, struct select_args *a, struct err *e)
{
    uint64_t uidvalidity;

    if (!(c->s->enabled & IMAP_ON_QRESYNC))
        return err_parse(e, "QRESYNC not enabled");
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (imap_take_number(in, UINT32_MAX, &uidvalidity, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK ||
        imap_take_number(in, INT64_MAX, &a->modseq, e) != PARSE_OK)
        return PARSE_BAD;
    a->uidvalidity = (uint32_t)uidvalidity;
    a->is_qresync = true;
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    a->has_uids = !sl_starts(*in, '(');
    if (a->has_uids && take_numbers(c, in, &a->uids, e) != PARSE_OK)
        return PARSE_BAD;
    if ((!a->has_uids || sl_take_char(in, ' ')) && take_sample(c, in, a, e) != PARSE_OK)
        return PARSE_BAD;
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* SP mailbox [SP "(" select-param *(SP select-param) ")"] */
enum parse_rc
imap_parse_select(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct select_args *a = ARENA_NEW(&c->mem, struct select_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->mailbox, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_prefix(in, SL(" (")))
        return PARSE_OK;
    do {
        if (!a->is_condstore && imap_take_keyword(in, "CONDSTORE"))
            a->is_condstore = true;
        else if (a->is_qresync || !imap_take_keyword(in, "QRESYNC"))
            return err_parse(e, "Unknown SELECT option");
        else if (take_qresync(c, in, a, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* ---- the mailbox ---- */

/* "* LIST () "/" name", and what the client called it if that was something else (RFC 9051 §6.3.2, §6.3.9.7). */
static void
tell_name(struct imap_cmd *c)
{
    const struct select_args *a = c->args;
    struct slice name = store_view_name(c->s->view);
    struct buf wire = { 0 };

    buf_addf(&c->out, "* LIST () \"%c\" ", store_separator(c->s->store));
    imap_add_mailbox(c, name);
    if (imap_name_encode(c->s, name, &wire) == 0 && !sl_eq(buf_slice(&wire), a->mailbox)) {
        buf_addz(&c->out, " (\"OLDNAME\" (");
        imap_add_utf8_astring(&c->out, a->mailbox);
        buf_addz(&c->out, "))");
    }
    buf_addz(&c->out, "\r\n");
    buf_free(&wire);
}

static void
tell_box(struct imap_cmd *c, const struct store_box *box)
{
    bool is_rev2 = (c->s->enabled & IMAP_ON_REV2) != 0;

    imap_tell_flags(c);
    if (is_rev2)
        tell_name(c);
    imap_untagged(c, "%u EXISTS", box->exists);
    if (!is_rev2)
        imap_untagged(c, "%u RECENT", box->recent);
    if (!is_rev2 && box->first_unseen_seq > 0 && !(c->s->enabled & IMAP_ON_UIDONLY))
        imap_untagged(c, "OK [UNSEEN %u] First unseen.", box->first_unseen_seq);
    imap_untagged(c, "OK [UIDVALIDITY %u] UIDs valid", box->uidvalidity);
    imap_untagged(c, "OK [UIDNEXT %u] Predicted next UID", box->uidnext);
    imap_untagged(c, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)box->highestmodseq);
    imap_untagged(c, "OK [MAILBOXID (%s)] Ok", box->mailbox_id); /* RFC 8474 §4.1 */
}

/* ---- who was away ---- */

/* The last UID up to which the sample shows that the client knows of all that has gone (RFC 7162 §3.2.5.2); 0: none. */
static uint32_t
last_match(const struct store_view *v, const struct select_args *a)
{
    uint32_t seq_off = 0, uid_off = 0, match = 0;
    size_t i = 0, k = 0;
    struct store_row row;

    while (i < a->sample_seqs.n && k < a->sample_uids.n) {
        const struct imap_range *q = &a->sample_seqs.v[i], *u = &a->sample_uids.v[k];

        if (!store_view_row(v, q->first + seq_off, &row))
            break;
        if (row.uid == u->first + uid_off)
            match = row.uid;
        if (q->first + seq_off++ == q->last) {
            seq_off = 0;
            i++;
        }
        if (u->first + uid_off++ == u->last) {
            uid_off = 0;
            k++;
        }
    }
    return match;
}

/* Of what the client knows (nothing said: all that there ever was) what is above that UID. */
static void
above(const struct store_uids *known, uint32_t uid, struct store_uids *out)
{
    *out = (struct store_uids){ 0 };
    for (size_t i = 0; i < known->n; i++)
        if (known->v[i].last > uid)
            store_uids_add(out, known->v[i].first > uid ? known->v[i].first : uid + 1,
                           known->v[i].last);
}

static int
resync_begin(struct imap_cmd *c, const struct store_box *box)
{
    const struct select_args *a = c->args;
    struct resync *r = MEM_NEW(struct resync);
    struct store_uids gone;
    int rc;

    c->run_state = r;
    r->seq = 1;
    if (a->has_uids)
        imap_set_to_uids(&a->uids, &r->known);
    else if (box->uidnext > 1)
        store_uids_add(&r->known, 1, box->uidnext - 1);
    above(&r->known, a->has_sample ? last_match(c->s->view, a) : 0, &gone);
    rc = imap_tell_vanished(c, a->modseq, &gone);
    store_uids_free(&gone);
    return rc;
}

static bool
is_known(struct resync *r, uint32_t uid)
{
    while (r->range < r->known.n && r->known.v[r->range].last < uid)
        r->range++;
    return r->range < r->known.n && r->known.v[r->range].first <= uid;
}

static enum cmd_rc
resync(struct imap_cmd *c, struct resync *r)
{
    const struct select_args *a = c->args;
    struct store_row row;

    for (; store_view_row(c->s->view, r->seq, &row); r->seq++) {
        if (row.modseq <= a->modseq || !is_known(r, row.uid))
            continue;
        if (imap_is_cancelled(c))
            break;
        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        imap_begin_fetch(c, r->seq, row.uid);
        if (!(c->s->enabled & IMAP_ON_UIDONLY)) /* else it stands in front */
            buf_addf(&c->out, "UID %u ", row.uid);
        buf_addz(&c->out, "FLAGS ");
        imap_add_flags(&c->out, c->s, &row.flags);
        buf_addf(&c->out, " MODSEQ (%llu))\r\n", (unsigned long long)row.modseq);
    }
    return CMD_DONE;
}

void
imap_done_select(struct imap_cmd *c)
{
    struct resync *r = c->run_state;

    if (!r)
        return;
    store_uids_free(&r->known);
    free(r);
}

/* ---- the command ---- */

/* A mailbox that is open is closed first, and stays so when the new one cannot be opened (RFC 9051 §6.3.2). False: replied. */
static bool
open_box(struct imap_cmd *c, bool is_examine)
{
    const struct select_args *a = c->args;
    struct imap_sess *s = c->s;
    struct store_box box;
    struct slice name;
    struct err e = { 0 };

    if (s->view) {
        imap_unselect(s);
        imap_untagged(c, "OK [CLOSED] Previous mailbox closed.");
    }
    if (a->is_condstore)
        imap_enable(c, IMAP_ON_CONDSTORE);
    if (!imap_name_decode(c, a->mailbox, &name))
        return false;
    if (store_select(s->store, name, is_examine, &s->view, &e) < 0) {
        s->view = NULL;
        imap_fail(c, &e, name, "NONEXISTENT");
        return false;
    }
    s->is_examine = is_examine;
    store_view_box(s->view, &box);
    s->full_modseq = box.highestmodseq;
    s->fetch_modseq = 0;
    tell_box(c, &box);
    if (a->is_qresync && a->uidvalidity == box.uidvalidity && resync_begin(c, &box) < 0) {
        imap_unselect(s);
        return false;
    }
    return true;
}

static enum cmd_rc
run_open(struct imap_cmd *c, bool is_examine)
{
    if (!c->run_state && !open_box(c, is_examine))
        return CMD_DONE;
    if (c->run_state && resync(c, c->run_state) == CMD_FLUSH)
        return CMD_FLUSH;
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
