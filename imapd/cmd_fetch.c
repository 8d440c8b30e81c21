/* imapd/cmd_fetch.c - FETCH and UID FETCH (RFC 3501 §6.4.5), and which messages they tell of: CHANGEDSINCE and VANISHED (RFC
 * 7162 §3.1.4, §3.2.6), PARTIAL (RFC 9394 §3.3). The run function is a machine that may stop after any piece: it hands output
 * over at IMAPD_OUT_MARK and goes on when the client has taken enough, so that a message of any size costs that much
 * memory; and others have their turn after some time. */
#include "imapd/fetch.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    FETCH_TURN_MS = 50,
    FETCH_LOOK = 16,            /* messages between two looks at the clock */
    FETCH_OUT_MARK = 192 * 1024 /* each hand-over costs two changes of threads */
};

/* ---- arguments ---- */

/* "1:30", or "-1:-30" from the end (partial-range, RFC 9394 §4). */
static enum parse_rc
take_partial(struct slice *in, struct fetch_args *a, struct err *e)
{
    bool is_minus = sl_take_char(in, '-');
    uint64_t first, last;

    if (imap_take_number(in, UINT32_MAX, &first, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, ':') || sl_take_char(in, '-') != is_minus)
        return err_parse(e, "expected ':' and a number of the same sign");
    if (imap_take_number(in, UINT32_MAX, &last, e) != PARSE_OK)
        return PARSE_BAD;
    if (first == 0 || last == 0)
        return err_parse(e, "PARTIAL counts from 1");
    a->is_from_end = is_minus;
    a->partial_first = (uint32_t)(first < last ? first : last);
    a->partial_last = (uint32_t)(first < last ? last : first);
    return PARSE_OK;
}

static enum parse_rc
take_modifier(struct imap_cmd *c, struct slice *in, struct fetch_args *a, struct err *e)
{
    if (!a->has_changedsince && imap_take_keyword(in, "CHANGEDSINCE")) {
        a->has_changedsince = true;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        return imap_take_number(in, INT64_MAX, &a->changedsince, e);
    }
    if (!a->has_vanished && imap_take_keyword(in, "VANISHED")) {
        a->has_vanished = true;
        return PARSE_OK;
    }
    if (!a->has_partial && imap_take_keyword(in, "PARTIAL")) {
        if (!c->is_uid)
            return err_parse(e, "PARTIAL is for UID FETCH");
        a->has_partial = true;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        return take_partial(in, a, e);
    }
    return err_parse(e, "expected a FETCH modifier");
}

