/* imapd/condstore.c - MODSEQs and who knows of them, and telling what has gone by UID (RFC 7162). */
#include "imapd/cmd.h"

enum { VANISHED_LINE_OCTETS = 8000 }; /* about; some clients have buffers of a fixed size */

bool
imap_has_condstore(const struct imap_sess *s)
{
    return (s->enabled & (IMAP_ON_CONDSTORE | IMAP_ON_QRESYNC)) != 0;
}

bool
imap_has_vanished(const struct imap_sess *s)
{
    return (s->enabled & (IMAP_ON_QRESYNC | IMAP_ON_UIDONLY)) != 0;
}

void
imap_enable(struct imap_cmd *c, unsigned on)
{
    struct imap_sess *s = c->s;
    bool had = imap_has_condstore(s);

    s->enabled |= on;
    if (had || !imap_has_condstore(s) || !s->view)
        return;
    imap_untagged(c, "OK [HIGHESTMODSEQ %llu] Highest", (unsigned long long)s->full_modseq);
}

void
imap_add_vanished(struct imap_cmd *c, const char *earlier, const struct store_uids *uids)
{
    for (size_t at = 0; at < uids->n;) {
        buf_addf(&c->out, "* VANISHED %s", earlier);
        at = imap_add_set_from(&c->out, uids, at, VANISHED_LINE_OCTETS);
        buf_addz(&c->out, "\r\n");
    }
}

int
imap_tell_vanished(struct imap_cmd *c, uint64_t since_modseq, const struct store_uids *among)
{
    struct store_uids gone;
    struct err e = { 0 };

    if (store_vanished(c->s->view, since_modseq, among, &gone, &e) < 0) {
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
        return -1;
    }
    imap_add_vanished(c, "(EARLIER) ", &gone);
    store_uids_free(&gone);
    return 0;
}
