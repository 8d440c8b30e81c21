/* RFC 7628 section 4, Google's own example, and what is neither. */
#include "auth/sasl.h"
#include "base/test.h"

#include <stdlib.h>

#define SEP "\1"

static const struct {
    const struct sasl_mech *mech;
    const char *response;
    enum sasl_rc want;
    const char *authcid, *token;
} rows[] = {
    { &sasl_oauthbearer,
      "n,a=user@example.com," SEP "host=server.example.com" SEP "port=143" SEP
      "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" SEP SEP,
      SASL_TOKEN, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" },
    { &sasl_oauthbearer, "n,," SEP "auth=Bearer x" SEP SEP, SASL_TOKEN, "", "x" },
    { &sasl_oauthbearer, "y,," SEP "auth=BEARER  x" SEP SEP, SASL_TOKEN, "", "x" },
    { &sasl_oauthbearer, "n,a=a=2Cb=3Dc," SEP "auth=Bearer x" SEP SEP, SASL_TOKEN, "a,b=c", "x" },
    { &sasl_oauthbearer, "n,a=u," SEP "auth=" SEP SEP, SASL_TOKEN, "u", "" },
    { &sasl_oauthbearer, "n,a=u," SEP SEP, SASL_TOKEN, "u", "" },
    { &sasl_oauthbearer, SEP, SASL_TOKEN, "", "" },
    { &sasl_oauthbearer, "n,a=u," SEP "any=\tthing \r\n" SEP "auth=Bearer x" SEP SEP, SASL_TOKEN,
      "u", "x" },
    { &sasl_xoauth2,
      "user=someuser@example.com" SEP
      "auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg" SEP SEP,
      SASL_TOKEN, "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg" },
    { &sasl_xoauth2, "user=a=b" SEP "auth=Bearer x" SEP SEP, SASL_TOKEN, "a=b", "x" },
    { &sasl_oauthbearer, "", SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n", SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,a=u,auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "p=tls-exporter,," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "N,," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,a=," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,u," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,a=a=2Db," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,a=a=," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=Bearer x" SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=Bearer x" SEP SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=Basic x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=Bearer" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=Bearer x" SEP "auth=Bearer y" SEP SEP, SASL_BAD, NULL,
      NULL },
    { &sasl_oauthbearer, "n,," SEP "auth=" SEP "auth=Bearer y" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "=x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "host" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "h0st=x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,," SEP "host=\2" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer, "n,a=\xff," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_oauthbearer,
      "n,," SEP "a=" SEP "b=" SEP "c=" SEP "d=" SEP "e=" SEP "f=" SEP "g=" SEP "h=" SEP "i=" SEP
      "j=" SEP "k=" SEP "l=" SEP "m=" SEP "n=" SEP "o=" SEP "p=" SEP "q=" SEP SEP,
      SASL_BAD, NULL, NULL },
    { &sasl_xoauth2, "user=" SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_xoauth2, "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_xoauth2, "n,a=u," SEP "auth=Bearer x" SEP SEP, SASL_BAD, NULL, NULL },
    { &sasl_xoauth2, "user=u" SEP "auth=Bearer x", SASL_BAD, NULL, NULL },
};

TEST(responses)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int is_later = 0; is_later < 2; is_later++) {
            size_t n = strlen(rows[i].response);
            char *copy = malloc(n + (n == 0));
            struct sasl s;

            memcpy(copy, rows[i].response, n);
            TEST_ROW("%s%zu %s", is_later ? "later " : "", i, rows[i].response);
            sasl_begin(&s, rows[i].mech);
            if (is_later) {
                CHECK_EQ_INT(sasl_step(&s, SL(""), false), SASL_CONTINUE);
                CHECK_EQ_INT(s.challenge.n, 0);
            }
            CHECK_EQ_INT(sasl_step(&s, sl_n(copy, n), true), rows[i].want);
            if (rows[i].want == SASL_TOKEN) {
                CHECK_EQ_STR(buf_z(&s.authcid), rows[i].authcid);
                CHECK_EQ_STR(buf_z(&s.token), rows[i].token);
            }
            sasl_end(&s);
            free(copy);
        }
}

/* Whatever comes after the challenge that says why, it is over. */
TEST(after_the_refusal)
{
    static const char *const answers[] = { "\1", "", "n,," SEP "auth=Bearer y" SEP SEP };

    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct sasl s;

        sasl_begin(&s, &sasl_oauthbearer);
        CHECK_EQ_INT(sasl_step(&s, SL("n,," SEP "auth=Bearer x" SEP SEP), true), SASL_TOKEN);
        buf_addz(&s.text, "{}");
        CHECK_EQ_INT(sasl_step(&s, sl_z(answers[i]), true), SASL_WRONG);
        sasl_end(&s);
    }
}

TEST_MAIN()
