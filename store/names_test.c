/* store/names_test.c */
#include "base/test.h"
#include "store/maildir.h"
#include "store/names.h"

#include <stdlib.h>

static struct conf *
conf_of(const char *text)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(text), "test", &ps);

    conf_problems_free(&ps);
    return c;
}

static const struct location plus = { .separator = '.' };

TEST(location_words_and_variables)
{
    static const struct {
        const char *location, *user, *mail, *want; /* want NULL: refused */
        enum err_kind kind;
    } rows[] = {
        { "maildir:/v/%d/%n", "bob@example.org", "", "/v/example.org/bob", 0 },
        { "maildir:/v/%Ld/%Ln/", "Bob@Example.org", "", "/v/example.org/bob", 0 },
        { "/v/%u", "bob@example.org", "", "/v/bob@example.org", 0 },
        { "maildir:%h/Maildir", "bob@example.org", "", "/home/bob/Maildir", 0 },
        { "maildir:~/Maildir", "bob@example.org", "", "/home/bob/Maildir", 0 },
        { "maildir:/v/%%/%n", "bob@example.org", "", "/v/%/bob", 0 },
        { "maildir:/v/%d/%n", "bob@example.org", "maildir:/other/%n", "/other/bob", 0 },
        { "maildir:/v/%d/%n", "bob", "", "/v//bob", 0 },
        { "maildir:/v/%d/%n", "../../etc@example.org", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "..@example.org", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "bob@..", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", ".@example.org", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "a/b@example.org", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "@example.org", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "", "", NULL, ERR_PERM },
        { "maildir:/v/%d/%n", "a\nb@example.org", "", NULL, ERR_PERM },
        { "mbox:/v/%d/%n", "bob@example.org", "", NULL, ERR_CONFIG },
        { "maildir:/v/%d/%q", "bob@example.org", "", NULL, ERR_CONFIG },
        { "maildir:v/%n", "bob@example.org", "", NULL, ERR_CONFIG },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[200];
        struct location where;
        struct err e = { 0 };
        struct conf *c;

        snprintf(text, sizeof text, "mail_location = %s\nmail_home = /home/%%n\n",
                 rows[i].location);
        c = conf_of(text);
        TEST_ROW("%s %s", rows[i].location, rows[i].user);
        NEED(c != NULL);
        CHECK_EQ_INT(location_resolve(c, sl_z(rows[i].user), sl_z(rows[i].mail), &where, &e),
                     rows[i].want ? 0 : -1);
        CHECK_EQ_STR(where.root, rows[i].want);
        CHECK_EQ_INT(e.kind, rows[i].kind);
        location_free(&where);
        conf_unref(&c);
    }
}

TEST(location_options)
{
    static const struct {
        const char *location, *control, *index; /* control NULL: refused */
        char separator;
        bool is_utf8;
    } rows[] = {
        { "maildir:/v/%n", "/v/bob", "/v/bob", '.', false },
        { "maildir:/v/%n:LAYOUT=maildir++", "/v/bob", "/v/bob", '.', false },
        { "maildir:/v/%n:LAYOUT=fs", "/v/bob", "/v/bob", '/', false },
        { "maildir:/v/%n:UTF-8", "/v/bob", "/v/bob", '.', true },
        { "maildir:/v/%n::CONTROL=/c/%u/:INDEX=~/i", "/c/bob@example.org", "/home/bob/i", '.',
          false },
        { "/v/%n:INDEX=/i/%d/%n:UTF-8:LAYOUT=fs", "/v/bob", "/i/example.org/bob", '/', true },
        { "maildir:/v/%n:INDEX=MEMORY", NULL, NULL, 0, false },
        { "maildir:/v/%n:INDEX=relative", NULL, NULL, 0, false },
        { "maildir:/v/%n:CONTROL=", NULL, NULL, 0, false },
        { "maildir:/v/%n:LAYOUT=index", NULL, NULL, 0, false },
        { "maildir:/v/%n:ALT=/x", NULL, NULL, 0, false },
        { "maildir:/v/%n:UTF-8=yes", NULL, NULL, 0, false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf *c = conf_of("mail_home = /home/%n\n");
        struct location where;
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].location);
        NEED(c != NULL);
        CHECK_EQ_INT(location_resolve(c, SL("bob@example.org"), sl_z(rows[i].location), &where, &e),
                     rows[i].control ? 0 : -1);
        CHECK_EQ_STR(where.control, rows[i].control);
        CHECK_EQ_STR(where.index, rows[i].index);
        if (rows[i].control == NULL)
            CHECK_EQ_INT(e.kind, ERR_CONFIG);
        else
            CHECK(where.separator == rows[i].separator && where.is_utf8 == rows[i].is_utf8);
        location_free(&where);
        conf_unref(&c);
    }
}

