#include "auth/password.h"

#include "base/mem.h"
#include "base/test.h"

TEST(known_hashes)
{
    static const struct {
        const char *name, *stored, *password, *scheme;
        int want;
    } rows[] = {
        { "sha512-crypt of the specification",
          "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
          "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
          "Hello world!", "SHA512-CRYPT", 1 },
        { "sha512-crypt with its scheme",
          "{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
          "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
          "Hello world!", "PLAIN", 1 },
        { "sha512-crypt, wrong",
          "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
          "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
          "Hello World!", "SHA512-CRYPT", 0 },
        { "sha512-crypt, cut short",
          "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/"
          "O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz",
          "Hello world!", "SHA512-CRYPT", 0 },
        { "sha1", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test", "SHA512-CRYPT", 1 },
        { "sha1 wrong", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "Test", "SHA512-CRYPT", 0 },
        { "sha1 hex", "{SHA.hex}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "test", "SHA512-CRYPT",
          1 },
        { "sha1 hex by length", "{SHA1}a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "test",
          "SHA512-CRYPT", 1 },
        { "sha256", "{SHA256}n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=", "test", "SHA512-CRYPT",
          1 },
        { "scram-sha-256 (RFC 7677)",
          "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
          "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          "pencil", "SHA512-CRYPT", 1 },
        { "scram-sha-256 wrong",
          "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
          "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          "Pencil", "SHA512-CRYPT", 0 },
        { "scram-sha-256 cut short", "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==", "pencil",
          "SHA512-CRYPT", 0 },
        { "plain-md5", "{PLAIN-MD5}098f6bcd4621d373cade4e832627b4f6", "test", "SHA512-CRYPT", 1 },
        { "ldap-md5", "{LDAP-MD5}CY9rzUYh03PK3k6DJie09g==", "test", "SHA512-CRYPT", 1 },
        { "md5-crypt", "{MD5-CRYPT}$1$saltsalt$tTWg0JeO/sYmHvtKmZE8c.", "test", "SHA512-CRYPT", 1 },
        { "des-crypt", "{CRYPT}salSp1wOPp6fk", "test", "SHA512-CRYPT", 1 },
        { "plain", "{PLAIN}test", "test", "SHA512-CRYPT", 1 },
        { "cleartext by default", "test", "test", "CLEARTEXT", 1 },
        { "plain is exact", "{PLAIN}test", "Test", "SHA512-CRYPT", 0 },
        { "clear text under a crypt scheme", "test", "test", "SHA512-CRYPT", 0 },
        { "a failure of crypt is no hash", "*0", "*0", "SHA512-CRYPT", 0 },
        { "empty stored", "", "", "PLAIN", 0 },
        { "empty password", "{PLAIN}", "", "PLAIN", 0 },
        { "unknown scheme", "{ROT13}grfg", "test", "SHA512-CRYPT", -1 },
        { "scheme without case", "{sha}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "test", "SHA512-CRYPT", 1 },
        { "bad base64", "{SHA}!!!", "test", "SHA512-CRYPT", 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e;

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(
            password_verify(sl_z(rows[i].stored), sl_z(rows[i].password), rows[i].scheme, &e),
            rows[i].want);
    }
}

TEST(what_is_made_verifies)
{
    static const char *const schemes[] = {
        "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "MD5-CRYPT",    "CRYPT",   "YESCRYPT",
        "PLAIN",        "SHA",          "SSHA",      "SSHA256",      "SSHA512", "SSHA512.hex",
        "SMD5",         "PLAIN-MD5",    "LDAP-MD5",  "SCRAM-SHA-256"
    };
    char first[PASSWORD_HASH_OCTETS], second[PASSWORD_HASH_OCTETS];
    struct err e = { 0 };

    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        TEST_ROW("%s", schemes[i]);
        NEED(password_make(SL("s3cret \xc3\xa9"), schemes[i], first, &e) == 0);
        NEED(password_make(SL("s3cret \xc3\xa9"), schemes[i], second, &e) == 0);
        CHECK_EQ_INT(password_verify(sl_z(first), SL("s3cret \xc3\xa9"), "SHA512-CRYPT", &e), 1);
        CHECK_EQ_INT(password_verify(sl_z(first), SL("s3cret e"), "SHA512-CRYPT", &e), 0);
        if (strstr(schemes[i], "CRYPT") || schemes[i][0] == 'S')
            CHECK((strcmp(first, second) == 0) ==
                  (strcmp(schemes[i], "SHA") == 0)); /* salted: never the same twice */
    }
}

TEST(the_guides_form_is_the_default)
{
    char hash[PASSWORD_HASH_OCTETS];
    struct err e;

    CHECK_EQ_INT(password_make(SL("x"), "SHA512-CRYPT", hash, &e), 0);
    CHECK_EQ_INT(strlen(hash), 106); /* fits the guide's varchar(106) */
    CHECK(strncmp(hash, "$6$", 3) == 0);
}

TEST(no_passwords)
{
    char hash[PASSWORD_HASH_OCTETS], big[PASSWORD_MAX_OCTETS + 1];
    struct err e = { 0 };

    memset(big, 'x', sizeof big);
    CHECK(password_make(SL(""), "SHA512-CRYPT", hash, &e) < 0 && e.kind == ERR_CLIENT);
    CHECK(password_make(sl_n("a\0b", 3), "SHA512-CRYPT", hash, &e) < 0 && e.kind == ERR_CLIENT);
    CHECK(password_make(sl_n(big, sizeof big), "SHA512-CRYPT", hash, &e) < 0);
    CHECK(password_make(SL("x"), "ROT13", hash, &e) < 0 && e.kind == ERR_CONFIG);
    CHECK_EQ_INT(password_verify(SL("{PLAIN}a"), sl_n("a\0b", 3), "PLAIN", &e), 0);
}

TEST_MAIN()
