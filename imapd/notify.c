/* imapd/notify.c - what changed in the selected mailbox, as untagged responses: at the end of commands, and in IDLE.
 * EXPUNGE, then EXISTS and RECENT, then FETCH, each numbered as of the ones before it (RFC 3501 §7.3, §7.4). */
#include "imapd/context.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

void
imap_add_flags(struct buf *out, const struct imap_sess *s, const struct store_flags *f)
{
    bool is_first = true;
    const char *name;

    buf_addc(out, '(');
    imap_add_sys_flags(out, s->enabled & IMAP_ON_REV2 ? f->sys & ~(uint32_t)STORE_RECENT : f->sys,
                       &is_first);
    for (size_t i = 0; i < STORE_KEYWORDS_MAX && f->kw >> i != 0; i++) {
        name = f->kw >> i & 1 ? store_view_keyword(s->view, i) : NULL;
        if (!name)
            continue;
        buf_addf(out, is_first ? "%s" : " %s", name);
        is_first = false;
    }
    buf_addc(out, ')');
}

void
imap_tell_flags(struct imap_cmd *c)
{
    const struct store_view *v = c->s->view;
    struct store_flags all = {
        STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED | STORE_DELETED | STORE_DRAFT, 0
    };
    struct store_box box;

    store_view_box(v, &box);
    for (size_t i = 0; i < STORE_KEYWORDS_MAX && store_view_keyword(v, i); i++)
        all.kw |= (uint64_t)1 << i;
    buf_addz(&c->out, "* FLAGS ");
    imap_add_flags(&c->out, c->s, &all);
    buf_addz(&c->out, "\r\n* OK [PERMANENTFLAGS ");
    if (c->s->is_examine) {
        buf_addz(&c->out, "()] Read-only mailbox.\r\n");
        return;
    }
    imap_add_flags(&c->out, c->s, &all);
    if (!box.keywords_full) {
        buf_truncate(&c->out, c->out.n - 1);
        buf_addz(&c->out, " \\*)");
    }
    buf_addz(&c->out, "] Flags permitted.\r\n");
}

void
imap_begin_fetch(struct imap_cmd *c, uint32_t seq, uint32_t uid)
{
    bool is_uid = (c->s->enabled & IMAP_ON_UIDONLY) != 0;

    buf_addz(&c->out, "* ");
    buf_addu(&c->out, is_uid ? uid : seq);
    buf_addz(&c->out, is_uid ? " UIDFETCH (" : " FETCH (");
}

void
imap_note_modseq(struct imap_sess *s, uint64_t modseq)
{
    if (modseq > s->fetch_modseq)
        s->fetch_modseq = modseq;
}

void
imap_add_modseq(struct imap_cmd *c, uint64_t modseq)
{
    imap_note_modseq(c->s, modseq);
    buf_addf(&c->out, "MODSEQ (%llu)", (unsigned long long)modseq);
}

/* To who knows of MODSEQs always with UID and MODSEQ (RFC 7162 §3.2.4); with NOTIFY (RFC 5465 §5.1) and
 * IMAP4rev2 (RFC 9051 §7.5.2) always with UID. */
static void
tell_message(struct imap_cmd *c, uint32_t seq, bool has_flags)
{
    bool has_modseq = imap_has_condstore(c->s);
    struct store_row row;

    if (!store_view_row(c->s->view, seq, &row))
        return;
    if (c->told_change && store_view_is_gone(c->s->view, seq)) {
        uint32_t recent = row.flags.sys & STORE_RECENT;

        row.flags = store_flags_after(row.flags, c->told_change);
        row.flags.sys |= recent;
    }
    imap_begin_fetch(c, seq, row.uid);
    if ((c->is_uid || has_modseq || c->s->notify || (c->s->enabled & IMAP_ON_REV2)) &&
        !(c->s->enabled & IMAP_ON_UIDONLY))
        buf_addf(&c->out, "UID %u ", row.uid);
    if (has_modseq)
        imap_add_modseq(c, row.modseq);
    if (has_flags) {
        buf_addz(&c->out, has_modseq ? " FLAGS " : "FLAGS ");
        imap_add_flags(&c->out, c->s, &row.flags);
    }
    buf_addz(&c->out, ")\r\n");
}

/* Sequence numbers of c->told, ascending; one at a time, 0 after the last. */
struct told {
    size_t range;
    uint32_t uid; /* 0: the next range's first */
};

static uint32_t
next_told(const struct imap_cmd *c, struct told *t)
{
    uint32_t seq = 0;

    while (seq == 0 && t->range < c->told.n) {
        const struct store_uid_range *r = &c->told.v[t->range];

        if (t->uid == 0)
            t->uid = r->first;
        seq = store_view_seq(c->s->view, t->uid);
        if (t->uid++ == r->last) {
            t->range++;
            t->uid = 0;
        }
    }
    return seq;
}

