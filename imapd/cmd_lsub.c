/* imapd/cmd_lsub.c - LSUB (RFC 3501 §6.3.9); IMAP4rev2 has LIST (SUBSCRIBED) in its place. */
#include "imapd/mailboxes.h"

#include "base/map.h"

enum parse_rc
imap_parse_lsub(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct imap_lsub_args *a = ARENA_NEW(&c->mem, struct imap_lsub_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->reference, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_list_mailbox(in, &c->mem, &a->pattern, e);
}

static void
tell(struct imap_cmd *c, unsigned attrs, struct slice wire_name)
{
    bool is_first = true;

    buf_addz(&c->out, "* LSUB (");
    imap_add_list_attrs(c, &is_first, attrs, LIST_USES);
    imap_add_list_name(c, wire_name);
    buf_addz(&c->out, "\r\n");
}

/* LSUB "%": a name that is not subscribed but has subscribed ones below that the pattern does not reach is told as
 * \Noselect. So each subscribed name that does not match offers its parents. */
static void
tell_parents(struct imap_cmd *c, const struct list_pattern *pattern, struct slice name,
             struct map *told)
{
    char separator = store_separator(c->s->store);

    for (size_t i = 0; i < name.n; i++) {
        struct slice parent = sl_head(name, i);

        if (name.p[i] == separator && map_get(told, parent) == NULL &&
            imap_pattern_match(pattern, parent)) {
            tell(c, STORE_MB_NOSELECT, parent);
            map_set(told, parent, c);
        }
    }
}

static void
tell_all(struct imap_cmd *c, const struct list_pattern *pattern, const struct store_mailboxes *all)
{
    struct map *told = map_new(); /* names on the wire */
    struct buf wire = { 0 };

    /* First what is subscribed itself, so that no parent is told twice. */
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < all->n; i++) {
            bool is_match;

            buf_reset(&wire);
            if (!(all->v[i].attrs & STORE_MB_SUBSCRIBED) ||
                imap_name_encode(c->s, sl_z(all->v[i].name), &wire) < 0)
                continue;
            is_match = imap_pattern_match(pattern, buf_slice(&wire));
            if (is_match && round == 0) {
                tell(c, all->v[i].attrs & LIST_USES, buf_slice(&wire));
                map_set(told, buf_slice(&wire), c);
            } else if (!is_match && round == 1) {
                tell_parents(c, pattern, buf_slice(&wire), told);
            }
        }
    map_free(&told, NULL);
    buf_free(&wire);
}

enum cmd_rc
imap_run_lsub(struct imap_cmd *c)
{
    const struct imap_lsub_args *a = c->args;
    struct store_mailboxes all = { 0 };
    struct err e = { 0 };

    if (store_list(c->s->store, &all, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return CMD_DONE;
    }
    tell_all(c, imap_list_pattern(c, a->reference, a->pattern), &all);
    store_mailboxes_free(&all);
    imap_reply(c, "OK Lsub completed.");
    return CMD_DONE;
}