TEST(a_nul_in_a_user_name_is_refused)
{
    CHECK(!location_user_is_safe(SL("bob\0x@example.org")));
    CHECK(location_user_is_safe(SL("bob@example.org")));
}

TEST(common_part)
{
    struct conf *c = conf_of("mail_location = maildir:/v/mail-%d/%n\n");
    char *dir = location_common(c);

    CHECK_EQ_STR(dir, "/v");
    free(dir);
    conf_unref(&c);
}

TEST(mailbox_names)
{
    static const struct {
        const char *name, *normal, *folder; /* normal NULL: refused */
    } rows[] = {
        { "INBOX", "INBOX", "" },
        { "inbox", "INBOX", "" },
        { "inbox.x", "INBOX.x", ".INBOX.x" },
        { "Sent", "Sent", ".Sent" },
        { "Archive.2026", "Archive.2026", ".Archive.2026" },
        { "Entw\xc3\xbcrfe", "Entw\xc3\xbcrfe", ".Entw&APw-rfe" },
        { "a&b", "a&b", ".a&-b" },
        { "", NULL, NULL },
        { ".", NULL, NULL },
        { "a..b", NULL, NULL },
        { ".a", NULL, NULL },
        { "a.", NULL, NULL },
        { "a/b", NULL, NULL },
        { "..", NULL, NULL },
        { "a\nb", NULL, NULL },
        { "a\xff", NULL, NULL },
        { "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2",
          "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2",
          ".1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2" },
        { "1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3.4.5.6.7.8.9.0.1.2.3", NULL, NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf normal = { 0 }, folder = { 0 }, back = { 0 };
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(name_normalise(&plus, sl_z(rows[i].name), &normal, &e),
                     rows[i].normal ? 0 : -1);
        if (rows[i].normal) {
            CHECK_EQ_STR(buf_z(&normal), rows[i].normal);
            CHECK_EQ_INT(name_to_folder(&plus, buf_slice(&normal), &folder, &e), 0);
            CHECK_EQ_STR(buf_z(&folder), rows[i].folder);
            if (folder.n > 0) {
                CHECK(name_from_folder(&plus, buf_slice(&folder), &back));
                CHECK_EQ_STR(buf_z(&back), rows[i].normal);
            }
        } else {
            CHECK_EQ_INT(e.kind, ERR_CLIENT);
        }
        buf_free(&normal);
        buf_free(&folder);
        buf_free(&back);
    }
}

TEST(folders_that_are_no_mailboxes)
{
    static const char *const rows[] = { ".",      "..",     "cur", "..x",       ".a..b",
                                        ".inbox", ".INBOX", ".a&", ".\xc3\xbc", ".inbox.x" };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i]);
        CHECK(!name_from_folder(&plus, sl_z(rows[i]), &out));
        CHECK_EQ_INT(out.n, 0);
    }
}

