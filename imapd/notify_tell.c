/* imapd/notify_tell.c - what a session with NOTIFY (RFC 5465 §5) is told of mailboxes that are not selected: by commands of our own
 * between the client's, half a second after the first of some changes. */
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
    struct notify_told was = { 0 }, *told = notify_told_get(n, name);
    uint32_t mine = notify_take_mine(n, name);
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
    if (notify_told_get(c->s->notify, sl_z(p->name)) != NULL)
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
    notify_told_drop(c->s->notify, sl_z(name));
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
    notify_pending_free(&n->batch);
    store_uids_free(&n->fetch);
}

/* Some events were lost: all mailboxes are looked at, which finds messages. What is found out by nothing but events cannot be
 * told any more. */
static void
look_at_all(struct imap_cmd *c, struct telling *t)
{
    struct imap_notify *n = c->s->notify;

    n->is_batch_lost = false;
    notify_pending_free(&n->batch);
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
        notify_pending_free(&one);
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
        notify_hear(n, &(struct store_event){ .kind = STORE_EVENT_CHANGED, .mailbox = name });
    }
    buf_free(&t->follow);
    buf_free(&t->unfollow);
    store_mailboxes_free(&t->all);
    free(t);
}

const struct imap_row imap_row_notify_tell = {
    "NOTIFY", "", 0, 0, NULL, imap_notify_tell, imap_done_notify_tell
};
