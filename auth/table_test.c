#include "auth/table.h"

#include "auth/auth_check.h"
#include "auth/table_cf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/postern-table-XXXXXX";

static void
put(const char *name, const char *text)
{
    char path[256];
    struct err e;

    if (sl_has_suffix(sl_z(dir), SL("XXXXXX")) && mkdtemp(dir) == NULL)
        FAIL("mkdtemp");
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (fs_replace_file(path, sl_z(text), 0600, &e) < 0)
        FAIL("%s", e.msg);
}

/* main.cf of these lines; $D is the folder. */
static struct conf *
conf_of(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct conf *c;

    buf_addf(&text,
             "config_directory = %s\ndata_directory = %s\nmyhostname = mx.example.com\nmyorigin = "
             "example.com\n",
             dir, dir);
    buf_addf(&text, "alias_maps =\nalias_database =\n");
    for (const char *p = lines; *p; p++) {
        if (p[0] == '$' && p[1] == 'D') {
            buf_addz(&text, dir);
            p++;
        } else {
            buf_addc(&text, *p);
        }
    }
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    for (size_t i = 0; i < ps.n; i++)
        if (ps.v[i].is_error)
            FAIL("%s", ps.v[i].text);
    conf_problems_free(&ps);
    buf_free(&text);
    return c;
}

static const char *
ask(struct table_set *s, const char *name, const char *key, struct buf *out)
{
    struct err e = { 0 };

    switch (table_set_lookup(s, sl_z(name), sl_z(key), out, &e)) {
    case TABLE_FOUND:
        return buf_z(out);
    case TABLE_NOTFOUND:
        return "-";
    case TABLE_TEMP:
        return "temp";
    case TABLE_PERM:
        return "perm";
    }
    return "?";
}

struct row {
    const char *name, *key, *want;
};

static void
check_rows(const char *lines, const struct row *rows, size_t n)
{
    struct conf *c = conf_of(lines);
    struct table_set *s;
    struct buf out = { 0 };

    NEED(c);
    s = table_set_new(c);
    for (size_t i = 0; i < n; i++) {
        TEST_ROW("%s %s", rows[i].name, rows[i].key);
        CHECK_EQ_STR(ask(s, rows[i].name, rows[i].key, &out), rows[i].want);
    }
    buf_free(&out);
    table_set_free(&s);
    conf_unref(&c);
}

TEST(text_files)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "one", "1" },
        { "relay_recipient_maps", "ONE", "1" },
        { "relay_recipient_maps", "two", "2  and 3" },
        { "relay_recipient_maps", "three", "-" },
        { "relay_recipient_maps", "comment", "-" },
        { "hash:map", "one", "1" },
        { "relay_recipient_maps", "\"q 1\"@d", "quoted" },
        { "relay_recipient_maps", "\"q\\\" 2\"", "escaped" },
        { "texthash:$D/map", "one", "perm" },
        { "hash:/etc/passwd", "root", "perm" },
        { "alias_maps", "postmaster", "root" },
        { "alias_maps", "quoted name", "a,  b" },
        { "alias_maps", "Root", "\"|/bin/x y\", z@example.com" },
        { "nosuch_parameter", "x", "perm" },
    };

    put("map", "# comment\none 1\n\n  # another\ntwo   2\n  and 3\none again\nthree\n"
               "\"q 1\"@d quoted\n\"q\\\" 2\" escaped\n");
    put("aliases",
        "postmaster: root\n\"quoted name\": a,\n  b\nROOT: \"|/bin/x y\", z@example.com\n");
    check_rows("relay_recipient_maps = hash:map\nalias_maps = hash:$D/aliases\n", rows,
               COUNT_OF(rows));
}

