/* session/smtp_sasl.h - the AUTH exchange of RFC 4954 over an SMTP session: challenges and responses in base64 between
 * the client and authd (or a real Dovecot). Layer: session. */
#ifndef POSTERN_SESSION_SMTP_SASL_H
#define POSTERN_SESSION_SMTP_SASL_H

#include "auth/auth_client.h"
#include "session/smtp_server.h"

enum { SMTP_SASL_RESPONSE_OCTETS = 12288 }; /* RFC 4954 §4 */

enum smtp_sasl_rc { SMTP_SASL_OK, SMTP_SASL_FAILED, SMTP_SASL_TEMPFAIL, SMTP_SASL_ABORTED };
struct smtp_sasl_result {
    enum smtp_sasl_rc rc;
    struct slice user;  /* OK: canonical name; FAILED: who it was, if authd says */
    const char *reason; /* else: for the log; never a secret */
};

/* Run the exchange and reply at its end; then done, once, whose last act is smtp_sess_done(s, rc == OK). ask is copied
 * as far as needed; ask->initial is ignored. initial: the word after the mechanism, base64 or "=" (empty); p NULL: none.
 * The mechanism has been found fit for this session. */
void smtp_sasl_start(struct smtp_sess *s, struct auth_client *a, const struct auth_ask *ask,
                     struct slice initial,
                     void (*done)(struct smtp_sess *s, const struct smtp_sasl_result *r));
/* The session is gone. Safe when no exchange is under way. */
void smtp_sasl_cancel(struct smtp_sess *s);

#endif
