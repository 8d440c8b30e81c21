/* auth/sasl_external.c - EXTERNAL, RFC 4422 appendix A: the client says whom it wants to be, or nothing; who it is, TLS has
 * found out. */
#include "auth/sasl.h"

static enum sasl_rc
step(struct sasl *s, struct slice response, bool has_response)
{
    if (!has_response && s->steps == 0) {
        s->challenge = SL("");
        return SASL_CONTINUE;
    }
    if (s->steps > 1)
        return SASL_BAD;
    buf_adds(&s->authzid, response);
    return SASL_CLAIMED;
}

const struct sasl_mech sasl_external = { .name = "EXTERNAL", .flags = "", .step = step };