TEST(small_tables)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "a", "x:" },
        { "relay_recipient_maps", "b c", "y z" },
        { "relay_recipient_maps", "other", "rest" },
        { "local_recipient_maps", "a", "temp" },
        { "local_recipient_maps", "root", NULL },
        { "local_recipient_maps", "no-such-person", "-" },
    };
    struct conf *c = conf_of("local_recipient_maps = proxy:unix:passwd.byname\n");
    struct table_set *s = table_set_new(c);
    struct buf out = { 0 };

    check_rows("relay_recipient_maps = inline:{a=x:, { b c = y z }} "
               "static:rest\nlocal_recipient_maps = fail:on purpose\n",
               rows, 4);
    CHECK(strncmp(ask(s, rows[4].name, rows[4].key, &out), "root:*:0:0:", 11) == 0);
    CHECK_EQ_STR(ask(s, rows[5].name, rows[5].key, &out), rows[5].want);
    buf_free(&out);
    table_set_free(&s);
    conf_unref(&c);
}

TEST(cidr)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "192.0.2.77", "net" },
        { "relay_recipient_maps", "192.0.2.1", "one" },
        { "relay_recipient_maps", "10.1.2.3", "private" },
        { "relay_recipient_maps", "10.9.2.3", "rest" },
        { "relay_recipient_maps", "2001:db8::5", "six" },
        { "relay_recipient_maps", "198.51.100.1", "rest" },
        { "relay_recipient_maps", "2001:db9::5", "-" },
        { "relay_recipient_maps", "example.com", "-" },
    };

    put("cidr", "192.0.2.1 one\n192.0.2.0/24 net\nif 10.0.0.0/8\n10.1.0.0/16 "
                "private\nendif\n2001:db8::/32 six\n!::/0 rest\n");
    check_rows("relay_recipient_maps = cidr:$D/cidr\n", rows, COUNT_OF(rows));
}

/* Rules in main.cf itself (Postfix 3.7). */
TEST(rules_in_braces)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "GET", "bogus 1" },
        { "relay_recipient_maps", "12", "no letter" },
        { "relay_recipient_maps", "xyz", "-" },
        { "smtpd_reject_footer_maps", "192.0.2.9", "there" },
        { "smtpd_reject_footer_maps", "198.51.100.1", "-" },
        { "relay_domains", "x", "temp" },
    };

    check_rows("relay_recipient_maps = regexp:{{/^G(E)T$/ bogus 1}, {!/^[a-z]/ no letter}}\n"
               "smtpd_reject_footer_maps = cidr:{{192.0.2.0/24 there}}\n"
               "relay_domains = regexp:{/^x/ OK}\n",
               rows, COUNT_OF(rows));
}

TEST(regexp)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "info@a.example", "info-a" },
        { "relay_recipient_maps", "INFO@B.example", "info-B" },
        { "relay_recipient_maps", "x/y", "slash" },
        { "relay_recipient_maps", "aabb", "in" },
        { "relay_recipient_maps", "aacc", "-" },
        { "relay_recipient_maps", "CASE", "-" },
        { "relay_recipient_maps", "case", "$ ok" },
        { "relay_recipient_maps", "nothing", "-" },
    };

    put("re", "/^info@(.*)\\.example$/ info-$1\n/x\\/y/ slash\nif /^aa/\n/bb$/ "
              "in\nendif\n/^case$/i $$ ok\n");
    check_rows("relay_recipient_maps = regexp:$D/re\n", rows, COUNT_OF(rows));
}

/* A part of an address is no business of patterns; the next table may know it. */
TEST(parts_of_keys)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "@a.example", "pattern" },
        { "part:relay_recipient_maps", "@a.example", "text" },
        { "part:relay_recipient_maps", "@b.example", "-" },
        { "relay_domains", "sub.a.example", "whole" },
        { "relay_domains", "x.b.example", "-" },
    };

    put("whole", "/^@/ pattern\n/^sub\\.a/ whole\n/^b\\.example/ parent\n");
    check_rows("relay_recipient_maps = regexp:$D/whole, inline:{@a.example=text}\n"
               "relay_domains = regexp:$D/whole\n",
               rows, COUNT_OF(rows));
}

