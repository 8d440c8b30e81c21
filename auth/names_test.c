/* auth/names_test.c - spellings of a name that are the same user. */
#include "auth/names.h"

#include "base/mem.h"
#include "base/test.h"

TEST(keys)
{
    static const struct {
        const char *name, *want;
    } rows[] = {
        { "", "" },
        { "@", "@" },
        { "U1", "u1" },
        { "U1@Example.COM", "u1@example.com" },
        { "a@b@Example.COM", "a@b@example.com" },
        { "u1@b\xc3\xbc"
          "cher.example",
          "u1@xn--bcher-kva.example" },
        { "U1@B\xc3\x9c"
          "CHER.example",
          "u1@xn--bcher-kva.example" },
        { "u1@XN--bcher-kva.example", "u1@xn--bcher-kva.example" },
        { "\xc3\x9c@b.example", "\xc3\x9c@b.example" }, /* the database tells these apart */
        /* what IDNA leaves out, and a full stop of another script */
        { "u1@exa\xc2\xadmple.com", "u1@example.com" },
        { "u1@ex\xe2\x80\x8b"
          "ample.com",
          "u1@example.com" },
        { "u1@example\xe3\x80\x82"
          "com",
          "u1@example.com" },
        { "u1@xn--\xff.example", "u1@xn--\xff.example" }, /* no domain, and nobody's */
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf key = { 0 };

        TEST_ROW("%s", rows[i].name);
        buf_addz(&key, "X");
        auth_name_key(sl_z(rows[i].name), &key);
        CHECK(sl_starts(buf_slice(&key), 'X'));
        CHECK_EQ_STR(buf_z(&key) + 1, rows[i].want);
        buf_free(&key);
    }
}

TEST_MAIN()
