/* Examples of RFC 7515 appendix A, RFC 7520 section 4 and RFC 8037 appendix A; and what is none of these. */
#include "base/test.h"
#include "oauth/jwt.h"

#define A2_KEY                                                                                     \
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"   \
    "Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_"   \
    "7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3"  \
    "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWy"  \
    "uXpoQ\",\"e\":\"AQAB\"}"
#define A_PAYLOAD                                                                                  \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
#define A2_SIGNATURE                                                                               \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5" \
    "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb" \
    "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO" \
    "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
#define A2_TOKEN "eyJhbGciOiJSUzI1NiJ9." A_PAYLOAD "." A2_SIGNATURE
#define A3_KEY                                                                                     \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define A3_SIGNATURE                                                                               \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define A3_TOKEN "eyJhbGciOiJFUzI1NiJ9." A_PAYLOAD "." A3_SIGNATURE
#define A_TEXT   "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"

#define COOK_RSA                                                                                   \
    "{\"kty\":\"RSA\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"n\":"           \
    "\"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_"   \
    "AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7T"  \
    "pe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_"    \
    "vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw\",\"e\":\"AQAB\"}"
#define COOK_EC                                                                                    \
    "{\"kty\":\"EC\",\"kid\":\"bilbo.baggins@hobbiton.example\",\"use\":\"sig\",\"crv\":\"P-"      \
    "521\",\"x\":"                                                                                 \
    "\"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-"                    \
    "7ytDyRXYgCF5cj0Kt\",\"y\":"                                                                   \
    "\"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDP"                          \
    "rwQrJmbnX9cwlGfP-HqHZR1\"}"
#define COOK_PAYLOAD                                                                               \
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250" \
    "b"                                                                                            \
    "yB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlc" \
    "m"                                                                                            \
    "UgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
#define COOK_TEXT                                                                                  \
    "It\xe2\x80\x99s a dangerous business, Frodo, going out your door. You step onto the road, "   \
    "and "                                                                                         \
    "if you don't keep your feet, there\xe2\x80\x99s no knowing where you might be swept off to."
#define COOK_RS256                                                                                 \
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." COOK_PAYLOAD       \
    ".MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xu"  \
    "glII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE" \
    "6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQ" \
    "SE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
#define COOK_PS384                                                                                 \
    "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." COOK_PAYLOAD       \
    ".cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8"  \
    "TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBq" \
    "rYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_"           \
    "jLAeQTlqRHt"                                                                                  \
    "fa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
#define COOK_ES512                                                                                 \
    "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9." COOK_PAYLOAD       \
    ".AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-"                                                        \
    "JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3m"                                    \
    "tPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
#define ED_KEY                                                                                     \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define ED_TOKEN                                                                                   \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."                                    \
    "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define ALL "{\"keys\":[" A2_KEY "," A3_KEY "," COOK_RSA "," COOK_EC "," ED_KEY "]}"

static const struct {
    const char *name, *keys, *token;
    const char *want; /* payload; NULL: refused */
    const char *why;  /* in the words of the refusal */
} rows[] = {
    { "RFC 7515 A.2", A2_KEY, A2_TOKEN, A_TEXT, NULL },
    { "RFC 7515 A.3", A3_KEY, A3_TOKEN, A_TEXT, NULL },
    { "RFC 7520 4.1", COOK_RSA, COOK_RS256, COOK_TEXT, NULL },
    { "RFC 7520 4.2", COOK_RSA, COOK_PS384, COOK_TEXT, NULL },
    { "RFC 7520 4.3", COOK_EC, COOK_ES512, COOK_TEXT, NULL },
    { "RFC 8037 A.4", ED_KEY, ED_TOKEN, "Example of Ed25519 signing", NULL },
    { "RS256 among all", ALL, A2_TOKEN, A_TEXT, NULL },
    { "ES256 among all", ALL, A3_TOKEN, A_TEXT, NULL },
    { "by its kid among all", ALL, COOK_PS384, COOK_TEXT, NULL },
    { "EdDSA among all", ALL, ED_TOKEN, "Example of Ed25519 signing", NULL },
    { "another key", COOK_RSA, A2_TOKEN, NULL, "signature (RS256) is wrong" },
    { "of another kind", A3_KEY, A2_TOKEN, NULL, "no key for RS256" },
    { "another header", A2_KEY, "eyJhbGciOiJSUzM4NCJ9." A_PAYLOAD "." A2_SIGNATURE, NULL,
      "signature (RS384) is wrong" },
    { "PS in place of RS", A2_KEY, "eyJhbGciOiJQUzI1NiJ9." A_PAYLOAD "." A2_SIGNATURE, NULL,
      "signature (PS256) is wrong" },
    { "another payload", A2_KEY, "eyJhbGciOiJSUzI1NiJ9.e30." A2_SIGNATURE, NULL, "is wrong" },
    { "the key is for another algorithm",
      "{\"alg\":\"ES384\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
      "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
      "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
      A3_TOKEN, NULL, "no key for ES256" },
    { "a signature in DER", A3_KEY, "eyJhbGciOiJFUzI1NiJ9." A_PAYLOAD ".MAYCAQECAQE", NULL,
      "is wrong" },
    { "a longer signature", A3_KEY, A3_TOKEN "AA", NULL, "is wrong" },
    { "zeros", A3_KEY,
      "eyJhbGciOiJFUzI1NiJ9." A_PAYLOAD
      ".AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
      NULL, "is wrong" },
    { "no signature", A2_KEY, "eyJhbGciOiJSUzI1NiJ9." A_PAYLOAD ".", NULL, "is wrong" },
    { "none", A2_KEY, "eyJhbGciOiJub25lIn0." A_PAYLOAD ".", NULL, "alg none is none" },
    { "HS256", A2_KEY,
      "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." A_PAYLOAD
      ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
      NULL, "alg HS256 is none" },
    { "no alg", A2_KEY, "e30." A_PAYLOAD "." A2_SIGNATURE, NULL, "alg (missing)" },
    { "an array", A2_KEY, "W10." A_PAYLOAD "." A2_SIGNATURE, NULL, "header is no object" },
    { "two parts", A2_KEY, "eyJhbGciOiJSUzI1NiJ9." A_PAYLOAD, NULL, "three parts" },
    { "four parts", A2_KEY, A2_TOKEN ".", NULL, "three parts" },
    { "padding", A2_KEY, A2_TOKEN "==", NULL, "signature is no base64url" },
    { "a header that is no base64", A2_KEY, "eyJhbGci*." A_PAYLOAD "." A2_SIGNATURE, NULL,
      "header is no base64url" },
    { "nothing", A2_KEY, "", NULL, "three parts" },
    { "dots", A2_KEY, "..", NULL, "header" },
};

TEST(signatures)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct jwks *keys = NULL;
        struct buf payload = { 0 };
        struct err e = { 0 };
        int rc;

        TEST_ROW("%s", rows[i].name);
        NEED(jwks_parse(sl_z(rows[i].keys), &keys, &e) == 0);
        rc = jws_verify(sl_z(rows[i].token), keys, &payload, &e);
        CHECK_EQ_INT(rc, rows[i].want ? 0 : -1);
        if (rows[i].want)
            CHECK_EQ_MEM(buf_slice(&payload).p, payload.n, rows[i].want, strlen(rows[i].want));
        else if (!strstr(e.msg, rows[i].why))
            FAIL("\"%s\" does not say \"%s\"", e.msg, rows[i].why);
        buf_free(&payload);
        jwks_free(&keys);
    }
}

