/* smtpd/finish.h - from the end of data to the reply: the steps that a whole message goes through, one after another.
 * Everything that may refuse, change, hold or redirect a message once all of it is here is a step of the table in
 * finish.c; the reply to the client is the end of the chain. Layer: smtpd. */
#ifndef POSTERN_SMTPD_FINISH_H
#define POSTERN_SMTPD_FINISH_H

#include "smtpd/smtpd.h"

/* All content of s->tx has come. finish_over(s, good) of smtpd_body.c is called when the client was answered. */
void finish_run(struct smtpd_sess *s);
void finish_over(struct smtpd_sess *s, bool good);

/* Every step ends with one of these, once, at once or later from the loop. Answers from elsewhere find the session by
 * its number: it may have gone, and the message with it. */
void finish_next(struct smtpd_sess *s); /* go on with the next step */
void finish_refuse(struct smtpd_sess *s,
                   const char *reply); /* "451 4.3.0 ..."; the message is dropped */

#endif