/* [" (" modifier *(" " modifier) ")"] */
static enum parse_rc
take_modifiers(struct imap_cmd *c, struct slice *in, struct fetch_args *a, struct err *e)
{
    if (in->n == 0)
        return PARSE_OK;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do {
        if (take_modifier(c, in, a, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    if (!sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    if (a->has_vanished && (!c->is_uid || !a->has_changedsince))
        return err_parse(e, "VANISHED is for UID FETCH with CHANGEDSINCE");
    if (a->has_vanished && !(c->s->enabled & IMAP_ON_QRESYNC))
        return err_parse(e, "VANISHED without ENABLE QRESYNC");
    return PARSE_OK;
}

enum parse_rc
imap_parse_fetch(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct fetch_args *a = ARENA_NEW(&c->mem, struct fetch_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_set(in, &c->mem, &a->set, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK ||
        imap_take_fetch_items(in, &c->mem, &a->items, e) != PARSE_OK ||
        take_modifiers(c, in, a, e) != PARSE_OK)
        return PARSE_BAD;
    /* UIDFETCH has the UID in front already (RFC 9586 §3.3). */
    if (c->is_uid && !(c->s->enabled & IMAP_ON_UIDONLY) &&
        imap_fetch_want_uid(&a->items, &c->mem) < 0)
        return err_parse(e, "command too long");
    if (a->has_changedsince && imap_fetch_want_modseq(&a->items, &c->mem) < 0)
        return err_parse(e, "command too long");
    return PARSE_OK;
}

/* ---- which messages ---- */

/* Of the messages of a set only those that changed since. */
static void
keep_changed(const struct store_view *v, uint64_t since, struct store_uids *seqs)
{
    struct store_uids kept = { 0 };
    struct store_row row;

    for (size_t i = 0; i < seqs->n; i++)
        for (uint32_t seq = seqs->v[i].first; seq <= seqs->v[i].last; seq++)
            if (store_view_row(v, seq, &row) && row.modseq > since)
                store_uids_add(&kept, seq, seq);
    store_uids_free(seqs);
    *seqs = kept;
}

/* From the first-th to the last-th of them, from 1. */
static void
keep_nth(struct store_uids *seqs, uint64_t first, uint64_t last)
{
    struct store_uids kept = { 0 };
    uint64_t at = 1; /* the number of the next one */

    for (size_t i = 0; i < seqs->n && at <= last; i++) {
        struct store_uid_range r = seqs->v[i];
        uint64_t n = (uint64_t)r.last - r.first + 1;

        if (at + n > first) {
            uint64_t from = first > at ? first - at : 0;
            uint64_t to = last - at < n - 1 ? last - at : n - 1;

            store_uids_add(&kept, (uint32_t)(r.first + from), (uint32_t)(r.first + to));
        }
        at += n;
    }
    store_uids_free(seqs);
    *seqs = kept;
}

static void
keep_partial(const struct fetch_args *a, struct store_uids *seqs)
{
    uint64_t n = store_uids_count(seqs), first = a->partial_first, last = a->partial_last;

    if (a->is_from_end) {
        if (first > n) {
            store_uids_free(seqs);
            return;
        }
        first = last < n ? n - last + 1 : 1;
        last = n - a->partial_first + 1;
    }
    keep_nth(seqs, first, last);
}

/* What has gone of the UIDs that the client named. -1: replied. */
static int
tell_vanished(struct imap_cmd *c, const struct fetch_args *a)
{
    struct store_uids among = { 0 };
    int rc;

    imap_set_to_uids(&a->set, &among);
    rc = imap_tell_vanished(c, a->changedsince, &among);
    store_uids_free(&among);
    return rc;
}

static bool
wants_modseq(const struct imap_fetch_items *items)
{
    for (size_t i = 0; i < items->n; i++)
        if (items->v[i].kind == IMAP_FETCH_MODSEQ)
            return true;
    return false;
}

static bool
fetch_begin(struct imap_cmd *c)
{
    const struct fetch_args *a = c->args;
    struct fetch *f = MEM_NEW(struct fetch);

    c->run_state = f;
    if (!imap_set_resolve(c, &a->set, c->is_uid, &f->seqs))
        return false;
    if (wants_modseq(&a->items))
        imap_enable(c, IMAP_ON_CONDSTORE);
    if (a->has_vanished && tell_vanished(c, a) < 0)
        return false;
    if (a->has_changedsince)
        keep_changed(c->s->view, a->changedsince, &f->seqs);
    if (a->has_partial)
        keep_partial(a, &f->seqs);
    imap_limit_messages(c, &f->seqs, false);
    fetch_plan(f, &a->items, c->s->is_examine);
    f->seq = f->seqs.n > 0 ? f->seqs.v[0].first : 0;
    f->goal = store_uids_count(&f->seqs);
    return true;
}

void
imap_done_fetch(struct imap_cmd *c)
{
    struct fetch *f = c->run_state;

    if (!f)
        return;
    fetch_end_message(f);
    store_uids_free(&f->seqs);
    store_uids_free(&f->seen);
    free(f);
}

/* ---- all of them ---- */

/* The next message's number; false: no more. */
static bool
next_seq(struct fetch *f, uint32_t *seq)
{
    if (f->range == f->seqs.n)
        return false;
    *seq = f->seq;
    f->done++;
    if (f->seq < f->seqs.v[f->range].last)
        f->seq++;
    else if (++f->range < f->seqs.n)
        f->seq = f->seqs.v[f->range].first;
    return true;
}

/* \Seen for all that were told with it, in one change; nobody hears of it again in this session. */
static int
store_seen(struct imap_cmd *c, struct fetch *f, struct err *e)
{
    struct store_flag_change ch = { .op = STORE_ADD,
                                    .flags = { STORE_SEEN, 0 },
                                    .is_silent = true };

    if (f->seen.n == 0)
        return 0;
    return store_change_flags(c->s->view, &f->seen, &ch, NULL, e);
}

static enum cmd_rc
finish(struct imap_cmd *c, struct fetch *f, const struct err *failed)
{
    struct err e = { 0 };

    if (store_seen(c, f, &e) < 0 && !failed)
        failed = &e;
    if (failed)
        imap_fail(c, failed, store_view_name(c->s->view), "NONEXISTENT");
    else if (f->is_encoded)
        imap_reply(c, "NO [UNKNOWN-CTE] Some parts are encoded in a way that is not known.");
    else if (f->was_expunged)
        imap_reply(c, "OK [EXPUNGEISSUED] Some messages were already expunged.");
    else
        imap_reply(c, "OK Fetch completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_fetch(struct imap_cmd *c)
{
    struct fetch *f = c->run_state;
    uint64_t until_ms = clock_mono_ms() + FETCH_TURN_MS;
    struct err e = { 0 };
    uint32_t seq;

    if (!f && !fetch_begin(c))
        return CMD_DONE;
    f = c->run_state;
    while (!imap_is_cancelled(c)) {
        if (c->out.n >= FETCH_OUT_MARK)
            return CMD_FLUSH;
        if (f->is_begun) {
            if (!fetch_go_on(c, f)) {
                buf_addz(&c->out, ")\r\n");
                fetch_end_message(f);
            }
            continue;
        }
        if (f->done % FETCH_LOOK == FETCH_LOOK - 1 && clock_mono_ms() >= until_ms) {
            /* What there is may go out now, and the client sees that we are at it. */
            imap_progress(c, f->done, f->goal);
            return c->out.n > 0 ? CMD_FLUSH : CMD_YIELD;
        }
        if (!next_seq(f, &seq))
            break;
        if (fetch_begin_message(c, f, seq, &e) < 0) {
            if (e.kind != ERR_NOTFOUND)
                return finish(c, f, &e);
            f->was_expunged = true;
        }
    }
    return finish(c, f, NULL);
}
