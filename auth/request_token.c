/* auth/request_token.c - a token: oauthd says what it is worth, and for whom; that must be who the client says it is. A
 * client whose token is refused hears why in JSON (RFC 7628 §3.2.2; XOAUTH2's as Google has it), and has failed whatever
 * it answers. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "auth/oauth_client.h"
#include "base/json.h"
#include "base/log.h"

static void
add_scopes(const struct conf *c, struct buf *out)
{
    struct buf scopes = { 0 };

    for (size_t i = 0; i < c->oauth2_scope.n; i++)
        buf_addf(&scopes, "%s%s", i > 0 ? " " : "", c->oauth2_scope.v[i]);
    if (scopes.n > 0) {
        buf_addz(out, ",\"scope\":");
        json_add(out, buf_slice(&scopes));
    }
    buf_free(&scopes);
}

/* why: for the log, when all is over. */
static void
refuse(struct auth_request *r, struct slice why, bool is_scope)
{
    const struct conf *c = r->conf;
    struct sasl *s = &r->sasl;

    buf_reset(&s->text);
    if (s->mech == &sasl_xoauth2)
        buf_addz(&s->text, "{\"status\":\"401\",\"schemes\":\"bearer\"");
    else
        buf_addf(&s->text, "{\"status\":\"%s\"", is_scope ? "insufficient_scope" : "invalid_token");
    add_scopes(c, &s->text);
    if (s->mech != &sasl_xoauth2 && c->oauth2_openid_configuration_url[0]) {
        buf_addz(&s->text, ",\"openid-configuration\":");
        json_add(&s->text, sl_z(c->oauth2_openid_configuration_url));
    }
    buf_addc(&s->text, '}');
    s->challenge = buf_slice(&s->text);
    buf_reset(&s->state);
    buf_adds(&s->state, why);
    s->why = buf_z(&s->state);
    auth_request_go_on(r, SASL_CONTINUE);
}

/* The token's name, to be compared with what oauth2_username_validation_format makes of the client's: that is whole as the
 * client's is, or a part of it. False: it is none. */
static bool
name_of_token(const struct conf *c, struct slice name, bool is_whole, struct buf *out)
{
    const char *why;

    if (is_whole)
        return auth_name_of_client(c, name, out, &why);
    auth_format_name(c->auth_username_format, name, out);
    return sasl_is_name(buf_slice(out));
}

static void
on_good(struct auth_request *r, struct slice name)
{
    const struct conf *c = r->conf;
    struct buf token_name = { 0 }, wanted = { 0 }, why = { 0 };
    bool is_whole = sl_eqz(SL("%u"), c->oauth2_username_validation_format);

    if (!name_of_token(c, name, is_whole, &token_name))
        buf_addz(&why, "the token's name is none");
    else if (r->user.n == 0 && is_whole)
        buf_adds(&r->user, buf_slice(&token_name));
    if (r->user.n > 0)
        auth_format_name(c->oauth2_username_validation_format, buf_slice(&r->user), &wanted);
    if (why.n == 0 && r->user.n == 0)
        buf_addz(&why, "the client gave no name, and the token's is no whole one");
    else if (why.n == 0 && !sl_eq(buf_slice(&wanted), buf_slice(&token_name)))
        buf_addf(&why, "the token is of another user: %.*s", SL_ARG(buf_slice(&token_name)));
    if (why.n > 0)
        refuse(r, buf_slice(&why), false);
    else
        auth_request_authenticated(r);
    buf_free(&token_name);
    buf_free(&wanted);
    buf_free(&why);
}

static void
on_checked(uint64_t id, const struct oauth_result *o)
{
    struct auth_request *r = id_get(id);
    struct buf why = { 0 };

    if (r == NULL)
        return;
    switch (o->rc) {
    case OAUTH_OK:
        on_good(r, o->user);
        return;
    case OAUTH_INVALID:
        refuse(r, o->why, o->is_scope);
        return;
    case OAUTH_TEMP: /* nobody's fault here: no penalty, and no "wrong" */
        buf_adds(&why, o->why);
        auth_request_fail_temporarily(r, buf_z(&why));
        buf_free(&why);
    }
}

void
auth_request_check_token(struct auth_request *r)
{
    struct sasl *s = &r->sasl;
    const char *why = NULL;

    /* Tokens are of those who use them: no master's, and '*' is but a letter of the name. */
    buf_reset(&r->user);
    buf_reset(&r->other);
    r->why_wrong = NULL;
    if (s->authcid.n > 0 && !auth_name_of_client(r->conf, buf_slice(&s->authcid), &r->user, &why))
        auth_request_fail(r, why);
    else if (s->token.n == 0) /* it asks where to get one: RFC 7628 §4.3 */
        refuse(r, SL("no token"), false);
    else if (r->auth->oauth == NULL)
        auth_request_fail_temporarily(r, "nobody here can tell what a token is worth");
    else
        oauth_client_check(r->auth->oauth, buf_slice(&s->token), on_checked, r->id);
}
