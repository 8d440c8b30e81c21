/* imapd/notify_selected.c - NOTIFY (RFC 5465 §5) and the selected mailbox: that is told by notify.c, from which this takes away what
 * was not asked for and keeps it for later; and what is told between commands. */
#include "imapd/events.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- the selected mailbox: on the pool, around a sync ---- */

bool
imap_notify_sync_begins(struct imap_cmd *c, bool allow_expunge)
{
    struct imap_notify *n = c->s->notify;
    struct store_box box;

    if (n == NULL)
        return allow_expunge;
    if (!n->has_box) {
        store_view_box(c->s->view, &box);
        n->box_exists = box.exists;
        n->box_uidnext = box.uidnext;
        n->has_box = true;
    }
    if (!(n->spec.selected & NOTIFY_EXPUNGE)) /* but for what the command itself removes */
        return allow_expunge && (c->row->flags & IF_REMOVES);
    return allow_expunge || !n->spec.is_delayed;
}

/* What gets items: new, and not by the client itself (§5.2). */
static void
note_new(struct imap_cmd *c, struct imap_notify *n, uint32_t exists)
{
    struct store_row row;

    if (n->spec.items.n > 0)
        for (uint32_t seq = store_view_seq_at_least(c->s->view, n->box_uidnext);
             seq <= exists && store_view_row(c->s->view, seq, &row); seq++)
            if (!store_uids_has(&n->own, row.uid))
                store_uids_add(&n->fetch, row.uid, row.uid);
    store_uids_free(&n->own);
}

static void
filter_messages(struct imap_cmd *c, struct imap_notify *n, struct store_changes *ch)
{
    struct store_box box;
    size_t kept = 0;

    store_view_box(c->s->view, &box);
    for (size_t i = 0; i < ch->n_expunged; i++) {
        if (ch->expunged[i] > n->box_exists)
            continue; /* it was never told that it is there */
        n->box_exists--;
        ch->expunged[kept] = ch->expunged[i];
        ch->vanished[kept++] = ch->vanished[i];
    }
    ch->n_expunged = kept;
    if (!(n->spec.selected & NOTIFY_NEW)) {
        ch->exists_changed = ch->recent_changed = false;
        ch->has_held = ch->has_held || box.exists != n->box_exists;
        return;
    }
    ch->exists_changed = box.exists != n->box_exists ||
                         store_view_seq_at_least(c->s->view, n->box_uidnext) <= box.exists;
    note_new(c, n, box.exists);
    n->box_exists = box.exists;
    if (box.uidnext > n->box_uidnext)
        n->box_uidnext = box.uidnext;
}

static void
filter_flags(struct imap_cmd *c, struct imap_notify *n, struct store_changes *ch)
{
    struct store_row row;

    if (n->spec.selected & NOTIFY_FLAGS) {
        for (size_t i = 0; i < n->hushed.n; i++) /* told now, as they are */
            store_uids_add(&c->told, n->hushed.v[i].first, n->hushed.v[i].last);
        store_uids_free(&n->hushed);
        return;
    }
    for (size_t i = 0; i < ch->n_changed; i++)
        if (store_view_row(c->s->view, ch->changed[i], &row) &&
            (c->is_told_silent || !store_uids_has(&c->told, row.uid)))
            store_uids_add(&n->hushed, row.uid, row.uid);
    if (n->hushed.n > NOTIFY_HUSHED_RANGES_MAX) {
        store_uids_free(&n->hushed);
        store_uids_add(&n->hushed, 1, n->box_uidnext - 1);
    }
    ch->n_changed = 0;
    ch->has_held = ch->has_held || n->hushed.n > 0;
}

void
imap_notify_sync_ends(struct imap_cmd *c, struct store_changes *ch)
{
    struct imap_notify *n = c->s->notify;

    if (n == NULL)
        return;
    filter_messages(c, n, ch);
    filter_flags(c, n, ch);
}

