/* imapd/notify_spec.c - what NOTIFY asks for: its grammar (RFC 5465 §8), and which mailboxes a group means (§6). */
#include "imapd/events.h"

#include "base/mem.h"

#include <stdlib.h>

static const struct {
    const char *name;
    unsigned event;
} events[] = {
    { "MessageNew", NOTIFY_NEW },
    { "MessageExpunge", NOTIFY_EXPUNGE },
    { "FlagChange", NOTIFY_FLAGS },
    { "AnnotationChange", NOTIFY_ANNOTATION },
    { "MailboxName", NOTIFY_NAME },
    { "SubscriptionChange", NOTIFY_SUBSCRIPTION },
    { "MailboxMetadataChange", NOTIFY_METADATA },
    { "ServerMetadataChange", NOTIFY_SERVER_METADATA },
};

/* ---- events ---- */

/* SP "(" fetch-att *(SP fetch-att) ")": no macros, and not nothing. */
static enum parse_rc
take_items(struct slice *in, struct arena *mem, struct notify_spec *out, struct err *e)
{
    if (out->items.n > 0)
        return err_parse(e, "MessageNew is there twice");
    return imap_take_fetch_items(in, mem, &out->items, e);
}

/* An event, into *mask. What has no meaning here is any other atom: it is refused with a NO (§3.1). */
static enum parse_rc
take_event(struct slice *in, struct arena *mem, bool is_selected, struct notify_spec *out,
           unsigned *mask, struct err *e)
{
    struct slice at = *in, name;
    unsigned event = NOTIFY_UNKNOWN;

    if (imap_take_atom(&at, &name, e) != PARSE_OK)
        return err_parse(e, "expected an event");
    for (size_t i = 0; i < COUNT_OF(events); i++)
        if (sl_ieqz(name, events[i].name))
            event = events[i].event;
    if (is_selected &&
        (event & (NOTIFY_NAME | NOTIFY_SUBSCRIPTION | NOTIFY_METADATA | NOTIFY_SERVER_METADATA)))
        return err_parse(e, "the selected mailbox has events of messages only"); /* §6.1 */
    *in = at;
    *mask |= event;
    if (event != NOTIFY_NEW || !sl_has_prefix(*in, SL(" (")))
        return PARSE_OK;
    *in = sl_from(*in, 1);
    if (!is_selected)
        return err_parse(e, "FETCH items are for the selected mailbox only");
    return take_items(in, mem, out, e);
}

