/* oauth/jwt.c - see jwt.h. */
#include "oauth/jwt.h"

#include "base/enc.h"

/* One of three parts, in base64url, as JSON. */
static int
parse_part(struct slice part, const char *what, struct arena *mem, const struct json **out,
           struct err *e)
{
    struct buf octets = { 0 };
    const struct json *j = NULL;
    struct slice text = { 0 };
    int rc = enc_b64url_decode(&octets, part);

    if (rc != 0)
        err_set(e, ERR_CLIENT, "%s is no base64url", what);
    if (rc == 0) {
        text = arena_dup(mem, buf_slice(&octets));
        rc = text.p ? json_parse(text, mem, &j, e) : err_set(e, ERR_LIMIT, "too much of it");
        if (rc != 0)
            err_prefix(e, "%s", what);
    }
    if (rc == 0 && (j == NULL || j->type != JSON_OBJECT))
        rc = err_set(e, ERR_CLIENT, "%s is no object", what);
    *out = j;
    buf_free(&octets);
    return rc;
}

/* RFC 7515 §4.1: what of the header has a say. */
static int
look_at_header(const struct json *header, enum verify_alg *alg, struct slice *kid, struct err *e)
{
    const struct json *typ = json_get(header, "typ"), *id = json_get(header, "kid");
    struct slice name = json_string(header, "alg"), kind = json_string(header, "typ");

    if (!verify_alg_find(name, alg))
        return err_set(e, ERR_CLIENT, "alg %.*s is none for public keys",
                       SL_ARG(name.p ? sl_head(name, 32) : SL("(missing)")));
    if (json_get(header, "crit"))
        return err_set(e, ERR_CLIENT, "header has \"crit\"");
    if (json_get(header, "b64"))
        return err_set(e, ERR_CLIENT, "header has \"b64\"");
    sl_take_iprefix(&kind, SL("application/"));
    /* RFC 9068 §4; a token made for something else must not open a mailbox (RFC 8725 §3.11) */
    if (typ && !sl_ieqz(kind, "JWT") && !sl_ieqz(kind, "at+jwt"))
        return err_set(e, ERR_CLIENT, "typ %.*s is no access token's", SL_ARG(sl_head(kind, 32)));
    if (id && id->type != JSON_STRING)
        return err_set(e, ERR_CLIENT, "kid is no string");
    *kid = id ? id->text : sl_n(NULL, 0);
    return 0;
}

static int
find_signer(const struct jwks *keys, enum verify_alg alg, struct slice kid, struct slice text,
            struct slice signature, struct err *e)
{
    const struct jwk *k;
    bool is_any = false;

    for (size_t i = 0; (k = jwks_at(keys, i)) != NULL; i++) {
        if ((kid.p && k->kid.p && !sl_eq(kid, k->kid)) || (k->has_alg && k->alg != alg) ||
            !verify_key_fits(k->key, alg))
            continue;
        is_any = true;
        if (verify_sig(k->key, alg, text, signature))
            return 0;
    }
    if (is_any)
        return err_set(e, ERR_CLIENT, "the signature (%s) is wrong", verify_alg_name(alg));
    return err_set(e, ERR_CLIENT, "no key for %s with kid %.*s", verify_alg_name(alg),
                   SL_ARG(kid.p ? sl_head(kid, 64) : SL("(none)")));
}

static int
verify(struct slice token, const struct jwks *keys, struct arena *mem, struct slice *payload,
       struct err *e)
{
    struct slice rest = token, head, text;
    struct buf signature = { 0 };
    const struct json *header = NULL;
    enum verify_alg alg = VERIFY_RS256;
    struct slice kid = { 0 };
    int rc = -1;

    if (!sl_take_until(&rest, '.', &head) || !sl_take_until(&rest, '.', payload) ||
        sl_find_char(rest, '.') != SL_NPOS)
        return err_set(e, ERR_CLIENT, "not of three parts");
    text = sl_head(token, token.n - rest.n - 1);
    if (parse_part(head, "header", mem, &header, e) != 0 ||
        look_at_header(header, &alg, &kid, e) != 0)
        return -1;
    if (enc_b64url_decode(&signature, rest) != 0)
        err_set(e, ERR_CLIENT, "the signature is no base64url");
    else
        rc = find_signer(keys, alg, kid, text, buf_slice(&signature), e);
    buf_free(&signature);
    return rc;
}

int
jws_verify(struct slice token, const struct jwks *keys, struct buf *payload, struct err *e)
{
    struct arena mem = { .cap = JWT_ARENA_OCTETS };
    struct slice part = { 0 };
    int rc = verify(token, keys, &mem, &part, e);

    if (rc == 0 && enc_b64url_decode(payload, part) != 0)
        rc = err_set(e, ERR_CLIENT, "the payload is no base64url");
    arena_free(&mem);
    return rc;
}

int
jwt_verify(struct slice token, const struct jwks *keys, struct arena *mem,
           const struct json **claims, struct err *e)
{
    struct slice part = { 0 };

    if (verify(token, keys, mem, &part, e) != 0)
        return -1;
    return parse_part(part, "payload", mem, claims, e);
}
