/* auth/sasl.c - see sasl.h. */
#include "auth/sasl.h"

#include "base/mem.h"
#include "base/utf8.h"

static const struct sasl_mech *const mechs[] = { &sasl_plain, &sasl_login };

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

/* What every mechanism must have given: a name that is one and a password without NUL. */
static bool
is_usable(const struct sasl *s)
{
    struct slice name = buf_slice(&s->authcid), password = buf_slice(&s->password);

    if (name.n == 0 || name.n > SASL_NAME_OCTETS || password.n == 0 || !utf8_is_valid(name))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f)
            return false;
    return memchr(password.p, '\0', password.n) == NULL;
}

enum sasl_rc
sasl_step(struct sasl *s, struct slice response, bool has_response)
{
    enum sasl_rc rc;

    if (response.n > SASL_RESPONSE_OCTETS)
        return SASL_BAD;
    rc = s->mech->step(s, response, has_response);
    s->steps++;
    return rc == SASL_CREDENTIALS && !is_usable(s) ? SASL_BAD : rc;
}

static void
wipe(struct buf *b)
{
    if (b->p)
        mem_wipe(b->p, b->cap);
    buf_free(b);
}

void
sasl_end(struct sasl *s)
{
    wipe(&s->authzid);
    wipe(&s->authcid);
    wipe(&s->password);
}
