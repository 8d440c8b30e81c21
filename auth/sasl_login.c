/* auth/sasl_login.c - LOGIN, of draft-murchison-sasl-login: two questions, name and password. An initial response is
 * the name, as Dovecot takes it. */
#include "auth/sasl.h"

static enum sasl_rc
step(struct sasl *s, struct slice response, bool has_response)
{
    if (!has_response) {
        s->challenge = SL("Username:");
        return s->steps == 0 ? SASL_CONTINUE : SASL_BAD;
    }
    if (s->authcid.n == 0) {
        buf_adds(&s->authcid, response);
        s->challenge = SL("Password:");
        return response.n ? SASL_CONTINUE : SASL_BAD;
    }
    buf_adds(&s->password, response);
    return SASL_CREDENTIALS;
}

const struct sasl_mech sasl_login = { .name = "LOGIN", .flags = "plaintext", .step = step };