/* Each octet of a token that is changed makes another one of it, that nobody has signed. */
TEST(every_octet_counts)
{
    struct jwks *keys = NULL;
    char token[] = A3_TOKEN;
    struct buf payload = { 0 };

    NEED(jwks_parse(sl_z(A3_KEY), &keys, NULL) == 0);
    for (size_t i = 0; token[i]; i++) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        if (jws_verify(sl_z(token), keys, &payload, NULL) == 0)
            FAIL("octet %zu does not count", i);
        token[i] = was;
    }
    CHECK_EQ_INT(jws_verify(sl_z(token), keys, &payload, NULL), 0);
    buf_free(&payload);
    jwks_free(&keys);
}

TEST(claims_are_an_object)
{
    struct arena mem = { .cap = JWT_ARENA_OCTETS };
    struct jwks *keys = NULL;
    const struct json *claims = NULL;
    struct err e = { 0 };

    NEED(jwks_parse(SL(ALL), &keys, &e) == 0);
    CHECK_EQ_INT(jwt_verify(SL(A2_TOKEN), keys, &mem, &claims, &e), 0);
    CHECK(sl_eqz(json_string(claims, "iss"), "joe"));
    CHECK_EQ_INT(jwt_verify(SL(ED_TOKEN), keys, &mem, &claims, &e), -1);
    CHECK(strstr(e.msg, "payload: no JSON") != NULL);
    jwks_free(&keys);
    arena_free(&mem);
}

TEST(key_sets)
{
    static const struct {
        const char *name, *text;
        int want; /* keys; -1: none */
        bool has_secret;
    } sets[] = {
        { "all", ALL, 5, false },
        { "one", A3_KEY, 1, false },
        { "what is not known is passed over",
          "{\"keys\":[{\"kty\":\"XYZ\"},{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":"
          "\"AA\"},{}," ED_KEY "]}",
          1, false },
        { "for encryption",
          "{\"keys\":[{\"use\":\"enc\",\"kty\":\"RSA\"},{\"key_ops\":[\"encrypt\"],\"kty\":\"RSA\"}"
          ","
          "{\"alg\":\"RSA-OAEP\",\"kty\":\"RSA\"}," ED_KEY "]}",
          1, false },
        { "a secret one is none",
          "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\",\"alg\":\"HS256\"}," ED_KEY "]}", 1, true },
        { "only a secret one", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", -1, false },
        { "empty", "{\"keys\":[]}", -1, false },
        { "no keys", "{}", -1, false },
        { "an array", "[" ED_KEY "]", -1, false },
        { "no array", "{\"keys\":" ED_KEY "}", -1, false },
        { "no object", "{\"keys\":[1]}", -1, false },
        { "no JSON", "{", -1, false },
        { "no n", "{\"kty\":\"RSA\",\"e\":\"AQAB\"}", -1, false },
        { "short RSA", "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}", -1, false },
        { "no point",
          "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
          "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
          -1, false },
        { "short x", "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", -1,
          false },
        { "no base64url",
          "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS/"
          "7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}",
          -1, false },
    };

    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct jwks *keys = NULL;
        struct err e = { 0 };
        int rc = jwks_parse(sl_z(sets[i].text), &keys, &e);

        TEST_ROW("%s", sets[i].name);
        CHECK_EQ_INT(rc == 0 ? (int)jwks_count(keys) : -1, sets[i].want);
        if (rc == 0)
            CHECK_EQ_INT(jwks_has_secret(keys), sets[i].has_secret);
        else
            CHECK(e.msg[0] != '\0');
        jwks_free(&keys);
    }
}

TEST_MAIN()
