#include "auth/users_app.h"

#include "auth/account.h"
#include "auth/names.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/postern-app-XXXXXX";

static const char people[] =
    "INSERT INTO virtual_domains (id, name) VALUES (1, 'example.com');"
    "INSERT INTO virtual_users (id, domain_id, password, email) VALUES"
    " (1, 1, '{PLAIN}one', 'Anna@example.com'), (2, 1, '{PLAIN}two', 'bob@example.com'),"
    " (3, 1, '{PLAIN}three', 'u@b\xc3\xbc"
    "cher.example');";

/* A database of its own for each test. */
static struct users *
make(const char *name)
{
    struct users *u = NULL;
    char path[256];
    struct err e = { 0 };

    if (sl_has_suffix(sl_z(dir), SL("XXXXXX")) && mkdtemp(dir) == NULL)
        FAIL("mkdtemp");
    snprintf(path, sizeof path, "%s/%s.db", dir, name);
    if (users_open(path, USERS_MAKE, &u, &e) < 0 || users_make_tables(u, &e) < 0 ||
        db_exec(users_db(u), people, &e) < 0)
        FAIL("%s", e.msg);
    return u;
}

static int64_t
count(struct users *u, const char *sql)
{
    struct db_stmt *s;
    struct err e;
    int64_t n = -1;

    if (db_prepare_once(users_db(u), sl_z(sql), &s, NULL, &e) < 0)
        return -1;
    if (db_step(s, &e) > 0)
        n = db_int(s, 0);
    db_stmt_free(&s);
    return n;
}

static int64_t
add(struct users *u, const char *email, const char *label, unsigned services, int64_t expires,
    char bare[APP_PASSWORD_CHARS + 1])
{
    struct users_app a = { .label = label, .services = services, .expires_unix_s = expires };
    char text[APP_PASSWORD_TEXT_OCTETS];
    struct err e = { 0 };
    int64_t id = 0;

    app_password_make(text);
    CHECK(app_password_bare(sl_z(text), bare));
    return users_app_add(u, sl_z(email), &a, bare, &id, &e) < 0 ? -1 : id;
}

TEST(bare)
{
    static const struct {
        const char *entered, *want; /* NULL: none */
    } rows[] = {
        { "abcd-efgh-ijkl-mnop-qrst-uvwx", "abcdefghijklmnopqrstuvwx" },
        { "abcdefghijklmnopqrstuvwx", "abcdefghijklmnopqrstuvwx" },
        { " ABCD efgh\tijkl-MNOP qrst 2345 ", "abcdefghijklmnopqrst2345" },
        { "--abcdefghijklmnopqrstuvwx--", "abcdefghijklmnopqrstuvwx" },
        { "abcd-efgh-ijkl-mnop-qrst-uvw", NULL },
        { "abcd-efgh-ijkl-mnop-qrst-uvwxy", NULL },
        { "abcd-efgh-ijkl-mnop-qrst-uvw1", NULL },
        { "abcd_efgh-ijkl-mnop-qrst-uvwx", NULL },
        { "", NULL },
        { "abcdefghijklmnopqrstuvwx                                                    ", NULL },
    };
    char bare[APP_PASSWORD_CHARS + 1];

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].entered);
        CHECK_EQ_INT(app_password_bare(sl_z(rows[i].entered), bare), rows[i].want != NULL);
        if (rows[i].want)
            CHECK_EQ_STR(bare, rows[i].want);
    }
    CHECK(!app_password_bare(SL("abcdefghijklmnopqrstuvw\0"), bare));
}

TEST(made_ones_differ_and_have_groups)
{
    char a[APP_PASSWORD_TEXT_OCTETS], b[APP_PASSWORD_TEXT_OCTETS];

    app_password_make(a);
    app_password_make(b);
    CHECK(strcmp(a, b) != 0);
    CHECK_EQ_INT(strlen(a), 29);
    for (size_t i = 4; i < 29; i += 5)
        CHECK_EQ_INT(a[i], '-');
}

