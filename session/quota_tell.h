/* session/quota_tell.h - what is said to lmtpd's private/quota beyond the policy protocol's usual question: that a user's
 * usage has passed a mark of quota_warning, so that he may be written to. Layer: session. */
#ifndef POSTERN_SESSION_QUOTA_TELL_H
#define POSTERN_SESSION_QUOTA_TELL_H

#include "base/slice.h"
#include "conf/conf.h"

/* "request=" of who tells; "recipient" is the user; empty: who knows, the process before this one was killed. lmtpd looks for itself: it may be told too often. */
#define QUOTA_TELL_REQUEST "postern_quota_changed"
/* "policy_context=" of our own smtpd: DUNNO for whatever is not a full mailbox. */
#define QUOTA_OWN_CONTEXT "postern-quota"
#define QUOTA_SERVICE     "private/quota"

/* Once, on the loop; tells that this process has started. */
void quota_tell_init(const struct conf *c);
/* From any thread. Does not block; if lmtpd is away the log says so and that was it: lmtpd looks at everybody when it
 * starts. */
void quota_tell(struct slice user);

#endif