TEST(lists_of_domains)
{
    static const struct row rows[] = {
        { "mydestination", "LOCALHOST", "localhost" },
        { "mydestination", "file.example", "file.example" },
        { "mydestination", "not.example", "-" },
        { "mydestination", "sub.localhost", "-" },
        { "mydestination", "a.sub.example", ".sub.example" },
        { "mydestination", "tab.example", "yes" },
        { "relay_domains", "relay.example", "relay.example" },
        { "relay_domains", "x.relay.example", "relay.example" },
        { "relay_domains", "xrelay.example", "-" },
        { "relay_domains", "a.b.tab.example", "yes" },
    };

    put("list", "# words\nfile.example\n");
    check_rows("mydestination = localhost, !not.example, $D/list, .sub.example, "
               "inline:{tab.example=yes,not.example=no}\n"
               "relay_domains = relay.example inline:{tab.example=yes}\n",
               rows, COUNT_OF(rows));
}

/* ---- SQL ---- */

static void
make_users(const char *sql)
{
    struct users *u = NULL;
    char path[256];
    struct err e;

    put("mailserver.db", "");
    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    unlink(path);
    if (users_open(path, USERS_MAKE, &u, &e) < 0 || users_make_tables(u, &e) < 0 ||
        db_exec(users_db(u), sql, &e) < 0)
        FAIL("%s", e.msg);
    users_close(&u);
}

static const char rows_sql[] =
    "INSERT INTO virtual_domains VALUES (1, 'example.com');"
    "INSERT INTO virtual_users VALUES (1, 1, 'x', 'email1@example.com');"
    "INSERT INTO virtual_users VALUES (2, 1, 'x', 'a b@example.com');"
    "INSERT INTO virtual_aliases VALUES (1, 1, 'alias@example.com', 'email1@example.com');"
    "INSERT INTO virtual_aliases VALUES (2, 1, 'alias@example.com', 'x@other.example');";

static void
put_cfs(void)
{
#define HEAD "user = u\npassword = p\nhosts = 127.0.0.1\ndbname = mailserver\n"
    put("domains.cf", HEAD "query = SELECT 1 FROM virtual_domains WHERE name='%s'\n");
    put("aliases.cf",
        HEAD "query = SELECT destination FROM virtual_aliases\n  WHERE source='%s'\n");
    put("email.cf",
        HEAD "query = SELECT email FROM `mailserver`.`virtual_users` WHERE email=\"%s\"\n");
    put("parts.cf",
        HEAD "query = SELECT CONCAT('%u', '/', '%d', '/', '%1')\nresult_format = [%s] %U\n");
    put("legacy.cf", HEAD "table = virtual_aliases\nselect_field = destination\nwhere_field = "
                          "source\nadditional_conditions = AND id < 2\n");
    put("limit.cf", HEAD
        "expansion_limit = 1\nquery = SELECT destination FROM virtual_aliases WHERE source='%s'\n");
    put("scoped.cf", HEAD "domain = example.com\nquery = SELECT 'hit'\n");
    put("broken.cf", HEAD "query = SELECT nix FROM nowhere WHERE x='%s'\n");
    put("far.cf",
        "hosts = db.example.net\nquery = SELECT 1 FROM virtual_domains WHERE name='%s'\n");
#undef HEAD
}

