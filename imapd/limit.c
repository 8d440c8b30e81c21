/* imapd/limit.c - how many messages one command may work on (RFC 9738): the newest, and the client asks again for the others. What
 * is all or nothing is refused. */
#include "imapd/cmd.h"

#include <string.h>

static uint64_t
limit_of(const struct imap_cmd *c)
{
    return (uint64_t)c->s->conf->imap_message_limit;
}

bool
imap_has_limit(const struct imap_cmd *c)
{
    return limit_of(c) > 0;
}

/* What is left of the set are its highest n. */
static void
keep_last(struct store_uids *set, uint64_t n)
{
    size_t i = set->n;

    while (i > 0 && n > 0) {
        struct store_uid_range *r = &set->v[--i];
        uint64_t here = (uint64_t)r->last - r->first + 1;

        if (here > n)
            r->first = (uint32_t)(r->last - n + 1);
        n -= here < n ? here : n;
    }
    memmove(set->v, set->v + i, (set->n - i) * sizeof(set->v[0]));
    set->n -= i;
}

size_t
imap_limit_messages(struct imap_cmd *c, struct store_uids *set, bool is_uids)
{
    uint64_t most = limit_of(c);
    size_t n = store_uids_count(set);
    struct store_row row;

    if (most == 0 || n <= most)
        return 0;
    keep_last(set, most);
    c->limit_uid = set->v[0].first;
    if (!is_uids && store_view_row(c->s->view, set->v[0].first, &row))
        c->limit_uid = row.uid;
    return n - (size_t)most;
}

bool
imap_limit_all(struct imap_cmd *c, size_t n)
{
    uint64_t most = limit_of(c);

    if (most == 0 && (c->row->flags & IF_SAVES))
        most = (uint64_t)c->s->conf->imap_save_limit;
    if (most == 0 || n <= most)
        return true;
    imap_reply(c, "NO [MESSAGELIMIT %llu] Too many messages for one command, try a smaller set.",
               (unsigned long long)most);
    return false;
}

void
imap_add_limit_capability(const struct conf *c, struct buf *out)
{
    if (c->imap_message_limit > 0)
        buf_addf(out, " MESSAGELIMIT=%lld", (long long)c->imap_message_limit);
    else if (c->imap_save_limit > 0)
        buf_addf(out, " SAVELIMIT=%lld", (long long)c->imap_save_limit);
}

/* Two codes at once: ours goes before (RFC 9738 §3.1). */
void
imap_limit_tell(struct imap_cmd *c)
{
    struct slice said = buf_slice(&c->tagged);
    struct buf code = { 0 }, all = { 0 };

    if (c->limit_uid == 0 || !sl_has_iprefix(said, SL("OK ")))
        return;
    buf_addf(&code, "[MESSAGELIMIT %llu %u]", (unsigned long long)limit_of(c), c->limit_uid);
    if (sl_has_iprefix(said, SL("OK ["))) {
        imap_untagged(c, "NO %s Not all messages were worked on.", buf_z(&code));
    } else {
        buf_addf(&all, "OK %s %.*s", buf_z(&code), SL_ARG(sl_from(said, 3)));
        buf_free(&c->tagged);
        c->tagged = all;
    }
    buf_free(&code);
}
