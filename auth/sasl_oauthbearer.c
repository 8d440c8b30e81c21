/* auth/sasl_oauthbearer.c - OAUTHBEARER, RFC 7628, and XOAUTH2, which was there before it (Google's "SASL XOAUTH2 mechanism").
 * One response with a name and a token. A token that is refused gets a challenge that says why in JSON, and whatever the
 * client answers to that, it has failed (RFC 7628 §3.2.3).
 *
 *   OAUTHBEARER  n,a=joe@example.com,^Ahost=mx.example.com^Aauth=Bearer TOKEN^A^A
 *   XOAUTH2      user=joe@example.com^Aauth=Bearer TOKEN^A^A
 */
#include "auth/sasl.h"

enum { KV_PAIRS_MAX = 16 };

/* authzid of a gs2-header: "=2C" is a comma, "=3D" is "=", no other "=" (RFC 5801 §4). */
static bool
take_saslname(struct buf *out, struct slice in)
{
    while (in.n > 0) {
        if (sl_take_iprefix(&in, SL("=2C"))) {
            buf_addc(out, ',');
        } else if (sl_take_iprefix(&in, SL("=3D"))) {
            buf_addc(out, '=');
        } else if (in.p[0] == '=') {
            return false;
        } else {
            buf_addc(out, in.p[0]);
            in = sl_from(in, 1);
        }
    }
    return true;
}

static bool
is_key(struct slice key)
{
    for (size_t i = 0; i < key.n; i++)
        if (!(key.p[i] >= 'a' && key.p[i] <= 'z') && !(key.p[i] >= 'A' && key.p[i] <= 'Z'))
            return false;
    return key.n > 0;
}

static bool
is_value(struct slice value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < 0x20 ? value.p[i] == '\0' || !strchr("\t\r\n", value.p[i])
                              : value.p[i] == 0x7f)
            return false;
    return true;
}

/* What is behind "auth=": the scheme without case, one or more blanks, the token. */
static bool
take_bearer(struct sasl *s, struct slice value)
{
    if (value.n == 0) /* nothing: a client that asks where to get one */
        return true;
    if (!sl_take_iprefix(&value, SL("Bearer ")))
        return false;
    while (sl_take_char(&value, ' '))
        ;
    if (s->token.n > 0)
        return false;
    buf_adds(&s->token, value);
    return true;
}

/* *(key "=" value kvsep) kvsep, and nothing behind it. */
static bool
take_pairs(struct sasl *s, struct slice in)
{
    struct slice pair, key;
    unsigned n = 0;
    bool has_auth = false;

    while (sl_take_until(&in, '\1', &pair)) {
        if (pair.n == 0)
            return in.n == 0;
        if (++n > KV_PAIRS_MAX || !sl_take_until(&pair, '=', &key) || !is_key(key) ||
            !is_value(pair))
            return false;
        if (!sl_ieqz(key, "auth"))
            continue; /* host, port, and what is not known: RFC 7628 §3.1 */
        if (has_auth || !take_bearer(s, pair))
            return false;
        has_auth = true;
    }
    return false;
}

/* gs2-header: no channel binding, or none that the client knows of us (RFC 5801 §4). */
static bool
take_header(struct sasl *s, struct slice *in)
{
    struct slice flag, authzid;

    if (!sl_take_until(in, ',', &flag) || !(sl_eqz(flag, "n") || sl_eqz(flag, "y")) ||
        !sl_take_until(in, ',', &authzid))
        return false;
    if (authzid.n > 0 && (!sl_take_prefix(&authzid, SL("a=")) || authzid.n == 0))
        return false;
    return take_saslname(&s->authcid, authzid) && sl_take_char(in, '\1');
}

static bool
take_user(struct sasl *s, struct slice *in)
{
    struct slice user;

    if (!sl_take_prefix(in, SL("user=")) || !sl_take_until(in, '\1', &user) || user.n == 0)
        return false;
    buf_adds(&s->authcid, user);
    return true;
}

static enum sasl_rc
step(struct sasl *s, struct slice in, bool has_response,
     bool (*take)(struct sasl *, struct slice *))
{
    if (s->text.n > 0) /* it was told why: what it answers, a lone ^A or nothing, changes nothing */
        return SASL_WRONG;
    if (!has_response && s->steps == 0) {
        s->challenge = SL("");
        return SASL_CONTINUE;
    }
    if (s->steps > 1)
        return SASL_BAD;
    if (!sl_eqz(in, "\1") && (!take(s, &in) || !take_pairs(s, in)))
        return SASL_BAD;
    return sasl_is_name(buf_slice(&s->authcid)) ? SASL_TOKEN : SASL_BAD;
}

static enum sasl_rc
step_oauthbearer(struct sasl *s, struct slice in, bool has_response)
{
    return step(s, in, has_response, take_header);
}

static enum sasl_rc
step_xoauth2(struct sasl *s, struct slice in, bool has_response)
{
    return step(s, in, has_response, take_user);
}

/* "plaintext": who overhears a token has it, until it ends. */
const struct sasl_mech sasl_oauthbearer = {
    .name = "OAUTHBEARER", .flags = "plaintext", .step = step_oauthbearer, .needs_tokens = true
};
const struct sasl_mech sasl_xoauth2 = {
    .name = "XOAUTH2", .flags = "plaintext", .step = step_xoauth2, .needs_tokens = true
};