TEST(mysql_tables)
{
    static const struct row rows[] = {
        { "virtual_mailbox_domains", "example.com", "1" },
        { "virtual_mailbox_domains", "EXAMPLE.com", "1" },
        { "virtual_mailbox_domains", "example.org", "-" },
        { "virtual_alias_maps", "Alias@example.com", "email1@example.com,x@other.example" },
        { "virtual_alias_maps", "email1@example.com", "email1@example.com" },
        { "virtual_alias_maps", "x' OR '1'='1", "-" },
        { "virtual_alias_maps", "x\" OR \"1\"=\"1", "-" },
        { "virtual_alias_maps", "\"a b\"@example.com", "a b@example.com" },
        { "virtual_alias_maps", "", "-" },
        { "mysql:parts.cf", "me@sub.example.org", "[me/sub.example.org/org] me" },
        { "mysql:parts.cf", "example.org", "-" },
        { "mysql:parts.cf", "@example.org", "-" },
        { "mysql:legacy.cf", "alias@example.com", "email1@example.com" },
        { "mysql:limit.cf", "alias@example.com", "temp" },
        { "mysql:scoped.cf", "any@example.com", "hit" },
        { "mysql:scoped.cf", "any@example.org", "-" },
        { "mysql:scoped.cf", "example.com", "-" },
        { "mysql:broken.cf", "a", "temp" },
        { "mysql:absent.cf", "a", "temp" },
    };

    make_users(rows_sql);
    put_cfs();
    check_rows("virtual_mailbox_domains = mysql:domains.cf\nvirtual_alias_maps = mysql:aliases.cf, "
               "mysql:email.cf\n"
               "relay_recipient_maps = mysql:parts.cf mysql:legacy.cf mysql:limit.cf "
               "mysql:scoped.cf mysql:broken.cf mysql:absent.cf\n",
               rows, COUNT_OF(rows));
}

TEST(sqlite_tables)
{
    static const struct row rows[] = {
        { "relay_recipient_maps", "ALIAS@example.com", "email1@example.com,x@other.example" },
        { "relay_recipient_maps", "a'b", "-" },
        { "local_recipient_maps", "alias@x", "email1@example.com,x@other.example" },
        { "relay_domains", "alias@example.com", "temp" },
    };
    char text[512];

    make_users(rows_sql);
    snprintf(text, sizeof text,
             "dbpath = %s/mailserver.db\nquery = SELECT destination FROM virtual_aliases WHERE "
             "source='%%s'\n",
             dir);
    put("lite.cf", text);
    snprintf(text, sizeof text,
             "dbpath = %s/mailserver.db\nquery = SELECT destination FROM \"virtual_aliases\" WHERE "
             "source LIKE '%%u@%%%%'\n",
             dir);
    put("like.cf", text);
    snprintf(text, sizeof text,
             "dbpath = %s/mailserver.db\nquery = SELECT destination FROM virtual_aliases WHERE "
             "source=\"%%s\"\n",
             dir);
    put("quotes.cf", text);
    check_rows("relay_recipient_maps = sqlite:lite.cf\nlocal_recipient_maps = sqlite:like.cf\n"
               "relay_domains = sqlite:quotes.cf\n",
               rows, COUNT_OF(rows));
}

/* The promise: a table of domains that turns empty is no reason to bounce. */
TEST(an_empty_database_is_no_answer)
{
    static const struct row rows[] = { { "virtual_mailbox_domains", "example.com", "temp" } };

    make_users("");
    put_cfs();
    check_rows("virtual_mailbox_domains = mysql:domains.cf\n", rows, 1);
}

TEST(changes_are_seen)
{
    struct conf *c;
    struct table_set *s;
    struct buf out = { 0 };
    struct users *u = NULL;
    char path[256];
    struct err e;
    uint64_t now = 1000;

    make_users(rows_sql);
    put_cfs();
    put("map", "one 1\n");
    c = conf_of("virtual_mailbox_domains = mysql:domains.cf\nrelay_recipient_maps = hash:map\n");
    clock_fake(now, 0);
    s = table_set_new(c);
    table_set_poll(s);
    CHECK_EQ_STR(ask(s, "virtual_mailbox_domains", "new.example", &out), "-");
    CHECK_EQ_STR(ask(s, "relay_recipient_maps", "one", &out), "1");
    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    NEED(users_open(path, 0, &u, &e) == 0);
    CHECK_EQ_INT(
        db_exec(users_db(u), "INSERT INTO virtual_domains (name) VALUES ('new.example')", &e), 0);
    users_close(&u);
    CHECK(!table_set_poll(s)); /* too early to look */
    clock_fake(now += TABLE_POLL_MS, 0);
    CHECK(table_set_poll(s));
    CHECK_EQ_STR(ask(s, "virtual_mailbox_domains", "new.example", &out), "1");
    CHECK_EQ_STR(ask(s, "relay_recipient_maps", "one", &out), "1");
    put("map", "one eins\n");
    clock_fake(now += TABLE_POLL_MS, 0);
    CHECK(table_set_poll(s));
    CHECK_EQ_STR(ask(s, "relay_recipient_maps", "one", &out), "eins");
    clock_fake(now += TABLE_POLL_MS, 0);
    CHECK(!table_set_poll(s));
    CHECK_EQ_STR(ask(s, "virtual_mailbox_domains", "new.example", &out), "1");
    make_users(rows_sql); /* another file in its place */
    clock_fake(now + TABLE_POLL_MS, 0);
    CHECK(table_set_poll(s));
    CHECK_EQ_STR(ask(s, "virtual_mailbox_domains", "new.example", &out), "-");
    clock_fake(0, 0);
    table_set_free(&s);
    conf_unref(&c);
    buf_free(&out);
}

