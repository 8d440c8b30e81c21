/* lmtp/warner.h - writes to users whose mailbox gets full, or has room again (quota_warning), once for each crossing of a mark,
 * whichever process brought it about and however often lmtpd is killed in between. Layer: lmtp; on the loop. */
#ifndef POSTERN_LMTP_WARNER_H
#define POSTERN_LMTP_WARNER_H

#include "base/slice.h"

/* Once, when quota is on and the deliverer is there: hears of what it charges, and goes on with what an earlier lmtpd had not
 * finished. Without its database (the log says why) nobody is written to. */
void warner_start(void);
/* This user's usage may have passed a mark; an empty name: anybody's. */
void warner_look(struct slice user);

#endif
