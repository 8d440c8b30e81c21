/* imapd/notify_events.c - what a session with NOTIFY (RFC 5465 §5) is told: of mailboxes that are not selected by commands of our
 * own between the client's, half a second after the first of some changes; of the selected one by notify.c, from which
 * this takes away what was not asked for and keeps it for later. */
#include "imapd/events.h"
#include "imapd/mailboxes.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

#define BIT(kind) (1u << STORE_EVENT_##kind)
enum {
    NAME_BITS = BIT(CREATED) | BIT(DELETED) | BIT(RENAMED),
    SUBSCRIPTION_BITS = BIT(SUBSCRIBED) | BIT(UNSUBSCRIBED)
};

/* ---- hearing: on the loop ---- */

static void
pending_free(struct list *all)
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

static void
on_event(void *arg, const struct store_event *ev)
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
        n->watch = store_user_watch(s->store, on_event, n);
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
    pending_free(&n->pending);
    pending_free(&n->batch);
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

static struct notify_told *
told_get(struct imap_notify *n, struct slice name)
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

static void
told_drop(struct imap_notify *n, struct slice name)
{
    struct notify_told *t = told_get(n, name);

    if (t == NULL)
        return;
    n->n_told--;
    memmove(t, t + 1, (size_t)(n->told + n->n_told - t) * sizeof(*t));
}

/* How many messages the client brought there itself since the last time. */
static uint32_t
take_mine(struct imap_notify *n, struct slice name)
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
    } else if (told_get(n, mailbox) != NULL) {
        count += take_mine(n, mailbox);
        n->mine = mem_grow(n->mine, &n->cap_mine, n->n_mine + 1, sizeof(n->mine[0]));
        n->mine[n->n_mine].name_hash = sl_hash(mailbox);
        n->mine[n->n_mine++].n = (uint32_t)count;
    }
}

/* ---- telling of mailboxes: on the pool ---- */

void
notify_add_status(struct imap_cmd *c, struct slice name, const struct store_status *st,
                  unsigned items)
{
    const struct {
        unsigned item;
        const char *name;
        uint64_t value;
    } all[] = {
        { ITEM_MESSAGES, "MESSAGES", st->messages },
        { ITEM_UIDNEXT, "UIDNEXT", st->uidnext },
        { ITEM_UIDVALIDITY, "UIDVALIDITY", st->uidvalidity },
        { ITEM_UNSEEN, "UNSEEN", st->unseen },
        { ITEM_MODSEQ, "HIGHESTMODSEQ", st->highestmodseq },
    };
    const char *space = "";

    buf_addz(&c->out, "* STATUS ");
    imap_add_mailbox(c, name);
    buf_addz(&c->out, " (");
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (items & all[i].item) {
            buf_addf(&c->out, "%s%s %llu", space, all[i].name, (unsigned long long)all[i].value);
            space = " ";
        }
    buf_addz(&c->out, ")\r\n");
}

struct telling { /* run_state */
    struct store_mailboxes all;
    bool has_list;
    uint64_t until_ms;
    struct buf follow, unfollow; /* names, one a line */
};

static const struct store_mailbox *
find(const struct telling *t, struct slice name)
{
    for (size_t i = 0; i < t->all.n; i++)
        if (sl_eqz(name, t->all.v[i].name))
            return &t->all.v[i];
    return NULL;
}

static bool
is_there(const struct store_mailbox *m)
{
    return m != NULL && !(m->attrs & (STORE_MB_NONEXISTENT | STORE_MB_NOSELECT));
}

static bool
is_selected(const struct imap_cmd *c, struct slice name)
{
    return c->s->view != NULL && sl_eq(store_view_name(c->s->view), name);
}

static unsigned
events_of(const struct imap_cmd *c, struct slice name, bool is_subscribed)
{
    return notify_spec_events(&c->s->notify->spec, store_separator(c->s->store), name,
                              is_subscribed);
}

