/* auth/sasl.h - the server's side of SASL mechanisms: octets of the client to name and password. A mechanism is a row;
 * a new one is a file sasl_x.c and a row here. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SASL_H
#define POSTERN_AUTH_SASL_H

#include "base/buf.h"

enum { SASL_RESPONSE_OCTETS = 8192, SASL_NAME_OCTETS = 255 };

enum sasl_rc {
    SASL_CONTINUE,    /* send s->challenge, step again with the answer */
    SASL_CREDENTIALS, /* authcid and password are set: check them */
    SASL_BAD          /* no exchange of this mechanism */
};
struct sasl;
struct sasl_mech {
    const char *name;
    const char *flags; /* as Dovecot's handshake tells them: "plaintext" */
    enum sasl_rc (*step)(struct sasl *s, struct slice response, bool has_response);
};
struct sasl {
    const struct sasl_mech *mech;
    unsigned steps;
    struct slice challenge; /* static text */
    struct buf authzid, authcid, password;
};

extern const struct sasl_mech sasl_plain, sasl_login;
/* By name, without case; the i-th, NULL past the end. */
const struct sasl_mech *sasl_find(struct slice name);
const struct sasl_mech *sasl_at(size_t i);

void sasl_begin(struct sasl *s, const struct sasl_mech *m);
/* has_response false: the client sent no initial response. */
enum sasl_rc sasl_step(struct sasl *s, struct slice response, bool has_response);
void sasl_end(struct sasl *s); /* wipes */

#endif
