/* smtpd/srs.h - recipients that are senders of ours: what was forwarded under such an address (auth/srs.h) is on its way
 * back. authd says what it stands for. Layer: smtpd. */
#ifndef POSTERN_SMTPD_SRS_H
#define POSTERN_SMTPD_SRS_H

#include "smtpd/find.h"

enum srs_verdict {
    SRS_NOT_OURS, /* an address as others are: of another host, or signed by nobody */
    SRS_STANDS,   /* for another, which is the value */
    SRS_TOO_OLD,
    SRS_UNKNOWN /* nobody can say now */
};
/* value lives during the call. */
typedef void srs_fn(struct smtpd_sess *s, void *arg, enum srs_verdict v, struct slice value);

/* Ask about an address that is resolved (struct addr_info). cb comes once, at once for nearly all addresses. */
void srs_ask(struct smtpd_sess *s, struct slice addr, srs_fn *cb, void *arg);

#endif
