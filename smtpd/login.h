/* smtpd/login.h - who may send as whom. Layer: smtpd. */
#ifndef POSTERN_SMTPD_LOGIN_H
#define POSTERN_SMTPD_LOGIN_H

#include "smtpd/check.h"

/* Once a configuration's restrictions are read: which tables know the owners of sender addresses, and, on the submission
 * listeners, that a client that logged in must own its sender - before all else that smtpd_sender_restrictions say, unless
 * submission_sender_login_maps is set to nothing or a restriction of that kind stands in some list. */
void login_set_cfg(struct smtpd_cfg *g);

#endif