static uint32_t
least(uint32_t a, uint32_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* A sync that is being told: what changed may be more than the client takes at once. */
struct imap_news {
    struct store_changes ch;
    struct imap_contexts_turn *contexts;
    size_t changed, silent; /* the next of ch's */
    struct told at;
    uint32_t told; /* the next of c->told; 0: none */
};

/* The changed ones, and those that the command told to tell; what it changed without a word has a new MODSEQ all the same.
 * False: this is enough for now. */
static bool
tell_messages(struct imap_cmd *c, struct imap_news *n)
{
    const struct store_changes *ch = &n->ch;
    bool has_modseq = imap_has_condstore(c->s);
    uint32_t changed, silent, seq;

    for (;;) {
        changed = n->changed < ch->n_changed ? ch->changed[n->changed] : 0;
        silent = has_modseq && n->silent < ch->n_silent ? ch->silent[n->silent] : 0;
        seq = least(least(changed, silent), n->told);
        if (seq == 0)
            return true;
        if (c->out.n >= IMAPD_OUT_MARK)
            return false;
        tell_message(c, seq, seq == changed || (seq == n->told && !c->is_told_silent));
        n->changed += seq == changed;
        n->silent += seq == silent;
        if (seq == n->told)
            n->told = next_told(c, &n->at);
    }
}

static void
tell_expunges(struct imap_cmd *c, const struct store_changes *ch)
{
    struct store_uids gone = { 0 };

    for (size_t i = 0; i < ch->n_expunged && !imap_has_vanished(c->s); i++)
        imap_untagged(c, "%u EXPUNGE", ch->expunged[i]);
    for (size_t i = ch->n_expunged; i > 0 && imap_has_vanished(c->s);
         i--) /* ascending: adding is cheap */
        store_uids_add(&gone, ch->vanished[i - 1], ch->vanished[i - 1]);
    imap_add_vanished(c, "", &gone);
    store_uids_free(&gone);
}

static void
tell_box(struct imap_cmd *c, const struct store_changes *ch)
{
    struct store_box box;

    store_view_box(c->s->view, &box);
    imap_contexts_expunged(c, ch);
    tell_expunges(c, ch);
    if (ch->exists_changed)
        imap_untagged(c, "%u EXISTS", box.exists);
    if (ch->recent_changed && !(c->s->enabled & IMAP_ON_REV2))
        imap_untagged(c, "%u RECENT", box.recent);
    if (ch->keywords_changed)
        imap_tell_flags(c);
}

/* What a client that comes back says it knows must not be more than it was told: while expunges are held back, and when what was
 * told had no MODSEQ (RFC 7162 §3.2, §3.2.7, §6). */
static void
tell_highestmodseq(struct imap_cmd *c, const struct store_changes *ch)
{
    struct imap_sess *s = c->s;
    struct slice said = buf_slice(&c->tagged);
    struct buf b = { 0 };
    struct store_box box;
    uint64_t tell = 0;

    store_view_box(s->view, &box);
    if (ch->has_held && s->fetch_modseq > s->full_modseq)
        tell = s->full_modseq;
    else if (!ch->has_held && box.highestmodseq > s->full_modseq &&
             (box.highestmodseq > s->fetch_modseq || ch->n_expunged > 0))
        tell = box.highestmodseq;
    if (!ch->has_held)
        s->full_modseq = box.highestmodseq;
    s->fetch_modseq = 0;
    if (tell == 0 || !(s->enabled & IMAP_ON_QRESYNC))
        return;
    if (!sl_has_prefix(said, SL("OK ")) || sl_has_prefix(said, SL("OK ["))) {
        imap_untagged(c, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)tell);
        return;
    }
    buf_addf(&b, "OK [HIGHESTMODSEQ %llu] %.*s", (unsigned long long)tell,
             SL_ARG(sl_from(said, 3)));
    buf_free(&c->tagged);
    c->tagged = b;
}

/* The view brought up to date, and all told but messages' flags. False: there is nothing more to tell. */
static bool
sync_begin(struct imap_cmd *c, bool allow_expunge)
{
    struct imap_news *n = MEM_NEW(struct imap_news);
    struct err e = { 0 };

    c->news = n;
    allow_expunge = imap_notify_sync_begins(c, allow_expunge);
    c->s->is_sync_failed = store_view_sync(c->s->view, allow_expunge, &n->ch, &e) < 0;
    if (c->s->is_sync_failed) {
        log_error("imap.sync", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
                  "imap(%s)<%s>: Error: syncing the mailbox: %s", c->s->user, c->s->name, e.msg);
        return false; /* the next one will tell it */
    }
    if (n->ch.is_gone || n->ch.is_invalid) {
        /* No sequence number means anything now; RFC 3501 knows no other way out. */
        imap_untagged(c, "BYE IMAP session state is inconsistent, please relogin.");
        buf_free(&c->tagged);
        c->must_end = true;
        c->why = n->ch.is_gone ? "Disconnected: the selected mailbox was deleted"
                               : "Disconnected: UIDVALIDITY of the selected mailbox changed";
        return false;
    }
    n->contexts = imap_contexts_begin(c, &n->ch);
    imap_notify_sync_ends(c, &n->ch);
    tell_box(c, &n->ch);
    n->told = next_told(c, &n->at);
    return true;
}

bool
imap_sync(struct imap_cmd *c, bool allow_expunge)
{
    if (c->news || sync_begin(c, allow_expunge)) {
        if (!tell_messages(c, c->news) || !imap_contexts_changed(c, c->news->contexts))
            return false;
        tell_highestmodseq(c, &c->news->ch);
    }
    imap_sync_free(c);
    return true;
}

void
imap_sync_free(struct imap_cmd *c)
{
    if (!c->news)
        return;
    imap_contexts_end(&c->news->contexts);
    store_changes_free(&c->news->ch);
    free(c->news);
    c->news = NULL;
}