TEST(users)
{
    struct users *u = NULL;
    struct buf name = { 0 }, password = { 0 };
    char path[256];
    struct err e = { 0 };

    make_users(rows_sql);
    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    NEED(users_open(path, 0, &u, &e) == 0);
    CHECK_EQ_INT(users_find(u, SL("EMAIL1@example.com"), &name, &password, &e), 1);
    CHECK_EQ_STR(buf_z(&name), "email1@example.com");
    CHECK_EQ_STR(buf_z(&password), "x");
    CHECK_EQ_INT(users_find(u, SL("nobody@example.com"), &name, &password, &e), 0);
    CHECK_EQ_STR(buf_z(&password), "x"); /* somebody's, to spend time on */
    CHECK_EQ_INT(users_has_domains(u, &e), 1);
    users_close(&u);
    buf_free(&name);
    buf_free(&password);
}

TEST(users_limits)
{
    static const struct {
        const char *name;
        int found;
        int64_t octets, messages;
    } rows[] = { { "A@example.com", 1, 5, -1 },
                 { "a@b\u00fccher.example", 1, 7, 0 },
                 { "a@xn--bcher-kva.example", 1, 7, 0 },
                 { "example.com", 1, -1, 9 },
                 { "b@example.com", 0, -1, -1 } };
    struct users *u = NULL;
    struct users_quota q;
    char path[256];
    struct err e = { 0 };

    make_users(rows_sql);
    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    NEED(users_open(path, 0, &u, &e) == 0);
    CHECK_EQ_INT(users_quota_find(u, SL("a@example.com"), &q, &e), 0); /* no such table yet */
    CHECK_EQ_INT(users_quota_forget(u, SL("a@example.com"), &e), 0);
    CHECK_EQ_INT(users_quota_set(u, SL("a@example.com"), &(struct users_quota){ 5, -1 }, &e), 0);
    CHECK_EQ_INT(users_quota_set(u, SL("a@b\u00fccher.example"), &(struct users_quota){ 7, 0 }, &e),
                 0);
    CHECK_EQ_INT(users_quota_set(u, SL("Example.com"), &(struct users_quota){ -1, 9 }, &e), 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(users_quota_find(u, sl_z(rows[i].name), &q, &e), rows[i].found);
        CHECK_EQ_INT(q.octets, rows[i].octets);
        CHECK_EQ_INT(q.messages, rows[i].messages);
    }
    /* By hand, with a unit: it would be 2 octets. */
    CHECK(db_exec(users_db(u), "INSERT INTO postern_quota VALUES ('c@example.com', '2G', 0)", &e) <
          0);
    { /* More than a rule takes, by hand: still a limit. */
        struct buf fields = { 0 };

        CHECK_EQ_INT(db_exec(users_db(u),
                             "INSERT INTO postern_quota VALUES"
                             " ('d@example.net', 9223372036854775807, 9223372036854775807)",
                             &e),
                     0);
        CHECK_EQ_INT(users_quota_fields(u, SL("d@example.net"), &fields, &e), 0);
        CHECK_EQ_STR(buf_z(&fields), "quota_rule999999=*:bytes=2305843009213693951"
                                     ":messages=2305843009213693951\n");
        buf_free(&fields);
    }
    CHECK_EQ_INT(users_quota_forget(u, SL("b@example.com"), &e), 0);
    CHECK_EQ_INT(users_quota_forget_domain(u, SL("example.com"), &e), 0);
    CHECK_EQ_INT(users_quota_find(u, SL("a@example.com"), &q, &e), 0);
    CHECK_EQ_INT(users_quota_find(u, SL("example.com"), &q, &e), 0);
    CHECK_EQ_INT(users_quota_find(u, SL("a@b\u00fccher.example"), &q, &e), 1);
    users_close(&u);
}

