/* imapd/notify_hear.c - what a session with NOTIFY (RFC 5465 §5) has heard of and not been told yet, and what its client knows of
 * mailboxes that are not selected. */
#include "imapd/events.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- hearing: on the loop ---- */

void
notify_pending_free(struct list *all)
{
    while (!list_is_empty(all)) {
        struct notify_pending *p = CONTAINER_OF(list_pop_front(all), struct notify_pending, link);

        buf_free(&p->entries);
        free(p->name);
        free(p->old_name);
        free(p);
    }
}

/* NULL: there are too many. */
static struct notify_pending *
pending_get(struct imap_notify *n, struct slice name)
{
    struct notify_pending *p = map_get(n->by_name, name);

    if (p != NULL || map_count(n->by_name) >= NOTIFY_PENDING_MAX)
        return p;
    p = MEM_NEW(struct notify_pending);
    p->name = sl_dupz(name);
    list_push_back(&n->pending, &p->link);
    map_set(n->by_name, name, p);
    return p;
}

static void
on_due(void *arg)
{
    struct imap_notify *n = arg;
    struct imap_sess *s = id_get(n->session);

    n->is_due = true;
    if (s != NULL)
        imap_idle_poke(s);
}

static void
start_delay(struct imap_notify *n)
{
    if (!n->is_due && !timer_is_running(&n->delay))
        timer_start(&n->delay, n->is_lost ? 0 : NOTIFY_DELAY_MS, on_due, n);
}

static bool
is_wanted(const struct imap_notify *n, const struct store_event *ev)
{
    switch (ev->kind) {
    case STORE_EVENT_CHANGED:
        return (n->spec.all & NOTIFY_MESSAGES) != 0;
    case STORE_EVENT_METADATA: /* nobody else tells of it */
        return (n->spec.all & (ev->mailbox.n > 0 ? NOTIFY_METADATA : NOTIFY_SERVER_METADATA)) &&
               ev->by != n->session;
    default:
        return true; /* new ones may have to be followed */
    }
}

void
notify_hear(void *arg, const struct store_event *ev)
{
    struct imap_notify *n = arg;
    struct notify_pending *p = NULL;

    if (n->is_lost || !is_wanted(n, ev))
        return;
    if (ev->kind != STORE_EVENT_LOST)
        p = pending_get(n, ev->mailbox);
    if (p == NULL || p->entries.n + ev->more.n > NOTIFY_ENTRIES_MAX) {
        n->is_lost = true;
        timer_stop(&n->delay);
        start_delay(n);
        return;
    }
    *(ev->by == n->session ? &p->mine : &p->kinds) |= 1u << ev->kind;
    if (ev->kind == STORE_EVENT_METADATA) {
        buf_adds(&p->entries, ev->more);
        buf_addc(&p->entries, '\n');
    } else if (ev->kind == STORE_EVENT_RENAMED) {
        free(p->old_name);
        p->old_name = sl_dupz(ev->more);
    }
    start_delay(n);
}

struct imap_notify *
notify_new(struct imap_sess *s)
{
    struct imap_notify *n = MEM_NEW(struct imap_notify);

    n->session = s->id;
    n->mem.cap = NOTIFY_ARENA_OCTETS;
    n->by_name = map_new();
    list_init(&n->pending);
    list_init(&n->batch);
    return n;
}

void
notify_listen(struct imap_notify *n, struct imap_sess *s)
{
    if (n->spec.all != 0)
        n->watch = store_user_watch(s->store, notify_hear, n);
}

void
notify_free(struct imap_notify **np)
{
    struct imap_notify *n = *np;

    if (n == NULL)
        return;
    *np = NULL;
    store_user_unwatch(&n->watch);
    timer_stop(&n->delay);
    map_free(&n->by_name, NULL);
    notify_pending_free(&n->pending);
    notify_pending_free(&n->batch);
    store_uids_free(&n->hushed);
    store_uids_free(&n->own);
    store_uids_free(&n->fetch);
    buf_free(&n->text);
    arena_free(&n->mem);
    free(n->told);
    free(n->mine);
    free(n->recheck);
    free(n);
}

void
notify_take_over(struct imap_notify *n, struct imap_notify *old)
{
    n->has_box = old->has_box;
    n->box_exists = old->box_exists;
    n->box_uidnext = old->box_uidnext;
    n->hushed = old->hushed;
    n->own = old->own;
    memset(&old->hushed, 0, sizeof(old->hushed));
    memset(&old->own, 0, sizeof(old->own));
}

/* ---- what the client knows of mailboxes ---- */

static size_t
told_at(const struct imap_notify *n, uint64_t hash)
{
    size_t lo = 0, hi = n->n_told;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (n->told[mid].name_hash < hash)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct notify_told *
notify_told_get(struct imap_notify *n, struct slice name)
{
    uint64_t hash = sl_hash(name);
    size_t at = told_at(n, hash);

    return at < n->n_told && n->told[at].name_hash == hash ? &n->told[at] : NULL;
}

void
notify_remember(struct imap_notify *n, struct slice name, const struct store_status *st)
{
    uint64_t hash = sl_hash(name);
    size_t at = told_at(n, hash);

    if (at == n->n_told || n->told[at].name_hash != hash) {
        if (n->n_told >= NOTIFY_MAILBOXES_MAX)
            return; /* it is told whenever something happens */
        n->told = mem_grow(n->told, &n->cap_told, n->n_told + 1, sizeof(n->told[0]));
        memmove(n->told + at + 1, n->told + at, (n->n_told - at) * sizeof(n->told[0]));
        n->n_told++;
    }
    n->told[at] = (struct notify_told){ .name_hash = hash,
                                        .messages = st->messages,
                                        .unseen = st->unseen,
                                        .uidnext = st->uidnext,
                                        .uidvalidity = st->uidvalidity,
                                        .modseq = st->highestmodseq };
}

void
notify_told_drop(struct imap_notify *n, struct slice name)
{
    struct notify_told *t = notify_told_get(n, name);

    if (t == NULL)
        return;
    n->n_told--;
    memmove(t, t + 1, (size_t)(n->told + n->n_told - t) * sizeof(*t));
}

/* How many messages the client brought there itself since the last time. */
uint32_t
notify_take_mine(struct imap_notify *n, struct slice name)
{
    uint64_t hash = sl_hash(name);
    uint32_t count;

    for (size_t i = 0; i < n->n_mine; i++)
        if (n->mine[i].name_hash == hash) {
            count = n->mine[i].n;
            n->mine[i] = n->mine[--n->n_mine];
            return count;
        }
    return 0;
}

/* "The server SHOULD omit notifying the client if the event is caused by this client" (§5). */
void
imap_notify_added(struct imap_cmd *c, struct slice mailbox, const uint32_t *uids, size_t count)
{
    struct imap_notify *n = c->s->notify;

    if (n == NULL)
        return;
    if (c->s->view != NULL && sl_eq(store_view_name(c->s->view), mailbox)) {
        for (size_t i = 0; n->spec.items.n > 0 && i < count; i++)
            store_uids_add(&n->own, uids[i], uids[i]);
    } else if (notify_told_get(n, mailbox) != NULL) {
        count += notify_take_mine(n, mailbox);
        n->mine = mem_grow(n->mine, &n->cap_mine, n->n_mine + 1, sizeof(n->mine[0]));
        n->mine[n->n_mine].name_hash = sl_hash(mailbox);
        n->mine[n->n_mine++].n = (uint32_t)count;
    }
}
