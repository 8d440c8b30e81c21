/* auth/scram_test.c - RFC 7677's example, and clients that are wrong. Includes the mechanism for a nonce of its own choice. */
#include "auth/sasl_scram.c"

#include "auth/saslprep.h"
#include "auth/users.h"
#include "base/test.h"
#include "tls/digest.h"

/* RFC 7677 §3 */
static const char first_bare[] = "n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char server_first[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                   "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char final_bare[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
static const char right_proof[] = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
static const char server_final[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

static struct sasl_verifier
pencil(void)
{
    struct buf salt = { 0 };
    struct sasl_verifier v;
    struct err e;

    enc_b64_decode(&salt, SL("W22ZaJ0SNY7soEsUEjb6gQ=="));
    CHECK_EQ_INT(scram_make_salted(SL("pencil"), buf_slice(&salt), 4096, &v, &e), 0);
    buf_free(&salt);
    return v;
}

/* As far as the server's first message, and that the RFC's. */
static void
begin(struct sasl *s, const char *gs2)
{
    struct sasl_verifier v = pencil();
    struct buf m = { 0 };
    struct exchange *x;

    buf_addz(&m, gs2);
    buf_addz(&m, first_bare);
    sasl_begin(s, &sasl_scram_sha256);
    CHECK_EQ_INT(sasl_step(s, buf_slice(&m), true), SASL_LOOKUP);
    CHECK_EQ_STR(buf_z(&s->authcid), "user");
    CHECK_EQ_INT(sasl_give_verifier(s, &v), SASL_CONTINUE);
    CHECK(sl_has_prefix(s->challenge, SL("r=rOprNGfwEbeRWgbNEkqO")));
    CHECK(sl_has_suffix(s->challenge, SL(",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")));
    x = exchange_of(s);
    buf_truncate(&s->text, strlen(first_bare) + 1);
    buf_addz(&s->text, server_first);
    x->first_n = strlen(server_first);
    x->nonce_n = sl_find_char(SL(server_first), ',') - 2;
    buf_free(&m);
}

TEST(as_the_rfc_shows_it)
{
    struct buf m = { 0 };
    struct sasl s;

    begin(&s, "n,,");
    buf_addf(&m, "%s,p=%s", final_bare, right_proof);
    CHECK_EQ_INT(sasl_step(&s, buf_slice(&m), true), SASL_PROVEN);
    CHECK_EQ_STR(buf_z(&s.final), server_final);
    sasl_end(&s);
    buf_free(&m);
}

TEST(last_messages)
{
    static const struct {
        const char *name, *message;
        enum sasl_rc want;
    } rows[] = {
        { "wrong proof",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
          "p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "another header",
          "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "of another exchange",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "its own nonce alone",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "an extension, not signed",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,x=y,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "short proof", "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzb",
          SASL_WRONG },
        { "long extensions",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
          "x="
          "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
          "y"
          "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
          "y"
          "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
          "y,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          SASL_WRONG },
        { "no proof", "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", SASL_BAD },
        { "long proof",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQAAAA=",
          SASL_BAD },
        { "proof that is no base64",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=!", SASL_BAD },
        { "nothing", "", SASL_BAD },
        { "the first one again", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", SASL_BAD },
        { "commas", ",,,,", SASL_BAD },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sasl s;

        TEST_ROW("%s", rows[i].name);
        begin(&s, "n,,");
        CHECK_EQ_INT(sasl_step(&s, sl_z(rows[i].message), true), rows[i].want);
        CHECK_EQ_INT(s.final.n, 0);
        sasl_end(&s);
    }
}

TEST(first_messages)
{
    static const struct {
        const char *name;
        struct slice message;
        enum sasl_rc want;
        const char *authcid, *authzid;
    } rows[] = {
        { "plain", SL_INIT("n,,n=user,r=abc"), SASL_LOOKUP, "user", "" },
        { "binding unknown to us", SL_INIT("y,,n=user,r=abc"), SASL_LOOKUP, "user", "" },
        { "authzid", SL_INIT("n,a=other,n=user,r=abc"), SASL_LOOKUP, "user", "other" },
        { "escapes", SL_INIT("n,a=a=2Cb,n=c=3Dd=2C,r=abc"), SASL_LOOKUP, "c=d,", "a,b" },
        { "extensions", SL_INIT("n,,n=user,r=abc,x=1,y=2"), SASL_LOOKUP, "user", "" },
        { "utf-8", SL_INIT("n,,n=\xc3\xa4,r=abc"), SASL_LOOKUP, "\xc3\xa4", "" },
        { "binding demanded", SL_INIT("p=tls-unique,,n=user,r=abc"), SASL_WRONG, "", "" },
        { "extension demanded", SL_INIT("n,,m=x,n=user,r=abc"), SASL_WRONG, "", "" },
        { "no flag", SL_INIT(",,n=user,r=abc"), SASL_BAD, "", "" },
        { "other flag", SL_INIT("N,,n=user,r=abc"), SASL_BAD, "", "" },
        { "p without a name", SL_INIT("p,,n=user,r=abc"), SASL_BAD, "", "" },
        { "no header", SL_INIT("n=user,r=abc"), SASL_BAD, "", "" },
        { "authzid without a=", SL_INIT("n,other,n=user,r=abc"), SASL_BAD, "", "" },
        { "empty authzid is none", SL_INIT("n,a=,n=user,r=abc"), SASL_LOOKUP, "user", "" },
        { "wrong escape", SL_INIT("n,,n=us=er,r=abc"), SASL_BAD, "", "" },
        { "escape in small letters", SL_INIT("n,,n=us=2cer,r=abc"), SASL_BAD, "", "" },
        { "no user", SL_INIT("n,,n=,r=abc"), SASL_BAD, "", "" },
        { "no nonce", SL_INIT("n,,n=user"), SASL_BAD, "", "" },
        { "empty nonce", SL_INIT("n,,n=user,r="), SASL_BAD, "", "" },
        { "nonce with a blank", SL_INIT("n,,n=user,r=a b"), SASL_BAD, "", "" },
        { "order", SL_INIT("n,,r=abc,n=user"), SASL_BAD, "", "" },
        { "nul in the name", SL_INIT("n,,n=us\0er,r=abc"), SASL_BAD, "", "" },
        { "nul in an extension", SL_INIT("n,,n=user,r=abc,x=\0"), SASL_BAD, "", "" },
        { "name is no utf-8", SL_INIT("n,,n=\xff,r=abc"), SASL_BAD, "", "" },
        { "authzid is no utf-8", SL_INIT("n,a=\xff,n=user,r=abc"), SASL_BAD, "", "" },
        { "empty", SL_INIT(""), SASL_BAD, "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sasl s;
        enum sasl_rc rc;

        TEST_ROW("%s", rows[i].name);
        sasl_begin(&s, &sasl_scram_sha256);
        rc = sasl_step(&s, rows[i].message, true);
        CHECK_EQ_INT(rc, rows[i].want);
        CHECK(rc != SASL_WRONG || s.why != NULL);
        if (rc == SASL_LOOKUP) {
            CHECK_EQ_STR(buf_z(&s.authcid), rows[i].authcid);
            CHECK_EQ_STR(buf_z(&s.authzid), rows[i].authzid);
        }
        sasl_end(&s);
    }
}

TEST(without_initial_response)
{
    struct sasl s;

    sasl_begin(&s, sasl_find(SL("scram-sha-256")));
    CHECK_EQ_INT(sasl_step(&s, sl_n(NULL, 0), false), SASL_CONTINUE);
    CHECK_EQ_INT(s.challenge.n, 0);
    CHECK_EQ_INT(sasl_step(&s, SL("n,,n=user,r=abc"), true), SASL_LOOKUP);
    sasl_end(&s);
}

TEST(nonces_are_never_the_same)
{
    struct sasl_verifier v = pencil();
    char said[2][200] = { "", "" };

    for (size_t i = 0; i < 2; i++) {
        struct sasl s;

        sasl_begin(&s, &sasl_scram_sha256);
        sasl_step(&s, SL("n,,n=user,r=abc"), true);
        sasl_give_verifier(&s, &v);
        NEED(s.challenge.n < sizeof said[i]);
        memcpy(said[i], s.challenge.p, s.challenge.n);
        sasl_end(&s);
    }
    CHECK(said[0][0] && strcmp(said[0], said[1]) != 0);
}

TEST(verifiers_as_text)
{
    static const struct {
        const char *text;
        int want;
    } rows[] = {
        { "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          0 },
        { "0,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          -1 },
        { "4096,,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          -1 },
        { "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", -1 },
        { "4096,W22ZaJ0SNY7soEsUEjb6gQ==,AAAA,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", -1 },
        { "", -1 },
    };
    struct sasl_verifier v = pencil();
    struct buf text = { 0 };

    scram_write(&v, &text);
    CHECK_EQ_STR(buf_z(&text), rows[0].text);
    CHECK(scram_matches(&v, SL("pencil")) && !scram_matches(&v, SL("pencils")));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(scram_read(sl_z(rows[i].text), &v), rows[i].want);
    }
    buf_free(&text);
}

TEST(made_up)
{
    static const unsigned char secret[SCRAM_SECRET_OCTETS] = "a", other[SCRAM_SECRET_OCTETS] = "b";
    struct sasl_verifier v[4];

    memset(v, 0, sizeof v);
    scram_make_up(secret, SL("a@b"), 4096, &v[0]);
    scram_make_up(secret, SL("a@b"), 4096, &v[1]);
    scram_make_up(secret, SL("a@c"), 4096, &v[2]);
    scram_make_up(other, SL("a@b"), 4096, &v[3]);
    CHECK(memcmp(&v[0], &v[1], sizeof v[0]) == 0);
    CHECK(memcmp(v[0].salt, v[2].salt, v[0].salt_n) != 0);
    CHECK(memcmp(v[0].salt, v[3].salt, v[0].salt_n) != 0);
    CHECK_EQ_INT(v[0].salt_n, SCRAM_SALT_OCTETS);
}

TEST(prepared_strings)
{
    static const struct {
        const char *name, *in, *want; /* NULL: refused */
    } rows[] = {
        { "ascii", "p&=1 X~", "p&=1 X~" },
        { "latin", "p\xc3\xa4ss", "p\xc3\xa4ss" },
        { "cyrillic", "\xd0\xb9", "\xd0\xb9" },
        { "euro", "\xe2\x82\xac", "\xe2\x82\xac" },
        { "han", "\xe6\xbc\xa2", "\xe6\xbc\xa2" },
        { "no-break space", "a\xc2\xa0z", "a z" },
        { "soft hyphen (RFC 4013 §3)", "I\xc2\xadX", "IX" },
        { "nothing is left", "\xc2\xad", NULL },
        { "feminine ordinal: NFKC would change it", "\xc2\xaa", NULL },
        { "roman nine: so too", "\xe2\x85\xa8", NULL },
        { "combining", "a\xcc\x88", NULL },
        { "bell", "\x07", NULL },
        { "delete", "\x7f", NULL },
        { "hebrew", "\xd7\x90", NULL },
        { "no utf-8", "\xff", NULL },
        { "surrogate", "\xed\xa0\x80", NULL },
        { "private use", "\xee\x80\x80", NULL },
        { "not in Unicode 3.2", "\xf0\x9f\x98\x80", NULL },
        { "empty", "", NULL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(saslprep(sl_z(rows[i].in), &out), rows[i].want ? 0 : -1);
        if (rows[i].want)
            CHECK_EQ_STR(buf_z(&out), rows[i].want);
        buf_free(&out);
    }
}

TEST(kept_for_one_stored_text)
{
    struct sasl_verifier v = pencil(), got;
    struct users *u;
    struct err e = { 0 };

    NEED(users_open(":memory:", USERS_MAKE, &u, &e) == 0 && users_make_tables(u, &e) == 0);
    NEED(
        db_exec(users_db(u),
                "INSERT INTO virtual_domains (name) VALUES ('b.example'); INSERT INTO virtual_users"
                " (domain_id, password, email) VALUES (1, '$6$x', 'A@b.example')",
                &e) == 0);
    CHECK_EQ_INT(users_scram_find(u, SL("a@b.example"), SL("$6$x"), &got, &e), 0);
    CHECK_EQ_INT(users_scram_forget(u, SL("a@b.example"), &e), 0);
    CHECK_EQ_INT(users_scram_set(u, SL("a@b.example"), SL("$6$x"), &v, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("A@b.example"), SL("$6$x"), &got, &e), 1);
    CHECK(memcmp(got.stored_key, v.stored_key, SCRAM_KEY_OCTETS) == 0 && got.salt_n == v.salt_n);
    CHECK_EQ_INT(users_scram_find(u, SL("a@b.example"), SL("$6$y"), &got, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("c@b.example"), SL("$6$x"), &got, &e), 0);
    db_exec(users_db(u), "UPDATE virtual_users SET password = '$6$y'", &e);
    CHECK_EQ_INT(users_scram_renew(u, SL("a@b.example"), SL("$6$y"), SL("pen"), 4096, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("a@b.example"), SL("$6$y"), &got, &e), 1);
    CHECK(scram_matches(&got, SL("pen")));
    /* A log-in with the old password ends only now; and one of who was removed. */
    CHECK_EQ_INT(users_scram_set(u, SL("a@b.example"), SL("$6$x"), &v, &e), 0);
    CHECK_EQ_INT(users_scram_set(u, SL("a@b.example"), SL("$6$Y"), &v, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("a@b.example"), SL("$6$y"), &got, &e), 1);
    CHECK_EQ_INT(users_scram_set(u, SL("c@b.example"), SL("$6$y"), &v, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("c@b.example"), SL("$6$y"), &got, &e), 0);
    /* One that SCRAM cannot have, and the verifier of the old one is gone. */
    CHECK_EQ_INT(users_scram_renew(u, SL("a@b.example"), SL("$6$z"), SL("\xff"), 4096, &e), 0);
    CHECK_EQ_INT(users_scram_find(u, SL("a@b.example"), SL("$6$y"), &got, &e), 0);
    users_close(&u);
}

TEST_MAIN()
