/* imapd/cmd_notify.c - NOTIFY (RFC 5465 §3.1). Who asks is heard from the moment on that the command is read: so nothing is missed
 * between a mailbox's STATUS and the reply. */
#include "imapd/events.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

struct notify_run {
    struct imap_notify *n; /* the new one; in the end the old one, or what failed. NULL: none */
    bool is_listed;
    struct store_mailboxes all;
    size_t at; /* next of all */
};

enum parse_rc
imap_parse_notify(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct notify_run *r = ARENA_NEW(&c->mem, struct notify_run);
    struct imap_notify *n;
    struct slice text;
    enum parse_rc rc;

    c->args = r;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    n = notify_new(c->s);
    buf_adds(&n->text, *in);
    text = buf_slice(&n->text);
    rc = notify_spec_take(&text, &n->mem, &n->spec, e);
    *in = sl_from(*in, in->n - text.n);
    if (rc == PARSE_OK && in->n == 0) {
        notify_listen(n, c->s);
        r->n = n;
    } else {
        notify_free(&n);
    }
    return rc;
}

static size_t
count_names(const struct notify_spec *spec)
{
    size_t n = 0;

    for (size_t i = 0; i < spec->n_groups; i++)
        n += spec->groups[i].n_names;
    return n;
}

static unsigned
wanted(const struct imap_cmd *c, const struct imap_notify *n, const struct store_mailbox *m)
{
    if (m->attrs & (STORE_MB_NONEXISTENT | STORE_MB_NOSELECT))
        return 0;
    return notify_spec_events(&n->spec, store_separator(c->s->store), sl_z(m->name),
                              (m->attrs & STORE_MB_SUBSCRIBED) != 0);
}

/* What is not done for anybody. False: replied. */
static bool
is_possible(struct imap_cmd *c, const struct imap_notify *n)
{
    bool has_metadata = c->s->conf->imap_metadata;
    unsigned bad = NOTIFY_ANNOTATION | NOTIFY_UNKNOWN |
                   (has_metadata ? 0u : NOTIFY_METADATA | NOTIFY_SERVER_METADATA);

    if ((n->spec.all | n->spec.selected) & bad) { /* with the names of those that are not (§3.1) */
        imap_reply(c,
                   "NO [BADEVENT (MessageNew MessageExpunge FlagChange MailboxName "
                   "SubscriptionChange%s)] Unsupported NOTIFY events.",
                   has_metadata ? " MailboxMetadataChange ServerMetadataChange" : "");
        return false;
    }
    if (n->text.n > NOTIFY_TEXT_MAX || count_names(&n->spec) > NOTIFY_NAMES_MAX) {
        imap_reply(c, "NO [NOTIFICATIONOVERFLOW] Too many mailbox names");
        return false;
    }
    return true;
}

static bool
list(struct imap_cmd *c, struct notify_run *r)
{
    struct err e = { 0 };
    size_t n = 0;

    r->is_listed = true;
    if (store_list(c->s->store, &r->all, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return false;
    }
    for (size_t i = 0; i < r->all.n; i++)
        n += (wanted(c, r->n, &r->all.v[i]) & NOTIFY_MESSAGES) != 0;
    if (n <= NOTIFY_MAILBOXES_MAX)
        return true;
    imap_reply(c, "NO [NOTIFICATIONOVERFLOW] Too many mailboxes");
    return false;
}

/* On the loop. */
static void
follow(struct imap_cmd *c)
{
    struct notify_run *r = c->args;

    for (size_t i = 0; i < r->all.n; i++)
        if (wanted(c, r->n, &r->all.v[i]) & NOTIFY_MESSAGES)
            store_user_follow(r->n->watch, sl_z(r->all.v[i].name));
    imap_cmd_resume(c);
}

static void
take_status(struct imap_cmd *c, struct notify_run *r, const struct store_mailbox *m)
{
    unsigned events = wanted(c, r->n, m);
    struct store_status st;
    struct err e = { 0 };

    if (!(events & NOTIFY_MESSAGES))
        return;
    if (store_status(c->s->store, sl_z(m->name), &st, &e) < 0) {
        if (e.kind != ERR_NOTFOUND)
            log_error("imap.notify", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
                      "imap(%s)<%s>: Error: STATUS of %s: %s", c->s->user, c->s->name, m->name,
                      e.msg);
        return;
    }
    notify_remember(r->n, sl_z(m->name), &st);
    if (!r->n->spec.wants_status ||
        (c->s->view != NULL && sl_eqz(store_view_name(c->s->view), m->name)))
        return;
    notify_add_status(c, sl_z(m->name), &st,
                      ITEM_MESSAGES | ITEM_UIDNEXT | ITEM_UIDVALIDITY | ITEM_UNSEEN |
                          (events & NOTIFY_FLAGS ? ITEM_MODSEQ : 0));
}

/* From now on it is the new one that counts, from the sync at the end of this command on. */
static void
install(struct imap_cmd *c, struct notify_run *r)
{
    struct imap_notify *old = c->s->notify;

    if (old != NULL)
        notify_take_over(r->n, old);
    c->s->notify = r->n;
    r->n = old;
}

enum cmd_rc
imap_run_notify(struct imap_cmd *c)
{
    struct notify_run *r = c->args;
    uint64_t until_ms = clock_mono_ms() + NOTIFY_TURN_MS;

    if (!r->is_listed) {
        if (!is_possible(c, r->n))
            return CMD_DONE;
        notify_spec_names(c, &r->n->mem, &r->n->spec);
        if (r->n->watch != NULL) {
            if (!list(c, r))
                return CMD_DONE;
            c->ask = follow;
            return CMD_ASK;
        }
    }
    while (r->at < r->all.n) {
        take_status(c, r, &r->all.v[r->at++]);
        if (imap_is_cancelled(c))
            return CMD_DONE;
        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        if (clock_mono_ms() >= until_ms)
            return CMD_YIELD;
    }
    install(c, r);
    imap_reply(c, "OK NOTIFY completed.");
    return CMD_DONE;
}

void
imap_done_notify(struct imap_cmd *c)
{
    struct notify_run *r = c->args;

    if (r == NULL)
        return;
    store_mailboxes_free(&r->all);
    notify_free(&r->n);
}
