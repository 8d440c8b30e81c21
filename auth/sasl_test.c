#include "auth/names.h"
#include "auth/sasl.h"

#include "auth/tab.h"
#include "base/mem.h"
#include "base/test.h"

static const char long_name[] =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

TEST(plain)
{
    static const struct {
        const char *name;
        struct slice message;
        enum sasl_rc want;
        const char *authzid, *authcid, *password;
    } rows[] = {
        { "whole", SL_INIT("\0user\0pass"), SASL_CREDENTIALS, "", "user", "pass" },
        { "authzid", SL_INIT("other\0user\0pass"), SASL_CREDENTIALS, "other", "user", "pass" },
        { "utf-8", SL_INIT("\0us\xc3\xa9r\0p"), SASL_CREDENTIALS, "", "us\xc3\xa9r", "p" },
        { "no nul", SL_INIT("user pass"), SASL_BAD, "", "", "" },
        { "one nul", SL_INIT("user\0pass"), SASL_BAD, "", "", "" },
        { "three nuls", SL_INIT("\0user\0pa\0ss"), SASL_BAD, "", "", "" },
        { "empty user", SL_INIT("\0\0pass"), SASL_BAD, "", "", "" },
        { "empty password", SL_INIT("\0user\0"), SASL_BAD, "", "", "" },
        { "empty", SL_INIT(""), SASL_BAD, "", "", "" },
        { "control in the name", SL_INIT("\0us\ner\0pass"), SASL_BAD, "", "", "" },
        { "name is no utf-8", SL_INIT("\0us\xff\0pass"), SASL_BAD, "", "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct sasl s;
        enum sasl_rc rc;

        TEST_ROW("%s", rows[i].name);
        sasl_begin(&s, sasl_find(SL("plain")));
        rc = sasl_step(&s, rows[i].message, true);
        CHECK_EQ_INT(rc, rows[i].want);
        if (rc == SASL_CREDENTIALS) {
            CHECK_EQ_STR(buf_z(&s.authzid), rows[i].authzid);
            CHECK_EQ_STR(buf_z(&s.authcid), rows[i].authcid);
            CHECK_EQ_STR(buf_z(&s.password), rows[i].password);
        }
        sasl_end(&s);
    }
}

TEST(plain_without_initial_response)
{
    struct sasl s;

    sasl_begin(&s, sasl_find(SL("PLAIN")));
    CHECK_EQ_INT(sasl_step(&s, sl_n(NULL, 0), false), SASL_CONTINUE);
    CHECK_EQ_INT(s.challenge.n, 0);
    CHECK_EQ_INT(sasl_step(&s, SL("\0u\0p"), true), SASL_CREDENTIALS);
    sasl_end(&s);
}

TEST(login)
{
    struct sasl s;

    for (int has_initial = 0; has_initial < 2; has_initial++) {
        TEST_ROW("initial response: %d", has_initial);
        sasl_begin(&s, sasl_find(SL("LOGIN")));
        if (!has_initial) {
            CHECK_EQ_INT(sasl_step(&s, sl_n(NULL, 0), false), SASL_CONTINUE);
            CHECK(sl_eqz(s.challenge, "Username:"));
        }
        CHECK_EQ_INT(sasl_step(&s, SL("user"), true), SASL_CONTINUE);
        CHECK(sl_eqz(s.challenge, "Password:"));
        CHECK_EQ_INT(sasl_step(&s, SL("pass"), true), SASL_CREDENTIALS);
        CHECK_EQ_STR(buf_z(&s.authcid), "user");
        CHECK_EQ_STR(buf_z(&s.password), "pass");
        sasl_end(&s);
    }
    sasl_begin(&s, sasl_find(SL("LOGIN")));
    CHECK_EQ_INT(sasl_step(&s, SL(""), true), SASL_BAD);
    sasl_end(&s);
    sasl_begin(&s, sasl_find(SL("LOGIN")));
    sasl_step(&s, sl_n(long_name, sizeof long_name - 1), true);
    CHECK_EQ_INT(sasl_step(&s, SL("pass"), true), SASL_BAD);
    sasl_end(&s);
}

TEST(external)
{
    static const struct {
        const char *name;
        struct slice message;
        enum sasl_rc want;
    } rows[] = {
        { "nobody else", SL_INIT(""), SASL_CLAIMED },
        { "somebody", SL_INIT("user@example.com"), SASL_CLAIMED },
        { "control in the name", SL_INIT("us\ner"), SASL_BAD },
        { "nul in the name", SL_INIT("us\0er"), SASL_BAD },
        { "no utf-8", SL_INIT("\xff"), SASL_BAD },
        { "long", { long_name, sizeof long_name - 1 }, SASL_BAD },
    };

    for (size_t i = 0; i < COUNT_OF(rows) * 2; i++) {
        bool is_asked = i % 2;
        struct sasl s;

        TEST_ROW("%s%s", rows[i / 2].name, is_asked ? ", asked" : "");
        sasl_begin(&s, sasl_find(SL("external")));
        if (is_asked)
            CHECK_EQ_INT(sasl_step(&s, sl_n(NULL, 0), false), SASL_CONTINUE);
        CHECK_EQ_INT(sasl_step(&s, rows[i / 2].message, true), rows[i / 2].want);
        CHECK(rows[i / 2].want != SASL_CLAIMED ||
              sl_eq(buf_slice(&s.authzid), rows[i / 2].message));
        sasl_end(&s);
    }
}

TEST(mechanisms_have_rows)
{
    CHECK(sasl_find(SL("CRAM-MD5")) == NULL);
    CHECK(sasl_find(SL("")) == NULL);
    CHECK(sasl_at(0) != NULL && sasl_at(100) == NULL);
}

TEST(names)
{
    static const struct {
        const char *format, *name, *want;
    } rows[] = {
        { "%Lu", "User@EXAMPLE.com", "user@example.com" },
        { "%u", "User@X", "User@X" },
        { "%Ln@%Ud", "User@Example.com", "user@EXAMPLE.COM" },
        { "%n", "user", "user" },
        { "%d", "user", "" },
        { "100%%", "x", "100%" },
    };
    struct buf out = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].format);
        buf_reset(&out);
        auth_format_name(rows[i].format, sl_z(rows[i].name), &out);
        CHECK_EQ_STR(buf_z(&out), rows[i].want);
    }
    buf_free(&out);
}

TEST(tab_lines)
{
    static const char octets[] = "a\tb\nc\rd\1e\0f";
    struct slice raw = sl_n(octets, sizeof octets - 1), in, field, value;
    struct buf line = { 0 }, back = { 0 };

    buf_addz(&line, "VERB");
    tab_add(&line, raw);
    tab_add_pair(&line, "key", SL("v\t"));
    tab_add(&line, SL(""));
    CHECK_EQ_STR(buf_z(&line), "VERB\ta\1tb\1nc\1rd\1"
                               "1e\1"
                               "0f\tkey=v\1t\t");
    in = buf_slice(&line);
    CHECK(tab_take(&in, &field) && sl_eqz(field, "VERB"));
    NEED(tab_take(&in, &field));
    tab_unescape(&back, field);
    CHECK_EQ_MEM(buf_slice(&back).p, back.n, raw.p, raw.n);
    CHECK(tab_take(&in, &field) && tab_is_pair(field, "key", &value) &&
          !tab_is_pair(field, "ke", &value));
    CHECK(tab_is_pair(field, "key", &value) && value.n == 3);
    CHECK(tab_take(&in, &field) && field.n == 0);
    CHECK(!tab_take(&in, &field));
    buf_free(&line);
    buf_free(&back);
}

TEST_MAIN()