/* "(" event *(SP event) ")" / "NONE"; 0 is NONE. */
static enum parse_rc
take_events(struct slice *in, struct arena *mem, bool is_selected, struct notify_spec *out,
            unsigned *mask, struct err *e)
{
    const unsigned both = NOTIFY_NEW | NOTIFY_EXPUNGE;
    struct slice begin = *in;

    *mask = 0;
    if (imap_take_keyword(in, "NONE"))
        return PARSE_OK;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '(' or NONE");
    do {
        if (take_event(in, mem, is_selected, out, mask, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    if (!sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    if ((*mask & both) != 0 && (*mask & both) != both) { /* §5 */
        *in = begin;
        return err_parse(e, "MessageNew and MessageExpunge must be together");
    }
    if ((*mask & (NOTIFY_FLAGS | NOTIFY_ANNOTATION)) && !(*mask & NOTIFY_NEW)) {
        *in = begin;
        return err_parse(e, "%s requires MessageNew and MessageExpunge",
                         *mask & NOTIFY_FLAGS ? "FlagChange" : "AnnotationChange");
    }
    return PARSE_OK;
}

/* ---- groups ---- */

struct taken {           /* while they are taken */
    struct slice *names; /* of a group */
    size_t n_names, cap_names;
    struct notify_group *groups;
    size_t n_groups, cap_groups;
};

static enum parse_rc
take_name(struct slice *in, struct arena *mem, struct taken *t, struct err *e)
{
    struct slice name;

    if (imap_take_astring(in, mem, &name, e) != PARSE_OK)
        return PARSE_BAD;
    t->names = mem_grow(t->names, &t->cap_names, t->n_names + 1, sizeof(t->names[0]));
    t->names[t->n_names++] = name;
    return PARSE_OK;
}

/* SP mailbox / SP "(" mailbox *(SP mailbox) ")" */
static enum parse_rc
take_names(struct slice *in, struct arena *mem, struct taken *t, struct err *e)
{
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return take_name(in, mem, t, e);
    do {
        if (take_name(in, mem, t, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

static enum parse_rc
take_selected(struct slice *in, struct arena *mem, struct notify_spec *out, struct err *e)
{
    if (out->has_selected)
        return err_parse(e, "SELECTED and SELECTED-DELAYED may be there once");
    out->has_selected = true;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return take_events(in, mem, true, out, &out->selected, e);
}

static enum parse_rc
take_other(struct slice *in, struct arena *mem, struct notify_spec *out, struct taken *t,
           struct err *e)
{
    static const struct {
        const char *word;
        enum notify_kind kind;
    } kinds[] = {
        { "PERSONAL", NOTIFY_PERSONAL },     { "INBOXES", NOTIFY_PERSONAL }, /* §6.3: any is one */
        { "SUBSCRIBED", NOTIFY_SUBSCRIBED }, { "SUBTREE", NOTIFY_SUBTREE },
        { "MAILBOXES", NOTIFY_MAILBOXES },
    };
    struct notify_group g = { 0 };
    size_t i = 0;

    while (i < COUNT_OF(kinds) && !imap_take_keyword(in, kinds[i].word))
        i++;
    if (i == COUNT_OF(kinds))
        return err_parse(e, "expected SELECTED, SELECTED-DELAYED, INBOXES, PERSONAL, SUBSCRIBED, "
                            "SUBTREE or MAILBOXES");
    g.kind = kinds[i].kind;
    t->n_names = 0;
    if (g.kind >= NOTIFY_SUBTREE && take_names(in, mem, t, e) != PARSE_OK)
        return PARSE_BAD;
    g.n_names = t->n_names;
    g.names = arena_alloc(mem, (t->n_names + 1) * sizeof(g.names[0]));
    if (g.names == NULL)
        return err_parse(e, "command too long");
    if (t->n_names > 0)
        memcpy(g.names, t->names, t->n_names * sizeof(g.names[0]));
    if (imap_take_sp(in, e) != PARSE_OK ||
        take_events(in, mem, false, out, &g.events, e) != PARSE_OK)
        return PARSE_BAD;
    t->groups = mem_grow(t->groups, &t->cap_groups, t->n_groups + 1, sizeof(g));
    t->groups[t->n_groups++] = g;
    out->all |= g.events;
    return PARSE_OK;
}

static enum parse_rc
take_group(struct slice *in, struct arena *mem, struct notify_spec *out, struct taken *t,
           struct err *e)
{
    enum parse_rc rc;

    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (imap_take_keyword(in, "SELECTED")) {
        rc = take_selected(in, mem, out, e);
    } else if (imap_take_keyword(in, "SELECTED-DELAYED")) {
        rc = take_selected(in, mem, out, e);
        out->is_delayed = true;
    } else {
        if (t->n_groups == NOTIFY_GROUPS_MAX)
            return err_parse(e, "too many groups of events");
        rc = take_other(in, mem, out, t, e);
    }
    if (rc != PARSE_OK)
        return rc;
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

enum parse_rc
notify_spec_take(struct slice *in, struct arena *mem, struct notify_spec *out, struct err *e)
{
    struct taken t = { 0 };
    enum parse_rc rc;

    memset(out, 0, sizeof(*out));
    if (imap_take_keyword(in, "NONE"))
        return PARSE_OK;
    if (!imap_take_keyword(in, "SET"))
        return err_parse(e, "expected SET or NONE");
    out->is_set = true;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (imap_take_keyword(in, "STATUS")) {
        out->wants_status = true;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
    }
    do {
        rc = take_group(in, mem, out, &t, e);
    } while (rc == PARSE_OK && sl_take_char(in, ' '));
    out->n_groups = t.n_groups;
    out->groups = arena_alloc(mem, (t.n_groups + 1) * sizeof(out->groups[0]));
    if (rc == PARSE_OK && out->groups == NULL)
        rc = err_parse(e, "command too long");
    if (rc == PARSE_OK && t.n_groups > 0)
        memcpy(out->groups, t.groups, t.n_groups * sizeof(out->groups[0]));
    free(t.names);
    free(t.groups);
    return rc;
}

/* ---- whom it concerns ---- */

static int
cmp_names(const void *a, const void *b)
{
    return sl_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

void
notify_spec_names(struct imap_cmd *c, struct arena *mem, struct notify_spec *spec)
{
    struct slice name;

    for (size_t i = 0; i < spec->n_groups; i++) {
        struct notify_group *g = &spec->groups[i];
        size_t n = 0;

        for (size_t k = 0; k < g->n_names; k++)
            if (imap_name_decode(c, g->names[k], &name))
                g->names[n++] = arena_dup(mem, name);
        buf_reset(&c->tagged);
        g->n_names = n;
        if (n > 1)
            qsort(g->names, n, sizeof(g->names[0]), cmp_names);
    }
}

static bool
has_name(const struct notify_group *g, struct slice name)
{
    return g->n_names > 0 &&
           bsearch(&name, g->names, g->n_names, sizeof(g->names[0]), cmp_names) != NULL;
}

static bool
is_meant(const struct notify_group *g, char separator, struct slice name, bool is_subscribed)
{
    switch (g->kind) {
    case NOTIFY_PERSONAL:
        return true;
    case NOTIFY_SUBSCRIBED:
        return is_subscribed;
    case NOTIFY_MAILBOXES:
        return has_name(g, name);
    case NOTIFY_SUBTREE:
        for (size_t i = 0; i < name.n; i++)
            if (name.p[i] == separator && has_name(g, sl_head(name, i)))
                return true;
        return has_name(g, name);
    }
    return false;
}

/* The more of its name a group says, the closer it is to a mailbox. */
static int
closeness(const struct notify_group *g)
{
    return g->kind == NOTIFY_MAILBOXES ? 2 : g->kind == NOTIFY_SUBTREE ? 1 : 0;
}

/* All groups that mean it add up (§6), but "(MAILBOXES Spam NONE) (PERSONAL (...))" does not ask for Spam. */
unsigned
notify_spec_events(const struct notify_spec *spec, char separator, struct slice name,
                   bool is_subscribed)
{
    unsigned all = 0;
    int least = 0;

    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < spec->n_groups; i++) {
            const struct notify_group *g = &spec->groups[i];

            if ((round == 0) != (g->events == 0) || closeness(g) < least ||
                !is_meant(g, separator, name, is_subscribed))
                continue;
            if (round == 0)
                least = closeness(g);
            else
                all |= g->events;
        }
    return all;
}

bool
notify_spec_has_subscribed(const struct notify_spec *spec)
{
    for (size_t i = 0; i < spec->n_groups; i++)
        if (spec->groups[i].kind == NOTIFY_SUBSCRIBED)
            return true;
    return false;
}
