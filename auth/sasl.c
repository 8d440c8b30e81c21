/* auth/sasl.c - see sasl.h. */
#include "auth/sasl.h"

#include "base/mem.h"
#include "base/utf8.h"

static const struct sasl_mech *const mechs[] = { &sasl_plain,       &sasl_login,
                                                 &sasl_external,    &sasl_scram_sha256,
                                                 &sasl_oauthbearer, &sasl_xoauth2 };

const struct sasl_mech *
sasl_at(size_t i)
{
    return i < COUNT_OF(mechs) ? mechs[i] : NULL;
}

const struct sasl_mech *
sasl_find(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(mechs); i++)
        if (sl_ieqz(name, mechs[i]->name))
            return mechs[i];
    return NULL;
}

void
sasl_begin(struct sasl *s, const struct sasl_mech *m)
{
    *s = (struct sasl){ .mech = m };
}

bool
sasl_is_name(struct slice name)
{
    if (name.n > SASL_NAME_OCTETS || !utf8_is_valid(name))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return false;
    return true;
}

/* What every mechanism must have given: names that are some, a password without NUL, a token. */
static bool
is_usable(const struct sasl *s, enum sasl_rc rc)
{
    struct slice authcid = buf_slice(&s->authcid), password = buf_slice(&s->password);

    if (!sasl_is_name(authcid) || !sasl_is_name(buf_slice(&s->authzid)))
        return false;
    switch (rc) {
    case SASL_CREDENTIALS:
        return authcid.n > 0 && password.n > 0 && memchr(password.p, '\0', password.n) == NULL;
    case SASL_LOOKUP:
    case SASL_PROVEN:
        return authcid.n > 0;
    case SASL_TOKEN: /* without one the client asks where to get it */
    case SASL_CLAIMED:
    case SASL_CONTINUE:
    case SASL_WRONG:
    case SASL_BAD:
        break;
    }
    return true;
}

enum sasl_rc
sasl_step(struct sasl *s, struct slice response, bool has_response)
{
    enum sasl_rc rc;

    if (response.n > SASL_RESPONSE_OCTETS)
        return SASL_BAD;
    rc = s->mech->step(s, response, has_response);
    s->steps++;
    return is_usable(s, rc) ? rc : SASL_BAD;
}

enum sasl_rc
sasl_give_verifier(struct sasl *s, const struct sasl_verifier *v)
{
    return s->mech->verifier(s, v);
}

void
sasl_end(struct sasl *s)
{
    buf_wipe(&s->authzid);
    buf_wipe(&s->authcid);
    buf_wipe(&s->password);
    buf_wipe(&s->token);
    buf_wipe(&s->final);
    buf_wipe(&s->text);
    buf_wipe(&s->state);
}
