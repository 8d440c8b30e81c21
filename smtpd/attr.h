/* smtpd/attr.h - what a reply's template may say of the session: $client, $helo_name, $sender_domain, ... as
 * default_rbl_reply and smtpd_reject_footer document them. Layer: smtpd. */
#ifndef POSTERN_SMTPD_ATTR_H
#define POSTERN_SMTPD_ATTR_H

#include "smtpd/smtpd.h"

/* Append the value; false: there is no such name. about: sender and recipient of the command under way. */
bool smtpd_attr(const struct smtpd_sess *s, const struct restrict_subject *about, struct slice name,
                struct buf *out);

#endif
