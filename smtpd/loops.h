/* smtpd/loops.h - Delivered-To: an alias of aliases(5) that leads mail away from this host leaves its address in the header
 * (qmgr adds it), and mail that comes back with it has gone round. As local(8) does. Layer: smtpd. */
#ifndef POSTERN_SMTPD_LOOPS_H
#define POSTERN_SMTPD_LOOPS_H

#include "smtpd/smtpd.h"

/* A Delivered-To field of the message has this value. */
void loops_note(struct smtpd_tx *tx, struct slice value);
/* Does one of them name this address? */
bool loops_has(const struct smtpd_tx *tx, struct slice addr);

#endif
