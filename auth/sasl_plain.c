/* auth/sasl_plain.c - PLAIN, RFC 4616: [authzid] NUL authcid NUL passwd, in one message. */
#include "auth/sasl.h"

static enum sasl_rc
step(struct sasl *s, struct slice response, bool has_response)
{
    struct slice authzid, authcid;

    if (!has_response && s->steps == 0) {
        s->challenge = SL("");
        return SASL_CONTINUE;
    }
    if (s->steps > 1 || !sl_take_until(&response, '\0', &authzid) ||
        !sl_take_until(&response, '\0', &authcid))
        return SASL_BAD;
    buf_adds(&s->authzid, authzid);
    buf_adds(&s->authcid, authcid);
    buf_adds(&s->password, response); /* a NUL in it is refused with the rest */
    return SASL_CREDENTIALS;
}

const struct sasl_mech sasl_plain = { .name = "PLAIN", .flags = "plaintext", .step = step };
