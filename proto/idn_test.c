/* proto/idn_test.c */
#include "proto/idn.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/test.h"

static const struct {
    const char *domain, *ascii, *unicode; /* NULL: none */
} rows[] = {
    { "example.com", NULL, NULL },
    { "b\303\274cher.example", "xn--bcher-kva.example", "b\303\274cher.example" },
    { "xn--bcher-kva.example", "xn--bcher-kva.example", "b\303\274cher.example" },
    { "XN--BCHER-KVA.Example", "xn--bcher-kva.example", "b\303\274cher.example" },
    { "B\303\234CHER.EXAMPLE", "xn--bcher-kva.example", "b\303\274cher.example" },
    { "bu\314\210cher.example", "xn--bcher-kva.example",
      "b\303\274cher.example" }, /* not composed */
    { "fa\303\237.de", "xn--fa-hia.de", "fa\303\237.de" },
    { "\344\276\213\343\201\210.\343\203\206\343\202\271\343\203\210", "xn--r8jz45g.xn--zckzah",
      "\344\276\213\343\201\210.\343\203\206\343\202\271\343\203\210" },
    { "_dmarc.b\303\274cher.example", "_dmarc.xn--bcher-kva.example",
      "_dmarc.b\303\274cher.example" },
    { "a\357\274\216b.example", "a.b.example", "a.b.example" }, /* a full stop of another width */
    { "xn--a.example", NULL, NULL },
    { "xn--.example", NULL, NULL },
    { "\377.example", NULL, NULL },
    { "", NULL, NULL },
};

TEST(one_domain_two_spellings)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct idn d;
        bool is = idn_forms(sl_z(rows[i].domain), &d);

        TEST_ROW("%s", rows[i].domain);
        CHECK_EQ_INT(is, rows[i].ascii != NULL);
        if (is && rows[i].ascii) {
            CHECK_EQ_STR(d.ascii, rows[i].ascii);
            CHECK_EQ_STR(d.unicode, rows[i].unicode);
        }
    }
    CHECK(!idn_is_any(SL("axn--b.example")) && idn_is_any(SL("a.Xn--b")));
}

TEST(long_domains_do_not_overflow)
{
    struct buf b = { 0 };
    struct idn d;

    for (int i = 0; i < 300; i++) {
        buf_adds(&b, SL("\303\274."));
        (void)idn_forms(buf_slice(&b), &d);
    }
    for (int i = 0; i < 2000; i++)
        buf_addc(&b, 'x');
    CHECK(!idn_forms(buf_slice(&b), &d));
    buf_free(&b);
}

static const struct {
    const char *key, *others[2];
} keys[] = {
    { "u@example.com", { NULL, NULL } },
    { "u@xn--bcher-kva.example", { "u@b\303\274cher.example", NULL } },
    { "u@b\303\274cher.example", { "u@xn--bcher-kva.example", NULL } },
    { "u@B\303\234cher.example", { "u@xn--bcher-kva.example", "u@b\303\274cher.example" } },
    { "@xn--bcher-kva.example", { "@b\303\274cher.example", NULL } },
    { ".xn--bcher-kva.example", { ".b\303\274cher.example", NULL } },
    { "\303\274ser@example.com", { NULL, NULL } },
    { "192.0.2.1", { NULL, NULL } },
};

TEST(keys_of_tables)
{
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        char out[2][IDN_KEY_OCTETS];
        size_t n = idn_other_keys(sl_z(keys[i].key), out);

        TEST_ROW("%s", keys[i].key);
        CHECK_EQ_INT(n, (keys[i].others[0] != NULL) + (keys[i].others[1] != NULL));
        for (size_t k = 0; k < n && keys[i].others[k]; k++)
            CHECK_EQ_STR(out[k], keys[i].others[k]);
    }
}

TEST_MAIN()
