/* smtpd/access_test.c */
#include "smtpd/access.h"

#include "base/test.h"
#include "smtpd/check.h"

TEST(actions_are_told_apart)
{
    static const struct {
        const char *value;
        enum access_kind kind;
        int code;
        const char *esc, *text;
    } rows[] = {
        { "OK", ACCESS_OK, 0, "", "" },
        { "ok with words", ACCESS_OK, 0, "", "with words" },
        { "RELAY", ACCESS_OK, 0, "", "" },
        { "1234567890", ACCESS_OK, 0, "", "" },
        { "550", ACCESS_OK, 0, "", "" }, /* digits alone, as Postfix has it */
        { "DUNNO", ACCESS_DUNNO, 0, "", "" },
        { "dunno whatever", ACCESS_DUNNO, 0, "", "whatever" },
        { "REJECT", ACCESS_REJECT, 0, "5.7.1", "" },
        { "reject\tgo  away", ACCESS_REJECT, 0, "5.7.1", "go  away" },
        { "REJECT 5.1.1 no such user", ACCESS_REJECT, 0, "5.1.1", "no such user" },
        { "REJECT 4.1.1 later", ACCESS_REJECT, 0, "4.1.1", "later" },
        { "REJECT 5.1.1", ACCESS_REJECT, 0, "5.1.1", "" },
        { "REJECT 5.1.1.1 odd", ACCESS_REJECT, 0, "5.7.1", "5.1.1.1 odd" },
        { "REJECT 3.1.1 odd", ACCESS_REJECT, 0, "5.7.1", "3.1.1 odd" },
        { "REJECT 5.1234.1 odd", ACCESS_REJECT, 0, "5.7.1", "5.1234.1 odd" },
        { "REJECT 5.123.999 even", ACCESS_REJECT, 0, "5.123.999", "even" },
        { "REJECT5.1.1", ACCESS_RESTRICTIONS, 0, "", "" },
        { "DEFER", ACCESS_DEFER, 0, "4.7.1", "" },
        { "DEFER busy", ACCESS_DEFER, 0, "4.7.1", "busy" },
        { "DEFER_IF_PERMIT", ACCESS_DEFER_IF_PERMIT, 0, "4.7.1", "" },
        { "defer_if_permit 4.3.2 soon", ACCESS_DEFER_IF_PERMIT, 0, "4.3.2", "soon" },
        { "DEFER_IF_REJECT soon", ACCESS_DEFER_IF_REJECT, 0, "4.7.1", "soon" },
        { "550 no", ACCESS_CODE, 550, "5.7.1", "no" },
        { "450 later", ACCESS_CODE, 450, "4.7.1", "later" },
        { "550 5.1.1 no", ACCESS_CODE, 550, "5.1.1", "no" },
        { "421 4.7.0 bye", ACCESS_CODE, 421, "4.7.0", "bye" },
        { "521 bye", ACCESS_CODE, 521, "5.7.1", "bye" },
        { "350 no", ACCESS_RESTRICTIONS, 0, "", "no" },
        { "5500 no", ACCESS_RESTRICTIONS, 0, "", "no" },
        { "BCC a@example.com", ACCESS_BCC, 0, "", "a@example.com" },
        { "DISCARD", ACCESS_DISCARD, 0, "", "" },
        { "FILTER scan:[127.0.0.1]:10025", ACCESS_FILTER, 0, "", "scan:[127.0.0.1]:10025" },
        { "HOLD", ACCESS_HOLD, 0, "", "" },
        { "INFO seen", ACCESS_INFO, 0, "", "seen" },
        { "PREPEND X-A: b", ACCESS_PREPEND, 0, "", "X-A: b" },
        { "REDIRECT a@example.com", ACCESS_REDIRECT, 0, "", "a@example.com" },
        { "WARN odd", ACCESS_WARN, 0, "", "odd" },
        { "permit_mynetworks, reject", ACCESS_RESTRICTIONS, 0, "", "reject" },
        { "", ACCESS_RESTRICTIONS, 0, "", "" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct access_action a;

        TEST_ROW("%s", rows[i].value);
        access_action_parse(sl_z(rows[i].value), &a);
        CHECK_EQ_INT(a.kind, rows[i].kind);
        CHECK_EQ_INT(a.code, rows[i].code);
        CHECK_EQ_STR(a.esc, rows[i].esc);
        CHECK(sl_eqz(a.text, rows[i].text));
    }
}

TEST(codes_about_addresses_fit_what_is_refused)
{
    static const struct {
        const char *esc, *reply_class, *want;
    } rows[] = {
        { "5.7.1", CLASS_TEXT_SENDER, "5.7.1" },     { "5.1.1", CLASS_TEXT_RECIPIENT, "5.1.1" },
        { "5.1.1", CLASS_TEXT_SENDER, "5.1.7" },     { "5.1.2", CLASS_TEXT_SENDER, "5.1.8" },
        { "4.1.3", CLASS_TEXT_SENDER, "4.1.7" },     { "5.1.8", CLASS_TEXT_SENDER, "5.1.8" },
        { "5.1.7", CLASS_TEXT_RECIPIENT, "5.1.3" },  { "4.1.8", CLASS_TEXT_RECIPIENT, "4.1.2" },
        { "5.1.99", CLASS_TEXT_RECIPIENT, "5.1.0" }, { "5.1.1", CLASS_TEXT_CLIENT, "5.0.0" },
        { "4.1.8", CLASS_TEXT_HELO, "4.0.0" },       { "5.10.1", CLASS_TEXT_HELO, "5.10.1" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char esc[ACCESS_ESC_OCTETS];

        TEST_ROW("%s for a %s", rows[i].esc, rows[i].reply_class);
        snprintf(esc, sizeof(esc), "%s", rows[i].esc);
        CHECK_EQ_INT(access_dsn_fix(esc, rows[i].reply_class),
                     strcmp(rows[i].esc, rows[i].want) != 0);
        CHECK_EQ_STR(esc, rows[i].want);
    }
}

/* "a b* c*": parts have a star. */
static void
check_keys(const struct access_keys *k, const char *want)
{
    char got[1024] = "";

    for (size_t i = 0; i < k->n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s%s", i ? "  " : "",
                 SL_ARG(k->v[i].key), k->v[i].is_part ? "*" : "");
    CHECK_EQ_STR(got, want);
}

TEST(keys_of_host_names)
{
    static const struct {
        const char *name;
        bool with_parents;
        const char *want;
    } rows[] = {
        { "a.b.c", true, "a.b.c  b.c*  c*" },
        { "a.b.c", false, "a.b.c  .b.c*  .c*" },
        { "unknown", true, "unknown" },
        { "a.b.", true, "a.b.  b.*" },
        { "[192.0.2.1]", true, "[192.0.2.1]  0.2.1]*  2.1]*  1]*" },
        { "192.0.2.1", true, "192.0.2.1" },
        { "2001:db8::1", true, "2001:db8::1" },
        { ".", true, "." },
        { "", true, "" },
    };
    struct arena a = { 0 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct access_keys k;

        TEST_ROW("%s", rows[i].name);
        NEED(access_keys_domain(sl_z(rows[i].name), rows[i].with_parents, &a, &k) == 0);
        check_keys(&k, rows[i].want);
    }
    arena_free(&a);
}

TEST(keys_of_addresses)
{
    static const struct {
        const char *ip, *want;
    } rows[] = {
        { "192.0.2.1", "192.0.2.1  192.0.2*  192.0*  192*" },
        { "2001:db8::1", "2001:db8::1  2001:db8:*  2001:db8*  2001*" },
        { "::1", "::1  :*" },
    };
    struct arena a = { 0 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct access_keys k;

        TEST_ROW("%s", rows[i].ip);
        NEED(access_keys_ip(sl_z(rows[i].ip), &a, &k) == 0);
        check_keys(&k, rows[i].want);
    }
    arena_free(&a);
}

TEST(keys_of_mail_addresses)
{
    static const struct {
        const char *addr;
        size_t ext;
        bool with_parents;
        const char *want;
    } rows[] = {
        { "u@b.c", 0, true, "u@b.c  b.c*  c*  u@*" },
        { "u@b.c", 0, false, "u@b.c  b.c*  .c*  u@*" },
        { "u+x@b.c", 2, true, "u+x@b.c  u@b.c*  b.c*  c*  u+x@*  u@*" },
        { "a b@c", 0, true, "\"a b\"@c  a b@c  c*  \"a b\"@*  a b@*" },
        { "a@b@c", 0, true, "\"a@b\"@c  a@b@c  c*  \"a@b\"@*  a@b@*" },
        { "u@[192.0.2.1]", 0, true, "u@[192.0.2.1]  [192.0.2.1]*  0.2.1]*  2.1]*  1]*  u@*" },
    };
    struct arena a = { 0 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct access_keys k;

        TEST_ROW("%s", rows[i].addr);
        NEED(access_keys_mail(sl_z(rows[i].addr), rows[i].ext, rows[i].with_parents, &a, &k) == 0);
        check_keys(&k, rows[i].want);
    }
    arena_free(&a);
}

TEST(no_room_for_keys_is_told)
{
    struct arena a = { .cap = 64 };
    struct access_keys k;

    CHECK(access_keys_domain(SL("a.b.c.d.e.f.g.h"), true, &a, &k) < 0);
    CHECK(access_keys_mail(SL("u@a.b.c.d.e.f.g.h"), 0, true, &a, &k) < 0);
    arena_free(&a);
}

TEST_MAIN()
