/* smtpd/pickup.h - what sendmail(1) left in maildrop/ on its way into the queue. One worker looks after the folder. Each file
 * goes through a session of smtpd like any other client's, over a socketpair inside the process: without restrictions, and
 * with what is said here of who wrote it. So all that is done to content is done in one place.
 *   pickup.c       the folder: which file is next, and what becomes of it
 *   pickup_file.c  one file: read, checked, its records
 *   pickup_feed.c  one file through a session
 * Layer: smtpd. */
#ifndef POSTERN_SMTPD_PICKUP_H
#define POSTERN_SMTPD_PICKUP_H

#include "base/buf.h"
#include "conf/conf.h"

#include <sys/types.h>

struct smtpd_sess;

/* Who left a message: the private session's client. Lives as long as the session. */
struct pickup_from {
    uid_t uid; /* the file's owner */
    int64_t dropped_s;
    struct slice full_name; /* for a From field where there is none */
    bool is_gateway;        /* addresses in the header are not completed as a user's */
    /* Not empty: the message has been refused before ("5.7.1 text"). It goes into the queue to be returned to its sender;
     * nothing looks at it again. */
    struct slice refused;
    unsigned
        n_deferred; /* recipients that were put off: then the whole message is, so that none gets it twice */
};

/* In the worker that is to do it; again after a change of the configuration. */
void pickup_start(const struct conf *c);
/* Begin no file any more. */
void pickup_stop(void);

/* ---- asked by the session's own code ---- */
static inline bool
pickup_is_return(const struct pickup_from *p)
{
    return p && p->refused.n > 0;
}
/* "Received: by HOST (NAME, from userid N)\r\n\tid ID; DATE\r\n" */
void pickup_received(const struct smtpd_sess *s, struct buf *out);
/* "From: Full Name <address>\r\n", the name quoted where it must be. address: external form. */
void pickup_from_field(const struct smtpd_sess *s, const char *resent, struct slice address,
                       struct buf *out);

#endif
