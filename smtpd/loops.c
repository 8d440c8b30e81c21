/* smtpd/loops.c - see loops.h. */
#include "smtpd/loops.h"

enum { DELIVERED_MAX = 200 }; /* what goes round longer is ended by hopcount_limit */

void
loops_note(struct smtpd_tx *tx, struct slice value)
{
    struct tx_line *l;
    struct slice addr;
    struct err e;

    if (tx->n_delivered_to >= DELIVERED_MAX ||
        smtp_path_parse(sl_trim(value), false, &tx->mem, &addr, &e) != PARSE_OK || addr.n == 0)
        return;
    l = ARENA_NEW(&tx->mem, struct tx_line);
    if (l == NULL)
        return;
    *l = (struct tx_line){ .next = tx->delivered_to, .text = arena_dup(&tx->mem, addr) };
    tx->delivered_to = l;
    tx->n_delivered_to++;
}

bool
loops_has(const struct smtpd_tx *tx, struct slice addr)
{
    for (const struct tx_line *l = tx->delivered_to; l; l = l->next)
        if (sl_ieq(l->text, addr))
            return true;
    return false;
}