void
imap_notify_unselected(struct imap_sess *s)
{
    struct imap_notify *n = s->notify;
    struct store_box box;
    struct notify_told *t;

    if (n == NULL || s->view == NULL)
        return;
    n->has_box = false;
    store_uids_free(&n->hushed);
    store_uids_free(&n->own);
    store_uids_free(&n->fetch);
    t = notify_told_get(n, store_view_name(s->view));
    if (t == NULL)
        return;
    /* What it has not heard of by now is news of a mailbox like the others. */
    store_view_box(s->view, &box);
    t->messages = box.exists;
    t->uidnext = box.uidnext;
    t->uidvalidity = box.uidvalidity;
    t->modseq = box.highestmodseq;
    free(n->recheck);
    n->recheck = sl_dupz(store_view_name(s->view));
}

/* ---- between commands: on the loop ---- */

static enum cmd_rc
run_fetch(struct imap_cmd *c)
{
    enum cmd_rc rc = imap_run_fetch(c);

    if (rc == CMD_DONE)
        buf_free(&c->tagged);
    return rc;
}

static const struct imap_row row_fetch = { "FETCH", "",        IMAP_ST_SELECTED, 0,
                                           NULL,    run_fetch, imap_done_fetch };

/* The next UIDs, at most that many, as a set; those behind them stay. */
static size_t
next_set(struct store_uids *uids, uint64_t most, struct imap_range *v)
{
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < uids->n; i++) {
        struct store_uid_range r = uids->v[i];
        uint64_t here = (uint64_t)r.last - r.first + 1;

        if (most > 0) {
            if (here > most)
                here = most;
            v[n++] = (struct imap_range){ r.first, (uint32_t)(r.first + here - 1) };
            most -= here;
            if (v[n - 1].last == r.last)
                continue;
            r.first = v[n - 1].last + 1;
        }
        uids->v[kept++] = r;
    }
    uids->n = kept;
    return n;
}

/* As many at once as a command may work on (RFC 9738): it would leave out the others. */
static void
start_fetch(struct imap_sess *s)
{
    struct imap_notify *n = s->notify;
    struct imap_cmd *c = imap_cmd_new(s, &row_fetch);
    struct fetch_args *a = ARENA_NEW(&c->mem, struct fetch_args);
    uint64_t limit = (uint64_t)s->conf->imap_message_limit;

    a->set.v = arena_alloc(&c->mem, n->fetch.n * sizeof(a->set.v[0]));
    BUG_ON(a->set.v == NULL); /* the arena holds the UIDs of any mailbox */
    a->set.n = next_set(&n->fetch, limit == 0 ? UINT64_MAX : limit, a->set.v);
    a->items = n->spec.items;
    if (n->fetch.n == 0)
        store_uids_free(&n->fetch);
    c->args = a;
    c->is_uid = true;
    imap_cmd_start(c);
}

void
imap_notify_take(struct imap_sess *s)
{
    struct imap_notify *n = s->notify;

    if (n == NULL || n->is_over)
        return;
    timer_stop(&n->delay);
    while (!list_is_empty(&n->pending))
        list_push_back(&n->batch, list_pop_front(&n->pending));
    map_free(&n->by_name, NULL);
    n->by_name = map_new();
    n->is_batch_lost = n->is_batch_lost || n->is_lost;
    n->is_lost = n->is_due = false;
}

void
imap_notify_poke(struct imap_sess *s)
{
    struct imap_notify *n = s->notify;

    if (n == NULL || n->is_over)
        return;
    if (n->fetch.n > 0 && s->view) {
        start_fetch(s);
        return;
    }
    if (n->recheck != NULL) {
        notify_hear(
            n, &(struct store_event){ .kind = STORE_EVENT_CHANGED, .mailbox = sl_z(n->recheck) });
        free(n->recheck);
        n->recheck = NULL;
    }
    if (n->is_due || n->is_batch_lost || !list_is_empty(&n->batch)) {
        imap_notify_take(s);
        imap_cmd_start(imap_cmd_new(s, &imap_row_notify_tell));
    }
}

bool
imap_notify_hears(const struct imap_sess *s)
{
    return s->notify == NULL ? s->idle != NULL : s->notify->spec.selected != 0;
}

bool
imap_notify_keeps_seq(const struct imap_sess *s)
{
    return s->notify != NULL && s->notify->spec.is_delayed && s->idle == NULL;
}

void
imap_notify_free(struct imap_sess *s)
{
    notify_free(&s->notify);
}
