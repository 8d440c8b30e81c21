/* smtpd/account.h - how much an account may submit: what is above submission_account_*_limit_* is taken and put on hold,
 * and postmaster is told once a day. Counts are authd's, for all workers. Layer: smtpd. */
#ifndef POSTERN_SMTPD_ACCOUNT_H
#define POSTERN_SMTPD_ACCOUNT_H

#include "smtpd/smtpd.h"

/* The message of s->tx has come whole. done once, at once or later; tx->wishes.hold may have been set. An authd that is away
 * is no reason not to take the message. */
void account_check(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s));

/* notice.c: a message to postmaster, or to one of the *_notice_recipient, from $double_bounce_sender, through the queue. text:
 * lines end LF. Trouble is only logged. */
void notice_send(struct smtpd_cfg *cfg, const char *subject, struct slice text);
void notice_send_to(struct smtpd_cfg *cfg, const char *to, const char *subject, struct slice text);

#endif