/* With all attributes, for they must be right (§5.5); m NULL: there is no such mailbox. Who uses NOTIFY knows \NonExistent. */
static void
add_list(struct imap_cmd *c, const struct store_mailbox *m, struct slice name, const char *old_name)
{
    const unsigned none = STORE_MB_NONEXISTENT | STORE_MB_NOSELECT;
    unsigned a = m == NULL ? STORE_MB_NONEXISTENT : m->attrs;
    bool is_first = true;

    buf_addz(&c->out, "* LIST (");
    if (a & none)
        imap_add_list_attr(c, &is_first, a & STORE_MB_NONEXISTENT ? "\\NonExistent" : "\\Noselect");
    imap_add_list_attrs(c, &is_first, a & ~none,
                        LIST_USES | STORE_MB_SUBSCRIBED | (m == NULL ? 0 : STORE_MB_HAS_CHILDREN));
    buf_addf(&c->out, ") \"%c\" ", store_separator(c->s->store));
    imap_add_mailbox(c, name);
    if (old_name != NULL) {
        buf_addz(&c->out, " (\"OLDNAME\" (");
        imap_add_mailbox(c, sl_z(old_name));
        buf_addz(&c->out, "))");
    }
    buf_addz(&c->out, "\r\n");
}

/* 0, or -1: it cannot be told now. */
static int
status_of(struct imap_cmd *c, struct slice name, struct store_status *st)
{
    struct err e = { 0 };

    if (store_status(c->s->store, name, st, &e) == 0)
        return 0;
    if (e.kind != ERR_NOTFOUND)
        log_error("imap.notify", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
                  "imap(%s)<%s>: Error: STATUS of %.*s: %s", c->s->user, c->s->name, SL_ARG(name),
                  e.msg);
    return -1;
}

/* What of it is news: §5.1 to §5.3. */
static unsigned
news_of(const struct imap_cmd *c, const struct notify_told *was, const struct store_status *st,
        unsigned events)
{
    unsigned items = 0;

    if (was->uidvalidity == 0 && st->messages == 0)
        return 0; /* new, and empty */
    if (was->uidvalidity != st->uidvalidity)
        items = ITEM_MESSAGES | ITEM_UIDNEXT | ITEM_UIDVALIDITY | ITEM_UNSEEN;
    else if (was->messages != st->messages || was->uidnext != st->uidnext)
        items = ITEM_MESSAGES | ITEM_UIDNEXT | ITEM_UNSEEN;
    else if (!(events & NOTIFY_FLAGS))
        return 0;
    else if (was->unseen != st->unseen)
        items = ITEM_UNSEEN;
    if (imap_has_condstore(c->s))
        items |= ITEM_MODSEQ | (events & NOTIFY_FLAGS ? ITEM_UIDVALIDITY : 0);
    return items;
}

static void
tell_status(struct imap_cmd *c, struct slice name, unsigned events)
{
    struct imap_notify *n = c->s->notify;
    struct notify_told was = { 0 }, *told = told_get(n, name);
    uint32_t mine = take_mine(n, name);
    struct store_status st;
    unsigned items;

    if (status_of(c, name, &st) < 0)
        return;
    if (told != NULL)
        was = *told;
    notify_remember(n, name, &st);
    if (was.uidvalidity == st.uidvalidity && was.modseq == st.highestmodseq)
        return;
    if (mine > 0 && was.uidvalidity == st.uidvalidity && was.uidnext + mine == st.uidnext &&
        was.messages + mine == st.messages)
        return; /* that was the client itself, and nobody else */
    items = news_of(c, &was, &st, events);
    if (items != 0)
        notify_add_status(c, name, &st, items);
}

/* A new mailbox, or another name: what of its messages must be told, and heard, from now on. */
static void
begin_mailbox(struct imap_cmd *c, struct telling *t, const struct notify_pending *p)
{
    struct store_status st = { 0 };

    buf_addf(&t->follow, "%s\n", p->name);
    if (told_get(c->s->notify, sl_z(p->name)) != NULL)
        return;
    /* What is in one that others made is news; under another name it is not. */
    if (((p->kinds & BIT(CREATED)) == 0 || (p->mine & BIT(CREATED))) &&
        status_of(c, sl_z(p->name), &st) < 0)
        return;
    notify_remember(c->s->notify, sl_z(p->name), &st);
}

