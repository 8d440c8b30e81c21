/* smtpd/bare_lf.h - smtpd_forbid_bare_newline: what a line that ends in LF alone means. A server that lets LF.LF end a message
 * can be made to see a second message where the sending server saw none (SMTP smuggling). Layer: smtpd. */
#ifndef POSTERN_SMTPD_BARE_LF_H
#define POSTERN_SMTPD_BARE_LF_H

#include "smtpd/smtpd.h"

/* LF.LF ends this client's messages too: "no", or smtpd_forbid_bare_newline_exclusions. */
bool bare_lf_ends(const struct smtpd_sess *s);

/* One was seen: noted where that is wanted. False: it has to be refused. */
bool bare_lf_is_good(struct smtpd_sess *s);
/* Log and reply; what was sent is over. */
void bare_lf_refuse(struct smtpd_sess *s);

/* A command line ended so. False: it was refused, and the session ends. */
bool bare_lf_take_command(struct smtpd_sess *s);

#endif
