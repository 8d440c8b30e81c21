#include "base/test.h"
#include "oauth/claims.h"

enum { NOW = 1800000000 };

static const struct {
    const char *name;
    enum claims_from from;
    const char *conf, *text;
    const char *want; /* the user; NULL: refused */
    const char *why;  /* of a refusal; or NULL */
} rows[] = {
#define T   "\"exp\":1800000300,"
#define J   "\"email\":\"joe@example.com\""
#define JOE "joe@example.com"
    { "token", CLAIMS_TOKEN, "", "{" T J "}", JOE, NULL },
    { "no exp", CLAIMS_TOKEN, "", "{" J "}", NULL, "has no exp" },
    { "exp null", CLAIMS_TOKEN, "", "{\"exp\":null," J "}", NULL, "has no exp" },
    { "exp of words", CLAIMS_TOKEN, "", "{\"exp\":\"soon\"," J "}", NULL, "exp is no time" },
    { "exp negative", CLAIMS_TOKEN, "", "{\"exp\":-1," J "}", NULL, "exp is no time" },
    { "exp as a power", CLAIMS_TOKEN, "", "{\"exp\":1e12," J "}", NULL, "exp is no time" },
    { "exp huge", CLAIMS_TOKEN, "", "{\"exp\":9223372036854775807," J "}", NULL, "exp is no time" },
    { "exp with a fraction", CLAIMS_TOKEN, "", "{\"exp\":1800000000.5," J "}", JOE, NULL },
    { "exp as text", CLAIMS_TOKEN, "", "{\"exp\":\"1800000300\"," J "}", JOE, NULL },
    { "just within the grace", CLAIMS_TOKEN, "", "{\"exp\":1799999941," J "}", JOE, NULL },
    { "just beyond it", CLAIMS_TOKEN, "", "{\"exp\":1799999940," J "}", NULL, "expired" },
    { "no grace", CLAIMS_TOKEN, "oauth2_token_expire_grace = 0", "{\"exp\":1800000000," J "}", NULL,
      "expired" },
    { "nbf within", CLAIMS_TOKEN, "", "{\"nbf\":1800000060," T J "}", JOE, NULL },
    { "nbf beyond", CLAIMS_TOKEN, "", "{\"nbf\":1800000061," T J "}", NULL, "nbf" },
    { "iat beyond", CLAIMS_TOKEN, "", "{\"iat\":1800000061," T J "}", NULL, "iat" },
    { "an answer without exp", CLAIMS_INFO, "", "{" J "}", JOE, NULL },
    { "an answer that has expired", CLAIMS_INFO, "", "{\"exp\":\"1\"," J "}", NULL, "expired" },
    { "expires_in", CLAIMS_INFO, "", "{\"expires_in\":10," J "}", JOE, NULL },
    { "expires_in nothing", CLAIMS_INFO, "oauth2_token_expire_grace = 0",
      "{\"expires_in\":0," J "}", NULL, "expired" },
    { "active", CLAIMS_INTROSPECTION, "", "{\"active\":true," J "}", JOE, NULL },
    { "not active", CLAIMS_INTROSPECTION, "", "{\"active\":false," J "}", NULL, "not active" },
    { "active in words", CLAIMS_INTROSPECTION, "", "{\"active\":\"true\"," J "}", NULL,
      "does not say" },
    { "active missing", CLAIMS_INTROSPECTION, "", "{" J "}", NULL, "does not say" },
    { "info: not active", CLAIMS_INFO, "", "{\"active\":false," J "}", NULL, "not active" },
    { "an error", CLAIMS_INFO, "", "{\"error\":\"invalid_token\"," J "}", NULL,
      "says: invalid_token" },
    { "own attribute", CLAIMS_INFO, "oauth2_active_attribute = state", "{\"state\":0," J "}", JOE,
      NULL },
    { "own attribute missing", CLAIMS_INFO, "oauth2_active_attribute = state", "{" J "}", NULL,
      "no state" },
    { "own value", CLAIMS_INFO, "oauth2_active_attribute = state\noauth2_active_value = on",
      "{\"state\":\"on\"," J "}", JOE, NULL },
    { "own value, a truth", CLAIMS_INFO, "oauth2_active_attribute = s\noauth2_active_value = true",
      "{\"s\":true," J "}", JOE, NULL },
    { "another value", CLAIMS_INFO, "oauth2_active_attribute = state\noauth2_active_value = on",
      "{\"state\":\"off\"," J "}", NULL, "state is not on" },
#define ISS "oauth2_issuers = https://a.example https://b.example"
    { "issuer", CLAIMS_TOKEN, ISS, "{\"iss\":\"https://b.example\"," T J "}", JOE, NULL },
    { "another issuer", CLAIMS_TOKEN, ISS, "{\"iss\":\"https://b.example/\"," T J "}", NULL,
      "none of oauth2_issuers" },
    { "no issuer", CLAIMS_INFO, ISS, "{" J "}", NULL, "(missing)" },
    { "issuers in an array", CLAIMS_TOKEN, ISS, "{\"iss\":[\"https://b.example\"]," T J "}", NULL,
      "(missing)" },
#define AUD "oauth2_audience = mail web"
    { "aud", CLAIMS_TOKEN, AUD, "{\"aud\":\"web\"," T J "}", JOE, NULL },
    { "aud in an array", CLAIMS_TOKEN, AUD, "{\"aud\":[\"x\",\"mail\"]," T J "}", JOE, NULL },
    { "azp", CLAIMS_TOKEN, AUD, "{\"aud\":\"account\",\"azp\":\"mail\"," T J "}", JOE, NULL },
    { "client_id", CLAIMS_INTROSPECTION, AUD, "{\"active\":true,\"client_id\":\"mail\"," J "}", JOE,
      NULL },
    { "client_id beside azp", CLAIMS_INFO, AUD, "{\"azp\":\"game\",\"client_id\":\"mail\"," J "}",
      NULL, "oauth2_audience" },
    { "another aud", CLAIMS_TOKEN, AUD, "{\"aud\":\"game\"," T J "}", NULL, "oauth2_audience" },
    { "part of aud", CLAIMS_TOKEN, AUD, "{\"aud\":\"mail web\"," T J "}", NULL, "oauth2_audience" },
    { "no aud", CLAIMS_INFO, AUD, "{" J "}", NULL, "oauth2_audience" },
    { "client_id is the audience of tokens", CLAIMS_TOKEN, "oauth2_client_id = mail",
      "{\"aud\":\"mail\"," T J "}", JOE, NULL },
    { "and of no other", CLAIMS_TOKEN, "oauth2_client_id = mail", "{\"aud\":\"game\"," T J "}",
      NULL, "oauth2_client_id" },
    { "but not where the provider is asked", CLAIMS_INTROSPECTION, "oauth2_client_id = mail",
      "{\"active\":true,\"aud\":\"x\"," J "}", JOE, NULL },
#define SCOPE "oauth2_scope = mail imap"
    { "scopes", CLAIMS_INFO, SCOPE, "{\"scope\":\"imap openid mail\"," J "}", JOE, NULL },
    { "one is missing", CLAIMS_INFO, SCOPE, "{\"scope\":\"openid mail\"," J "}", NULL,
      "scope imap" },
    { "in an array", CLAIMS_INFO, SCOPE, "{\"scope\":[\"imap\",\"mail\"]," J "}", JOE, NULL },
    { "scp", CLAIMS_INFO, SCOPE, "{\"scp\":\"imap mail\"," J "}", JOE, NULL },
    { "part of one", CLAIMS_INFO, SCOPE, "{\"scope\":\"imaps mail\"," J "}", NULL, "scope imap" },
    { "no scope", CLAIMS_INFO, SCOPE, "{" J "}", NULL, "scope mail" },
    { "another attribute", CLAIMS_INFO, "oauth2_username_attribute = sub",
      "{\"sub\":\"joe\"," J "}", "joe", NULL },
    { "a number", CLAIMS_INFO, "oauth2_username_attribute = uid", "{\"uid\":1000}", "1000", NULL },
    { "no attribute", CLAIMS_INFO, "", "{\"sub\":\"x\",\"name\":\"y\"}", NULL,
      "no email in it, but: sub name" },
    { "an empty one", CLAIMS_INFO, "", "{\"email\":\"\"}", NULL, "no email" },
    { "an array", CLAIMS_INFO, "", "{\"email\":[\"joe@example.com\"]}", NULL, "no email" },
    { "a blank", CLAIMS_INFO, "", "{\"email\":\"joe @example.com\"}", NULL, "email is no name" },
    { "a NUL", CLAIMS_INFO, "", "{\"email\":\"joe@example.com\\u0000\"}", NULL,
      "email is no name" },
    { "a tab", CLAIMS_INFO, "", "{\"email\":\"joe\\t@example.com\"}", NULL, "email is no name" },
    { "verified", CLAIMS_INFO, "", "{\"email_verified\":true," J "}", JOE, NULL },
    { "verified, in words", CLAIMS_INFO, "", "{\"email_verified\":\"true\"," J "}", JOE, NULL },
    { "not verified", CLAIMS_INFO, "", "{\"email_verified\":false," J "}", NULL, "not verified" },
    { "not verified, another attribute", CLAIMS_INFO, "oauth2_username_attribute = sub",
      "{\"sub\":\"joe\",\"email_verified\":false}", "joe", NULL },
    { "an array of all", CLAIMS_INFO, "", "[{" J "}]", NULL, "no object" },
    { "a word", CLAIMS_INFO, "", "\"joe\"", NULL, "no object" },
};