static void
end_mailbox(struct imap_cmd *c, struct telling *t, const char *name)
{
    buf_addf(&t->unfollow, "%s\n", name);
    told_drop(c->s->notify, sl_z(name));
}

/* §5.4, §5.5. The state is told that there is now: of what was made and removed at once, that it is not there. */
static void
tell_name(struct imap_cmd *c, const struct notify_pending *p, const struct store_mailbox *m,
          unsigned events)
{
    unsigned kinds = p->kinds & ~(p->mine & NAME_BITS);
    bool is_renamed = (kinds & BIT(RENAMED)) && is_there(m);

    if (((kinds & NAME_BITS) && (events & NOTIFY_NAME)) ||
        ((kinds & SUBSCRIPTION_BITS) && (events & NOTIFY_SUBSCRIPTION)))
        add_list(c, m, sl_z(p->name), is_renamed && (events & NOTIFY_NAME) ? p->old_name : NULL);
    else if ((kinds & BIT(RENAMED)) &&
             (events_of(c, sl_z(p->old_name), false) & NOTIFY_NAME)) /* out of sight */
        add_list(c, NULL, sl_z(p->old_name), NULL);
}

/* §5.6, §5.7 */
static void
tell_metadata(struct imap_cmd *c, const struct notify_pending *p, unsigned events)
{
    struct slice rest = buf_slice(&p->entries), entry;
    struct map *seen;

    if (p->entries.n == 0 || (p->name[0] && !(events & NOTIFY_METADATA)))
        return;
    seen = map_new_icase();
    buf_addz(&c->out, "* METADATA ");
    if (p->name[0])
        imap_add_mailbox(c, sl_z(p->name));
    else
        buf_addz(&c->out, "\"\"");
    while (sl_take_until(&rest, '\n', &entry))
        if (map_set(seen, entry, c) == NULL) {
            buf_addc(&c->out, ' ');
            imap_add_astring(&c->out, entry);
        }
    buf_addz(&c->out, "\r\n");
    map_free(&seen, NULL);
}

static void
tell_one(struct imap_cmd *c, struct telling *t, const struct notify_pending *p)
{
    struct slice name = sl_z(p->name);
    unsigned bits = p->kinds | p->mine;
    const struct store_mailbox *m = t->has_list ? find(t, name) : NULL;
    /* Who is just not subscribed any more was so. */
    bool is_subscribed =
        (m != NULL && (m->attrs & STORE_MB_SUBSCRIBED)) || (p->kinds & BIT(UNSUBSCRIBED));
    unsigned events = name.n == 0 ? 0 : events_of(c, name, is_subscribed);

    tell_name(c, p, m, events);
    tell_metadata(c, p, events);
    if (bits & BIT(RENAMED))
        end_mailbox(c, t, p->old_name);
    if ((bits & (NAME_BITS | SUBSCRIPTION_BITS)) && !is_there(m)) {
        end_mailbox(c, t, p->name);
        return;
    }
    if (!(events & NOTIFY_MESSAGES))
        return;
    if (bits & (NAME_BITS | SUBSCRIPTION_BITS))
        begin_mailbox(c, t, p);
    if (!is_selected(c, name))
        tell_status(c, name, events);
}

static int
list(struct imap_cmd *c, struct telling *t)
{
    struct err e = { 0 };

    t->has_list = true;
    if (store_list(c->s->store, &t->all, &e) == 0)
        return 0;
    log_error("imap.notify", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
              "imap(%s)<%s>: Error: listing the mailboxes: %s", c->s->user, c->s->name, e.msg);
    return -1;
}

static bool
needs_list(const struct imap_notify *n)
{
    if (notify_spec_has_subscribed(&n->spec) || n->is_batch_lost)
        return true;
    LIST_EACH(at, nxt, &n->batch)
    {
        const struct notify_pending *p = CONTAINER_OF(at, struct notify_pending, link);

        if ((p->kinds | p->mine) & (NAME_BITS | SUBSCRIPTION_BITS))
            return true;
    }
    return false;
}

