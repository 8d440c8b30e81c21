#include "proto/lookup_keys.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>

/* Keys with a blank between them; "~" before one that is a part, "-" behind one without the extension. */
static void
spell(const struct lookup_keys *k, struct buf *out)
{
    for (size_t i = 0; i < k->n; i++)
        buf_addf(out, "%s%s%.*s%s", i ? " " : "", k->v[i].is_part ? "~" : "", SL_ARG(k->v[i].key),
                 k->v[i].is_bare ? "-" : "");
}

static struct slice
ext_of(const char *addr)
{
    struct slice s = sl_z(addr);
    size_t at = sl_rfind_char(s, '@');

    return lookup_extension(at == SL_NPOS ? s : sl_head(s, at), "+-", "double-bounce");
}

TEST(mail)
{
    static const struct {
        const char *addr;
        bool with_local;
        const char *want;
    } rows[] = {
        { "u@d.test", false, "u@d.test ~@d.test" },
        { "u+x@d.test", false, "u+x@d.test ~u@d.test- ~@d.test" },
        { "u-x+y@d.test", true, "u-x+y@d.test ~u@d.test- ~u-x+y ~u- ~@d.test" },
        { "postmaster+x@d.test", false, "postmaster+x@d.test ~postmaster@d.test- ~@d.test" },
        { "double-bounce@d.test", false, "double-bounce@d.test ~@d.test" },
        { "+x@d.test", false, "+x@d.test ~@d.test" },
        { "u", true, "u ~u" },
        { "owner-list@d.test", false, "owner-list@d.test ~@d.test" },
        { "list-request@d.test", false, "list-request@d.test ~@d.test" },
        { "-request@d.test", false, "-request@d.test ~@d.test" },
        { "a@b@d.test", false, "\"a@b\"@d.test a@b@d.test ~@d.test" },
        { "a,b+x@d.test", true,
          "\"a,b+x\"@d.test a,b+x@d.test ~\"a,b\"@d.test- ~a,b@d.test- ~\"a,b+x\" ~a,b+x ~\"a,b\"- "
          "~a,b- ~@d.test" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena mem = { 0 };
        struct lookup_key v[LOOKUP_TRANSPORT_KEYS_MAX];
        struct lookup_keys k = { .v = v, .max = COUNT_OF(v) };
        struct buf b = { 0 };

        lookup_keys_mail(&k, sl_z(rows[i].addr), ext_of(rows[i].addr), rows[i].with_local, &mem);
        spell(&k, &b);
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
        arena_free(&mem);
    }
}

TEST(transport)
{
    static const char *const rows[][2] = {
        { "u+x@a.b.test", "u+x@a.b.test ~u@a.b.test- ~a.b.test ~.b.test ~.test ~*" },
        { "u@[192.0.2.1]", "u@[192.0.2.1] ~[192.0.2.1] ~*" },
        { "u@test", "u@test ~test ~*" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena mem = { 0 };
        struct lookup_key v[LOOKUP_TRANSPORT_KEYS_MAX];
        struct lookup_keys k = { .v = v, .max = COUNT_OF(v) };
        struct buf b = { 0 };

        lookup_keys_transport(&k, sl_z(rows[i][0]), ext_of(rows[i][0]), &mem);
        spell(&k, &b);
        CHECK_EQ_STR(buf_z(&b), rows[i][1]);
        buf_free(&b);
        arena_free(&mem);
    }
}

/* A domain of nothing but dots is cut, and memory that is short is said. */
TEST(bounds)
{
    struct arena small = { .cap = 4 }, mem = { 0 };
    struct lookup_key v[LOOKUP_TRANSPORT_KEYS_MAX];
    struct lookup_keys k = { .v = v, .max = COUNT_OF(v) };
    char addr[300];

    memset(addr, '.', sizeof addr);
    memcpy(addr, "u@", 2);
    lookup_keys_transport(&k, sl_n(addr, sizeof addr), SL(""), &mem);
    CHECK(k.is_full);
    CHECK_EQ_INT(k.n, LOOKUP_TRANSPORT_KEYS_MAX);
    lookup_keys_mail(&k, SL("user+extension@domain.test"), SL("+extension"), false, &small);
    CHECK(k.is_full);
    arena_free(&small);
    arena_free(&mem);
}

TEST_MAIN()
