/* session/sasl_client_test.c - the examples of the RFCs, and servers that lie. Includes the code for a nonce of its own choice. */
#include "session/sasl_client.c"

#include "base/test.h"

static struct sasl_client *
begin(const char *mechanism, const char *nonce, const char *password)
{
    struct sasl_client *c = sasl_client_new(mechanism, SL("user"), sl_z(password));
    struct buf first = { 0 };

    sasl_client_first(c, &first);
    if (nonce) { /* as the RFC has it */
        snprintf(c->nonce, sizeof c->nonce, "%s", nonce);
        buf_reset(&c->first_bare);
        buf_addf(&c->first_bare, "n=user,r=%s", nonce);
    }
    buf_free(&first);
    return c;
}

/* RFC 5802 §5, RFC 7677 §3 */
static const struct scram {
    const char *mechanism, *nonce, *server_first, *client_final, *server_final;
} scram[] = {
    { "SCRAM-SHA-1", "fyko+d2lbbFgONRv9qkxdawL",
      "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
      "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
      "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=" },
    { "SCRAM-SHA-256", "rOprNGfwEbeRWgbNEkqO",
      "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
      "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="
      "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
      "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
};

TEST(scram_as_the_rfcs_show_it)
{
    for (size_t i = 0; i < COUNT_OF(scram); i++) {
        const struct scram *r = &scram[i];
        struct sasl_client *c = begin(r->mechanism, r->nonce, "pencil");
        struct buf out = { 0 };
        struct err e = { 0 };

        TEST_ROW("%s", r->mechanism);
        CHECK_EQ_INT(sasl_client_step(c, sl_z(r->server_first), &out, &e), SASL_CLIENT_HASH);
        sasl_client_hash(c);
        sasl_client_hashed(c, &out);
        CHECK_EQ_STR(buf_z(&out), r->client_final);
        CHECK(!sasl_client_is_done(c));
        buf_reset(&out);
        CHECK_EQ_INT(sasl_client_step(c, sl_z(r->server_final), &out, &e), SASL_CLIENT_SEND);
        CHECK_EQ_INT(out.n, 0);
        CHECK(sasl_client_is_done(c));
        sasl_client_free(&c);
        buf_free(&out);
    }
}

TEST(scram_servers_that_lie)
{
    static const struct {
        const char *name, *first, *final; /* final NULL: the first is refused */
    } rows[] = {
        { "somebody else's nonce", "r=xyko+d2lbbFgONRv9qkxdawL3rfc,s=QSXCR+Q6sek8bf92,i=4096",
          NULL },
        { "our nonce alone", "r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096", NULL },
        { "few iterations", "r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=1", NULL },
        { "many iterations", "r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=4294967295", NULL },
        { "more than fit", "r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=42949672960", NULL },
        { "an extension", "m=x,r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=4096", NULL },
        { "salt that is no base64", "r=fyko+d2lbbFgONRv9qkxdawLx,s=!,i=4096", NULL },
        { "nothing", "", NULL },
        { "order", "s=QSXCR+Q6sek8bf92,r=fyko+d2lbbFgONRv9qkxdawLx,i=4096", NULL },
        { "wrong signature", NULL, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
        { "short signature", NULL, "v=rmF9" },
        { "an error", NULL, "e=other-error" },
        { "no signature", NULL, "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sasl_client *c = begin("SCRAM-SHA-1", scram[0].nonce, "pencil");
        struct buf out = { 0 };
        struct err e = { 0 };
        const char *first = rows[i].first ? rows[i].first : scram[0].server_first;
        enum sasl_client_rc rc = sasl_client_step(c, sl_z(first), &out, &e);

        TEST_ROW("%s", rows[i].name);
        if (rows[i].final == NULL) {
            CHECK_EQ_INT(rc, SASL_CLIENT_BAD);
        } else {
            sasl_client_hash(c);
            sasl_client_hashed(c, &out);
            CHECK_EQ_INT(sasl_client_step(c, sl_z(rows[i].final), &out, &e), SASL_CLIENT_BAD);
        }
        CHECK(e.msg[0] != '\0');
        CHECK(!sasl_client_is_done(c));
        sasl_client_free(&c);
        buf_free(&out);
    }
}

/* RFC 2195 §2: the example's user is tim. */
TEST(cram_md5)
{
    struct sasl_client *c = sasl_client_new("CRAM-MD5", SL("tim"), SL("tanstaaftanstaaf"));
    struct buf out = { 0 };
    struct err e = { 0 };

    CHECK(!sasl_client_first(c, &out));
    CHECK_EQ_INT(sasl_client_step(c, SL("<1896.697170952@postoffice.reston.mci.net>"), &out, &e),
                 SASL_CLIENT_SEND);
    CHECK_EQ_STR(buf_z(&out), "tim b913a602c7eda7a495b4e6e7334d3890");
    CHECK_EQ_INT(sasl_client_step(c, SL("<again>"), &out, &e), SASL_CLIENT_BAD);
    sasl_client_free(&c);
    buf_free(&out);
}

TEST(the_strongest_that_is_allowed)
{
    static const struct {
        const char *offered, *options, *want;
    } rows[] = {
        { "PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", "", "SCRAM-SHA-256" },
        { "login plain", "noanonymous", "PLAIN" },
        { "LOGIN", "", "LOGIN" },
        { "PLAIN LOGIN", "noplaintext, noanonymous", NULL },
        { "PLAIN CRAM-MD5", "noplaintext", "CRAM-MD5" },
        { "CRAM-MD5 SCRAM-SHA-1", "noactive", "SCRAM-SHA-1" },
        { "CRAM-MD5", "mutual_auth", NULL },
        { "SCRAM-SHA-256", "nodictionary", NULL },
        { "GSSAPI XOAUTH2 SCRAM-SHA-256-PLUS", "", NULL },
        { "", "", NULL },
    };
    unsigned bits;
    struct slice bad_word;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *got;

        TEST_ROW("%s, %s", rows[i].offered, rows[i].options);
        CHECK_EQ_INT(sasl_client_options(sl_z(rows[i].options), &bits, &bad_word), 0);
        got = sasl_client_choose(sl_z(rows[i].offered), bits);
        CHECK_EQ_STR(got ? got : "none", rows[i].want ? rows[i].want : "none");
    }
    CHECK_EQ_INT(sasl_client_options(SL("noplaintext nonsense"), &bits, &bad_word), -1);
    CHECK(sl_eqz(bad_word, "nonsense"));
}

TEST_MAIN()
