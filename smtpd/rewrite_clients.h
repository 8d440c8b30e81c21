/* smtpd/rewrite_clients.h - how far a client's headers are ours to mend: local_header_rewrite_clients and
 * remote_header_rewrite_domain. Layer: smtpd. */
#ifndef POSTERN_SMTPD_REWRITE_CLIENTS_H
#define POSTERN_SMTPD_REWRITE_CLIENTS_H

#include "smtpd/smtpd.h"

/* ERR_CONFIG names a word that is none of the list's. */
int rewrite_clients_check(const struct conf *c, struct err *e);

/* Fill s->tx->rewrite, then done, once: at once, or later from the loop. !good: a table could not be asked. */
void rewrite_clients_find(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, bool good));

#endif