TEST(verdicts)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct arena mem = { .cap = 64 * 1024 };
        struct conf_problems ps = { 0 };
        struct conf *c = conf_parse(sl_z(rows[i].conf), "main.cf", &ps);
        const struct json *v = NULL;
        struct claims_verdict got;

        TEST_ROW("%s", rows[i].name);
        NEED(c && ps.n == 0);
        NEED(json_parse(sl_z(rows[i].text), &mem, &v, NULL) == 0);
        claims_judge(v, rows[i].from, c, NOW, &got);
        CHECK_EQ_INT(got.rc, rows[i].want ? OAUTH_OK : OAUTH_INVALID);
        if (rows[i].want)
            CHECK_EQ_MEM(got.user.p, got.user.n, rows[i].want, strlen(rows[i].want));
        else if (!strstr(got.why, rows[i].why))
            FAIL("\"%s\" does not say \"%s\"", got.why, rows[i].why);
        conf_problems_free(&ps);
        conf_unref(&c);
        arena_free(&mem);
    }
}

TEST(when_it_ends)
{
    struct arena mem = { .cap = 64 * 1024 };
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL(""), "main.cf", &ps);
    const struct json *v = NULL;
    struct claims_verdict got;

    NEED(json_parse(SL("{\"expires_in\":10," J "}"), &mem, &v, NULL) == 0);
    claims_judge(v, CLAIMS_INFO, c, NOW, &got);
    CHECK_EQ_INT(got.expires_unix_s, NOW + 10);
    NEED(json_parse(SL("{" J "}"), &mem, &v, NULL) == 0);
    claims_judge(v, CLAIMS_INFO, c, NOW, &got);
    CHECK_EQ_INT(got.expires_unix_s, 0);
    NEED(json_parse(SL("{\"exp\":1799999990," J "}"), &mem, &v, NULL) == 0);
    claims_judge(v, CLAIMS_TOKEN, c, NOW, &got);
    CHECK(got.rc == OAUTH_OK && got.expires_unix_s == NOW - 10);
    conf_problems_free(&ps);
    conf_unref(&c);
    arena_free(&mem);
}

TEST_MAIN()