/* As after NOTIFY NONE (§5.8). */
static void
overflow(struct imap_cmd *c)
{
    struct imap_notify *n = c->s->notify;

    imap_untagged(c, "OK [NOTIFICATIONOVERFLOW] Too much has happened: no more is told.");
    n->is_over = true;
    n->spec.selected = 0;
    n->spec.items.n = 0;
    pending_free(&n->batch);
    store_uids_free(&n->fetch);
}

/* Some events were lost: all mailboxes are looked at, which finds messages. What is found out by nothing but events cannot be
 * told any more. */
static void
look_at_all(struct imap_cmd *c, struct telling *t)
{
    struct imap_notify *n = c->s->notify;

    n->is_batch_lost = false;
    pending_free(&n->batch);
    if (n->spec.all & ~(unsigned)NOTIFY_MESSAGES || t->all.n > NOTIFY_MAILBOXES_MAX) {
        overflow(c);
        return;
    }
    for (size_t i = 0; i < t->all.n; i++)
        if (is_there(&t->all.v[i])) {
            struct notify_pending *p = MEM_NEW(struct notify_pending);

            p->name = mem_dupz(t->all.v[i].name);
            p->kinds = BIT(CHANGED);
            list_push_back(&n->batch, &p->link);
        }
}

enum cmd_rc
imap_notify_tell(struct imap_cmd *c)
{
    struct imap_notify *n = c->s->notify;
    struct telling *t = c->run_state;

    if (n == NULL || n->is_over || (list_is_empty(&n->batch) && !n->is_batch_lost))
        return CMD_DONE;
    if (t == NULL)
        t = c->run_state = MEM_NEW(struct telling);
    t->until_ms = clock_mono_ms() + NOTIFY_TURN_MS;
    if (!t->has_list && needs_list(n) && list(c, t) < 0) {
        overflow(c);
        return CMD_DONE;
    }
    if (n->is_batch_lost)
        look_at_all(c, t);
    while (!list_is_empty(&n->batch)) {
        struct list one;

        list_init(&one);
        list_push_back(&one, list_pop_front(&n->batch));
        tell_one(c, t, CONTAINER_OF(one.next, struct notify_pending, link));
        pending_free(&one);
        if (imap_is_cancelled(c))
            return CMD_DONE;
        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        if (clock_mono_ms() >= t->until_ms)
            return CMD_YIELD;
    }
    return CMD_DONE;
}

/* What was made meanwhile may have got messages before it was followed: it is looked at once more. */
void
imap_done_notify_tell(struct imap_cmd *c)
{
    struct imap_notify *n = c->s->notify;
    struct telling *t = c->run_state;
    struct slice rest, name;

    if (n != NULL && n->is_over)
        store_user_unwatch(&n->watch);
    if (t == NULL)
        return;
    rest = buf_slice(&t->unfollow);
    while (n->watch != NULL && sl_take_until(&rest, '\n', &name))
        store_user_unfollow(n->watch, name);
    rest = buf_slice(&t->follow);
    while (n->watch != NULL && sl_take_until(&rest, '\n', &name)) {
        store_user_follow(n->watch, name);
        on_event(n, &(struct store_event){ .kind = STORE_EVENT_CHANGED, .mailbox = name });
    }
    buf_free(&t->follow);
    buf_free(&t->unfollow);
    store_mailboxes_free(&t->all);
    free(t);
}

static const struct imap_row row_tell = {
    "NOTIFY", "", 0, 0, NULL, imap_notify_tell, imap_done_notify_tell
};

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
    t = told_get(n, store_view_name(s->view));
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
        on_event(n,
                 &(struct store_event){ .kind = STORE_EVENT_CHANGED, .mailbox = sl_z(n->recheck) });
        free(n->recheck);
        n->recheck = NULL;
    }
    if (n->is_due || n->is_batch_lost || !list_is_empty(&n->batch)) {
        imap_notify_take(s);
        imap_cmd_start(imap_cmd_new(s, &row_tell));
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
