/* imapd/cmd_list.c - LIST and LSUB (RFC 3501 §6.3.8, §6.3.9) with CHILDREN (RFC 3348) and SPECIAL-USE (RFC 6154). */
#include "imapd/rows.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/utf8.h"

struct list_args {
    struct slice reference, pattern;
};

enum parse_rc
imap_parse_list(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct list_args *a = ARENA_NEW(&c->mem, struct list_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->reference, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_list_mailbox(in, &c->mem, &a->pattern, e);
}

enum {
    USES = STORE_MB_USE_ALL | STORE_MB_USE_ARCHIVE | STORE_MB_USE_DRAFTS | STORE_MB_USE_FLAGGED |
           STORE_MB_USE_JUNK | STORE_MB_USE_SENT | STORE_MB_USE_TRASH
};
static const struct {
    unsigned bit;
    const char *name;
} attrs[] = {
    { STORE_MB_MARKED, "\\Marked" },     { STORE_MB_UNMARKED, "\\UnMarked" },
    { STORE_MB_USE_ALL, "\\All" },       { STORE_MB_USE_ARCHIVE, "\\Archive" },
    { STORE_MB_USE_DRAFTS, "\\Drafts" }, { STORE_MB_USE_FLAGGED, "\\Flagged" },
    { STORE_MB_USE_JUNK, "\\Junk" },     { STORE_MB_USE_SENT, "\\Sent" },
    { STORE_MB_USE_TRASH, "\\Trash" },
};

static void
add_attr(struct imap_cmd *c, bool *is_first, const char *name)
{
    buf_addf(&c->out, *is_first ? "%s" : " %s", name);
    *is_first = false;
}

static void
tell_mailbox(struct imap_cmd *c, const char *what, unsigned a, bool is_lsub, struct slice wire_name)
{
    bool is_first = true;

    buf_addf(&c->out, "* %s (", what);
    if (a & (is_lsub ? STORE_MB_NOSELECT : STORE_MB_NOSELECT | STORE_MB_NONEXISTENT))
        add_attr(c, &is_first, "\\Noselect");
    if (!is_lsub)
        add_attr(c, &is_first, a & STORE_MB_HAS_CHILDREN ? "\\HasChildren" : "\\HasNoChildren");
    for (size_t i = 0; i < COUNT_OF(attrs); i++)
        if (a & attrs[i].bit)
            add_attr(c, &is_first, attrs[i].name);
    buf_addf(&c->out, ") \"%c\" ", store_separator(c->s->store));
    imap_add_astring(&c->out, wire_name);
    buf_addz(&c->out, "\r\n");
}

/* Reference and pattern put together; the reference is a plain prefix here, as with one namespace in Dovecot. */
static struct list_pattern *
whole_pattern(struct imap_cmd *c)
{
    const struct list_args *a = c->args;
    char *p = arena_alloc(&c->mem, a->reference.n + a->pattern.n + 1);

    if (p == NULL)
        return NULL;
    memcpy(p, a->reference.n ? a->reference.p : "", a->reference.n);
    memcpy(p + a->reference.n, a->pattern.n ? a->pattern.p : "", a->pattern.n);
    return imap_pattern_new(&c->mem, sl_n(p, a->reference.n + a->pattern.n),
                            store_separator(c->s->store));
}

enum cmd_rc
imap_run_list(struct imap_cmd *c)
{
    const struct list_args *a = c->args;
    struct store_mailboxes all = { 0 };
    const struct list_pattern *pattern = whole_pattern(c);
    struct buf wire = { 0 };
    struct err e = { 0 };

    if (a->pattern.n == 0) { /* "the hierarchy delimiter and root name": §6.3.8 */
        imap_untagged(c, "LIST (\\Noselect) \"%c\" \"\"", store_separator(c->s->store));
        imap_reply(c, "OK List completed.");
        return CMD_DONE;
    }
    if (store_list(c->s->store, &all, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return CMD_DONE;
    }
    for (size_t i = 0; i < all.n; i++) {
        unsigned at = all.v[i].attrs;

        if ((at & STORE_MB_NONEXISTENT) && !(at & STORE_MB_HAS_CHILDREN))
            continue; /* subscribed only */
        buf_reset(&wire);
        if (utf8_to_mutf7(&wire, sl_z(all.v[i].name)) == 0 &&
            imap_pattern_match(pattern, buf_slice(&wire)))
            tell_mailbox(c, "LIST", at, false, buf_slice(&wire));
    }
    buf_free(&wire);
    store_mailboxes_free(&all);
    imap_reply(c, "OK List completed.");
    return CMD_DONE;
}

/* LSUB "%": a name that is not subscribed but has subscribed ones below that the pattern does not reach is told as
 * \Noselect (§6.3.9). So each subscribed name that does not match offers its parents. */
static void
lsub_parents(struct imap_cmd *c, const struct list_pattern *pattern, struct slice name,
             struct map *told)
{
    char separator = store_separator(c->s->store);

    for (size_t i = 0; i < name.n; i++) {
        struct slice parent = sl_head(name, i);

        if (name.p[i] == separator && map_get(told, parent) == NULL &&
            imap_pattern_match(pattern, parent)) {
            tell_mailbox(c, "LSUB", STORE_MB_NOSELECT, true, parent);
            map_set(told, parent, c);
        }
    }
}

static void
lsub_all(struct imap_cmd *c, const struct list_pattern *pattern, const struct store_mailboxes *all)
{
    struct map *told = map_new(); /* names on the wire */
    struct buf wire = { 0 };

    /* First what is subscribed itself, so that no parent is told twice. */
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < all->n; i++) {
            bool is_match;

            buf_reset(&wire);
            if (!(all->v[i].attrs & STORE_MB_SUBSCRIBED) ||
                utf8_to_mutf7(&wire, sl_z(all->v[i].name)) < 0)
                continue;
            is_match = imap_pattern_match(pattern, buf_slice(&wire));
            if (is_match && round == 0) {
                tell_mailbox(c, "LSUB", all->v[i].attrs & USES, true, buf_slice(&wire));
                map_set(told, buf_slice(&wire), c);
            } else if (!is_match && round == 1) {
                lsub_parents(c, pattern, buf_slice(&wire), told);
            }
        }
    map_free(&told, NULL);
    buf_free(&wire);
}

enum cmd_rc
imap_run_lsub(struct imap_cmd *c)
{
    struct store_mailboxes all = { 0 };
    struct err e = { 0 };

    if (store_list(c->s->store, &all, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return CMD_DONE;
    } else {
        lsub_all(c, whole_pattern(c), &all);
        store_mailboxes_free(&all);
    }
    imap_reply(c, "OK Lsub completed.");
    return CMD_DONE;
}
