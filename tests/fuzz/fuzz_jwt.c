/* Tokens, keys and claims. The first octet says what the rest is: a token, a key set, or what claims say. A token that the key
 * has not signed must not be taken, and none of these is signed by it but the one that stands here. */
#include "oauth/claims.h"
#include "oauth/jwt.h"
#include "tests/fuzz/fuzz.h"

/* RFC 7515 A.3 */
static const char key[] =
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
static const char header_and_payload[] = "eyJhbGciOiJFUzI1NiJ9."
                                         "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6L"
                                         "y9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";

static struct jwks *keys;
static struct conf *conf;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct conf_problems ps = { 0 };

    (void)argc;
    (void)argv;
    fuzz_quiet();
    MUST(jwks_parse(SL(key), &keys, NULL) == 0);
    conf = conf_parse(SL("oauth2_issuers = joe\noauth2_audience = mail\noauth2_scope = mail imap\n"
                         "oauth2_active_attribute = state\noauth2_active_value = on\n"),
                      "main.cf", &ps);
    conf_problems_free(&ps);
    return 0;
}

static void
look_at_token(struct slice token)
{
    struct arena mem = { .cap = JWT_ARENA_OCTETS };
    const struct json *claims = NULL;
    struct err e = { 0 };
    int rc = jwt_verify(token, keys, &mem, &claims, &e);

    MUST(rc == 0 || e.msg[0] != '\0');
    MUST(rc != 0 || sl_has_prefix(token, SL(header_and_payload)));
    arena_free(&mem);
}

static void
look_at_keys(struct slice text)
{
    struct jwks *other = NULL;
    struct err e = { 0 };

    if (jwks_parse(text, &other, &e) == 0)
        MUST(jwks_count(other) > 0 && jwks_count(other) <= JWKS_KEYS_MAX);
    else
        MUST(e.msg[0] != '\0');
    jwks_free(&other);
}

static void
look_at_claims(struct slice text, enum claims_from from)
{
    struct arena mem = { .cap = JWT_ARENA_OCTETS };
    const struct json *v = NULL;
    struct claims_verdict out;

    if (json_parse(text, &mem, &v, NULL) == 0) {
        claims_judge(v, from, conf, 1800000000, &out);
        MUST((out.rc == OAUTH_OK) == (out.why[0] == '\0'));
        if (out.rc == OAUTH_OK) {
            MUST(out.user.n > 0 && memchr(out.user.p, '\0', out.user.n) == NULL);
            MUST(sl_eqz(json_string(v, "iss"), "joe"));
            MUST(from != CLAIMS_INTROSPECTION || json_get(v, "active")->type == JSON_TRUE);
            MUST(from != CLAIMS_TOKEN || out.expires_unix_s > 1800000000 - 60);
        }
    }
    arena_free(&mem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), copy;
    unsigned what = fuzz_choice(&in) % 5;

    copy = fuzz_dup(in);
    if (what == 0)
        look_at_token(copy);
    else if (what == 1)
        look_at_keys(copy);
    else
        look_at_claims(copy, (enum claims_from)(what - 2));
    fuzz_free(copy);
    return 0;
}