TEST(services)
{
    static const struct {
        const char *text;
        unsigned want; /* 0: refused */
        const char *back;
    } rows[] = {
        { "imap", APP_IMAP, "imap" },
        { "SMTP,imap", APP_IMAP | APP_SMTP, "imap,smtp" },
        { "pop3 , submission", APP_POP3 | APP_SMTP, "pop3,smtp" },
        { "imap,pop3,smtp", APP_ALL, "imap,pop3,smtp" },
        { "imap,sieve", 0, NULL },
        { "", 0, NULL },
        { ",", 0, NULL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf back = { 0 };
        unsigned got;

        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(app_services_parse(sl_z(rows[i].text), &got), rows[i].want != 0);
        if (rows[i].want) {
            CHECK_EQ_INT(got, rows[i].want);
            app_services_text(got, &back);
            CHECK_EQ_STR(buf_z(&back), rows[i].back);
        }
        buf_free(&back);
    }
}

TEST(match)
{
    struct users *u = make("match");
    char phone[APP_PASSWORD_CHARS + 1], laptop[APP_PASSWORD_CHARS + 1],
        bobs[APP_PASSWORD_CHARS + 1];
    char old[APP_PASSWORD_CHARS + 1], dashed[64];
    int64_t id = 0, phone_id = -1;
    struct err e = { 0 };

    /* no table yet */
    CHECK_EQ_INT(users_app_match(u, SL("anna@example.com"), SL("abcdefghijklmnopqrstuvwx"),
                                 APP_IMAP, 1000, &id, &e),
                 USERS_APP_NONE);
    phone_id = add(u, "anna@EXAMPLE.com", "phone", APP_IMAP | APP_SMTP, 0, phone);
    CHECK(phone_id > 0);
    CHECK(add(u, "anna@example.com", "laptop", APP_ALL, 5000, laptop) > phone_id);
    CHECK(add(u, "anna@example.com", NULL, APP_ALL, 10, old) > 0);
    CHECK(add(u, "bob@example.com", "phone", APP_ALL, 0, bobs) > 0);
    CHECK(add(u, "u@xn--bcher-kva.example", "x", APP_ALL, 0, dashed) > 0);
    CHECK_EQ_INT(add(u, "anna@example.com", "PHONE", APP_ALL, 0, dashed), -1);
    CHECK_EQ_INT(add(u, "nobody@example.com", "x", APP_ALL, 0, dashed), -1);
    CHECK(!db_in_tx(users_db(u)));
    CHECK_EQ_INT(count(u, "SELECT count(*) FROM postern_app_passwords WHERE digest LIKE '%' || "
                          "salt || '%' OR length(digest) <> 64"),
                 0);

    {
        const struct {
            const char *email, *entered;
            unsigned service;
            int64_t now;
            int want;
        } rows[] = {
            { "anna@example.com", phone, APP_IMAP, 1000, USERS_APP_GOOD },
            { "ANNA@example.com", phone, APP_SMTP, 1000, USERS_APP_GOOD },
            { "anna@example.com", phone, APP_POP3, 1000, USERS_APP_SCOPE },
            { "anna@example.com", phone, 0, 1000, USERS_APP_SCOPE },
            { "anna@example.com", laptop, APP_POP3, 4999, USERS_APP_GOOD },
            { "anna@example.com", laptop, APP_POP3, 5000, USERS_APP_EXPIRED },
            { "anna@example.com", old, APP_POP3, 1000, USERS_APP_EXPIRED },
            { "anna@example.com", bobs, APP_IMAP, 1000, USERS_APP_NONE },
            { "bob@example.com", phone, APP_IMAP, 1000, USERS_APP_NONE },
            { "nobody@example.com", phone, APP_IMAP, 1000, USERS_APP_NONE },
            { "anna@example.com", "one", APP_IMAP, 1000, USERS_APP_NONE },
            { "anna@example.com", "", APP_IMAP, 1000, USERS_APP_NONE },
        };

        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            TEST_ROW("%zu", i);
            CHECK_EQ_INT(users_app_match(u, sl_z(rows[i].email), sl_z(rows[i].entered),
                                         rows[i].service, rows[i].now, &id, &e),
                         rows[i].want);
        }
    }
    snprintf(dashed, sizeof dashed, "%.8s-%.8s %s", phone, phone + 8, phone + 16);
    CHECK_EQ_INT(users_app_match(u, SL("anna@example.com"), sl_z(dashed), APP_IMAP, 1, &id, &e),
                 USERS_APP_GOOD);
    CHECK_EQ_INT(id, phone_id);
    CHECK_EQ_INT(users_app_used(u, phone_id, 77, SL("imap"), SL("192.0.2.1"), &e), 0);
    CHECK_EQ_INT(count(u, "SELECT used_unix_s FROM postern_app_passwords WHERE label = 'phone' AND "
                          "used_address = '192.0.2.1' AND user_id = 1"),
                 77);
    CHECK_EQ_INT(users_app_revoke(u, SL("bob@example.com"), SL("1"), &e), 0); /* not his */
    CHECK_EQ_INT(users_app_revoke(u, SL("anna@example.com"), SL("Phone"), &e), 1);
    CHECK_EQ_INT(users_app_match(u, SL("anna@example.com"), sl_z(dashed), APP_IMAP, 1, &id, &e),
                 USERS_APP_NONE);
    CHECK_EQ_INT(users_app_revoke(u, SL("anna@example.com"), SL(""), &e), 2);
    CHECK_EQ_INT(users_app_revoke(u, SL("nobody@example.com"), SL(""), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    users_close(&u);
}

TEST(there_is_a_most)
{
    struct users *u = make("most");
    char bare[APP_PASSWORD_CHARS + 1], last[APP_PASSWORD_CHARS + 1];
    int64_t id;
    struct err e;

    for (int i = 0; i < USERS_APPS_MAX; i++)
        CHECK(add(u, "anna@example.com", NULL, APP_ALL, 0, last) > 0);
    CHECK_EQ_INT(add(u, "anna@example.com", NULL, APP_ALL, 0, bare), -1);
    CHECK(add(u, "bob@example.com", NULL, APP_ALL, 0, bare) > 0);
    CHECK_EQ_INT(users_app_match(u, SL("anna@example.com"), sl_z(last), APP_IMAP, 1, &id, &e),
                 USERS_APP_GOOD);
    users_close(&u);
}

/* Whatever happens to the row of virtual_users: what of an app password of Anna's, for whom is it good then, and what is left
 * after tidying? */
TEST(changes_of_users)
{
    static const struct {
        const char *sql;
        const char *email; /* tried with her app password */
        bool is_good;
        int64_t left;
    } rows[] = {
        { "SELECT 1", "anna@example.com", true, 1 },
        { "UPDATE virtual_users SET password = 'x' WHERE id = 1", "anna@example.com", true, 1 },
        { "UPDATE virtual_users SET email = 'ANNA@EXAMPLE.COM' WHERE id = 1", "anna@example.com",
          true, 1 },
        { "UPDATE virtual_users SET email = 'carl@example.com' WHERE id = 1", "carl@example.com",
          false, 0 },
        { "UPDATE virtual_users SET email = 'carl@example.com' WHERE id = 1;"
          "UPDATE virtual_users SET email = 'anna@example.com' WHERE id = 2",
          "anna@example.com", false, 0 },
        { "UPDATE virtual_users SET id = 9 WHERE id = 1", "anna@example.com", false, 0 },
        { "DELETE FROM virtual_users WHERE id = 1", "anna@example.com", false, 0 },
        { "DELETE FROM virtual_users WHERE id = 1; INSERT INTO virtual_users (id, domain_id, "
          "password, email) VALUES (1, 1, 'x', 'anna@example.com')",
          "anna@example.com", false, 0 },
        { "DELETE FROM virtual_domains", "anna@example.com", false, 0 },
        { "REPLACE INTO virtual_users (domain_id, password, email) VALUES (1, 'x', "
          "'anna@example.com')",
          "anna@example.com", false, 0 },
        /* a table made anew, as mysqldump's: with her in it, and without */
        { "PRAGMA foreign_keys = OFF; DROP TABLE virtual_users; CREATE TABLE virtual_users (id "
          "INTEGER PRIMARY KEY AUTOINCREMENT, domain_id INT, password, email TEXT COLLATE NOCASE); "
          "INSERT INTO virtual_users VALUES (1, 1, 'x', 'anna@example.com')",
          "anna@example.com", true, 1 },
        { "PRAGMA foreign_keys = OFF; DROP TABLE virtual_users; CREATE TABLE virtual_users (id "
          "INTEGER PRIMARY KEY AUTOINCREMENT, domain_id INT, password, email TEXT COLLATE NOCASE)",
          "anna@example.com", false, 0 },
        { "DROP TABLE postern_app_passwords", "anna@example.com", false, -1 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct users *u;
        char name[16], bare[APP_PASSWORD_CHARS + 1];
        struct err e = { 0 };
        int64_t id;

        TEST_ROW("%s", rows[i].sql);
        snprintf(name, sizeof name, "change%zu", i);
        u = make(name);
        CHECK(add(u, "anna@example.com", "a", APP_ALL, 0, bare) > 0);
        if (db_exec(users_db(u), rows[i].sql, &e) < 0)
            FAIL("%s", e.msg);
        CHECK_EQ_INT(users_app_match(u, sl_z(rows[i].email), sl_z(bare), APP_IMAP, 1, &id, &e),
                     rows[i].is_good ? USERS_APP_GOOD : USERS_APP_NONE);
        CHECK_EQ_INT(users_tidy(u, &e), 0);
        CHECK_EQ_INT(count(u, "SELECT count(*) FROM postern_app_passwords"), rows[i].left);
        /* ... and the next change is seen, too */
        CHECK_EQ_INT(db_exec(users_db(u), "DELETE FROM virtual_users", &e), 0);
        CHECK(count(u, "SELECT count(*) FROM postern_app_passwords") <= 0);
        users_close(&u);
    }
}

TEST(disabled)
{
    struct users *u = make("disabled");
    struct err e = { 0 };

    CHECK_EQ_INT(users_is_disabled(u, SL("anna@example.com"), &e), 0); /* no table */
    CHECK_EQ_INT(users_disable(u, SL("anna@example.com"), false, &e), 0);
    CHECK_EQ_INT(users_disable(u, SL("anna@example.com"), true, &e), 1);
    CHECK_EQ_INT(users_disable(u, SL("anna@example.com"), true, &e), 0);
    CHECK_EQ_INT(users_is_disabled(u, SL("ANNA@example.com"), &e), 1);
    CHECK_EQ_INT(users_is_disabled(u, SL("bob@example.com"), &e), 0);
    CHECK_EQ_INT(users_disable(u, SL("nobody@example.com"), true, &e), -1);
    /* who gets another name stays locked; who is new under an old one is not */
    CHECK_EQ_INT(
        db_exec(users_db(u), "UPDATE virtual_users SET email = 'c@example.com' WHERE id = 1", &e),
        0);
    CHECK_EQ_INT(users_is_disabled(u, SL("c@example.com"), &e), 1);
    CHECK_EQ_INT(users_is_disabled(u, SL("anna@example.com"), &e), 0);
    CHECK_EQ_INT(db_exec(users_db(u), "DELETE FROM virtual_users WHERE id = 1", &e), 0);
    CHECK_EQ_INT(users_is_disabled(u, SL("c@example.com"), &e), 0);
    CHECK_EQ_INT(users_disable(u, SL("u@xn--bcher-kva.example"), true, &e), 1);
    CHECK_EQ_INT(users_is_disabled(u,
                                   SL("u@b\xc3\xbc"
                                      "cher.example"),
                                   &e),
                 1);
    users_close(&u);
}

/* ---- what is known of who logs in ---- */

static struct conf *
conf_of(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct conf *c;

    buf_addf(&text,
             "config_directory = %s\ndata_directory = %s\nusers_database = %s/account.db\n%s", dir,
             dir, dir, lines);
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    for (size_t i = 0; i < ps.n; i++)
        if (ps.v[i].is_error)
            FAIL("%s", ps.v[i].text);
    conf_problems_free(&ps);
    buf_free(&text);
    return c;
}

static void
put(const char *name, const char *text)
{
    char path[256];
    struct err e;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (fs_replace_file(path, sl_z(text), 0600, &e) < 0)
        FAIL("%s", e.msg);
}

TEST(accounts)
{
    static const struct {
        const char *name, *other;
        bool is_found, is_master, is_disabled;
        const char *who, *password; /* password NULL: something */
    } rows[] = {
        { "anna@example.com", "", true, false, false, "Anna@example.com", "{PLAIN}one" },
        { "bob@example.com", "", true, false, true, "bob@example.com", "{PLAIN}two" },
        { "nobody@example.com", "", false, false, false, "", NULL },
        /* masters are asked for their own password, and be it that of somebody else in the database */
        { "admin", "anna@example.com", true, true, false, "Anna@example.com", "{PLAIN}boss" },
        { "ADMIN", "anna@example.com", true, true, false, "Anna@example.com", "{PLAIN}boss" },
        { "bob@example.com", "anna@example.com", true, true, false, "Anna@example.com",
          "{SHA}x:y" },
        { "admin", "bob@example.com", true, true, true, "bob@example.com", "{PLAIN}boss" },
        { "admin", "nobody@example.com", false, true, false, "", "{PLAIN}boss" },
        { "anna@example.com", "bob@example.com", true, false, true, "bob@example.com", "" },
        { "none", "anna@example.com", true, false, false, "Anna@example.com", "" },
        { "comment", "anna@example.com", true, false, false, "Anna@example.com", "" },
        { "rest", "anna@example.com", true, true, false, "Anna@example.com", "{PLAIN}r" },
        { "admin", "", false, false, false, "", NULL }, /* himself he is nobody */
    };
    struct users *u = make("account");
    struct conf *c;
    struct table_set *tables;
    struct err e = { 0 };

    CHECK_EQ_INT(users_disable(u, SL("bob@example.com"), true, &e), 1);
    users_close(&u);
    put("masters", "# Dovecot's\n#comment:{PLAIN}x\nadmin:{PLAIN}boss:1:1::/home:/bin/sh:a=b\n"
                   "none:\nrest:{PLAIN}r\nadmin:{PLAIN}second\n");
    put("more", "bob@example.com {SHA}x:y\n");
    c = conf_of("auth_master_users = passwd-file:masters, texthash:more\n");
    tables = table_set_new(c);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct account a;
        struct account_ask ask = { .name = sl_z(rows[i].name),
                                   .other = sl_z(rows[i].other),
                                   .service = "imap" };

        TEST_ROW("%s for %s", rows[i].name, rows[i].other);
        CHECK_EQ_INT(account_look(tables, &ask, &a, &e), 0);
        CHECK_EQ_INT(a.is_found, rows[i].is_found);
        CHECK_EQ_INT(a.is_master, rows[i].is_master);
        CHECK_EQ_INT(a.is_disabled, rows[i].is_disabled);
        CHECK_EQ_STR(buf_z(&a.name), rows[i].who);
        if (rows[i].password)
            CHECK_EQ_STR(buf_z(&a.password), rows[i].password);
        account_free(&a);
    }
    table_set_free(&tables);
    conf_unref(&c);
}

TEST(trouble_is_no_answer)
{
    struct account a;
    struct err e = { 0 };
    struct conf *c = conf_of("auth_master_users = passwd-file:absent\n");
    struct table_set *tables = table_set_new(c);

    CHECK_EQ_INT(account_look(tables,
                              &(struct account_ask){ .name = SL("admin"),
                                                     .other = SL("anna@example.com"),
                                                     .service = "imap" },
                              &a, &e),
                 -1);
    account_free(&a);
    table_set_free(&tables);
    conf_unref(&c);
}

/* ---- names ---- */

TEST(names_of_clients)
{
    static const struct {
        const char *conf, *said, *authzid, *user, *other; /* user NULL: refused */
    } rows[] = {
        { "", "Anna@Example.com", "", "anna@example.com", "" },
        { "auth_default_realm = example.com\n", "Anna", "", "anna@example.com", "" },
        { "auth_default_realm = example.com\n", "Anna@x", "", "anna@x", "" },
        { "auth_username_translation = #@/@\n", "anna#x/y", "", "anna@x@y", "" },
        { "auth_username_chars = abcdefghijklmnopqrstuvwxyz@.\n", "anna@x.y", "", "anna@x.y", "" },
        { "auth_username_chars = abcdefghijklmnopqrstuvwxyz@.\n", "Anna@x.y", "", NULL, "" },
        { "auth_username_chars = abcdefghijklmnopqrstuvwxyz@.\n", "anna+b@x.y", "", NULL, "" },
        { "auth_username_format = %n\n", "anna@x", "", "anna", "" },
        { "auth_username_format = %d\n", "anna", "", NULL, "" },
        { "auth_username_format =\n", "Anna@X", "", "Anna@X", "" },
        { "", "anna*admin", "", "anna*admin", "" },
        { "auth_master_user_separator = *\n", "Anna@X*Admin", "", "admin", "anna@x" },
        { "auth_master_user_separator = *\n", "anna*b*c", "", "b*c", "anna" },
        { "auth_master_user_separator = *\n", "anna*anna", "", "anna", "" },
        { "auth_master_user_separator = *\n", "*admin", "", NULL, "" },
        { "auth_master_user_separator = *\n", "anna*", "", NULL, "" },
        { "auth_master_user_separator = *\nauth_default_realm = x\n", "anna*admin", "", "admin@x",
          "anna@x" },
        { "auth_master_user_separator = *\nauth_username_chars = adeimn\n", "anna*admin", "",
          "admin", "anna" },
        { "", "admin", "Anna", "admin", "anna" },
        { "", "anna", "ANNA", "anna", "" },
        { "auth_master_user_separator = *\n", "bob*admin", "anna", "admin", "anna" },
        { "auth_username_chars = adeimn\n", "admin", "x", NULL, "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf *c = conf_of(rows[i].conf);
        struct buf user = { 0 }, other = { 0 };
        const char *why = NULL;
        bool is =
            auth_names_of_client(c, sl_z(rows[i].said), sl_z(rows[i].authzid), &user, &other, &why);

        TEST_ROW("%s%s %s", rows[i].conf, rows[i].said, rows[i].authzid);
        CHECK_EQ_INT(is, rows[i].user != NULL);
        CHECK_EQ_INT(why == NULL, is);
        if (rows[i].user) {
            CHECK_EQ_STR(buf_z(&user), rows[i].user);
            CHECK_EQ_STR(buf_z(&other), rows[i].other);
        }
        buf_free(&user);
        buf_free(&other);
        conf_unref(&c);
    }
}

TEST(formats)
{
    static const struct {
        const char *format, *name, *want; /* want NULL: no format */
    } rows[] = {
        { "%{user}", "A@B", "A@B" },
        { "%L{username}@%U{domain}", "A@b", "a@B" },
        { "%n %{domain_first}|%{domain_last}", "u@a@b", "u a|b" },
        { "%n|%d", "u@a@b", "u|a@b" },
        { "%.3u", "abcdef", "abc" },
        { "%2.3u", "abcdef", "cde" },
        { "%-2.2u", "abcdef", "ef" },
        { "%Ru", "abc", "cba" },
        { "100%% %u", "x", "100% x" },
        { "joe", "", NULL }, /* everybody would be he */
        { "%d", "", NULL },
        { "%q", "", NULL },
        { "%{nothing}", "", NULL },
        { "%Hu", "", NULL },
        { "%", "", NULL },
        { "%{user", "", NULL },
    };
    struct buf out = { 0 };
    struct err e;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].format);
        CHECK_EQ_INT(auth_format_check(rows[i].format, &e), rows[i].want ? 0 : -1);
        buf_reset(&out);
        if (rows[i].want)
            auth_format_name(rows[i].format, sl_z(rows[i].name), &out);
        if (rows[i].want)
            CHECK_EQ_STR(buf_z(&out), rows[i].want);
    }
    buf_free(&out);
}

TEST(zz_clean_up)
{
    char command[300];

    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_EQ_INT(system(command), 0);
}

TEST_MAIN()
