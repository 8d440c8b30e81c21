/* smtpd/limits.h - what one client may do in a while, counted by authd's anvil for all workers together
 * (smtpd_client_*_limit, postconf(5)). Where a limit is set the session waits for the count; where none is set it does
 * not. A count that cannot be had turns nobody away, as in Postfix. Layer: smtpd. Belongs to the loop's thread. */
#ifndef POSTERN_SMTPD_LIMITS_H
#define POSTERN_SMTPD_LIMITS_H

#include "smtpd/smtpd.h"

enum limit { LIMIT_MESSAGE, LIMIT_RECIPIENT, LIMIT_AUTH };

/* Count the connection; then go(s), at once or later. A client with too many is told so and the session ends. The name
 * must be known: smtpd_client_event_limit_exceptions may have it. */
void limits_connect(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s));
/* The session is over. Safe when nothing was counted. */
void limits_disconnect(struct smtpd_sess *s);
/* It is another client now: the old one has gone, the new one is counted by limits_connect(). */
void limits_forget(struct smtpd_sess *s);

/* Count one thing that the command under way (words w) is about to do. True: go on. False: the count is being asked for;
 * the command's function `again` is called anew with w when the client may go on, else the client is refused. */
bool limits_pass(struct smtpd_sess *s, enum limit what, const struct smtp_words *w,
                 void (*again)(struct smtp_sess *s, const struct smtp_words *w));

/* Before a handshake: has the client had too many lately? go(s, is_over), at once or later. Counts nothing. */
void limits_ask_tls(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s, bool is_over));
/* After one: count it; then go(s), or the session ends with 421. */
void limits_count_tls(struct smtpd_sess *s, void (*go)(struct smtpd_sess *s));

#endif