TEST(a_name_too_long_for_the_disk)
{
    char name[300];
    struct buf out = { 0 };
    struct err e = { 0 };

    memset(name, 'x', sizeof name);
    CHECK_EQ_INT(name_to_folder(&plus, sl_n(name, 250), &out, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_INT(name_to_folder(&plus, sl_n(name, 230), &out, &e), 0);
    buf_free(&out);
}

TEST(auto_mailboxes_of_the_guide)
{
    struct conf *c = conf_of("");
    struct slice name;
    unsigned use;

    NEED(name_auto(c, 1, &name, &use));
    CHECK(sl_eqz(name, "Sent"));
    CHECK_EQ_INT(use, STORE_MB_USE_SENT);
    CHECK(name_auto(c, 3, &name, &use));
    CHECK_EQ_INT(use, STORE_MB_USE_JUNK);
    CHECK(!name_auto(c, 4, &name, &use));
    conf_unref(&c);
}

TEST(base_names)
{
    char a[MAILDIR_NAME_MAX], b[MAILDIR_NAME_MAX], ident[MAILDIR_IDENT_MAX],
        other[MAILDIR_IDENT_MAX], letters[8];
    struct maildir_name n;

    maildir_ident(SL("4dXy1.12"), ident);
    CHECK_EQ_STR(ident, "4dXy1-12");
    maildir_ident(SL("a_M/:-"), other);
    CHECK_EQ_STR(other, "a=5FM=2F=3A=2D");
    maildir_base(a, ident, 100, 110);
    maildir_base(b, ident, 100, 110);
    CHECK(strcmp(a, b) != 0);
    CHECK(maildir_has_ident(a, ident));
    CHECK(!maildir_has_ident(a, "4dXy1-1"));
    CHECK(!maildir_has_ident(a, "4dXy1-123"));
    NEED(maildir_parse(a, &n));
    CHECK_EQ_INT(n.size, 100);
    CHECK_EQ_INT(n.crlf, 110);
    CHECK(n.s > 1000000000);
    CHECK(maildir_name_cmp(a, b) < 0);

    NEED(maildir_parse("1700000000.M5P1.host,S=3,W=4:2,FPSab", &n));
    CHECK(sl_eqz(n.base, "1700000000.M5P1.host,S=3,W=4"));
    CHECK_EQ_INT(n.sys, STORE_FLAGGED | STORE_SEEN);
    CHECK_EQ_INT(n.kw, 3);
    CHECK_EQ_INT(n.us, 5);
    NEED(maildir_compose(a, n.base, STORE_DELETED | STORE_DRAFT, 4,
                         maildir_other_letters(n.info, letters)));
    CHECK_EQ_STR(a, "1700000000.M5P1.host,S=3,W=4:2,DPTc");
    CHECK(!maildir_parse(".nfs0001", &n));
    NEED(maildir_parse("msg.1,S=12x", &n));
    CHECK(n.size == UINT64_MAX);
}

TEST(line_ends)
{
    static const struct {
        const char *in, *out;
        unsigned crlf;
    } rows[] = {
        { "a\r\nb\r\n", "a\nb\n", 6 }, { "a\nb", "a\nb", 4 },     { "a\r", "a\r", 2 },
        { "\r\r\n\r", "\r\n\r", 4 },   { "\r\n\r\n", "\n\n", 4 }, { "", "", 0 },
        { "a\rb\r\n", "a\rb\n", 5 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice in = sl_z(rows[i].in);

        for (size_t split = 0; split <= in.n; split++) {
            struct buf out = { 0 };
            bool cr = false;
            uint64_t crlf = 0;

            TEST_ROW("%zu at %zu", i, split);
            maildir_lf(&out, sl_head(in, split), &cr, &crlf);
            maildir_lf(&out, sl_from(in, split), &cr, &crlf);
            maildir_lf_end(&out, &cr, &crlf);
            CHECK_EQ_STR(buf_z(&out), rows[i].out);
            CHECK_EQ_INT(crlf, rows[i].crlf);
            buf_free(&out);
        }
    }
}

TEST_MAIN()