/* ---- check ---- */

static void
check_says(const char *lines, const char *error, const char *warning)
{
    struct conf *c = conf_of(lines);
    struct conf_problems ps = { 0 };
    bool has_error = error == NULL, has_warning = warning == NULL;

    NEED(c);
    auth_check(c, &ps);
    for (size_t i = 0; i < ps.n; i++) {
        if (ps.v[i].is_error && (error == NULL || !strstr(ps.v[i].text, error)))
            FAIL("unwanted: %s", ps.v[i].text);
        if (ps.v[i].is_error && error && strstr(ps.v[i].text, error))
            has_error = true;
        if (!ps.v[i].is_error && warning && strstr(ps.v[i].text, warning))
            has_warning = true;
    }
    CHECK(has_error);
    CHECK(has_warning);
    conf_problems_free(&ps);
    conf_unref(&c);
}

TEST(check)
{
    static const char guide[] =
        "virtual_mailbox_domains = mysql:domains.cf\nvirtual_alias_maps = mysql:aliases.cf\n";

    make_users(rows_sql);
    put_cfs();
    check_says(guide, NULL, "mail to postmaster@example.com reaches no mailbox");
    check_says("virtual_mailbox_domains = mysql:far.cf\n", "db.example.net", NULL);
    check_says("virtual_mailbox_domains = mysql:far.cf\nmysql_tables = embedded\n", NULL, NULL);
    check_says("mysql_tables = server\n", "mysql_tables", NULL);
    check_says("virtual_mailbox_domains = mysql:broken.cf\n", "nowhere", NULL);
    check_says("virtual_mailbox_domains = mysql:absent.cf\n", "absent.cf", NULL);
    check_says("relay_recipient_maps = pcre:map\n", "pcre: tables are not supported", NULL);
    check_says("relay_recipient_maps = hash:absent\n", NULL, "absent");
    check_says("auth_mechanisms = plain cram-md5\n", "cram-md5", NULL);
    check_says("auth_username_format = %Lq\n", "%Lq", NULL);
    check_says("auth_username_translation = #@/\n", "pairs", NULL);
    check_says("auth_master_user_separator = **\nauth_master_users = inline:{a=b}\n",
               "one character", NULL);
    check_says("auth_master_user_separator = *\n", NULL, "nobody is a master");
    check_says("srs_secret_file = $D/no-secret\n", "no-secret", NULL);
    put("empty-secret", "\n");
    check_says("srs_secret_file = $D/empty-secret\n", "has no secret in it", NULL);
    put("secret", "x");
    check_says("srs_secret_file = $D/secret\nmydestination = example.com\nsrs_domain = srs.test\n",
               NULL, "mail for srs.test is not accepted here");
    check_says("srs_secret_file = $D/secret\nmydestination = srs.test\nsrs_domain = srs.test\n",
               NULL, NULL);
    make_users("");
    check_says(guide, "has no domain in it", NULL);
    {
        char path[256];

        snprintf(path, sizeof path, "%s/mailserver.db", dir);
        unlink(path);
    }
    check_says(guide, "mysqldump mailserver | postern sql", NULL);
}

TEST(zz_clean_up)
{
    struct err e;

    CHECK_EQ_INT(fs_remove_tree(dir, &e), 0);
}

TEST_MAIN()
